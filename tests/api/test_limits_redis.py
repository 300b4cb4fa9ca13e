"""Limits in a Redis that is away, hangs or comes back: 503 at once, nothing counted twice, its password never told."""

import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from antiphon.store.redis_ledger import BEAT_S, LEASE_S
from tests.api.test_limits import CONFIG, COST, ask, assert_limited, is_running, key
from tests.conftest import environment, serving, until
from tests.valkey import PASSWORD

LONG = """
[models."test/long"]
[[models."test/long".versions]]
number = 1
engine = "scripted"
script = { repeat = 100, token_s = 0.04 }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory, valkey):
    with serving(tmp_path_factory.mktemp("limited"), CONFIG + LONG, ANTIPHON_LIMITS_URL=valkey.url) as running:
        yield running
        assert PASSWORD not in running.log.read_text() + running.banner
        assert "Traceback" not in running.log.read_text()


def assert_away(answer):
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_unavailable"), answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["x-ratelimit-reset"]
    assert PASSWORD not in answer.text


def test_tokens_are_exact_over_two_processes_without_waiting(tmp_path, valkey):
    if time.time() % 60 > 50:
        time.sleep(60 - time.time() % 60)  # All of it has to be in one minute.
    extra = {"ANTIPHON_LIMITS_URL": valkey.url}
    with serving(tmp_path, CONFIG, **extra) as one, serving(tmp_path, CONFIG, log=tmp_path / "two.log", **extra) as two:
        secret = key(one, f"tokens_per_minute={10 * COST}", f"tokens_per_month={6 * COST}")
        answers = [ask(server, secret) for server in (one, two) * 4]
        assert [answer.status_code for answer in answers] == [200] * 6 + [429] * 2
        left = [int(answer.headers["x-ratelimit-remaining"]) for answer in answers[1:6]]
        assert left == [COST * number for number in range(5, 0, -1)]
        assert_limited(answers[7], "insufficient_quota", limit=6 * COST)


def test_a_key_without_limits_is_answered_when_redis_is_away_and_one_with_limits_is_told_so_at_once(server, valkey):
    free, limited = key(server), key(server, "concurrent=4")
    assert ask(server, limited).status_code == 200
    valkey.kill()
    try:
        begun = time.monotonic()
        assert_away(ask(server, limited))
        assert time.monotonic() - begun < 1
        assert ask(server, free).status_code == 200
    finally:
        valkey.start()
    until(lambda: ask(server, limited).status_code == 200, 5)


def test_a_redis_that_hangs_holds_nobody_up_for_long(server, valkey):
    free, limited = key(server), key(server, "concurrent=100")
    assert ask(server, limited).status_code == 200
    with valkey.stopped(), ThreadPoolExecutor(40) as pool:
        begun = time.monotonic()
        answers = [pool.submit(ask, server, limited) for _ in range(40)]
        assert ask(server, free).status_code == 200
        for answer in answers:
            assert_away(answer.result())
        assert time.monotonic() - begun < 3  # The bound for one is 0.5 s, on a machine that is idle.
    until(lambda: ask(server, limited).status_code == 200, 5)


@pytest.mark.parametrize("away", ["stopped", "down"])
def test_an_answer_that_ends_while_redis_is_away_is_whole_and_is_paid_for_once(server, valkey, away):
    secret, before = key(server, "tokens_per_day=1000"), spent_today(valkey)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask, server, secret, "test/slow", max_tokens=150)
        until(lambda: is_running(server, secret))
        with getattr(valkey, away)():
            assert slow.result(10).status_code == 200
        after = before + slow.result().json()["usage"]["total_tokens"]
    until(lambda: spent_today(valkey) == after, 10)
    time.sleep(2 * BEAT_S)
    assert spent_today(valkey) == after


def spent_today(valkey):
    """What stands on all keys' accounts of a day."""
    keys = re.findall(r"antiphon:spent:\S+:day:\d+", valkey.command("KEYS", "*").decode())
    return sum(int(valkey.command("GET", name).split()[1]) for name in keys)


def test_a_prediction_keeps_its_room_for_longer_than_a_lease(server, valkey):
    secret = key(server, "concurrent=1")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask, server, secret, "test/long")
        until(lambda: is_running(server, secret))
        begun = time.monotonic()
        while time.monotonic() < begun + LEASE_S + BEAT_S:
            assert_limited(ask(server, secret), limit=1)
            time.sleep(0.3)
        assert slow.result().status_code == 200
    assert ask(server, secret).status_code == 200


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"redis://:{PASSWORD}@127.0.0.1:1/0", "Redis at 127.0.0.1:1 cannot be used: "),
        (f"redis://:{PASSWORD}@127.0.0.1:none/0", "the address of Redis cannot be read"),
        (f"redis://:{PASSWORD}@127.0.0.1:1/0?nonsense=1", "Redis at 127.0.0.1:1 cannot be used: "),
        (f"http://:{PASSWORD}@127.0.0.1/", "store.limits_url: "),
    ],
)
def test_a_redis_that_cannot_be_used_stops_the_start_in_one_line_without_its_password(tmp_path, url, told):
    line = failed_start(tmp_path, url)
    assert told in line
    assert PASSWORD not in line


def test_a_wrong_password_stops_the_start_in_one_line_that_does_not_have_it(tmp_path, valkey):
    line = failed_start(tmp_path, valkey.url.replace(PASSWORD, "another-secret"))
    assert f"Redis at 127.0.0.1:{valkey.port} cannot be used: " in line
    assert "another-secret" not in line


def failed_start(home, url):
    command = [sys.executable, "-m", "antiphon.cli", "serve"]
    (home / "antiphon.toml").write_text(CONFIG)
    its = environment(
        home, ANTIPHON_LIMITS_URL=url, ANTIPHON_CONFIG=str(home / "antiphon.toml"), ANTIPHON_API_KEY="sk-x"
    )
    done = subprocess.run(command, env=its, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    return line
