"""Keeps a silent stream's connection open."""

import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import anyio

from antiphon.api.replies import Reply
from antiphon.core.groups import companions

KEEP_ALIVE_S = 15.0
"""How long a stream may be silent before a comment is sent."""


class Pulse:
    """One reply's."""

    __slots__ = ("_last", "_reply")

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._last = time.monotonic()

    def touch(self) -> None:
        """Note that something was sent."""
        self._last = time.monotonic()

    async def beat(self) -> None:
        """Send something whenever nothing else was for a while."""
        while True:
            await anyio.sleep(KEEP_ALIVE_S)
            if time.monotonic() - self._last >= KEEP_ALIVE_S:
                await self._reply.keep_alive()


def beating(reply: Reply) -> AbstractAsyncContextManager[Pulse]:
    """Keep a reply's connection open for the body, if it is one that can be."""
    pulse = Pulse(reply)
    return _beating(pulse) if reply.can_beat else nullcontext(pulse)


@asynccontextmanager
async def _beating(pulse: Pulse) -> AsyncGenerator[Pulse]:
    async with companions() as group:
        group.start_soon(pulse.beat)
        yield pulse
