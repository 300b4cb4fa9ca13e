"""Antiphon measured: against llama.cpp's own server core, and against itself.

    python -m bench [--only PART …] [--threads N] [--batch-threads N] [--rounds N] [--minutes M] [--write]

The parts are `answers` (against llama.cpp's server: same weights, threads and prompts, in turn, in one run), and
`gateways`, `costs`, `workers`, `speech`, `recording`, `traces`, `history` and `memory`, each explained in its module.
Ratios are of medians taken side by side, since machines are noisy. `soak` runs only where it is named: it takes 5
minutes, or as many as `--minutes` says, and a release is held to 30. `--write` puts what was measured into
docs/benchmarks.md, or `costs` into docs/performance.md, and leaves its other parts alone.
"""

import argparse
import contextlib
import os
import platform
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import psutil

from bench import contract, costs, gateways, history, memory, recording, soak, speech, tracing, workers
from bench.client import Target, median, quantile, stream, together
from bench.servers import Threads, antiphon, baseline

TOKENS = 128
LONG_TOKENS = 6000
LONG_S = 12.0
"""How long the streams beside a long prompt are watched."""
REPORT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PARTS = {
    "answers": "Answers",
    "gateways": "In front of an upstream, beside other gateways",
    "costs": "Where a request's microseconds go",
    "workers": "A second worker",
    "speech": "Speaking and hearing",
    "recording": "What recording costs",
    "traces": "What tracing costs",
    "history": "A million predictions",
    "memory": "Memory",
    "soak": "A long time at half load",
}
"""What can be measured, and its title in the report."""

Rows = list[tuple[str, ...]]


def story(number: int) -> str:
    return f"Write story number {number} about a lighthouse keeper and the sea. Make it long, with storms and ships."


def show(rows: Rows) -> None:
    for name, value in rows:
        print(f"{name}: {value}", flush=True)


def fresh() -> int:
    """A number to begin stories with that no earlier run has used."""
    return int(time.time()) % 100_000 * 1000


def in_turn(targets: list[Target], rounds: int, count: int, tokens: int) -> tuple[list[float], list[float]]:
    """Run `count` streams at once against each target in turn; give each one's median tokens/s and first-token ms."""
    number = fresh()
    speeds: dict[str, list[float]] = {target.name: [] for target in targets}
    firsts: dict[str, list[float]] = {target.name: [] for target in targets}
    for turn in range(rounds + 1):
        for target in targets if turn % 2 else targets[::-1]:
            number += count
            speed, streams = together(target, [story(number + place) for place in range(count)], tokens)
            if turn:  # the first is a warm-up
                speeds[target.name].append(speed)
                firsts[target.name] += [1000 * seen.first_s for seen in streams]
    return [median(speeds[target.name]) for target in targets], [median(firsts[target.name]) for target in targets]


def throughput(targets: list[Target], rounds: int) -> Rows:
    """Tokens per second at 1, 4 and 8 streams, and the time to the first token."""
    rows = []
    for count in (1, 4, 8):
        (ours, theirs), (first, their_first) = in_turn(targets, rounds, count, TOKENS)
        if count == 1:  # one sample a round is too few for a difference of milliseconds
            first, their_first = in_turn(targets, 4 * rounds, 1, 2)[1]
        rows.append(
            (f"tokens/s, {count} × {TOKENS} tokens at once", f"{ours / theirs:.2f} × ({ours:.0f} against {theirs:.0f})")
        )
        rows.append(
            (
                f"time to first token, {count} at once, p50",
                f"{first - their_first:+.0f} ms ({first:.0f} against {their_first:.0f})",
            )
        )
        show(rows[-2:])
    return rows


def beside_a_long_prompt(target: Target) -> float:
    """The p99 wait between tokens of two streams while a long prompt is being read beside them, in ms."""
    stop = threading.Event()
    prompt = f"{time.time()} " + "We sailed on. " * (LONG_TOKENS // 4)
    with ThreadPoolExecutor(3) as pool:
        begun = time.perf_counter()
        streams = [pool.submit(stream, target, story(number), 2000, stop) for number in range(2)]
        time.sleep(2.0)
        long_from = time.perf_counter() - begun
        reader = pool.submit(stream, target, prompt, 1, stop)
        time.sleep(LONG_S)
        stop.set()
        seen = [running.result() for running in streams]
        now = time.perf_counter() - begun
        reader.result()
    # A stream that hears nothing at all has no gaps: the wait that is still running counts too.
    gaps = [gap for one in seen for gap in [*one.gaps(long_from), now - max([long_from, *one.arrivals])]]
    return 1000 * quantile(gaps, 0.99)


def busy_share(target: Target, rounds: int) -> tuple[float, float]:
    """Tokens per second of one stream on the idle machine, and with one core kept busy by another program."""
    idle = median([together(target, [story(7000 + turn)], TOKENS)[0] for turn in range(rounds)])
    with _busy_core():
        busy = median([together(target, [story(8000 + turn)], TOKENS)[0] for turn in range(rounds)])
    return idle, busy


@contextlib.contextmanager
def _busy_core():
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(threads: Threads, rounds: int) -> Rows:
    with antiphon(threads) as (ours, pid), baseline(threads) as theirs:
        rows = throughput([ours, theirs], rounds)
        idle, busy = busy_share(ours, rounds)
        rows.append(
            ("one stream with one core kept busy, against idle", f"{busy / idle:.2f} × ({busy:.0f} against {idle:.0f})")
        )
        # Last, since the other server goes on reading its prompt for a minute after its client has left.
        gaps = [beside_a_long_prompt(target) for target in (ours, theirs)]
        rows.append(
            (
                "wait between tokens beside a 6,000-token prompt, p99",
                f"{gaps[0]:.0f} ms against {gaps[1]:.0f} ms",
            )
        )
        resident = psutil.Process(pid).memory_info().rss / 1e6
        rows.append(("server process, without the engine child", f"{resident:.0f} MB resident"))
    show(rows[-3:])
    own = contract.measure(threads, rounds)
    show(own)
    return rows + own


def write(part: str, rows: Rows, intro: str) -> None:
    """Put what was measured into its part of the report; the others stay."""
    head, *parts = re.split("^## ", REPORT.read_text(), flags=re.MULTILINE)
    kept = dict(part.split("\n", 1) for part in parts)
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    kept[PARTS[part]] = f"{intro}\n\n| what | how much |\n|---|---|\n{table}"
    written = [f"## {title}\n\n{kept[title].strip()}\n" for title in PARTS.values() if title in kept]
    REPORT.write_text("\n".join([head.strip() + "\n", *written]))


def about(threads: Threads, rounds: int) -> dict[str, str]:
    """Say for each part on what, and how, it was measured."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    versions = ", ".join(f"{name} {version(name)}" for name in ("antiphon", "xllamacpp", "uvicorn", "sqlalchemy"))
    both = f"{machine};\n{versions}"
    steps = f"{threads.one} thread for a step of one token, {threads.batch} for larger ones"
    return dict.fromkeys(PARTS, f"{both}.") | {
        "answers": f"{both}; medians of {rounds} rounds;\n{steps}.",
        "speech": f"{both};\nmedians of {speech.ROUNDS} rounds; {steps}; one for the voice, one for the recogniser.",
        "gateways": f"{both}, aiohttp {version('aiohttp')}, {gateways.LITELLM},\n"
        f"{gateways.PORTKEY}; medians of {rounds} rounds; each server is one process on one core, the mock and whoever "
        "asks share\nthe other; Antiphon runs with keys, limits, validation, records, metrics and log lines.",
        "recording": f"{both}; medians of {rounds} rounds.",
        "traces": f"{both}; medians of {rounds} rounds.",
        "workers": f"{both}; medians of {rounds} rounds;\neach worker has half a core and {workers.CONNECTIONS} "
        "connections, the mock and whoever asks share another core.",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=[part for part in PARTS if part != "soak"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=soak.MINUTES, help="of the soak")
    parser.add_argument("--peers", type=Path, default=gateways.PEERS, help="where other gateways are installed")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    threads = Threads(options.threads, options.batch_threads)
    measures: dict[str, Callable[[], Rows]] = {
        "answers": lambda: measure(threads, options.rounds),
        "gateways": lambda: gateways.measure(options.rounds, peers=options.peers),
        "costs": lambda: costs.measure(costs.SECONDS),
        "workers": lambda: workers.measure(options.rounds),
        "speech": lambda: speech.measure(threads),
        "recording": lambda: recording.measure(options.rounds),
        "traces": lambda: tracing.measure(options.rounds),
        "history": lambda: [row for store in history.STORES for row in history.measure(store)],
        "memory": memory.measure,
        "soak": lambda: soak.measure(options.minutes),
    }
    for part in options.only:
        rows = measures[part]()
        if options.write and part == "costs":
            costs.write(rows, about(threads, options.rounds)[part])
        elif options.write:
            write(part, rows, about(threads, options.rounds)[part])


if __name__ == "__main__":
    main()
