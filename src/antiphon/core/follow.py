"""An answer read from any place on: by clients that come later, come back, or come again.

What a prediction has said so far is its fold, so nothing else is kept for those who follow it. A place counts what was
told of a choice, and therefore means the same while it runs, after it has ended, and in another process.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, replace

from antiphon.core.fold import Choice, Fold
from antiphon.core.running import Running
from antiphon.domain.events import CallDelta, ChoiceFinished, Event, Finished, SpeechDelta, TextDelta
from antiphon.domain.tools import ToolKind


@dataclass(frozen=True, slots=True)
class Place:
    """How much of one choice was told. Characters, but for `calls`, `logprobs` and `speech`."""

    reasoning: int = 0
    text: int = 0
    calls: int = 0
    """How many calls were begun."""
    call: int = 0
    """How much of the last of them."""
    logprobs: int = 0
    """How many log-probabilities."""
    speech: int = 0
    """How many bytes."""
    is_finished: bool = False


START = Place()


def ends(fold: Fold) -> list[Place]:
    """Give the places at the end of what a fold has, one for each choice."""
    return [_end(choice) for choice in fold.choices]


def is_within(places: Sequence[Place], fold: Fold) -> bool:
    """Whether a fold has come as far as some places, one for each choice."""
    return all(_has_said(choice, place) for choice, place in zip(fold.choices, places, strict=True))


def _end(choice: Choice) -> Place:
    return Place(
        _size(choice.reasoning),
        _size(choice.texts),
        len(choice.calls),
        _size(choice.calls[-1].texts) if choice.calls else 0,
        len(choice.logprobs),
        _size(choice.speech),
        choice.reason is not None,
    )


def _has_said(choice: Choice, place: Place) -> bool:
    end = _end(choice)
    if place.is_finished:
        return place == end
    if place.calls > end.calls or place.call > (_size(choice.calls[place.calls - 1].texts) if place.calls else 0):
        return False
    return all(getattr(place, part) <= getattr(end, part) for part in ("reasoning", "text", "logprobs", "speech"))


def _size(texts: Sequence[str | bytes]) -> int:
    return sum(map(len, texts))


class FoldReader:
    """Gives a fold's events from some place on, as often as asked."""

    def __init__(self, fold: Fold, places: Sequence[Place] = ()) -> None:
        """Begin to read.

        Args:
            fold: what is read; may still grow.
            places: one for each choice, none that the fold has not reached; none at all to begin at the beginning.
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
        """Give what was not told yet; nothing when there is nothing new. The fold may grow between one and the next."""
        if self._fold.accepted is None:
            return
        is_finished = self._fold.is_finished
        if not self._is_accepted:
            self._is_accepted = True
            if not self._is_resumed:
                yield self._fold.accepted
        for index, told in enumerate(self._told):
            yield from told.more(index)
        if is_finished and not self._is_finished:
            self._is_finished = True
            yield Finished()


class _Told:
    """One choice, and how much of it was told."""

    def __init__(self, choice: Choice, place: Place) -> None:
        self._choice, self.place = choice, place
        self._reasoning, self._text = _Cursor(place.reasoning), _Cursor(place.text)
        self._call = _Cursor(place.call)
        self._speech = _Tape(place.speech)

    def more(self, index: int) -> Iterator[Event]:
        choice = self._choice
        reason = choice.reason  # What comes while this is read is told before an end that comes with it.
        if reasoning := self._reasoning.take(choice.reasoning):
            self.place = replace(self.place, reasoning=self.place.reasoning + len(reasoning))
            yield TextDelta(index, reasoning, 0, is_reasoning=True)
        text, logprobs = self._text.take(choice.texts), tuple(choice.logprobs[self.place.logprobs :])
        if text or logprobs:
            told = self.place
            self.place = replace(told, text=told.text + len(text), logprobs=told.logprobs + len(logprobs))
            yield TextDelta(index, text, 0, logprobs)
        yield from self._calls(index)
        if speech := self._speech.take(choice.speech):
            self.place = replace(self.place, speech=self.place.speech + len(speech))
            yield SpeechDelta(index, speech, 0)
        if reason and not self.place.is_finished:
            self.place = replace(self.place, is_finished=True)
            yield ChoiceFinished(index, reason, choice.tokens, choice.drafts)

    def _calls(self, index: int) -> Iterator[Event]:
        calls = self._choice.calls
        while True:
            number = self.place.calls
            while number and (text := self._call.take(calls[number - 1].texts)):
                self.place = replace(self.place, call=self.place.call + len(text))
                yield CallDelta(index, number - 1, text, 0)
            if number == len(calls):
                return
            self._call = _Cursor(0)
            self.place = replace(self.place, calls=number + 1, call=0)
            yield CallDelta(index, number, "", 0, calls[number].head)


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


class _Tape:
    """Where a growing list of pieces of speech was read to."""

    def __init__(self, skip: int) -> None:
        self._skip, self._index = skip, 0

    def take(self, pieces: list[bytes]) -> bytes:
        new = b"".join(pieces[self._index :])
        self._index = len(pieces)
        skipped = min(self._skip, len(new))
        self._skip -= skipped
        return new[skipped:]


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
