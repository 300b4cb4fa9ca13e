"""The voice from the server's side: sentences in, samples out, one after another in a child."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import msgspec

from antiphon.domain.errors import EngineFailed
from antiphon.media.child import Child, ChildFailed, Limits
from antiphon.media.speech.assets import VOICES

SENTENCE_S = 120.0
"""How long one sentence may take on a slow and busy machine."""
START_S = 120.0


class Sentence(msgspec.Struct, frozen=True):
    """What is to be said."""

    text: str
    voice: str


class Said(msgspec.Struct, tag="said", frozen=True):
    """Samples at SPOKEN_HZ, one channel, signed 16-bit little-endian."""

    pcm: bytes


class Unsaid(msgspec.Struct, tag="unsaid", frozen=True):
    """It was broken off."""


class Speaker:
    """Says sentences."""

    voices: Mapping[str, str] = VOICES
    """Every name a client may use, to the voice it means."""

    def __init__(self, child: Child[Said | Unsaid]) -> None:
        self._child = child

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._child.pid

    async def say(self, text: str, voice: str) -> bytes:
        """Say a sentence, behind those that came before. Cancelled, it is broken off within a second.

        Args:
            text: as it is written; numbers, addresses and markdown are read as one says them.
            voice: one of `voices`.

        Raises:
            EngineFailed: the voice died, or was too slow.
        """
        try:
            said = await self._child.do(Sentence(text, self.voices[voice]))
        except ChildFailed:
            raise EngineFailed("The voice stopped.") from None
        if isinstance(said, Unsaid):
            raise EngineFailed("The voice stopped.")
        return said.pcm


@asynccontextmanager
async def open_speaker(folder: Path, threads: int) -> AsyncGenerator[Speaker]:
    """Have a voice for the body; its child starts with the first sentence.

    Args:
        folder: with all of `assets.ASSETS`.
        threads: of the child.
    """
    limits = Limits(SENTENCE_S, START_S, can_stop=True)
    answers = cast("type[Said | Unsaid]", Said | Unsaid)
    child = Child[Said | Unsaid]("antiphon.media.speech.worker", (str(folder), str(threads)), answers, limits)
    async with child.open():
        yield Speaker(child)
