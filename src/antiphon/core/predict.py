"""One prediction from the queue to its terminal state, bounded by its deadline and ended early by four things only."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from uuid import UUID

import anyio
from anyio import CancelScope

from antiphon.core.contract import Contract
from antiphon.core.fold import Fold
from antiphon.core.ports import Records, Work
from antiphon.core.registry import Resolved
from antiphon.domain.errors import AntiphonError, DeadlineExceeded, Draining, EngineFailed, PredictionCancelled, tell
from antiphon.domain.events import Accepted, Event
from antiphon.domain.prediction import CancelReason, Prediction, Status

RECORD_GRACE_S = 2.0
"""How long the last write may take when everything around it is being cancelled."""


@dataclass(slots=True)
class Running:
    """A prediction that is being answered: iterate it for its events, read `fold` for the answer so far."""

    prediction: Prediction
    fold: Fold
    scope: CancelScope
    events: AsyncIterator[Event] | None = None
    reason: CancelReason | None = None

    def __aiter__(self) -> AsyncIterator[Event]:
        """The events; once, and only inside the body of `Predictor.predict`."""
        if self.events is None:
            raise RuntimeError("a prediction's events are iterated inside its body only")
        return self.events

    def cancel(self, reason: CancelReason) -> None:
        """End it early. The first reason wins; a second call changes nothing."""
        if self.reason is None:
            self.reason = reason  # Reason first, then cancel: the scope's exit reads it.
            self.scope.cancel()


class Predictor:
    """Runs predictions, and knows those that are running."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._running: dict[UUID, Running] = {}
        self._idle = anyio.Event()
        self._idle.set()
        self.is_draining = False

    def __len__(self) -> int:
        """How many predictions are queued or running."""
        return len(self._running)

    def cancel(self, prediction_id: UUID, reason: CancelReason) -> None:
        """End a prediction early, if it is still running here."""
        if running := self._running.get(prediction_id):
            running.cancel(reason)

    def cancel_all(self, reason: CancelReason) -> None:
        """End everything early."""
        for running in list(self._running.values()):
            running.cancel(reason)

    async def drain(self, drain_s: float) -> None:
        """Take no new work; let what runs finish for `drain_s` seconds, then cancel the rest and see it off."""
        self.is_draining = True
        with anyio.move_on_after(drain_s):
            await self._idle.wait()
        self.cancel_all(CancelReason.SHUTDOWN)
        with anyio.move_on_after(RECORD_GRACE_S):
            await self._idle.wait()

    @asynccontextmanager
    async def predict(
        self, work: Work, resolved: Resolved, contract: Contract, deadline_s: float
    ) -> AsyncGenerator[Running]:
        """Run one call by its contract: the body iterates it for its events. `deadline_s` counts queueing too.

        Raises:
            DeadlineExceeded, PredictionCancelled, Draining: it was ended early, and why.
            QueueFull: the model's queue is at its bound.
            AntiphonError: whatever the engine raises.
        """
        if self.is_draining:
            raise Draining("The server is shutting down.")
        scope = CancelScope(deadline=anyio.current_time() + deadline_s)
        running = Running(_pending(work, resolved, contract), Fold(work.request.sampling.n), scope)
        with self._listed(running):
            try:
                with scope:
                    async with self._stream(work, resolved, contract, running):
                        yield running
                if scope.cancelled_caught:
                    raise _ended_early(running)
            except BaseException as error:
                await self._end(running, error)
                raise
            await self._end(running, None)

    @asynccontextmanager
    async def _stream(
        self, work: Work, resolved: Resolved, contract: Contract, running: Running
    ) -> AsyncGenerator[None]:
        await self._move(running, running.prediction)
        async with resolved.admission.hold(work.request.sampling.n):
            await self._move(running, running.prediction.moved(Status.STARTING))
            async with resolved.engine.stream(replace(work, request=contract.request)) as events:
                running.events = self._told(running, contract.read(events))
                yield

    async def _told(self, running: Running, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        """The engine's events, folded and recorded on their way to the reply."""
        async for event in events:
            running.fold.add(event)
            if isinstance(event, Accepted):
                await self._move(running, running.prediction.moved(Status.STARTED))
            yield event
        if not running.fold.is_finished:
            raise EngineFailed("The engine stopped in the middle of its answer.")

    async def _move(self, running: Running, prediction: Prediction) -> None:
        running.prediction = prediction
        await self._records.write(prediction, running.fold, None)

    async def _end(self, running: Running, error: BaseException | None) -> None:
        """Write the one terminal state; shielded, so that it is written even while everything is being cancelled."""
        told = tell(error) if isinstance(error, Exception) else None
        ended = _ended(running, error)
        with CancelScope(shield=True, deadline=anyio.current_time() + RECORD_GRACE_S):
            running.prediction = ended
            await self._records.write(ended, running.fold, told)

    @contextmanager
    def _listed(self, running: Running) -> Generator[None]:
        self._running[running.prediction.id] = running
        if self._idle.is_set():
            self._idle = anyio.Event()
        try:
            yield
        finally:
            del self._running[running.prediction.id]
            if not self._running:
                self._idle.set()


def _pending(work: Work, resolved: Resolved, contract: Contract) -> Prediction:
    return Prediction(
        work.prediction_id,
        work.account,
        resolved.model.id,
        resolved.version.number,
        created=int(time.time()),
        receipt=contract.receipt,
    )


def _ended_early(running: Running) -> AntiphonError:
    """What the client is told; no reason recorded means that the scope's own deadline passed."""
    match running.reason:
        case None | CancelReason.DEADLINE:
            return DeadlineExceeded("The model did not answer in time. The prediction was cancelled.")
        case CancelReason.SHUTDOWN:
            return Draining("The server is shutting down. The prediction was cancelled.")
        case CancelReason.REQUESTED | CancelReason.CLIENT_GONE:
            return PredictionCancelled("The prediction was cancelled.")


def _ended(running: Running, error: BaseException | None) -> Prediction:
    if error is None:
        return running.prediction.moved(Status.SUCCEEDED)
    if running.scope.cancelled_caught:
        return running.prediction.moved(Status.CANCELLED, running.reason or CancelReason.DEADLINE)
    if isinstance(error, Exception):
        return running.prediction.moved(Status.FAILED)
    # Cancelled from outside: the server's own tasks are being taken down.
    return running.prediction.moved(Status.CANCELLED, running.reason or CancelReason.SHUTDOWN)
