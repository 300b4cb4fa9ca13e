"""Files of accounts: rows that hold their content, which is read only when it is asked for."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import structlog
from sqlalchemy import ColumnElement, Connection, and_, delete, false, func, insert, or_, select, text

from antiphon.core.files import Quota
from antiphon.core.groups import companions
from antiphon.domain.errors import StorageUnavailable, UnknownFile
from antiphon.domain.files import FILE_ID, File
from antiphon.store.database import Database
from antiphon.store.tables import files

_BRIEF = [column for column in files.c if column.name != "content"]


SWEEP_S = 60.0
"""How often those that have expired are removed. Nobody is given them meanwhile."""
AT_ONCE = 10
"""How many are in one transaction: each may be large, and others wait to write."""
PAUSE_S = 0.02
"""How long it leaves the store to others after each."""

_log = structlog.get_logger()


class SqlFiles:
    """See core.files.Files."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, file: File, content: bytes, quota: Quota) -> None:
        """Keep a file."""
        row = {
            "id": file.id,
            "account": file.account,
            "filename": file.filename,
            "size": file.size,
            "created": file.created,
            "expires": file.expires,
            "content": content,
        }

        def keep(connection: Connection) -> None:
            if connection.dialect.name == "postgresql":
                # One after the other for each account, so that two at once do not both find room.
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:account))"), {"account": file.account})
            connection.execute(delete(files).where(files.c.account == file.account, files.c.expires <= _now()))
            count, size = _usage(file.account, connection)
            quota.check(count + 1, size + file.size)
            connection.execute(insert(files), row)

        await self._database.write(keep)

    async def usage(self, account: str) -> tuple[int, int]:
        """Give how many files an account has, and their bytes."""
        return await self._database.read(partial(_usage, account))

    async def get(self, account: str, file_id: str) -> File | None:
        """Find a file."""
        its = _one(account, file_id)
        row = await self._database.read(lambda connection: connection.execute(select(*_BRIEF).where(its)).first())
        return File(*row) if row else None

    async def content(self, account: str, file_id: str) -> tuple[str, bytes] | None:
        """Give a file's name and content."""
        wanted = select(files.c.filename, files.c.content).where(_one(account, file_id))
        row = await self._database.read(lambda connection: connection.execute(wanted).first())
        return (row.filename, bytes(row.content)) if row else None

    async def list(
        self, account: str, after: str | None, limit: int, *, is_descending: bool
    ) -> tuple[list[File], bool]:
        """Give files by age, and whether there are more."""
        last = await self.get(account, after) if after else None
        if after and last is None:
            raise UnknownFile("'after' is not one of your files.", param="after")
        created, key = files.c.created, files.c.id
        wanted = select(*_BRIEF).where(files.c.account == account, files.c.expires > _now())
        if last is not None:
            newer = or_(created > last.created, and_(created == last.created, key > last.id))
            older = or_(created < last.created, and_(created == last.created, key < last.id))
            wanted = wanted.where(older if is_descending else newer)
        order = (created.desc(), key.desc()) if is_descending else (created, key)
        wanted = wanted.order_by(*order).limit(limit + 1)
        rows = await self._database.read(lambda connection: connection.execute(wanted).all())
        return [File(*row) for row in rows[:limit]], len(rows) > limit

    async def remove(self, account: str, file_id: str) -> bool:
        """Remove a file."""
        its = delete(files).where(_one(account, file_id))
        return bool(await self._database.write(lambda connection: connection.execute(its).rowcount))


@asynccontextmanager
async def open_files(database: Database) -> AsyncGenerator[SqlFiles]:
    """Have the files for the body, and those that have expired removed."""
    async with companions() as group:
        group.start_soon(_sweep_often, database)
        yield SqlFiles(database)


async def _sweep_often(database: Database) -> None:
    while True:
        try:
            removed = AT_ONCE
            while removed == AT_ONCE:
                removed = await database.write(_sweep)
                await anyio.sleep(PAUSE_S)
        except StorageUnavailable:
            pass  # The next turn tries again.
        except Exception:  # noqa: BLE001 - one turn's fault must not end the sweeping
            _log.exception("removing expired files failed")
        await anyio.sleep(SWEEP_S)


def _usage(account: str, connection: Connection) -> tuple[int, int]:
    """Count an account's files and their bytes, without those that have expired."""
    counted = select(func.count(), func.coalesce(func.sum(files.c.size), 0))
    count, size = connection.execute(counted.where(files.c.account == account, files.c.expires > _now())).one()
    return count, int(size)  # PostgreSQL's sum of whole numbers is a decimal


def _sweep(connection: Connection) -> int:
    """Remove a few of those that have expired; give how many."""
    expired = select(files.c.id).where(files.c.expires <= _now()).limit(AT_ONCE)
    keys = list(connection.execute(expired).scalars())
    if keys:
        connection.execute(delete(files).where(files.c.id.in_(keys)))
    return len(keys)


def _one(account: str, file_id: str) -> ColumnElement[bool]:
    if not FILE_ID.fullmatch(file_id):
        return false()  # what clients may say (U+0000) is no text to PostgreSQL
    return and_(files.c.id == file_id, files.c.account == account, files.c.expires > _now())


def _now() -> int:
    return int(time.time())
