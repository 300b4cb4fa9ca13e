"""The schema: from nothing, from the first release, and from neither; by several at once; cut short. On both stores."""

import json
import sqlite3
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from antiphon.store.archive import SqlArchive
from antiphon.store.database import open_database
from antiphon.store.keys import open_keys
from antiphon.store.tables import metadata
from antiphon.store.unfit import StoreUnfit
from tests.store.kit import begun, write

pytestmark = pytest.mark.anyio
HEAD, SQLITE_VERSION = "0004", 2

# As version 0.1.0 made it: SQLAlchemy's create_all, and the number in user_version.
FIRST_RELEASE = """
CREATE TABLE keys (
    id VARCHAR(32) NOT NULL, account VARCHAR(64) NOT NULL, name VARCHAR(200) NOT NULL, digest BLOB NOT NULL,
    created INTEGER NOT NULL, revoked INTEGER, PRIMARY KEY (id), UNIQUE (digest)
);
CREATE TABLE versions (
    model VARCHAR(200) NOT NULL, number INTEGER NOT NULL, digest VARCHAR(64) NOT NULL, created INTEGER NOT NULL,
    PRIMARY KEY (model, number)
);
PRAGMA user_version = 1;
"""


def script(path, *statements):
    """Change a SQLite file behind the store's back."""
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.executescript(statement)
    connection.close()


def dump(path):
    connection = sqlite3.connect(path)
    lines = [*connection.iterdump(), str(connection.execute("PRAGMA user_version").fetchone())]
    connection.close()
    return lines


async def behind(url, home, *statements):
    """Change a database that was opened once, on either store, and give what a further query finds."""
    async with open_database(url, home) as database:

        def use(connection):
            for statement in statements:
                connection.execute(text(statement))

        await database.write(use)


async def schema_of(database):
    """The revision, and every table with its columns."""

    def look(connection):
        found = inspect(connection)
        revision = MigrationContext.configure(connection).get_current_revision()
        return revision, {table: [c["name"] for c in found.get_columns(table)] for table in found.get_table_names()}

    return await database.read(look)


# -- where it comes from


async def test_an_empty_database_gets_every_table(database):
    revision, tables = await schema_of(database)
    assert revision == HEAD
    assert tables.keys() == {*metadata.tables, "alembic_version"}
    await write(database, running := begun())
    assert await SqlArchive(database).get("team", running.prediction.id)


async def test_the_migrations_leave_exactly_the_tables_that_the_program_uses(database):
    def compare(connection):
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return compare_metadata(context, metadata)

    assert await database.read(compare) == []


async def test_the_migrations_leave_exactly_the_partial_indexes_that_the_program_uses(database):
    """Which the comparison above does not look at."""

    def partial(connection):
        connection.execute(text("SELECT 1 FROM predictions"))  # SQLite's PRAGMAs alone do not notice a new schema.
        dialect = connection.dialect.name
        conditions = {
            index.name: str(index.dialect_options[dialect]["where"])
            for table in metadata.tables.values()
            for index in table.indexes
            if index.dialect_options[dialect]["where"] is not None
        }
        found = inspect(connection).get_indexes("predictions")
        return conditions, {
            index["name"]: str(where)
            for index in found
            if (where := index["dialect_options"].get(f"{dialect}_where")) is not None
        }

    expected, found = await database.read(partial)
    assert expected.keys() == found.keys() == {"predictions_running", "predictions_stored"}
    if found["predictions_stored"] != "is_stored":  # PostgreSQL writes conditions in its own words.
        assert expected == found


async def test_the_first_release_is_carried_over_with_its_keys_and_versions(tmp_path):
    path = tmp_path / "antiphon.db"
    script(path, FIRST_RELEASE, "INSERT INTO versions VALUES ('test/hello', 1, 'abc', 7)")
    async with open_keys(f"sqlite:///{path}", tmp_path) as (_, fresh):
        secret = await fresh.create("team", "laptop")
    (row,) = (line for line in dump(path) if line.startswith('INSERT INTO "keys"'))
    path.unlink()
    script(
        path,
        FIRST_RELEASE,
        "INSERT INTO versions VALUES ('test/hello', 1, 'abc', 7)",
        row.replace(",NULL,NULL)", ",NULL)"),
    )
    for _ in range(2):
        async with open_keys(f"sqlite:///{path}", tmp_path) as (database, known):
            assert (await known.holder_of(secret.encode())).account == "team"
            assert (await schema_of(database))[0] == HEAD
            await write(database, begun())
    lines = dump(path)
    assert row in lines
    assert any("'test/hello',1,'abc',7" in line for line in lines)
    assert lines[-1] == f"({SQLITE_VERSION},)"


async def test_a_database_that_is_up_to_date_is_not_touched(tmp_path):
    path = tmp_path / "antiphon.db"
    url = f"sqlite:///{path}"
    async with open_database(url, tmp_path) as database:
        await write(database, begun())
    before = path.read_bytes()
    async with open_database(url, tmp_path):
        pass
    assert path.read_bytes() == before


# -- what is refused


async def refused(url, home):
    with pytest.raises(StoreUnfit) as caught:
        async with open_database(url, home):
            pass
    message = str(caught.value)
    assert "\n" not in message
    return message


async def test_a_newer_schema_is_refused_by_its_revision(store_url, tmp_path):
    await behind(store_url, tmp_path, "UPDATE alembic_version SET version_num = '0099'")
    message = await refused(store_url, tmp_path)
    assert message.endswith("was written by a newer version of Antiphon (schema 0099)")


async def test_a_newer_schema_is_refused_by_the_number_in_its_file(tmp_path):
    path = tmp_path / "antiphon.db"
    script(path, "CREATE TABLE keys (new TEXT)", f"PRAGMA user_version = {SQLITE_VERSION + 1}")
    before = dump(path)
    assert f"newer version of Antiphon (schema {SQLITE_VERSION + 1})" in await refused(f"sqlite:///{path}", tmp_path)
    assert dump(path) == before


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_a_file_with_tables_of_somebody_else_is_refused_and_left_alone(tmp_path, number):
    """Whatever number it carries: others keep their versions there as well."""
    path = tmp_path / "other.db"
    script(
        path, "CREATE TABLE people (name TEXT); INSERT INTO people VALUES ('Ada')", f"PRAGMA user_version = {number}"
    )
    before = dump(path)
    assert "holds tables that are not Antiphon's" in await refused(f"sqlite:///{path}", tmp_path)
    assert dump(path) == before


@pytest.mark.parametrize("revision", [None, "0001", HEAD])
async def test_a_database_with_tables_of_somebody_else_is_refused_and_left_alone(store_url, tmp_path, revision):
    """Somebody who uses alembic too may have called a migration what we call ours."""
    names = [*reversed(metadata.sorted_tables)]
    statements = [f'DROP TABLE "{table.name}"' for table in names] + ["CREATE TABLE people (name TEXT)"]
    statements += ["DROP TABLE alembic_version"] if revision is None else []
    statements += [f"UPDATE alembic_version SET version_num = '{revision}'"] if revision else []
    await behind(store_url, tmp_path, *statements)
    assert "holds tables that are not Antiphon's" in await refused(store_url, tmp_path)
    if store_url.startswith("sqlite"):
        assert any("people" in line for line in dump(tmp_path / "antiphon.db"))
        assert not any("predictions" in line for line in dump(tmp_path / "antiphon.db"))


# -- several at once, and cut short

OPENS = """
import anyio, json, os, pathlib, sys
from sqlalchemy import Engine, create_engine, event, inspect
from sqlalchemy.ext.asyncio import create_async_engine
from antiphon.store import migrate  # What takes long to load is loaded before the processes part.
from antiphon.store.database import open_database

url, home, what = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]

def opened():
    async def main():
        async with open_database(url, home):
            pass
    anyio.run(main)

def child(task):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            task()
            code = 0
        except BaseException as error:
            print(json.dumps(repr(error)), flush=True)
        finally:
            os._exit(code)
    return pid

def together(count):
    ready, go = os.pipe()
    def task():
        os.read(ready, 1)
        opened()
    children = [child(task) for _ in range(count)]
    os.write(go, b"x" * count)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]

def killed_at(statement):
    def task():
        seen = 0
        def count(connection, cursor, sql, *_):
            nonlocal seen
            seen += 1
            if seen == statement:
                os.kill(os.getpid(), 9)
        event.listen(Engine, "after_cursor_execute", count)
        opened()
    return os.waitstatus_to_exitcode(os.waitpid(child(task), 0)[1])

def tables():
    if url.startswith("sqlite"):
        engine = create_engine(url)
        with engine.connect() as connection:
            return inspect(connection).get_table_names()
    async def main():
        engine = create_async_engine(url.replace("postgresql", "postgresql+asyncpg"))
        async with engine.connect() as connection:
            found = await connection.run_sync(lambda each: inspect(each).get_table_names())
        await engine.dispose()
        return found
    return anyio.run(main)

def killed_everywhere():
    found, ended = [], -9
    while ended == -9:
        ended = killed_at(len(found) + 1)
        found.append((ended, sorted(tables())))
    return found

print(json.dumps(together(8) if what == "together" else killed_everywhere()))
"""


def opens(url, home, what):
    done = subprocess.run([sys.executable, "-c", OPENS, url, home, what], capture_output=True, check=False)
    assert not done.stderr, done.stderr.decode()
    (said,) = done.stdout.decode().splitlines()
    return json.loads(said)


async def test_many_processes_may_open_a_new_database_at_once(store_url, tmp_path):
    """Each finds it complete; one of them made it so."""
    assert opens(store_url, tmp_path, "together") == [0] * 8
    async with open_database(store_url, tmp_path) as database:
        assert (await schema_of(database))[0] == HEAD


def killed(url, home, before):
    """Kill a migration at its every statement; give what is left after each."""
    *cut, (ended, after) = opens(url, home, "killed")
    assert ended == 0
    assert set(after) == {*metadata.tables, "alembic_version"}
    assert len(cut) > 15
    assert cut == [[-9, before]] * len(cut)


async def test_a_first_start_that_is_killed_at_any_statement_has_made_nothing_and_the_next_makes_all(
    store_url, tmp_path
):
    """SHUT-05."""
    killed(store_url.replace("sqlite:///", f"sqlite:///{tmp_path}/"), tmp_path, [])


async def test_a_migration_that_is_killed_at_any_statement_leaves_the_first_release_as_it_was(tmp_path):
    """SHUT-05."""
    path = tmp_path / "antiphon.db"
    script(path, FIRST_RELEASE)
    killed(f"sqlite:///{path}", tmp_path, ["keys", "versions"])
    assert dump(path)[-1] == f"({SQLITE_VERSION},)"
