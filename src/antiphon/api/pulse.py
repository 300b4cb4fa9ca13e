"""Keeps a silent stream's connection open."""

import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import anyio

from antiphon.api.replies import Reply
from antiphon.core.groups import companions
from antiphon.core.predict import Take
from antiphon.domain.events import Batch

KEEP_ALIVE_S = 15.0
"""How long a stream may be silent before a comment is sent."""


class _Pulse:
    """One reply's."""

    __slots__ = ("_last", "_reply")

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._last = time.monotonic()

    async def take(self, batch: Batch) -> None:
        """Pass events on, and note that something was sent."""
        self._last = time.monotonic()
        await self._reply.take(batch)

    async def beat(self) -> None:
        """Send something whenever nothing else was for a while."""
        while True:
            await anyio.sleep(KEEP_ALIVE_S)
            if time.monotonic() - self._last >= KEEP_ALIVE_S:
                await self._reply.keep_alive()


def beating(reply: Reply) -> AbstractAsyncContextManager[Take]:
    """Keep a reply's connection open for the body, if it is one that can be; give what passes events on to it."""
    return _beating(reply) if reply.can_beat else nullcontext(reply.take)


@asynccontextmanager
async def _beating(reply: Reply) -> AsyncGenerator[Take]:
    pulse = _Pulse(reply)
    async with companions() as group:
        group.start_soon(pulse.beat)
        yield pulse.take
