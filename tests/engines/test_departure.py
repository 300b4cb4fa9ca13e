"""Leaving the real engine, and the real engine leaving: measured in the engine's own state."""

import signal
import time

import psutil
import pytest

from tests.conftest import REAL, real_config, serving, until

STOPPED_S = 0.2
LONG = "The keeper wrote the weather down again. " * 750
"""About 6,000 tokens."""


def body(text="Write a long story about the sea.", **fields):
    return {"model": REAL, "messages": [{"role": "user", "content": text}], **fields}


def at_rest(server):
    state = server.engine_state()
    return state if (state.requests, state.reading, state.decoding) == (0, 0, 0) else None


def assert_stops(server, link):
    """Close the connection, and see the engine's own work stop within STOPPED_S."""
    left = time.monotonic()
    link.close()
    until(lambda: at_rest(server), 5)
    took = time.monotonic() - left
    assert took < STOPPED_S, f"{took:.3f} s"
    steps = server.engine_state().steps
    time.sleep(0.3)
    assert server.engine_state().steps == steps, "the engine goes on for nobody"


def read_until(link, marker):
    received = b""
    while marker not in received:
        data = link.recv(4096)
        assert data, received
        received += data


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_leaving_while_it_decodes_stops_the_engine_within_200_ms(house, stream):
    link = house.open_chat(body(stream=stream, max_tokens=2000, logit_bias={"2": -100}))
    until(lambda: house.engine_state().decoding, 10)
    assert_stops(house, link)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_leaving_while_it_reads_a_long_prompt_stops_the_engine_within_200_ms(house, stream):
    """LIFE-04."""
    link = house.open_chat(body(LONG + str(time.time()), stream=stream))
    until(lambda: house.engine_state().reading, 20)
    time.sleep(0.5)
    before = house.engine_state().read_tokens
    assert_stops(house, link)
    assert house.engine_state().read_tokens - before < 1000


def test_leaving_the_queue_starts_nothing_in_the_engine(house):
    ask = body(n=8, max_tokens=2000, stream=True, logit_bias={"2": -100})
    running = house.open_chat(ask)
    until(lambda: house.engine_state().decoding == 8, 20)
    queued = house.open_chat(body(max_tokens=2000))
    time.sleep(0.3)
    assert house.engine_state().requests == 1
    before = len(house.records())
    left = time.monotonic()
    queued.close()
    until(lambda: len(house.records()) > before, 5)
    assert time.monotonic() - left < STOPPED_S
    assert house.records()[-1]["prompt_tokens"] == 0
    assert_stops(house, running)


def test_a_deadline_stops_the_engine_while_it_reads(house):
    answer = house.chat(REAL, LONG + str(time.time()), headers={"x-request-timeout-seconds": "1"})
    assert answer.status_code == 504
    until(lambda: at_rest(house), STOPPED_S)


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
