"""What both stores keep of predictions, and who sees it: one suite over SQLite and PostgreSQL."""

import base64
import json
import os
from itertools import combinations
from uuid import UUID, uuid4

import anyio
import pytest
from sqlalchemy import select

from antiphon.core.ports import StoredQuery
from antiphon.domain.errors import InvalidRequest, UnknownCompletion
from antiphon.domain.prediction import CancelReason, Status
from antiphon.domain.record import Webhook
from antiphon.store.archive import SqlArchive
from antiphon.store.completions import SqlCompletions
from antiphon.store.rows import PLAIN_BYTES
from antiphon.store.tables import labels, predictions
from tests.store.kit import begun, kept, moved, rows, statuses, write

pytestmark = pytest.mark.anyio
ALL = frozenset[Status]()


# -- moves


async def test_a_prediction_is_read_back_as_it_was_written(database):
    hook = Webhook("https://example.com/hook", "secret")
    running = begun(store=True, metadata={"a": "1"}, webhook=hook, stream=True)
    await write(database, running)
    archive, key = SqlArchive(database), running.prediction.id
    first = await archive.get("team", key)
    assert (first.status, first.output, first.is_stored) == (Status.PENDING, None, False)
    assert (first.request, first.webhook, first.webhook.secret) == (running.call.body, hook, "secret")
    await write(database, moved(running, Status.SUCCEEDED, "Hello"), is_new=False)
    last = await archive.get("team", key)
    assert (last.status, last.is_stored, last.is_streamed) == (Status.SUCCEEDED, True, True)
    assert json.loads(last.output)["choices"][0]["message"]["content"] == "Hello"
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (3, 1)
    assert (last.model, last.version, last.engine) == ("test/hello", 1, "scripted")
    assert dict(last.metadata) == {"a": "1"}
    assert last.created_us == first.created_us <= last.updated_us
    assert None not in {last.timings.queue_s, last.timings.setup_s, last.timings.execution_s}
    assert (last.reason, last.failure) == (None, None)


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED])
async def test_a_prediction_that_did_not_succeed_keeps_why_and_is_no_stored_completion(database, status):
    running = moved(begun(store=True, metadata={"a": "1"}), status)
    await kept(database, running)
    record = await SqlArchive(database).get("team", running.prediction.id)
    assert (record.status, record.is_stored, record.output) == (status, False, None)
    if status is Status.FAILED:
        assert (record.failure.code, record.failure.message) == ("engine_failed", "The engine died.")
    else:
        assert record.reason is CancelReason.REQUESTED
    assert await SqlCompletions(database).find("team", running.prediction.id) is None
    assert await rows(database, labels) == []


async def test_one_that_has_ended_stays_as_it_was_and_the_move_is_reported_lost(database):
    ended, free = moved(begun(), Status.CANCELLED), begun()
    await kept(database, ended)
    await write(database, free)
    late = begun(ended.call)
    moved(late, Status.SUCCEEDED), moved(free, Status.SUCCEEDED)
    assert await write(database, late, free, is_new=False) == {ended.prediction.id}
    assert await statuses(database) == {ended.prediction.id.hex: "cancelled", free.prediction.id.hex: "succeeded"}
    assert (await SqlArchive(database).get("team", ended.prediction.id)).output is None


async def test_an_end_that_is_written_again_is_not_lost(database):
    """The answer to a commit may be lost with its connection; then the same is written once more."""
    running = moved(begun(store=True, metadata={"a": "1"}), Status.SUCCEEDED)
    await kept(database, running)
    before = await rows(database, labels)
    assert await write(database, running, is_new=False) == frozenset()
    assert await rows(database, labels) == before != []


async def test_a_thousand_racing_ends_make_exactly_one_each(database):
    """Every prediction is ended four times at once, differently: one of them stands, the other three hear so."""
    ends = [Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.ABANDONED]
    each = [[begun() for _ in range(250)]]
    each += [[begun(first.call, first.prediction.created_us) for first in each[0]] for _ in ends[1:]]
    await write(database, *each[0])
    lost: list[UUID] = []

    async def race(racers, status):
        # In one order: two transactions that hold each other's rows would be a deadlock, not a race.
        racers = sorted(racers, key=lambda one: one.prediction.id.hex)
        for some in (racers[at : at + 10] for at in range(0, len(racers), 10)):
            lost.extend(await write(database, *[moved(one, status) for one in some], is_new=False))
            await anyio.sleep(0)

    async with anyio.create_task_group() as group:
        for racers, status in zip(each, ends, strict=True):
            group.start_soon(race, racers, status)
    assert len(lost) == 750
    found = await statuses(database)
    assert len(found) == 250
    assert set(found.values()) <= {status.value for status in ends}
    assert {lost.count(one.prediction.id) for one in each[0]} == {3}


# -- bodies


async def test_a_body_of_any_length_is_read_back_byte_for_byte_and_a_long_one_is_kept_small(database):
    short, long = begun(text="x"), begun(text="many words " * 2_000)
    await kept(database, moved(short, Status.SUCCEEDED), moved(long, Status.SUCCEEDED, "said " * 20_000))
    archive = SqlArchive(database)
    for running in (short, long):
        assert (await archive.get("team", running.prediction.id)).request == running.call.body
    output = (await archive.get("team", long.prediction.id)).output
    assert json.loads(output)["choices"][0]["message"]["content"] == "said " * 20_000
    sizes = {row.id: (len(row.request), len(row.output)) for row in await rows(database, predictions)}
    assert max(sizes[long.prediction.id.hex]) < PLAIN_BYTES
    assert sizes[short.prediction.id.hex][0] == len(short.call.body)


async def test_what_is_larger_than_the_store_keeps_is_left_out_and_the_rest_is_kept(database):
    noise = base64.b64encode(os.urandom(3_000)).decode()
    asked, said = begun(text=noise), begun(text="x")
    await kept(database, moved(asked, Status.SUCCEEDED, "x"), moved(said, Status.SUCCEEDED, noise), most=2_048)
    archive = SqlArchive(database)
    first, second = [await archive.get("team", one.prediction.id) for one in (asked, said)]
    assert (first.request, bool(first.output), bool(second.request), second.output) == (None, True, True, None)
    assert (first.status, second.status) == (Status.SUCCEEDED, Status.SUCCEEDED)
    assert second.usage.completion_tokens == 1


@pytest.mark.parametrize(
    "text",
    ["a\0b", "🦜\u200d🏴\ufffd", "ä" * 2_097_152, str(2**63), "\u2028\x1f"],
    ids=["nul", "emoji", "4MiB", "2^63", "odd"],
)
async def test_every_text_is_kept_as_it_was_said(database, text):
    """DB-08."""
    metadata = {"k": text[:500], text[:60]: "v"}
    running = moved(begun(text=text, store=True, metadata=metadata), Status.SUCCEEDED, text)
    running.error = None
    await kept(database, running)
    completions = SqlCompletions(database)
    for record in (
        await SqlArchive(database).get("team", running.prediction.id),
        (await completions.list("team", StoredQuery(metadata=metadata)))[0][0],
    ):
        assert json.loads(record.request)["messages"][0]["content"] == text
        assert json.loads(record.output)["choices"][0]["message"]["content"] == text
        assert dict(record.metadata) == metadata
    assert dict((await completions.relabel("team", running.prediction.id, {text[:60]: "new"})).metadata) == {
        text[:60]: "new"
    }


async def test_the_message_of_a_failure_may_hold_any_character(database):
    """DB-08: it quotes what an engine said."""
    running = moved(begun(), Status.FAILED)
    running.error.message = "a\0b 🦜"
    await kept(database, running)
    record = await SqlArchive(database).get("team", running.prediction.id)
    assert record.failure.message == "a\ufffdb 🦜"


@pytest.mark.parametrize("model", ["a\0b", "🦜", "x" * 100_000])
async def test_no_filter_is_a_fault_of_the_store(database, model):
    """DB-08: what no completion can have is found in none."""
    query = StoredQuery(model=model, metadata={"\0": "\0"})
    assert await SqlCompletions(database).list("team", query) == ((), False)
    assert await SqlCompletions(database).list("team", StoredQuery(model=model)) == ((), False)


# -- lists


def ids(records):
    return [record.id for record in records]


async def many(database, count=30, account="team"):
    """Predictions of every status, three at each moment; give them newest first."""
    found = []
    for number in range(count):
        running = begun(account=account, created_us=1_000_000 + number // 3)
        found.append((running, list(Status)[number % len(Status)]))
    await write(database, *[running for running, _ in found])
    await write(database, *[moved(running, status) for running, status in found], is_new=False)
    return sorted(
        [running.prediction for running, _ in found], key=lambda one: (one.created_us, one.id.hex), reverse=True
    )


async def pages(archive, size, wanted=ALL):
    """Walk a list to its end and back; give it as read forwards, having seen that backwards is the same."""
    page = await archive.page("team", None, size, wanted)
    assert page.previous_cursor is None
    forward = [page]
    while page.next_cursor:
        page = await archive.page("team", page.next_cursor, size, wanted)
        forward.append(page)
    back = [page]
    while page.previous_cursor:
        page = await archive.page("team", page.previous_cursor, size, wanted)
        back.append(page)
    assert [ids(one.records) for one in reversed(back)] == [ids(one.records) for one in forward]
    assert all(len(one.records) == size for one in forward[:-1])
    assert back[-1].next_cursor == forward[0].next_cursor
    return [key for one in forward for key in ids(one.records)]


async def test_a_list_is_whole_and_in_order_at_every_page_size_forwards_and_backwards(database):
    """Three were created in each microsecond."""
    expected = await many(database)
    for size in (1, 2, 5, 7, 29, 30, 31):
        assert await pages(SqlArchive(database), size) == ids(expected)


async def test_a_list_of_any_statuses_is_the_whole_list_without_the_others(database):
    expected, archive = await many(database), SqlArchive(database)
    for count in range(len(Status) + 1):
        for wanted in map(frozenset, combinations(Status, count)):
            right = [one.id for one in expected if not wanted or one.status in wanted]
            assert ids((await archive.page("team", None, 50, wanted)).records) == right
    for wanted in (frozenset({Status.SUCCEEDED, Status.FAILED}), frozenset(set(Status) - {Status.PENDING})):
        assert await pages(archive, 4, wanted) == [one.id for one in expected if one.status in wanted]


async def test_a_list_does_not_read_requests_and_answers(database):
    await many(database, 7)
    assert {(one.request, one.output) for one in (await SqlArchive(database).page("team", None, 5, ALL)).records} == {
        (None, None)
    }


def cursor(text):
    return base64.urlsafe_b64encode(text.encode()).decode()


NO_CURSORS = [
    *("x", "=", "nonsense", "🦜", "\ud800", "a" * 10_000),
    cursor("n1"),
    cursor(f"x1-{'0' * 32}"),
    cursor(f"n{2**63}-{'0' * 32}"),
    cursor(f"n{10**18 * 99}-{'0' * 32}"),
    cursor(f"n-1-{'0' * 32}"),
    cursor(f"n1-{'0' * 31}"),
    cursor(f"n1-{'0' * 33}"),
    cursor(f"n1-{'G' * 32}"),
    cursor(f"n١-{'0' * 32}"),
    cursor(f"n1-{'0' * 32}\n"),
    base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    "chatcmpl-" + "0" * 32,
]


async def test_a_cursor_that_is_none_of_ours_is_refused_by_name(database):
    archive = SqlArchive(database)
    assert await archive.page("team", "", 5, ALL) == await archive.page("team", None, 5, ALL)
    for bad in NO_CURSORS:
        with pytest.raises(InvalidRequest) as caught:
            await archive.page("team", bad, 5, ALL)
        assert caught.value.faults[0].loc == ("query", "cursor"), bad


async def test_the_largest_cursor_there_can_be_is_before_everything(database):
    expected = await many(database, 7)
    page = await SqlArchive(database).page("team", cursor(f"n{2**63 - 1}-{'f' * 32}"), 50, ALL)
    assert ids(page.records) == ids(expected)


# -- accounts


async def test_another_account_sees_nothing_and_changes_nothing(database):
    running, mine = begun(store=True, metadata={"a": "1"}), begun()
    await kept(database, moved(running, Status.SUCCEEDED))
    await write(database, mine)
    archive, completions, key = SqlArchive(database), SqlCompletions(database), running.prediction.id
    before = await rows(database, predictions), await rows(database, labels)
    assert await archive.get("thief", key) is None
    page = await archive.page("team", None, 1, ALL)
    assert (await archive.page("thief", None, 5, ALL)).records == ()
    assert (await archive.page("thief", page.next_cursor, 5, ALL)).records == ()
    assert not await archive.request_cancel("thief", mine.prediction.id)
    assert await completions.find("thief", key) is None
    assert await completions.relabel("thief", key, {"b": "2"}) is None
    assert not await completions.unstore("thief", key)
    for query in (StoredQuery(), StoredQuery(metadata={"a": "1"}), StoredQuery(model="test/hello")):
        assert await completions.list("thief", query) == ((), False)
    with pytest.raises(UnknownCompletion):
        await completions.list("thief", StoredQuery(after=key))
    assert (await rows(database, predictions), await rows(database, labels)) == before


async def test_a_cancel_is_noted_once_for_what_runs_and_never_for_what_has_ended(database):
    running, ended = begun(), moved(begun(), Status.SUCCEEDED)
    await write(database, running)
    await kept(database, ended)
    archive = SqlArchive(database)
    assert await archive.request_cancel("team", running.prediction.id)
    assert not await archive.request_cancel("team", ended.prediction.id)
    assert not await archive.request_cancel("team", uuid4())
    asked = select(predictions.c.id).where(predictions.c.cancel_us.is_not(None))
    found = await database.read(lambda connection: [row.id for row in connection.execute(asked)])
    assert found == [running.prediction.id.hex]


async def test_how_often_each_model_was_asked_is_counted_and_outlives_retention(database):
    await write(database, *[begun(model="test/a") for _ in range(3)], begun(model="test/b"))
    await write(database, begun(model="test/a"))
    await database.write(lambda connection: connection.execute(predictions.delete()))
    assert await SqlArchive(database).runs() == {"test/a": 4, "test/b": 1}


# -- stored completions


async def shelf(database):
    """Twelve stored completions, two at each moment; give them oldest first, each with its metadata."""
    found = []
    for number in range(12):
        metadata = {"parity": "even" if number % 2 == 0 else "odd", "third": str(number % 3)}
        running = begun(
            store=True, metadata=metadata, model=f"test/{'ab'[number // 6]}", created_us=1_000_000 + number // 2
        )
        found.append(moved(running, Status.SUCCEEDED))
    plain = moved(begun(metadata={"parity": "even"}, created_us=1_000_002), Status.SUCCEEDED)
    await kept(database, *found, plain)
    found.sort(key=lambda one: (one.prediction.created_us, one.prediction.id.hex))
    return [(one.prediction, one.call.work.request.metadata) for one in found]


FILTERS = [{}, {"parity": "even"}, {"parity": "odd", "third": "1"}, {"third": "0"}, {"parity": "even", "third": "9"}]


@pytest.mark.parametrize("model", [None, "test/a", "test/b", "test/none"])
async def test_stored_completions_are_found_by_every_filter_in_both_orders_and_page_by_page(database, model):
    every, completions = await shelf(database), SqlCompletions(database)
    for wanted in FILTERS:
        for is_descending in (False, True):
            right = [one.id for one, has in every if wanted.items() <= has.items() and model in {None, one.model}]
            right = right[::-1] if is_descending else right
            found, after, has_more = [], None, True
            while has_more:
                query = StoredQuery(model, wanted, after, is_descending, limit=2)
                records, has_more = await completions.list("team", query)
                found += ids(records)
                after = found[-1] if found else None
            assert found == right, (wanted, is_descending)


async def test_other_metadata_is_found_and_the_old_is_not(database):
    every, completions = await shelf(database), SqlCompletions(database)
    key = every[0][0].id
    record = await completions.relabel("team", key, {"new": "yes", "third": "0"})
    assert dict(record.metadata) == {"new": "yes", "third": "0"}
    assert ids((await completions.list("team", StoredQuery(metadata={"new": "yes"})))[0]) == [key]
    for old in ({"parity": "even"}, {"parity": "odd"}):
        assert key not in ids((await completions.list("team", StoredQuery(metadata=old)))[0])
    assert dict((await completions.relabel("team", key, {})).metadata) == {}
    assert ids((await completions.list("team", StoredQuery(metadata={"new": "yes"})))[0]) == []
    assert len((await completions.list("team", StoredQuery()))[0]) == 12


async def test_pairs_that_read_alike_when_joined_are_different(database):
    running = moved(begun(store=True, metadata={"ab": "c"}), Status.SUCCEEDED)
    await kept(database, running)
    completions = SqlCompletions(database)
    for other in ({"a": "bc"}, {"abc": ""}, {"": "abc"}, {"ab": "C"}):
        assert await completions.list("team", StoredQuery(metadata=other)) == ((), False)
    assert len((await completions.list("team", StoredQuery(metadata={"ab": "c"})))[0]) == 1


async def test_one_taken_out_is_gone_from_the_stored_and_stays_a_prediction(database):
    every, completions = await shelf(database), SqlCompletions(database)
    key = every[0][0].id
    assert await completions.unstore("team", key)
    assert not await completions.unstore("team", key)
    assert await completions.find("team", key) is None
    assert await completions.relabel("team", key, {"a": "1"}) is None
    for query in (StoredQuery(), StoredQuery(metadata=dict(every[0][1]))):
        assert key not in ids((await completions.list("team", query))[0])
    with pytest.raises(UnknownCompletion):
        await completions.list("team", StoredQuery(after=key))
    assert (await SqlArchive(database).get("team", key)).output is not None
    assert key.hex not in {row.prediction for row in await rows(database, labels)}
