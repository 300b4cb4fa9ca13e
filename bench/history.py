"""What a million predictions in the store cost those who read, and those who ask while old ones are removed.

    python -m bench.history [--rows N] [--store sqlite|postgresql]

One account has nine tenths of them, one in twenty is a stored completion. Each figure is the p50 and p99 of requests
one after the other to a real server, once with nothing else going on and once beside 50 new predictions a second.
"""

import argparse
import asyncio
import base64
import random
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path

import asyncpg
from tests.postgres import postgres_server

from bench.filling import APART, COMMON_MODEL, COMMON_PAIR, RARE_MODEL, RARE_PAIR, RARE_STATUS, SPAN_S, Filled, fill
from bench.load import Link, Steady, quantiles_ms
from bench.recording import KEY, server

STORES = ("sqlite", "postgresql")
ROWS = 1_000_000
EXCESS = 0.1
"""Which share of them retention has to remove."""
PER_S = 50
ASKED = 300
"""How often each question is asked."""
CONFIG = """
[store]
url = "{url}"
retain_rows = {retain}
[models."bench/hello"]
slots = 128
queue = 1000
[[models."bench/hello".versions]]
number = 1
engine = "scripted"
script = {{ tokens = ["{text}"] }}
[models."bench/rare"]
[[models."bench/rare".versions]]
number = 1
engine = "scripted"
"""
TEXT = "And the keeper wrote down every ship that passed. " * 12
BODY = {"model": COMMON_MODEL, "messages": [{"role": "user", "content": TEXT}]}

Rows = list[tuple[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--store", choices=STORES)
    chosen = parser.parse_args()
    for store in [chosen.store] if chosen.store else STORES:
        measure(store, chosen.rows)


def measure(store: str, rows: int = ROWS) -> Rows:
    """Give the figures of one kind of store."""
    with _database(store) as url, tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        config = partial(CONFIG.format, url=url, text=TEXT)
        with server(config(retain=10 * rows), home):
            pass  # It makes the schema.
        begun = time.perf_counter()
        filled = fill(url, home, rows)
        print(f"{store}: {rows} predictions in {time.perf_counter() - begun:.0f} s", flush=True)
        with server(config(retain=10 * rows), home) as (port, _):
            found = asyncio.run(_read(store, port, filled))
        with server(config(retain=int(rows * (1 - EXCESS))), home) as (port, _):
            return found + asyncio.run(_retain(store, port, url, home, rows))


@contextmanager
def _database(store: str) -> Iterator[str]:
    if store == "sqlite":
        yield "sqlite:///antiphon.db"
    else:
        with postgres_server() as new_database:
            yield new_database()


# -- reading


def _questions(filled: Filled) -> dict[str, Callable[[], str]]:
    """What is asked, by name."""
    place, last = "{}-{}".format(*filled.middle), f"chatcmpl-{filled.stored_middle}"
    cursor = {way: base64.urlsafe_b64encode(f"{way}{place}".encode()).decode() for way in "np"}
    listed, stored = "/v1/predictions?page_size=50", "/v1/chat/completions?limit=100"
    by = "{}&metadata[{}]={}".format
    fixed = {
        "list, first page": listed,
        "list, in the middle": f"{listed}&cursor={cursor['n']}",
        "list, in the middle, backwards": f"{listed}&cursor={cursor['p']}",
        "list by a rare status": f"{listed}&statuses={RARE_STATUS}",
        "list by a rare status, in the middle": f"{listed}&statuses={RARE_STATUS}&cursor={cursor['n']}",
        "list by three statuses": f"{listed}&statuses=failed&statuses=cancelled&statuses=succeeded",
        "list by a status nobody is in": f"{listed}&statuses=pending",
        "stored, first page": stored,
        "stored, in the middle": f"{stored}&after={last}",
        "stored, in the middle, newest first": f"{stored}&after={last}&order=desc",
        "stored by a common pair": by(stored, *COMMON_PAIR),
        "stored by a common pair, in the middle": by(f"{stored}&after={last}", *COMMON_PAIR),
        "stored by a rare pair": by(stored, *RARE_PAIR),
        "stored by a common and a rare pair": by(by(stored, *COMMON_PAIR), *RARE_PAIR),
        "stored by two common pairs that never meet": by(by(stored, *APART[0]), *APART[1]),
        "stored by a common model": f"{stored}&model={COMMON_MODEL}",
        "stored by a rare model": f"{stored}&model={RARE_MODEL}",
        "stored by a rare model and a common pair": by(f"{stored}&model={RARE_MODEL}", *COMMON_PAIR),
    }
    get = {"get one": lambda: f"/v1/predictions/{_dashed(random.choice(filled.ids))}"}
    return get | {name: partial(str, path) for name, path in fixed.items()}


def _dashed(key: str) -> str:
    return "-".join((key[:8], key[8:12], key[12:16], key[16:20], key[20:]))


async def _read(store: str, port: int, filled: Filled) -> Rows:
    idle = await _ask_all(port, filled)
    async with Steady(port, KEY, BODY, PER_S) as steady:
        busy = await _ask_all(port, filled)
    assert not steady.failed
    rows = [
        (f"{store}: {name}", f"p50 {idle[name][0]:.1f} / p99 {idle[name][1]:.1f} ms; " + _both(busy[name]))
        for name in idle
    ]
    rows.append((f"{store}: new predictions, {PER_S}/s beside these", _both(quantiles_ms(steady.took))))
    show(rows)
    return rows


def show(rows: Rows) -> None:
    for name, value in rows:
        print(f"{name}: {value}", flush=True)


def _both(quantiles: tuple[float, float]) -> str:
    return "p50 {:.1f} / p99 {:.1f} ms".format(*quantiles)


async def _ask_all(port: int, filled: Filled) -> dict[str, tuple[float, float]]:
    link, found = Link(port, KEY), {}
    for name, path in _questions(filled).items():
        took = []
        for _ in range(ASKED):
            status, body, took_s = await link.send(link.request(path()))
            assert status == 200, body
            took.append(took_s)
        found[name] = quantiles_ms(took)
    link.close()
    return found


# -- retention


async def _retain(store: str, port: int, url: str, home: Path, rows: int) -> Rows:
    """Wait until what is too much is removed, while new predictions come."""
    excess, wal_bytes, removing_s = int(rows * EXCESS), 0, 0.0
    old_us = int(1e6 * (time.time() - (1 - 2 * EXCESS) * SPAN_S))
    async with _counting(url, home) as count, Steady(port, KEY, BODY, PER_S) as steady:
        first = left = await count(old_us)
        while left > first - excess:
            await asyncio.sleep(0.2)
            left = await count(old_us)
            wal_bytes = max(wal_bytes, *(file.stat().st_size for file in home.glob("*-wal")), 0)
            if left == first:  # What is too much is noticed once a minute.
                begun, before = time.perf_counter(), quantiles_ms(steady.took or [0.0])
                mark = len(steady.took)
        removing_s = time.perf_counter() - begun
    assert not steady.failed
    new = f"new predictions, {PER_S}/s"
    found = [
        (f"{store}: {excess} of {rows} too many", f"removed in {removing_s:.0f} s"),
        (f"{store}: {new}, before", _both(before)),
        (f"{store}: {new}, while they are removed", _both(quantiles_ms(steady.took[mark:]))),
    ]
    if store == "sqlite":
        found.append((f"{store}: the largest WAL file meanwhile", f"{wal_bytes / 2**20:.1f} MiB"))
    show(found)
    return found


@asynccontextmanager
async def _counting(url: str, home: Path) -> AsyncIterator[Callable[[int], Awaitable[int]]]:
    """Give what counts the predictions before a time, at a small cost."""
    query = "SELECT count(*) FROM predictions WHERE created_us < {}"
    if url.startswith("sqlite:"):
        path = home / url.removeprefix("sqlite:///")

        async def count(before_us: int) -> int:
            with closing(sqlite3.connect(path)) as connection:
                return connection.execute(query.format(before_us)).fetchone()[0]

        yield count
    else:
        link = await asyncpg.connect(url)
        yield lambda before_us: link.fetchval(query.format(before_us))
        await link.close()


if __name__ == "__main__":
    main()
