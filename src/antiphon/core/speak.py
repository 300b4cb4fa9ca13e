"""An answer spoken while it is written: its text goes on at once, and each sentence is said as soon as it is whole."""

import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field

import anyio

from antiphon.core.senses import Senses
from antiphon.core.sentences import Sentences
from antiphon.domain.events import Batch, ChoiceFinished, Event, Finished, SpeechDelta, TextDelta
from antiphon.domain.media import SPOKEN_HZ, SPOKEN_TOKEN_S, Speech

PIECE_BYTES = SPOKEN_HZ
"""Half a second of samples in one event. Three divides it, and two."""
_TOKEN_BYTES = round(SPOKEN_TOKEN_S * SPOKEN_HZ * 2)
AHEAD = 16
"""How many events may wait for whoever reads them."""


@asynccontextmanager
async def spoken(
    batches: AsyncIterator[Batch], speech: Speech, senses: Senses, *, choices: int, is_streamed: bool
) -> AsyncGenerator[AsyncIterator[Batch]]:
    """Give an answer's events with speech between them, for the body; leaving it stops speaking.

    Args:
        batches: what the engine says.
        speech: the voice, and the format.
        senses: who speaks.
        choices: how many there are.
        is_streamed: whether speech is given as it comes; else each choice's as one file, before it finishes.
    """
    mouth = _Mouth(speech, senses, choices, is_streamed=is_streamed)
    failure: Exception | None = None
    with closing(mouth):
        async with anyio.create_task_group() as group:
            group.start_soon(mouth.listen, batches)
            group.start_soon(mouth.speak)
            try:
                yield mouth.told()
            except Exception as error:  # noqa: BLE001 - carried past the group, which would wrap it
                failure = error
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure


@dataclass(slots=True)
class _Voice:
    """One choice while it is spoken."""

    sentences: Sentences = field(default_factory=Sentences)
    held: bytearray = field(default_factory=bytearray)
    said_bytes: int = 0
    """How many bytes of samples there were."""
    counted: int = 0
    """How many tokens of them were told."""

    def count(self) -> int:
        """Give the tokens that were not told yet."""
        counted, self.counted = self.counted, math.ceil(self.said_bytes / _TOKEN_BYTES)
        return self.counted - counted


_Item = tuple[int, str] | ChoiceFinished | Finished
"""What is to be done in turn: a sentence of a choice, or to pass an end on once all before it is said."""


class _Mouth:
    def __init__(self, speech: Speech, senses: Senses, choices: int, *, is_streamed: bool) -> None:
        self._speech, self._senses, self._is_streamed = speech, senses, is_streamed
        self._voices = [_Voice() for _ in range(choices)]
        self._out, self._told = anyio.create_memory_object_stream[Event | Exception](AHEAD)
        self._heard = self._out.clone()  # one end for each who tells: who is done, or fails, ends nothing of the other
        self._todo, self._doing = anyio.create_memory_object_stream[_Item](math.inf)

    async def listen(self, batches: AsyncIterator[Batch]) -> None:
        """Pass on what the engine says, all but ends; note what is to be said."""
        try:
            async for batch in batches:
                for event in batch:
                    self._note(event)
                    if not isinstance(event, ChoiceFinished | Finished):
                        await self._heard.send(event)
        except Exception as error:  # noqa: BLE001 - raised again where the events are read
            await self._heard.send(error)
        finally:
            self._todo.close()
            self._heard.close()

    def _note(self, event: Event) -> None:
        match event:
            case TextDelta(is_reasoning=False):
                for sentence in self._voices[event.choice].sentences.feed(event.text):
                    self._todo.send_nowait((event.choice, sentence))
            case ChoiceFinished():
                for sentence in self._voices[event.choice].sentences.finish():
                    self._todo.send_nowait((event.choice, sentence))
                self._todo.send_nowait(event)
            case Finished():
                self._todo.send_nowait(event)
            case _:
                pass

    async def speak(self) -> None:
        """Say what is to be said, in turn."""
        try:
            async for item in self._doing:
                match item:
                    case ChoiceFinished():
                        await self._finish(item.choice)
                        await self._out.send(item)
                    case Finished():
                        await self._out.send(item)
                    case choice, sentence:
                        pcm = await self._senses.say(sentence, self._speech.voice)
                        await self._said(choice, pcm)
        except Exception as error:  # noqa: BLE001 - raised again where the events are read
            await self._out.send(error)
        finally:
            self._out.close()

    async def _said(self, choice: int, pcm: bytes) -> None:
        voice = self._voices[choice]
        voice.held += pcm
        voice.said_bytes += len(pcm)
        while self._is_streamed and len(voice.held) >= PIECE_BYTES:
            piece = bytes(voice.held[:PIECE_BYTES])
            del voice.held[:PIECE_BYTES]
            await self._out.send(SpeechDelta(choice, piece, voice.count()))

    async def _finish(self, choice: int) -> None:
        """Give what is left of a choice's speech; all of it when it is one file. A choice without words has none."""
        voice = self._voices[choice]
        if voice.held:
            data = bytes(voice.held)
            if not self._is_streamed:
                data = await self._senses.encode(data, self._speech.format)
            await self._out.send(SpeechDelta(choice, data, voice.count()))

    def close(self) -> None:
        """Have nobody listen any more."""
        for stream in (self._out, self._heard, self._todo):
            stream.close()
        self._told.close()
        self._doing.close()

    async def told(self) -> AsyncIterator[Batch]:
        """Give it all.

        Raises:
            Exception: what went wrong with the engine or with the voice.
        """
        async for event in self._told:
            if isinstance(event, Exception):
                raise event
            yield [event]
