"""What was spent with each key, put down by all processes: one row for a key and a window."""

import time
from collections.abc import Mapping

from sqlalchemy import Connection, delete, select, text, tuple_

from antiphon.domain.limits import Account
from antiphon.store.database import Database
from antiphon.store.tables import spending

KEPT_S = 40 * 86_400
"""How long a row is kept: longer than the longest window."""
PURGE_S = 3600.0

_ADD = text(
    'INSERT INTO spending (key_id, "window", start, tokens) VALUES (:key_id, :window, :start, :tokens)'
    ' ON CONFLICT (key_id, "window", start) DO UPDATE SET tokens = spending.tokens + excluded.tokens'
)


class SqlSpending:
    """The spending of one database; see core.spending.Spending."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._purged_at = 0.0

    async def exchange(self, spent: Mapping[Account, int]) -> Mapping[Account, int]:
        """Add to some accounts; give what stands on each then."""
        added = [
            {"key_id": key_id, "window": window, "start": start, "tokens": tokens}
            for (key_id, window, start), tokens in sorted(spent.items())
            if tokens
        ]
        is_due = time.monotonic() - self._purged_at > PURGE_S

        def change(connection: Connection) -> Mapping[Account, int]:
            if added:
                connection.execute(_ADD, added)
            if added and is_due:
                connection.execute(delete(spending).where(spending.c.start < int(time.time()) - KEPT_S))
            place = tuple_(spending.c.key_id, spending.c.window, spending.c.start)
            rows = connection.execute(select(spending).where(place.in_(list(spent))))
            stands = {(row.key_id, row.window, row.start): row.tokens for row in rows}
            return {account: stands.get(account, 0) for account in spent}

        totals = await (self._database.write(change) if added else self._database.read(change))
        if added and is_due:
            self._purged_at = time.monotonic()
        return totals
