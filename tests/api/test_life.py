"""Deadlines, departures and what a client hears of them: group LIFE, on scripted engines."""

import contextlib
import json
import signal
import socket
import struct
import threading
import time

import httpx
import pytest

from tests.conftest import until
from tests.lives import MESSAGES, assert_told, said, seconds, status_of


def body(model, **fields):
    return {"model": model, "messages": MESSAGES, **fields}


def read_until(link, marker):
    received = b""
    while marker not in received:
        data = link.recv(4096)
        assert data, received
        received += data
    return received


def request_id(received):
    return next(line for line in received.split(b"\r\n") if line.startswith(b"x-request-id")).split(b": ")[1].decode()


@contextlib.contextmanager
def beginning(server):
    """The id of the one prediction that begins in the body, put into the list it gives."""
    before, found = server.newest(), []
    yield found
    found.append(until(lambda: (newest := server.newest()) != before and newest)["id"])


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_a_client_that_leaves_a_stream_cancels_its_prediction_within_a_second(stage, reset):
    """LIFE-01."""
    link = stage.open_chat(body("test/slow", stream=True))
    received = read_until(link, b'"content":"Hello"')
    if reset:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()
    left = time.monotonic()
    record = stage.prediction(request_id(received))
    assert time.monotonic() - left < 1
    assert_told(record, "cancelled", "client_gone")
    assert 0 < record["metrics"]["usage"]["completion_tokens"] < 400
    logged = stage.record(record["id"])
    assert (logged["status"], logged["reason"]) == ("cancelled", "client_gone")
    assert logged["completion_tokens"] == record["metrics"]["usage"]["completion_tokens"]


@pytest.mark.parametrize("model", ["test/slow", "test/never"], ids=["decoding", "reading"])
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_a_client_that_leaves_a_plain_answer_cancels_its_prediction(stage, model, reset):
    """LIFE-02: nothing was sent yet, so no write can fail."""
    with beginning(stage) as ids:
        link = stage.open_chat(body(model))
    until(lambda: status_of(stage, ids[0]) == {"test/slow": "started", "test/never": "starting"}[model])
    time.sleep(0.3)
    if reset:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()
    left = time.monotonic()
    record = stage.prediction(ids[0])
    assert time.monotonic() - left < 1
    assert_told(record, "cancelled", "client_gone")
    assert bool(said(record)) is (model == "test/slow")


def test_a_client_that_leaves_is_missed_also_when_all_of_a_large_request_came_at_once(stage):
    """LIFE-02: such a body is more than is read ahead, and nobody reads on behind it."""
    link = socket.create_connection(("127.0.0.1", stage.port), 10)
    large = {"role": "user", "content": "x" * 150_000}
    for _ in range(6):  # The kernel takes more of a connection that has brought much.
        link.sendall(stage.request_bytes({"model": "test/hello", "messages": [large] * 7}))
        read_until(link, b'"system_fingerprint"')
    with beginning(stage) as ids, stopped(stage):
        link.sendall(stage.request_bytes({"model": "test/slow", "messages": [large]}))
    until(lambda: status_of(stage, ids[0]) == "started")
    link.close()
    assert_told(stage.prediction(ids[0], 2), "cancelled", "client_gone")


@contextlib.contextmanager
def stopped(server):
    """Let a server do nothing during the body: what comes meanwhile it finds at once."""
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
        time.sleep(0.1)
    finally:
        server.process.send_signal(signal.SIGCONT)


def test_a_client_that_leaves_the_queue_is_never_started(stage):
    """LIFE-03."""
    with contextlib.closing(stage.open_chat(body("test/narrow", stream=True))) as first:
        read_until(first, b"Hello")
        with beginning(stage) as ids:
            queued = stage.open_chat(body("test/narrow"))
        time.sleep(0.2)
        queued.close()
        record = stage.prediction(ids[0], 2)
        assert_told(record, "cancelled", "client_gone")
        assert record["metrics"]["usage"]["prompt_tokens"] == 0, "it must never have been accepted"
        assert record["metrics"]["queue_time"] is None, "it must never have been started"
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
    record = stage.prediction(request_id(answer))
    assert_told(record, "succeeded")
    assert said(record).count("Hello") == 20


def test_a_passed_deadline_is_a_504_that_nobody_retries_and_a_cancelled_prediction(stage):
    """LIFE-06."""
    begun = time.monotonic()
    answer = stage.chat("test/late")
    assert 0.49 <= time.monotonic() - begun < 1.5
    assert answer.status_code == 504
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["code"] == "deadline_exceeded"
    record = stage.prediction(answer.headers["x-request-id"])
    assert_told(record, "cancelled", "deadline")
    assert record["error"]["message"] == answer.json()["error"]["message"]
    assert record["output"] is None
    assert seconds(record["metrics"]["queue_time"]) < 0.3
    logged = stage.record(record["id"])
    assert (logged["status"], logged["reason"]) == ("cancelled", "deadline")


def test_a_client_may_ask_for_an_earlier_deadline_but_not_a_later_one(stage):
    for model, within_s, takes_s in (("test/never", 0.3, 0.3), ("test/late", 30, 0.5)):
        begun = time.monotonic()
        assert stage.chat(model, headers={"x-request-timeout-seconds": str(within_s)}).status_code == 504
        assert time.monotonic() - begun < takes_s + 1


def test_deadlines_are_kept_in_whatever_order_they_were_set(stage):
    asked_s = [1.5, 0.3, 0.9]
    took_s = {}

    def ask(seconds):
        begun = time.monotonic()
        assert stage.chat("test/never", headers={"x-request-timeout-seconds": str(seconds)}).status_code == 504
        took_s[seconds] = time.monotonic() - begun

    asking = [threading.Thread(target=ask, args=(one,)) for one in asked_s]
    for thread in asking:
        thread.start()
        time.sleep(0.05)
    for thread in asking:
        thread.join()
    assert all(one <= took_s[one] < one + 0.5 for one in asked_s), took_s


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf", ""])
def test_a_malformed_deadline_is_refused_by_name(stage, value):
    answer = stage.chat("test/hello", headers={"x-request-timeout-seconds": value})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["header", "x-request-timeout-seconds"]


def test_a_deadline_passed_in_mid_stream_is_an_error_frame_without_done(stage):
    """LIFE-07."""
    answer = stage.chat("test/slow", stream=True, headers={"x-request-timeout-seconds": "1.5"})
    frames = answer.text.split("\n\n")
    assert answer.status_code == 200
    assert json.loads(frames[-2].removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
    assert "[DONE]" not in answer.text
    assert '"finish_reason":"stop"' not in answer.text
    record = stage.prediction(answer.headers["x-request-id"])
    assert_told(record, "cancelled", "deadline")
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames[:-2]]
    told = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert told
    assert said(record) == told, "what was recorded is what was sent"
    assert record["output"]["choices"][0]["finish_reason"] is None
    assert 0.3 < seconds(record["execution_time"]) < 2.5


def test_the_deadline_counts_the_wait_in_the_queue(stage):
    with contextlib.closing(stage.open_chat(body("test/narrow", stream=True))) as first:
        read_until(first, b"Hello")
        begun = time.monotonic()
        answer = stage.chat("test/narrow", headers={"x-request-timeout-seconds": "0.3"})
        assert answer.status_code == 504
        assert time.monotonic() - begun < 1.3
        record = stage.prediction(answer.headers["x-request-id"])
        assert_told(record, "cancelled", "deadline")
        assert record["metrics"]["queue_time"] is None


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_dies_before_it_accepts_gives_its_true_status(stage, stream):
    answer = stage.chat("test/dead", stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_failed")
    assert answer.headers["x-should-retry"] == "false"
    record = stage.prediction(answer.headers["x-request-id"])
    assert_told(record, "failed", code="engine_failed")
    assert (record["error"]["source"], record["output"]) == ("internal", None)


def test_an_engine_that_dies_in_mid_stream_gives_an_error_frame_without_done(stage):
    answer = stage.chat("test/dies", stream=True)
    *_, last, end = answer.text.split("\n\n")
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_failed"
    assert end == ""
    assert "[DONE]" not in answer.text
    record = stage.prediction(answer.headers["x-request-id"])
    assert_told(record, "failed", code="engine_failed")
    assert (said(record), record["metrics"]["usage"]["completion_tokens"]) == ("Hello,", 2)


def test_a_full_queue_is_a_503_at_once_that_says_when_to_come_back(stage):
    """OVER-01, in small."""
    links = [stage.open_chat(body("test/narrow")) for _ in range(3)]
    until(lambda: 'antiphon_queue_depth{gen_ai_request_model="test/narrow"} 2.0' in stage.get("/metrics").text)
    answers = [stage.chat("test/narrow") for _ in range(3)]
    answer = answers[-1]
    assert min(float(each.headers["openai-processing-ms"]) for each in answers) < 100
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "queue_full")
    assert int(answer.headers["retry-after"]) >= 1
    assert float(answer.headers["x-ratelimit-reset"]) >= time.time() - 1
    assert_told(stage.prediction(answer.headers["x-request-id"]), "failed", code="queue_full")
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


def test_a_connection_is_clean_after_a_cancel(stage):
    """LIFE-12: the same connection, for a whole answer that was cancelled and for a stream that was."""
    with httpx.Client(base_url=stage.url, headers=stage.headers, timeout=10) as client:
        for stream, status in ((False, 409), (True, 200)):
            canceller = threading.Thread(target=cancel_next, args=(stage, stage.newest()))
            canceller.start()
            cancelled = client.post("/v1/chat/completions", json=body("test/slow", stream=stream))
            canceller.join()
            assert (cancelled.status_code, "prediction_cancelled" in cancelled.text) == (status, True)
            answer = client.post("/v1/chat/completions", json=body("test/hello:1")).json()
            assert answer["choices"][0]["message"]["content"] == "Hello, world!"


def cancel_next(server, before):
    """Cancel the next prediction that starts."""
    newest = until(lambda: (one := server.newest()) != before and one["status"] == "started" and one)
    assert server.cancel(newest["id"]).text == "null"


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
    with beginning(stage) as ids:
        link = stage.open_chat({"model": "test/slow", "messages": MESSAGES, "max_tokens": 200})
        link.sendall(stage.request_bytes({"model": "test/hello", "messages": MESSAGES}))
    time.sleep(0.3)
    link.close()
    assert_told(stage.prediction(ids[0], 2), "cancelled", "client_gone")


def test_requests_sent_ahead_are_answered_in_their_order(stage):
    body = {"model": "test/echo", "max_tokens": 1}
    link = stage.open_chat({**body, "messages": [{"role": "user", "content": "first"}]})
    link.sendall(stage.request_bytes({**body, "messages": [{"role": "user", "content": "second"}]}))
    received = b""
    while received.count(b'"content":"') < 2:
        received += link.recv(65536)
    assert received.index(b'"first"') < received.index(b'"second"')
    link.close()


@pytest.mark.parametrize("ahead", [0, 200], ids=["at once", "behind its head"])
@pytest.mark.parametrize("part", [20, -20, None], ids=["some of its head", "some of its body", "all"])
def test_a_request_that_comes_with_the_end_of_a_large_one_is_not_taken_for_a_part_of_it(stage, ahead, part):
    large = {"model": "test/hello", "messages": [{"role": "user", "content": "x" * 150_000}]}
    first, second = stage.request_bytes(large), stage.request_bytes({"model": "test/hello", "messages": MESSAGES})
    with socket.create_connection(("127.0.0.1", stage.port), 10) as link:
        for _ in range(6):  # The kernel takes more of a connection that has brought much.
            link.sendall(stage.request_bytes({**large, "messages": large["messages"] * 7}))
            read_until(link, b'"system_fingerprint"')
        link.sendall(first[:ahead])
        time.sleep(0.1)
        with stopped(stage):
            link.sendall(first[ahead:] + second[:part])
        time.sleep(0.1)
        link.sendall(second[part:] if part else b"")
        received = b""
        while received.count(b'"system_fingerprint"') < 2:
            received += link.recv(65536) or pytest.fail("closed")


@pytest.mark.parametrize("model", ["test/hello", "test/slow"])
def test_a_connection_whose_client_has_stopped_sending_is_closed_behind_the_answer(stage, model):
    link = stage.open_chat({"model": model, "messages": MESSAGES, "max_tokens": 4})
    link.shutdown(socket.SHUT_WR)
    link.settimeout(3)
    received = b"".join(iter(lambda: link.recv(65536), b""))
    assert b'"object":"chat.completion"' in received
    link.close()


def test_a_client_of_http_1_0_reads_a_stream_without_chunks_to_the_end_of_its_connection(stage):
    request = stage.request_bytes({"model": "test/hello", "messages": MESSAGES, "stream": True})
    head, _, body = stage.raw(request.replace(b"HTTP/1.1", b"HTTP/1.0")).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")
