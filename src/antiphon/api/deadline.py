"""A time by which something must have happened."""

import asyncio  # noqa: TID251 - a timer of the loop
import math
from collections.abc import Callable


class Deadline:
    """Acts once its time has come. It is moved for every request, so its timer is moved only when that rings too late.

    One that rings too early is set again.
    """

    __slots__ = ("_action", "_at", "_loop", "_rings_at", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, action: Callable[[], None]) -> None:
        self._loop, self._action = loop, action
        self._at = self._rings_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Act in so many seconds, and not before."""
        self._at = self._loop.time() + seconds
        if self._at < self._rings_at:
            self._wind()

    def hasten(self, seconds: float) -> None:
        """Act in so many seconds, or before if that was due."""
        if self._loop.time() + seconds < self._at:
            self.set(seconds)

    def clear(self) -> None:
        """Do not act."""
        self._at = math.inf

    def stop(self) -> None:
        """Never act again."""
        self._at = self._rings_at = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wind(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = self._at
        self._timer = self._loop.call_at(self._at, self._ring)

    def _ring(self) -> None:
        self._timer, self._rings_at = None, math.inf
        if self._at <= self._loop.time():
            self._at = math.inf
            self._action()
        elif self._at < math.inf:
            self._wind()
