"""What a trace of every prediction costs: the same server without, with a tenth and with all of them, in turn.

python -m bench.tracing [--rounds N] [--seconds S]

The collector is bench/mock.py, which takes whatever it is sent.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
from pathlib import Path

import psutil

from bench.gateways import started
from bench.load import drive
from bench.recording import BODY, CONFIG, KEY, SECONDS, server

RATIOS = {"none": None, "a tenth": 0.1, "all": 1.0}
CONNECTIONS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    chosen = parser.parse_args()
    measure(chosen.rounds, chosen.seconds)


def measure(rounds: int, seconds: float = SECONDS) -> list[tuple[str, str]]:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        mock = [sys.executable, "-m", "bench.mock"]
        _, collector = stack.enter_context(started(mock, r"mock on port (\d+)"))
        servers = {
            name: stack.enter_context(server(_config(ratio, collector), Path(folder) / name))
            for name, ratio in RATIOS.items()
        }
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in servers}
        for turn in range(rounds + 1):
            for name in servers if turn % 2 else reversed(servers):
                port, process = servers[name]
                told = _one(port, process.pid, seconds if turn else 1)
                if turn:
                    seen[name].append(told)
    rows = [_row(name, seen) for name in seen]
    for row in rows:
        print(*row, sep=": ", flush=True)
    return rows


def _config(ratio: float | None, collector: str) -> str:
    traces = f'[traces]\notlp_url = "http://127.0.0.1:{collector}"\nsample_ratio = {ratio}\n'
    return (traces if ratio is not None else "") + CONFIG.format(record="true")


def _one(port: int, pid: int, seconds: float) -> tuple[float, float]:
    """Give requests/s, and the microseconds of CPU that the server took for each."""
    process = psutil.Process(pid)
    before = sum(process.cpu_times()[:2])
    loaded = drive(port, KEY, BODY, CONNECTIONS, seconds)
    assert not loaded.failed
    took = sum(process.cpu_times()[:2]) - before
    return loaded.requests_per_s, took / (loaded.requests_per_s * seconds) * 1e6


def _row(name: str, seen: dict[str, list[tuple[float, float]]]) -> tuple[str, str]:
    rate, cpu_us = (statistics.median(values) for values in zip(*seen[name], strict=True))
    more = [mine[1] - base[1] for mine, base in zip(seen[name], seen["none"], strict=True)]
    added = f", {statistics.median(more):+.0f} µs" if name != "none" else ""
    return (
        f"CPU for a request, {name} traced, {CONNECTIONS} connections",
        f"{cpu_us:.0f} µs{added}; {rate:.0f} a second",
    )


if __name__ == "__main__":
    main()
