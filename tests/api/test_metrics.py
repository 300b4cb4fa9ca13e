"""What a server tells of itself to whoever watches it."""

import json
import re
import signal
from pathlib import Path

import psutil

from tests.conftest import serving, until

CONFIG = """
[models."test/hello"]
[[models."test/hello".versions]]
number = 1
engine = "scripted"
script = { token_s = 0.01 }
[models."test/narrow"]
slots = 1
[[models."test/narrow".versions]]
number = 1
engine = "scripted"
script = { repeat = 100, token_s = 0.02 }
[models."test/dies"]
[[models."test/dies".versions]]
number = 1
engine = "scripted"
script = { fail_at = 2 }
"""


def metrics(server):
    answer = server.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return answer.text


def value(text, name, **labels):
    """The value of one series; 0 where there is none."""
    wanted = {f'{key}="{label}"' for key, label in labels.items()}
    for line in text.splitlines():
        found = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
        if found and wanted <= set((found[1] or "").split(",")):
            return float(found[2])
    return 0.0


def test_metrics_need_a_key(tmp_path):
    with serving(tmp_path, CONFIG) as server:
        assert server.get("/metrics", authorization="Bearer nobody").status_code == 401


def test_predictions_tokens_and_times_are_counted_by_model_state_and_code(tmp_path):
    with serving(tmp_path, CONFIG) as server:
        for _ in range(3):
            assert server.chat("test/hello", n=2).status_code == 200
        assert server.chat("test/dies").status_code == 502
        late = server.chat("test/narrow", headers={"x-request-timeout-seconds": "0.2"})
        assert late.status_code == 504
        text = metrics(server)
    hello = {"gen_ai_request_model": "test/hello"}
    assert value(text, "antiphon_predictions_total", status="succeeded", **hello) == 3
    dead = {"gen_ai_request_model": "test/dies", "status": "failed", "error_type": "engine_failed"}
    assert value(text, "antiphon_predictions_total", **dead) == 1
    slow = {"gen_ai_request_model": "test/narrow", "status": "cancelled", "reason": "deadline"}
    assert value(text, "antiphon_predictions_total", **slow) == 1
    assert value(text, "antiphon_tokens_total", gen_ai_token_type="input", **hello) == 21
    assert value(text, "antiphon_tokens_total", gen_ai_token_type="output", **hello) == 24
    for name in ("request_duration", "time_to_first_token", "time_per_output_token"):
        assert value(text, f"gen_ai_server_{name}_seconds_count", **hello) == 3
        assert 0 < value(text, f"gen_ai_server_{name}_seconds_sum", **hello) < 3
    assert value(text, "antiphon_queue_wait_seconds_count", **hello) == 3
    assert value(text, "antiphon_store_ready") == 1


def assert_all_the_dashboard_asks_for(text):
    told = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#")}
    dashboard = json.loads((Path(__file__).parents[2] / "examples" / "grafana.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    names = set(re.findall(r"\b(?:antiphon|gen_ai_server)_\w+", " ".join(asked)))
    assert len(names) > 8
    assert names <= told


def test_the_dashboard_asks_for_nothing_that_is_not_told(tmp_path):
    with serving(tmp_path, CONFIG) as server:
        server.chat("test/hello")
        assert_all_the_dashboard_asks_for(metrics(server))


def test_the_page_names_every_metric_and_no_other(tmp_path):
    with serving(tmp_path, CONFIG) as server:
        server.chat("test/hello")
        told = set(re.findall(r"^# HELP (\w+)", metrics(server), re.MULTILINE))
    page = (Path(__file__).parents[2] / "docs" / "watching.md").read_text()
    named = set(re.findall(r"`((?:antiphon|gen_ai_server)_\w+)`", page))
    assert named == {name for name in told if not name.endswith("_created")}


def test_what_waits_and_what_runs_is_told_while_it_does(tmp_path):
    with serving(tmp_path, CONFIG) as server:
        body = {"model": "test/narrow", "messages": [{"role": "user", "content": "Hi"}]}
        links = [server.open_chat(body) for _ in range(3)]
        label = {"gen_ai_request_model": "test/narrow"}
        until(lambda: value(metrics(server), "antiphon_queue_depth", **label) == 2)
        text = metrics(server)
        assert value(text, "antiphon_slots_held", **label) == value(text, "antiphon_slots", **label) == 1
        for link in links:
            link.close()
        until(lambda: value(metrics(server), "antiphon_slots_held", **label) == 0)
        assert value(metrics(server), "antiphon_queue_depth", **label) == 0


def test_nothing_of_an_account_or_of_what_was_said_is_told(tmp_path):
    with serving(tmp_path, CONFIG) as server:
        server.chat("test/hello", "a secret word", user="alice", safety_identifier="bob")
        text = metrics(server)
    for word in ("admin", "secret", "alice", "bob", server.key):
        assert word not in text


def test_an_engine_that_is_started_again_is_counted(house):
    (child,) = [
        one
        for one in psutil.Process(house.process.pid).children(recursive=True)
        if "llamacpp" in " ".join(one.cmdline())
    ]
    before = value(metrics(house), "antiphon_engine_restarts_total")
    child.send_signal(signal.SIGKILL)
    until(lambda: value(metrics(house), "antiphon_engine_restarts_total") == before + 1, 60)
    until(lambda: value(metrics(house), "antiphon_engine_ready") == 1, 60)
