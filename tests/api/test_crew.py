"""Several worker processes as one program: started, kept and ended together."""

import contextlib
import errno
import fcntl
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest

from tests.conftest import KEY, environment, serving, until
from tests.crews import CONFIG, SLOW, begin_to_drain, doors, is_gone, kill, streaming, workers
from tests.lives import assert_told


@pytest.fixture(scope="module")
def crew(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("crew"), CONFIG) as server:
        yield server


def is_refused(port):
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_the_first_start_prints_one_banner_with_one_key(tmp_path):
    with serving(tmp_path, CONFIG, ANTIPHON_API_KEY="") as server:
        (key,) = re.findall(r"^  key +(sk-antiphon-\S+)$", server.banner, re.MULTILINE)
        server.key = key
        with doors(server) as each:
            for client in each.values():
                assert client.get("/v1/models", headers=server.headers).status_code == 200
        assert server.stop() == 0
        assert server.process.stdout.read() == b"\n", "nothing but the end of the banner follows"


def test_a_signal_lets_the_streams_of_every_worker_end(tmp_path):
    with serving(tmp_path, CONFIG) as server:
        with doors(server) as each, doors(server) as beside:
            streams = [streaming(client) for client in each.values()]
            begin_to_drain(server, beside)
            for told, thread in streams:
                thread.join(10)
                assert told[-2] == "data: [DONE]"
        assert server.process.wait(10) == 0
        assert is_refused(server.port)


def test_a_second_signal_ends_all_workers_at_once(tmp_path):
    with serving(tmp_path, CONFIG) as server, doors(server) as each, doors(server) as beside:
        streams = [streaming(client, max_tokens=400) for client in each.values()]
        begin_to_drain(server, beside, signal.SIGINT)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0
        assert time.monotonic() - begun < 3
        for told, thread in streams:
            thread.join(10)
            assert "data: [DONE]" not in told


def test_ctrl_c_reaches_workers_by_their_parent_only(crew):
    """A terminal sends it to the whole foreground group; a worker in it would hear twice, and end its streams."""
    assert os.getpgid(crew.process.pid) not in {os.getpgid(pid) for pid in workers(crew)}


def test_a_killed_worker_ends_its_own_streams_only_and_another_comes(store_url, tmp_path):
    with serving(tmp_path, f'[store]\nurl = "{store_url}"\n{CONFIG}') as server, doors(server) as each:
        (lost, one), (kept, other) = each.items()
        (broken, first), (whole, second) = streaming(one, max_tokens=400), streaming(other)
        kill(lost)
        first.join(5)
        for _ in range(10):
            assert server.chat("test/hello").status_code == 200, "the other one answers on"
        second.join(10)
        assert whole[-2] == "data: [DONE]"
        assert "data: [DONE]" not in broken
        record = server.prediction(broken[0], 20)
        assert (record["status"], record["error"]["detail"]["code"]) == ("abandoned", "abandoned")
        assert_told(server.prediction(whole[0]), "succeeded")
        until(lambda: len(workers(server)) == 2 and kept in workers(server), 20)
        with doors(server) as again:
            assert lost not in again
        assert len(server.logged("worker died")) == 1


def test_a_crew_outlives_a_moment_in_which_no_process_can_be_had(tmp_path):
    with serving(tmp_path, CONFIG) as server:
        lost, kept = workers(server)
        usual = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, usual[1]))
        kill(lost)
        until(lambda: len(server.logged("worker died")) > 1)
        assert workers(server) == {kept}
        assert server.chat("test/hello").status_code == 200
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, usual)
        until(lambda: len(workers(server)) == 2, 20)
        assert server.stop() == 0


def test_no_worker_outlives_a_killed_parent(tmp_path):
    with serving(tmp_path, CONFIG) as server:
        pids = [psutil.Process(pid) for pid in workers(server)]
        server.process.kill()
        until(lambda: all(map(is_gone, pids)), 2)
        until(lambda: is_refused(server.port), 2)


def test_a_start_that_is_broken_off_leaves_no_worker(tmp_path):
    """Before any worker is there, while they load, and when they are all but ready."""
    (tmp_path / "antiphon.toml").write_text(CONFIG)
    where = environment(tmp_path, ANTIPHON_CONFIG=str(tmp_path / "antiphon.toml"), ANTIPHON_API_KEY=KEY)
    command = [sys.executable, "-m", "antiphon.cli", "serve"]
    for sent in (signal.SIGTERM, signal.SIGKILL):
        for after_s in (0.4, 0.9, 1.2):
            with subprocess.Popen(command, env=where, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
                time.sleep(after_s)
                children = psutil.Process(process.pid).children()
                process.send_signal(sent)
                process.wait(10)
                until(lambda children=children: all(map(is_gone, children)), 5)
                assert b"Traceback" not in process.stderr.read()


def test_a_worker_whose_parent_is_gone_before_it_spoke_ends_without_a_word():
    command = [sys.executable, "-m", "antiphon.worker", "1"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_log_lines_of_workers_that_share_a_narrow_pipe_stay_whole(tmp_path):
    """A write of more than 4 KiB to a pipe that is full lets others write in the midst of it."""
    os.mkfifo(tmp_path / "log")
    read = bytearray()

    def read_slowly():
        with (tmp_path / "log").open("rb", buffering=0) as pipe:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
            while data := pipe.read(1024):
                read.extend(data)
                time.sleep(0.001)

    reader = threading.Thread(target=read_slowly)
    reader.start()
    with serving(tmp_path, CONFIG, log=tmp_path / "log") as server, contextlib.ExitStack() as stack:
        beside = stack.enter_context(doors(server))
        for link in [stack.enter_context(server.open_chat(SLOW)) for _ in range(60)]:
            link.recv(12)
        begin_to_drain(server, beside)
        assert server.stop() == 0
    reader.join(10)
    lines = [json.loads(line) for line in read.decode().splitlines()]
    predictions = [line for line in lines if line["event"] == "prediction"]
    assert [line["model"] for line in predictions] == ["test/slow:1"] * 60


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
