"""A beginning that nobody waits for is written a little later, so that a short answer is one row written once."""

import anyio
import pytest
from anyio import fail_after

from antiphon.domain.prediction import CancelReason
from antiphon.store import recorder
from tests.store.kit import call, statuses
from tests.store.test_recorder import Counted, recording, run_in, slow, until_status

pytestmark = pytest.mark.anyio


@pytest.fixture
def for_ever(monkeypatch):
    monkeypatch.setattr(recorder, "LINGER_S", 60.0)


async def test_a_short_answer_beside_one_that_runs_on_is_written_once_when_it_ends(database, for_ever):
    counted = Counted(database)
    async with recording(counted) as predictor, anyio.create_task_group() as group:
        other = await run_in(group, predictor, slow())
        await until_status(database, other, "starting")
        counted.writes = 0
        await predictor.run(predictor.begin(slow(call(), accept_s=0.05)))
        assert counted.writes == 1
        predictor.cancel(other.prediction.id, CancelReason.REQUESTED)


async def test_whoever_begins_to_wait_for_a_beginning_has_it_at_once(database, for_ever):
    async with recording(database) as predictor, anyio.create_task_group() as group:
        running = predictor.begin(slow())
        group.start_soon(predictor.run, running)
        await anyio.sleep(0.1)
        assert await statuses(database) == {}
        with fail_after(5):
            await running.beginning.wait()
        assert len(await statuses(database)) == 1
        group.cancel_scope.cancel()


async def test_what_is_in_the_store_is_kept_true_there_without_anyone_who_waits(database, for_ever):
    async with recording(database) as predictor, anyio.create_task_group() as group:
        running = await run_in(group, predictor, slow(accept_s=0.2, token_s=30.0))
        await until_status(database, running, "started")
        predictor.cancel(running.prediction.id, CancelReason.REQUESTED)


async def test_what_nobody_ever_waits_for_is_written_soon(database):
    async with recording(database) as predictor, anyio.create_task_group() as group:
        running = predictor.begin(slow())
        group.start_soon(predictor.run, running)
        with fail_after(5):
            while not await statuses(database):
                await anyio.sleep(0.01)
        await until_status(database, running, "starting")
        group.cancel_scope.cancel()


async def test_leaving_waits_for_nothing_to_become_more(database, for_ever):
    with fail_after(recorder.LEAVING_S):
        async with recording(database) as predictor:
            running = predictor.begin(call())
            await anyio.sleep(0.05)
    assert await statuses(database) == {running.prediction.id.hex: "pending"}
