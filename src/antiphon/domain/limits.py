"""Whose a key is, and how much may be asked with it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

Window = Literal["minute", "day", "month"]
WINDOWS: tuple[Window, ...] = ("minute", "day", "month")

Account = tuple[str, Window, int]
"""A key, a window, and when that began."""


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What one key may do; None: as much as it likes."""

    requests_per_s: float | None = None
    """On average; as many at once as come in one second, and at least one."""
    concurrent: int | None = None
    """Predictions that are queued or running."""
    tokens_per_minute: int | None = None
    """Of prompts and completions. The request that passes a limit is answered, and those behind it are not."""
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None

    @property
    def tokens(self) -> tuple[int | None, ...]:
        """Those of tokens, by WINDOWS."""
        return self.tokens_per_minute, self.tokens_per_day, self.tokens_per_month

    @property
    def is_any(self) -> bool:
        """Whether anything is limited."""
        return self != NO_LIMITS


NO_LIMITS = KeyLimits()


ADMIN = "admin"
"""The account of whoever runs the server: of the bootstrap key, and of whom the metrics are told whole."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who asks."""

    account: str
    key_id: str
    limits: KeyLimits = NO_LIMITS


def most_credit(per_s: float) -> float:
    """Give how many requests may come at once: one second's, and at least one."""
    return max(1.0, per_s)


def window_of(window: Window, at_s: float) -> tuple[int, int]:
    """Give when the window that holds a moment began and when it ends, in epoch seconds; days and months are UTC's."""
    return _window_of(window, int(at_s // 60))


@lru_cache(maxsize=64)
def _window_of(window: Window, minute: int) -> tuple[int, int]:
    at = datetime.fromtimestamp(60 * minute, UTC)
    if window == "minute":
        return int(at.timestamp()), int((at + timedelta(minutes=1)).timestamp())
    at = at.replace(hour=0, minute=0)
    if window == "day":
        return int(at.timestamp()), int((at + timedelta(days=1)).timestamp())
    at = at.replace(day=1)
    return int(at.timestamp()), int((at + timedelta(days=32)).replace(day=1).timestamp())


def accounts_of(holder: Holder, now: float) -> tuple[tuple[Account, int, int], ...]:
    """Give the accounts on which a key's tokens are put down, each with its limit and when its window ends."""
    return _accounts_of(holder.key_id, holder.limits.tokens, int(now // 60))


@lru_cache(maxsize=1024)  # Each request of a key asks three times, and the answer is the same for a minute.
def _accounts_of(key_id: str, limits: tuple[int | None, ...], minute: int) -> tuple[tuple[Account, int, int], ...]:
    limited = [(window, limit) for window, limit in zip(WINDOWS, limits, strict=True) if limit is not None]
    windows = [(window, limit, *_window_of(window, minute)) for window, limit in limited]
    return tuple(((key_id, window, begin), limit, end) for window, limit, begin, end in windows)
