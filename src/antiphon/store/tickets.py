"""Waiting for the store: who waits for what, and whether anything still runs that does not."""

import asyncio  # noqa: TID251 - a future is what one waiter needs; an event costs three times as much

import anyio

from antiphon.domain.errors import StorageUnavailable


class Hold:
    """Knows whether anything still runs that does not wait for the store."""

    def __init__(self) -> None:
        self.running, self.held = 0, 0
        """How many predictions have not ended in the store, and how many of them wait for it."""
        self.all_held = anyio.Event()
        self.news = anyio.Event()
        """That there is something new to write, or somebody new who waits."""

    def look(self) -> None:
        """Say so when all of them wait."""
        if self.held >= self.running:
            self.all_held.set()

    async def wait(self, most_s: float) -> None:
        """Wait until all of them wait, but not for long."""
        if self.held < self.running:
            self.all_held = anyio.Event()
            with anyio.move_on_after(most_s):
                await self.all_held.wait()


class Ticket:
    """Tells when something is written."""

    __slots__ = ("_error", "_hold", "_is_done", "_waiters", "is_awaited")

    def __init__(self, hold: "Hold") -> None:
        self._hold = hold
        self._waiters: list[asyncio.Future[None]] = []
        self._error: StorageUnavailable | None = None
        self._is_done = False
        self.is_awaited = False
        """Whether anybody waits, or has."""

    def settle(self, error: StorageUnavailable | None = None) -> None:
        """Say that it is written, or will be; or why it will not."""
        self._is_done, self._error = True, error
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """See core.ports.Writing."""
        if not self._is_done:
            self.is_awaited = True
            self._hold.held += 1
            self._hold.news.set()
            self._hold.look()
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                self._hold.held -= 1
        if self._error:
            raise self._error
