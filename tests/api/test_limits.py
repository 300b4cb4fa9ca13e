"""What a key may ask: it is told before anything of its request is read, and nobody else feels it."""

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import KEY, serving, until

CONFIG = """
[models."test/hello"]
slots = 16
[[models."test/hello".versions]]
number = 1
engine = "scripted"
script = { prompt_tokens = 6, tokens = ["a", "b", "c", "d"] }
[models."test/slow"]
slots = 16
[[models."test/slow".versions]]
number = 1
engine = "scripted"
script = { repeat = 100, token_s = 0.02 }
"""
COST = 10
"""Tokens that `test/hello` costs."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("limited"), CONFIG) as running:
        yield running


def antiphon(home, *words):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    environment |= {"ANTIPHON_HOME": str(home), "ANTIPHON_CONFIG": str(home / "antiphon.toml")}
    command = [sys.executable, "-m", "antiphon.cli", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def key(server, *limits):
    made = antiphon(server.home, "keys", "create", "--account", "team", *(f"--limit={limit}" for limit in limits))
    return made.stdout.splitlines()[-1]


def ask(server, secret, model="test/hello", **fields):
    return server.chat(model, headers={"authorization": f"Bearer {secret}"} | fields.pop("headers", {}), **fields)


def is_running(server, secret):
    answer = server.get("/v1/predictions", authorization=f"Bearer {secret}").json()["items"]
    return [item["status"] for item in answer if item["status"] == "started"]


def assert_limited(answer, code="rate_limit_exceeded", limit=None):
    assert answer.status_code == 429, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", code)
    assert answer.json()["detail"] == error["message"]
    wait_s = int(answer.headers["retry-after"])
    assert wait_s >= 1
    assert abs(int(answer.headers["x-ratelimit-reset"]) - time.time() - wait_s) <= 2
    assert answer.headers["x-ratelimit-remaining"] == "0"
    if limit is not None:
        assert answer.headers["x-ratelimit-limit"] == str(limit)


def test_a_key_without_limits_is_told_of_none(server):
    answer = ask(server, key(server))
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


def test_a_third_prediction_at_once_is_refused_and_room_comes_back_with_an_end(server):
    secret = key(server, "concurrent=2")
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(ask, server, secret, "test/slow") for _ in range(2)]
        # A question that is let in would take the room of one.
        until(lambda: len(is_running(server, secret)) == 2)
        took = []
        for _ in range(5):
            begun = time.monotonic()
            assert_limited(ask(server, secret), limit=2)
            took.append(time.monotonic() - begun)
        assert min(took) < 0.2  # The bound is 0.05 s on an idle machine.
        assert server.chat("test/hello").status_code == 200, "another key feels it"
        assert all(one.result().status_code == 200 for one in running)
    assert ask(server, secret).status_code == 200


REFILL_S = 0.5
"""How long it takes until one of two requests a second has room again."""


def test_more_requests_than_a_second_has_are_refused_until_there_is_another(server):
    took = REFILL_S
    while took >= REFILL_S:  # A busy machine may be too slow to ask so often before there is room again.
        secret, begun = key(server, "requests_per_s=2"), time.monotonic()
        answers = [ask(server, secret) for _ in range(4)]
        took = time.monotonic() - begun
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0", "0"]
    assert_limited(answers[2], limit=2)
    time.sleep(1.2 * REFILL_S)
    assert ask(server, secret).status_code == 200


def test_less_than_one_request_a_second_is_a_limit_too(server):
    secret, begun = key(server, "requests_per_s=0.05"), time.monotonic()
    assert ask(server, secret).status_code == 200
    refused = ask(server, secret)
    assert_limited(refused)
    assert 20 - (time.monotonic() - begun) <= int(refused.headers["retry-after"]) <= 20


@pytest.mark.parametrize(
    ("window", "code"),
    [("minute", "rate_limit_exceeded"), ("day", "rate_limit_exceeded"), ("month", "insufficient_quota")],
)
def test_tokens_are_counted_and_the_request_behind_the_last_is_refused(server, window, code):
    if window == "minute" and time.time() % 60 > 50:
        time.sleep(60 - time.time() % 60)  # All of it has to be in one minute.
    secret = key(server, f"tokens_per_{window}={2 * COST - 1}")
    first, second, third = (ask(server, secret) for _ in range(3))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.headers["x-ratelimit-remaining"] == str(2 * COST - 1)
    assert second.headers["x-ratelimit-remaining"] == str(COST - 1)
    assert_limited(third, code, limit=2 * COST - 1)
    longest = {"minute": 60, "day": 86_400, "month": 31 * 86_400}[window]
    assert int(third.headers["retry-after"]) <= longest


def test_of_several_limits_the_nearest_is_told(server):
    answer = ask(server, key(server, "concurrent=100", "tokens_per_day=1000000", "requests_per_s=2"))
    assert (answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-remaining"]) == ("2", "1")


def test_a_refused_request_is_refused_before_its_body_is_read(server):
    secret = key(server, "requests_per_s=0.1")
    assert ask(server, secret).status_code == 200
    head = server.request_bytes(b"").replace(f"Bearer {KEY}".encode(), f"Bearer {secret}".encode())
    head = head.replace(b"Content-Length: 0", b"Content-Length: 10000000")
    with socket.create_connection(("127.0.0.1", server.port)) as link:
        link.settimeout(5)
        begun = time.monotonic()
        link.sendall(head)
        assert link.recv(4096).startswith(b"HTTP/1.1 429 ")
        assert time.monotonic() - begun < 1


def test_what_never_became_a_prediction_takes_no_room_and_costs_no_tokens(server):
    secret = key(server, "concurrent=1", f"tokens_per_day={COST}")
    for _ in range(5):
        assert ask(server, secret, temperature=9).status_code == 422
        assert ask(server, secret, "test/none").status_code == 404
        assert ask(server, secret, n=100).status_code == 400
    assert ask(server, secret).status_code == 200
    assert ask(server, secret).status_code == 429


def test_an_answer_that_is_given_again_costs_nothing(server):
    secret = key(server, f"tokens_per_day={COST + 1}", "concurrent=1")
    for _ in range(4):
        assert ask(server, secret, headers={"idempotency-key": "again"}).status_code == 200
    assert ask(server, secret).status_code == 200
    assert ask(server, secret).status_code == 429


def test_a_client_that_leaves_gives_its_room_back_and_pays_for_what_it_had(server):
    secret = key(server, "concurrent=1", "tokens_per_day=8")
    body = {"model": "test/slow", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    request = server.request_bytes(body).replace(f"Bearer {KEY}".encode(), f"Bearer {secret}".encode())
    with socket.create_connection(("127.0.0.1", server.port)) as link:
        link.sendall(request)
        said = b""
        while said.count(b"data: ") < 5:
            said += link.recv(4096)
    # What is refused as no request costs nothing: it sees when the room is free, and that nothing is left.
    until(lambda: ask(server, secret, n=0).headers.get("x-ratelimit-limit") == "8")
    assert_limited(ask(server, secret), limit=8)


def test_predictions_count_as_completions_do(server):
    secret = key(server, "concurrent=1")
    wanted = {"input": {"messages": [{"role": "user", "content": "Hi"}]}}

    def create(name):
        path = f"/v1/models/test/{name}/predictions"
        return server.post(json.dumps(wanted), path=path, headers={"authorization": f"Bearer {secret}"})

    first = create("slow")
    assert first.status_code == 201, first.text
    assert_limited(create("hello"))
    assert_limited(ask(server, secret))
    server.post(b"", path=f"/v1/predictions/{first.json()['id']}/cancel", headers={"authorization": f"Bearer {secret}"})
    until(lambda: ask(server, secret).status_code == 200)


def test_a_limit_that_is_set_or_lifted_is_noticed_by_a_running_server(server):
    made = antiphon(server.home, "keys", "create", "--account", "team", "--name", "changed")
    secret = made.stdout.splitlines()[-1]
    # By its name: keys of one second stand in no order.
    lines = antiphon(server.home, "keys", "list").stdout.splitlines()
    (key_id,) = [line.split()[0] for line in lines if line.endswith("changed")]
    assert ask(server, secret).status_code == 200
    assert antiphon(server.home, "keys", "limit", key_id, "tokens_per_day=1").returncode == 0
    assert "tokens_per_day=1" in antiphon(server.home, "keys", "list").stdout
    until(lambda: ask(server, secret).status_code == 429, 10)
    assert antiphon(server.home, "keys", "limit", key_id).returncode == 0
    until(lambda: ask(server, secret).status_code == 200, 10)


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("tokens=5", "'tokens' is no limit"),
        ("concurrent=0", "concurrent should be a whole number above 0"),
        ("concurrent=1.5", "concurrent should be a whole number above 0"),
        ("requests_per_s=-1", "requests_per_s should be a number above 0"),
        ("concurrent=x", "concurrent should be a whole number above 0"),
        ("requests_per_s=nan", "requests_per_s should be a number above 0"),
    ],
)
def test_a_limit_that_is_none_is_one_line_that_says_why(server, limit, said):
    made = antiphon(server.home, "keys", "create", "--account", "team", f"--limit={limit}")
    assert made.returncode == 1
    (line,) = made.stderr.splitlines()
    assert said in line


def test_what_one_process_spent_is_refused_by_another_and_after_a_restart(pair):
    one, two = pair
    made = subprocess.run(
        [sys.executable, "-m", "antiphon.cli", "keys", "create", "--account", "t", f"--limit=tokens_per_month={COST}"],
        env={**os.environ, "ANTIPHON_HOME": str(one.home), "ANTIPHON_CONFIG": str(one.home / "antiphon.toml")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    secret = made.stdout.splitlines()[-1]
    assert ask(two, secret).status_code == 200
    time.sleep(1.5)
    while ask(one, secret).status_code == 200:
        time.sleep(0.3)
    until(lambda: ask(two, secret).status_code == 429)


def test_what_was_spent_is_known_after_a_restart(tmp_path):
    with serving(tmp_path, CONFIG) as server:
        secret = key(server, f"tokens_per_day={COST}")
        assert ask(server, secret).status_code == 200
    with serving(tmp_path, CONFIG) as server:
        assert_limited(ask(server, secret), limit=COST)


def test_a_flood_of_one_account_does_not_starve_another(tmp_path):
    config = CONFIG.replace('[models."test/slow"]\nslots = 16', '[models."test/slow"]\nslots = 1\nqueue = 8')
    with serving(tmp_path, config.replace("repeat = 100", "repeat = 5")) as server, ThreadPoolExecutor(20) as pool:
        flood, other = key(server), antiphon(tmp_path, "keys", "create", "--account", "other").stdout.splitlines()[-1]
        answers = [pool.submit(ask, server, flood, "test/slow") for _ in range(16)]
        until(lambda: sum(one.done() for one in answers) >= 7)
        assert ask(server, other, "test/slow").status_code == 200
        assert sum(not one.done() for one in answers) >= 3, "it waited behind them all"
        statuses = [one.result().status_code for one in answers]
        assert set(statuses) == {200, 503}
