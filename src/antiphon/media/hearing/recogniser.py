"""The recogniser from the server's side: recordings in, words out, one after another in a child."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from antiphon.domain.errors import EngineFailed
from antiphon.domain.media import Sound
from antiphon.media.child import Child, ChildFailed, Limits

HEARING_S = 600.0
"""How long one recording may take on a slow and busy machine."""
START_S = 120.0


class Spoken(msgspec.Struct, frozen=True):
    """A recording: as domain.media.Sound has it."""

    pcm: bytes


class Heard(msgspec.Struct, frozen=True):
    """Its words."""

    text: str


class Recogniser:
    """Puts recordings into words."""

    def __init__(self, child: Child[Heard]) -> None:
        self._child = child

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._child.pid

    async def hear(self, sound: Sound) -> str:
        """Give the words in a recording, behind those that came before; empty when nobody speaks in it.

        Raises:
            EngineFailed: the recogniser died, or was too slow.
        """
        try:
            return (await self._child.do(Spoken(sound.pcm))).text
        except ChildFailed:
            raise EngineFailed("The recogniser stopped.") from None


@asynccontextmanager
async def open_recogniser(folder: Path, threads: int) -> AsyncGenerator[Recogniser]:
    """Have a recogniser for the body; its child starts with the first recording.

    Args:
        folder: with all of `assets.ASSETS`.
        threads: of the child.
    """
    limits = Limits(HEARING_S, START_S)
    child = Child("antiphon.media.hearing.worker", (str(folder), str(threads)), Heard, limits)
    async with child.open():
        yield Recogniser(child)
