"""Predictions as the one who runs the server sees them: of every account."""

import time
from uuid import UUID

from sqlalchemy import Connection, select, text, update

from antiphon.domain.prediction import Status
from antiphon.domain.record import Record
from antiphon.store.archive import BRIEF
from antiphon.store.database import Database
from antiphon.store.rows import record_of
from antiphon.store.tables import RUNNING, predictions


async def newest(database: Database, account: str | None, status: Status | None, most: int) -> list[Record]:
    """Give the newest predictions, newest first, without their requests and outputs; of one account or all.

    Raises:
        StorageUnavailable: the database does not answer.
    """
    query = select(*BRIEF).order_by(predictions.c.created_us.desc(), predictions.c.id.desc()).limit(most)
    if account is not None:
        query = query.where(predictions.c.account == account)
    if status is not None:
        query = query.where(predictions.c.status == status.value)
    return await database.read(lambda connection: [record_of(row) for row in connection.execute(query).mappings()])


async def find(database: Database, prediction_id: UUID) -> Record | None:
    """Give one prediction; raises as `newest` does."""

    def look(connection: Connection) -> Record | None:
        row = connection.execute(select(predictions).where(predictions.c.id == prediction_id.hex)).mappings().first()
        return record_of(row) if row else None

    return await database.read(look)


async def request_cancel(database: Database, prediction_id: UUID) -> bool:
    """Ask whoever runs it to cancel a prediction; False when it has ended, or is not there. Raises as `newest` does."""
    asked = update(predictions).where(predictions.c.id == prediction_id.hex, text(RUNNING))
    asked = asked.values(cancel_us=time.time_ns() // 1000)
    return await database.write(lambda connection: connection.execute(asked).rowcount == 1)
