"""How much each key asks, held against what it may."""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, Self

from antiphon.domain.errors import InsufficientQuota, RateLimited
from antiphon.domain.limits import Account, Holder, accounts_of, most_credit
from antiphon.domain.values import value


@value
class Standing:
    """How much is left of the limit that is nearest."""

    limit: int
    remaining: int
    reset: int
    """When there is more again, in epoch seconds."""


@value
class Counted:
    """What stands against a key when it asks."""

    spent: Mapping[Account, int]
    """Tokens."""
    running: int
    """Predictions."""
    credit: float
    """How many requests it may send now; any number where they are not limited."""


Leave = Callable[[int], Awaitable[None]]
"""Tells that a request has ended, and how many tokens it cost. Raises nothing, and cannot be cancelled."""


class Ledger(Protocol):
    """Where requests and tokens are counted, for as many processes as share it."""

    async def enter(self, holder: Holder) -> tuple[Standing, Leave]:
        """Count a request, if nothing stands against it.

        Raises:
            RateLimited, InsufficientQuota: something does; nothing was counted.
            StorageUnavailable: nobody knows.
        """


class Ticket:
    """A request that was let in. Whoever holds it closes it; it closes itself when an `async with` of it fails."""

    __slots__ = ("_leave", "standing")

    def __init__(self, leave: Leave | None = None, standing: Standing | None = None) -> None:
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
            await leave(tokens)


FREE = Ticket()
"""What is let in without limits."""


class Limiter:
    """Holds all keys to their limits."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def admit(self, holder: Holder) -> Ticket:
        """Let a request in.

        Raises:
            RateLimited, InsufficientQuota: it has to wait, and how long.
            StorageUnavailable: what stands against it is not known.
        """
        if not holder.limits.is_any:
            return FREE
        standing, leave = await self._ledger.enter(holder)
        return Ticket(leave, standing)


def judged(holder: Holder, counted: Counted, now: float) -> Standing:
    """Give what is left of a key's limits once one more request is let in.

    Raises:
        RateLimited, InsufficientQuota: it may not be.
    """
    limits = holder.limits
    standings = [
        _budget(account, limit - counted.spent[account], limit, end, now)
        for account, limit, end in accounts_of(holder, now)
    ]
    if limits.concurrent is not None:
        standings.append(_concurrency(counted.running, limits.concurrent, now))
    if limits.requests_per_s is not None:
        standings.append(_rate(counted.credit, limits.requests_per_s, now))
    return min(standings, key=lambda standing: standing.remaining / standing.limit)


def _budget(account: Account, left: int, limit: int, end: int, now: float) -> Standing:
    if left > 0:
        return Standing(limit, left, end)
    error = InsufficientQuota if account[1] == "month" else RateLimited
    raise error(
        f"This key has used its {limit} tokens of this {account[1]}.",
        retry_after_s=max(1, math.ceil(end - now)),
        limit=limit,
    )


def _concurrency(running: int, limit: int, now: float) -> Standing:
    if running >= limit:
        raise RateLimited(f"This key may have {limit} predictions at once.", limit=limit)
    return Standing(limit, limit - running - 1, math.ceil(now + 1))


def _rate(credit: float, per_s: float, now: float) -> Standing:
    most = most_credit(per_s)
    if credit < 1:
        wait_s = max(1, math.ceil((1 - credit) / per_s))
        raise RateLimited(f"This key may send {per_s:g} requests a second.", retry_after_s=wait_s, limit=int(most))
    return Standing(int(most), int(credit - 1), math.ceil(now + (most - credit + 1) / per_s))
