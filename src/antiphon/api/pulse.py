"""Keeps a silent stream's connection open."""

import time

import anyio

from antiphon.api.replies import Reply

KEEP_ALIVE_S = 15.0
"""How long a stream may be silent before a comment is sent."""


class Pulse:
    """One reply's."""

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
