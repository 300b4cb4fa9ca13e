"""How many requests each key has under way and may still send, in a file that all processes of a home read and write.

The file is a table of small records in the page cache: a look costs a few system calls and no round trip to a database.
Each process has a column of its own for what it runs, and a lock on it that the system drops when the process dies; so
what a dead process ran counts no more, and no clock is needed.
"""

import errno
import fcntl
import os
import struct
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import anyio

from antiphon.core.ledger import Room
from antiphon.domain.errors import StorageUnavailable
from antiphon.store.unfit import StoreUnfit

PROCESSES = 64
"""How many may share a home."""
BUCKETS, WAYS = 2_048, 8
"""A key has its place in one bucket, by its hash; where that is full, the key that has been idle longest makes room."""
TRIES = 250
"""How often a request asks for a bucket. Others hold one for microseconds, unless they are stopped."""
PAUSE_S = 0.001

NAME_BYTES = 24

_HEAD = struct.Struct(f"={NAME_BYTES}sdd")
"""A key's id, its credit, and when that was;"""
_COUNT = struct.Struct("=H")
"""then what each process runs."""
_RECORD = struct.Struct(f"{_HEAD.format}{PROCESSES}H")
_FILE = f"limits-{PROCESSES}-{BUCKETS}-{WAYS}"

T = TypeVar("T")


class FileRooms:
    """See core.ledger.Rooms. Locks are those of POSIX: a home's file is opened once in a process."""

    def __init__(self, file: int, mine: int) -> None:
        """Take a file, and the column of it that is this process's."""
        self._file, self._mine = file, mine
        self._held: dict[str, tuple[int, int]] = {}
        """Where the record of each key is that has something under way here, and how much that is."""

    async def enter(self, key_id: str, use: Callable[[Room], T]) -> T:
        """Count one more request of a key, unless `use` raises."""
        bucket = zlib.crc32(key_id.encode()) % BUCKETS
        try:
            await self._lock(bucket)
            try:
                return self._change(bucket, key_id, use)
            finally:
                _let_go(self._file, bucket)
        except OSError as error:
            raise StorageUnavailable("Limits cannot be checked now. Try again later.") from error

    def leave(self, key_id: str) -> None:
        """Count one less. No lock is needed: nobody else writes this process's column."""
        at, held = self._held.pop(key_id)
        if held > 1:
            self._held[key_id] = at, held - 1
        with suppress(OSError):  # The next request of the key writes what is so.
            self._write(at, self._mine, held - 1)

    def clear(self) -> None:
        """Forget what a process that is dead had in this column."""
        for bucket in range(BUCKETS):
            for at, record in self._records(bucket):
                if record[0]:
                    self._write(at, self._mine, 0)

    async def _lock(self, bucket: int) -> None:
        for _ in range(TRIES):
            if _take(self._file, bucket):
                return
            await anyio.sleep(PAUSE_S)
        raise TimeoutError

    def _change(self, bucket: int, key_id: str, use: Callable[[Room], T]) -> T:
        at, held = self._held.get(key_id) or (self._find(bucket, key_id), 0)
        _, credit, credited_at, *counts = _RECORD.unpack(os.pread(self._file, _RECORD.size, at))
        counts[self._mine] = held  # whatever could be written of it
        room = Room(self._living(at, counts), credit, credited_at)
        said = use(room)
        # Not the whole record: another process may count one less at this moment.
        os.pwrite(self._file, _HEAD.pack(_name(key_id), room.credit, room.credited_at), at)
        self._write(at, self._mine, held + 1)
        self._held[key_id] = at, held + 1
        return said

    def _find(self, bucket: int, key_id: str) -> int:
        """Give where a key's record is, made if there is none."""
        records = list(self._records(bucket))
        for at, record in records:
            if record.startswith(_name(key_id)):
                return at
        for at, record in sorted(records, key=lambda found: _HEAD.unpack_from(found[1])[2]):
            if not self._living(at, _RECORD.unpack(record)[3:]):
                os.pwrite(self._file, bytes(_RECORD.size), at)
                return at
        raise OSError(errno.ENOSPC, "more keys at once than there is room for")

    def _records(self, bucket: int) -> Iterator[tuple[int, bytes]]:
        begin, size = bucket * WAYS * _RECORD.size, _RECORD.size
        read = os.pread(self._file, WAYS * size, begin)
        return ((begin + at, read[at : at + size]) for at in range(0, WAYS * size, size))

    def _living(self, at: int, counts: Sequence[int]) -> int:
        """Give how many run in all processes; what dead ones ran is forgotten."""
        running = sum(counts)
        if running == counts[self._mine]:
            return running
        for column, count in enumerate(counts):
            if count and column != self._mine and _take(self._file, BUCKETS + column):
                self._write(at, column, 0)
                _let_go(self._file, BUCKETS + column)
                running -= count
        return running

    def _write(self, at: int, column: int, count: int) -> None:
        os.pwrite(self._file, _COUNT.pack(count), at + _HEAD.size + column * _COUNT.size)


@contextmanager
def open_rooms(folder: Path) -> Generator[FileRooms]:
    """Open a home's rooms for the body.

    Raises:
        StoreUnfit: they cannot be written, or too many processes share them.
    """
    path = folder / _FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StoreUnfit(f"{path} cannot be opened: {error.strerror}") from None
    try:
        os.ftruncate(file, BUCKETS * WAYS * _RECORD.size)
        mine = next((column for column in range(PROCESSES) if _take(file, BUCKETS + column)), None)
        if mine is None:
            raise StoreUnfit(f"{folder} is shared by {PROCESSES} processes already")
        rooms = FileRooms(file, mine)
        rooms.clear()
        yield rooms
    finally:
        os.close(file)  # It lets go of the locks.


def _take(file: int, lock: int) -> bool:
    """Take a lock, unless a living process has it: first come those of buckets, then those of columns."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, lock)
    except BlockingIOError:
        return False
    return True


def _let_go(file: int, lock: int) -> None:
    fcntl.lockf(file, fcntl.LOCK_UN, 1, lock)


def _name(key_id: str) -> bytes:
    return key_id.encode().ljust(NAME_BYTES, b"\0")
