"""One database, SQLite or PostgreSQL, read and written by plain functions over a connection.

What a function does with its connection is the same for both. How it gets one is not: SQLite blocks, so its functions
run in threads, one of them for everything that writes (there can be only one writer, and one that waits its turn here
needs no lock there); PostgreSQL's run on the event loop.
"""

import contextlib
import errno
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeVar

import anyio
from anyio import CapacityLimiter
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from antiphon.domain.errors import StorageUnavailable
from antiphon.store.thread import OneThread
from antiphon.store.unfit import StoreUnfit

BUSY_MS = 1_000
"""How long SQLite waits by itself for another process; never with a write, which would keep all others waiting too."""
PATIENCE_S = 4.0
"""How long a write is tried again while another process writes, unless it says otherwise."""
PAUSES_S = (0.005, 0.1)
"""How long it waits between two tries: at first, and at most."""
ANSWER_S = 4.0
"""How long PostgreSQL may take for anything."""
READERS = 4
"""How many threads read SQLite at once."""

T = TypeVar("T")


class Database(Protocol):
    """What the store's rooms ask of a database."""

    place: str
    """How messages name it: never with a password."""

    async def read(self, use: Callable[[Connection], T]) -> T:
        """Give what `use` finds.

        Raises:
            StorageUnavailable: the database does not answer.
        """

    async def write(self, use: Callable[[Connection], T], *, patience_s: float = PATIENCE_S) -> T:
        """Run `use` in a transaction of its own, committed when it returns, and give what it gives.

        Args:
            use: may be run again, when another process held the database.
            patience_s: after how long no other try is begun.

        Raises:
            StorageUnavailable: the database does not answer; nothing of it is kept.
        """


@asynccontextmanager
async def open_database(url: str, home: Path) -> AsyncGenerator[Database]:
    """Open a database for the body, with its newest schema.

    Args:
        url: `sqlite:///PATH` (a relative path lies in `home`) or `postgresql://…`.
        home: the data directory.

    Raises:
        StoreUnfit: it is no database of ours, is newer than this program, or cannot be written.
    """
    from antiphon.store.migrate import check, migrate  # noqa: PLC0415 - it takes a third of a second to load

    if url.startswith("sqlite:"):
        database: _Sqlite | _Postgres = _Sqlite(_made(sqlite_path(url, home)))
    elif find_spec("asyncpg"):
        database = _Postgres(_address(url))
    else:
        raise StoreUnfit("PostgreSQL needs more packages: pip install 'antiphon[postgres]'")
    try:
        try:
            await database.read(partial(check, place=database.place))
            await database.write(partial(migrate, place=database.place))
        except (StorageUnavailable, DBAPIError, TypeError) as error:  # TypeError: options that the driver has not.
            told = error.__cause__ if isinstance(error, StorageUnavailable) else error
            raise StoreUnfit(f"{database.place} cannot be used: {_first_line(told)}") from None
        yield database
    finally:
        await database.close()


def _address(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):  # Its message may quote a password.
        raise StoreUnfit(
            "the address of the PostgreSQL store cannot be read: postgresql://USER@HOST:PORT/NAME"
        ) from None


def sqlite_path(url: str, home: Path) -> Path:
    """Give the file a `sqlite:///` address means; a relative one lies in the data directory."""
    return home / url.removeprefix("sqlite:///")


def _made(path: Path) -> Path:
    """The database's file, made if it was not there."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made with its mode, not given it later: there is no moment in which others could open it.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        if error.errno == errno.ELOOP:
            # The pepper lies beside the file: by another name its keys would be unknown.
            raise StoreUnfit(f"{path} is a symbolic link: name the file itself") from None
        raise StoreUnfit(f"{path} cannot be opened: {error.strerror}") from None
    return path


def _first_line(error: BaseException | None) -> str:
    told = getattr(error, "orig", None) or error
    return (str(told).splitlines() or [type(told).__name__])[0]


class _Sqlite:
    def __init__(self, path: Path) -> None:
        self.place = str(path)
        # NORMAL: what was committed survives the death of this process; a power cut may take the last moments.
        pragmas = ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=0")
        self._writer, self._thread = _SqliteWriter(_sqlite_engine(path, *pragmas)), OneThread("SQLite writer")
        self._reader = _sqlite_engine(path, "query_only=ON")
        event.listen(self._reader, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        self._some = CapacityLimiter(READERS)

    async def read(self, use: Callable[[Connection], T]) -> T:
        return await anyio.to_thread.run_sync(_used, self._reader, use, limiter=self._some)

    async def write(self, use: Callable[[Connection], T], *, patience_s: float = PATIENCE_S) -> T:
        end, (pause_s, longest_s) = anyio.current_time() + patience_s, PAUSES_S
        while True:
            try:
                return await self._thread.run(partial(self._writer.write, use))
            except StorageUnavailable as error:
                if not is_busy(error) or anyio.current_time() >= end:
                    raise
            await anyio.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)

    async def close(self) -> None:
        self._reader.dispose()
        await self._thread.run(self._writer.close)
        self._thread.close()


class _SqliteWriter:
    """The one connection that writes, always open: to take it from a pool for each transaction costs more than most."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def write(self, use: Callable[[Connection], T]) -> T:
        """See Database.write."""
        with _told():
            connection = self._connection = self._connection or self._engine.connect()
            driver = connection.connection.driver_connection
            assert driver is not None  # noqa: S101 - for the type checker
            try:
                driver.execute("BEGIN IMMEDIATE")
                given = use(connection)
                driver.execute("COMMIT")
            except BaseException:
                driver.rollback()
                if driver.in_transaction:
                    self.close()
                raise
            return given

    def close(self) -> None:
        """Let go of the file."""
        if self._connection:
            self._connection.close()
            self._engine.dispose()
        self._connection = None


def _sqlite_engine(path: Path, *pragmas: str) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)), pool_size=READERS, max_overflow=0)

    def connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # The driver begins nothing by itself.
        for pragma in (f"busy_timeout={BUSY_MS}", *pragmas):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", connect)
    return engine


def _used(engine: Engine, use: Callable[[Connection], T]) -> T:
    with _told(), engine.begin() as connection:
        return use(connection)


class _Postgres:
    def __init__(self, url: URL) -> None:
        self.place = url.set(password=None, query={}).render_as_string()
        self._engine: AsyncEngine = create_async_engine(
            url.set(drivername="postgresql+asyncpg"),
            pool_size=8,
            max_overflow=0,
            pool_timeout=ANSWER_S,
            pool_pre_ping=True,
            connect_args={"timeout": ANSWER_S, "command_timeout": ANSWER_S},
        )

    async def read(self, use: Callable[[Connection], T]) -> T:
        return await self.write(use)

    async def write(self, use: Callable[[Connection], T], *, patience_s: float = PATIENCE_S) -> T:
        with _told(), anyio.fail_after(ANSWER_S + 1):
            async with self._engine.begin() as connection:
                return await connection.run_sync(use)

    async def close(self) -> None:
        with contextlib.suppress(TimeoutError), anyio.fail_after(ANSWER_S):
            await self._engine.dispose()


@contextlib.contextmanager
def _told() -> Generator[None]:
    """Make one error of every way in which a database fails to answer."""
    try:
        yield
    except (IntegrityError, ProgrammingError):
        raise
    except (DBAPIError, sqlite3.DatabaseError, PoolTimeout, OSError) as error:
        # sqlite3's own come from a transaction's begin and end; OSError includes TimeoutError.
        raise StorageUnavailable("The store does not answer. Try again later.") from error


def is_busy(error: StorageUnavailable) -> bool:
    """Whether another process held the database: `database is locked` is how SQLite says that its patience is over."""
    return "locked" in str(getattr(error.__cause__, "orig", error.__cause__))
