"""One prediction from the queue to its terminal state, bounded by its deadline and ended early by four things only."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from uuid import UUID

import anyio
from anyio import CancelScope
from anyio.lowlevel import checkpoint_if_cancelled

from antiphon.core.deadlines import Deadlines
from antiphon.core.endings import ended, ended_early, late
from antiphon.core.fanout import fanned
from antiphon.core.fold import Fold
from antiphon.core.measures import NO_MEASURES, Measures
from antiphon.core.perceive import has_media, perceive
from antiphon.core.records import Records
from antiphon.core.running import Call, Running
from antiphon.core.senses import NO_SENSES, Senses
from antiphon.core.speak import spoken
from antiphon.domain.chat import ChatRequest
from antiphon.domain.errors import Draining, EngineFailed, StorageUnavailable, tell
from antiphon.domain.events import Accepted, Batch, Event, Finished, Usage
from antiphon.domain.media import Speech
from antiphon.domain.prediction import CancelReason, Prediction, Status

Take = Callable[[Batch], Awaitable[None]]
"""Whoever is given an answer as it comes."""

RECORD_GRACE_S = 6.0
"""How long the last write may take when everything around it is being cancelled: longer than a busy store is borne."""


class Predictor:
    """Runs predictions, and knows those that are running."""

    def __init__(self, records: Records, senses: Senses = NO_SENSES) -> None:
        self._records, self.senses = records, senses
        self.measures: Measures = NO_MEASURES
        self._running: dict[int, Running] = {}
        """By their ids as numbers, which are looked up ten times as fast."""
        self._deadlines = Deadlines(self._running.values())
        self._idle = anyio.Event()
        self._idle.set()
        self.is_draining = False

    def __len__(self) -> int:
        """How many predictions are queued or running."""
        return len(self._running)

    def find(self, account: str, prediction_id: UUID) -> Running | None:
        """Give one of an account's predictions that is running here."""
        running = self._running.get(prediction_id.int)
        return running if running and running.prediction.account == account else None

    def cancel(self, prediction_id: UUID, reason: CancelReason) -> None:
        """End a prediction early, if it is still running here."""
        if running := self._running.get(prediction_id.int):
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

    def begin(self, call: Call) -> Running:
        """Make a call a prediction, which must then be run. Its deadline counts from here.

        Raises:
            Draining: the server takes no new work.
        """
        if self.is_draining:
            raise Draining("The server is shutting down.")
        running = Running(call, _pending(call), Fold(call.work.request.sampling.n), CancelScope())
        running.move(running.prediction)
        self._running[running.prediction.id.int] = running
        self._bound(running, call.deadline_s)
        if self._idle.is_set():
            self._idle = anyio.Event()
        running.beginning = self._records.write(running)
        return running

    async def run(self, running: Running, take: Take | None = None) -> None:
        """Run a prediction by its contract, to its end.

        Args:
            running: the prediction; read its `fold` for the answer.
            take: is given its events as they come; what it raises ends the prediction.

        Raises:
            DeadlineExceeded, PredictionCancelled, Draining: it was ended early, and why.
            QueueFull: the model's queue is at its bound.
            StorageUnavailable: it cannot be written down.
            AntiphonError: whatever the engine raises.
        """
        try:
            unwritten: StorageUnavailable | None = None
            try:
                with running.scope:
                    await self._answer(running, take)
                    if running.scope.cancel_called:
                        await checkpoint_if_cancelled()
                    self._shield(running)
                    unwritten = await self._end(running, None)
                if not running.is_answered:
                    raise ended_early(running)
            except BaseException as error:
                if not running.is_answered:
                    with CancelScope(shield=True, deadline=anyio.current_time() + RECORD_GRACE_S) as scope:
                        unwritten = await self._end(running, error)
                    self._settle(running, unwritten or late(scope))
                raise
            if unwritten := self._settle(running, unwritten or late(running.scope)):
                raise unwritten
        finally:
            try:
                await running.call.ticket.close(running.fold.usage.total_tokens)
            finally:
                del self._running[running.prediction.id.int]
                if not self._running:
                    self._idle.set()

    async def _answer(self, running: Running, take: Take | None) -> None:
        call, features = running.call, running.call.resolved.engine.features
        admission, request = call.resolved.admission, call.contract.request
        audio_tokens = 0
        if has_media(request):
            with admission.approach():
                perceived = await perceive(request, call.work.account, features, self.senses)
            request, audio_tokens = perceived.request, perceived.audio_tokens
        slots = call.work.request.sampling.n
        await admission.take(slots, call.work.account)
        try:
            self._move(running, Status.STARTING)
            async with _asked(call, request) as events:
                said = call.contract.read(events)
                if (speech := call.work.request.speech) is None:
                    await self._told(running, _counted(said, audio_tokens), take)
                else:
                    async with self._spoken(call, speech, said) as spoken_too:
                        await self._told(running, _counted(spoken_too, audio_tokens), take)
        finally:
            admission.give_back(slots)

    def _spoken(
        self, call: Call, speech: Speech, events: AsyncIterator[Batch]
    ) -> AbstractAsyncContextManager[AsyncIterator[Batch]]:
        """An answer's events, with its speech."""
        request = call.work.request
        # Only samples can be given as they come: every other format is one file.
        is_streamed = (request.stream or call.is_streamed) and speech.format == "pcm16"
        return spoken(events, speech, self.senses, choices=request.sampling.n, is_streamed=is_streamed)

    async def _told(self, running: Running, batches: AsyncIterator[Batch], take: Take | None) -> None:
        """Note an answer's events on their way to whoever takes them."""
        fold, is_begun = running.fold, False
        async for batch in batches:
            if not batch:
                continue
            for event in batch:
                fold.add(event)
            if not is_begun:
                await self._begun(running)
            if is_begun or len(batch) > 1:
                running.spoke()
            is_begun = True
            running.tell()
            if take:
                await take(batch)
        if not fold.is_finished:
            raise EngineFailed("The engine stopped in the middle of its answer.")

    async def _begun(self, running: Running) -> None:
        """The engine has accepted it."""
        self._move(running, Status.STARTED)
        if running.call.work.request.stream:
            await running.beginning.wait()  # Nobody is told of one that a crash could make unknown.

    def _move(self, running: Running, status: Status) -> None:
        running.move(running.prediction.moved(status))
        self._records.write(running)
        running.tell()

    def _bound(self, running: Running, most_s: float) -> None:
        """Let it take so long from now on."""
        running.deadline = time.monotonic() + most_s
        self._deadlines.watch(running.deadline)

    def _shield(self, running: Running) -> None:
        """Have the last write done in the scope of the answer: entering another costs as much as all other state."""
        running.scope.shield = running.is_answered = True
        self._bound(running, RECORD_GRACE_S)

    async def _end(self, running: Running, error: BaseException | None) -> StorageUnavailable | None:
        """Write the one terminal state; shielded, so that it is written even while everything is being cancelled."""
        running.move(ended(running, error))
        if error is not None:
            running.error = tell(error) if isinstance(error, Exception) else ended_early(running)
        try:
            await self._records.write(running).wait()
        except StorageUnavailable as unwritten:
            return unwritten
        return None

    def _settle(self, running: Running, unwritten: StorageUnavailable | None) -> StorageUnavailable | None:
        """Have it over; give why it was not written, if it was not."""
        running.error = running.error or unwritten
        self.measures.ended(running)
        running.is_over = True
        running.tell()
        return unwritten


def _asked(call: Call, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[Batch]]:
    """Ask the engine: for events as they come where anybody reads them so, and once for each choice if it must be."""
    engine = call.resolved.engine
    is_read_as_it_comes = request.stream or call.is_streamed or request.speech is not None
    if request.stream != is_read_as_it_comes:
        request = replace(request, stream=is_read_as_it_comes)
    work = call.work if request is call.work.request else replace(call.work, request=request)
    return fanned(engine, work) if request.sampling.n > 1 and "n" not in engine.features else engine.stream(work)


def _counted(batches: AsyncIterator[Batch], audio_tokens: int) -> AsyncIterator[Batch]:
    """Events whose prompt counts the sound that was put into words for it."""
    return _with_sound(batches, audio_tokens) if audio_tokens else batches


async def _with_sound(batches: AsyncIterator[Batch], audio_tokens: int) -> AsyncIterator[Batch]:
    async for batch in batches:
        yield [_with_audio(event, audio_tokens) for event in batch]


def _with_audio(event: Event, audio_tokens: int) -> Event:
    match event:
        case Accepted():
            return replace(event, prompt_tokens=event.prompt_tokens + audio_tokens, audio_tokens=audio_tokens)
        case Finished(usage=Usage() as usage):
            prompt_tokens = usage.prompt_tokens + audio_tokens
            return Finished(replace(usage, prompt_tokens=prompt_tokens, prompt_audio_tokens=audio_tokens))
        case _:
            return event


def _pending(call: Call) -> Prediction:
    return Prediction(
        call.work.prediction_id,
        call.work.account,
        call.resolved.model.id,
        call.resolved.version.number,
        created_us=time.time_ns() // 1000,
        receipt=call.contract.receipt,
    )
