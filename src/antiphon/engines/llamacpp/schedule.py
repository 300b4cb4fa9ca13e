"""What goes into the next batch, and which sequence shares what with which. Decides only: nothing here computes.

A sequence is a list of tokens of which the first `read` are in the context's memory. Reading a prompt, decoding and
catching up after an eviction are one thing: some tokens are not read yet.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from antiphon.engines.llamacpp.drafts import MOST
from antiphon.engines.llamacpp.layout import NO_PIECES, Layout, Placed
from antiphon.engines.llamacpp.prefixes import common

SMALLEST_CHUNK = 16
"""Tokens of a prompt that every step reads at least, however slow the machine: reading must end some day."""


@dataclass(eq=False, slots=True)
class Line:
    """One sequence in the context's memory."""

    id: int
    """Its sequence id there."""
    account: str
    tokens: list[int]
    read: int = 0
    arrival: int = 0
    """Its place in the order of arrival."""
    is_parked: bool = False
    """Whether it waits for memory."""
    layout: Layout = NO_PIECES
    """Where its pictures and sounds are."""

    @property
    def unread(self) -> int:
        """How many of its tokens are not in the memory yet."""
        return len(self.tokens) - self.read

    @property
    def ahead(self) -> Placed | None:
        """The picture or sound that comes next, or of which something was read already; None before a token."""
        return self.layout.find(self.read)

    @property
    def run(self) -> int:
        """How many of its unread tokens are of one kind, words or one picture: a batch holds one kind only."""
        return self.layout.run(self.read, len(self.tokens))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some tokens of one line, for the next batch."""

    line: Line
    count: int
    draft: Sequence[int] = ()
    """Guessed tokens behind the line's own, to be confirmed."""

    @property
    def rows(self) -> int:
        """How many rows of a batch it takes."""
        return self.count + len(self.draft)

    @property
    def is_last(self) -> bool:
        """Whether the line has nothing left to read after this: its logits are wanted."""
        return self.count == self.line.unread


@dataclass(slots=True)
class Pace:
    """How many prompt tokens a step may read beside decoding, so that no stream waits long for its next token.

    Learned from the steps themselves, since machines and models differ a hundredfold.
    """

    batch: int
    """The most tokens in a batch."""
    target_s: float = 0.12
    """How long a step beside decoding should last."""
    token_s: float = field(default=0.004)
    """What one prompt token costs, as a moving average."""

    def learn(self, tokens: int, seconds: float) -> None:
        """Take the cost of a step that read a chunk of a prompt."""
        self.token_s += 0.3 * (seconds / tokens - self.token_s)

    def room(self, *, decoding: bool) -> int:
        """Give the number of prompt tokens the next step may read; all there is room for when nobody waits."""
        if not decoding:
            return self.batch
        return max(SMALLEST_CHUNK, min(self.batch, int(self.target_s / self.token_s)))


Guess = Callable[[Line, int], Sequence[int]]
"""Gives at most so many tokens that a line which decodes may be tried with."""


def plan(lines: Iterable[Line], pace: Pace, guess: Guess) -> list[Chunk]:
    """Choose the next batch: a token for every line that decodes, and as much of the prompts as the pace allows.

    Half of the room for prompts goes to whoever came first, the other half to the shortest, so that a short prompt is
    not stuck behind a long one and a long one is not starved by short ones.
    """
    waiting = [line for line in lines if line.unread and not line.is_parked and not line.ahead]
    decoding = [line for line in waiting if line.unread == 1]
    chunks = [Chunk(line, 1) for line in decoding[: pace.batch]]
    if len(decoding) == len(waiting):
        return _with_guesses(chunks, pace, guess)
    reading = sorted((line for line in waiting if line.unread > 1), key=lambda line: line.arrival)
    room = min(pace.room(decoding=bool(decoding)), pace.batch - len(chunks))
    counts = dict.fromkeys(map(id, reading), 0)
    first, *others = reading
    shares = [(first, room if not others else room // 2)]
    shares += [(line, room) for line in sorted(others, key=lambda line: line.unread)] + [(first, room)]
    for line, share in shares:
        taken = min(share, room, line.run - counts[id(line)])
        counts[id(line)] += taken
        room -= taken
    return chunks + [Chunk(line, counts[id(line)]) for line in reading if counts[id(line)]]


def look(lines: Iterable[Line], pace: Pace) -> Chunk | None:
    """Choose what is read of a picture in a batch of its own: as much as the pace allows, of whoever came first.

    What must be read at once is, whatever the pace.
    """
    running = [line for line in lines if line.unread and not line.is_parked]
    looking = [line for line in running if line.ahead]
    if not looking:
        return None
    line = min(looking, key=lambda line: line.arrival)
    if line.ahead and line.ahead.piece.is_whole:
        return Chunk(line, line.run)
    return Chunk(line, min(line.run, pace.room(decoding=len(running) > len(looking))))


class Turns:
    """Lets pictures and words take turns, since a batch holds one kind only."""

    def __init__(self) -> None:
        self._has_looked = False
        """Whether the last batch was of a picture."""

    def next(self, lines: Collection[Line], pace: Pace, guess: Guess) -> list[Chunk]:
        """Choose the next batch; empty when there is nothing to read."""
        picture = None if self._has_looked else look(lines, pace)
        self._has_looked = picture is not None
        if picture is None and (chunks := plan(lines, pace, guess)):
            return chunks
        picture = picture or look(lines, pace)
        return [picture] if picture else []


def _with_guesses(chunks: list[Chunk], pace: Pace, guess: Guess) -> list[Chunk]:
    """Let the lines guess ahead while nobody's prompt is waiting: one alone freely, several in what the pace allows.

    All of them together guess no more than MOST tokens: the context has rows of logits for that many.
    """
    room, guessed = min(MOST, pace.batch - len(chunks)), []
    most = room if len(chunks) <= 1 else min(MOST, pace.room(decoding=True)) // len(chunks)
    for chunk in chunks:
        draft = guess(chunk.line, min(most, room))
        room -= len(draft)
        guessed.append(Chunk(chunk.line, chunk.count, draft))
    return guessed


class Lines:
    """Every sequence that runs."""

    def __init__(self, ids: int) -> None:
        self.live: dict[int, Line] = {}
        self._free = list(range(ids - 1, -1, -1))
        self._arrivals = itertools.count()

    def open(self, account: str, tokens: list[int], layout: Layout = NO_PIECES) -> Line:
        """Begin a line. There are as many ids as slots, so that one is always free for who holds a slot."""
        line = Line(self._free.pop(), account, tokens, arrival=next(self._arrivals), layout=layout)
        self.live[line.id] = line
        return line

    def close(self, line: Line) -> None:
        """End a line."""
        del self.live[line.id]
        self._free.append(line.id)
        if parked := [other for other in self.live.values() if other.is_parked]:
            min(parked, key=lambda other: other.arrival).is_parked = False

    @property
    def are_crowded(self) -> bool:
        """Whether some of them wait for memory."""
        return any(line.is_parked for line in self.live.values())

    def best_prefix(self, account: str, tokens: Sequence[int]) -> tuple[Line | None, int]:
        """Find the line of this account that has read most of a prompt's beginning; and how much.

        The last token is always left to read, for its logits.
        """
        found, length = None, 0
        for line in self.live.values():
            if line.account == account and line.read > length:
                shared = min(common(line.tokens[: line.read], tokens), len(tokens) - 1)
                if shared > length:
                    found, length = line, shared
        return found, length

    def park_youngest(self) -> Line | None:
        """Let the line that came last wait until another ends; None when only one is left, which has all there is."""
        running = [line for line in self.live.values() if not line.is_parked]
        if len(running) < 2:  # noqa: PLR2004 - one and another
            return None
        line = max(running, key=lambda line: line.arrival)
        line.is_parked = True
        return line
