"""Bearer keys: made, listed, revoked, and looked up without ever being stored.

A key is 256 random bits, so a fast hash is enough: HMAC-SHA-256 under a secret that lies apart from the database. What
is compared is always two digests of equal length, in constant time, so no byte of a key shows in how long it takes.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from antiphon.core.ports import Key
from antiphon.domain.errors import StorageUnavailable
from antiphon.store.database import keys, open_database, read_pepper

PREFIX = "sk-antiphon-"
ADMIN = "admin"
"""The account of the bootstrap key."""
FRESH_S = 2.0
"""How long a verdict is believed, and so how long a revoked key may still work."""
STALE_S = 60.0
"""How long a known key is still believed while the store does not answer."""
REMEMBERED = 10_000


@asynccontextmanager
async def open_keys(path: Path, bootstrap: str | None = None) -> "AsyncGenerator[tuple[AsyncEngine, SqlKeys]]":
    """Open the database at `path` for the body; give it, and its keys.

    Raises:
        StoreUnfit: it cannot be used.
    """
    database = await open_database(path)
    try:
        yield database, SqlKeys(database, read_pepper(path.with_suffix(".pepper")), bootstrap)
    finally:
        await database.dispose()


@dataclass(frozen=True, slots=True)
class _Verdict:
    account: str | None
    at: float


class SqlKeys:
    """The keys of one database."""

    def __init__(self, engine: AsyncEngine, pepper: bytes, bootstrap: str | None = None) -> None:
        self._engine, self._pepper = engine, pepper
        self._bootstrap = self._digest(bootstrap.encode()) if bootstrap else None
        self._verdicts: dict[bytes, _Verdict] = {}

    async def account_of(self, secret: bytes) -> str | None:
        """Find the account of a presented key; see core.ports.Keys."""
        digest = self._digest(secret)
        if self._bootstrap is not None and hmac.compare_digest(digest, self._bootstrap):
            return ADMIN
        known, now = self._verdicts.get(digest), time.monotonic()
        if known and now - known.at < FRESH_S:
            return known.account
        try:
            account = await self._look_up(digest)
        except (SQLAlchemyError, OSError) as error:
            if known and known.account and now - known.at < STALE_S:
                return known.account
            raise StorageUnavailable("Keys cannot be checked now. Try again later.") from error
        if len(self._verdicts) >= REMEMBERED:
            self._verdicts.clear()
        self._verdicts[digest] = _Verdict(account, now)
        return account

    async def create(self, account: str, name: str) -> str:
        """Make a key and give it: it is never seen again."""
        secret = PREFIX + secrets.token_urlsafe(32)
        digest = self._digest(secret.encode())
        row = {"id": f"key_{secrets.token_hex(6)}", "account": account, "name": name, "digest": digest}
        async with self._engine.begin() as connection:
            await connection.execute(insert(keys).values(**row, created=int(time.time())))
        return secret

    async def list(self) -> "list[Key]":
        """Give every key there ever was, oldest first."""
        columns = (keys.c.id, keys.c.account, keys.c.name, keys.c.created, keys.c.revoked)
        async with self._engine.connect() as connection:
            rows = await connection.execute(select(*columns).order_by(keys.c.created, keys.c.id))
            return [Key(*row) for row in rows]

    async def revoke(self, key_id: str) -> bool:
        """End a key; False when there is none of that id that still works."""
        ended = update(keys).where(keys.c.id == key_id, keys.c.revoked.is_(None)).values(revoked=int(time.time()))
        async with self._engine.begin() as connection:
            return (await connection.execute(ended)).rowcount == 1

    async def _look_up(self, digest: bytes) -> str | None:
        async with self._engine.connect() as connection:
            row = (await connection.execute(select(keys).where(keys.c.digest == digest))).first()
        if row is None or row.revoked is not None or not hmac.compare_digest(row.digest, digest):
            return None
        account: str = row.account
        return account

    def _digest(self, secret: bytes) -> bytes:
        return hmac.digest(self._pepper, secret, hashlib.sha256)
