"""Cancelling by name, whatever the prediction does meanwhile: LIFE-08, over both stores.

Each test asks once the process that runs the prediction and once another one that shares its database.
"""

import contextlib
import json
import threading
import time

import httpx
import pytest

from tests.conftest import until
from tests.lives import assert_told, create, key_of, said, status_of

WITHIN_S = 2.0
"""How long a cancel that another process was asked for may take."""


@pytest.fixture(params=["same", "other"])
def asked(request, pair):
    """The process that is asked to cancel."""
    return pair[request.param == "other"]


@pytest.fixture(scope="module")
def other(pair):
    """The key of another account."""
    return key_of(pair[0], "other")


def assert_cancelled(server, prediction_id):
    record = server.prediction(prediction_id, WITHIN_S)
    assert_told(record, "cancelled", "requested")
    return record


def stream_of(server, prediction_id, **params):
    path = f"{server.url}/v1/predictions/{prediction_id}/stream"
    return httpx.get(path, params=params, headers=server.headers, timeout=20, verify=False)


@contextlib.contextmanager
def reading(ask):
    """Ask in a thread of its own; what it heard is in the list after the body."""
    heard = []
    thread = threading.Thread(target=lambda: heard.append(ask()))
    thread.start()
    yield heard
    thread.join()


def test_a_cancel_ends_a_prediction_in_the_queue_and_it_is_never_started(kept, asked):
    first, second = create(kept, "test/narrow"), create(kept, "test/narrow")
    until(lambda: status_of(kept, first) == "started")
    assert status_of(kept, second) == "pending"
    assert asked.cancel(second).text == "null"
    record = assert_cancelled(kept, second)
    assert record["metrics"]["queue_time"] is None
    assert_told(kept.prediction(first, 20), "succeeded")


def test_a_cancel_ends_a_prediction_that_its_engine_has_not_accepted(kept, asked):
    key = create(kept, "test/never")
    until(lambda: status_of(asked, key) == "starting")
    assert asked.cancel(key).text == "null"
    record = assert_cancelled(kept, key)
    assert (record["setup_time"], record["output"]) == (None, None)
    assert record["metrics"]["queue_time"] is not None


def test_a_cancel_ends_a_prediction_that_speaks_and_what_it_said_is_kept(kept, asked):
    key = create(kept, "test/slow")
    until(lambda: status_of(asked, key) == "started")
    assert asked.cancel(key).text == "null"
    record = assert_cancelled(kept, key)
    assert record["metrics"]["usage"]["completion_tokens"] < 100
    assert asked.get(f"/v1/predictions/{key}").json() == record, "both processes say the same"


def test_a_cancel_ends_the_stream_of_whoever_reads_it_in_an_error_without_done(kept, asked):
    before = kept.newest()
    with reading(lambda: kept.chat("test/slow", stream=True)) as heard:
        key = until(lambda: (one := kept.newest()) and one != before and one["status"] == "started" and one)["id"]
        with reading(lambda: stream_of(kept, key)) as followed, reading(lambda: stream_of(asked, key)) as elsewhere:
            time.sleep(0.3)
            assert asked.cancel(key).text == "null"
    assert heard[0].status_code == 200
    *frames, last, end = heard[0].text.split("\n\n")
    assert (json.loads(last.removeprefix("data: "))["error"]["code"], end) == ("prediction_cancelled", "")
    assert "[DONE]" not in heard[0].text
    told = "".join(
        json.loads(frame.removeprefix("data: "))["choices"][0]["delta"].get("content", "") for frame in frames
    )
    assert said(assert_cancelled(kept, key)) == told, "what was recorded is what was sent"
    for follower in (followed[0].text, elsewhere[0].text):
        assert follower.count("event: error") == 1
        assert "event: done" not in follower
        assert '"code":"prediction_cancelled"' in follower


def test_a_cancel_is_a_409_that_nobody_retries_for_whoever_waits_for_a_whole_answer(kept, asked):
    before = kept.newest()
    with reading(lambda: kept.chat("test/slow")) as heard:
        key = until(lambda: (one := kept.newest()) != before and one)["id"]
        assert asked.cancel(key).text == "null"
    assert (heard[0].status_code, heard[0].json()["error"]["code"]) == (409, "prediction_cancelled")
    assert heard[0].headers["x-should-retry"] == "false"
    assert heard[0].headers["x-request-id"] == key
    assert_cancelled(kept, key)


def test_asking_twice_is_no_error_neither_at_once_nor_after_the_end(kept, asked):
    key = create(kept, "test/slow")
    assert [asked.cancel(key).text for _ in range(3)] == ["null"] * 3
    record = assert_cancelled(kept, key)
    assert [one.cancel(key).text for one in (kept, asked)] == ["null"] * 2
    assert kept.prediction(key) == record, "asking again has changed nothing"


@pytest.mark.parametrize("model", ["test/hello", "test/dies", "test/late"], ids=["succeeded", "failed", "deadline"])
def test_what_has_ended_by_itself_cannot_be_cancelled_and_stays_as_it_is(kept, asked, model):
    record = kept.prediction(create(kept, model))
    answer = asked.cancel(record["id"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "prediction_ended")
    assert answer.headers["x-should-retry"] == "false"
    assert kept.prediction(record["id"]) == record


def test_a_cancel_of_somebody_else_s_is_a_404_and_ends_nothing(kept, asked, other):
    key = create(kept, "test/slow", max_tokens=20)
    answer = asked.cancel(key, authorization=f"Bearer {other}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "prediction_not_found")
    assert_told(kept.prediction(key, 10), "succeeded")
