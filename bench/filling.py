"""A million predictions in a database, as a service of some weeks would have them, without running one of them."""

import asyncio
import json
import random
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import asyncpg

from antiphon.store.batch import labels_of, names_of
from antiphon.store.keys import ADMIN
from antiphon.store.rows import packed
from antiphon.store.tables import labels, metadata, predictions

OTHERS = [f"account-{number}" for number in range(9)]
COMMON_MODEL, RARE_MODEL = "bench/hello", "bench/rare"
COMMON_PAIR, RARE_PAIR = ("language", "en"), ("ticket", "1000")
APART = ("lamp", "oil"), ("shift", "day")
"""Each on one half of the stored completions, and never both."""
RARE_STATUS = "abandoned"
STORED = 0.05
SPAN_S = 20 * 86_400
"""How far back they reach."""
AT_ONCE = 20_000
LAST = (
    "INSERT INTO runs SELECT model, count(*) FROM predictions GROUP BY model",
    # A process elsewhere that never stops to say that it is alive.
    f"INSERT INTO instances VALUES ('elsewhere', {2**62})",
)
WORDS = [
    "the",
    "keeper",
    "lit",
    "a",
    "lamp",
    "and",
    "wrote",
    "down",
    "every",
    "ship",
    "that",
    "passed",
    "before",
    "dawn",
]


@dataclass
class Filled:
    """What was put in, of the one large account."""

    ids: list[str] = field(default_factory=list)
    """Some of its predictions, anywhere in time."""
    middle: tuple[int, str] = (0, "")
    """The prediction in the middle of its list: when, and which."""
    stored_middle: str = ""
    """The stored completion in the middle of that list."""


def fill(url: str, home: Path, count: int) -> Filled:
    """Put `count` predictions into a database that has the schema and nothing else."""
    filled = Filled()
    rows = _rows(count, filled)
    if url.startswith("sqlite:"):
        _fill_sqlite(home / url.removeprefix("sqlite:///"), rows)
    else:
        asyncio.run(_fill_postgres(url, rows))
    return filled


def _fill_sqlite(path: Path, rows: Iterator[tuple[tuple, list[tuple]]]) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    # Nobody else is there yet, and a power cut would only begin the measurement again.
    for pragma in ("synchronous=OFF", "cache_size=-1000000"):
        connection.execute(f"PRAGMA {pragma}")
    while batch := list(islice(rows, AT_ONCE)):
        connection.execute("BEGIN")
        for table, some in _apart(batch):
            places = ", ".join("?" * len(table.c))
            connection.executemany(f"INSERT INTO {table.name} VALUES ({places})", some)
        connection.execute("COMMIT")
    for statement in LAST:
        connection.execute(statement)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def _fill_postgres(url: str, rows: Iterator[tuple[tuple, list[tuple]]]) -> None:
    connection = await asyncpg.connect(url)
    while batch := list(islice(rows, AT_ONCE)):
        for table, some in _apart(batch):
            await connection.copy_records_to_table(table.name, records=some)
    for statement in LAST:
        await connection.execute(statement)
    # Its autovacuum would come to it within a minute.
    for table in metadata.tables:
        await connection.execute(f"VACUUM ANALYZE {table}")
    await connection.close()


def _apart(batch: list[tuple[tuple, list[tuple]]]) -> Iterable[tuple]:
    return (predictions, [row for row, _ in batch]), (labels, [label for _, its in batch for label in its])


def _rows(count: int, filled: Filled) -> Iterator[tuple[tuple, list[tuple]]]:
    """Rows of predictions, each with its rows of labels; oldest first."""
    chance = random.Random(1)
    bodies = [_bodies(chance) for _ in range(1000)]
    begin_us, step_us = int(1e6 * (time.time() - SPAN_S)), int(1e6 * SPAN_S / count)
    for number in range(count):
        account = ADMIN if chance.random() < 0.9 else chance.choice(OTHERS)
        # Some still run, by the word of a process elsewhere, and are the oldest: nothing may stumble over them.
        status = "started" if number < 50 else _status(chance)
        is_stored = status == "succeeded" and chance.random() < STORED
        model = RARE_MODEL if number % (count // 50) == 0 else COMMON_MODEL
        is_stored |= model == RARE_MODEL and status == "succeeded"
        key, created_us = f"{chance.getrandbits(128):032x}", begin_us + number * step_us
        ticket = RARE_PAIR[1] if number % (count // 20) < 100 else str(number % 1000 // 10)
        pairs = dict([COMMON_PAIR, (RARE_PAIR[0], ticket), APART[number % 2]]) if is_stored else {}
        if account == ADMIN:
            if len(filled.ids) < 2000 and chance.random() < 4000 / count:
                filled.ids.append(key)
            if number <= count // 2:
                filled.middle = (created_us, key)
                filled.stored_middle = key if is_stored else filled.stored_middle
        named = json.dumps(pairs) if pairs else None
        more = {"model": model, "is_stored": is_stored, "metadata": named}
        row = _row(key, account, created_us, status, bodies[number % 1000], **more)
        its = labels_of(names_of(model, 1), pairs) if is_stored else []
        yield row, [(account, label, created_us, key) for label in its]


def _status(chance: random.Random) -> str:
    place = chance.random()
    return "succeeded" if place < 0.96 else "failed" if place < 0.985 else "cancelled" if place < 0.999 else RARE_STATUS


def _row(key: str, account: str, created_us: int, status: str, bodies: tuple[bytes, bytes], **more: object) -> tuple:
    usage = {"prompt_tokens": 120, "completion_tokens": 90, "cached_tokens": 64}
    known = {
        "id": key,
        "account": account,
        "status": status,
        "created_us": created_us,
        "updated_us": created_us + 1_800_000,
        "version": 1,
        "engine": "scripted",
        "instance": "elsewhere" if status == "started" else "0" * 32,
        "reason": "client_gone" if status == "cancelled" else None,
        "queue_us": 120,
        "setup_us": 220_000,
        "execution_us": 1_500_000,
        "failure_code": None if status in {"succeeded", "started"} else "engine_failed",
        "failure_message": None if status in {"succeeded", "started"} else "The engine died.",
        "usage": json.dumps(usage),
        "is_streamed": False,
        "request": bodies[0],
        "output": bodies[1] if status == "succeeded" else None,
        **more,
    }
    return tuple(known.get(column.name) for column in predictions.c)


def _bodies(chance: random.Random) -> tuple[bytes, bytes]:
    """A request and an answer, mostly of about 1 KB together; one in fifty is long."""
    size = 1500 if chance.random() < 0.02 else chance.randrange(40, 90)
    asked, said = (" ".join(chance.choices(WORDS, k=size)) for _ in range(2))
    request = {"model": COMMON_MODEL, "messages": [{"role": "user", "content": asked}], "temperature": 0.2}
    message = {"role": "assistant", "content": said, "refusal": None, "annotations": [], "audio": None}
    details = {"cached_tokens": 64, "audio_tokens": 0}
    parts = ("reasoning_tokens", "audio_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens")
    usage = {
        "prompt_tokens": 120,
        "completion_tokens": 90,
        "total_tokens": 210,
        "prompt_tokens_details": details,
        "completion_tokens_details": dict.fromkeys(parts, 0),
    }
    answer = {
        "id": f"chatcmpl-{chance.getrandbits(128):032x}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": COMMON_MODEL,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage,
        "service_tier": "default",
        "system_fingerprint": "scripted",
    }
    return tuple(packed(json.dumps(body).encode(), 2**20) for body in (request, answer))
