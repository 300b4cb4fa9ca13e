"""Versions are immutable: what each number stood for the first time it was served is written down and held to."""

import time
from collections.abc import Mapping

from sqlalchemy import Connection, insert, select

from antiphon.store.database import Database
from antiphon.store.tables import versions
from antiphon.store.unfit import StoreUnfit


async def hold_to_definitions(database: Database, digests: Mapping[tuple[str, int], str]) -> dict[tuple[str, int], int]:
    """Compare every version's definition with the first one seen under its number, and note the new ones.

    Args:
        database: where they are noted.
        digests: model and version number, to the digest of the definition.

    Returns:
        When each version was first seen, in epoch seconds.

    Raises:
        StoreUnfit: a known version was changed.
    """

    def hold(connection: Connection) -> dict[tuple[str, int], int]:
        rows = {(row.model, row.number): row for row in connection.execute(select(versions))}
        for (model, number), digest in digests.items():
            known = rows.get((model, number))
            if known is None:
                values = {"model": model, "number": number, "digest": digest, "created": int(time.time())}
                connection.execute(insert(versions).values(**values))
            elif known.digest != digest:
                raise StoreUnfit(
                    f'models."{model}" version {number} was changed: versions are immutable; add version '
                    f"{max(n for m, n in (*rows, *digests) if m == model) + 1} instead"
                )
        found = {(row.model, row.number): row.created for row in connection.execute(select(versions))}
        return {key: found[key] for key in digests}

    return await database.write(hold)
