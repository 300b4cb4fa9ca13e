"""How much is under way at once: in all, and to one receiver, so that a slow one cannot take every slot."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio import CapacityLimiter


@dataclass(eq=False, slots=True)
class _Receiver:
    slots: CapacityLimiter
    users: int = 0
    """Those who hold a slot or wait for one."""


class Slots:
    """The slots of all receivers; a receiver is forgotten when nobody sends to it."""

    def __init__(self, in_all: int, per_receiver: int) -> None:
        self._in_all = CapacityLimiter(in_all)
        self._per_receiver = per_receiver
        self._receivers: dict[str, _Receiver] = {}

    def __repr__(self) -> str:
        """Show the state, for tests and logs."""
        return f"<Slots {self._in_all.borrowed_tokens} held, {len(self._receivers)} receivers>"

    @asynccontextmanager
    async def hold(self, receiver: str) -> AsyncGenerator[None]:
        """Hold a slot for the body, waiting in line for it."""
        if (mine := self._receivers.get(receiver)) is None:
            mine = self._receivers[receiver] = _Receiver(CapacityLimiter(self._per_receiver))
        mine.users += 1
        try:
            # The receiver's own first: who waits for a slow receiver holds none of everybody's slots.
            async with mine.slots, self._in_all:
                yield
        finally:
            mine.users -= 1
            if not mine.users:
                del self._receivers[receiver]
