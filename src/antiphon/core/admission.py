"""Who may run now: a model's slots, and a bounded first-in-first-out queue for them."""

from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import anyio

from antiphon.domain.errors import QueueFull

_FULL = "This model's queue is full. Try again later."


@dataclass(eq=False, slots=True)
class _Waiter:
    slots: int
    granted: anyio.Event = field(default_factory=anyio.Event)


class Admission:
    """The slots of one model. A request takes one slot for each of its choices, all at once, in order of arrival."""

    def __init__(self, slots: int, queue: int) -> None:
        self.slots = slots
        self.free = slots
        self._queue = queue
        self._approaching = 0
        self._waiters: deque[_Waiter] = deque()

    def __repr__(self) -> str:
        """Show the state, for tests and logs."""
        return f"<Admission {self.slots - self.free} of {self.slots} slots held, {self.queued} queued>"

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return len(self._waiters)

    @contextmanager
    def approach(self) -> Generator[None]:
        """Make ready for the line, for the body: what is taken in meanwhile costs memory, so this has a bound too.

        Raises:
            QueueFull: as many as could run or wait are at it.
        """
        if self._approaching + len(self._waiters) >= self._queue + self.free:
            raise QueueFull(_FULL)
        self._approaching += 1
        try:
            yield
        finally:
            self._approaching -= 1

    @asynccontextmanager
    async def hold(self, slots: int) -> AsyncGenerator[None]:
        """Hold `slots` slots for the body, waiting in line for them. At most `self.slots` may be asked for.

        Raises:
            QueueFull: at once, when the line is at its bound.
        """
        if self._waiters or slots > self.free:
            await self._wait(slots)
        else:
            self.free -= slots
        try:
            yield
        finally:
            self._release(slots)

    async def _wait(self, slots: int) -> None:
        if len(self._waiters) >= self._queue:
            raise QueueFull(_FULL)
        waiter = _Waiter(slots)
        self._waiters.append(waiter)
        try:
            await waiter.granted.wait()
        except BaseException:
            # Granted and cancelled in one turn of the loop: the slots go back, or they are lost for ever.
            if waiter.granted.is_set():
                self._release(slots)
            else:
                self._waiters.remove(waiter)
                self._grant()
            raise

    def _release(self, slots: int) -> None:
        self.free += slots
        self._grant()

    def _grant(self) -> None:
        """Give slots to those first in line; a large request at the head is never overtaken, so none starves."""
        while self._waiters and self._waiters[0].slots <= self.free:
            waiter = self._waiters.popleft()
            self.free -= waiter.slots
            waiter.granted.set()
