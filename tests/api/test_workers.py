"""Several worker processes on one port: to whoever asks they are one server."""

import contextlib
import re
import sqlite3
import time

import pytest

from tests.api.test_crew import failed_start
from tests.api.test_limits import key
from tests.api.test_metrics import assert_all_the_dashboard_asks_for, value
from tests.conftest import serving, until
from tests.crews import CONFIG, SLOW, doors, kill, workers


@pytest.fixture(scope="module")
def crew(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("crew"), CONFIG) as server:
        yield server


def test_one_port_is_answered_by_every_worker(crew):
    pids = workers(crew)
    assert len(pids) == 2
    with doors(crew) as each:
        assert set(each) == pids
        for client in each.values():
            answer = client.post("/v1/chat/completions", json=SLOW | {"stream": False, "max_tokens": 1})
            assert answer.status_code == 200


def test_a_cancel_reaches_a_prediction_in_another_worker_within_a_second(crew):
    with doors(crew) as each:
        one, other = each.values()
        body = {"model": "test/slow", "input": {"messages": SLOW["messages"]}}
        mine = one.post("/v1/predictions", json=body).json()["id"]
        begun = time.monotonic()
        assert other.post(f"/v1/predictions/{mine}/cancel").text == "null"
        until(lambda: other.get(f"/v1/predictions/{mine}").json()["status"] == "cancelled", 2)
        assert time.monotonic() - begun < 1.5


def test_a_prediction_is_followed_and_its_key_joined_from_another_worker(crew):
    with doors(crew) as each:
        one, other = each.values()
        body = {"model": "test/slow", "input": {"messages": SLOW["messages"], "max_tokens": 10}}
        mine = one.post("/v1/predictions", json=body).json()["id"]
        followed = other.get(f"/v1/predictions/{mine}/stream").text
        assert followed.count("event: output") >= 1
        assert "event: done" in followed
        named = {"idempotency-key": "the same"}
        answers = [
            client.post("/v1/chat/completions", json=SLOW | {"stream": False, "max_tokens": 2}, headers=named)
            for client in each.values()
        ]
        assert answers[0].json() == answers[1].json()


def tokens_told(server):
    """What stands in the store that was spent with all keys that have limits."""
    with contextlib.closing(sqlite3.connect(server.home / "antiphon.db")) as database:
        return database.execute("SELECT coalesce(sum(tokens), 0) FROM spending").fetchone()[0]


def test_what_is_spent_in_one_worker_is_refused_by_another(crew):
    secret, before = key(crew, "tokens_per_day=6"), tokens_told(crew)
    mine = {"authorization": f"Bearer {secret}"}
    with doors(crew) as each:
        one, other = each.values()
        body = SLOW | {"model": "test/hello", "stream": False}
        assert one.post("/v1/chat/completions", json=body, headers=mine).status_code == 200
        assert one.post("/v1/chat/completions", json=body, headers=mine).status_code == 429
        until(lambda: tokens_told(crew) > before)  # Once a second.
        assert other.post("/v1/chat/completions", json=body, headers=mine).status_code == 429


def test_a_key_may_have_no_more_at_once_than_it_is_given_whoever_answers(crew):
    mine = {"authorization": f"Bearer {key(crew, 'concurrent=2')}"}
    with doors(crew) as each, contextlib.ExitStack() as stack:
        for client in each.values():
            answer = stack.enter_context(client.stream("POST", "/v1/chat/completions", json=SLOW, headers=mine))
            assert answer.status_code == 200
        refused = crew.chat("test/hello", headers=mine)
        assert (refused.status_code, refused.headers["x-ratelimit-limit"]) == (429, "2")


def ask_each(each, model="test/hello", **fields):
    """Ask every worker once."""
    for client in each.values():
        body = SLOW | {"model": model, "stream": False, **fields}
        assert client.post("/v1/chat/completions", json=body).status_code == 200


def slots_told(client):
    return value(client.get("/metrics").text, "antiphon_slots", gen_ai_request_model="test/hello")


def assert_counted(client, count):
    text = client.get("/metrics").text
    hello = {"gen_ai_request_model": "test/hello"}
    assert value(text, "antiphon_predictions_total", status="succeeded", **hello) == count
    assert value(text, "antiphon_tokens_total", gen_ai_token_type="output", **hello) == 4 * count
    assert value(text, "gen_ai_server_request_duration_seconds_count", **hello) == count
    assert value(text, "gen_ai_server_request_duration_seconds_bucket", le="+Inf", **hello) == count
    assert value(text, "antiphon_slots", **hello) == 8
    return text


def test_one_scrape_tells_of_all_workers_and_no_counter_goes_back_when_one_dies(tmp_path):
    with serving(tmp_path, CONFIG) as server, doors(server) as each:
        for _ in range(3):
            ask_each(each)
        for client in each.values():
            until(lambda client=client: slots_told(client) == 8)
            text = assert_counted(client, 6)
            assert_all_the_dashboard_asks_for(text)
            types = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
            assert len(types) == len(set(types))
            assert "pid=" not in text
        lost, kept = each
        kill(lost)
        until(lambda: len(workers(server)) == 2, 20)
        until(lambda: slots_told(each[kept]) == 8, 20)  # Those of the dead one would be four more.
        with doors(server) as again:
            ask_each(again)
            for client in again.values():
                assert_counted(client, 8)
        assert server.stop() == 0
        assert not list((tmp_path / "run").glob("metrics-*"))


def test_a_worker_has_room_on_the_disk_for_all_it_measures_before_the_disk_is_full(crew):
    """What writes into a hole of a mapped file on a full disk is ended by SIGBUS."""
    with doors(crew) as each:
        ask_each(each)
    files = list((crew.home / "run").glob("metrics-*/*.db"))
    assert len(files) == 12
    for file in files:
        assert file.stat().st_blocks * 512 >= file.stat().st_size, file.name


def test_what_runs_in_one_worker_is_seen_by_who_asks_another(crew):
    with doors(crew) as each:
        one, other = each.values()
        with one.stream("POST", "/v1/chat/completions", json=SLOW) as answer:
            lines = answer.iter_lines()
            next(lines)
            label = {"gen_ai_request_model": "test/slow"}
            until(lambda: value(other.get("/metrics").text, "antiphon_slots_held", **label) == 1)


def test_a_model_has_no_more_slots_than_it_is_given_whoever_answers(tmp_path):
    config = CONFIG.replace("slots = 64", "slots = 3\nqueue = 0")
    with serving(tmp_path, config) as server, contextlib.ExitStack() as stack:
        links = [stack.enter_context(server.open_chat(SLOW)) for _ in range(24)]
        answers = [link.recv(12) for link in links]
        assert answers.count(b"HTTP/1.1 200") == 3
        assert answers.count(b"HTTP/1.1 503") == 21
    assert "at most 3" in failed_start(tmp_path, config, ANTIPHON_WORKERS="4")
