"""A SQLite store that fails while the server runs: group DB of the faults."""

import contextlib
import resource
import sqlite3
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import pytest

from antiphon.store.keys import open_keys
from tests.conftest import serving, until

CONFIG = """
[server]
drain_s = 3
[models."test/hello"]
slots = 64
[[models."test/hello".versions]]
number = 1
engine = "scripted"
[models."test/slow"]
slots = 64
[[models."test/slow".versions]]
number = 1
engine = "scripted"
script = { repeat = 15, token_s = 0.05 }
"""
ANSWER_S = 6.0
"""Within which a client hears that the store does not answer."""


def make_key(home, url="sqlite:///antiphon.db"):
    """A key that lies in the store, unlike the one from the environment."""

    async def make():
        async with open_keys(url, home) as (_, keys):
            return await keys.create("team", "test")

    return anyio.run(make)


def timed(ask, *args, **options):
    """An answer's status, its error's code, and how long it took."""
    begun = time.monotonic()
    answer = ask(*args, **options)
    body = answer.json()
    code = body["error"]["code"] if isinstance(body, dict) and body.get("error") else None
    return answer.status_code, code, time.monotonic() - begun


def create(server, **headers):
    body = '{"model":"test/hello","input":{"messages":[{"role":"user","content":"x"}]}}'
    return server.post(body, path="/v1/predictions", headers=headers)


def at_once(*asks):
    """Ask everything at once; give the answers in order."""
    with ThreadPoolExecutor(len(asks)) as pool:
        return [future.result() for future in [pool.submit(timed, *ask) for ask in asks]]


def chat_with_key(server, number):
    return server.chat("test/hello", headers={"idempotency-key": f"key-{number}"})


@contextlib.contextmanager
def streaming(server):
    """A stream that has begun; the body reads the rest."""
    body = {"model": "test/slow", "messages": [{"role": "user", "content": "x"}], "stream": True}
    url = server.url + "/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=server.headers, timeout=30) as response:
        lines = response.iter_lines()
        assert response.status_code == 200
        while '"content":"Hello"' not in next(lines):
            pass
        yield response.headers["x-request-id"], lines


def status_of(server, key):
    return server.get(f"/v1/predictions/{key}").json()["status"]


# -- DB-01: a full disk


@contextlib.contextmanager
def small_disk(home):
    """A disk of its own for a data directory."""
    home.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", home], capture_output=True, check=False
    ).returncode:
        pytest.skip("a full disk is made by mounting a small one, which only root may; CI is root")
    try:
        yield
    finally:
        subprocess.run(["umount", home], check=True)


@contextlib.contextmanager
def full_disk(server):
    ballast = server.home / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (65_536, 4_096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    try:
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def full_quota(server):
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4_096, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("how", [pytest.param("disk", marks=pytest.mark.long), "quota"])
def test_on_a_full_disk_new_requests_are_503_and_what_runs_ends_well_and_nothing_is_lost(tmp_path, how):
    """DB-01. The log is on the same full disk: losing lines of it must not lose anything else."""
    home = tmp_path / "home"
    with small_disk(home) if how == "disk" else contextlib.nullcontext(), serving(home, CONFIG) as server:
        server.key = make_key(home)
        before = server.chat("test/hello").headers["x-request-id"]
        with streaming(server) as (running, lines), (full_disk if how == "disk" else full_quota)(server):
            # What the database's files have room for is still written.
            until(lambda: server.chat("test/hello").status_code == 503, 20)
            for answer in at_once(*[(server.chat, "test/hello")] * 8, (create, server), (chat_with_key, server, 1)):
                assert answer[:2] == (503, "storage_unavailable")
                assert answer[2] < ANSWER_S
            assert "data: [DONE]" in list(lines)
            assert server.get(f"/v1/predictions/{before}").json()["status"] == "succeeded"
            assert server.get("/v1/predictions").status_code == 200
            assert server.get("/healthz").status_code == 200
        until(lambda: server.chat("test/hello").status_code == 200, 5)
        until(lambda: status_of(server, running) == "succeeded", 5)
        assert {one["status"] for one in server.get("/v1/predictions?page_size=50").json()["items"]} == {"succeeded"}
        assert server.stop() == 0


# -- DB-02: a second process writes


@contextlib.contextmanager
def writing(path):
    """Hold the database as any other program may."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def everything(server, stored):
    """Every kind of request that writes, many at once."""
    return [
        *[(server.chat, "test/hello")] * 8,
        *[(create, server)] * 4,
        *[(chat_with_key, server, number) for number in range(8)],
        *[(server.post, '{"metadata":{"a":"1"}}', 60, None, f"/v1/chat/completions/chatcmpl-{stored}")] * 2,
    ]


def test_while_another_process_writes_for_three_seconds_everything_waits_and_succeeds(tmp_path):
    """DB-02."""
    with serving(tmp_path, CONFIG) as server, ThreadPoolExecutor(1) as pool:
        server.key = make_key(tmp_path)
        stored = server.chat("test/hello", store=True).headers["x-request-id"].replace("-", "")
        with writing(tmp_path / "antiphon.db"):
            answers = pool.submit(at_once, *everything(server, stored))
            time.sleep(3)
        assert {answer[0] for answer in answers.result()} == {200, 201}


@pytest.mark.long
def test_while_another_process_writes_for_long_everything_is_503_in_time_and_health_answers(tmp_path):
    """DB-02."""
    with serving(tmp_path, CONFIG) as server, ThreadPoolExecutor(1) as pool:
        server.key = make_key(tmp_path)
        stored = server.chat("test/hello", store=True).headers["x-request-id"].replace("-", "")
        with streaming(server) as (running, lines), writing(tmp_path / "antiphon.db"):
            answers, healthy = pool.submit(at_once, *everything(server, stored)), []
            while not answers.done() and len(healthy) < 200:
                healthy.append(timed(server.get, "/healthz"))
                assert status_of(server, stored_id(stored)) == "succeeded"
                time.sleep(0.1)
            for answer in answers.result():
                assert answer[:2] == (503, "storage_unavailable")
                assert answer[2] < ANSWER_S
            assert {answer[0] for answer in healthy} == {200}
            assert max(answer[2] for answer in healthy) < 1
            assert "data: [DONE]" in list(lines)
        assert server.chat("test/hello").status_code == 200
        until(lambda: status_of(server, running) == "succeeded", 5)
        assert server.stop() == 0


def stored_id(text):
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
