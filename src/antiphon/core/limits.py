"""How much each key asks, held against what it may: requests and predictions by this process, tokens by all together.

Tokens are known when an answer ends. What was spent is told to the store every second, and what others spent is heard
there; rates and numbers of predictions are each process's own.
"""

import math
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, Self

import anyio
import structlog

from antiphon.core.groups import companions
from antiphon.domain.errors import InsufficientQuota, RateLimited, StorageUnavailable
from antiphon.domain.limits import WINDOWS, Holder, KeyLimits, Window, window_of

EXCHANGE_S = 1.0
"""How often what was spent is told."""
MOST_KEYS = 10_000
"""How many keys are remembered."""

_log = structlog.get_logger()

Account = tuple[str, Window, int]
"""A key, a window, and when that began."""


class Spending(Protocol):
    """Where all processes put down what was spent."""

    async def exchange(self, spent: Mapping[Account, int]) -> Mapping[Account, int]:
        """Add to some accounts; give what stands on each then.

        Raises:
            StorageUnavailable: nothing was added.
        """


@dataclass(frozen=True, slots=True)
class Standing:
    """How much is left of the limit that is nearest."""

    limit: int
    remaining: int
    reset: int
    """When there is more again, in epoch seconds."""


@dataclass(slots=True)
class _State:
    """What one key has under way."""

    running: int = 0
    credit: float = 0.0
    """How many requests it may send now."""
    credited_at: float = -math.inf
    known: dict[Account, int] = field(default_factory=dict)
    """What stands in the store."""
    untold: dict[Account, int] = field(default_factory=dict)
    """What was spent since."""
    telling: dict[Account, int] = field(default_factory=dict)
    """What is on its way there, and may still come back."""

    @property
    def is_idle(self) -> bool:
        return not (self.running or self.untold or self.telling)

    def spent(self, account: Account) -> int:
        return sum(part.get(account, 0) for part in (self.known, self.telling, self.untold))

    def tell(self) -> dict[Account, int]:
        """Send what was spent on its way."""
        self.telling, self.untold = self.untold, {}
        return self.telling

    def told(self) -> None:
        """It has arrived."""
        self.telling = {}

    def untell(self) -> None:
        """It has not."""
        for account, tokens in self.telling.items():
            self.untold[account] = self.untold.get(account, 0) + tokens
        self.telling = {}

    def hear(self, totals: Mapping[Account, int]) -> None:
        """Take note of what stands in the store: it only grows, so of two answers the larger is the newer one."""
        for account, total in totals.items():
            self.known[account] = max(total, self.known.get(account, 0))

    def forget(self, now: float) -> None:
        """Drop the windows that are over."""
        self.known = {account: total for account, total in self.known.items() if window_of(*account[1:])[1] > now}


class Ticket:
    """A request that was let in. Whoever holds it closes it; it closes itself when the body of a `with` fails."""

    __slots__ = ("_holder", "_state", "standing")

    def __init__(self, holder: Holder, state: _State | None = None, standing: Standing | None = None) -> None:
        self._holder, self._state = holder, state
        self.standing = standing
        """None where nothing is limited."""

    def __enter__(self) -> Self:
        """Hold it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close it when something went wrong."""
        if kind is not None:
            self.close()

    def close(self, tokens: int = 0) -> None:
        """Take note that it has ended, and cost so many tokens. A second call changes nothing."""
        state, self._state = self._state, None
        if state is not None:
            state.running -= 1
            for account, _, _ in _accounts(self._holder, time.time()) if tokens else ():
                state.untold[account] = state.untold.get(account, 0) + tokens


FREE = Ticket(Holder("", ""))
"""What is let in without limits."""


class Limiter:
    """All keys of this process."""

    def __init__(self, spending: Spending) -> None:
        self._spending = spending
        self._states: dict[str, _State] = {}

    async def admit(self, holder: Holder) -> Ticket:
        """Let a request in.

        Raises:
            RateLimited, InsufficientQuota: it has to wait, and how long.
            StorageUnavailable: what it has spent is not known.
        """
        limits = holder.limits
        if not limits.is_any:
            return FREE
        state = self._states.get(holder.key_id)
        if state is None:
            if len(self._states) >= MOST_KEYS:
                self._forget()
            state = self._states[holder.key_id] = _State()
        now = time.time()
        accounts = list(_accounts(holder, now))
        if unknown := {account: 0 for account, _, _ in accounts if account not in state.known}:
            state.hear(await self._spending.exchange(unknown))
        standings = [_budget(state, *account, now) for account in accounts]
        if limits.concurrent is not None:
            standings.append(_concurrency(state, limits.concurrent, now))
        if limits.requests_per_s is not None:
            standings.append(_rate(state, limits, now))
        state.running += 1
        return Ticket(holder, state, min(standings, key=lambda standing: standing.remaining / standing.limit))

    async def run(self) -> None:
        """Tell what was spent, for ever."""
        while True:
            await anyio.sleep(EXCHANGE_S)
            await self.exchange()

    async def exchange(self) -> None:
        """Tell what was spent since, and hear what others did."""
        told = [state for state in self._states.values() if state.untold]
        # Those that ask now hear what was spent elsewhere, too.
        asked = [state for state in self._states.values() if state.running and not state.untold]
        spent: dict[Account, int] = {}
        for state in (*told, *asked):
            state.forget(time.time())
            spent |= dict.fromkeys(state.known, 0) | state.tell()
        if not spent:
            return
        try:
            totals = await self._spending.exchange(spent)
        except BaseException as error:
            for state in told:
                state.untell()
            if not isinstance(error, StorageUnavailable):
                raise
            _log.warning("spending cannot be told", keys=len(told))
            return
        for state in (*told, *asked):
            mine = (state.known.keys() | state.telling.keys()) & totals.keys()
            state.hear({account: totals[account] for account in mine})
            state.told()

    def _forget(self) -> None:
        for key_id in [key_id for key_id, state in self._states.items() if state.is_idle]:
            del self._states[key_id]


@asynccontextmanager
async def open_limiter(spending: Spending) -> AsyncGenerator[Limiter]:
    """Hold all keys to their limits, for the body; what was spent is told at its end too."""
    limiter = Limiter(spending)
    try:
        async with companions() as group:
            group.start_soon(limiter.run)
            yield limiter
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(EXCHANGE_S):
            await limiter.exchange()


def _accounts(holder: Holder, now: float) -> Iterator[tuple[Account, int, int]]:
    """Give a key's accounts, each with its limit and when its window ends."""
    for window in WINDOWS:
        limit = holder.limits.tokens_per(window)
        if limit is not None:
            begin, end = window_of(window, now)
            yield (holder.key_id, window, begin), limit, end


def _budget(state: _State, account: Account, limit: int, end: int, now: float) -> Standing:
    left = limit - state.spent(account)
    if left > 0:
        return Standing(limit, left, end)
    error = InsufficientQuota if account[1] == "month" else RateLimited
    raise error(
        f"This key has used its {limit} tokens of this {account[1]}.",
        retry_after_s=max(1, math.ceil(end - now)),
        limit=limit,
    )


def _concurrency(state: _State, limit: int, now: float) -> Standing:
    if state.running >= limit:
        raise RateLimited(f"This key may have {limit} predictions at once.", limit=limit)
    return Standing(limit, limit - state.running - 1, math.ceil(now + 1))


def _rate(state: _State, limits: KeyLimits, now: float) -> Standing:
    """Take one of the requests that a key may send; they come back with time, up to one second's."""
    rate = limits.requests_per_s or 0.0
    most = max(1.0, rate)
    passed_s = max(0.0, now - state.credited_at)  # a clock that is set back takes nothing away
    state.credit = min(most, state.credit + passed_s * rate)
    state.credited_at = now
    if state.credit < 1:
        wait_s = (1 - state.credit) / rate
        raise RateLimited(
            f"This key may send {rate:g} requests a second.", retry_after_s=max(1, math.ceil(wait_s)), limit=int(most)
        )
    state.credit -= 1
    return Standing(int(most), int(state.credit), math.ceil(now + (most - state.credit) / rate))
