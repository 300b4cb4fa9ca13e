"""Idempotency keys: the first request with a key takes it, and later ones hear which prediction has it."""

import time
from uuid import UUID

from sqlalchemy import Connection, and_, or_, select, text, update

from antiphon.core.ports import Claim
from antiphon.domain.errors import StorageUnavailable
from antiphon.store.database import Database
from antiphon.store.tables import idempotency

KEPT_S = 86_400
"""How long a key stands for its request."""

# Both databases know this form, and SQLAlchemy has it once for each.
_TAKE = text(
    "INSERT INTO idempotency (account, key, digest, prediction, created_us) "
    "VALUES (:account, :key, :digest, :prediction, :now) ON CONFLICT (account, key) DO NOTHING"
)


class SqlIdempotency:
    """See core.ports.Idempotency."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, account: str, key: str, digest: bytes, prediction_id: UUID, instead_of: UUID | None = None
    ) -> Claim:
        """Take a key, or hear who has it."""
        now = time.time_ns() // 1000
        mine = {"account": account, "key": key, "digest": digest, "prediction": prediction_id.hex, "now": now}
        columns = idempotency.c
        its = and_(columns.account == account, columns.key == key)
        free = columns.created_us < now - KEPT_S * 1_000_000
        if instead_of is not None:
            free = or_(free, and_(columns.prediction == instead_of.hex, columns.digest == digest))
        values = {"digest": digest, "prediction": prediction_id.hex, "created_us": now}

        def take(connection: Connection) -> Claim:
            connection.execute(_TAKE, mine)
            connection.execute(update(idempotency).where(its, free).values(values))
            row = connection.execute(select(idempotency).where(its)).first()
            if row is None:
                raise StorageUnavailable("The key was forgotten just now. Try again.")
            return Claim(UUID(row.prediction), row.digest, max(0.0, (now - row.created_us) / 1e6))

        return await self._database.write(take)
