"""Who may run now: a model's slots, and a bounded line for them in which accounts have turns."""

from collections import OrderedDict, deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from antiphon.domain.errors import QueueFull

_FULL = "This model's queue is full. Try again later."


@dataclass(eq=False, slots=True)
class _Waiter:
    account: str
    slots: int
    decided: anyio.Event = field(default_factory=anyio.Event)
    is_refused: bool = False
    """Whether it had to make room for another account's."""


class Admission:
    """The slots of one model, and the line for them.

    A request takes one slot for each of its choices, all at once. Accounts have turns: within one, requests are served
    in order of arrival, so that nobody waits for the flood of another.
    """

    def __init__(self, slots: int, queue: int) -> None:
        self.slots = slots
        self.free = slots
        self.queued = 0
        """How many requests wait."""
        self._queue = queue
        self._approaching = 0
        self._lines: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        """Who waits, by account; the account whose turn is next stands first."""

    def __repr__(self) -> str:
        """Show the state, for tests and logs."""
        return f"<Admission {self.slots - self.free} of {self.slots} slots held, {self.queued} queued>"

    @contextmanager
    def approach(self) -> Generator[None]:
        """Make ready for the line, for the body: what is taken in meanwhile costs memory, so this has a bound too.

        Raises:
            QueueFull: as many as could run or wait are at it.
        """
        if self._approaching + self.queued >= self._queue + self.free:
            raise QueueFull(_FULL)
        self._approaching += 1
        try:
            yield
        finally:
            self._approaching -= 1

    async def take(self, slots: int, account: str = "") -> None:
        """Take `slots` slots, at most `self.slots`, waiting in line for them. Whoever has them gives them back.

        Raises:
            QueueFull: at once, when the line is at its bound and the account has its share of it; or later, for the
                last of the account that has most in a line, when another makes use of its own.
        """
        if self.queued or slots > self.free:
            await self._wait(_Waiter(account, slots))
        else:
            self.free -= slots

    def give_back(self, slots: int) -> None:
        """Give slots to who waits for them."""
        self.free += slots
        self._grant()

    async def _wait(self, waiter: _Waiter) -> None:
        self._make_room(waiter.account)
        self._lines.setdefault(waiter.account, deque()).append(waiter)
        self.queued += 1
        try:
            await waiter.decided.wait()
        except BaseException:
            # Granted and cancelled in one turn of the loop: the slots go back, or they are lost for ever.
            if not waiter.decided.is_set():
                self._take_out(waiter)
                self._grant()
            elif not waiter.is_refused:
                self.give_back(waiter.slots)
            raise
        if waiter.is_refused:
            raise QueueFull(_FULL)

    def _make_room(self, account: str) -> None:
        """See that one more may wait.

        Raises:
            QueueFull: the line is at its bound, and nobody has two more in it than this account.
        """
        if self.queued < self._queue:
            return
        longest = max(self._lines.values(), key=len, default=deque[_Waiter]())
        if len(longest) < len(self._lines.get(account, ())) + 2:
            raise QueueFull(_FULL)
        last = longest[-1]
        self._take_out(last)
        last.is_refused = True
        last.decided.set()

    def _take_out(self, waiter: _Waiter) -> None:
        line = self._lines[waiter.account]
        line.remove(waiter)
        self.queued -= 1
        if not line:
            del self._lines[waiter.account]

    def _grant(self) -> None:
        """Give slots, account by account; a large request whose turn it is is never overtaken, so none starves."""
        while self._lines:
            account, line = next(iter(self._lines.items()))
            if line[0].slots > self.free:
                return
            waiter = line[0]
            self._lines.move_to_end(account)
            self._take_out(waiter)
            self.free -= waiter.slots
            waiter.decided.set()
