"""Stopping without dropping what runs: group SHUT. What a kill leaves is in test_crash.py."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import KEY, SCRIPTED, environment, real_config, serving, until
from tests.lives import LIVES, MESSAGES, assert_told, create, kept_in, said, status_of


def streaming(server, model, results, **fields):
    """Begin a stream; give the thread that reads it, once it has begun."""
    before = server.newest()

    def ask():
        try:
            answer = server.chat(model, stream=True, **fields)
            results.extend((answer.text, answer.headers["x-request-id"]))
        except httpx.HTTPError as error:
            results.append(repr(error))

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: (one := server.newest()) != before and one["status"] == "started")
    return thread


def after(server, *ids):
    """The records of predictions, read from a server that is started when the first has stopped."""
    with serving(server.home, (server.home / "antiphon.toml").read_text(), log=server.home / "after.log") as second:
        return [second.prediction(key, 1) for key in ids]


def test_an_idle_server_stops_within_two_seconds(tmp_path):
    """SHUT-01."""
    with serving(tmp_path, SCRIPTED) as server:
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 2


def test_running_streams_finish_and_new_requests_hear_why_not(tmp_path):
    """SHUT-02."""
    with serving(tmp_path, SCRIPTED.replace("drain_s = 3", "drain_s = 30")) as server:
        ask = {"model": "test/slow", "messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 60}
        links = [server.open_chat(ask) for _ in range(20)]
        starts, ids = [link.recv(1) for link in links], []
        server.begin_to_drain()
        refused = server.chat("test/hello")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert refused.headers["connection"] == "close"
        assert "retry-after" in refused.headers
        assert httpx.get(f"{server.url}/readyz").json() == {"status": "draining"}
        for start, link in zip(starts, links, strict=True):
            text = start + b"".join(iter(lambda link=link: link.recv(65536), b""))
            assert b"data: [DONE]\n\n" in text
            link.close()
            ids.append(re.search(rb"x-request-id: (\S+)", text)[1].decode())
        assert server.process.wait(5) == 0
        for record in after(server, *ids):
            assert_told(record, "succeeded")
            assert record["metrics"]["usage"]["completion_tokens"] == 60


def test_a_stream_that_outlasts_the_drain_ends_in_an_error_frame(tmp_path):
    """SHUT-03; drain_s is 3 here."""
    with serving(tmp_path, SCRIPTED) as server:
        results = []
        thread = streaming(server, "test/slow", results)
        begun = time.monotonic()
        assert server.stop() == 0
        assert 3 <= time.monotonic() - begun < 7
        thread.join()
        assert '"code":"draining"' in results[0]
        assert "[DONE]" not in results[0]
        (record,) = after(server, results[1])
        assert_told(record, "cancelled", "shutdown")
        assert said(record).count("Hello") == results[0].count('"content":"Hello"') > 0


def test_predictions_that_nobody_waits_for_and_that_outlast_the_drain_are_cancelled(store_url, tmp_path):
    """SHUT-03, over both stores: one that speaks, one that reads, one in the queue."""
    config = LIVES.replace("drain_s = 3", "drain_s = 0.2").replace("repeat = 20,", "repeat = 200,")
    with serving(tmp_path, kept_in(store_url, config)) as server:
        ids = [create(server, model) for model in ("test/slow", "test/never", "test/narrow", "test/narrow")]
        reached = ["started", "starting", "started", "pending"]
        until(lambda: [status_of(server, key) for key in ids] == reached)
        assert server.stop() == 0
        assert not list((tmp_path / "run").glob("*.alive"))
        records = after(server, *ids)
        for record in records:
            assert_told(record, "cancelled", "shutdown")
        assert [record["metrics"]["queue_time"] is None for record in records] == [False, False, False, True]


def test_a_prediction_that_nobody_waits_for_may_end_while_the_server_drains(tmp_path):
    """SHUT-02."""
    with serving(tmp_path, SCRIPTED) as server:
        key = create(server, "test/slow", max_tokens=10)
        assert server.stop() == 0
        assert_told(after(server, key)[0], "succeeded")
        refused = server.log.read_text()
        assert "abandoned" not in refused


def test_a_drain_refuses_predictions_and_still_lets_them_be_read_and_cancelled(tmp_path):
    """SHUT-02."""
    with serving(tmp_path, SCRIPTED.replace("drain_s = 3", "drain_s = 30")) as server:
        key = create(server, "test/never")
        server.begin_to_drain()
        body = json.dumps({"model": "test/hello", "input": {"messages": MESSAGES}})
        refused = server.post(body, path="/v1/predictions")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert server.get(f"/v1/predictions/{key}").json()["status"] == "starting"
        assert server.cancel(key).text == "null"
        assert server.process.wait(10) == 0, "nothing was left to wait for"
        assert_told(after(server, key)[0], "cancelled", "requested")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(tmp_path, second):
    """SHUT-04."""
    with serving(tmp_path, SCRIPTED) as server:
        results = []
        thread = streaming(server, "test/slow", results)
        server.begin_to_drain()
        server.process.send_signal(second)
        begun = time.monotonic()
        assert server.process.wait(5) == 0
        assert time.monotonic() - begun < 2
        thread.join()
        (record,) = after(server, *results[1:])
        assert_told(record, "cancelled", "shutdown")


def test_a_server_stopped_while_it_starts_leaves_nothing_that_keeps_the_next_from_starting(store_url, tmp_path):
    """SHUT-05: before it migrates, while it does, and after it."""
    (tmp_path / "antiphon.toml").write_text(kept_in(store_url))
    where = environment(tmp_path, ANTIPHON_CONFIG=str(tmp_path / "antiphon.toml"), ANTIPHON_API_KEY=KEY)
    command = [sys.executable, "-m", "antiphon.cli", "serve"]
    for after_s in (0.3, 0.6, 0.9, 1.2):
        with subprocess.Popen(command, env=where, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(after_s)
            process.send_signal(signal.SIGTERM)
            process.wait(10)
    with serving(tmp_path, kept_in(store_url)) as server:
        assert server.chat("test/hello").status_code == 200


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
