"""Deadlines, departures and what a client hears of them: group LIFE, on scripted engines."""

import contextlib
import json
import socket
import struct
import threading
import time

import httpx
import pytest

from tests.conftest import until

MESSAGES = [{"role": "user", "content": "x"}]


def body(model, **fields):
    return {"model": model, "messages": [{"role": "user", "content": "x"}], **fields}


def read_until(link, marker):
    received = b""
    while marker not in received:
        data = link.recv(4096)
        assert data, received
        received += data
    return received


def request_id(received):
    return next(line for line in received.split(b"\r\n") if line.startswith(b"x-request-id")).split(b": ")[1].decode()


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_a_client_that_leaves_a_stream_cancels_its_prediction_within_a_second(stage, reset):
    """LIFE-01."""
    link = stage.open_chat(body("test/slow", stream=True))
    received = read_until(link, b'"content":"Hello"')
    if reset:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()
    left = time.monotonic()
    record = stage.record(request_id(received))
    assert (record["status"], record["reason"]) == ("cancelled", "client_gone")
    assert time.monotonic() - left < 1
    assert 0 < record["completion_tokens"] < 400


@pytest.mark.parametrize("model", ["test/slow", "test/never"], ids=["decoding", "reading"])
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_a_client_that_leaves_a_plain_answer_cancels_its_prediction(stage, model, reset):
    """LIFE-02: nothing was sent yet, so no write can fail."""
    before = len(stage.records())
    link = stage.open_chat(body(model))
    time.sleep(0.3)
    if reset:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()
    left = time.monotonic()
    until(lambda: len(stage.records()) > before, 2)
    assert time.monotonic() - left < 0.5
    assert stage.records()[-1]["reason"] == "client_gone"


def test_a_client_that_leaves_the_queue_is_never_started(stage):
    """LIFE-03."""
    with contextlib.closing(stage.open_chat(body("test/narrow", stream=True))) as first:
        read_until(first, b"Hello")
        queued = stage.open_chat(body("test/narrow"))
        time.sleep(0.2)
        before = len(stage.records())
        queued.close()
        until(lambda: len(stage.records()) > before, 2)
        assert stage.records()[-1] | {"reason": "client_gone", "completion_tokens": 0} == stage.records()[-1]
        assert stage.records()[-1]["prompt_tokens"] == 0, "it must never have been accepted"
        read_until(first, b"[DONE]")


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_shuts_its_sending_side_still_gets_its_whole_answer(stage, stream):
    """LIFE-05."""
    answer = stage.raw(
        stage.request_bytes(body("test/narrow", stream=stream), "Connection: close"), half_close=True, wait_s=10
    )
    assert b"HTTP/1.1 200" in answer
    assert answer.count(b"Hello") == 20
    assert (b"[DONE]" in answer) is stream


def test_a_passed_deadline_is_a_504_that_nobody_retries_and_a_cancelled_prediction(stage):
    """LIFE-06."""
    begun = time.monotonic()
    answer = stage.chat("test/late")
    assert 0.5 <= time.monotonic() - begun < 1
    assert answer.status_code == 504
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["code"] == "deadline_exceeded"
    record = stage.record(answer.headers["x-request-id"])
    assert (record["status"], record["reason"]) == ("cancelled", "deadline")


def test_a_client_may_ask_for_an_earlier_deadline_but_not_a_later_one(stage):
    begun = time.monotonic()
    assert stage.chat("test/never", headers={"x-request-timeout-seconds": "0.3"}).status_code == 504
    assert time.monotonic() - begun < 1
    assert stage.chat("test/late", headers={"x-request-timeout-seconds": "30"}).status_code == 504
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf", ""])
def test_a_malformed_deadline_is_refused_by_name(stage, value):
    answer = stage.chat("test/hello", headers={"x-request-timeout-seconds": value})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["header", "x-request-timeout-seconds"]


def test_a_deadline_passed_in_mid_stream_is_an_error_frame_without_done(stage):
    """LIFE-07."""
    answer = stage.chat("test/slow", stream=True, headers={"x-request-timeout-seconds": "0.5"})
    frames = answer.text.split("\n\n")
    assert answer.status_code == 200
    assert json.loads(frames[-2].removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
    assert "[DONE]" not in answer.text
    assert '"finish_reason":"stop"' not in answer.text


def test_the_deadline_counts_the_wait_in_the_queue(stage):
    with contextlib.closing(stage.open_chat(body("test/narrow", stream=True))) as first:
        read_until(first, b"Hello")
        begun = time.monotonic()
        assert stage.chat("test/narrow", headers={"x-request-timeout-seconds": "0.3"}).status_code == 504
        assert time.monotonic() - begun < 1


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_dies_before_it_accepts_gives_its_true_status(stage, stream):
    answer = stage.chat("test/dead", stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_failed")
    assert answer.headers["x-should-retry"] == "false"


def test_an_engine_that_dies_in_mid_stream_gives_an_error_frame_without_done(stage):
    answer = stage.chat("test/dies", stream=True)
    *_, last, end = answer.text.split("\n\n")
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_failed"
    assert end == ""
    assert "[DONE]" not in answer.text
    record = stage.record(answer.headers["x-request-id"])
    assert (record["status"], record["completion_tokens"]) == ("failed", 2)


def test_a_full_queue_is_a_503_at_once_that_says_when_to_come_back(stage):
    """OVER-01, in small."""
    links = [stage.open_chat(body("test/narrow")) for _ in range(3)]
    time.sleep(0.2)
    answer = stage.chat("test/narrow")
    assert float(answer.headers["openai-processing-ms"]) < 100
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "queue_full")
    assert int(answer.headers["retry-after"]) >= 1
    assert float(answer.headers["x-ratelimit-reset"]) >= time.time() - 1
    for link in links:
        link.close()


def test_a_connection_is_clean_after_an_error(stage):
    """LIFE-12."""
    with httpx.Client(base_url=stage.url, headers=stage.headers) as client:
        for _ in range(3):
            assert client.post("/v1/chat/completions", json=body("test/dead")).status_code == 502
            assert client.post("/v1/chat/completions", json={}).status_code == 422
            answer = client.post("/v1/chat/completions", json=body("test/hello:1")).json()
            assert answer["choices"][0]["message"]["content"] == "Hello, world!"


def test_fifty_streams_at_once_all_end_whole(stage):
    texts = []

    def ask():
        answer = stage.chat("test/slow", stream=True, max_tokens=8)
        texts.append(answer.text.count('"content":"Hello"') * answer.text.count("[DONE]"))

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [2] * 50


def test_a_client_that_sends_ahead_and_leaves_cancels_what_runs(stage):
    """LIFE-01: the request that runs is not the last one that came."""
    before = len(stage.records())
    link = stage.open_chat({"model": "test/slow", "messages": MESSAGES, "max_tokens": 200})
    link.sendall(stage.request_bytes({"model": "test/hello", "messages": MESSAGES}))
    time.sleep(0.3)
    link.close()
    until(lambda: len(stage.records()) > before, 2)
    assert (stage.records()[-1]["status"], stage.records()[-1]["reason"]) == ("cancelled", "client_gone")


def test_requests_sent_ahead_are_answered_in_their_order(stage):
    body = {"model": "test/echo", "max_tokens": 1}
    link = stage.open_chat({**body, "messages": [{"role": "user", "content": "first"}]})
    link.sendall(stage.request_bytes({**body, "messages": [{"role": "user", "content": "second"}]}))
    received = b""
    while received.count(b'"content":"') < 2:
        received += link.recv(65536)
    assert received.index(b'"first"') < received.index(b'"second"')
    link.close()


@pytest.mark.parametrize("model", ["test/hello", "test/slow"])
def test_a_connection_whose_client_has_stopped_sending_is_closed_behind_the_answer(stage, model):
    link = stage.open_chat({"model": model, "messages": MESSAGES, "max_tokens": 4})
    link.shutdown(socket.SHUT_WR)
    link.settimeout(3)
    received = b"".join(iter(lambda: link.recv(65536), b""))
    assert b'"object":"chat.completion"' in received
    link.close()
