"""Leaving the real engine, and the real engine leaving: measured in the engine's own state."""

import contextlib
import functools
import json
import re
import signal
import time

import psutil
import pytest

from tests.conftest import REAL, real_config, serving, until

STOPPED_S = 0.2
LONG = "The keeper wrote the weather down again. " * 750
"""About 6,000 tokens."""
GONE = ("client_gone", "prediction_cancelled")


class TooLate(AssertionError):
    """It went on for longer than STOPPED_S."""


def once_of_three(test):
    """Try a test again that is too late: somebody else's work on this machine may spoil one try, and not all."""

    @functools.wraps(test)
    def tries(**fixtures):
        for _ in range(2):
            with contextlib.suppress(TooLate):
                return test(**fixtures)
        return test(**fixtures)

    return tries


def assert_in_time(since):
    took = time.monotonic() - since
    if took >= STOPPED_S:
        raise TooLate(f"{took:.3f} s")


def body(text="Write a long story about the sea.", **fields):
    return {"model": REAL, "messages": [{"role": "user", "content": text}], **fields}


def at_rest(server):
    state = server.engine_state()
    return state if (state.requests, state.reading, state.decoding) == (0, 0, 0) else None


def assert_stops(server, leave):
    """Leave, and see the engine's own work stop within STOPPED_S."""
    left = time.monotonic()
    leave()
    until(lambda: at_rest(server), 5)
    assert_in_time(left)
    steps = server.engine_state().steps
    time.sleep(0.3)
    assert server.engine_state().steps == steps, "the engine goes on for nobody"


def assert_recorded(record, reason, code, *, said, prompt=True):
    """The record says why it was cancelled, and how far the real engine had come."""
    usage = record["metrics"]["usage"]
    assert (record["status"], record["error"]["detail"]) == ("cancelled", {"code": code, "reason": reason})
    assert (usage["completion_tokens"] > 0, usage["prompt_tokens"] > 0) == (said, prompt)
    assert (record["output"] is not None) is said
    if said:
        assert record["output"]["choices"][0]["message"]["content"]
        assert record["output"]["usage"]["completion_tokens"] == usage["completion_tokens"]
    assert (record["execution_time"] is not None) is prompt


def read_until(link, marker):
    received = b""
    while marker not in received:
        data = link.recv(4096)
        assert data, received
        received += data


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@once_of_three
def test_leaving_while_it_decodes_stops_the_engine_within_200_ms(house, stream):
    link = house.open_chat(body(stream=stream, max_tokens=2000, logit_bias={"2": -100}))
    until(lambda: house.engine_state().decoding, 10)
    time.sleep(0.2)
    assert_stops(house, link.close)
    assert_recorded(house.prediction(house.newest()["id"]), *GONE, said=True)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@once_of_three
def test_leaving_while_it_reads_a_long_prompt_stops_the_engine_within_200_ms(house, stream):
    """LIFE-04."""
    link = house.open_chat(body(LONG + str(time.time()), stream=stream))
    until(lambda: house.engine_state().reading, 20)
    time.sleep(0.5)
    before = house.engine_state().read_tokens
    assert_stops(house, link.close)
    assert house.engine_state().read_tokens - before < 1000
    assert_recorded(house.prediction(house.newest()["id"]), *GONE, said=False)


@pytest.mark.parametrize("state", ["reading", "decoding"])
@once_of_three
def test_a_cancel_by_name_stops_the_engine_within_200_ms(house, state):
    """LIFE-08."""
    text = LONG + str(time.time()) if state == "reading" else "Write a long story about the sea."
    asked = {"messages": [{"role": "user", "content": text}], "max_tokens": 2000, "logit_bias": {"2": -100}}
    made = house.post(json.dumps({"model": REAL, "input": asked}), path="/v1/predictions").json()
    until(lambda: getattr(house.engine_state(), state), 20)
    time.sleep(0.5)
    assert_stops(house, lambda: house.cancel(made["id"]))
    assert_recorded(house.prediction(made["id"]), "requested", "prediction_cancelled", said=state == "decoding")


@once_of_three
def test_leaving_the_queue_starts_nothing_in_the_engine(house):
    ask = body(n=8, max_tokens=2000, stream=True, logit_bias={"2": -100})
    with house.open_chat(ask) as running:
        until(lambda: house.engine_state().decoding == 8, 20)
        before = house.newest()["id"]
        queued = house.open_chat(body(max_tokens=2000))
        name = until(lambda: (newest := house.newest()["id"]) != before and newest)
        time.sleep(0.3)
        assert house.engine_state().requests == 1
        left = time.monotonic()
        queued.close()
        record = house.prediction(name)
        assert_in_time(left)
        assert_recorded(record, *GONE, said=False, prompt=False)
        assert record["metrics"]["queue_time"] is None
        assert_stops(house, running.close)


@once_of_three
def test_a_deadline_stops_the_engine_while_it_reads(house):
    answer = house.chat(REAL, LONG + str(time.time()), headers={"x-request-timeout-seconds": "1"})
    assert answer.status_code == 504
    answered = time.monotonic()
    until(lambda: at_rest(house), 5)
    assert_in_time(answered)
    record = house.prediction(answer.headers["x-request-id"])
    assert_recorded(record, "deadline", "deadline_exceeded", said=False)


@pytest.fixture
def fragile(tmp_path, weights):
    with serving(tmp_path, real_config(weights)) as server:
        yield server


def child_of(server):
    (child,) = psutil.Process(server.process.pid).children()
    return child


def test_a_killed_engine_ends_its_streams_in_an_error_frame_and_comes_back(fragile):
    """ENG-01."""
    link = fragile.open_chat(body(stream=True, max_tokens=2000, logit_bias={"2": -100}))
    read_until(link, b'"content":"')
    child = child_of(fragile)
    child.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    received = b""
    while data := link.recv(65536):
        received += data
        if b'"error"' in received:
            break
    link.close()
    assert time.monotonic() - killed < 1
    assert b'"code":"engine_failed"' in received
    assert b"[DONE]" not in received
    record = fragile.prediction(fragile.newest()["id"])
    assert (record["status"], record["error"]["detail"]["code"]) == ("failed", "engine_failed")
    told = "".join(json.loads(text) for text in re.findall(r'"content":("(?:[^"\\]|\\.)+")', received.decode()))
    assert record["output"]["choices"][0]["message"]["content"].endswith(told)
    assert fragile.chat(REAL, "Hi", max_tokens=3).status_code == 200
    assert child_of(fragile).pid != child.pid
    assert fragile.process.poll() is None


def test_an_engine_killed_while_idle_is_back_for_the_next_request(fragile):
    child_of(fragile).send_signal(signal.SIGKILL)
    time.sleep(0.2)
    assert fragile.chat(REAL, "Hi", max_tokens=3).status_code == 200


def test_the_only_port_that_is_listened_on_is_the_public_one(fragile):
    """ENG-11."""
    parent = psutil.Process(fragile.process.pid)
    ports = [
        link.laddr.port
        for process in (parent, *parent.children())
        for link in process.net_connections("tcp")
        if link.status == psutil.CONN_LISTEN
    ]
    assert ports == [fragile.port]
    assert (fragile.home / "run").stat().st_mode & 0o777 == 0o700


def test_the_engine_child_has_no_secret_in_its_environment(fragile):
    """SUP-09."""
    assert "ANTIPHON_API_KEY" not in child_of(fragile).environ()
