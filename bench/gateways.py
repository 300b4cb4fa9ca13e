"""Gateways side by side before one mock: Antiphon, the floor of bench/floor.py, and peers in environments of their own.

    python -m bench.gateways [--rounds N] [--seconds S] [--peers DIR]

Every server has one process on one core; the mock and whoever asks share the other. Antiphon runs with everything on:
keys with limits, validation, records, metrics, log lines. Peers are installed once, into `--peers` (`.bench` here).
"""

import argparse
import contextlib
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.load import Loaded, drive
from bench.recording import server

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".bench"
SECONDS = 3.0
READY_S = 90.0
BODY = {"messages": [{"role": "user", "content": "Say hello to the world, please."}]}
LITELLM = "litellm[proxy]==1.108.7"
LITELLM_KEY = "sk-bench-0123456789abcdef0123456789abcdef"
PORTKEY = "@portkey-ai/gateway@1.15.2"
LIMITS = (
    "requests_per_s=1000000",
    "concurrent=100000",
    "tokens_per_minute=100000000000",
    "tokens_per_month=100000000000000",
)


@dataclass(frozen=True)
class Gateway:
    """A server before the mock."""

    name: str
    port: int
    pid: int
    model: str
    key: str = "none"
    headers: Mapping[str, str] = field(default_factory=dict)
    streams: bool = True
    """Whether it streams; Portkey's answers the mock's streams with 500."""
    home: Path = Path()
    """Antiphon's data directory."""

    def load(self, connections: int, seconds: float, *, is_streamed: bool) -> Loaded:
        body = BODY | {"model": self.model} | ({"stream": True} if is_streamed else {})
        return drive(self.port, self.key, body, connections, seconds, headers=self.headers)


def pin(pid: int, core: int) -> None:
    """Keep a process, and what it starts, on one core."""
    if (os.cpu_count() or 1) < 2:
        return
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        for thread in process.threads():
            with contextlib.suppress(OSError):
                os.sched_setaffinity(thread.id, {core})


@contextlib.contextmanager
def started(
    command: list[str], marker: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen, str]]:
    """Run a server for the body; give it and what `marker` finds in what it says."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=os.environ | (environment or {}),
    )
    try:
        said = ""
        while not (found := re.search(marker, said)):
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{command[0]} ended: {said[-500:]}")
            said += line
        yield process, found[1]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def listening(
    command: list[str], port: int, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen]:
    """Run a server for the body, once it takes connections."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, env=os.environ | (environment or {})
    )
    try:
        end = time.monotonic() + READY_S
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                time.sleep(1)  # what listens may not be ready yet
                break
            time.sleep(0.2)
        else:
            raise RuntimeError(f"{command[0]} does not start")
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def antiphon(mock: int, more: str = "", *command: str) -> Iterator[Gateway]:
    """Run Antiphon, with more in its configuration; `command` runs it, if it is not `antiphon serve`."""
    config = f"""
[models."bench/mock"]
slots = 128
queue = 10000
[[models."bench/mock".versions]]
number = 1
engine = "upstream"
base_url = "http://127.0.0.1:{mock}/v1"
model = "mock"
kind = "openai"
"""
    with tempfile.TemporaryDirectory() as folder, server(config + more, Path(folder), *command) as (port, process):
        limits = [f"--limit={limit}" for limit in LIMITS]
        where = os.environ | {"ANTIPHON_HOME": folder, "ANTIPHON_CONFIG": str(Path(folder, "antiphon.toml"))}
        command = [sys.executable, "-m", "antiphon.cli", "keys", "create", "--account", "bench", *limits]
        made = subprocess.run(command, env=where, capture_output=True, text=True, check=True)
        key = made.stdout.splitlines()[-1]
        yield Gateway("Antiphon", port, process.pid, "bench/mock", key, home=Path(folder))


@contextlib.contextmanager
def floor(mock: int) -> Iterator[Gateway]:
    with started([sys.executable, "-m", "bench.floor", str(mock)], r"floor on port (\d+)") as (process, port):
        yield Gateway("floor", int(port), process.pid, "mock")


@contextlib.contextmanager
def litellm(mock: int, peers: Path) -> Iterator[Gateway]:
    """LiteLLM's proxy, one worker, without a database."""
    home = peers / "litellm"
    if not (home / ".installed").exists():
        venv.create(home, with_pip=True)
        subprocess.run([home / "bin" / "python", "-m", "pip", "install", "--quiet", LITELLM], check=True)
        (home / ".installed").touch()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(
            "model_list:\n- model_name: mock\n  litellm_params:\n    model: openai/mock\n    api_key: none\n"
            f"    api_base: http://127.0.0.1:{mock}/v1\n"
        )
        port = _free_port()
        command = [str(home / "bin" / "litellm"), "--config", str(config), "--port", str(port), "--num_workers", "1"]
        with listening(command, port, {"LITELLM_LOG": "ERROR", "LITELLM_MASTER_KEY": LITELLM_KEY}) as process:
            yield Gateway("LiteLLM", port, process.pid, "mock", LITELLM_KEY)


@contextlib.contextmanager
def portkey(mock: int, peers: Path) -> Iterator[Gateway]:
    """Portkey's gateway on Node.js."""
    home = peers / "portkey"
    if not (home / "node_modules").exists():
        home.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", PORTKEY], cwd=home, check=True)
    port = _free_port()
    script = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    with listening(["node", str(script), f"--port={port}", "--headless"], port) as process:
        headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{mock}/v1"}
        yield Gateway("Portkey", port, process.pid, "mock", headers=headers, streams=False)


def _free_port() -> int:
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        port: int = link.getsockname()[1]
        return port


def in_turn(
    gateways: list[Gateway], connections: int, rounds: int, seconds: float, *, is_streamed: bool
) -> dict[str, Loaded]:
    """Load each in turn, round by round; give each one's medians. What fails is no answer and is told."""
    seen: dict[str, list[Loaded]] = {gateway.name: [] for gateway in gateways}
    for turn in range(rounds + 1):
        for gateway in gateways if turn % 2 else gateways[::-1]:
            loaded = gateway.load(connections, seconds if turn else 1, is_streamed=is_streamed)
            if turn:  # the first is a warm-up
                seen[gateway.name].append(loaded)
    middle: Callable[[str, list[Loaded]], float] = lambda name, runs: statistics.median(  # noqa: E731
        getattr(run, name) for run in runs
    )
    return {
        name: Loaded(
            middle("requests_per_s", runs),
            middle("p50_ms", runs),
            middle("p99_ms", runs),
            sum(run.failed for run in runs),
            sum(run.count for run in runs),
        )
        for name, runs in seen.items()
    }


def measure(rounds: int = 3, seconds: float = SECONDS, peers: Path = PEERS) -> list[tuple[str, str]]:
    """Give the rows of the report."""
    rows = []
    with contextlib.ExitStack() as stack:
        mock, told = stack.enter_context(started([sys.executable, "-m", "bench.mock"], r"mock on port (\d+)"))
        port = int(told)
        gateways = [stack.enter_context(make(port)) for make in (antiphon, floor)]
        gateways += [stack.enter_context(make(port, peers)) for make in (litellm, portkey)]
        pin(mock.pid, 1)
        pin(os.getpid(), 1)
        for gateway in gateways:
            pin(gateway.pid, 0)
        direct = Gateway("mock", port, mock.pid, "mock")
        for what, is_streamed in (("requests/s", False), ("streams of 67 events/s", True)):
            asked = [direct, *(gateway for gateway in gateways if gateway.streams or not is_streamed)]
            for connections in (1, 16, 64):
                rows += _row(what, connections, in_turn(asked, connections, rounds, seconds, is_streamed=is_streamed))
    return rows


def _row(what: str, connections: int, seen: dict[str, Loaded]) -> list[tuple[str, str]]:
    ours, base = seen["Antiphon"], seen.pop("mock")
    told = [f"{ours.requests_per_s:.0f}"]
    for name, loaded in seen.items():
        if name != "Antiphon":
            failed = f", {loaded.failed} failed" if loaded.failed else ""
            ratio = ours.requests_per_s / loaded.requests_per_s
            told.append(f"{ratio:.2f} × {name} ({loaded.requests_per_s:.0f}{failed})")
    told.append(
        f"p50 {ours.p50_ms:.1f} ms, p99 {ours.p99_ms:.1f} ms" + (f", {ours.failed} failed" if ours.failed else "")
    )
    rows = [(f"{what}, {connections} at once", "; ".join(told))]
    if connections == 1:
        added = f"p50 {ours.p50_ms - base.p50_ms:.2f} ms, p99 {ours.p99_ms - base.p99_ms:.2f} ms"
        rows.append((f"added to a bare upstream, {what.split('/', maxsplit=1)[0]}, one at a time", added))
    for row in rows:
        print(*row, sep=": ", flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--peers", type=Path, default=PEERS)
    chosen = parser.parse_args()
    measure(chosen.rounds, chosen.seconds, chosen.peers)
