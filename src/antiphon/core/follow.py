"""An answer read from any place on: by clients that come later, come back, or come again.

What a prediction has said so far is its fold, so nothing else is kept for those who follow it. A place counts what was
told of a choice, and therefore means the same while it runs, after it has ended, and in another process.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, replace

from antiphon.core.fold import Choice, Fold
from antiphon.core.running import Running
from antiphon.domain.events import CallDelta, ChoiceFinished, Event, Finished, TextDelta
from antiphon.domain.tools import ToolKind


@dataclass(frozen=True, slots=True)
class Place:
    """How much of one choice was told. Characters, but for `calls`."""

    reasoning: int = 0
    text: int = 0
    calls: int = 0
    """How many calls were begun."""
    call: int = 0
    """How much of the last of them."""
    is_finished: bool = False


START = Place()


class FoldReader:
    """Gives a fold's events from some place on, as often as asked."""

    def __init__(self, fold: Fold, places: Sequence[Place] = ()) -> None:
        """Begin to read.

        Args:
            fold: what is read; may still grow.
            places: one for each choice; none to begin at the beginning.
        """
        self._fold = fold
        self._is_resumed = bool(places)
        self._told = [
            _Told(choice, place)
            for choice, place in zip(fold.choices, places or [START] * len(fold.choices), strict=True)
        ]
        self._is_accepted = self._is_finished = False

    @property
    def places(self) -> list[Place]:
        """How much was told until now."""
        return [told.place for told in self._told]

    @property
    def begun_calls(self) -> Iterator[tuple[int, int, ToolKind]]:
        """The calls that were begun in what was told: of which choice, which of its calls, of what kind."""
        for choice, told in enumerate(self._told):
            for index, call in enumerate(self._fold.choices[choice].calls[: told.place.calls]):
                yield choice, index, call.head.kind

    def more(self) -> Iterator[Event]:
        """Give what was not told yet; nothing when there is nothing new."""
        if self._fold.accepted is None:
            return
        if not self._is_accepted:
            self._is_accepted = True
            if not self._is_resumed:
                yield self._fold.accepted
        for index, told in enumerate(self._told):
            yield from told.more(index)
        if self._fold.is_finished and not self._is_finished:
            self._is_finished = True
            yield Finished()


class _Told:
    """One choice, and how much of it was told."""

    def __init__(self, choice: Choice, place: Place) -> None:
        self._choice, self.place = choice, place
        self._reasoning, self._text = _Cursor(place.reasoning), _Cursor(place.text)
        self._call = _Cursor(place.call)
        self._logprobs = 0 if place == START else None

    def more(self, index: int) -> Iterator[Event]:
        choice = self._choice
        if reasoning := self._reasoning.take(choice.reasoning):
            self.place = replace(self.place, reasoning=self.place.reasoning + len(reasoning))
            yield TextDelta(index, reasoning, 0, is_reasoning=True)
        if text := self._text.take(choice.texts):
            logprobs = tuple(choice.logprobs[self._logprobs_told() :])
            self._logprobs = len(choice.logprobs)
            self.place = replace(self.place, text=self.place.text + len(text))
            yield TextDelta(index, text, 0, logprobs)
        yield from self._calls(index)
        if choice.reason and not self.place.is_finished:
            self.place = replace(self.place, is_finished=True)
            yield ChoiceFinished(index, choice.reason, choice.tokens, choice.drafts)

    def _calls(self, index: int) -> Iterator[Event]:
        calls = self._choice.calls
        if self.place.calls and self.place.calls <= len(calls):
            yield from self._piece(index, self.place.calls - 1)
        while self.place.calls < len(calls):
            number = self.place.calls
            self._call = _Cursor(0)
            self.place = replace(self.place, calls=number + 1, call=0)
            yield CallDelta(index, number, "", 0, calls[number].head)
            yield from self._piece(index, number)

    def _piece(self, index: int, number: int) -> Iterator[Event]:
        if text := self._call.take(self._choice.calls[number].texts):
            self.place = replace(self.place, call=self.place.call + len(text))
            yield CallDelta(index, number, text, 0)

    def _logprobs_told(self) -> int:
        """How many log-probabilities belong to what was told before: those of tokens that end in it."""
        if self._logprobs is not None:
            return self._logprobs
        choice, place = self._choice, self.place
        size = len("".join(choice.reasoning)[: place.reasoning].encode()) + len(
            "".join(choice.texts)[: place.text].encode()
        )
        count = 0
        for entry in choice.logprobs:
            size -= len(entry.bytes)
            if size < 0:
                break
            count += 1
        return count


class _Cursor:
    """Where a growing list of texts was read to."""

    def __init__(self, skip: int) -> None:
        self._skip, self._index = skip, 0

    def take(self, texts: list[str]) -> str:
        new = "".join(texts[self._index :] if self._index else texts)
        self._index = len(texts)
        if self._skip:
            skipped = min(self._skip, len(new))
            self._skip -= skipped
            return new[skipped:]
        return new


async def follow(running: Running, reader: FoldReader) -> AsyncGenerator[Event]:
    """Give what a running prediction has said and what it goes on to say, until its end.

    Raises:
        AntiphonError: what its own client was told, when it did not succeed.
    """
    await running.beginning.wait()
    while True:
        is_over, is_new = running.is_over, False
        for event in reader.more():
            is_new = True
            # The end is told when it is written down, not before: who hears of it may look it up.
            if not isinstance(event, Finished):
                yield event
        if is_over:
            break
        if not is_new:
            await running.change()
    if running.error:
        raise running.error
    yield Finished()
