"""An end told to whoever follows, to whoever comes later, and in the record: the same each time. And whose leaving is
an end."""

import json
import uuid

import anyio
import httpx
import pytest

from tests.conftest import until
from tests.lives import MESSAGES, assert_told, create, line, seconds


def last_event(server, prediction_id, model_deadline_s=20):
    path = f"{server.url}/v1/predictions/{prediction_id}/stream"
    text = httpx.get(path, headers=server.headers, timeout=model_deadline_s, verify=False).text
    kind, data = text.rstrip().split("\n\n")[-1].split("\n")[1:]
    return kind, json.loads(data.removeprefix("data: "))


@pytest.mark.parametrize(
    ("model", "source"),
    [("test/late", "internal"), ("test/dies", "internal"), ("test/dead", "internal"), ("test/narrow-ctx", "external")],
    ids=["deadline", "dies", "dead", "too-long"],
)
def test_a_failure_is_told_the_same_to_followers_later_readers_and_in_the_record(pair, model, source):
    server, other = pair
    if model == "test/narrow-ctx":
        model, fields = "test/echo", {"messages": [{"role": "user", "content": "word " * 200}]}
    else:
        fields = {}
    key = create(server, model, **fields)
    live = last_event(server, key)
    record = server.prediction(key)
    later, elsewhere = last_event(server, key), last_event(other, key)
    assert live[0] == later[0] == "event: error"
    assert later == elsewhere
    assert record["error"] == later[1]
    for name in ("source", "message"):
        assert live[1][name] == record["error"][name]
    assert live[1]["detail"]["code"] == record["error"]["detail"]["code"]
    assert record["error"]["source"] == source


def test_a_cancel_is_told_as_the_doing_of_whoever_asked(pair):
    server, _ = pair
    key = create(server, "test/never")
    server.cancel(key)
    record = server.prediction(key)
    assert record["error"]["source"] == last_event(server, key)[1]["source"] == "external"


def leave(server, method, path, body, marker, **headers):
    """Ask, read as far as a text, and go."""

    async def ask():
        async with line(server) as one:
            await one.send(method, path, body, **headers)
            if marker:
                await one.until(marker)
            else:
                await anyio.sleep(0.2)

    anyio.run(ask)


def test_who_only_reads_a_prediction_may_leave_and_it_goes_on(pair):
    """LIFE-01, LIFE-02: of a prediction that nobody holds a connection for, leaving means nothing."""
    server = pair[0]
    before = server.newest()
    ask = {"model": "test/narrow", "input": {"messages": MESSAGES, "max_tokens": 16}}
    leave(server, "POST", "/v1/predictions", ask, None, Prefer="wait")
    key = until(lambda: (one := server.newest()) != before and one)["id"]
    for place in pair:
        leave(place, "GET", f"/v1/predictions/{key}/stream", None, b"event: init")
    record = server.prediction(key)
    assert_told(record, "succeeded")
    assert record["metrics"]["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_client_that_leaves_while_another_waits_with_its_key_ends_nothing_and_the_last_one_does(pair, stream):
    server, key = pair[0], uuid.uuid4().hex
    ask = {"model": "test/slow", "messages": MESSAGES, "max_tokens": 30, "stream": stream}
    before = server.newest()

    async def both(stays):
        async with anyio.create_task_group() as group:
            group.start_soon(client, 0.4)
            await anyio.sleep(0.2)
            group.start_soon(client, stays)

    async def client(stays):
        with anyio.move_on_after(stays):
            async with line(server) as one:
                answer = await one.ask("POST", "/v1/chat/completions", ask, Idempotency_Key=key)
                heard.append(answer)

    heard = []
    anyio.run(both, 0.8)
    gone = server.prediction(until(lambda: (one := server.newest()) != before and one)["id"])
    assert_told(gone, "cancelled", "client_gone")
    assert heard == []
    assert 0.7 < seconds(gone["execution_time"]) < 1.45, "it ends with the last one, not with the first"
    anyio.run(both, 20)
    kept = server.prediction(server.newest()["id"])
    assert kept["id"] != gone["id"], "a key whose prediction came to nothing is free"
    assert_told(kept, "succeeded")
    assert len(heard) == 1
    assert kept["id"].replace("-", "").encode() in heard[0].body
