"""A prediction while it runs: what was asked, how far it is, and who waits for it."""

import math
import time
from dataclasses import dataclass, field

import anyio
from anyio import CancelScope

from antiphon.core.contract import Contract
from antiphon.core.fold import Fold
from antiphon.core.limits import FREE, Ticket
from antiphon.core.ports import WRITTEN, Work, Writing
from antiphon.core.registry import Resolved
from antiphon.domain.errors import AntiphonError
from antiphon.domain.prediction import CancelReason, Prediction, Status
from antiphon.domain.record import Timings, Webhook


@dataclass(frozen=True, slots=True)
class Call:
    """A request that may run."""

    work: Work
    resolved: Resolved
    contract: Contract
    deadline_s: float
    body: bytes = b"{}"
    """The chat request as JSON, for the record."""
    webhook: Webhook | None = None
    is_streamed: bool = False
    """Whether its events are for reading, by whoever asks for them."""
    ticket: Ticket = FREE
    """Closed when it has ended."""


@dataclass(slots=True)
class Running:
    """A prediction that is being answered: read `fold` for the answer so far."""

    call: Call
    prediction: Prediction
    fold: Fold
    scope: CancelScope
    deadline: float = math.inf
    """Until when it may take, in seconds of the monotonic clock: its answer, and then its last write."""
    is_answered: bool = False
    """Whether only its last write is to come, which nothing ends but that deadline."""
    beginning: Writing = WRITTEN
    """Its first entry in the records, on its way."""
    reason: CancelReason | None = None
    fault: AntiphonError | None = None
    """What ended it, when that was neither its engine nor one of the four reasons."""
    answer: bytes | None = None
    """What was said until its end, as JSON, once the record has it: a reply need not be rendered again."""
    error: AntiphonError | None = None
    """What its clients are told, once it has ended without success."""
    waiting: int = 1
    """How many clients wait for the answer, where leaving counts."""
    is_over: bool = False
    """Whether it has ended and nothing more will change."""
    first_at: float | None = None
    """When it said something first,"""
    last_at: float | None = None
    """and last, in seconds of the monotonic clock."""
    begun: dict[Status, float] = field(default_factory=dict)
    """When it came to each status it had, in seconds of the monotonic clock."""
    _changed: anyio.Event | None = None

    def cancel(self, reason: CancelReason) -> None:
        """End it early. The first reason wins; a second call changes nothing."""
        if not self.is_ending:
            self.reason = reason  # Reason first, then cancel: the scope's exit reads it.
            self._cancel()

    def fail(self, error: AntiphonError) -> None:
        """End it with an error that comes from outside its engine."""
        if not self.is_ending:
            self.fault = error
            self._cancel()

    def expire(self) -> None:
        """Its deadline has passed."""
        if self.is_answered:
            self.scope.cancel()
        else:
            self.cancel(CancelReason.DEADLINE)

    def _cancel(self) -> None:
        if not self.is_answered:
            self.scope.cancel()

    @property
    def is_ending(self) -> bool:
        """Whether something ended it early: nothing good will come of it."""
        return self.reason is not None or self.fault is not None

    def leave(self) -> None:
        """One of those who waited is gone; the last one's leaving ends it."""
        self.waiting -= 1
        if self.waiting <= 0:
            self.cancel(CancelReason.CLIENT_GONE)

    def move(self, prediction: Prediction) -> None:
        """Stand elsewhere."""
        self.begun[prediction.status] = time.monotonic()
        self.prediction = prediction

    def spoke(self) -> None:
        """It has said something now."""
        self.last_at = time.monotonic()
        if self.first_at is None:
            self.first_at = self.last_at

    def tell(self) -> None:
        """Wake those who follow."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def change(self) -> None:
        """Wait until there is more of it."""
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()

    @property
    def completion_id(self) -> str:
        """The id of its answer."""
        return f"chatcmpl-{self.prediction.id.hex}"

    @property
    def created(self) -> int:
        """When it began, in epoch seconds."""
        return self.prediction.created_us // 1_000_000

    def timings(self, status: Status) -> Timings:
        """Give how long each part had taken when it came to a status."""
        now, at = self.begun[status], self.begun.get
        starting, started = at(Status.STARTING), at(Status.STARTED)
        queue_s = _span_s(at(Status.PENDING), starting, now)
        setup_s = _span_s(starting, started, now)
        return Timings(queue_s, setup_s, _span_s(started, now, now) if status.is_terminal else None)


def _span_s(begin: float | None, end: float | None, now: float) -> float | None:
    """How long something took that had ended by now."""
    return end - begin if begin is not None and end is not None and end <= now else None
