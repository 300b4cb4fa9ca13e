"""An end told to whoever follows, to whoever comes later, and in the record: the same each time."""

import json

import httpx
import pytest

from tests.lives import create


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
