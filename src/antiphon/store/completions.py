"""Stored completions: the predictions that asked to be read again, found by model, metadata and place."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Select, and_, delete, func, insert, select, update

from antiphon.core.ports import StoredQuery
from antiphon.domain.errors import UnknownCompletion
from antiphon.domain.record import Record
from antiphon.store.archive import beyond, in_order
from antiphon.store.batch import label_rows, labels_of, names_of
from antiphon.store.database import Database
from antiphon.store.rows import record_of
from antiphon.store.tables import labels, predictions

MANY = 1_000
"""Up to here it is counted how many completions have a label."""


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

        def find(connection: Connection) -> "list[Record]":
            start = None
            if query.after is not None:
                columns = (predictions.c.created_us, predictions.c.id)
                start = connection.execute(select(*columns).where(_is(account, query.after))).first()
                if start is None:
                    raise UnknownCompletion("'after' is not a stored completion.", param="after")
            wanted = _rarest_first(connection, account, labels_of([query.model] if query.model else [], query.metadata))
            found = _labelled(account, wanted, query, start) if wanted else _found(account, query, start)
            return [record_of(row) for row in connection.execute(found).mappings()]

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
            its = labels_of(names_of(row["model"], row["version"]), metadata)
            connection.execute(insert(labels), label_rows(account, row["created_us"], row["id"], its))
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


def _found(account: str, query: StoredQuery, start: Any) -> Select[Any]:
    """The query of one page of everything."""
    is_rising, columns = not query.is_descending, predictions.c
    found = select(predictions).where(columns.account == account, columns.is_stored)
    if start is not None:
        found = found.where(beyond(tuple(start), is_rising=is_rising))
    return found.order_by(*in_order(is_rising=is_rising)).limit(query.limit + 1)


def _labelled(account: str, wanted: Sequence[bytes], query: StoredQuery, start: Any) -> Select[Any]:
    """The query of one page of what has all these labels: the first leads, the others are looked up for each of its.

    It is the labels that are gone through, so that of the predictions only those of the page are read.
    """
    is_rising, lead = not query.is_descending, labels.alias()
    place = (lead.c.created_us, lead.c.prediction)
    keys = select(lead.c.prediction).where(lead.c.account == account, lead.c.label == wanted[0])
    for other in wanted[1:]:
        also = labels.alias()
        its = (also.c.created_us == lead.c.created_us, also.c.prediction == lead.c.prediction)
        keys = keys.where(select(also.c.label).where(also.c.account == account, also.c.label == other, *its).exists())
    if start is not None:
        keys = keys.where(beyond(tuple(start), is_rising=is_rising, place=place))
    page = keys.order_by(*in_order(is_rising=is_rising, place=place)).limit(query.limit + 1).subquery()
    found = select(predictions).where(predictions.c.id == page.c.prediction)
    return found.order_by(*in_order(is_rising=is_rising))


def _rarest_first(connection: Connection, account: str, wanted: Sequence[bytes]) -> Sequence[bytes]:
    """Put the label that the fewest have in front; those that many have count alike."""
    if len(wanted) < 2:  # noqa: PLR2004 - one is first already
        return wanted
    some = [
        select(labels.c.label).where(labels.c.account == account, labels.c.label == each).limit(MANY).subquery()
        for each in wanted
    ]
    counts = connection.execute(select(*[select(func.count()).select_from(one).scalar_subquery() for one in some]))
    return [label for _, label in sorted(zip(counts.one(), wanted, strict=True))]
