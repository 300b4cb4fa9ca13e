"""The deadlines of all that runs, kept by one timer: nearly everything ends long before its own."""

import asyncio  # noqa: TID251 - a timer, and no task, for them all
import math
import time
from collections.abc import Collection
from typing import Protocol

TICK_S = 0.01
"""How often they are looked at, at most: one that is shorter is kept late."""


class Bounded(Protocol):
    """What may take so long and no longer."""

    @property
    def deadline(self) -> float:
        """Until when, in seconds of the monotonic clock."""

    def expire(self) -> None:
        """Be told that it is over, more than once if it goes on."""


class Deadlines:
    """Tells all that run when their time is over."""

    def __init__(self, running: Collection[Bounded]) -> None:
        """Watch whatever is in a collection when it is looked at."""
        self._running = running
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = math.inf

    def watch(self, deadline: float) -> None:
        """See that it is looked at a deadline, unless that is done before."""
        now = time.monotonic()
        at = max(deadline, now + TICK_S)
        if at < self._looks_at:
            if self._timer is not None:
                self._timer.cancel()
            self._looks_at = at
            self._timer = asyncio.get_running_loop().call_later(at - now, self._look)

    def _look(self) -> None:
        self._looks_at, self._timer = math.inf, None
        now, following = time.monotonic(), math.inf
        for one in list(self._running):
            if one.deadline <= now:
                one.expire()
            else:
                following = min(following, one.deadline)
        self.watch(following)
