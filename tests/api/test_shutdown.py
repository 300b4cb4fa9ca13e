"""Stopping without dropping what runs: group SHUT."""

import signal
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import SCRIPTED, real_config, serving, until


def streaming(server, model, results, **fields):
    def ask():
        try:
            results.append(server.chat(model, stream=True, **fields).text)
        except httpx.HTTPError as error:
            results.append(repr(error))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_an_idle_server_stops_within_two_seconds(tmp_path):
    """SHUT-01."""
    with serving(tmp_path, SCRIPTED) as server:
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 2


def test_running_streams_finish_and_new_requests_hear_why_not(tmp_path):
    """SHUT-02."""
    with serving(tmp_path, SCRIPTED) as server:
        ask = {"model": "test/slow", "messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 30}
        links = [server.open_chat(ask) for _ in range(20)]
        starts = [link.recv(1) for link in links]
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        refused = server.chat("test/hello")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert refused.headers["connection"] == "close"
        assert "retry-after" in refused.headers
        assert httpx.get(f"{server.url}/readyz").json() == {"status": "draining"}
        for start, link in zip(starts, links, strict=True):
            text = start + b"".join(iter(lambda link=link: link.recv(65536), b""))
            assert b"data: [DONE]\n\n" in text
            link.close()
        assert server.process.wait(5) == 0


def test_a_stream_that_outlasts_the_drain_ends_in_an_error_frame(tmp_path):
    """SHUT-03; drain_s is 3 here."""
    with serving(tmp_path, SCRIPTED) as server:
        results = []
        thread = streaming(server, "test/slow", results)
        time.sleep(0.5)
        begun = time.monotonic()
        assert server.stop() == 0
        assert 3 <= time.monotonic() - begun < 7
        thread.join()
        assert '"code":"draining"' in results[0]
        assert "[DONE]" not in results[0]
        assert server.records()[-1]["reason"] == "shutdown"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(tmp_path, second):
    """SHUT-04."""
    with serving(tmp_path, SCRIPTED) as server:
        results = []
        thread = streaming(server, "test/slow", results)
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        server.process.send_signal(second)
        begun = time.monotonic()
        assert server.process.wait(5) == 0
        assert time.monotonic() - begun < 2
        thread.join()


def test_no_engine_child_outlives_a_stopped_server(tmp_path, weights):
    """SHUT-07."""
    with serving(tmp_path, real_config(weights)) as server:
        (child,) = psutil.Process(server.process.pid).children()
        assert server.stop() == 0
        assert not child.is_running()
        assert not list((tmp_path / "run").glob("*.sock"))


def test_an_engine_child_dies_with_a_killed_server_within_two_seconds(tmp_path, weights):
    """SHUT-06."""
    with serving(tmp_path, real_config(weights)) as server:
        (child,) = psutil.Process(server.process.pid).children()
        server.process.kill()
        until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 2)


def test_a_terminal_that_goes_away_stops_nothing(tmp_path):
    """SHUT-08."""
    with serving(tmp_path, SCRIPTED) as server:
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert server.chat("test/hello").status_code == 200


def test_a_log_that_cannot_be_written_costs_no_answer(tmp_path):
    with serving(tmp_path, SCRIPTED, log=Path("/dev/full")) as server:
        answer = server.chat("test/hello", stream=True)
        assert answer.status_code == 200
        assert "[DONE]" in answer.text
        assert server.chat("test/hello").status_code == 200
