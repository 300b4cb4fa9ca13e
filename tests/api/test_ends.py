"""An end told to whoever follows, to whoever comes later, and in the record: the same each time. And whose leaving is
an end."""

import contextlib
import json
import time
import uuid

import anyio
import httpx
import pytest

from tests.api.test_idempotency import begun, hears, held, predictions
from tests.conftest import until
from tests.lives import MESSAGES, assert_told, create, line, status_of


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


@contextlib.contextmanager
def left_to_the_last(server, key, **fields):
    """A prediction that two clients waited for until the first left; give its id, and the socket of the last."""
    before = predictions(server)
    with contextlib.ExitStack() as stack:
        with held(server, key, "test/slow", **fields):
            name = begun(server, before)
            last = stack.enter_context(held(server, key, "test/slow", **fields))
            time.sleep(0.5)  # until it has joined
        time.sleep(0.3)
        assert status_of(server, name) == "started", "it ended with the first"
        yield name, last


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_client_that_leaves_while_another_waits_with_its_key_ends_nothing_and_the_last_one_does(pair, stream):
    server, key = pair[0], uuid.uuid4().hex
    fields = {"max_tokens": 60, "stream": stream}
    with left_to_the_last(server, key, **fields) as (gone, _):
        pass
    assert_told(server.prediction(gone), "cancelled", "client_gone")
    with left_to_the_last(server, key, **fields) as (kept, last):
        assert kept != gone, "a key whose prediction came to nothing is free"
        heard = hears(last, b"[DONE]" if stream else b'"usage"')
    assert kept.replace("-", "").encode() in heard
    assert_told(server.prediction(kept), "succeeded")
