"""The prediction API's JSON, both directions."""

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wriftai._sse import SSEDecoder

from antiphon.domain.errors import (
    BodyTooLarge,
    ContextTooLong,
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    PredictionCancelled,
)
from antiphon.domain.events import Usage
from antiphon.domain.models import Model, Version
from antiphon.domain.prediction import CancelReason, Status
from antiphon.domain.record import Failure, Page, Record, Timings
from antiphon.wire import places, wriftai
from antiphon.wire.json_in import Limits

KEY = UUID("00112233-4455-6677-8899-aabbccddeeff")
INPUT = {"messages": [{"role": "user", "content": "é\u2028x"}]}
NUMBERS = st.integers(0, 999_999_999)
PLACES = st.lists(
    st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.booleans()), min_size=1, max_size=128
)


def create(tree, model=None, limits=None):
    return wriftai.read_create(json.dumps(tree).encode(), limits or Limits(), model)


def record(**fields):
    usual = {"status": Status.SUCCEEDED, "created_us": 1_700_000_000_000_001, "updated_us": 1_700_000_001_999_999}
    return Record(KEY, "me", "a/b", 3, "scripted", **(usual | fields))


@given(PLACES)
def test_the_id_of_an_event_is_read_as_it_was_written(told):
    assert places.read_place_id(places.place_id(told), len(told)) == tuple(told)


@given(st.text("0123456789-.x\n ٣", max_size=40), st.integers(1, 3))
def test_any_other_text_is_refused_and_never_breaks(text, choices):
    try:
        found = places.read_place_id(text, choices)
    except InvalidRequest as error:
        assert error.param == "after_id"
    else:
        assert len(found) == choices


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=8), st.text("0-.", min_size=1))
def test_the_platforms_own_reader_reads_the_events(data, event_id):
    frame = wriftai.event_frame(event_id, "output", json.dumps(data, ensure_ascii=False).encode())
    read = []
    reader = SSEDecoder()
    for at in range(0, len(frame), 7):
        read += reader.feed(frame[at : at + 7])
    assert read == [{"id": event_id, "event": "output", "data": data}]


@given(
    st.dictionaries(st.text(max_size=5).filter(lambda name: name not in {"model", "stream"}), st.integers(), max_size=5)
)
def test_what_is_kept_of_an_input_is_what_was_sent(more):
    sent = INPUT | {f"x{name}": value for name, value in more.items()}
    read = create({"model": "a/b", "input": sent})
    assert json.loads(read.input) == sent


def test_a_created_prediction_is_a_chat_request_that_does_not_stream():
    read = create({"model": "a/b:2", "input": INPUT | {"n": 2}, "stream": True, "webhook": {"url": "https://e.org"}})
    assert (str(read.request.model), read.request.model_text) == ("a/b:2", "a/b:2")
    assert (read.request.stream, read.request.sampling.n, read.is_streamed) == (False, 2, True)
    assert (read.webhook.url, read.webhook.secret) == ("https://e.org", None)


def test_a_path_that_names_the_model_wins_only_over_nothing():
    assert create({"input": INPUT}, "a/b").request.model_text == "a/b"
    assert create({"input": INPUT, "model": "a/b"}, "a/b").request.model_text == "a/b"
    with pytest.raises(InvalidRequest) as caught:
        create({"input": INPUT, "model": "a/b:1"}, "a/b")
    assert caught.value.faults[0].loc == ("body", "model")


def test_limits_hold_for_an_input_as_for_a_chat():
    with pytest.raises(BodyTooLarge):
        create({"model": "a/b", "input": INPUT}, limits=Limits(text_bytes=20))
    with pytest.raises(InvalidRequest) as caught:
        create({"model": "a/b", "input": INPUT}, limits=Limits(depth=3))
    assert caught.value.said_code == "invalid_json"
    many = {"messages": INPUT["messages"] * 3}
    with pytest.raises(InvalidRequest) as caught:
        create({"model": "a/b", "input": many}, limits=Limits(messages=2))
    assert caught.value.faults[0].loc == ("body", "input", "messages")


def test_the_secret_of_a_webhook_is_never_shown():
    hook = create({"model": "a/b", "input": INPUT, "webhook": {"url": "https://e.org", "secret": "s3cret"}}).webhook
    assert "s3cret" not in repr(hook)
    assert b"s3cret" not in wriftai.prediction_body(record(webhook=hook))
    assert b"e.org" not in wriftai.prediction_body(record(webhook=hook))


def test_what_was_written_to_the_store_comes_out_as_it_went_in():
    body = json.loads(
        wriftai.prediction_body(
            record(
                request=b' {"a": 1000000000000000000000000000000}',
                output=b'{"b":"\xc3\xa9"}',
                usage=Usage(prompt_tokens=3, completion_tokens=2),
                timings=Timings(0.0000015, 12.5, 3600.25),
                receipt=("verbosity=instruction",),
            )
        )
    )
    assert (body["input"], body["output"], body["error"]) == ({"a": 10**30}, {"b": "é"}, None)
    assert (body["created_at"], body["updated_at"]) == ("2023-11-14T22:13:20.000001Z", "2023-11-14T22:13:21.999999Z")
    assert (body["setup_time"], body["execution_time"]) == ("PT12.500000S", "PT3600.250000S")
    assert body["metrics"]["queue_time"] == "PT0.000002S"
    assert body["metrics"]["usage"]["total_tokens"] == 5
    assert body["metrics"]["parameters"] == ["verbosity=instruction"]


@pytest.mark.parametrize("status", [status for status in Status if not status.is_terminal])
def test_what_has_not_ended_has_no_metrics(status):
    assert json.loads(wriftai.prediction_body(record(status=status)))["metrics"] is None


FAILURES = [
    (PredictionCancelled("x"), Status.CANCELLED, CancelReason.REQUESTED, "external"),
    (DeadlineExceeded("x"), Status.CANCELLED, CancelReason.DEADLINE, "internal"),
    (ContextTooLong("x"), Status.FAILED, None, "external"),
    (EngineFailed("x"), Status.FAILED, None, "internal"),
]


@pytest.mark.parametrize(("error", "status", "reason", "source"), FAILURES)
def test_an_error_is_told_alike_while_it_happens_and_when_it_is_looked_up(error, status, reason, source):
    kept = record(status=status, reason=reason, failure=Failure(error.said_code, error.message))
    looked_up = json.loads(wriftai.prediction_body(kept))["error"]
    assert looked_up == json.loads(wriftai.error_data(error, reason)) == json.loads(wriftai.failure_data(kept))
    assert looked_up == {"source": source, "message": "x", "detail": {"code": error.said_code, "reason": reason}}


def test_a_page_has_exactly_the_keys_that_the_client_unpacks():
    page = json.loads(wriftai.page_body(Page((record(request=b"{}"),), "n", None)))
    assert set(page) == {"items", "next_cursor", "previous_cursor"}
    assert set(page["items"][0]) == {
        *("id", "created_at", "updated_at", "status", "setup_time", "execution_time", "model"),
    }


def test_versions_are_listed_newest_first_and_a_model_has_its_latest():
    versions = tuple(Version(number, "scripted", "d", number) for number in (1, 2, 10))
    model = Model("a", "b", versions, None, 1, 1, 5.0, 1)
    assert [one["number"] for one in json.loads(wriftai.versions_page(model))["items"]] == [10, 2, 1]
    body = json.loads(wriftai.model_body(model, 5, {"input": {}}))
    assert (body["latest_version"]["number"], body["predictions_count"], body["visibility"]) == (10, 5, "public")
    assert body["latest_version"] == json.loads(wriftai.version_body(versions[-1], {"input": {}}))
