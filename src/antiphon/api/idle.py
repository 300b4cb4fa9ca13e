"""Connections that wait for a request. So many are kept, and the one that has waited longest makes room for another."""

import resource
from contextlib import suppress
from typing import Protocol

MOST = 2_048
"""How many may wait: more than any client's pool has, and little memory."""
FILES = 65_536
"""How many files and connections the process asks to be allowed."""


class Connection(Protocol):
    """What can be closed while nothing is asked of it."""

    def close(self) -> None:
        """Close it in order."""


class Idle:
    """The connections of a server that wait, the one that has waited longest first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[Connection, None] = {}

    def add(self, connection: Connection) -> None:
        """Take note that it waits from now on."""
        self._waiting[connection] = None
        if len(self._waiting) > self._most:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.close()

    def discard(self, connection: Connection) -> None:
        """It does not."""
        self._waiting.pop(connection, None)


def room_for_idle() -> int:
    """Ask the system for as many files as it allows; give how many connections may wait: no more than a quarter."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MOST, soft // 4)
