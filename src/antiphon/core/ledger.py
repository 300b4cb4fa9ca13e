"""The ledger of one machine: requests are counted by all processes of a home, tokens by all of a database."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import anyio

from antiphon.core.groups import companions
from antiphon.core.limits import Counted, Leave, Standing, judged
from antiphon.core.spending import EXCHANGE_S, Purses, Spending
from antiphon.domain.limits import Holder, most_credit

T = TypeVar("T")


@dataclass(slots=True)
class Room:
    """What a key has under way."""

    running: int = 0
    """Predictions that are queued or running."""
    credit: float = 0.0
    """How many requests it might send when it last did."""
    credited_at: float = 0.0
    """When that was, in epoch seconds."""

    def refill(self, per_s: float, now: float) -> None:
        """Give back the requests that came with time, up to one second's."""
        passed_s = max(0.0, now - self.credited_at)  # a clock that is set back takes nothing away
        self.credit = min(most_credit(per_s), self.credit + passed_s * per_s)
        self.credited_at = now


class Rooms(Protocol):
    """The rooms of all keys, seen and changed by several processes."""

    async def enter(self, key_id: str, use: Callable[[Room], T]) -> T:
        """Count one more request of a key, unless `use` raises. Nothing comes between what it sees and what it leaves.

        Raises:
            StorageUnavailable: the room cannot be seen.
        """

    def leave(self, key_id: str) -> None:
        """Count one less. One that cannot be told stays until this process ends."""


class HomeLedger:
    """See core.limits.Ledger."""

    def __init__(self, purses: Purses, rooms: Rooms) -> None:
        self._purses, self._rooms = purses, rooms

    async def enter(self, holder: Holder) -> tuple[Standing, Leave]:
        """Count a request, if nothing stands against it."""
        now = time.time()
        spent = await self._purses.spent(holder, now)

        def use(room: Room) -> Standing:
            per_s = holder.limits.requests_per_s
            if per_s is not None:
                room.refill(per_s, now)
            standing = judged(holder, Counted(spent, room.running, room.credit), now)
            if per_s is not None:
                room.credit -= 1
            return standing

        standing = await self._rooms.enter(holder.key_id, use)
        self._purses.begin(holder)
        return standing, partial(self._leave, holder)

    async def _leave(self, holder: Holder, tokens: int) -> None:
        self._rooms.leave(holder.key_id)
        self._purses.end(holder, tokens)


@asynccontextmanager
async def open_ledger(spending: Spending, rooms: Rooms) -> AsyncGenerator[HomeLedger]:
    """Keep the ledger for the body; what was spent is told at its end too."""
    purses = Purses(spending)
    try:
        async with companions() as group:
            group.start_soon(purses.run)
            yield HomeLedger(purses, rooms)
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(EXCHANGE_S):
            await purses.exchange()
