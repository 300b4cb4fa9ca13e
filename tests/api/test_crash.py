"""A server that is killed at a random moment, and one that starts after it: SHUT-06 and what a crash may cost. Nobody
was told of a prediction that is not there, none is left running, and none is run again.
"""

import contextlib
import random
import sqlite3
import time

import anyio
import httpx
import psutil
import pytest

from tests.conftest import ENDED, REAL, real_config, serving, until
from tests.lives import MESSAGES, Line, assert_told, create, crowd, kept_in, line, listed, records_of, status_of

GONE = (OSError, anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead, anyio.ClosedResourceError)
END = b"[DONE]"
A_SECOND = 200
"""How many requests are sent each second."""
ENOUGH = 20
"""How many have to be known of before the server is killed, however slow the machine is."""


class Drive:
    """Clients of every kind, one after the other at a steady pace, until the server is gone."""

    def __init__(self, server):
        self.server = server
        self.asked = 0
        self.told: dict[str, bytes] = {}
        """Every id somebody heard of, and all that was heard."""

    async def run(self, kill_after_s):
        async with anyio.create_task_group() as group:
            begun = anyio.current_time()
            while (now := anyio.current_time()) < begun + kill_after_s or len(self.told) < ENOUGH:
                while self.asked < (now - begun) * A_SECOND:
                    self.asked += 1
                    group.start_soon(self.client, self.asked)
                await anyio.sleep(0.005)
            self.server.process.kill()
        self.server.process.wait()

    async def client(self, number):
        model = random.choice(["test/hello:1", "test/brief", "test/brief", "test/slow"])
        with contextlib.suppress(*GONE):
            async with line(self.server) as one:
                if number % 3 == 0:
                    await self.create(one, model)
                else:
                    await self.chat(one, model, stream=number % 3 == 1)

    async def chat(self, one: Line, model, *, stream):
        body = {"model": model, "messages": MESSAGES, "stream": stream, "max_tokens": 20}
        await one.send("POST", "/v1/chat/completions", body)
        status, headers = await one.head()
        if status == 200:
            self.told[headers["x-request-id"]] = b""
        await one.until(END if stream else b'"usage"')
        self.told[headers["x-request-id"]] = END

    async def create(self, one: Line, model):
        body = {"model": model, "input": {"messages": MESSAGES, "max_tokens": 20}}
        made = await one.ask("POST", "/v1/predictions", body)
        if made.status == 201:
            self.told[made.json()["id"]] = b""


async def read_all(server):
    brief = await listed(server)
    assert all(one["status"] in ENDED for one in brief), "ready, and some have no end"
    return {record["id"]: record for record in await records_of(server, [one["id"] for one in brief])}


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_a_killed_server_leaves_nothing_unknown_unfinished_or_run_again(store_url, tmp_path, rounds):
    """SHUT-06; each server but the last is killed, and each but the first looks at what was left to it."""
    known: dict[str, dict] = {}
    told: dict[str, bytes] = {}
    asked = 0
    for number in range(rounds + 1):
        with serving(tmp_path, kept_in(store_url), log=tmp_path / f"{number}.log") as server:
            if number:
                known = assert_left(server, known, told)
                assert len(known) <= asked
            if number < rounds:
                drive = Drive(server)
                anyio.run(drive.run, random.uniform(0.3, 1.2))
                told |= drive.told
                asked += drive.asked
        if store_url.startswith("sqlite"):
            with contextlib.closing(sqlite3.connect(tmp_path / "antiphon.db")) as database:
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert any(one["status"] == "abandoned" for one in known.values()), "nothing ran when a server was killed"


def assert_left(server, known, told):
    """What a killed server left is true, and stays as it is; give all records there are."""
    assert httpx.get(f"{server.url}/readyz").status_code == 200
    records = anyio.run(read_all, server)
    assert_agree(records, known, told)
    time.sleep(0.3)
    assert anyio.run(read_all, server) == records, "something was run again"
    assert not server.records()
    assert_old_streams(server, [record for key, record in records.items() if key not in known])
    return records


def assert_agree(records, known, told):
    assert set(told) <= set(records), "somebody was told of a prediction that is not there"
    assert records.items() >= known.items(), "an ended prediction has changed"
    for key, record in records.items():
        is_done = record["status"] == "succeeded"
        if is_done:
            assert_told(record, "succeeded")
        else:
            assert (record["status"], record["error"]["detail"]["code"]) == ("abandoned", "abandoned")
        assert is_done or told.get(key) != END, "somebody was told of an end that is not there"


def assert_old_streams(server, records):
    """Who comes back for the stream of a prediction hears its end: what it said, or that it was abandoned."""
    for status in ("succeeded", "abandoned"):
        key = next((one["id"] for one in records if one["status"] == status), None)
        if key is None:
            continue
        for params in ({}, {"after_id": "init"}, {"after_id": "0-5-0-0-0-0"}):
            path = f"{server.url}/v1/predictions/{key}/stream"
            text = httpx.get(path, params=params, headers=server.headers, verify=False).text
            last = text.rstrip().split("\n\n")[-1]
            if status == "succeeded":
                assert "event: done" in last
                assert ("Hello" in text) is (params.get("after_id", "init") == "init")
            else:
                assert "event: error" in last
                assert '"code":"abandoned"' in last


def test_a_killed_server_s_real_engine_dies_and_its_predictions_are_abandoned(tmp_path, weights):
    """SHUT-06: what was never begun, what was being read and what was being said."""
    config = real_config(weights)
    with serving(tmp_path, config) as server:
        (child,) = psutil.Process(server.process.pid).children()
        speaking = create(server, REAL, n=8, max_tokens=2000, logit_bias={"2": -100})
        until(lambda: server.engine_state().decoding, 20)
        until(lambda: status_of(server, speaking) == "started")
        waiting = create(server, REAL)
        server.process.kill()
        until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 2)
    with serving(tmp_path, config, log=tmp_path / "after.log") as server:
        for key, was_accepted in ((speaking, True), (waiting, False)):
            record = server.get(f"/v1/predictions/{key}").json()
            assert record["status"] == "abandoned"
            assert record["error"]["source"] == "internal"
            assert record["error"]["detail"] == {"code": "abandoned", "reason": None}
            assert (record["metrics"]["queue_time"] is not None) is was_accepted
            assert server.cancel(key).status_code == 409
        assert server.engine_state().requests == 0, "a prediction of the dead server is run again"
        assert server.chat(REAL, "Hi", max_tokens=2).status_code == 200


def test_more_unfinished_predictions_than_one_transaction_ends_are_all_abandoned_before_the_server_is_ready(
    store_url, tmp_path
):
    config = kept_in(store_url)
    with serving(tmp_path, config) as server:
        ids = anyio.run(hold, server, 700)
        server.process.kill()
    with serving(tmp_path, config, log=tmp_path / "after.log") as server:
        found = {one["id"]: one["status"] for one in anyio.run(listed, server)}
        assert found == dict.fromkeys(ids, "abandoned")


def test_what_a_dead_server_s_last_commit_brings_after_it_was_struck_out_is_abandoned_too(tmp_path):
    """PostgreSQL may be that late; here the file is made to look as it looks then."""
    config = kept_in("sqlite:///antiphon.db")
    with serving(tmp_path, config) as server:
        key = create(server, "test/never")
        server.process.kill()
        server.process.wait()
    with contextlib.closing(sqlite3.connect(tmp_path / "antiphon.db")) as database, database:
        database.execute("DELETE FROM instances")
        database.execute("UPDATE predictions SET created_us = created_us - 60000000")
    with serving(tmp_path, config, log=tmp_path / "after.log") as server:
        mine = create(server, "test/never")
        assert server.prediction(key, 1)["status"] == "abandoned"
        time.sleep(6)  # Longer than the keeper's turn.
        assert server.get(f"/v1/predictions/{mine}").json()["status"] == "starting"
        server.cancel(mine)


async def hold(server, count):
    """Begin predictions that take minutes; give their ids."""

    async def begin(number):
        async with line(server) as one:
            body = {"model": f"test/hold{number % 8}", "input": {"messages": MESSAGES}}
            return (await one.ask("POST", "/v1/predictions", body)).json()["id"]

    return await crowd(count, 50, begin)
