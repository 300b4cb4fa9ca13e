"""A wall clock that jumps while predictions run: LIFE-11. Only what is shown comes from it."""

import os
import threading
from datetime import datetime

import pytest

from tests.conftest import serving, until
from tests.lives import assert_told, create, kept_in, seconds, status_of

PATCH = """
import os, time
_real = {name: getattr(time, name) for name in ("time", "time_ns")}
_path = os.environ["TEST_CLOCK"]

def _offset():
    try:
        with open(_path) as file:
            return float(file.read() or 0)
    except OSError:
        return 0.0

time.time = lambda: _real["time"]() + _offset()
time.time_ns = lambda: _real["time_ns"]() + int(1e9 * _offset())
"""
HOUR_S, DECADES_S = 3600, 1.7e9


@pytest.fixture
def clocked(tmp_path):
    """A server, and what sets its wall clock; the machine's stays as it is."""
    clock, folder = tmp_path / "clock", tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(PATCH)
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    extra = {"PYTHONPATH": os.pathsep.join(path), "TEST_CLOCK": str(clock)}
    with serving(tmp_path / "home", kept_in("sqlite:///antiphon.db"), **extra) as server:
        yield server, lambda offset: clock.write_text(str(offset))


@pytest.mark.parametrize("jump", [HOUR_S, -HOUR_S, -DECADES_S, DECADES_S], ids=["+1h", "-1h", "1972", "2080"])
def test_a_clock_that_jumps_changes_no_deadline_no_duration_and_ends_nobody(clocked, jump):
    server, set_offset = clocked
    heard = []
    before = create(server, "test/hello")
    thread = threading.Thread(target=lambda: heard.append(server.chat("test/slow", stream=True, max_tokens=30)))
    thread.start()
    late = create(server, "test/never")
    until(lambda: status_of(server, late) == "starting")
    key = {"idempotency-key": "one"}
    first = server.chat("test/hello", headers=key).json()
    set_offset(jump)
    thread.join()
    assert heard[0].text.endswith("data: [DONE]\n\n")
    record = server.prediction(heard[0].headers["x-request-id"])
    assert_told(record, "succeeded")
    assert 1.4 < seconds(record["execution_time"]) < 20
    assert record["updated_at"] > record["created_at"], "the end is reckoned from the beginning"

    answer = server.chat("test/late")
    assert answer.json()["error"]["code"] == "deadline_exceeded"
    assert 490 <= int(answer.headers["openai-processing-ms"]) < 10_000
    told = server.prediction(answer.headers["x-request-id"])
    assert_told(told, "cancelled", "deadline")
    moved = datetime.fromisoformat(told["created_at"]) - datetime.fromisoformat(record["created_at"])
    assert abs(moved.total_seconds() - jump) < 60, "the clock did not jump"

    assert status_of(server, late) == "starting", "a lease or a deadline was reckoned from the wall clock"
    assert server.cancel(late).text == "null"
    assert_told(server.prediction(late), "cancelled", "requested")
    assert server.prediction(before)["status"] == "succeeded"
    if abs(jump) <= HOUR_S:
        assert server.chat("test/hello", headers=key).json() == first
    assert server.stop() == 0


def test_a_second_process_whose_clock_is_hours_off_leaves_the_first_one_s_predictions_alone(tmp_path, clocked):
    """Leases: both are on this machine, so no clock tells who is dead."""
    server, set_offset = clocked
    running = create(server, "test/never")
    until(lambda: status_of(server, running) == "starting")
    set_offset(-HOUR_S)
    with serving(tmp_path / "home", kept_in("sqlite:///antiphon.db"), log=tmp_path / "other.log") as other:
        assert status_of(other, running) == "starting"
        assert other.cancel(running).text == "null"
        assert_told(other.prediction(running), "cancelled", "requested")


def test_a_full_server_says_when_to_come_back_by_the_clock_of_the_moment(clocked):
    server, set_offset = clocked
    running = [create(server, "test/hold0", n=128)]
    until(lambda: status_of(server, running[0]) == "started")
    set_offset(HOUR_S)
    answer = server.chat("test/hold0")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "queue_full")
    assert int(answer.headers["retry-after"]) <= 60
    server.cancel(running[0])
