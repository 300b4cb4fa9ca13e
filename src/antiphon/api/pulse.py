"""Keeps a silent stream's connection open."""

import asyncio  # noqa: TID251 - a timer, and no task, for every stream
import time
from collections.abc import Generator
from contextlib import contextmanager

from antiphon.api.replies import Reply
from antiphon.core.predict import Take
from antiphon.domain.events import Batch

KEEP_ALIVE_S = 15.0
"""How long a stream may be silent before a comment is sent."""


class _Pulse:
    """One reply's."""

    __slots__ = ("_last", "_reply", "timer")

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._last = time.monotonic()
        self.timer = asyncio.get_running_loop().call_later(KEEP_ALIVE_S, self._beat)

    async def take(self, batch: Batch) -> None:
        """Pass events on, and note that something was sent."""
        self._last = time.monotonic()
        await self._reply.take(batch)

    def _beat(self) -> None:
        """Send something if nothing else was for a while."""
        silent_s = time.monotonic() - self._last
        if silent_s >= KEEP_ALIVE_S:
            self._reply.keep_alive()
            silent_s = 0.0
        self.timer = asyncio.get_running_loop().call_later(KEEP_ALIVE_S - silent_s, self._beat)


@contextmanager
def beating(reply: Reply) -> Generator[Take]:
    """Keep a reply's connection open for the body, if it is one that can be; give what passes events on to it."""
    if not reply.can_beat:
        yield reply.take
        return
    pulse = _Pulse(reply)
    try:
        yield pulse.take
    finally:
        pulse.timer.cancel()
