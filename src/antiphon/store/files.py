"""Files of accounts: rows that hold their content, which is read only when it is asked for."""

import time

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, text

from antiphon.core.files import Quota
from antiphon.domain.errors import UnknownFile, Unsupported
from antiphon.domain.files import File
from antiphon.store.database import Database
from antiphon.store.tables import files

_BRIEF = [column for column in files.c if column.name != "content"]


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
            counted = select(func.count(), func.coalesce(func.sum(files.c.size), 0))
            count, size = connection.execute(counted.where(files.c.account == file.account)).one()
            if count >= quota.files:
                raise Unsupported(f"This account has {count} files, which is as many as it may.", param="file")
            if size + file.size > quota.size:
                raise Unsupported(f"This account may keep {quota.size} bytes in all.", param="file")
            connection.execute(insert(files), row)

        await self._database.write(keep)

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


def _one(account: str, file_id: str) -> ColumnElement[bool]:
    return and_(files.c.id == file_id, files.c.account == account, files.c.expires > _now())


def _now() -> int:
    return int(time.time())
