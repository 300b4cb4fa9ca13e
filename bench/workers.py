"""What a second worker is worth, where there are not the four cores that load, upstream and two workers would fill.

    python -m bench.workers [--rounds N] [--seconds S]

Every worker has half a core: two of them share one; a single one shares it with a program that does nothing but want
it. Load and upstream have another. What counts is how much is answered in a second of processor time, so that it does
not matter whether the halves are equal.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

import psutil

from bench.gateways import SECONDS, Gateway, antiphon, pin, started

CONNECTIONS = 32
"""Of each worker."""


def processor_s(pid: int) -> float:
    """How much processor time a server and its workers have had."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def efficiency(gateway: Gateway, connections: int, seconds: float, *, is_streamed: bool) -> float:
    """How many requests are answered in a second of processor time."""
    before = processor_s(gateway.pid)
    loaded = gateway.load(connections, seconds, is_streamed=is_streamed)
    return loaded.requests_per_s * seconds / (processor_s(gateway.pid) - before)


@contextlib.contextmanager
def busy(core: int) -> Iterator[None]:
    """Keep half of a core from who else is there, for the body."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    pin(process.pid, core)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def in_turn(gateways: dict[int, Gateway], rounds: int, seconds: float, *, is_streamed: bool) -> list[tuple[float, ...]]:
    """Load one worker and two in turn; give what they answer in a second of processor time, round by round."""
    seen = []
    for turn in range(rounds + 1):
        answered = {}
        for workers in (1, 2) if turn % 2 else (2, 1):
            connections = workers * CONNECTIONS
            with busy(0) if workers == 1 else contextlib.nullcontext():
                answered[workers] = efficiency(gateways[workers], connections, seconds, is_streamed=is_streamed)
        if turn:  # the first is a warm-up
            seen.append((answered[1], answered[2]))
    return seen


def measure(rounds: int = 5, seconds: float = SECONDS) -> list[tuple[str, str]]:
    """Give the rows of the report."""
    rows = []
    with contextlib.ExitStack() as stack:
        mock, told = stack.enter_context(started([sys.executable, "-m", "bench.mock"], r"mock on port (\d+)"))
        gateways = {
            workers: stack.enter_context(antiphon(int(told), f"[server]\nworkers = {workers}\n")) for workers in (1, 2)
        }
        for pid, core in ((mock.pid, 1), (os.getpid(), 1), *((gateway.pid, 0) for gateway in gateways.values())):
            pin(pid, core)
        for what, is_streamed in (("requests", False), ("streams of 67 events", True)):
            seen = in_turn(gateways, rounds, seconds, is_streamed=is_streamed)
            one, two = (statistics.median(side) for side in zip(*seen, strict=True))
            told = f"{2 * two / one:.2f} × one ({two:.0f} against {one:.0f} a processor's second)"
            row = (f"two workers, {what}", told)
            print(*row, sep=": ", flush=True)
            rows.append(row)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    chosen = parser.parse_args()
    measure(chosen.rounds, chosen.seconds)
