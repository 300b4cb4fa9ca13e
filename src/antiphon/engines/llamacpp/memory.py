"""The context's memory: which line holds what of it, what a new one may begin with, who waits when it is full."""

from antiphon.engines.llamacpp.layout import NO_PIECES, Layout
from antiphon.engines.llamacpp.model import Context
from antiphon.engines.llamacpp.prefixes import Prefix, Prefixes
from antiphon.engines.llamacpp.schedule import Line, Lines


class MemoryFull(Exception):
    """One line alone does not fit: sizes were chosen wrongly."""


class Memory:
    """Opens and closes lines on one context."""

    def __init__(self, context: Context, prefix_tokens: int) -> None:
        self.lines = Lines(context.sizes.sequences)
        self._context = context
        self._prefixes = Prefixes(prefix_tokens)

    @property
    def remembered(self) -> int:
        """How many ended lines are kept for the prefix they hold."""
        return len(self._prefixes)

    def open(self, account: str, prompt: list[int], layout: Layout = NO_PIECES, *, is_seeded: bool) -> Line:
        """Open the line that reads a prompt, beginning with what was read of it already.

        With a seed, an idle engine reads everything itself: what another batch has read, or generated, differs in its
        last bits, and now and then gives another token. Measured: docs/decisions/0004-embedded-engine.md.
        """
        is_alone = not self.lines.live
        if is_alone:
            self._context.clear()
        line = self.lines.open(account, prompt, layout)
        if not (is_seeded and is_alone):
            self._reuse(line)
        return line

    def branch(self, line: Line) -> Line:
        """Open another line that begins with all this one has read."""
        own = self.lines.open(line.account, list(line.tokens), line.layout)
        self._context.share(line.id, own.id, line.layout.position(line.read))
        own.read = line.read
        return own

    def close(self, line: Line, *, is_kept: bool) -> None:
        """End a line; what it has read may be kept for later prompts that begin with it."""
        if is_kept:
            self.cut(line, line.read)
        tokens = line.tokens[: line.read]
        if is_kept and self._prefixes.wants(line.account, tokens):
            cells = self._context.save(line.id)
            if cells is not None:
                self._prefixes.add(Prefix(line.account, tokens, cells))
        self.lines.close(line)
        self._context.forget(line.id)

    def settle(self, line: Line) -> None:
        """Drop what lies behind the tokens a line has read: guesses that were not confirmed."""
        self._context.forget(line.id, line.layout.position(line.read))

    def cut(self, line: Line, length: int) -> None:
        """Cut a line's memory back to a length; to less where that is inside a picture or a sound.

        To nothing where this kind of memory cannot go back.
        """
        length = line.layout.whole(length)
        if not self._context.forget(line.id, line.layout.position(length)):
            self._context.forget(line.id)
            length = 0
        line.read = length

    def make_room(self) -> None:
        """Take the memory of what came last; that is read again when another line has ended.

        Raises:
            MemoryFull: there is only one.
        """
        line = self.lines.park_youngest()
        if line is None:
            raise MemoryFull
        self.cut(line, 0)

    def _reuse(self, line: Line) -> None:
        """Let a line begin with what another one reads, or an ended one had read, of the same tokens."""
        context = self._context
        source, shared = self.lines.best_prefix(line.account, line.tokens) if context.is_rewindable else (None, 0)
        shared = line.layout.whole(shared)
        prefix, length = self._prefixes.best(line.account, line.tokens, whole=not context.is_rewindable)
        if prefix and length > shared and context.restore(line.id, prefix.cells):
            self.cut(line, length)
        elif source:
            context.share(source.id, line.id, line.layout.position(shared))
            line.read = shared
