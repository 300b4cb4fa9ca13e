"""How a prediction ends: where it stands then, and what its client is told."""

from anyio import CancelScope

from antiphon.core.running import Running
from antiphon.domain.errors import AntiphonError, DeadlineExceeded, Draining, PredictionCancelled, StorageUnavailable
from antiphon.domain.prediction import CancelReason, Prediction, Status


def ended_early(running: Running) -> AntiphonError:
    """What the client is told; without a reason the server's own tasks are being taken down."""
    if running.fault:
        return running.fault
    match running.reason:
        case CancelReason.DEADLINE:
            return DeadlineExceeded("The model did not answer in time. The prediction was cancelled.")
        case None | CancelReason.SHUTDOWN:
            return Draining("The server is shutting down. The prediction was cancelled.")
        case CancelReason.REQUESTED | CancelReason.CLIENT_GONE:
            return PredictionCancelled("The prediction was cancelled.")


def ended(running: Running, error: BaseException | None) -> Prediction:
    """Where it stands in the end; without an error it has succeeded."""
    if error is None:
        return running.prediction.moved(Status.SUCCEEDED)
    if running.fault is None and running.scope.cancelled_caught:
        return running.prediction.moved(Status.CANCELLED, running.reason)
    if isinstance(error, Exception):
        return running.prediction.moved(Status.FAILED)
    # Cancelled from outside: the server's own tasks are being taken down.
    return running.prediction.moved(Status.CANCELLED, running.reason or CancelReason.SHUTDOWN)


def late(scope: CancelScope) -> StorageUnavailable | None:
    """Why a last write in a scope came to nothing, if its time was over."""
    return StorageUnavailable("The prediction could not be recorded in time.") if scope.cancelled_caught else None
