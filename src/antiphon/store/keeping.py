"""What keeps the store true while the server runs: who is alive, who was asked to stop, and what is too old.

A server process holds a lock on a file of its own for as long as it lives. The system lets go of it when the process
dies, however it dies; so another process on the same machine knows at once, and needs no clock. A process on another
machine, whose file is not here, is believed dead when its beat was the same several times in a row: what counts is what
was seen, so neither a wrong clock nor an hour without the database makes anybody dead.
"""

import fcntl
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import structlog
from sqlalchemy import Connection, delete, func, insert, select, text, update

from antiphon.domain.errors import StorageUnavailable
from antiphon.domain.prediction import Status
from antiphon.domain.record import Record
from antiphon.store.database import Database
from antiphon.store.idempotency import KEPT_S
from antiphon.store.rows import record_of
from antiphon.store.tables import RUNNING, idempotency, instances, labels, predictions

BEAT_S = 0.5
"""How often cancels are looked for, and so about how long one from another process takes."""
RECONCILE_S = 5.0
RETAIN_S = 60.0
SAME_BEATS = 4
"""After how many looks in a row at the same beat a process on another machine counts as dead."""
AT_ONCE = 100
"""How many rows one transaction ends or removes: 5 to 30 ms, which is how long a new prediction may have to wait."""
PAUSE_S = 0.02
"""How long it leaves the store to others after each."""
_ANY_AGE = 2**62
_NO_BEAT = -1

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept of predictions that have ended."""

    age_s: float
    rows: int


class Keeper:
    """One server process, and its part in keeping the store."""

    def __init__(
        self,
        database: Database,
        run_dir: Path,
        retention: Retention,
        notify: Callable[[Record], None],
    ) -> None:
        """Take a database.

        Args:
            database: what is kept.
            run_dir: where the processes of this machine have their locks.
            retention: what is kept of predictions that have ended.
            notify: is given every abandoned prediction that has a webhook.
        """
        self.instance = uuid4().hex
        self._database, self._run_dir, self._retention = database, run_dir, retention
        self._notify = notify
        self._failing: set[float] = set()
        """The periods of those tasks whose last turn failed."""
        self._seen: dict[str, tuple[int, int]] = {}
        """The last beat of each process on another machine, and how often in a row it was that one."""

    @asynccontextmanager
    async def open(self, cancel: Callable[[UUID], None]) -> AsyncGenerator[None]:
        """Be alive for the body. Entering ends what dead processes left unfinished.

        Args:
            cancel: is given the predictions of this process that somebody asked to cancel.

        Raises:
            StorageUnavailable: the store cannot be written.
        """
        self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._lock_of(self.instance)
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            await self._database.write(self._beat)
            await self._reconcile()
            async with anyio.create_task_group() as group:
                group.start_soon(self._every, BEAT_S, partial(self._look_for_cancels, cancel))
                group.start_soon(self._every, RECONCILE_S, self._reconcile)
                group.start_soon(self._every, RETAIN_S, self._retain)
                yield
                group.cancel_scope.cancel()
        finally:
            os.close(handle)
            with suppress(StorageUnavailable), anyio.CancelScope(shield=True):
                # What could not be written is another's to end, who knows by the file that this process is gone.
                if await self._database.write(self._goodbye):
                    path.unlink(missing_ok=True)

    @property
    def is_well(self) -> bool:
        """Whether the store could be read and written when that was last tried, some seconds ago at most."""
        return self._failing.isdisjoint({BEAT_S, RECONCILE_S})

    async def _every(self, period_s: float, task: Callable[[], Awaitable[None]]) -> None:
        while True:
            await anyio.sleep(period_s)
            try:
                await task()
                self._failing.discard(period_s)
            except StorageUnavailable:
                self._failing.add(period_s)  # The next turn tries again.
            except Exception:  # noqa: BLE001 - one turn's fault must not end the keeping
                _log.exception("keeping the store failed")

    # -- alive or dead

    def _beat(self, connection: Connection) -> None:
        mine = update(instances).where(instances.c.id == self.instance).values(beat=instances.c.beat + 1)
        if connection.execute(mine).rowcount == 0:
            connection.execute(insert(instances).values(id=self.instance, beat=0))

    def _goodbye(self, connection: Connection) -> bool:
        left = select(predictions.c.id).where(predictions.c.instance == self.instance, text(RUNNING))
        if connection.execute(left.limit(1)).first() is not None:
            return False
        connection.execute(delete(instances).where(instances.c.id == self.instance))
        return True

    async def _reconcile(self) -> None:
        """End what dead processes left unfinished."""
        await self._database.write(self._beat)
        for other, beat in await self._database.read(_beats):
            if other != self.instance and self._is_dead(other, beat):
                ended = AT_ONCE
                while ended == AT_ONCE:
                    ended, to_tell = await self._database.write(partial(_abandon, other))
                    for record in to_tell:
                        self._notify(record)
                self._lock_of(other).unlink(missing_ok=True)
                self._seen.pop(other, None)

    def _is_dead(self, instance: str, beat: int) -> bool:
        try:
            handle = os.open(self._lock_of(instance), os.O_RDWR)
        except FileNotFoundError:
            last, same = self._seen.get(instance, (beat, -1))
            self._seen[instance] = (beat, same + 1 if last == beat else 0)
            return self._seen[instance][1] >= SAME_BEATS
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            return True
        finally:
            os.close(handle)

    def _lock_of(self, instance: str) -> Path:
        return self._run_dir / f"{instance}.alive"

    # -- cancels

    async def _look_for_cancels(self, cancel: Callable[[UUID], None]) -> None:
        asked = select(predictions.c.id).where(
            predictions.c.instance == self.instance, predictions.c.cancel_us.is_not(None), text(RUNNING)
        )
        for row in await self._database.read(lambda connection: list(connection.execute(asked))):
            cancel(UUID(row.id))

    # -- retention

    async def _retain(self) -> None:
        """Remove what is too old or too much, a few rows at a time."""
        oldest_us = int(1e6 * (time.time() - self._retention.age_s))
        removed = AT_ONCE
        while removed == AT_ONCE:
            removed = await self._database.write(partial(_remove, oldest_us, AT_ONCE))
            await anyio.sleep(PAUSE_S)
        count = await self._database.read(
            lambda connection: connection.execute(select(func.count()).select_from(predictions)).scalar_one()
        )
        while (excess := count - self._retention.rows) > 0:
            removed = await self._database.write(partial(_remove, _ANY_AGE, min(excess, AT_ONCE)))
            if not removed:
                break
            count -= removed
            await anyio.sleep(PAUSE_S)
        forgotten = delete(idempotency).where(idempotency.c.created_us < int(1e6 * (time.time() - KEPT_S)))
        await self._database.write(lambda connection: connection.execute(forgotten))


def _beats(connection: Connection) -> list[tuple[str, int]]:
    """Give every process that may have left something, with its last beat.

    Those too that are known by unfinished predictions only: PostgreSQL may carry out a dead process's last commit when
    its others were abandoned already, and it was struck out. One that lives is listed again with its next beat.
    """
    known = [(row.id, row.beat) for row in connection.execute(select(instances))]
    left = select(predictions.c.instance).where(text(RUNNING), predictions.c.instance.not_in(select(instances.c.id)))
    return known + [(row.instance, _NO_BEAT) for row in connection.execute(left.distinct())]


def _abandon(instance: str, connection: Connection) -> tuple[int, list[Record]]:
    """End some of what a dead process left unfinished; give how many, and those that have a webhook."""
    some = select(predictions.c.id).where(predictions.c.instance == instance, text(RUNNING)).limit(AT_ONCE)
    keys = [row.id for row in connection.execute(some)]
    its = predictions.c.id.in_(keys)
    ended = {
        "status": Status.ABANDONED.value,
        "updated_us": time.time_ns() // 1000,
        "failure_code": "abandoned",
        "failure_message": "The server's process ended before the prediction did.",
    }
    # Only what this very statement ended is told of: another process may be at the same rows.
    ending = update(predictions).where(its, text(RUNNING)).values(ended).returning(predictions.c.id)
    mine = predictions.c.id.in_([row.id for row in connection.execute(ending)])
    if len(keys) < AT_ONCE:
        connection.execute(delete(instances).where(instances.c.id == instance))
    to_tell = connection.execute(select(predictions).where(mine, predictions.c.webhook_url.is_not(None))).mappings()
    return len(keys), [record_of(row) for row in to_tell]


def _remove(before_us: int, most: int, connection: Connection) -> int:
    """Remove up to `most` of the oldest predictions that have ended and were created before `before_us`."""
    old = (
        select(predictions.c.id)
        .where(predictions.c.created_us < before_us, text(f"NOT ({RUNNING})"))
        .order_by(predictions.c.created_us)
        .limit(most)
    )
    keys = [row.id for row in connection.execute(old)]
    if keys:
        connection.execute(delete(labels).where(labels.c.prediction.in_(keys)))
        connection.execute(delete(predictions).where(predictions.c.id.in_(keys)))
    return len(keys)
