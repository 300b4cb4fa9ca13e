"""The tokens of every key: what this process spent is told to the store every second, what others did is heard there.

Tokens are known when an answer ends, so nobody is kept waiting for the store but the first who asks with a key.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import anyio
import structlog

from antiphon.domain.errors import StorageUnavailable
from antiphon.domain.limits import Account, Holder, accounts_of, window_of

EXCHANGE_S = 1.0
"""How often what was spent is told."""
MOST_KEYS = 10_000
"""How many keys are remembered."""

_log = structlog.get_logger()


class Spending(Protocol):
    """Where all processes put down what was spent."""

    async def exchange(self, spent: Mapping[Account, int]) -> Mapping[Account, int]:
        """Add to some accounts; give what stands on each then.

        Raises:
            StorageUnavailable: nothing was added.
        """


@dataclass(slots=True)
class _Purse:
    """What one key has spent."""

    running: int = 0
    """Requests of it that this process has let in."""
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
        return self.known.get(account, 0) + self.telling.get(account, 0) + self.untold.get(account, 0)

    def add(self, account: Account, tokens: int) -> None:
        self.untold[account] = self.untold.get(account, 0) + tokens

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
            self.add(account, tokens)
        self.telling = {}

    def hear(self, totals: Mapping[Account, int]) -> None:
        """Take note of what stands in the store: it only grows, so of two answers the larger is the newer one."""
        for account, total in totals.items():
            self.known[account] = max(total, self.known.get(account, 0))

    def forget(self, now: float) -> None:
        """Drop the windows that are over."""
        self.known = {account: total for account, total in self.known.items() if window_of(*account[1:])[1] > now}


class Purses:
    """The tokens of all keys."""

    def __init__(self, spending: Spending) -> None:
        self._spending = spending
        self._purses: dict[str, _Purse] = {}

    async def spent(self, holder: Holder, now: float) -> Mapping[Account, int]:
        """Give what has been spent on each of a key's accounts.

        Raises:
            StorageUnavailable: it is not known.
        """
        purse = self._purse(holder.key_id)
        accounts = [account for account, _, _ in accounts_of(holder, now)]
        if unknown := {account: 0 for account in accounts if account not in purse.known}:
            purse.hear(await self._spending.exchange(unknown))
        return {account: purse.spent(account) for account in accounts}

    def begin(self, holder: Holder) -> None:
        """Take note of a request that may spend."""
        self._purse(holder.key_id).running += 1

    def end(self, holder: Holder, tokens: int) -> None:
        """Take note that it has ended, and what it cost."""
        purse = self._purse(holder.key_id)
        purse.running -= 1
        for account, _, _ in accounts_of(holder, time.time()) if tokens else ():
            purse.add(account, tokens)

    async def run(self) -> None:
        """Tell what was spent, for ever."""
        while True:
            await anyio.sleep(EXCHANGE_S)
            try:
                await self.exchange()
            except Exception:  # noqa: BLE001 - one turn's fault must not end the server
                _log.exception("telling what was spent failed")

    async def exchange(self) -> None:
        """Tell what was spent since, and hear what others did."""
        told = [purse for purse in self._purses.values() if purse.untold]
        # Those that ask now hear what was spent elsewhere, too.
        asked = [purse for purse in self._purses.values() if purse.running and not purse.untold]
        spent: dict[Account, int] = {}
        for purse in (*told, *asked):
            purse.forget(time.time())
            spent |= dict.fromkeys(purse.known, 0) | purse.tell()
        if not spent:
            return
        try:
            totals = await self._spending.exchange(spent)
        except BaseException as error:
            for purse in told:
                purse.untell()
            if not isinstance(error, StorageUnavailable):
                raise
            _log.warning("spending cannot be told", keys=len(told))
            return
        for purse in (*told, *asked):
            mine = (purse.known.keys() | purse.telling.keys()) & totals.keys()
            purse.hear({account: totals[account] for account in mine})
            purse.told()

    def _purse(self, key_id: str) -> _Purse:
        purse = self._purses.get(key_id)
        if purse is None:
            if len(self._purses) >= MOST_KEYS:
                self._purses = {key_id: purse for key_id, purse in self._purses.items() if not purse.is_idle}
            purse = self._purses[key_id] = _Purse()
        return purse
