"""Predictions as things of their own: created, waited for, looked at and cancelled."""

import contextlib
import re
import socket
import sqlite3
import struct
import time

import pytest

from tests.conftest import SCRIPTED, serving, until
from tests.streams import CLIENT, events_of, post

MESSAGES = [{"role": "user", "content": "x"}]
PATH = "/v1/predictions"
SPAN = re.compile(r"PT\d+\.\d{6}S")


def body(model="test/hello:1", **fields):
    return {"model": model, "input": {"messages": MESSAGES}} | fields


def look(server, key):
    return server.get(f"{PATH}/{key}").json()


def cancel(server, key):
    return CLIENT.post(f"{server.url}{PATH}/{key}/cancel", headers=server.headers)


def test_a_prediction_is_created_and_told_where_it_can_be_looked_at(stage):
    answer = post(stage, PATH, body("test/slow"))
    created = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{stage.url}{PATH}/{created['id']}"
    assert created["id"] == answer.headers["x-request-id"]
    assert created["status"] in {"pending", "starting", "started"}
    assert CLIENT.get(answer.headers["location"], headers=stage.headers).json()["id"] == created["id"]
    cancel(stage, created["id"])


def test_what_a_prediction_says_of_itself(stage):
    answer = post(stage, PATH, body(), prefer="wait")
    ended = answer.json()
    assert set(ended) == {
        *("id", "created_at", "updated_at", "status", "setup_time", "execution_time", "model"),
        *("input", "output", "error", "metrics", "stream"),
    }
    assert ended["status"] == "succeeded"
    assert ended["model"] == {"owner": "test", "name": "hello", "version_number": 1}
    assert ended["input"] == {"messages": MESSAGES}
    assert ended["output"]["choices"][0]["message"]["content"] == "Hello, world!"
    assert ended["output"]["id"] == "chatcmpl-" + ended["id"].replace("-", "")
    assert (ended["error"], ended["stream"]) == (None, False)
    assert set(ended["metrics"]) == {"usage", "queue_time", "engine", "parameters"}
    for span in (ended["setup_time"], ended["execution_time"], ended["metrics"]["queue_time"]):
        assert SPAN.fullmatch(span)
    for moment in (ended["created_at"], ended["updated_at"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", moment)
    assert ended == look(stage, ended["id"])


def test_a_prediction_never_says_how_long_took_what_it_has_not_come_to(stage):
    """What is written of a quick prediction is written when it is further already."""
    spans = {"pending": 0, "starting": 0, "started": 1, "succeeded": 2}
    for _ in range(30):
        created = post(stage, PATH, body()).json()
        told = [created["setup_time"], created["execution_time"]]
        assert sum(span is not None for span in told) == spans[created["status"]], created


@pytest.mark.parametrize("value", ["wait", "Wait", "wait=10", 'wait="10"', "respond-async, wait=10", "wait=10.0; x=1"])
def test_a_client_that_prefers_to_wait_gets_the_ended_prediction(stage, value):
    assert post(stage, PATH, body("test/hello"), prefer=value).json()["status"] == "succeeded"


@pytest.mark.parametrize("value", ["wait=0.4", "wait=0.30000000000000004", "wait=3e-1", "wait=4E-01"])
def test_a_wait_that_is_over_gives_the_prediction_as_it_stands_and_cancels_nothing(stage, value):
    begun = time.monotonic()
    answer = post(stage, PATH, body("test/never"), prefer=value)
    assert 0.25 <= time.monotonic() - begun < 3
    assert (answer.status_code, answer.json()["status"]) == (201, "starting")
    assert look(stage, answer.json()["id"])["status"] == "starting"
    cancel(stage, answer.json()["id"])


@pytest.mark.parametrize("value", ["wait=abc", "wait=-1", "wait=1s", "wait=nan", "wait=inf", "wait=1_5", "wait=0x1"])
@pytest.mark.parametrize("path", [PATH, PATH + "/{}/stream"])
def test_a_wait_that_is_no_number_is_refused_by_name(stage, value, path):
    if path == PATH:
        answer = post(stage, path, body(), prefer=value)
    else:
        key = stage.chat("test/hello").headers["x-request-id"]
        answer = stage.get(path.format(key), prefer=value)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["header", "prefer"]


@pytest.mark.parametrize("value", ["true", "false", "TRUE"])
def test_the_input_is_checked_whatever_was_asked(stage, value):
    assert post(stage, PATH, body(), validate_input=value).status_code == 201
    answer = post(stage, PATH, body(input={}), validate_input=value)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "input", "messages"]


def test_an_unreadable_wish_to_check_is_refused(stage):
    answer = post(stage, PATH, body(), validate_input="maybe")
    assert answer.json()["detail"][0]["loc"] == ["header", "validate-input"]


WRONG = {
    "no object": ([], [["body"]]),
    "null": (None, [["body"]]),
    "nothing": ({}, [["body", "model"], ["body", "input"]]),
    "an unknown field": (body(x=1), [["body", "x"]]),
    "input no object": (body(input=[]), [["body", "input"]]),
    "input null": (body(input=None), [["body", "input"]]),
    "model no name": (body("hello"), [["body", "model"]]),
    "model no text": (body(5), [["body", "model"]]),
    "stream no boolean": (body(stream=1), [["body", "stream"]]),
    "no messages": (body(input={"messages": []}), [["body", "input", "messages"]]),
    "no role": (body(input={"messages": [{"content": "x"}]}), [["body", "input", "messages", 0, "role"]]),
    "content": (
        body(input={"messages": [{"role": "user", "content": 5}], "n": 0}),
        [["body", "input", "messages", 0, "content"], ["body", "input", "n"]],
    ),
    "another model inside": (body(input={"messages": MESSAGES, "model": "a/b"}), [["body", "input", "model"]]),
    "a list as model inside": (body(input={"messages": MESSAGES, "model": []}), [["body", "input", "model"]]),
    "an object as stream inside": (body(input={"messages": MESSAGES, "stream": {}}), [["body", "input", "stream"]]),
    "another stream inside": (body(input={"messages": MESSAGES, "stream": True}), [["body", "input", "stream"]]),
    "stream as a number inside": (
        body(input={"messages": MESSAGES, "stream": 1}, stream=True),
        [["body", "input", "stream"]],
    ),
    "stream options": (
        body(input={"messages": MESSAGES, "stream_options": {"include_usage": True}}, stream=True),
        [["body", "input", "stream_options"]],
    ),
    "webhook no object": (body(webhook="http://x"), [["body", "webhook"]]),
    "webhook without url": (body(webhook={}), [["body", "webhook", "url"]]),
    "webhook with more": (body(webhook={"url": "https://e.org", "x": 1}), [["body", "webhook", "x"]]),
    "an empty secret": (body(webhook={"url": "https://e.org", "secret": ""}), [["body", "webhook", "secret"]]),
    "a secret with a line break": (
        body(webhook={"url": "https://e.org", "secret": "a\nb"}),
        [["body", "webhook", "secret"]],
    ),
    "a long url": (body(webhook={"url": "https://e.org/" + "x" * 2048}), [["body", "webhook", "url"]]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_prediction_is_named_where_it_stands(stage, case):
    sent, places = WRONG[case]
    answer = post(stage, PATH, sent)
    assert answer.status_code == 422, answer.text
    assert [fault["loc"] for fault in answer.json()["detail"]] == places
    assert {frozenset(fault) for fault in answer.json()["detail"]} == {frozenset({"loc", "msg", "type"})}


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/hook", "http://[::1]/", "http://10.0.0.8/", "http://169.254.169.254/latest", "http://0/"),
        *("ftp://example.org/", "https://user:pw@example.org/", "https://example.org:22/", "//example.org", "x"),
        *("http://2130706433/", "http://localhost/", "file:///etc/passwd", "http://example.org\\@127.0.0.1/"),
    ],
)
def test_a_webhook_that_must_not_be_called_is_refused_by_its_own_code(stage, url):
    answer = post(stage, PATH, body(webhook={"url": url, "secret": "s3cret"}))
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["loc"] == ["body", "webhook", "url"]
    assert answer.json()["error"]["code"] == "url_not_allowed"


def test_null_means_not_asked(stage):
    sent = body(webhook=None, stream=None, input={"messages": MESSAGES, "model": None, "stream": None, "n": None})
    answer = post(stage, PATH, sent, prefer="wait")
    assert (answer.status_code, answer.json()["status"], answer.json()["stream"]) == (201, "succeeded", False)


def test_model_and_stream_may_stand_in_the_input_too_when_they_are_the_same(stage):
    sent = body(input={"messages": MESSAGES, "model": "test/hello:1", "stream": True}, stream=True)
    assert post(stage, PATH, sent).json()["stream"] is True


@pytest.mark.parametrize("number", [10**30, -(10**30), int("9" * 399), 2**64, 1.5e300])
def test_a_number_that_nobody_looks_at_breaks_nothing(stage, number):
    sent = body(input={"messages": MESSAGES, "x": [number], "store": True})
    answer = post(stage, PATH, sent, prefer="wait")
    assert answer.status_code == 201, answer.text
    assert answer.json()["input"]["x"] == [number]
    assert answer.headers["x-antiphon-ignored"] == "x"
    key = answer.json()["id"]
    assert events_of(stage.get(f"{PATH}/{key}/stream").text)[-1].kind == "done"
    assert stage.get(f"/v1/chat/completions/{answer.json()['output']['id']}/messages").json()["data"]


def test_what_nobody_knows_in_an_input_is_named_or_refused_as_the_client_prefers(stage):
    sent = body(input={"messages": MESSAGES, "top_k": 5})
    assert post(stage, PATH, sent).headers["x-antiphon-ignored"] == "top_k"
    streamed = post(stage, PATH, sent | {"stream": True}, prefer="wait")
    assert streamed.headers["x-antiphon-ignored"] == "top_k"
    strict = post(stage, PATH, sent, prefer="handling=strict")
    assert strict.status_code == 422
    assert strict.json()["detail"][0]["loc"] == ["body", "input", "top_k"]


@pytest.mark.parametrize("white", [b" ", b"\n\t ", b"\r\n" * 3000], ids=["space", "lines", "kilobytes"])
def test_white_space_before_a_request_is_no_part_of_it(stage, white):
    answer = stage.post(white + b'{"model":"test/hello","messages":[{"role":"user","content":"x"}]}')
    key = answer.headers["x-request-id"]
    assert look(stage, key)["input"]["model"] == "test/hello"


@pytest.mark.parametrize(
    ("path", "version"), [("/v1/models/test/hello/predictions", 3), ("/v1/models/test/hello/versions/1/predictions", 1)]
)
def test_the_older_forms_name_the_model_in_the_path(stage, path, version):
    answer = post(stage, path, {"input": {"messages": MESSAGES}}, prefer="wait")
    assert answer.status_code == 201
    assert answer.json()["model"] == {"owner": "test", "name": "hello", "version_number": version}
    assert answer.json()["status"] == "succeeded"
    assert answer.headers["location"].endswith(f"{PATH}/{answer.json()['id']}")
    again = post(stage, path, {"input": {"messages": MESSAGES}, "model": "test/echo"})
    assert again.status_code == 422
    assert again.json()["detail"][0]["loc"] == ["body", "model"]


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/models/test/nobody/predictions", "/v1/models/test/hello/versions/2/predictions"),
        *("/v1/models/test/hello/versions/x/predictions", "/v1/models/test/hello/versions/0/predictions"),
        *("/v1/models/-/hello/predictions", "/v1/models/%00/%ff/predictions", "/v1/models/test/secret/predictions"),
    ],
)
def test_a_path_that_names_no_model_is_unknown(stage, path):
    answer = post(stage, path, {"input": {"messages": MESSAGES}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("key", ["x", "0" * 32, "00000000-0000-0000-0000-000000000000", "%00", "{}", "é", "a" * 5000])
@pytest.mark.parametrize("what", ["", "/stream", "/cancel"])
def test_a_prediction_that_is_not_there_is_unknown(stage, key, what):
    method = CLIENT.post if what == "/cancel" else CLIENT.get
    answer = method(f"{stage.url}{PATH}/{key}{what}", headers=stage.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "prediction_not_found")


def test_cancelling_is_told_as_null_and_what_it_said_until_then_is_kept(stage):
    key = post(stage, PATH, body("test/slow")).json()["id"]
    with CLIENT.stream("GET", f"{stage.url}{PATH}/{key}/stream", headers=stage.headers) as followed:
        next(line for line in followed.iter_lines() if "Hello" in line)
    answer = cancel(stage, key)
    assert (answer.status_code, answer.text) == (200, "null")
    record = until(lambda: (one := look(stage, key))["status"] == "cancelled" and one)
    assert record["error"]["source"] == "external"
    assert record["error"]["detail"] == {"code": "prediction_cancelled", "reason": "requested"}
    assert record["output"]["choices"][0]["finish_reason"] is None
    assert record["output"]["choices"][0]["message"]["content"].startswith("Hello")
    assert (cancel(stage, key).status_code, cancel(stage, key).text) == (200, "null")


def test_asking_twice_is_no_error_while_the_end_is_being_written_either(stage):
    beside = post(stage, PATH, body("test/slow")).json()["id"]  # what runs beside it makes its end wait
    for _ in range(4):
        key = post(stage, PATH, body("test/slow"), prefer="wait=0.1").json()["id"]
        head = f"POST {PATH}/{key}/cancel HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stage.key}\r\n"
        once = f"{head}Content-Length: 0\r\n"
        heard = stage.raw((f"{once}\r\n" * 4 + f"{once}Connection: close\r\n\r\n").encode())
        assert heard.count(b"HTTP/1.1 200 OK") == heard.count(b"\r\n\r\nnull") == 5, heard
    cancel(stage, beside)


@pytest.mark.parametrize("model", ["test/hello", "test/dies", "test/late"])
def test_what_ended_by_itself_cannot_be_cancelled(stage, model):
    key = post(stage, PATH, body(model), prefer="wait").json()["id"]
    answer = cancel(stage, key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "prediction_ended")
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("stream", [False, True])
def test_a_prediction_whose_creator_leaves_runs_on(stage, stream):
    raw, before = stage.request_bytes(body("test/slow", stream=stream), "Prefer: wait", path=PATH), running(stage)
    with socket.create_connection(("127.0.0.1", stage.port)) as link:
        link.sendall(raw)
        key = until(lambda: next((one for one in running(stage) if one not in before), None))
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.5)
    assert look(stage, key)["status"] == "started"
    cancel(stage, key)
    until(lambda: key not in running(stage))


def running(stage):
    return [one["id"] for one in stage.get(f"{PATH}?statuses=started").json()["items"]]


def test_a_list_has_exactly_three_keys_and_its_pages_hold_every_prediction_once(stage):
    for _ in range(12):
        post(stage, PATH, body(), prefer="wait")
    first = stage.get(f"{PATH}?page_size=5").json()
    assert set(first) == {"items", "next_cursor", "previous_cursor"}
    assert first["previous_cursor"] is None
    assert "input" not in first["items"][0]
    second = stage.get(f"{PATH}?page_size=5&cursor={first['next_cursor']}").json()
    assert not {one["id"] for one in first["items"]} & {one["id"] for one in second["items"]}
    assert stage.get(f"{PATH}?page_size=5&cursor={second['previous_cursor']}").json()["items"] == first["items"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        *(("page_size=4", "page_size"), ("page_size=51", "page_size"), ("page_size=x", "page_size")),
        *(("cursor=x", "cursor"), ("cursor=" + "A" * 201, "cursor"), ("statuses=done", "statuses")),
        ("statuses=failed&" * 21, "statuses"),
    ],
)
def test_a_list_asked_for_wrongly_is_refused_by_name(stage, query, name):
    answer = stage.get(f"{PATH}?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][:2] == ["query", name]


@pytest.mark.parametrize("cursor", ["0" * 9 + "9" * 5000, "-1", "x", "", "99", "1e3", "٣"])
def test_a_cursor_of_models_that_is_none_is_refused_by_name(stage, cursor):
    url = f"{stage.url}/v1/models"
    answer = CLIENT.get(url, params={"cursor": cursor}, headers=stage.headers | {"user-agent": "wriftai-python/0"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "cursor"]


@pytest.mark.parametrize("path", ["{}", "{}/stream"])
def test_a_fault_of_ours_has_the_shape_of_every_error_and_says_nothing_of_itself(stage, path):
    """A torn row: nothing that a client can do, so it is done to the database."""
    key = post(stage, PATH, body(), prefer="wait").json()["id"]
    with contextlib.closing(sqlite3.connect(stage.home / "antiphon.db")) as database, database:
        database.execute("UPDATE predictions SET output = x'00' WHERE id = ?", (key.replace("-", ""),))
    answer = stage.get(f"{PATH}/{path.format(key)}")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-request-id"]
    error = answer.json()["error"]
    assert (error["code"], error["type"], error["param"]) == ("internal_error", "server_error", None)
    assert answer.json()["detail"] == error["message"]
    assert "zlib" not in answer.text


def test_a_full_queue_turns_predictions_away_as_it_does_everything(tmp_path):
    with serving(tmp_path, SCRIPTED.replace("queue = 2", "queue = 1")) as server:
        taken = [post(server, PATH, body("test/narrow")).status_code for _ in range(2)]
        assert taken == [201, 201]
        for fields in ({}, {"stream": True}):
            answer = post(server, PATH, body("test/narrow", **fields), prefer="wait")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "queue_full")
            assert answer.headers["retry-after"]
            assert look(server, answer.headers["x-request-id"])["error"]["detail"]["code"] == "queue_full"


def test_a_server_that_records_nothing_refuses_what_it_could_not_show_again(tmp_path):
    with serving(tmp_path, "[store]\nrecord = false\n" + SCRIPTED) as server:
        answer = post(server, PATH, body(), prefer="wait")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_parameter")
        stored = server.chat("test/hello", store=True)
        assert (stored.status_code, stored.json()["error"]["param"]) == (400, "store")
        begun = time.monotonic()
        assert [server.chat("test/hello", headers={"idempotency-key": "k"}).status_code for _ in range(2)] == [200] * 2
        assert time.monotonic() - begun < 5, "there is nothing to wait for"
