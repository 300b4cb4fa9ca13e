"""Bearer keys: made, listed, revoked, and looked up without ever being stored.

A key is 256 random bits, so a fast hash is enough: HMAC-SHA-256 under a secret that lies apart from the database. What
is compared is always two digests of equal length, in constant time, so no byte of a key shows in how long it takes.
"""

import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import anyio
from sqlalchemy import Connection, insert, select, text, update

from antiphon.core.ports import Key
from antiphon.domain.errors import StorageUnavailable
from antiphon.domain.limits import ADMIN, NO_LIMITS, Holder, KeyLimits
from antiphon.store.database import Database, open_database, sqlite_path
from antiphon.store.tables import facts, keys
from antiphon.store.unfit import StoreUnfit

PREFIX = "sk-antiphon-"
_BOOTSTRAP = Holder(ADMIN, "bootstrap")
FRESH_S = 2.0
"""How long a verdict is believed, and so how long a revoked key may still work."""
STALE_S = 60.0
"""How long a known key is still believed while the store does not answer."""
KNOWN_S = 1.0
"""How long the store may take over a known key: what is asked with it waits for the store as well."""
REMEMBERED = 10_000
PEPPER_BYTES = 32

_AGREE = text("INSERT INTO facts (name, value) VALUES ('pepper', :value) ON CONFLICT (name) DO NOTHING")


@asynccontextmanager
async def open_keys(url: str, home: Path, bootstrap: str | None = None) -> "AsyncGenerator[tuple[Database, SqlKeys]]":
    """Open the database at `url` for the body; give it, and its keys.

    Raises:
        StoreUnfit: it cannot be used.
    """
    async with open_database(url, home) as database:
        is_file = url.startswith("sqlite:")
        pepper = read_pepper(sqlite_path(url, home).with_suffix(".pepper") if is_file else home / "antiphon.pepper")
        if not is_file:
            await database.write(partial(_agree, pepper))
        yield database, SqlKeys(database, pepper, bootstrap)


def read_pepper(path: Path) -> bytes:
    """Give the secret that keys are hashed with, made once and kept apart from the database.

    Raises:
        StoreUnfit: the file is there and is not one of ours.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        pepper = path.read_bytes()
    else:
        pepper = secrets.token_bytes(PEPPER_BYTES)
        with os.fdopen(handle, "wb") as file:
            file.write(pepper)
    if len(pepper) != PEPPER_BYTES:
        raise StoreUnfit(f"{path} should hold {PEPPER_BYTES} bytes: without it no key can be checked")
    return pepper


def _agree(pepper: bytes, connection: Connection) -> None:
    """See that every server of a shared database hashes alike: a key made by one would be unknown to another."""
    mine = hashlib.sha256(pepper).hexdigest()
    connection.execute(_AGREE, {"value": mine})
    if connection.execute(select(facts.c.value).where(facts.c.name == "pepper")).scalar_one() != mine:
        raise StoreUnfit(
            "the keys of this database were made with another antiphon.pepper: "
            "copy that file from the home directory of the server that made them"
        )


@dataclass(frozen=True, slots=True)
class _Verdict:
    holder: Holder | None
    at: float
    tried: float
    """When the store was asked last, whether or not it answered."""


class SqlKeys:
    """The keys of one database."""

    def __init__(self, database: Database, pepper: bytes, bootstrap: str | None = None) -> None:
        self._database, self._pepper = database, pepper
        self._bootstrap = self._mark(bootstrap.encode()) if bootstrap else None
        self._verdicts: dict[bytes, _Verdict] = {}

    async def holder_of(self, secret: bytes) -> Holder | None:
        """Find whose a presented key is; see core.ports.Keys."""
        mark = self._mark(secret)
        if self._bootstrap is not None and hmac.compare_digest(mark, self._bootstrap):
            return _BOOTSTRAP
        known, now = self._verdicts.get(mark), time.monotonic()
        may_believe = known is not None and known.holder is not None and now - known.at < STALE_S
        if known and now - (known.tried if may_believe else known.at) < FRESH_S:
            return known.holder
        try:
            with anyio.fail_after(KNOWN_S if may_believe else None):
                holder = await self._look_up(self._digest(secret))
        except (StorageUnavailable, TimeoutError) as error:
            if known and may_believe:
                self._verdicts[mark] = replace(known, tried=time.monotonic())
                return known.holder
            raise StorageUnavailable("Keys cannot be checked now. Try again later.") from error
        if len(self._verdicts) >= REMEMBERED:
            self._verdicts.clear()
        self._verdicts[mark] = _Verdict(holder, now, now)
        return holder

    async def create(self, account: str, name: str, limits: KeyLimits = NO_LIMITS) -> str:
        """Make a key and give it: it is never seen again."""
        secret = PREFIX + secrets.token_urlsafe(32)
        digest = self._digest(secret.encode())
        row = {
            "id": f"key_{secrets.token_hex(6)}",
            "account": account,
            "name": name,
            "digest": digest,
            "limits": _written(limits),
        }
        made = insert(keys).values(**row, created=int(time.time()))
        await self._database.write(lambda connection: connection.execute(made))
        return secret

    async def list(self) -> "list[Key]":
        """Give every key there ever was, oldest first."""
        columns = (keys.c.id, keys.c.account, keys.c.name, keys.c.created, keys.c.revoked, keys.c.limits)
        every = select(*columns).order_by(keys.c.created, keys.c.id)
        return await self._database.read(
            lambda connection: [Key(*row[:-1], _read(row[-1])) for row in connection.execute(every)]
        )

    async def revoke(self, key_id: str) -> bool:
        """End a key; False when there is none of that id that still works."""
        ended = update(keys).where(keys.c.id == key_id, keys.c.revoked.is_(None)).values(revoked=int(time.time()))
        return await self._database.write(lambda connection: connection.execute(ended).rowcount == 1)

    async def limit(self, key_id: str, limits: KeyLimits) -> bool:
        """Give a key other limits; False when there is none of that id that still works."""
        changed = update(keys).where(keys.c.id == key_id, keys.c.revoked.is_(None)).values(limits=_written(limits))
        return await self._database.write(lambda connection: connection.execute(changed).rowcount == 1)

    async def _look_up(self, digest: bytes) -> Holder | None:
        found = select(keys).where(keys.c.digest == digest)
        row = await self._database.read(lambda connection: connection.execute(found).first())
        if row is None or row.revoked is not None or not hmac.compare_digest(row.digest, digest):
            return None
        return Holder(row.account, row.id, _read(row.limits))

    def _digest(self, secret: bytes) -> bytes:
        return hmac.digest(self._pepper, secret, hashlib.sha256)

    def _mark(self, secret: bytes) -> bytes:
        """Give what a key is remembered by: a hash as good as the stored one, which takes five times as long."""
        return hashlib.blake2b(secret, digest_size=32, key=self._pepper).digest()


def _written(limits: KeyLimits) -> str | None:
    told = {name: value for name, value in asdict(limits).items() if value is not None}
    return json.dumps(told) if told else None


def _read(text: str | None) -> KeyLimits:
    return KeyLimits(**json.loads(text)) if text else NO_LIMITS
