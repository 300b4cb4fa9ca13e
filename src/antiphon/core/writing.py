"""Tokens to text: characters never split, stop strings never shown, log-probabilities beside their text."""

import codecs
from collections import deque
from dataclasses import dataclass, replace

from antiphon.domain.events import TextDelta, TokenLogprob


class StopCutter:
    """Finds stop strings across the borders of pieces, and holds back what may turn out to be the start of one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """Take a piece; give what may be shown now, and whether a stop string was met (then nothing more follows)."""
        if not self._stops:
            return text, False
        pending = self._held + text
        found = [at for stop in self._stops if (at := pending.find(stop)) >= 0]
        if found:
            self._held = ""
            return pending[: min(found)], True
        keep = max(overlap(pending, stop) for stop in self._stops)
        cut = len(pending) - keep
        self._held = pending[cut:]
        return pending[:cut], False

    def flush(self) -> str:
        """Give what was held back, when no more text will come to complete a stop string."""
        held, self._held = self._held, ""
        return held


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `stop`."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


@dataclass(slots=True)
class _Waiting:
    entry: TokenLogprob
    start: int
    """Where the token's text begins, in characters from the choice's start."""
    end: int
    """Where it ends; one more than that while its last character is incomplete."""
    is_whole: bool
    """Whether its bytes are the text between both, rather than finish or break off what an earlier token began."""


class ChoiceWriter:
    """The text of one choice, made from its tokens' bytes one after another."""

    def __init__(self, choice: int, stops: tuple[str, ...] = ()) -> None:
        self.choice = choice
        self.tokens = 0
        """How many tokens were added."""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._cutter = StopCutter(stops)
        self._decoded = 0
        self._shown = 0
        self._told = 0
        self._waiting: deque[_Waiting] = deque()

    def add(
        self, piece: bytes, logprob: TokenLogprob | None = None, *, is_thinking: bool = False
    ) -> tuple[TextDelta | None, bool]:
        """Take a token's bytes; give the text it completes, if any, and whether it completed a stop string.

        Stop strings are those of the answer: thinking holds none.
        """
        self.tokens += 1
        start = self._decoded
        is_whole = not self._decoder.getstate()[0]
        text = self._decoder.decode(piece)
        self._decoded += len(text)
        if logprob is not None:
            incomplete = bool(self._decoder.getstate()[0])
            self._waiting.append(_Waiting(logprob, start, self._decoded + incomplete, is_whole))
        shown, stopped = (self._cutter.flush() + text, False) if is_thinking else self._cutter.feed(text)
        return self._delta(shown, last=stopped), stopped

    def count(self) -> None:
        """Count a token that has no text: the one that ends the turn."""
        self.tokens += 1

    def finish(self) -> TextDelta | None:
        """Give what was held back. A character that was never completed is dropped: UTF-8 is never split."""
        return self._delta(self._cutter.flush(), last=True)

    def _delta(self, text: str, *, last: bool) -> TextDelta | None:
        self._shown += len(text)
        entries = self._entries(last=last)
        if not text and not entries:
            return None
        new, self._told = self.tokens - self._told, self.tokens
        return TextDelta(self.choice, text, new, entries)

    def _entries(self, *, last: bool) -> tuple[TokenLogprob, ...]:
        """The waiting entries whose text is shown; at a cut, the straddling one is trimmed to what is shown of it."""
        ready = []
        while self._waiting and self._waiting[0].end <= self._shown:
            ready.append(self._waiting.popleft().entry)
        if last and self._waiting and self._waiting[0].start < self._shown and self._waiting[0].is_whole:
            waiting = self._waiting.popleft()
            visible = waiting.entry.bytes.decode("utf-8", "replace")[: self._shown - waiting.start]
            ready.append(replace(waiting.entry, token=visible, bytes=visible.encode()))
        return tuple(ready)
