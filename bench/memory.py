"""Whether a server grows: its memory, open files and tasks over many requests, every prediction recorded.

python -m bench.memory [--requests N]
"""

import argparse
import asyncio
import os
import signal
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.inside import TOLD
from bench.load import Link
from bench.recording import CONFIG, KEY, server

REQUESTS = 50_000
WARM_UP = 10_000
EVERY = 5_000
CONNECTIONS = 20
STREAMED = 0.5
FLAT_KIB = 50.0
"""Per 1,000 requests, which is less than any object that each of them could leave behind. Allocators take memory in
steps of a megabyte, so that less cannot be told from nothing."""
WORDS = "Say hello to the world, please."


@dataclass(frozen=True)
class Seen:
    """How the server was after some requests."""

    requests: int
    rss_kib: int
    files: int
    tasks: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    measure(parser.parse_args().requests)


def measure(requests: int = REQUESTS) -> list[tuple[str, str]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        server(CONFIG.format(record="true"), Path(folder), "bench.inside") as (port, process),
    ):
        seen = asyncio.run(_run(port, process.pid, Path(folder), requests))
    later = [one for one in seen if one.requests >= WARM_UP]
    slope, _ = statistics.linear_regression([one.requests / 1000 for one in later], [one.rss_kib for one in later])
    first, last = later[0], later[-1]
    is_flat = slope < FLAT_KIB and last.files <= first.files and last.tasks <= first.tasks
    spread = ", ".join(f"{one.rss_kib / 1024:.1f}" for one in seen)
    grown = f"{slope:+.1f} KiB per 1,000 requests, {'flat' if is_flat else 'GROWS'} (MiB every {EVERY}: {spread})"
    rows = [
        (f"memory from {first.requests} to {last.requests} requests", grown),
        ("open files and tasks, before and after", f"{first.files} to {last.files}, {first.tasks} to {last.tasks}"),
    ]
    for name, value in rows:
        print(f"{name}: {value}", flush=True)
    return rows


async def _run(port: int, pid: int, home: Path, requests: int) -> list[Seen]:
    seen = []
    for done in range(EVERY, requests + EVERY, EVERY):
        await asyncio.gather(*[_some(port, EVERY // CONNECTIONS) for _ in range(CONNECTIONS)])
        await asyncio.sleep(1)  # What was under way has ended, and connections are closed on both sides.
        process = psutil.Process(pid)
        tasks = tasks_of(pid, home)
        seen.append(Seen(done, process.memory_info().rss // 1024, process.num_fds(), tasks))
    return seen


async def _some(port: int, count: int) -> None:
    """A connection of its own, half of its requests streams."""
    link = Link(port, KEY)
    body = {"model": "bench/hello", "messages": [{"role": "user", "content": WORDS}]}
    kinds = [link.request("/v1/chat/completions", body | {"stream": streams}) for streams in (False, True)]
    for number in range(count):
        status, _, _ = await link.send(kinds[number % 2])
        assert status == 200
    link.close()


def tasks_of(pid: int, home: Path) -> int:
    told = home / TOLD
    told.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    while not told.exists():
        time.sleep(0.01)
    return int(told.read_text())


if __name__ == "__main__":
    main()
