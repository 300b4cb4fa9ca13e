"""Waiting for the store: who waits for what, and when what is due is written."""

import asyncio  # noqa: TID251 - futures and timers are what this takes; events and scopes cost three times as much
from collections.abc import Callable

from antiphon.domain.errors import StorageUnavailable

GATHER_S = 0.005
"""How long a transaction waits for predictions that may have something to write soon."""


class Pace:
    """Says when to write: as soon as all that run wait for it, or when what is due has waited a little."""

    def __init__(self) -> None:
        self.running, self.held = 0, 0
        """How many predictions have not ended in the store, and how many of them wait for it."""
        self._is_due = False
        self._turn: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def turn(self, rests_s: float | None, *, is_due: bool) -> None:
        """Wait until it is time to write.

        Args:
            rests_s: when it is in any case; None: not unless something new comes.
            is_due: whether there is something that should be written soon.
        """
        self._turn, self._is_due = asyncio.get_running_loop().create_future(), is_due
        if rests_s is not None:
            self.within(rests_s)
        self._look()
        try:
            await self._turn
        finally:
            self._turn = None
            self._stop()

    def within(self, most_s: float) -> None:
        """Something is to be written by then, unless the next turn comes anyway."""
        if self._turn and not self._timer:
            self._timer = self._turn.get_loop().call_later(most_s, self._come)

    def hurry(self) -> None:
        """Something is to be written soon, or somebody more waits."""
        if not self._is_due:
            self._is_due = True
            self._stop()
            self.within(GATHER_S)
        self._look()

    def _look(self) -> None:
        if self._turn and self._is_due and self.held >= self.running:
            self._turn.get_loop().call_soon(self._come)  # What else this turn of the loop brings goes with it.

    def _come(self) -> None:
        if self._turn and not self._turn.done():
            self._turn.set_result(None)

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


class Ticket:
    """Tells when something is written."""

    __slots__ = ("_call", "_error", "_is_done", "_key", "_pace", "_waiters")

    def __init__(self, pace: Pace, call: Callable[[int], None], key: int) -> None:
        """Take what it is for.

        Args:
            pace: knows how many wait.
            call: is called with `key` when somebody begins to wait.
            key: of what is written.
        """
        self._pace, self._call, self._key = pace, call, key
        self._waiters: list[asyncio.Future[None]] = []
        self._error: StorageUnavailable | None = None
        self._is_done = False

    def settle(self, error: StorageUnavailable | None = None) -> None:
        """Say that it is written, or will be; or why it will not."""
        self._is_done, self._error = True, error
        self._pace.held -= len(self._waiters)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def wait(self) -> None:
        """See core.ports.Writing."""
        if not self._is_done:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            self._pace.held += 1
            self._call(self._key)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                    self._pace.held -= 1
        if self._error:
            raise self._error
