"""What writing every prediction down costs: the same server with and without, in turn, on the scripted engine.

python -m bench.recording [--rounds N] [--seconds S]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.load import drive

CONFIG = """
[store]
record = {record}
[models."bench/hello"]
slots = 128
queue = 1000
[[models."bench/hello".versions]]
number = 1
engine = "scripted"
"""
KEY = "sk-bench"
SECONDS = 4.0
"""How long a round takes."""
BODY = {"model": "bench/hello", "messages": [{"role": "user", "content": "Say hello to the world, please."}]}


@contextmanager
def server(config: str, home: Path, *command: str) -> Iterator[tuple[int, subprocess.Popen]]:
    """A server with a configuration; gives its port. `command` runs it, if it is not `antiphon serve`."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "antiphon.toml").write_text(config)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    own = {"ANTIPHON_HOME": str(home), "ANTIPHON_CONFIG": str(home / "antiphon.toml"), "ANTIPHON_API_KEY": KEY}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *(command or ("antiphon.cli", "serve"))],
            env=kept | own | {"ANTIPHON_PORT": "0"},
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        while "base URL" not in (line := process.stdout.readline().decode()):
            assert line or process.poll() is None, (home / "log").read_text()
        yield int(line.rsplit(":", 1)[1].split("/")[0]), process
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    chosen = parser.parse_args()
    measure(chosen.rounds, chosen.seconds)


def measure(rounds: int, seconds: float = SECONDS) -> list[tuple[str, str]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        server(CONFIG.format(record="true"), Path(folder) / "on") as (on, _),
        server(CONFIG.format(record="false"), Path(folder) / "off") as (off, _),
    ):
        return [compare(on, off, connections, rounds, seconds) for connections in (1, 16, 64)]


def compare(on: int, off: int, connections: int, rounds: int, seconds: float) -> tuple[str, str]:
    """Give the ratio of requests/s, round by round in turn."""
    seen: dict[int, list] = {on: [], off: []}
    for turn in range(rounds + 1):
        for port in (on, off) if turn % 2 else (off, on):
            loaded = drive(port, KEY, BODY, connections, seconds if turn else 1)
            assert not loaded.failed
            if turn:
                seen[port].append(loaded)
    ratios = [mine.requests_per_s / base.requests_per_s for mine, base in zip(seen[on], seen[off], strict=True)]
    with_, without = (statistics.median(one.requests_per_s for one in seen[port]) for port in (on, off))
    p99 = [statistics.median(one.p99_ms for one in seen[port]) for port in (on, off)]
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    name = f"requests/s with against without recording, {connections} connections"
    value = f"{statistics.median(ratios):.2f} × ({with_:.0f} against {without:.0f}; rounds {each})"
    told = (name, f"{value}; p99 {p99[0]:.1f} against {p99[1]:.1f} ms")
    print(*told, sep=": ", flush=True)
    return told


if __name__ == "__main__":
    main()
