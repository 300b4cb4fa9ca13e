"""Keeps a silent stream's connection open."""

import asyncio  # noqa: TID251 - a timer, and no task, for every stream
import time

from antiphon.api.replies import EventReply

KEEP_ALIVE_S = 15.0
"""How long a stream may be silent before a comment is sent."""


class Pulse:
    """One stream's, until it is stopped."""

    __slots__ = ("_reply", "_timer")

    def __init__(self, reply: EventReply) -> None:
        self._reply = reply
        self._timer = asyncio.get_running_loop().call_later(KEEP_ALIVE_S, self._beat)

    def _beat(self) -> None:
        """Send something if nothing else was for a while."""
        silent_s = time.monotonic() - self._reply.said_at
        if silent_s >= KEEP_ALIVE_S:
            self._reply.keep_alive()
            silent_s = 0.0
        self._timer = asyncio.get_running_loop().call_later(KEEP_ALIVE_S - silent_s, self._beat)

    def stop(self) -> None:
        """Send no more."""
        self._timer.cancel()
