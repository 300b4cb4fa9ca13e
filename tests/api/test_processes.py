"""Two server processes over one database, as one server with two doors. Cancels across them are in test_cancel.py."""

import json
import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.conftest import SCRIPTED, serving, until
from tests.lives import assert_told, create, kept_in, said, status_of


def streamed(server, prediction_id, **params):
    """The events of a prediction as they are told by a server: their ids, and the text in them."""
    path = f"{server.url}/v1/predictions/{prediction_id}/stream"
    text = httpx.get(path, params=params, headers=server.headers, timeout=20, verify=False).text
    events = [dict(re.findall(r"^(id|event|data): (.*)$", frame, re.MULTILINE)) for frame in text.split("\n\n")]
    events = [event for event in events if event]
    chunks = [json.loads(event["data"]) for event in events if event["event"] == "output"]
    words = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks]
    return events, "".join(words)


def test_a_stream_asked_of_another_process_gives_the_whole_answer_when_it_ends(pair):
    running, other = pair
    key = create(running, "test/narrow", max_tokens=12)
    begun = time.monotonic()
    events, text = streamed(other, key)
    assert time.monotonic() - begun < 5
    assert [event["event"] for event in events[:1] + events[-1:]] == ["init", "done"]
    assert text == "Hello, world!" * 3
    assert said(other.prediction(key)) == text
    assert streamed(running, key)[1] == text


def test_a_stream_that_broke_off_goes_on_in_another_process_at_the_very_character(pair):
    running, other = pair
    key = create(running, "test/narrow", max_tokens=12)
    events, text = streamed(running, key)
    for event in events:
        if event["event"] == "output":
            rest = streamed(other, key, after_id=event["id"])
            assert rest[0][-1]["event"] == "done"
            told = int(event["id"].split("-")[1])
            assert text[:told] + rest[1] == text


def ask(server, key, model="test/slow", max_tokens=10, **fields):
    return server.chat(model, headers={"idempotency-key": key}, max_tokens=max_tokens, **fields)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_request_with_the_same_key_joins_the_answer_that_another_process_makes(pair, stream):
    key, before = uuid.uuid4().hex, len(pair[0].records()) + len(pair[1].records())
    with ThreadPoolExecutor(4) as threads:
        answers = [
            one.result() for one in [threads.submit(ask, pair[place % 2], key, stream=stream) for place in range(4)]
        ]
    assert {answer.status_code for answer in answers} == {200}
    ids = {re.search(r'"id":"(chatcmpl-\w+)"', answer.text)[1] for answer in answers}
    assert len(ids) == 1
    if stream:
        assert all(answer.text.endswith("data: [DONE]\n\n") for answer in answers)
    else:
        assert len({answer.text for answer in answers}) == 1
    assert len(pair[0].records()) + len(pair[1].records()) - before == 1, "it was answered more than once"


def test_a_request_with_the_same_key_and_another_text_is_refused_by_the_other_process(pair):
    key = uuid.uuid4().hex
    assert ask(pair[0], key, "test/hello").status_code == 200
    answer = ask(pair[1], key, "test/hello", text="other")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency_key_reused")


def test_a_process_that_lives_ends_what_a_killed_one_left_and_answers_its_keys(store_url, tmp_path):
    """SHUT-06: without a restart."""
    config, key = kept_in(store_url), uuid.uuid4().hex
    with (
        serving(tmp_path, config, log=tmp_path / "first.log") as killed,
        serving(tmp_path, config, log=tmp_path / "second.log") as alive,
        ThreadPoolExecutor(2) as threads,
    ):
        speaking, mine = create(killed, "test/slow"), create(alive, "test/slow")
        lost = threads.submit(ask, killed, key, max_tokens=60)
        until(lambda: killed.newest()["status"] == "started" and killed.newest()["id"] not in {speaking, mine})
        again = threads.submit(ask, alive, key, max_tokens=60)
        time.sleep(0.3)
        killed.process.kill()
        assert isinstance(lost.exception(5), httpx.HTTPError)
        record = alive.prediction(speaking, 15)
        assert (record["status"], record["error"]["detail"]["code"]) == ("abandoned", "abandoned")
        answer = again.result(20)
        assert answer.status_code == 200, "who waited for the lost answer gets one of his own"
        assert answer.json()["choices"][0]["message"]["content"].startswith("Hello, world!")
        assert_told(alive.prediction(answer.headers["x-request-id"]), "succeeded")
        assert status_of(alive, mine) != "abandoned", "what a living process runs is its own"
        assert streamed(alive, speaking)[0][-1]["event"] == "error"


def test_a_process_that_shuts_down_lets_go_in_order_of_those_who_wait_for_another_s_prediction(store_url, tmp_path):
    """SHUT: the stream ends as HTTP ends one, and a request with a key is told to come again."""
    config = f'[store]\nurl = "{store_url}"\n' + SCRIPTED
    with (
        serving(tmp_path, config) as running,
        serving(tmp_path, config, log=tmp_path / "other.log") as other,
        ThreadPoolExecutor(3) as threads,
    ):
        key = create(running, "test/never")
        first = threads.submit(ask, running, "waits", "test/never")
        until(lambda: len(running.get("/v1/predictions").json()["items"]) == 2)
        follower = threads.submit(streamed, other, key)
        again = threads.submit(ask, other, "waits", "test/never")
        time.sleep(1)
        assert not follower.done()
        assert not again.done()
        assert other.stop() == 0
        assert [event["event"] for event in follower.result()[0]] == ["init"]
        answer = again.result()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
        assert "Traceback" not in other.log.read_text()
        assert [status_of(running, key), first.done()] == ["starting", False]
        running.stop()
