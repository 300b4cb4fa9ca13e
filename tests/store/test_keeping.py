"""What keeps the store true: the dead are found, the living left alone, the old removed. On both stores."""

import contextlib
import fcntl
import subprocess
import sys
import time
from collections import Counter
from uuid import uuid4

import anyio
import pytest
from anyio import fail_after
from sqlalchemy import delete, func, insert, select, update

from antiphon.domain.prediction import Status
from antiphon.domain.record import Webhook
from antiphon.store import keeping
from antiphon.store.archive import SqlArchive
from antiphon.store.database import open_database
from antiphon.store.idempotency import KEPT_S, SqlIdempotency
from antiphon.store.keeping import Keeper, Retention
from antiphon.store.tables import idempotency, instances, labels, predictions
from tests.store.kit import begun, kept, moved, rows, statuses, write

pytestmark = pytest.mark.anyio
FOREVER = Retention(1e9, 10**9)
DEAD, FAR = "d" * 32, "f" * 32
HOOK = Webhook("https://example.com/")


@contextlib.asynccontextmanager
async def keeping_it(database, run_dir, retention=FOREVER, notify=lambda record: None, cancel=lambda key: None):
    keeper = Keeper(database, run_dir, retention, notify)
    async with keeper.open(cancel):
        yield keeper


async def left_by(database, instance, *running):
    """What a process wrote before it was gone."""
    beat = insert(instances).values(id=instance, beat=7)
    await database.write(lambda connection: connection.execute(beat))
    await write(database, *running, instance=instance)


def lock_file(run_dir, instance):
    run_dir.mkdir(exist_ok=True)
    path = run_dir / f"{instance}.alive"
    path.touch(mode=0o600)
    return path


async def until_true(condition, wait_s=10.0):
    with fail_after(wait_s):
        while not await condition():
            await anyio.sleep(0.02)


# -- the dead


async def test_what_a_dead_process_left_is_abandoned_before_anything_else_is_done(database, tmp_path):
    """SHUT-06: its lock file is here and nobody holds it."""
    ended, told = moved(begun(), Status.SUCCEEDED), []
    left = [begun(), moved(begun(), Status.STARTING), moved(begun(webhook=HOOK), Status.STARTED)]
    await left_by(database, DEAD, *left)
    await kept(database, ended, instance=DEAD)
    path = lock_file(tmp_path / "run", DEAD)
    async with keeping_it(database, tmp_path / "run", notify=told.append) as keeper:
        found = await statuses(database)
        assert [found[one.prediction.id.hex] for one in left] == ["abandoned"] * 3
        assert found[ended.prediction.id.hex] == "succeeded"
        assert [row.id for row in await rows(database, instances)] == [keeper.instance]
    assert not path.exists()
    record = await SqlArchive(database).get("team", left[0].prediction.id)
    assert (record.failure.code, record.output) == ("abandoned", None)
    assert [(one.id, one.status) for one in told] == [(left[2].prediction.id, Status.ABANDONED)]


async def test_a_process_that_lives_keeps_its_predictions_though_it_says_nothing(database, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "RECONCILE_S", 0.01)
    running = begun()
    await left_by(database, DEAD, running)
    with lock_file(tmp_path / "run", DEAD).open("r+b") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        async with keeping_it(database, tmp_path / "run"):
            await anyio.sleep(0.5)
            assert await statuses(database) == {running.prediction.id.hex: "pending"}
    async with keeping_it(database, tmp_path / "run"):
        assert await statuses(database) == {running.prediction.id.hex: "abandoned"}


async def test_a_process_elsewhere_is_dead_once_its_beat_stands_still_and_not_before(database, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "RECONCILE_S", 0.3)
    silent, fresh = begun(), begun()
    await left_by(database, FAR, silent)
    await left_by(database, "e" * 32, fresh)
    beat = update(instances).where(instances.c.id == "e" * 32).values(beat=instances.c.beat + 1)

    async def beats():
        while True:
            await database.write(lambda connection: connection.execute(beat))
            await anyio.sleep(0.02)

    async with keeping_it(database, tmp_path / "run"), anyio.create_task_group() as group:
        group.start_soon(beats)
        assert set((await statuses(database)).values()) == {"pending"}

        async def is_found():
            return (await statuses(database))[silent.prediction.id.hex] == "abandoned"

        await until_true(is_found)
        await anyio.sleep(1)
        assert (await statuses(database))[fresh.prediction.id.hex] == "pending"
        group.cancel_scope.cancel()


async def test_however_much_a_dead_process_left_all_of_it_is_ended(database, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "AT_ONCE", 10)
    await left_by(database, DEAD, *[begun() for _ in range(95)])
    lock_file(tmp_path / "run", DEAD)
    async with keeping_it(database, tmp_path / "run"):
        assert Counter((await statuses(database)).values()) == {"abandoned": 95}


async def test_of_several_who_find_the_same_process_dead_one_tells_of_each_prediction(
    database, store_url, tmp_path, monkeypatch
):
    """DB-06: no double reconcile."""
    monkeypatch.setattr(keeping, "AT_ONCE", 25)
    left = [begun(webhook=HOOK) for _ in range(100)]
    await left_by(database, DEAD, *left)
    told = []

    async def one(run_dir):
        lock_file(run_dir, DEAD)
        async with open_database(store_url, tmp_path) as mine, keeping_it(mine, run_dir, notify=told.append):
            pass

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(one, tmp_path / str(number))
    assert Counter((await statuses(database)).values()) == {"abandoned": 100}
    assert Counter(record.id for record in told) == dict.fromkeys([one.prediction.id for one in left], 1)


DIES = """
import sys, time, anyio, pathlib
from antiphon.store.database import open_database
from antiphon.store.keeping import Keeper, Retention
from tests.store.kit import begun, write

async def main(url, home):
    async with open_database(url, home) as database:
        keeper = Keeper(database, home / "run", Retention(1e9, 10**9), print)
        async with keeper.open(print):
            await write(database, *[begun() for _ in range(20)], instance=keeper.instance)
            print("ready", flush=True)
            await anyio.sleep_forever()

anyio.run(main, sys.argv[1], pathlib.Path(sys.argv[2]))
"""


async def test_a_killed_process_is_known_to_be_dead_at_once(database, store_url, tmp_path):
    """SHUT-06: and not before it is killed."""
    with subprocess.Popen([sys.executable, "-c", DIES, store_url, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        async with keeping_it(database, tmp_path / "run"):
            assert Counter((await statuses(database)).values()) == {"pending": 20}
        process.kill()
        process.wait()
    async with keeping_it(database, tmp_path / "run"):
        assert Counter((await statuses(database)).values()) == {"abandoned": 20}
    assert list((tmp_path / "run").iterdir()) == []


async def test_the_dead_are_looked_for_while_it_runs_and_the_own_beat_goes_on(database, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "RECONCILE_S", 0.05)
    async with keeping_it(database, tmp_path / "run") as keeper:
        (first,) = await rows(database, instances)
        running = begun()
        await left_by(database, DEAD, running)
        lock_file(tmp_path / "run", DEAD)

        async def is_found():
            return (await statuses(database))[running.prediction.id.hex] == "abandoned"

        await until_true(is_found)

        async def is_later():
            return next(row for row in await rows(database, instances) if row.id == keeper.instance) > first

        await until_true(is_later)
        await database.write(lambda connection: connection.execute(delete(instances)))

        async def is_back():
            return [row.id for row in await rows(database, instances)] == [keeper.instance]

        await until_true(is_back)


async def test_a_process_that_leaves_unfinished_predictions_is_still_known_afterwards(database, tmp_path):
    """Otherwise nobody would ever end them."""
    async with keeping_it(database, tmp_path / "run") as keeper:
        await write(database, begun(), instance=keeper.instance)
    assert [row.id for row in await rows(database, instances)] == [keeper.instance]
    await database.write(lambda connection: connection.execute(update(predictions).values(status="failed")))
    async with keeping_it(database, tmp_path / "run") as second:
        pass
    assert second.instance not in {row.id for row in await rows(database, instances)}


# -- cancels


async def test_a_cancel_that_another_process_took_reaches_the_one_that_runs_it(database, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "BEAT_S", 0.02)
    asked = []
    async with keeping_it(database, tmp_path / "run", cancel=asked.append) as keeper:
        mine, untouched, theirs = begun(), begun(), begun()
        await write(database, mine, untouched, instance=keeper.instance)
        await write(database, theirs, instance=FAR)
        for running in (mine, theirs):
            assert await SqlArchive(database).request_cancel("team", running.prediction.id)

        async def is_heard():
            return bool(asked)

        await until_true(is_heard)
        assert set(asked) == {mine.prediction.id}


# -- retention


COUNT = select(func.count()).select_from(predictions)


class Watched:
    """A database that knows how many predictions each transaction took away."""

    def __init__(self, database):
        self._database, self.removed = database, []
        self.read = database.read

    async def write(self, use, **options):
        def counted(connection):
            before = connection.scalar(COUNT)
            given = use(connection)
            return given, before - connection.scalar(COUNT)

        given, removed = await self._database.write(counted, **options)
        self.removed.append(removed)
        return given


async def old_and_new(database, old=25, new=10):
    """Stored completions of an hour ago and of now, and one of an hour ago that still runs; give the running one."""
    now = time.time_ns() // 1000
    found = [
        begun(store=True, metadata={"a": "1"}, created_us=now - 3_600_000_000 * (number < old) + number)
        for number in range(old + new)
    ]
    await kept(database, *[moved(one, Status.SUCCEEDED) for one in found])
    running = begun(created_us=now - 3_700_000_000)
    await write(database, running)
    return [one.prediction.id.hex for one in found[old:]], running.prediction.id.hex


@pytest.fixture
def often(monkeypatch):
    """Retention at once and a few rows at a time."""
    for name, value in {"RETAIN_S": 0.05, "AT_ONCE": 10, "PAUSE_S": 0.0}.items():
        monkeypatch.setattr(keeping, name, value)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("retention", [Retention(1_800, 10**9), Retention(1e9, 11)], ids=["by age", "by count"])
async def test_what_is_too_old_or_too_much_goes_in_small_batches_with_its_labels_and_what_runs_stays(
    database, tmp_path, retention
):
    new, running = await old_and_new(database)
    watched = Watched(database)
    async with keeping_it(watched, tmp_path / "run", retention):

        async def is_done():
            return len(await statuses(database)) <= 11

        await until_true(is_done)
        await anyio.sleep(0.2)
    assert set(await statuses(database)) == {*new, running}
    assert {row.prediction for row in await rows(database, labels)} == set(new)
    assert [count for count in watched.removed if count] == [10, 10, 5]


@pytest.mark.usefixtures("often")
async def test_what_runs_is_never_removed_though_it_is_more_than_may_be_kept(database, tmp_path):
    await write(database, *[begun() for _ in range(30)])
    async with keeping_it(database, tmp_path / "run", Retention(0.001, 1)):
        await anyio.sleep(0.3)
    assert len(await statuses(database)) == 30


@pytest.mark.usefixtures("often")
async def test_idempotency_keys_are_forgotten_after_a_day(database, tmp_path):
    store = SqlIdempotency(database)
    for key in ("old", "new"):
        await store.claim("team", key, b"1" * 32, uuid4())
    older = update(idempotency).where(idempotency.c.key == "old")
    older = older.values(created_us=idempotency.c.created_us - (KEPT_S + 1) * 1_000_000)
    await database.write(lambda connection: connection.execute(older))
    async with keeping_it(database, tmp_path / "run"):

        async def is_done():
            names = await database.read(
                lambda connection: list(connection.execute(select(idempotency.c.key)).scalars())
            )
            return names == ["new"]

        await until_true(is_done)
