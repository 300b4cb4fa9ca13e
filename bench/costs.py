"""Where a request's microseconds go: CPU of the server process beside the floor's, and of it each room's part.

    python -m bench.costs [--seconds S]

Asked over 16 connections, the server on one core, the mock and whoever asks on the other. What is measured is CPU time:
waiting counts for nothing, and what the kernel does for a system call counts for the process that made it.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import psutil

from bench.gateways import Gateway, antiphon, floor, pin, started
from bench.sampled import TOLD

CONNECTIONS = 16
SECONDS = 4.0
REPORT = Path(__file__).parents[1] / "docs" / "performance.md"
ROOMS = (
    ("HTTP to and from the client", r"api/(protocol|exchange|heads|deadline|server|app)$|^$"),
    ("its id, key and log line", r"api/front|store/keys|^log$"),
    ("limits", r"core/limits|core/spending|domain/limits"),
    (
        "reading and checking what is asked",
        r"wire/(chat_|json_in|message|faults|media_in|schema)|api/(calls|incoming)|domain/(chat|sampling|tools)",
    ),
    ("the prediction: slots, deadline, state", r"core/|domain/prediction|api/(chat|repeats|sources|pulse)"),
    ("HTTP to and from the upstream", r"engines/upstream/(connection|client|calling|endpoints)"),
    ("the upstream's words, written and read", r"engines/upstream|domain/events"),
    ("the answer as JSON or frames", r"wire/|api/(replies|answer)"),
    ("the record, until a thread has it", r"store/"),
    ("metrics", r"meters/"),
)
"""Each part, and the files that are it; the first that fits counts. Frames none of which is ours are the loop's."""
WHAT = {"a whole answer": False, "a stream of 67 events": True}


def _cpu_us(pid: int) -> tuple[float, float]:
    """CPU of a process so far, and of its main thread."""
    process = psutil.Process(pid)
    whole = process.cpu_times()
    (first,) = (one for one in process.threads() if one.id == pid)
    return 1e6 * (whole.user + whole.system), 1e6 * (first.user_time + first.system_time)


def _cost(gateway: Gateway, seconds: float, *, is_streamed: bool) -> tuple[float, float]:
    """CPU a request takes in all, and in the main thread, in microseconds."""
    before = _cpu_us(gateway.pid)
    loaded = gateway.load(CONNECTIONS, seconds, is_streamed=is_streamed)
    after = _cpu_us(gateway.pid)
    assert not loaded.failed, f"{loaded.failed} failed"
    return (after[0] - before[0]) / loaded.count, (after[1] - before[1]) / loaded.count


def _parts(gateway: Gateway, seconds: float, *, is_streamed: bool) -> dict[str, float]:
    """The share of each part in the main thread."""
    told = gateway.home / TOLD
    told.unlink(missing_ok=True)
    os.kill(gateway.pid, signal.SIGUSR1)
    gateway.load(CONNECTIONS, seconds, is_streamed=is_streamed)
    os.kill(gateway.pid, signal.SIGUSR2)
    while not told.exists():
        time.sleep(0.01)
    seen: dict[str, int] = json.loads(told.read_text())
    shares = dict.fromkeys((name for name, _ in ROOMS), 0.0)
    for path, count in seen.items():
        name = next((name for name, files in ROOMS if re.search(files, path)), "the prediction: slots, deadline, state")
        shares[name] += count / sum(seen.values())
    return shares


def measure(seconds: float = SECONDS) -> list[tuple[str, ...]]:
    """Give the rows of the table: a part, and for each kind of answer its microseconds."""
    columns: list[dict[str, float]] = []
    with contextlib.ExitStack() as stack:
        mock, told = stack.enter_context(started([sys.executable, "-m", "bench.mock"], r"mock on port (\d+)"))
        ours = stack.enter_context(antiphon(int(told), "", "bench.sampled"))
        base = stack.enter_context(floor(int(told)))
        pin(mock.pid, 1)
        pin(os.getpid(), 1)
        pin(ours.pid, 0)
        pin(base.pid, 0)
        for is_streamed in WHAT.values():
            ours.load(CONNECTIONS, 2, is_streamed=is_streamed)
            whole, main = _cost(ours, seconds, is_streamed=is_streamed)
            shares = _parts(ours, seconds, is_streamed=is_streamed)
            column = {name: share * main for name, share in shares.items()}
            column["the record, in its thread: rows and SQLite"] = whole - main
            column["in all"] = whole
            column["the floor, in the same run"] = _cost(base, seconds, is_streamed=is_streamed)[0]
            columns.append(column)
    rows = [(name, *(f"{column[name]:.0f}" for column in columns)) for name in columns[0]]
    for row in rows:
        print(*row, sep="\t", flush=True)
    return rows


def write(rows: list[tuple[str, ...]], about: str) -> None:
    """Put the table into docs/performance.md."""
    lines = [
        about,
        "",
        f"| µs of CPU for | {' | '.join(WHAT)} |",
        "|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    before, begin, rest = REPORT.read_text().partition("<!-- costs -->\n")
    _, end, behind = rest.partition("<!-- end -->")
    REPORT.write_text(before + begin + "\n".join(lines) + "\n" + end + behind)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    measure(parser.parse_args().seconds)
