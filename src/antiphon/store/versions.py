"""Versions are immutable: what each number stood for the first time it was served is written down and held to."""

import time
from collections.abc import Mapping

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from antiphon.store.database import StoreUnfit, versions


async def hold_to_definitions(engine: AsyncEngine, digests: Mapping[tuple[str, int], str]) -> dict[str, int]:
    """Compare every version's definition with the first one seen under its number, and note the new ones.

    Args:
        engine: the database.
        digests: model and version number, to the digest of the definition.

    Returns:
        When each model was first seen, in epoch seconds.

    Raises:
        StoreUnfit: a known version was changed.
    """
    async with engine.begin() as connection:
        rows = {(row.model, row.number): row for row in await connection.execute(select(versions))}
        for (model, number), digest in digests.items():
            known = rows.get((model, number))
            if known is None:
                values = {"model": model, "number": number, "digest": digest, "created": int(time.time())}
                await connection.execute(insert(versions).values(**values))
            elif known.digest != digest:
                raise StoreUnfit(
                    f'models."{model}" version {number} was changed: versions are immutable; add version '
                    f"{max(n for m, n in (*rows, *digests) if m == model) + 1} instead"
                )
        seen = (await connection.execute(select(versions.c.model, versions.c.created))).all()
    return {model: min(created for name, created in seen if name == model) for model, _ in digests}
