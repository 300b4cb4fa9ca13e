"""Predictions that were written down, read by those whose they are."""

import base64
import binascii
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select, text, update

from antiphon.domain.errors import InvalidRequest
from antiphon.domain.faults import FieldFault
from antiphon.domain.prediction import Status
from antiphon.domain.record import Page, Record
from antiphon.store.database import Database
from antiphon.store.rows import record_of
from antiphon.store.tables import RUNNING, predictions, runs

BRIEF = [column for column in predictions.c if column.name not in {"request", "output"}]
"""What lists read."""
_CURSOR = re.compile(r"([np])([0-9]{1,19})-([0-9a-f]{32})")

Key = tuple[int, str]
"""A prediction's place in lists: when it was created, and its id where several were created at once."""


class SqlArchive:
    """See core.ports.Archive."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, account: str, prediction_id: UUID) -> Record | None:
        """Find a prediction."""
        wanted = select(predictions).where(predictions.c.id == prediction_id.hex, predictions.c.account == account)

        def find(connection: Connection) -> Record | None:
            row = connection.execute(wanted).mappings().first()
            return record_of(row) if row else None

        return await self._database.read(find)

    async def page(self, account: str, cursor: str | None, size: int, statuses: frozenset[Status]) -> Page:
        """Give a part of an account's predictions, newest first."""
        is_back, start = _read_cursor(cursor) if cursor else (False, None)
        wanted = frozenset[Status]() if statuses == frozenset(Status) else statuses

        def find(connection: Connection) -> list[Record]:
            # One index scan for each status, merged: an OR would sort everything the account ever asked.
            found: list[Any] = []
            scans: list[Status | None] = [*sorted(wanted)] or [None]
            for status in scans:
                query = _listed(account, status, start, is_back=is_back).limit(size + 1)
                found += connection.execute(query).mappings()
            found.sort(key=_key_of, reverse=not is_back)
            return [record_of(row) for row in found[: size + 1]]

        records = await self._database.read(find)
        has_more, records = len(records) > size, records[:size]
        if is_back:
            records.reverse()
        if not records:
            return Page(())
        has_next, has_previous = (True, has_more) if is_back else (has_more, start is not None)
        return Page(
            tuple(records),
            _cursor("n", records[-1]) if has_next else None,
            _cursor("p", records[0]) if has_previous else None,
        )

    async def request_cancel(self, account: str, prediction_id: UUID) -> bool:
        """Ask whoever runs it to cancel a prediction."""
        asked = (
            update(predictions)
            .where(predictions.c.id == prediction_id.hex, predictions.c.account == account, text(RUNNING))
            .values(cancel_us=time.time_ns() // 1000)
        )
        return await self._database.write(lambda connection: connection.execute(asked).rowcount == 1)

    async def runs(self) -> Mapping[str, int]:
        """Give how many predictions each model has had."""

        def count(connection: Connection) -> dict[str, int]:
            return {row.model: row.predictions for row in connection.execute(select(runs))}

        return await self._database.read(count)


def _listed(account: str, status: Status | None, start: Key | None, *, is_back: bool) -> Select[Any]:
    query = select(*BRIEF).where(predictions.c.account == account)
    if status is not None:
        query = query.where(predictions.c.status == status.value)
    if start is not None:
        query = query.where(beyond(start, is_rising=is_back))
    return query.order_by(*in_order(is_rising=is_back))


_PLACE = (predictions.c.created_us, predictions.c.id)


def beyond(start: Key, *, is_rising: bool, place: Iterable[ColumnElement[Any]] = _PLACE) -> Any:
    """Give the condition of everything after a place in a list, as a range of an index."""
    created, key = place
    if is_rising:
        return and_(created >= start[0], or_(created > start[0], key > start[1]))
    return and_(created <= start[0], or_(created < start[0], key < start[1]))


def in_order(*, is_rising: bool, place: Iterable[ColumnElement[Any]] = _PLACE) -> Iterable[Any]:
    """Give the order of a list."""
    return place if is_rising else [column.desc() for column in place]


def _key_of(row: Mapping[str, Any]) -> Key:
    return row["created_us"], row["id"]


def _cursor(direction: str, record: Record) -> str:
    return base64.urlsafe_b64encode(f"{direction}{record.created_us}-{record.id.hex}".encode()).decode()


def _read_cursor(cursor: str) -> tuple[bool, Key]:
    """Read a cursor: whether it leads back, and from where.

    Raises:
        InvalidRequest: it is none of ours.
    """
    try:
        match = _CURSOR.fullmatch(base64.urlsafe_b64decode(cursor.encode()).decode())
    except (binascii.Error, ValueError):
        match = None
    if not match or int(match[2]) >= 2**63:
        fault = FieldFault(("query", "cursor"), "This is not a cursor of this list.", "value_error", "invalid_value")
        raise InvalidRequest((fault,))
    return match[1] == "p", (int(match[2]), match[3])
