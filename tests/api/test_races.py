"""Ends that meet: a cancel or a departure against the last token, a thousand times, over both stores. LIFE-08..10.

"Never stuck" is read in the records afterwards: each has exactly one end, and says what its clients were told.
"""

import random
import socket
import struct
import time
from collections import Counter

import anyio
import psutil
import pytest

from tests.conftest import serving, until
from tests.lives import LIVES, MESSAGES, Line, assert_told, crowd, line, listed, records_of

RACES = 1_000
AT_ONCE = 64
BRIEF_S = 0.16
"""How long test/brief takes: four tokens of 40 ms."""
RACED_S = 0.4
"""How long a prediction takes whose end a cancel races: eight tokens of 50 ms."""
RESET = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reason_of(record):
    return record["error"] and record["error"]["detail"]["reason"]


def assert_one_end(records, reason):
    """Every record has ended in one of two ways, both of which were met."""
    ends = Counter((record["status"], reason_of(record)) for record in records)
    assert set(ends) == {("succeeded", None), ("cancelled", reason)}, ends
    assert min(ends.values()) > len(records) / 100, f"this was no race: {ends}"
    for record in records:
        assert_told(record, record["status"], reason_of(record))
        assert record["status"] == "cancelled" or record["output"]["choices"][0]["finish_reason"]


async def assert_none_runs(server):
    """Soon: those whose client has left may be at their ends."""
    path = "/v1/predictions?statuses=pending&statuses=starting&statuses=started"
    async with line(server) as one:
        with anyio.fail_after(10):
            while (await one.ask("GET", path)).json()["items"]:
                await anyio.sleep(0.05)


class CancelRace:
    """Predictions that are each cancelled twice at once at about their end, and once more when all is over."""

    def __init__(self, kept, asked, count):
        self.kept, self.asked, self.count = kept, asked, count
        self.heard: dict[str, list[int]] = {}
        self.free: list[list[Line]] = []

    async def run(self):
        servers = (self.kept, self.asked, self.asked)
        self.free = [[await Line.to(server) for server in servers] for _ in range(AT_ONCE)]
        await crowd(self.count, AT_ONCE, self.race)
        records = await records_of(self.kept, list(self.heard))
        before = await listed(self.kept)
        keys = list(self.heard)
        await crowd(len(keys), AT_ONCE, lambda number: self.again(keys[number]))
        assert await listed(self.kept) == before, "a cancel after the end has changed a prediction"
        for one in (one for lines in self.free for one in lines):
            await one.close()
        await assert_none_runs(self.kept)
        return records

    async def race(self, _):
        lines = self.free.pop()
        making, *cancelling = lines
        ask = {"model": "test/slow", "input": {"messages": MESSAGES, "max_tokens": 8}}
        made = await making.ask("POST", "/v1/predictions", ask)
        assert made.status == 201, made.json()
        key = made.json()["id"]
        self.heard[key] = []
        # Another process's cancel is carried out within half a second: often after the end.
        await anyio.sleep(random.choice([0, 0.2, random.random(), random.uniform(0.9, 3)]) * RACED_S)
        async with anyio.create_task_group() as group:
            for one in cancelling:
                group.start_soon(self.cancel, one, key)
        self.free.append(lines)

    async def again(self, key):
        lines = self.free.pop()
        await self.cancel(lines[1], key)
        self.free.append(lines)

    async def cancel(self, one, key):
        self.heard[key].append((await one.ask("POST", f"/v1/predictions/{key}/cancel")).status)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same", "other"])
@pytest.mark.parametrize("count", [250, pytest.param(RACES, marks=pytest.mark.long)])
def test_a_cancel_that_races_the_end_leaves_one_end_and_may_be_sent_again(pair, elsewhere, count):
    """LIFE-08: what those who cancel hear is what the record says."""
    race = CancelRace(pair[0], pair[elsewhere], count)
    records = anyio.run(race.run)
    assert len(records) == count
    for record in records:
        first, second, late = race.heard[record["id"]]
        if record["status"] == "cancelled":
            assert (first, second, late) == (200, 200, 200)
        else:
            assert late == 409
            assert {first, second} <= {200, 409}
    if elsewhere:
        assert {reason_of(record) for record in records} <= {None, "requested"}
    else:
        assert_one_end(records, "requested")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_client_that_leaves_at_the_last_token_leaves_one_end(kept, stream):
    """LIFE-09; one in two with a reset."""
    ids = []

    async def once(number):
        async with line(kept) as one:
            body = {"model": "test/brief", "messages": MESSAGES, "stream": stream}
            await one.send("POST", "/v1/chat/completions", body)
            if stream:
                ids.append((await one.head())[1]["x-request-id"])
                await one.until(b" world" if number % 4 < 2 else b"!")
                await anyio.sleep(random.choice([0, random.uniform(0, BRIEF_S / 4)]))
            else:
                await anyio.sleep(random.choice([0.5, random.uniform(0.8, 1.2), 5]) * BRIEF_S)
            if number % 2:
                one.linger(RESET)

    async def everything():
        before = {one["id"] for one in await listed(kept)}
        await crowd(RACES, AT_ONCE, once)
        made = [one["id"] for one in await listed(kept) if one["id"] not in before]
        assert set(ids) <= set(made), "somebody was told of a prediction that is not there"
        # A reset takes back what was sent and not read yet: a busy machine has not come to read some of them.
        assert len(made) == RACES if stream else RACES * 0.6 <= len(made) <= RACES
        records = await records_of(kept, made)
        await assert_none_runs(kept)
        return records

    assert_one_end(anyio.run(everything), "client_gone")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("count", [250, pytest.param(RACES, marks=pytest.mark.long)])
def test_a_deadline_at_the_last_token_leaves_the_end_that_its_client_was_told(kept, stream, count):
    """LIFE-06, LIFE-07."""
    told = {}

    async def once(_):
        body = {"model": "test/slow", "messages": MESSAGES, "stream": stream, "max_tokens": 8}
        within = random.choice([random.uniform(0.7, 1.3), 0.7, 1, 5]) * RACED_S
        async with line(kept) as one:
            answer = await one.ask("POST", "/v1/chat/completions", body, x_request_timeout_seconds=within)
        is_late = b"deadline_exceeded" in answer.body
        assert is_late is not (b"[DONE]" in answer.body if stream else answer.status == 200)
        told[answer.headers["x-request-id"]] = is_late

    async def everything():
        await crowd(count, AT_ONCE, once)
        return await records_of(kept, list(told))

    records = anyio.run(everything)
    assert len(records) == count
    assert_one_end(records, "deadline")
    assert told == {record["id"]: record["status"] == "cancelled" for record in records}


@pytest.mark.parametrize("streams", [200, pytest.param(1_000, marks=pytest.mark.long)])
def test_streams_that_are_all_closed_at_once_all_end_and_leave_nothing_behind(store_url, tmp_path, streams):
    """LIFE-10."""
    config = f'[store]\nurl = "{store_url}"\n{LIVES}'
    with serving(tmp_path, config) as server:
        process = psutil.Process(server.process.pid)
        server.chat("test/hello")
        base = process.num_fds()
        records, took = anyio.run(_storm, server, streams)
        assert took < 5
        for record in records:
            assert_told(record, "cancelled", "client_gone")
        until(lambda: process.num_fds() <= base + 8)
        assert server.chat("test/hold0", n=128, max_tokens=1).status_code == 200, "a slot is still held"
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 2.5, "something still runs"
        assert "was never" not in server.log.read_text()


async def _storm(server, streams):
    lines, ids = [], []

    async def begin(number):
        one = await Line.to(server)
        lines.append(one)
        body = {"model": f"test/hold{number % 8}", "messages": MESSAGES, "stream": True}
        await one.send("POST", "/v1/chat/completions", body)
        ids.append((await one.head())[1]["x-request-id"])
        await one.until(b"Hello")

    await crowd(streams, 100, begin)
    begun = anyio.current_time()
    for one in lines:
        await one.close()
    while any(one["status"] not in {"cancelled", "succeeded"} for one in await listed(server)):
        assert anyio.current_time() - begun < 10, "some have not ended"
    took = anyio.current_time() - begun
    assert len(set(ids)) == streams
    return await records_of(server, ids), took
