"""A prediction: one call's life, from the queue to its one terminal state."""

from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

from antiphon.domain.values import value


class Status(StrEnum):
    """Where a prediction stands. The words are those of the WriftAI API."""

    PENDING = "pending"
    """Waiting for slots."""
    STARTING = "starting"
    """Holds its slots; the engine has not accepted it yet."""
    STARTED = "started"
    """The engine has accepted it."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"
    """Its process died; written by the next start."""

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more can happen to it."""
        return not MOVES[self]


_ENDS = frozenset({Status.FAILED, Status.CANCELLED, Status.ABANDONED})

MOVES = MappingProxyType(
    {
        Status.PENDING: _ENDS | {Status.STARTING},
        Status.STARTING: _ENDS | {Status.STARTED},
        Status.STARTED: _ENDS | {Status.SUCCEEDED},
        Status.SUCCEEDED: frozenset[Status](),
        Status.FAILED: frozenset[Status](),
        Status.CANCELLED: frozenset[Status](),
        Status.ABANDONED: frozenset[Status](),
    }
)
"""Every move there is. A store applies them by compare-and-set, so exactly one terminal state wins."""


class CancelReason(StrEnum):
    """The four things that end a prediction early."""

    CLIENT_GONE = "client_gone"
    REQUESTED = "requested"
    DEADLINE = "deadline"
    SHUTDOWN = "shutdown"


@value
class Prediction:
    """One call, as it stands now."""

    id: UUID
    account: str
    model: str
    version: int
    created_us: int
    """Wall clock, epoch microseconds; for display and order only. Durations come from the monotonic clock."""
    status: Status = Status.PENDING
    reason: CancelReason | None = None
    """Why it was cancelled; None unless it was."""
    receipt: tuple[str, ...] = ()
    """What of the request was adapted for the engine, and how: "verbosity=instruction"."""

    def moved(self, status: Status, reason: CancelReason | None = None) -> "Prediction":
        """Give the prediction after a move.

        Raises:
            ValueError: when the move is not in MOVES.
        """
        if status not in MOVES[self.status]:
            raise ValueError(f"a prediction cannot move from {self.status} to {status}")
        its = self.id, self.account, self.model, self.version, self.created_us
        return Prediction(*its, status, reason, self.receipt)
