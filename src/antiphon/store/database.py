"""The database: its tables, its file, and the schema's version.

SQLite in WAL mode, in a directory and a file that only their owner can read.
"""

import os
import secrets
from pathlib import Path

from sqlalchemy import Column, Integer, LargeBinary, MetaData, String, Table, event, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

SCHEMA = 1
"""The schema this program writes; kept in the file as `user_version`."""
BUSY_MS = 5_000
PEPPER_BYTES = 32

metadata = MetaData()

keys = Table(
    "keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("created", Integer, nullable=False),
    Column("revoked", Integer),
)

versions = Table(
    "versions",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("created", Integer, nullable=False),
)


class StoreUnfit(Exception):
    """The database cannot be used; the message says why, in one line."""


async def open_database(path: Path) -> AsyncEngine:
    """Open the database, making it or bringing its schema up to date.

    Raises:
        StoreUnfit: it is no database of ours, is newer than this program, or cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made with its mode, not given it later: there is no moment in which others could open it.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreUnfit(f"{path} cannot be opened: {error.strerror}") from None
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    event.listen(engine.sync_engine, "connect", _prepare)
    try:
        async with engine.begin() as connection:
            await _migrate(connection, path)
    except (DatabaseError, OperationalError) as error:
        await engine.dispose()
        raise StoreUnfit(f"{path} cannot be used: {str(error.orig).splitlines()[0]}") from None
    except StoreUnfit:
        await engine.dispose()
        raise
    return engine


def _prepare(connection: object, _: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]  # a DB-API connection, which has no type of its own
    for pragma in ("journal_mode=WAL", f"busy_timeout={BUSY_MS}", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


async def _migrate(connection: AsyncConnection, path: Path) -> None:
    found = (await connection.execute(text("PRAGMA user_version"))).scalar_one()
    if found > SCHEMA:
        raise StoreUnfit(f"{path} was written by a newer version of Antiphon (schema {found}, this one knows {SCHEMA})")
    if found == 0:
        await connection.run_sync(metadata.create_all)
        await connection.execute(text(f"PRAGMA user_version={SCHEMA}"))


def read_pepper(path: Path) -> bytes:
    """Give the secret that keys are hashed with, made once and kept beside the database.

    Raises:
        StoreUnfit: the file is there and is not one of ours.
    """
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
