"""Many changes to predictions in one transaction, each applied by compare-and-set."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy import ClauseElement, Connection, CursorResult, Dialect, bindparam, insert, select, text, update
from sqlalchemy.sql.compiler import SQLCompiler

from antiphon.core.running import Running
from antiphon.domain.chat import ChatRequest
from antiphon.domain.prediction import Prediction, Status
from antiphon.domain.values import value
from antiphon.store.rows import Pack, moved_row, whole_row
from antiphon.store.tables import RUNNING, predictions


@value
class Change:
    """A prediction that begins, or one that has moved."""

    running: Running
    state: Prediction
    is_new: bool


_MOVED = ("status", "updated_us", "reason", "queue_us", "setup_us", "execution_us", "failure_code", "failure_message")
_ENDED = (*_MOVED, "usage", "is_stored", "output")
# One process runs a prediction and moves it in order, so the one thing that may have come between is an end.
_MOVE = (
    update(predictions)
    .where(predictions.c.id == bindparam("key"), text(RUNNING))
    .values({name: bindparam(name) for name in _ENDED})
)
_COUNT = text(
    "INSERT INTO runs (model, predictions) VALUES (:model, :count) "
    "ON CONFLICT (model) DO UPDATE SET predictions = runs.predictions + excluded.predictions"
)
_INSERT = insert(predictions)
# What is written again, because nobody heard that it was written, has its labels already.
_LABEL = text(
    "INSERT INTO labels (account, label, created_us, prediction) "
    "VALUES (:account, :label, :created_us, :prediction) ON CONFLICT DO NOTHING"
)


def apply(changes: Sequence[Change], instance: str, pack: Pack, connection: Connection) -> frozenset[UUID]:
    """Write changes down; give those predictions that had ended already, which stay as they were.

    Args:
        changes: at most one of each prediction.
        instance: the process that runs them.
        pack: gives requests and answers as they are kept.
        connection: in a transaction.
    """
    begun = [whole_row(one.running, one.state, instance, pack) for one in changes if one.is_new]
    if begun:
        _run(connection, _INSERT, begun)
        models = Counter(row["model"] for row in begun)
        _run(connection, _COUNT, [{"model": model, "count": models[model]} for model in sorted(models)])
    moves = [change for change in changes if not change.is_new]
    lost = _move(connection, moves, pack) if moves else frozenset()
    stored = [
        row
        for one in changes
        if one.state.status is Status.SUCCEEDED and one.state.id not in lost
        for row in _label_rows(one.state, one.running.call.work.request)
    ]
    if stored:
        _run(connection, _LABEL, stored)
    return lost


def _run(connection: Connection, statement: ClauseElement, rows: Sequence[Mapping[str, Any]]) -> CursorResult[Any]:
    """Run a statement for each row. Both drivers take the values as they are, which saves a look at each."""
    said, values_of = _compiled(statement, connection.dialect)
    return connection.exec_driver_sql(said, [values_of(row) for row in rows])


@lru_cache
def _compiled(statement: ClauseElement, dialect: Dialect) -> tuple[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]]:
    """Give a statement as a driver takes it, and what gives the values of a row in its order."""
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)  # noqa: S101 - for the type checker
    return compiled.string, itemgetter(*compiled.positiontup or ())


def _label_rows(state: Prediction, request: ChatRequest) -> list[dict[str, Any]]:
    its = labels_of(names_of(state.model, state.version), request.metadata) if request.store else []
    return label_rows(state.account, state.created_us, state.id.hex, its)


def _move(connection: Connection, moves: Sequence[Change], pack: Pack) -> frozenset[UUID]:
    rows = [moved_row(move.running, move.state, pack) | {"key": move.state.id.hex} for move in moves]
    result = _run(connection, _MOVE, rows)
    if result.rowcount == len(rows):
        return frozenset()
    # Some had ended, or the driver does not count (asyncpg): see which.
    wanted = {row["key"]: row["status"] for row in rows}
    found = connection.execute(select(predictions.c.id, predictions.c.status).where(predictions.c.id.in_(wanted)))
    statuses = {row.id: row.status for row in found}
    return frozenset(UUID(key) for key, status in wanted.items() if statuses.get(key) != status)


def label_rows(account: str, created_us: int, key: str, its: Iterable[bytes]) -> list[dict[str, Any]]:
    """Give the rows of the labels of one stored completion."""
    common = {"account": account, "created_us": created_us, "prediction": key}
    return [common | {"label": label} for label in its]


def labels_of(models: Iterable[str], metadata: Mapping[str, str]) -> list[bytes]:
    """Give what stands for each name of a model, and for each pair of metadata."""
    # A pair with its key's length: no other pair, however cut, reads the same, and neither does a model.
    texts = [f"model {model}" for model in models]
    texts += [f"{len(key)} {key}{value}" for key, value in metadata.items()]
    return [hashlib.sha256(text.encode()).digest() for text in texts]


def names_of(model: str, version: int) -> list[str]:
    """Give the names a stored completion's model is found by."""
    return [model, f"{model}:{version}"]
