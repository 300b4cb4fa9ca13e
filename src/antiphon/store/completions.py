"""Stored completions: the predictions that asked to be read again, found by model, metadata and place."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, and_, delete, insert, select, update

from antiphon.core.ports import StoredQuery
from antiphon.domain.errors import UnknownCompletion
from antiphon.domain.record import Record
from antiphon.store.archive import beyond
from antiphon.store.batch import pair
from antiphon.store.database import Database
from antiphon.store.rows import record_of
from antiphon.store.tables import labels, predictions


class SqlCompletions:
    """See core.ports.Completions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, account: str, prediction_id: UUID) -> Record | None:
        """Find a stored completion."""

        def find(connection: Connection) -> Record | None:
            row = connection.execute(select(predictions).where(_is(account, prediction_id))).mappings().first()
            return record_of(row) if row else None

        return await self._database.read(find)

    async def list(self, account: str, query: StoredQuery) -> tuple[tuple[Record, ...], bool]:
        """Give stored completions and whether there are more."""
        if query.model and "\0" in query.model:
            return (), False  # No model is called so, and to PostgreSQL it is no text.

        def find(connection: Connection) -> "list[Record]":
            start = None
            if query.after is not None:
                columns = (predictions.c.created_us, predictions.c.id)
                start = connection.execute(select(*columns).where(_is(account, query.after))).first()
                if start is None:
                    raise UnknownCompletion("'after' is not a stored completion.", param="after")
            return [record_of(row) for row in connection.execute(_found(account, query, start)).mappings()]

        records = await self._database.read(find)
        return tuple(records[: query.limit]), len(records) > query.limit

    async def relabel(self, account: str, prediction_id: UUID, metadata: Mapping[str, str]) -> Record | None:
        """Give a stored completion other metadata."""

        def write(connection: Connection) -> Record | None:
            named = orjson.dumps(dict(metadata)).decode() if metadata else None
            connection.execute(update(predictions).where(_is(account, prediction_id)).values(metadata=named))
            row = connection.execute(select(predictions).where(_is(account, prediction_id))).mappings().first()
            if row is None:
                return None
            _unlabel(connection, prediction_id)
            if metadata:
                common = {"account": account, "created_us": row["created_us"], "prediction": row["id"]}
                connection.execute(insert(labels), [common | {"pair": pair(*item)} for item in metadata.items()])
            return record_of(row)

        return await self._database.write(write)

    async def unstore(self, account: str, prediction_id: UUID) -> bool:
        """Take a completion out of the stored ones."""

        def write(connection: Connection) -> bool:
            left = update(predictions).where(_is(account, prediction_id)).values(is_stored=False)
            is_ours = connection.execute(left).rowcount == 1
            if is_ours:
                _unlabel(connection, prediction_id)
            return is_ours

        return await self._database.write(write)


def _is(account: str, prediction_id: UUID) -> Any:
    columns = predictions.c
    return and_(columns.id == prediction_id.hex, columns.account == account, columns.is_stored)


def _unlabel(connection: Connection, prediction_id: UUID) -> None:
    connection.execute(delete(labels).where(labels.c.prediction == prediction_id.hex))


def _found(account: str, query: StoredQuery, start: Any) -> Any:
    """The query of one page. With metadata, the labels of the first pair lead; the others are looked up for each."""
    pairs = [pair(*item) for item in query.metadata.items()]
    lead = labels.alias() if pairs else None
    source = lead.c if lead is not None else predictions.c
    key = lead.c.prediction if lead is not None else predictions.c.id
    found = select(predictions).where(predictions.c.account == account, predictions.c.is_stored)
    if lead is not None:
        found = found.where(lead.c.account == account, lead.c.pair == pairs[0], lead.c.prediction == predictions.c.id)
    for other in pairs[1:]:
        also = labels.alias()
        match = (also.c.account == account, also.c.pair == other, also.c.prediction == predictions.c.id)
        found = found.where(
            select(also.c.prediction).where(*match, also.c.created_us == predictions.c.created_us).exists()
        )
    if query.model:
        found = found.where(predictions.c.model == query.model)
    if start is not None:
        found = found.where(beyond(tuple(start), source.created_us, key, is_rising=not query.is_descending))
    order = [source.created_us, key]
    return found.order_by(*([each.desc() for each in order] if query.is_descending else order)).limit(query.limit + 1)
