"""How much each key asks, held against what it may: requests and predictions by this process, tokens by all together.

Rates and numbers of predictions are each process's own.
"""

import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Self

import anyio

from antiphon.core.groups import companions
from antiphon.core.spending import EXCHANGE_S, MOST_KEYS, Purses, Spending
from antiphon.domain.errors import InsufficientQuota, RateLimited
from antiphon.domain.limits import Account, Holder, KeyLimits, accounts_of


@dataclass(frozen=True, slots=True)
class Standing:
    """How much is left of the limit that is nearest."""

    limit: int
    remaining: int
    reset: int
    """When there is more again, in epoch seconds."""


@dataclass(slots=True)
class _Room:
    """What one key has under way."""

    running: int = 0
    credit: float = 0.0
    """How many requests it may send now."""
    credited_at: float = -math.inf


class Ticket:
    """A request that was let in. Whoever holds it closes it; it closes itself when an `async with` of it fails."""

    __slots__ = ("_leave", "standing")

    def __init__(self, leave: Callable[[int], Awaitable[None]] | None = None, standing: Standing | None = None) -> None:
        self._leave = leave
        self.standing = standing
        """None where nothing is limited."""

    async def __aenter__(self) -> Self:
        """Hold it."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close it when something went wrong."""
        if kind is not None:
            await self.close()

    async def close(self, tokens: int = 0) -> None:
        """Take note that it has ended, and cost so many tokens. A second call changes nothing.

        Whoever hears that a request has ended may send another, so its end is told only after this.
        """
        leave, self._leave = self._leave, None
        if leave is not None:
            with anyio.CancelScope(shield=True):
                await leave(tokens)


FREE = Ticket()
"""What is let in without limits."""


class Limiter:
    """All keys of this process."""

    def __init__(self, purses: Purses) -> None:
        self._purses = purses
        self._rooms: dict[str, _Room] = {}

    async def admit(self, holder: Holder) -> Ticket:
        """Let a request in.

        Raises:
            RateLimited, InsufficientQuota: it has to wait, and how long.
            StorageUnavailable: what it has spent is not known.
        """
        limits, now = holder.limits, time.time()
        if not limits.is_any:
            return FREE
        spent = await self._purses.spent(holder, now)
        room = self._room(holder.key_id)
        standings = [
            _budget(account, limit - spent[account], limit, end, now)
            for account, limit, end in accounts_of(holder, now)
        ]
        if limits.concurrent is not None:
            standings.append(_concurrency(room, limits.concurrent, now))
        if limits.requests_per_s is not None:
            standings.append(_rate(room, limits, now))
        room.running += 1
        self._purses.begin(holder)
        standing = min(standings, key=lambda standing: standing.remaining / standing.limit)
        return Ticket(partial(self._leave, holder, room), standing)

    async def _leave(self, holder: Holder, room: _Room, tokens: int) -> None:
        room.running -= 1
        self._purses.end(holder, tokens)

    def _room(self, key_id: str) -> _Room:
        room = self._rooms.get(key_id)
        if room is None:
            if len(self._rooms) >= MOST_KEYS:
                self._rooms = {key_id: room for key_id, room in self._rooms.items() if room.running}
            room = self._rooms[key_id] = _Room()
        return room


@asynccontextmanager
async def open_limiter(spending: Spending) -> AsyncGenerator[Limiter]:
    """Hold all keys to their limits, for the body; what was spent is told at its end too."""
    purses = Purses(spending)
    try:
        async with companions() as group:
            group.start_soon(purses.run)
            yield Limiter(purses)
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(EXCHANGE_S):
            await purses.exchange()


def _budget(account: Account, left: int, limit: int, end: int, now: float) -> Standing:
    if left > 0:
        return Standing(limit, left, end)
    error = InsufficientQuota if account[1] == "month" else RateLimited
    raise error(
        f"This key has used its {limit} tokens of this {account[1]}.",
        retry_after_s=max(1, math.ceil(end - now)),
        limit=limit,
    )


def _concurrency(room: _Room, limit: int, now: float) -> Standing:
    if room.running >= limit:
        raise RateLimited(f"This key may have {limit} predictions at once.", limit=limit)
    return Standing(limit, limit - room.running - 1, math.ceil(now + 1))


def _rate(room: _Room, limits: KeyLimits, now: float) -> Standing:
    """Take one of the requests that a key may send; they come back with time, up to one second's."""
    rate = limits.requests_per_s or 0.0
    most = max(1.0, rate)
    passed_s = max(0.0, now - room.credited_at)  # a clock that is set back takes nothing away
    room.credit = min(most, room.credit + passed_s * rate)
    room.credited_at = now
    if room.credit < 1:
        wait_s = (1 - room.credit) / rate
        raise RateLimited(
            f"This key may send {rate:g} requests a second.", retry_after_s=max(1, math.ceil(wait_s)), limit=int(most)
        )
    room.credit -= 1
    return Standing(int(most), int(room.credit), math.ceil(now + (most - room.credit) / rate))
