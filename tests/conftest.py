"""What the tests share: a real server on a socket, with the real model and scripted ones beside it."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import pytest

from antiphon.engines.llamacpp.protocol import Ask, Frames, Said, State, frame
from antiphon.provision import pull_speech
from antiphon.settings import DEFAULT_MODEL, read_settings
from antiphon.supplies.download import shown_progress
from antiphon.supplies.weights import Source, obtain
from tests.postgres import postgres_server
from tests.real_vllm import vllm_server

KEY = "sk-test-key"
REAL = DEFAULT_MODEL
ENDED = frozenset({"succeeded", "failed", "cancelled", "abandoned"})


def pytest_collection_modifyitems(items):
    """Run what needs the real model last, so that faults of ours show first."""
    items.sort(
        key=lambda item: bool({"house", "behind", "door", "seeing", "voiced"} & set(getattr(item, "fixturenames", ())))
    )


@dataclass
class Server:
    """A server process, and the ways to reach it."""

    process: subprocess.Popen
    port: int
    home: Path
    banner: str
    log: Path
    key: str = KEY

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self):
        return {"authorization": f"Bearer {self.key}"}

    def chat(self, model, text="Hi", timeout=60, headers=None, **fields):
        """Ask for a completion; give the response."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        return self.post(json.dumps(body), timeout=timeout, headers=headers)

    def post(self, body, timeout=60, headers=None, path="/v1/chat/completions"):
        wanted = {"content-type": "application/json"} | self.headers | (headers or {})
        # Nothing here is encrypted, and loading the certificates takes 40 ms a request.
        response = httpx.post(self.url + path, content=body, headers=wanted, timeout=timeout, verify=False)
        assert_adds_up(response.text)
        return response

    def get(self, path, **headers):
        return httpx.get(self.url + path, headers=self.headers | headers, timeout=10, verify=False)

    def raw(self, data, *, wait_s=5.0, half_close=False):
        """Send bytes; give everything that comes back until the server closes or is silent for `wait_s`."""
        with socket.create_connection(("127.0.0.1", self.port)) as link:
            link.settimeout(wait_s)
            with contextlib.suppress(ConnectionError):
                link.sendall(data)
                if half_close:
                    link.shutdown(socket.SHUT_WR)
            received = b""
            with contextlib.suppress(TimeoutError, ConnectionError):
                while data := link.recv(65536):
                    received += data
            return received

    def request_bytes(self, body, *headers, path="/v1/chat/completions"):
        """A chat request as it stands on the wire."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = [
            f"POST {path} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {self.key}",
            "Content-Type: application/json",
            f"Content-Length: {len(raw)}",
            *headers,
        ]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + raw

    def open_chat(self, body):
        """Send a chat request on a socket of its own, and give the socket."""
        link = socket.create_connection(("127.0.0.1", self.port))
        link.settimeout(30)
        link.sendall(self.request_bytes(body))
        return link

    def engine_state(self) -> State:
        """Ask the engine child itself, on its own socket, what it is doing."""
        (path,) = (self.home / "run").glob("*.sock")
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(10)
            link.connect(str(path))
            link.sendall(frame(Ask()))
            return next(message for message in _heard(link) if isinstance(message, State))

    def logged(self, event=None):
        """The lines of the log, oldest first; of one event where it is named. One that is still being written waits."""
        whole, _, _ = self.log.read_bytes().rpartition(b"\n")
        lines = [json.loads(line) for line in whole.split(b"\n") if line.startswith(b"{")]
        return [line for line in lines if event in {None, line["event"]}]

    def records(self):
        """The predictions in the log, oldest first."""
        return self.logged("prediction")

    def record(self, request_id, wait_s=5.0):
        """The line of one prediction in the log, once it has ended."""
        return until(lambda: next((r for r in self.records() if r["id"] == request_id), None), wait_s)

    def prediction(self, prediction_id, wait_s=5.0):
        """The record of one prediction, read from the store over HTTP, once it has ended."""

        def ended():
            answer = self.get(f"/v1/predictions/{prediction_id}")
            assert answer.status_code == 200, answer.text
            return answer.json() if answer.json()["status"] in ENDED else None

        return until(ended, wait_s)

    def cancel(self, prediction_id, **headers):
        return self.post(b"", path=f"/v1/predictions/{prediction_id}/cancel", headers=headers)

    def begin_to_drain(self):
        """Ask the server to stop, and wait until it takes nothing new."""
        self.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{self.url}/readyz", verify=False).status_code == 503)

    def newest(self):
        """The newest prediction in the list, None when there is none."""
        return next(iter(self.get("/v1/predictions?page_size=5").json()["items"]), None)

    def stop(self, wait_s=30):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def assert_adds_up(text):
    """Hold every answer of the suite to this: its usage has all its counters, and they add up."""
    found = re.search(r'"usage":({"prompt_tokens".*?}})', text)
    if not found:
        return
    usage = json.loads(found[1])
    parts, prompt = usage["completion_tokens_details"], usage["prompt_tokens_details"]
    assert set(prompt) == {"cached_tokens", "audio_tokens"}
    assert set(parts) == {
        *("reasoning_tokens", "audio_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens"),
    }
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert max(prompt.values()) <= usage["prompt_tokens"]
    assert sum(parts.values()) <= usage["completion_tokens"]
    assert min(usage["total_tokens"], *parts.values(), *prompt.values()) >= 0


def _heard(link):
    frames = Frames()
    while True:
        for body in frames.feed(link.recv(65536)):
            yield from msgspec.msgpack.decode(body, type=Said).messages


def until(condition, wait_s=5.0):
    """Wait for a state, not for a time; give the condition's value once it is true."""
    deadline = time.monotonic() + wait_s
    while True:
        is_last = time.monotonic() >= deadline  # Looked at first: the machine may have been elsewhere since.
        if value := condition():
            return value
        assert not is_last, f"not so after {wait_s} s"
        time.sleep(0.01)


def environment(home, **extra):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    return kept | {"ANTIPHON_HOME": str(home), "ANTIPHON_PORT": "0"} | extra


@contextlib.contextmanager
def serving(home: Path, config: str = "", *, log: Path | None = None, **extra) -> Iterator[Server]:
    """Run `antiphon serve` for the body."""
    home.mkdir(parents=True, exist_ok=True)
    if config:
        (home / "antiphon.toml").write_text(config)
        extra = {"ANTIPHON_CONFIG": str(home / "antiphon.toml")} | extra
    extra = {"ANTIPHON_API_KEY": KEY} | extra
    log = log or home / "server.log"
    with log.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "antiphon.cli", "serve"],
            env=environment(home, **extra),
            stdout=subprocess.PIPE,
            stderr=err,
            stdin=subprocess.DEVNULL,
        )
    try:
        banner = ""
        while "curl" not in banner:
            line = process.stdout.readline().decode()
            assert line, f"the server ended: {log.read_text()}"
            banner += line
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/v1", banner).group(1))
        yield Server(process, port, home, banner, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def weights() -> tuple[Path, str]:
    """The default model's file and its sha256."""
    settings = read_settings({k: v for k, v in os.environ.items() if k == "ANTIPHON_HOME"})
    version = settings.models[DEFAULT_MODEL].versions[0]
    with shown_progress() as progress:
        return obtain(Source(version.weights, version.sha256), settings.home, progress), version.sha256


SCRIPTED = """
[server]
drain_s = 3
[models."test/hello"]
slots = 4
[[models."test/hello".versions]]
number = 1
engine = "scripted"
[[models."test/hello".versions]]
number = 3
engine = "scripted"
script = { tokens = ["third"] }
[models."test/slow"]
slots = 64
[[models."test/slow".versions]]
number = 1
engine = "scripted"
script = { repeat = 100, token_s = 0.05 }
[models."test/never"]
slots = 4
[[models."test/never".versions]]
number = 1
engine = "scripted"
script = { accept_s = 60.0 }
[models."test/late"]
deadline_s = 0.5
[[models."test/late".versions]]
number = 1
engine = "scripted"
script = { accept_s = 60.0 }
[models."test/dies"]
[[models."test/dies".versions]]
number = 1
engine = "scripted"
script = { fail_at = 2, token_s = 0.01 }
[models."test/dead"]
[[models."test/dead".versions]]
number = 1
engine = "scripted"
script = { fail_at = -1 }
[models."test/narrow"]
slots = 1
queue = 2
[[models."test/narrow".versions]]
number = 1
engine = "scripted"
script = { repeat = 20, token_s = 0.05 }
[models."test/echo"]
slots = 64
[[models."test/echo".versions]]
number = 1
engine = "scripted"
script = { echo = true, context_tokens = 100 }
[models."test/sees"]
slots = 64
[[models."test/sees".versions]]
number = 1
engine = "scripted"
script = { echo = true, senses = ["image_url", "input_audio"], context_tokens = 1_000_000 }
[models."test/secret"]
visibility = "private"
account = "somebody"
[[models."test/secret".versions]]
number = 1
engine = "scripted"
"""


@pytest.fixture(scope="session")
def stage(tmp_path_factory) -> Iterator[Server]:
    """A server with scripted models."""
    with serving(tmp_path_factory.mktemp("stage"), SCRIPTED) as server:
        yield server


def real_config(weights, **options) -> str:
    path, sha256 = weights
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    return f"""
[models."{REAL}"]
slots = 8
queue = 2
[[models."{REAL}".versions]]
number = 1
engine = "llamacpp"
weights = "file:{path}"
sha256 = "{sha256}"
{lines}"""


@pytest.fixture(scope="session")
def house(tmp_path_factory, weights) -> Iterator[Server]:
    """A server with the real model."""
    with serving(tmp_path_factory.mktemp("house"), real_config(weights)) as server:
        yield server


@pytest.fixture(scope="session")
def behind(tmp_path_factory, house) -> Iterator[Server]:
    """A server before the one with the real model: Antiphon as an upstream of Antiphon."""
    config = f"""
[models."{REAL}"]
slots = 8
queue = 2
[[models."{REAL}".versions]]
number = 1
engine = "upstream"
base_url = "{house.url}/v1"
model = "{REAL}"
kind = "antiphon"
headers = {{ authorization = "Bearer {house.key}" }}
"""
    with serving(tmp_path_factory.mktemp("behind"), config) as server:
        yield server


@pytest.fixture(scope="session", params=["house", "behind"])
def door(request) -> Server:
    """The real model: in this server, and behind another."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """What makes an empty database on a real PostgreSQL and gives its URL."""
    with postgres_server() as new_database:
        yield new_database


@pytest.fixture(scope="session")
def vllm(tmp_path_factory, weights) -> Iterator[str]:
    """The URL of a real vLLM with the real model."""
    with vllm_server(weights[0], tmp_path_factory.mktemp("vllm")) as url:
        yield url


STORES = ("sqlite", "postgresql")


@pytest.fixture(params=STORES)
def store_url(request) -> str:
    """An empty database: once a file in the server's home, once on PostgreSQL."""
    return "sqlite:///antiphon.db" if request.param == "sqlite" else request.getfixturevalue("postgres")()


VOICED = """
[speech]
enabled = true
[models."test/echo"]
slots = 64
[[models."test/echo".versions]]
number = 1
engine = "scripted"
script = { echo = true }
[models."test/slow"]
[[models."test/slow".versions]]
number = 1
engine = "scripted"
script = { echo = true, token_s = 0.05 }
[models."test/sees"]
[[models."test/sees".versions]]
number = 1
engine = "scripted"
script = { echo = true, senses = ["image_url", "input_audio"] }
[models."test/thinks"]
[[models."test/thinks".versions]]
number = 1
engine = "scripted"
script = { thinking = "think", tokens = ["<think>", "Hm, let me see, this is a long thought.", "</think>", "Yes."] }
[models."test/calls"]
[[models."test/calls".versions]]
number = 1
engine = "scripted"
script = { tokens = ["<tool_call>", '{"name": "f", "arguments": {}}', "</tool_call>"] }
"""


@pytest.fixture(scope="session")
def voiced(tmp_path_factory, weights) -> Iterator[Server]:
    """A server that hears and speaks, with scripted models and the real one."""
    home = tmp_path_factory.mktemp("voiced")
    (home / "speech").symlink_to(speech_folder())
    with serving(home, VOICED + real_config(weights)) as server:
        yield server


def speech_folder() -> Path:
    """Where voices, lexicons and the recogniser lie, fetched if they are not there."""
    settings = read_settings({k: v for k, v in os.environ.items() if k == "ANTIPHON_HOME"} | {"ANTIPHON_SPEECH": "1"})
    return pull_speech(settings)
