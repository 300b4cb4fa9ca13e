"""The one thread in which SQLite is written, and the one connection that it keeps."""

import contextlib
import sqlite3
import threading
import time

import anyio
import pytest
from sqlalchemy.exc import IntegrityError

from antiphon.domain.errors import StorageUnavailable
from antiphon.store.database import open_database
from antiphon.store.tables import facts
from antiphon.store.thread import OneThread
from tests.store.kit import rows

pytestmark = pytest.mark.anyio


@pytest.fixture
def thread():
    made = OneThread("test")
    yield made
    made.close()


def put(name):
    return lambda connection: connection.execute(facts.insert(), {"name": name, "value": "x"})


async def test_calls_are_made_in_their_order_in_one_thread_beside_the_event_loop(thread):
    made = []

    def call(number):
        time.sleep(0.01 * (5 - number))
        made.append((number, threading.get_ident()))

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(thread.run, lambda number=number: call(number))
    assert [number for number, _ in made] == list(range(5))
    assert len({ident for _, ident in made} - {threading.get_ident()}) == 1


async def test_what_a_call_raises_is_raised_where_it_was_made_and_the_thread_goes_on(thread):
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 / 0)
    assert await thread.run(lambda: "given") == "given"


async def test_a_call_that_was_made_is_waited_for_whoever_is_cancelled(thread):
    done = []
    with anyio.move_on_after(0.01) as scope:
        done.append(await thread.run(lambda: time.sleep(0.1)))
    assert done == [None]
    assert not scope.cancelled_caught


async def test_a_thread_that_is_closed_ends_and_the_next_call_begins_again(thread):
    for _ in range(2):
        assert await thread.run(lambda: threading.current_thread().name) == "test"
        thread.close()
        assert "test" not in {each.name for each in threading.enumerate()}
        thread.close()


async def test_of_a_write_that_fails_nothing_is_kept_and_the_next_is_as_good_as_any(database):
    def fail(connection):
        put("half")(connection)
        raise LookupError

    before = len(await rows(database, facts))
    for _ in range(3):
        with pytest.raises(LookupError):
            await database.write(fail)
        await database.write(put(f"whole {time.monotonic_ns()}"))
    found = await rows(database, facts)
    assert len(found) == before + 3
    assert "half" not in {row.name for row in found}


async def test_a_write_after_one_that_the_database_refused_is_kept(database):
    await database.write(put("taken"))
    with pytest.raises(IntegrityError):
        await database.write(put("taken"))
    await database.write(put("after"))
    assert {"taken", "after"} <= {row.name for row in await rows(database, facts)}


async def test_a_file_that_is_spoiled_under_the_one_connection_is_a_store_that_does_not_answer(tmp_path):
    async with open_database("sqlite:///spoiled.db", tmp_path) as database:
        await database.write(put("before"))
        path = tmp_path / "spoiled.db"
        with contextlib.closing(
            sqlite3.connect(path)
        ) as other:  # after its write the connection looks at the file again
            other.execute("INSERT INTO facts VALUES ('other', 'x')")
            other.commit()
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.write(bytes(100))
        for _ in range(2):
            with pytest.raises(StorageUnavailable):
                await database.write(put("after"))
