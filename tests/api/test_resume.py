"""A prediction's stream taken up again at every one of its events: while it runs, after its end, after a restart."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.conftest import SCRIPTED, serving, until
from tests.streams import CLIENT, events_of, post, said, stream

CALL = r"<tool_call>\n{\"name\": \"add\", \"arguments\": "
CONFIG = (
    SCRIPTED
    + rf"""
[models."test/words"]
slots = 64
[[models."test/words".versions]]
number = 1
engine = "scripted"
script = {{ token_s = 0.03, tokens = ["Fünf ", "große", " 😀", "\n\n", "- a", ".", "0-1", "!"] }}
[models."test/thinks"]
slots = 64
[[models."test/thinks".versions]]
number = 1
engine = "scripted"
script = {{ token_s = 0.03, thinking = "think", tokens = ["<think>", "Let me", " see", "</think>", "\n", "Yes", "."] }}
[models."test/adds"]
slots = 64
[[models."test/adds".versions]]
number = 1
engine = "scripted"
script = {{ token_s = 0.03, tokens = [
    "Well. ", "{CALL}", "{{\"a\":", " [1, ", "2]", "}}}}\n</tool_call>",
    "\n{CALL}", "{{\"a\": ", "[3]}}", "}}\n</tool_call>",
] }}
"""
)

FUNCTION = {"name": "add", "parameters": {"type": "object"}}
TOOLS = {"tools": [{"type": "function", "function": FUNCTION}], "parallel_tool_calls": True}
CASES = {
    "text": ("test/words", {}),
    "logprobs": ("test/words", {"logprobs": True, "top_logprobs": 1}),
    "two choices": ("test/words", {"n": 2, "logprobs": True}),
    "a stop string": ("test/words", {"stop": ["0-1!"], "logprobs": True}),
    "no word": ("test/words", {"stop": ["Fünf"]}),
    "thinking": ("test/thinks", {"reasoning_effort": "low"}),
    "thinking, scored": ("test/thinks", {"reasoning_effort": "low", "logprobs": True}),
    "two calls": ("test/adds", TOOLS),
    "two calls of two choices": ("test/adds", TOOLS | {"n": 2}),
    "a deprecated function": ("test/adds", {"functions": [FUNCTION]}),
}


def asked(model, fields, **more):
    return {"model": model, "input": {"messages": [{"role": "user", "content": "x"}], **fields}, "stream": True} | more


def follow_all(server, model, fields):
    """Create a prediction and follow it on one connection; follow it on from each of its events at the same time."""
    headers = server.headers | {"prefer": "wait"}
    url, body = server.url + "/v1/predictions", asked(model, fields)
    text, rests = "", {}
    with (
        ThreadPoolExecutor(40) as pool,
        httpx.stream("POST", url, json=body, headers=headers, timeout=60) as answer,
    ):
        assert answer.status_code == 200
        for piece in answer.iter_text():
            text += piece
            for event in events_of(text[: text.rfind("\n\n") + 2]):
                if event.id not in rests:
                    key = answer.headers["x-request-id"]
                    rests[event.id] = pool.submit(stream, server, key, event.id)
    return key, events_of(text), {event: rest.result() for event, rest in rests.items()}


def assert_goes_on(whole, at, rest):
    """What came until an event, and what came after it, must be the whole."""
    place = max(number for number, event in enumerate(whole, 1) if event.id == at)
    assert said(whole[:place] + rest) == said(whole)
    assert (rest[-1].kind, rest[-1].data) == (whole[-1].kind, whole[-1].data)
    assert {event.kind for event in rest[:-1]} <= {"output"}, "the first event is not told again"
    assert {event.data["id"] for event in rest[:-1]} <= {event.data["id"] for event in whole if event.kind == "output"}


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """Every case, followed while it ran; and the server they ran on, started anew."""
    home = tmp_path_factory.mktemp("resume")
    with serving(home, CONFIG) as server:
        with ThreadPoolExecutor(len(CASES)) as pool:
            runs = dict(zip(CASES, pool.map(lambda case: follow_all(server, *case), CASES.values()), strict=True))
        ended = {case: [stream(server, key, at) for at in rests] for case, (key, _, rests) in runs.items()}
    with serving(home, CONFIG) as server:
        yield server, runs, ended


@pytest.mark.parametrize("case", CASES)
def test_a_stream_goes_on_at_every_event_while_its_prediction_runs(followed, case):
    _, whole, rests = followed[1][case]
    assert [event.kind for event in whole][:2] == ["init", "output"]
    assert whole[-1].kind == "done"
    ids = [event.id for event in whole]
    assert len(set(ids)) == len(ids), "each event has an id of its own"
    for at, rest in rests.items():
        assert_goes_on(whole, at, rest)


@pytest.mark.parametrize("case", CASES)
def test_a_stream_goes_on_at_every_event_when_its_prediction_has_ended(followed, case):
    _, runs, ended = followed
    _, whole, rests = runs[case]
    for at, rest in zip(rests, ended[case], strict=True):
        assert_goes_on(whole, at, rest)


@pytest.mark.parametrize("case", CASES)
def test_a_stream_goes_on_at_every_event_when_the_server_was_started_anew(followed, case):
    server, runs, _ = followed
    key, whole, rests = runs[case]
    for at in rests:
        assert_goes_on(whole, at, stream(server, key, at))
    again = stream(server, key)
    assert again[0] == whole[0]
    assert said(again) == said(whole)


def test_the_cases_say_what_they_are_for(followed):
    _, runs, _ = followed
    told = {case: said(whole) for case, (_, whole, _) in runs.items()}
    assert told["text"][0]["content"] == "Fünf große 😀\n\n- a.0-1!"
    assert told["no word"][0]["content"] == ""
    assert told["thinking"][0] == told["thinking"][0] | {"reasoning_content": "Let me see", "content": "Yes."}
    assert set(told["two choices"]) == {0, 1}
    assert b"".join(bytes(entry["bytes"]) for entry in told["two choices"][1]["logprobs"]).decode() == (
        "Fünf große 😀\n\n- a.0-1!"
    )
    for choice in told["two calls of two choices"].values():
        calls = choice["calls"]
        assert [calls[place]["function"]["arguments"] for place in (0, 1)] == ['{"a": [1, 2]}', '{"a": [3]}']
        assert choice["content"] == "Well. "
    assert told["a deprecated function"][0]["calls"]["legacy"] == {"name": "add", "arguments": '{"a": [1, 2]}'}


@pytest.mark.parametrize(
    "bad",
    [
        *("x", "0", "0-0-0-0-0", "0-0-0-0-0-2", "0-0-0-0-0-0.0-0-0-0-0-0", "9-0-0-0-0-0", "0-999999999-0-0-0-0"),
        *("0-0-1-0-0-0", "0-0-0-1-0-0", "0-0-0-0-1-0", "0-1-0-0-0-1", "-1-0-0-0-0-0", "٠-0-0-0-0-0"),
        *("0-0-0-0-0-0\n", "\0", "0-0-0-0-0-0" * 100),
    ],
)
@pytest.mark.parametrize("when", ["running", "ended"])
def test_an_id_that_no_event_of_the_prediction_has_is_refused_by_name(stage, when, bad):
    key = post(stage, "/v1/predictions", asked("test/slow" if when == "running" else "test/hello", {})).json()["id"]
    if when == "ended":
        until(lambda: stage.get(f"/v1/predictions/{key}").json()["status"] == "succeeded")
    url = f"{stage.url}/v1/predictions/{key}/stream"
    answer = CLIENT.get(url, params={"after_id": bad}, headers=stage.headers)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "after_id"]
    assert answer.json()["error"]["param"] == "after_id"
    post(stage, f"/v1/predictions/{key}/cancel", {})


def test_a_running_prediction_is_not_done(stage):
    key = post(stage, "/v1/predictions", asked("test/slow", {})).json()["id"]
    assert stage.get(f"/v1/predictions/{key}/stream?after_id=done").status_code == 422
    post(stage, f"/v1/predictions/{key}/cancel", {})


def test_after_the_last_event_there_is_only_the_last_event_so_that_clients_stop(stage):
    key = post(stage, "/v1/predictions", asked("test/hello:1", {}), prefer="wait").headers["x-request-id"]
    (only,) = stream(stage, key, "done")
    assert (only.id, only.kind, only.data["status"]) == ("done", "done", "succeeded")


@pytest.mark.parametrize("how", ["cancelled", "failed"])
def test_what_a_broken_answer_said_is_told_before_its_error_then_and_later(stage, how):
    model = {"cancelled": "test/slow", "failed": "test/dies"}[how]
    key = post(stage, "/v1/predictions", asked(model, {})).json()["id"]
    text = ""
    with CLIENT.stream("GET", f"{stage.url}/v1/predictions/{key}/stream", headers=stage.headers) as answer:
        for piece in answer.iter_text():
            text += piece
            if how == "cancelled" and "Hello" in text:
                post(stage, f"/v1/predictions/{key}/cancel", {})
    live = events_of(text)
    record = stage.get(f"/v1/predictions/{key}").json()
    assert record["status"] == how
    assert live[-1].kind == "error"
    assert live[-1].data == record["error"]
    assert live[-1].data["source"] == {"cancelled": "external", "failed": "internal"}[how]
    for at in range(len(live)):
        rest = stream(stage, key, live[at].id)
        assert (rest[-1].kind, rest[-1].data) == ("error", record["error"])
        assert said(live[: at + 1] + rest) == said(live)


def test_a_prediction_that_nobody_asked_to_stream_can_be_followed_too(stage):
    answer = stage.chat("test/hello:1")
    events = stream(stage, answer.headers["x-request-id"])
    assert said(events)[0]["content"] == answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("created", [True, False], ids=["created", "followed"])
def test_a_stream_that_says_nothing_for_as_long_as_the_client_named_is_closed_without_a_last_event(stage, created):
    body = asked("test/never", {})
    if created:
        answer = post(stage, "/v1/predictions", body, prefer="wait=0.3")
        events, key = events_of(answer.text), answer.headers["x-request-id"]
    else:
        key = post(stage, "/v1/predictions", body).json()["id"]
        events = stream(stage, key, prefer="wait=0.3")
    assert [event.kind for event in events] == ["init"]
    assert stage.get(f"/v1/predictions/{key}").json()["status"] == "starting", "leaving a stream cancels nothing"
    assert stream(stage, key, "init", prefer="wait=0.2") == []
    post(stage, f"/v1/predictions/{key}/cancel", {})
