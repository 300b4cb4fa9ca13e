"""How many threads for one token and for larger steps, and how long idle ones spin.

Tokens/s of 1 and 4 streams, idle and with one core busy:

    python -m bench.threads

docs/threads.md explains the default that came of it.
"""

import os

from bench.__main__ import TOKENS, _busy_core, story
from bench.client import Target, median, together
from bench.servers import Threads, antiphon

ROUNDS = 3


def speed(target: Target, count: int) -> float:
    return median(
        [together(target, [story(100 * turn + i) for i in range(count)], TOKENS)[0] for turn in range(ROUNDS)]
    )


def main() -> None:
    print("threads  batch  spin count  1 idle  4 idle  1 busy  4 busy   tokens/s")
    for threads in (Threads(1, 1), Threads(1, 2), Threads(2, 2)):
        for spins in ("1000", "0") if threads.batch > 1 else ("0",):
            os.environ["GOMP_SPINCOUNT"] = spins
            with antiphon(threads) as (target, _):
                together(target, [story(0)], 16)
                idle = [speed(target, count) for count in (1, 4)]
                with _busy_core():
                    busy = [speed(target, count) for count in (1, 4)]
            print(
                f"{threads.one:7}  {threads.batch:5}  {spins:>10}",
                *(f"{value:7.0f}" for value in (*idle, *busy)),
                flush=True,
            )


main()
