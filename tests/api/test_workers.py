"""Several worker processes on one port, as one server."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import psutil
import pytest

from tests.api.test_metrics import assert_all_the_dashboard_asks_for, value
from tests.conftest import KEY, environment, serving, until
from tests.lives import assert_told

CONFIG = """
[server]
workers = 2
drain_s = 5
[models."test/hello"]
[[models."test/hello".versions]]
number = 1
engine = "scripted"
[models."test/slow"]
slots = 64
[[models."test/slow".versions]]
number = 1
engine = "scripted"
script = { repeat = 100, token_s = 0.05 }
"""
SLOW = {"model": "test/slow", "messages": [{"role": "user", "content": "x"}], "stream": True}


def workers(server):
    """The process ids of a server's workers."""
    return {child.pid for child in psutil.Process(server.process.pid).children() if "worker" in child.cmdline()[2]}


def worker_at(server, port):
    """The worker at the other end of a connection from `port`."""
    for pid in workers(server):
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(link.raddr and link.raddr.port == port for link in psutil.Process(pid).net_connections("tcp")):
                return pid
    return None


@contextlib.contextmanager
def doors(server):
    """A client with a connection to each worker, by process id, for the body."""
    found, wanted = {}, len(workers(server))
    with contextlib.ExitStack() as stack:
        while len(found) < wanted:
            client = httpx.Client(base_url=server.url, headers=server.headers, timeout=20, verify=False)
            stack.enter_context(client)
            answer = client.get("/healthz")
            port = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
            found.setdefault(worker_at(server, port), client)
        yield found


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


def test_the_first_start_prints_one_banner_with_one_key(tmp_path):
    with serving(tmp_path, CONFIG, ANTIPHON_API_KEY="") as server:
        (key,) = re.findall(r"^  key +(sk-antiphon-\S+)$", server.banner, re.MULTILINE)
        server.key = key
        with doors(server) as each:
            for client in each.values():
                assert client.get("/v1/models", headers=server.headers).status_code == 200
        assert server.stop() == 0
        assert server.process.stdout.read() == b"\n", "nothing but the end of the banner follows"


def test_a_cancel_reaches_a_prediction_in_another_worker_within_a_second(crew):
    with doors(crew) as each:
        one, other = each.values()
        body = {"model": "test/slow", "input": {"messages": SLOW["messages"]}}
        key = one.post("/v1/predictions", json=body).json()["id"]
        begun = time.monotonic()
        assert other.post(f"/v1/predictions/{key}/cancel").text == "null"
        until(lambda: other.get(f"/v1/predictions/{key}").json()["status"] == "cancelled", 2)
        assert time.monotonic() - begun < 1.5


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
        until(lambda: value(each[kept].get("/metrics").text, "antiphon_slots", gen_ai_request_model="test/hello") == 4)
        until(
            lambda: value(each[kept].get("/metrics").text, "antiphon_slots", gen_ai_request_model="test/hello") == 8, 10
        )
        with doors(server) as again:
            ask_each(again)
            for client in again.values():
                assert_counted(client, 8)
        assert server.stop() == 0
        assert not list((tmp_path / "run").glob("metrics-*"))


def test_what_runs_in_one_worker_is_seen_by_who_asks_another(crew):
    with doors(crew) as each:
        one, other = each.values()
        with one.stream("POST", "/v1/chat/completions", json=SLOW) as answer:
            lines = answer.iter_lines()
            next(lines)
            label = {"gen_ai_request_model": "test/slow"}
            until(lambda: value(other.get("/metrics").text, "antiphon_slots_held", **label) == 1)


def streaming(client):
    """Begin a stream on a client's connection; give the lines of it and where the rest of them will be."""
    told, began = [], threading.Event()

    def read():
        with (
            contextlib.suppress(httpx.HTTPError),
            client.stream("POST", "/v1/chat/completions", json=SLOW | {"max_tokens": 40}) as answer,
        ):
            told.append(answer.headers["x-request-id"])
            for line in answer.iter_lines():
                told.append(line)
                began.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert began.wait(10)
    return told, thread


def test_a_signal_lets_the_streams_of_every_worker_end(tmp_path):
    with serving(tmp_path, CONFIG) as server:
        with doors(server) as each:
            streams = [streaming(client) for client in each.values()]
            server.process.send_signal(signal.SIGTERM)
            until(lambda: server.chat("test/hello").status_code == 503)
            for told, thread in streams:
                thread.join(10)
                assert told[-2] == "data: [DONE]"
        assert server.process.wait(10) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_all_workers_at_once(tmp_path, sent):
    with serving(tmp_path, CONFIG) as server, doors(server) as each:
        streams = [streaming(client) for client in each.values()]
        server.process.send_signal(sent)
        until(lambda: server.chat("test/hello").status_code == 503)
        begun = time.monotonic()
        server.process.send_signal(sent)
        assert server.process.wait(10) == 0
        assert time.monotonic() - begun < 3
        for told, thread in streams:
            thread.join(10)
            assert "data: [DONE]" not in told


def test_ctrl_c_reaches_workers_by_their_parent_only(crew):
    """A terminal sends it to the whole foreground group; a worker in it would hear twice, and end its streams."""
    assert os.getpgid(crew.process.pid) not in {os.getpgid(pid) for pid in workers(crew)}


def is_gone(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def kill(pid):
    """Kill a process, and wait until its sockets are closed: what reaches them before is reset."""
    process = psutil.Process(pid)
    process.kill()
    until(lambda: is_gone(process))


def test_a_killed_worker_ends_its_own_streams_only_and_another_comes(tmp_path):
    with serving(tmp_path, CONFIG) as server, doors(server) as each:
        (lost, one), (kept, other) = each.items()
        (broken, first), (whole, second) = streaming(one), streaming(other)
        kill(lost)
        first.join(5)
        for _ in range(10):
            assert server.chat("test/hello").status_code == 200, "the other one answers on"
        second.join(10)
        assert whole[-2] == "data: [DONE]"
        assert "data: [DONE]" not in broken
        record = server.prediction(broken[0], 10)
        assert (record["status"], record["error"]["detail"]["code"]) == ("abandoned", "abandoned")
        assert_told(server.prediction(whole[0]), "succeeded")
        until(lambda: len(workers(server)) == 2 and kept in workers(server), 10)
        with doors(server) as again:
            assert lost not in again
        died = [json.loads(line) for line in server.log.read_text().splitlines() if "worker died" in line]
        assert len(died) == 1


def test_no_worker_outlives_a_killed_parent(tmp_path):
    with serving(tmp_path, CONFIG) as server:
        pids = [psutil.Process(pid) for pid in workers(server)]
        server.process.kill()
        until(lambda: all(map(is_gone, pids)), 2)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))


def failed_start(home, config, **extra):
    """What a start says that does not work."""
    (home / "antiphon.toml").write_text(config)
    where = environment(home, ANTIPHON_CONFIG=str(home / "antiphon.toml"), ANTIPHON_API_KEY=KEY, **extra)
    command = [sys.executable, "-m", "antiphon.cli", "serve"]
    done = subprocess.run(command, env=where, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("antiphon: ")
    return line


def test_a_port_that_another_crew_has_is_told_in_one_line(crew, tmp_path):
    line = failed_start(tmp_path, CONFIG, ANTIPHON_PORT=str(crew.port))
    assert f"port {crew.port} on 127.0.0.1 is in use" in line
    assert [path.name for path in tmp_path.iterdir()] == ["antiphon.toml"]


def test_what_keeps_a_worker_from_starting_is_told_in_one_line(tmp_path):
    config = CONFIG.replace('engine = "scripted"', 'engine = "scripted"\nscript = { nonsense = 1 }', 1)
    assert "nonsense" in failed_start(tmp_path, config)


def test_an_embedded_model_is_not_loaded_by_every_worker(tmp_path):
    line = failed_start(tmp_path, "", ANTIPHON_WORKERS="2")
    assert "server.workers should be 1" in line
    assert "smollm2" in line


def test_a_model_has_no_more_slots_than_it_is_given_whoever_answers(tmp_path):
    config = CONFIG.replace("slots = 64", "slots = 3\nqueue = 0")
    with serving(tmp_path, config) as server, contextlib.ExitStack() as stack:
        links = [stack.enter_context(server.open_chat(SLOW)) for _ in range(24)]
        answers = [link.recv(12) for link in links]
        assert answers.count(b"HTTP/1.1 200") == 3
        assert answers.count(b"HTTP/1.1 503") == 21
    assert "at most 3" in failed_start(tmp_path, config, ANTIPHON_WORKERS="4")
