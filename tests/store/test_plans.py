"""How each database finds what is asked: by an index, on both stores, without sorting what an account ever asked."""

import re
from uuid import uuid4

import pytest
from sqlalchemy import bindparam, event, insert, text

from antiphon.core.ports import StoredQuery
from antiphon.domain.prediction import Status
from antiphon.store import keeping
from antiphon.store.archive import SqlArchive
from antiphon.store.batch import labels_of
from antiphon.store.completions import SqlCompletions
from antiphon.store.idempotency import SqlIdempotency
from antiphon.store.keeping import Keeper, Retention
from antiphon.store.tables import labels
from tests.store.kit import begun, kept, moved, write

pytestmark = pytest.mark.anyio

FILL = text(
    "INSERT INTO predictions (id, account, status, created_us, updated_us, model, version, engine, instance, "
    "is_streamed, is_stored) VALUES (:id, :account, :status, :at, :at, 'test/hello', 1, 'scripted', :instance, "
    ":no, :is_stored)"
).bindparams(bindparam("no", False), bindparam("is_stored"))
TAKE = text(
    "INSERT INTO idempotency (account, key, digest, prediction, created_us) VALUES ('team', :key, :digest, :id, :at)"
)


class Explained:
    """A database that explains every query before it is run."""

    def __init__(self, database):
        self._database, self.plans = database, []

    async def read(self, use):
        return await self._database.read(lambda connection: self._watch(connection, use))

    async def write(self, use, **options):
        return await self._database.write(lambda connection: self._watch(connection, use), **options)

    def _watch(self, connection, use):
        is_sqlite = connection.dialect.name == "sqlite"
        if not is_sqlite:  # Few rows are quickly sorted; what is asked is what its indexes can do for many.
            for way in ("seqscan", "sort", "incremental_sort", "bitmapscan", "hashjoin", "mergejoin"):
                connection.execute(text(f"SET LOCAL enable_{way} = off"))

        def explain(watched, cursor, sql, parameters, context, is_many):
            if not sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE")):
                return
            asked = parameters[0] if is_many else parameters
            plan = connection.connection.cursor()
            plan.execute(("EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN ") + sql, asked)
            self.plans.append((sql, "\n".join(str(row[-1]) for row in plan.fetchall())))
            plan.close()

        event.listen(connection, "before_cursor_execute", explain)
        try:
            return use(connection)
        finally:
            event.remove(connection, "before_cursor_execute", explain)

    def check(self, *indexes, is_resumed=False, is_ordered=True):
        """See that each query since the last check used an index, and which were used.

        A page of labels is put in order again, when its predictions were looked up: that is not `is_ordered`.
        """
        plans, self.plans = self.plans, []
        assert plans
        for sql, plan in plans:
            for table in ("predictions", "labels", "idempotency"):
                assert f"SCAN {table}\n" not in f"{plan}\n", (sql, plan)
                assert f"Seq Scan on {table}" not in plan, (sql, plan)
            assert not is_ordered or "TEMP B-TREE" not in plan, (sql, plan)
            assert not is_ordered or "Sort" not in plan, (sql, plan)
        used = "\n".join(plan for _, plan in plans)
        for index in indexes:
            assert index in used, plans
        if is_resumed:  # What lies before the cursor is not read again.
            for _, plan in plans:
                assert re.search(r"(Index Cond|SEARCH).*created_us *[<>]", plan), plan
        return plans


@pytest.fixture
async def explained(database):
    """A database with a few thousand predictions, most of one account, and what it knows of them."""
    states = ["succeeded"] * 45 + ["failed", "cancelled", "abandoned", "started", "pending"]
    filled = [
        {
            "id": uuid4().hex,
            "account": ("team", "b", "c", "d", "e")[number % 5],
            "status": states[number % 50],
            "at": 1_000_000 + number,
            "instance": f"{number % 7}" * 32,
            "is_stored": number % 3 == 0,
        }
        for number in range(4_000)
    ]

    taken = [{"key": one["id"], "digest": b"1" * 32, "id": one["id"], "at": one["at"]} for one in filled]
    tagged = [
        {
            "account": one["account"],
            "label": labels_of([], {"all": str(one["status"] == "succeeded")})[0],
            "created_us": one["at"],
            "prediction": one["id"],
        }
        for one in filled
    ]

    def fill(connection):
        connection.execute(FILL, filled)
        connection.execute(TAKE, taken)
        connection.execute(insert(labels), tagged)

    await database.write(fill)
    for number in range(40):
        running = begun(store=True, metadata={"all": "True", "b": str(number % 4)}, created_us=2_000_000 + number)
        await kept(database, moved(running, Status.SUCCEEDED))
    await database.write(lambda connection: connection.execute(text("ANALYZE")))
    return Explained(database)


async def test_a_list_is_read_along_its_index(explained):
    archive = SqlArchive(explained)
    page = await archive.page("team", None, 25, frozenset())
    explained.check("predictions_by_age")
    page = await archive.page("team", page.next_cursor, 25, frozenset())
    explained.check("predictions_by_age", is_resumed=True)
    await archive.page("team", page.previous_cursor, 25, frozenset())
    explained.check("predictions_by_age", is_resumed=True)


async def test_a_list_of_some_statuses_is_one_read_along_the_index_for_each(explained):
    archive, wanted = SqlArchive(explained), frozenset({Status.FAILED, Status.SUCCEEDED})
    page = await archive.page("team", None, 5, wanted)
    assert len(explained.check("predictions_by_status")) == 2
    await archive.page("team", page.next_cursor, 5, wanted)
    assert len(explained.check("predictions_by_status", is_resumed=True)) == 2


@pytest.mark.parametrize("is_descending", [False, True])
async def test_stored_completions_are_read_along_the_index_of_those_that_are_stored(explained, is_descending):
    completions = SqlCompletions(explained)
    records, _ = await completions.list("team", StoredQuery(is_descending=is_descending))
    explained.check("predictions_stored")
    await completions.list("team", StoredQuery(after=records[-1].id, is_descending=is_descending))
    explained.plans = explained.plans[1:]  # The first found the place to go on from.
    explained.check("predictions_stored", is_resumed=True)


async def test_a_filter_begins_at_the_labels(explained):
    completions = SqlCompletions(explained)
    for metadata in ({"all": "True"}, {"all": "True", "b": "3"}):
        records, _ = await completions.list("team", StoredQuery(metadata=metadata))
        assert records
        *_, (_, plan) = explained.check(is_ordered=False)
        await completions.list("team", StoredQuery(metadata=metadata, after=records[-1].id))
        explained.plans = explained.plans[-1:]
        explained.check(is_resumed=True, is_ordered=False)
        assert "sqlite_autoindex_labels_1 (account=? AND label=?" in plan or "Scan using labels_pkey on labels" in plan


async def test_what_runs_is_found_by_the_index_of_what_runs(explained, tmp_path):
    """Cancels are looked for twice a second, and the dead every five."""
    keeper = Keeper(explained, tmp_path, Retention(1e9, 10**9), print)
    keeper.instance = "3" * 32
    await keeper._look_for_cancels(print)
    explained.check("predictions_running")
    await explained.write(lambda connection: keeping._abandon("4" * 32, connection))
    explained.check("predictions_running")
    await explained.write(keeper._goodbye)
    explained.check("predictions_running")


async def test_retention_reads_from_the_oldest_on(explained):
    await explained.write(lambda connection: keeping._remove(1_000_100, 50, connection))
    plans = explained.check("predictions_kept")
    assert any("DELETE FROM labels" in sql for sql, _ in plans)


async def test_one_prediction_is_found_by_its_id_whatever_is_done_with_it(explained):
    running, key = moved(begun(), Status.STARTING), uuid4()
    await SqlArchive(explained).get("team", key)
    await SqlArchive(explained).request_cancel("team", key)
    await SqlCompletions(explained).find("team", key)
    await SqlCompletions(explained).relabel("team", key, {"a": "1"})
    await SqlCompletions(explained).unstore("team", key)
    await write(explained, running, is_new=False)
    for sql, plan in explained.check():
        assert any(word in plan for word in ("predictions_pkey", "INDEX sqlite_autoindex_predictions_1 (id=?)")), (
            sql,
            plan,
        )
    await SqlIdempotency(explained).claim("team", "key", b"1" * 32, key, key)
    explained.check()
