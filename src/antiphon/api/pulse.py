"""Keeps a silent stream's connection open."""

import asyncio  # noqa: TID251 - a timer, and no task, for every stream
import time

from antiphon.api.replies import Reply
from antiphon.domain.events import Batch

KEEP_ALIVE_S = 15.0
"""How long a stream may be silent before a comment is sent."""


class Pulse:
    """One reply's, until it is stopped."""

    __slots__ = ("_last", "_reply", "_timer")

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._last = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(KEEP_ALIVE_S, self._beat)

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
        self._timer = asyncio.get_running_loop().call_later(KEEP_ALIVE_S - silent_s, self._beat)

    def stop(self) -> None:
        """Send no more."""
        self._timer.cancel()
