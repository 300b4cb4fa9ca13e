"""Predictions that run, written down while they do: on both stores, by the real recorder behind the real predictor."""

import base64
import contextlib
import random
import sqlite3
import time
from dataclasses import replace

import anyio
import pytest
from anyio import fail_after
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from antiphon.core.predict import Predictor
from antiphon.domain.errors import PredictionCancelled, StorageUnavailable
from antiphon.domain.prediction import CancelReason, Status
from antiphon.domain.record import Webhook
from antiphon.store import recorder as recorder_module
from antiphon.store.archive import SqlArchive
from antiphon.store.recorder import Recorder
from antiphon.store.rows import packed
from antiphon.store.tables import labels, predictions
from tests.store.kit import INSTANCE, MOST, begun, call, resolved, rows, statuses, write

pytestmark = pytest.mark.anyio


class Counted:
    """A database that knows how often it was written."""

    def __init__(self, database):
        self._database, self.writes = database, 0
        self.read = database.read

    async def write(self, use, **options):
        self.writes += 1
        return await self._database.write(use, **options)


class Unwell:
    """A real database whose next answer can be held back, and can be that it does not answer."""

    def __init__(self, database):
        self._database, self.is_down, self.may_answer, self.is_asked = database, False, anyio.Event(), anyio.Event()
        self.may_answer.set()
        self.cause = OSError()
        self.read = database.read

    async def write(self, use, **options):
        self.is_asked.set()
        await self.may_answer.wait()
        if self.is_down:
            raise StorageUnavailable("It is down.") from self.cause
        return await self._database.write(use, **options)


@contextlib.asynccontextmanager
async def recording(database, notify=lambda record: None):
    recorder = Recorder(database, INSTANCE, MOST, notify)
    async with recorder.open():
        yield Predictor(recorder)


def slow(of=None, **script):
    """A call whose engine takes its time."""
    of = of or call()
    return replace(of, resolved=resolved(**({"accept_s": 30.0} | script)))


async def run_in(group, predictor, of):
    """Begin a prediction and let it run; give it once its beginning is written."""
    running = predictor.begin(of)

    async def live():
        with contextlib.suppress(PredictionCancelled):
            await predictor.run(running)

    group.start_soon(live)
    await running.beginning.wait()
    return running


async def until_status(database, running, status, wait_s=5.0):
    with fail_after(wait_s):
        while (await statuses(database))[running.prediction.id.hex] != status:
            await anyio.sleep(0.01)


async def test_a_beginning_is_in_the_store_before_anyone_hears_of_it_and_its_end_when_it_is_told(database):
    async with recording(database) as predictor, anyio.create_task_group() as group:
        running = await run_in(group, predictor, slow())
        assert (await statuses(database))[running.prediction.id.hex] in {"pending", "starting"}
        await until_status(database, running, "starting")
        predictor.cancel(running.prediction.id, CancelReason.REQUESTED)
        with fail_after(5):
            while not running.is_over:
                await running.change()
        assert (await statuses(database))[running.prediction.id.hex] == "cancelled"


async def test_a_prediction_that_takes_no_time_is_one_row_written_once(database):
    counted = Counted(database)
    async with recording(counted) as predictor:
        running = predictor.begin(call(store=True, metadata={"a": "1"}))
        await predictor.run(running)
        assert await statuses(database) == {running.prediction.id.hex: "succeeded"}
        assert {row.prediction for row in await rows(database, labels)} == {running.prediction.id.hex}
        record = await SqlArchive(database).get("team", running.prediction.id)
        assert (record.is_stored, record.timings.execution_s is not None) == (True, True)
    assert counted.writes == 1


async def test_many_at_once_are_written_in_few_transactions(database):
    counted = Counted(database)
    async with recording(counted) as predictor:
        async with anyio.create_task_group() as group:
            for _ in range(300):
                group.start_soon(predictor.run, predictor.begin(call()))
        assert list((await statuses(database)).values()) == ["succeeded"] * 300
    assert counted.writes <= 30
    assert await SqlArchive(database).runs() == {"test/hello": 300}


async def test_what_another_process_ended_stays_ended_and_nobody_is_notified_of_another_end(database):
    told = []
    hook = Webhook("https://example.com/")
    with capture_logs() as logs:
        async with recording(database, told.append) as predictor, anyio.create_task_group() as group:
            running = await run_in(group, predictor, slow(call(webhook=hook)))
            await until_status(database, running, "starting")
            ended = update(predictions).values(status="abandoned")
            await database.write(lambda connection: connection.execute(ended))
            predictor.cancel(running.prediction.id, CancelReason.REQUESTED)
        assert list((await statuses(database)).values()) == ["abandoned"]
    assert [record.status for record in told] == [Status.PENDING, Status.STARTING]
    assert any(line["event"] == "a prediction was ended by another process" for line in logs)


async def test_a_webhook_hears_of_every_state_in_order_however_few_transactions_it_took(database):
    told, counted = [], Counted(database)
    async with recording(counted, told.append) as predictor:
        await predictor.run(predictor.begin(call(webhook=Webhook("https://example.com/"))))
        await predictor.run(predictor.begin(call()))
    assert [record.status.value for record in told] == ["pending", "starting", "started", "succeeded"]
    assert counted.writes == 2


async def test_one_that_cannot_be_written_is_refused_and_the_others_are_not(database):
    """Its id is taken, which no retry cures."""
    bad, refused = call(), []
    await write(database, begun(bad))

    async def attempt(predictor, of):
        try:
            await predictor.run(predictor.begin(of))
        except StorageUnavailable:
            refused.append(of)

    with capture_logs() as logs:
        async with recording(database) as predictor, anyio.create_task_group() as group:
            for of in [*(call() for _ in range(10)), bad, *(call() for _ in range(10))]:
                group.start_soon(attempt, predictor, of)
    assert refused == [bad]
    found = await statuses(database)
    assert found.pop(bad.work.prediction_id.hex)
    assert list(found.values()) == ["succeeded"] * 20
    (said,) = [line for line in logs if line["event"] == "a prediction cannot be written"]
    assert said["id"] == str(bad.work.prediction_id)


async def test_leaving_writes_what_is_still_waiting(database):
    async with recording(database) as predictor:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                for _ in range(50):
                    group.start_soon(predictor.run, predictor.begin(slow(accept_s=0.0)))
                scope.cancel()
    assert set((await statuses(database)).values()) <= {"succeeded", "cancelled"}
    assert len(await statuses(database)) == 50


# -- a store that does not answer


async def test_an_answer_that_is_whole_before_its_beginning_failed_to_be_written_is_no_success(database):
    """DB-01: never 200 without a record."""
    unwell = Unwell(database)
    async with recording(unwell) as predictor, anyio.create_task_group() as group:
        unwell.may_answer, unwell.is_down = anyio.Event(), True
        running = predictor.begin(call())
        told = []

        async def ask():
            try:
                await predictor.run(running)
            except StorageUnavailable as error:
                told.append(error)

        await unwell.is_asked.wait()
        group.start_soon(ask)
        with fail_after(5):
            while not running.fold.is_finished:
                await anyio.sleep(0.001)
        unwell.may_answer.set()
        with fail_after(5):
            while not running.is_over:
                await anyio.sleep(0.001)
        unwell.is_down = False
    assert len(told) == 1
    assert await statuses(database) == {}


async def test_a_prediction_that_runs_while_the_store_is_down_ends_well_and_is_written_when_it_is_back(database):
    """DB-01."""
    unwell, told = Unwell(database), []
    hook = Webhook("https://example.com/")
    async with recording(unwell, told.append) as predictor, anyio.create_task_group() as group:
        running = await run_in(group, predictor, slow(call(webhook=hook), accept_s=0.0, repeat=15, token_s=0.02))
        unwell.is_down = True
        with fail_after(5):
            while not running.is_over:
                await running.change()
        assert running.error is None
        assert (await statuses(database))[running.prediction.id.hex] != "succeeded"
        with pytest.raises(StorageUnavailable):
            await predictor.run(predictor.begin(call()))
        unwell.is_down = False
        await until_status(database, running, "succeeded")
        await predictor.run(predictor.begin(call()))
    assert set((await statuses(database)).values()) == {"succeeded"}
    assert told[-1].status is Status.SUCCEEDED


async def test_an_end_that_comes_while_an_earlier_move_fails_on_a_busy_store_is_not_lost(database, monkeypatch):
    """DB-02."""
    monkeypatch.setattr(recorder_module, "PATIENCE_S", 0.0)
    unwell = Unwell(database)
    async with recording(unwell) as predictor, anyio.create_task_group() as group:
        running = await run_in(group, predictor, slow(accept_s=1.0, repeat=5, token_s=0.02))
        await until_status(database, running, "starting")
        unwell.may_answer, unwell.is_asked, unwell.is_down = anyio.Event(), anyio.Event(), True
        unwell.cause = OperationalError("BEGIN IMMEDIATE", {}, sqlite3.OperationalError("database is locked"))
        await unwell.is_asked.wait()
        assert running.prediction.status is Status.STARTED
        with fail_after(5):
            while not running.prediction.status.is_terminal:
                await anyio.sleep(0.001)
        unwell.may_answer.set()
        with fail_after(5):
            while not running.is_over:
                await anyio.sleep(0.001)
        assert running.error is None
        unwell.is_down = False
        await until_status(database, running, "succeeded")


async def test_a_refused_prediction_that_was_written_after_all_comes_to_an_end(database):
    """The store may die after it wrote a beginning, before it said so."""

    class Deaf(Unwell):
        async def write(self, use, **options):
            given = await self._database.write(use, **options)
            if self.is_down:
                raise StorageUnavailable("It is down.") from OSError()
            return given

    unwell = Deaf(database)
    async with recording(unwell) as predictor:
        unwell.is_down = True
        running = predictor.begin(slow())
        with pytest.raises(StorageUnavailable):
            await predictor.run(running)
        unwell.is_down = False
        await until_status(database, running, "failed")


LARGE = base64.b64encode(random.Random(1).randbytes(8_000_000)).decode()


def packing_s():
    """How long this thread takes to pack it."""
    begun = time.thread_time()  # Of the thread, which may wait for its turn on a busy machine.
    packed(b'{"text": "%s"}' % LARGE.encode(), MOST)
    return time.thread_time() - begun


@contextlib.asynccontextmanager
async def watched():
    """Give a list of how long the loop took for each of its turns while the body ran."""
    turns_s = []

    async def watch():
        while True:
            begun = time.thread_time()
            await anyio.sleep(0.005)
            turns_s.append(time.thread_time() - begun)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        yield turns_s
        group.cancel_scope.cancel()


async def test_a_large_request_is_packed_beside_the_event_loop_once_however_many_hear_of_it(database):
    body, told = b'{"text": "%s"}' % LARGE.encode(), []
    async with recording(database, told.append) as predictor, watched() as turns_s:
        await predictor.run(predictor.begin(replace(call(), body=body, webhook=Webhook("http://localhost/"))))
    assert [record.status for record in told] == ["pending", "starting", "started", "succeeded"]
    assert {record.request for record in told} == {body}
    assert max(turns_s) < packing_s() / 2


async def test_a_large_answer_is_packed_beside_the_event_loop(database):
    async with recording(database) as predictor, watched() as turns_s:
        await predictor.run(predictor.begin(slow(accept_s=0, tokens=[LARGE])))
    assert max(turns_s) < packing_s() / 2
