"""Predictions into the database while they run, many in one transaction, and never on a request's own time.

What is told goes into a queue, one place for each prediction: moves that follow one another before they are written
become one. What waits is written in one transaction, as soon as every running prediction waits for it or a few
milliseconds have passed; but a beginning that nobody waits for has a tenth of a second to become more. So a busy server
writes large batches, an idle one writes at once, and a prediction that takes milliseconds costs one insert.
"""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import anyio
import structlog

from antiphon.core.running import Running
from antiphon.domain.errors import StorageUnavailable
from antiphon.domain.prediction import Prediction, Status
from antiphon.domain.record import Record
from antiphon.store.batch import Change, apply
from antiphon.store.database import Database, is_busy
from antiphon.store.records import log_ended
from antiphon.store.rows import Pack, large_bodies, packed, plain, record_of, whole_row
from antiphon.store.tickets import GATHER_S, Pace, Ticket

LINGER_S = 0.1
"""How long a beginning that nobody waits for stays unwritten: most answers that are short end meanwhile."""
MOST_AT_ONCE = 500
"""How many predictions one transaction takes."""
PATIENCE_S = 4.0
"""How long a new prediction waits for a store that is busy."""
AGAIN_S = 0.5
"""How long until what could not be written is tried again."""
PAUSE_S = 0.01
"""How long after a try that failed nothing is tried at all."""
MOST_LATE = 10_000
"""How many ended predictions wait for a store that does not answer."""
LEAVING_S = 5.0
"""How long leaving waits for what is not written yet."""

_log = structlog.get_logger()


@dataclass(slots=True)
class _Draft:
    """What is to be written of one prediction."""

    running: Running
    state: Prediction
    is_new: bool
    since: float
    tickets: list[Ticket]
    states: list[Prediction] = field(default_factory=list)
    """Every state it passed through, where somebody is to be told of each."""
    is_settled: bool = False
    is_doubtful: bool = False
    """Whether it may not be there at all."""

    @property
    def key(self) -> int:
        """Its prediction's id as a number, which is looked up ten times as fast as the id."""
        return self.state.id.int

    def settle(self, error: StorageUnavailable | None = None) -> None:
        self.is_settled = True
        for ticket in self.tickets:
            ticket.settle(error)

    def follows(self, earlier: "_Draft") -> None:
        """Stand for an earlier one as well, which was not written."""
        self.tickets = earlier.tickets + self.tickets
        self.states = earlier.states + self.states
        self.is_new, self.since = earlier.is_new, earlier.since


class Recorder:
    """The records of one server process; see core.records.Records."""

    def __init__(self, database: Database, instance: str, most_bytes: int, notify: Callable[[Record], None]) -> None:
        """Take a database.

        Args:
            database: where to.
            instance: the name of this process.
            most_bytes: the largest request or answer that is kept, compressed.
            notify: is given a prediction that has a webhook, after each move is written.
        """
        self._database, self._instance, self._most_bytes, self._notify = database, instance, most_bytes, notify
        self._pace = Pace()
        self._fresh: dict[int, _Draft] = {}
        """Beginnings that nobody waits for, the oldest first."""
        self._due: dict[int, _Draft] = {}
        self._late: dict[int, _Draft] = {}
        self._refused: set[int] = set()
        """Running predictions of which nothing will be written."""
        self._linger_s = LINGER_S
        self._idle = anyio.Event()

    def write(self, running: Running) -> Ticket:
        """Note a prediction as it now stands; see core.records.Records."""
        state = running.prediction
        if state.status.is_terminal:
            log_ended(running)
        key = state.id.int
        if key in self._refused:
            return self._hopeless(running)
        draft = self._due.get(key) or self._fresh.get(key) or self._drafted(running, key)
        draft.state = state
        if running.call.webhook:
            draft.states.append(state)
        return draft.tickets[0]

    def _drafted(self, running: Running, key: int) -> _Draft:
        state, ticket = running.prediction, Ticket(self._pace, self._hurry, key)
        draft = _Draft(running, state, state.status is Status.PENDING, time.monotonic(), [ticket])
        if draft.is_new:
            self._pace.running += 1
            self._fresh[key] = draft
            self._pace.within(self._linger_s)
        else:  # What is in the store already is kept true there.
            self._due[key] = draft
            self._pace.hurry()
        return draft

    def _hurry(self, key: int) -> None:
        """Somebody waits for one of them."""
        if draft := self._fresh.pop(key, None):
            self._due[key] = draft
        self._pace.hurry()

    def lag_s(self) -> float:
        """Give how long what waits longest waits already; what was never begun there does not count."""
        waiting = [draft.since for draft in self._unwritten() if draft.since]
        return time.monotonic() - min(waiting) if waiting else 0.0

    def _unwritten(self) -> list[_Draft]:
        return [*self._due.values(), *self._fresh.values(), *self._late.values()]

    def _hopeless(self, running: Running) -> Ticket:
        state, ticket = running.prediction, Ticket(self._pace, self._hurry, running.prediction.id.int)
        ticket.settle(_unavailable())
        if state.status.is_terminal:
            self._refused.remove(state.id.int)
            self._doubt(running, state)
        return ticket

    def _doubt(self, running: Running, state: Prediction) -> None:
        """The store may have died after it wrote a beginning, before it said so: if that is there, it must end."""
        if len(self._late) < MOST_LATE // 2:  # The other half is for those that did begin.
            doubtful = _Draft(running, state, is_new=False, since=0, tickets=[], is_settled=True, is_doubtful=True)
            self._late[state.id.int] = doubtful

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Write for the body, and what is left after it."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._write_on)
            try:
                yield
            finally:
                self._linger_s = 0.0
                with anyio.CancelScope(shield=True), anyio.move_on_after(LEAVING_S):
                    while self._unwritten():
                        self._idle = anyio.Event()
                        self._pace.hurry()
                        await self._idle.wait()
                if left := len(self._unwritten()):
                    _log.error("predictions were not written", count=left)
                group.cancel_scope.cancel()

    async def _write_on(self) -> None:
        while True:
            await self._pace.turn(self._rests_s(), is_due=bool(self._due))
            drafts = self._take()
            if drafts:
                await self._write(drafts)
            self._idle.set()

    def _rests_s(self) -> float | None:
        """How long there is nothing to do, unless something comes; None: for ever."""
        if self._due:
            return GATHER_S if len(self._due) < MOST_AT_ONCE else 0.0
        rests = [AGAIN_S] if self._late else []
        if oldest := next(iter(self._fresh.values()), None):
            rests.append(max(0.0, oldest.since + self._linger_s - time.monotonic()))
        return min(rests, default=None)

    def _take(self) -> list[_Draft]:
        latest = time.monotonic() - self._linger_s
        while (oldest := next(iter(self._fresh.values()), None)) and oldest.since <= latest:
            self._due[oldest.key] = self._fresh.pop(oldest.key)
        taken = list(self._late.values())[: MOST_AT_ONCE // 2]  # However many they are, what is new has its turn.
        taken += list(self._due.values())[: MOST_AT_ONCE - len(taken)]
        for draft in taken:
            (self._late if draft.key in self._late else self._due).pop(draft.key)
        return taken

    async def _write(self, drafts: list[_Draft]) -> None:
        changes = [Change(draft.running, draft.state, draft.is_new) for draft in drafts]
        try:
            change = partial(apply, changes, self._instance, await self._packer(drafts))
            lost = await self._database.write(change, patience_s=0)  # Its own: what came meanwhile goes with it.
        except StorageUnavailable as error:
            if is_busy(error):
                self._put_back(drafts)
            else:
                _log.warning("predictions cannot be written", count=len(drafts), error=type(error.__cause__).__name__)
                self._give_up([*drafts, *self._due.values(), *self._fresh.values()])
            await anyio.sleep(PAUSE_S)
        except Exception:  # noqa: BLE001 - whatever it is, it must not end the writing
            await self._write_apart(drafts)
        else:
            for draft in drafts:
                self._settle(draft)
                self._tell(draft, is_lost=draft.state.id in lost)

    async def _packer(self, drafts: list[_Draft]) -> Pack:
        """Give what packs; what takes long it has packed already, beside the event loop and before the transaction."""
        pack = partial(packed, most_bytes=self._most_bytes)
        large = [give for each in drafts for give in large_bodies(each.running, each.state, is_new=each.is_new)]
        if not large:
            return pack
        ready = await anyio.to_thread.run_sync(lambda: {id(body): pack(body) for body in (give() for give in large)})
        return lambda body: ready[id(body)] if id(body) in ready else pack(body)

    async def _write_apart(self, drafts: list[_Draft]) -> None:
        """One of them is at fault: the others are written without it."""
        if len(drafts) > 1:
            for draft in drafts:
                await self._write([draft])
            return
        _log.error("a prediction cannot be written", id=str(drafts[0].state.id), exc_info=True)
        self._refuse(drafts[0])

    def _settle(self, draft: _Draft) -> None:
        # An ended one counts once: it may have waited among the late ones since.
        self._pace.running -= draft.state.status.is_terminal and not draft.is_settled
        draft.settle()

    def _tell(self, draft: _Draft, *, is_lost: bool) -> None:
        if is_lost and not draft.is_doubtful:
            _log.warning("a prediction was ended by another process", id=str(draft.state.id))
        for state in () if is_lost else draft.states:
            try:
                self._notify(record_of(whole_row(draft.running, state, self._instance, plain)))
            except Exception:  # noqa: BLE001 - a notice's fault must not end the writing
                _log.exception("a notice cannot be made", id=str(state.id))

    def _put_back(self, drafts: list[_Draft]) -> None:
        """The store is busy: try again together with what came meanwhile, but not for ever."""
        now = time.monotonic()
        for draft in drafts:
            if now - draft.since >= PATIENCE_S:
                self._give_up([draft])
                continue
            newer = self._due.pop(draft.key, None)
            if newer:
                newer.follows(draft)
            self._due[draft.key] = newer or draft

    def _give_up(self, drafts: list[_Draft]) -> None:
        """The store does not answer: what is new is refused, and what was begun there is kept until it answers."""
        refused = set()
        for draft in drafts:
            key = draft.key
            if key in refused:
                continue  # What came of it meanwhile goes with its beginning.
            if draft.is_new:
                refused.add(key)
                self._refuse(draft)
                continue
            if self._due.get(key) is draft:
                del self._due[key]
            if draft.state.status.is_terminal and len(self._late) < MOST_LATE:
                self._late[key] = draft
            self._settle(draft)

    def _refuse(self, draft: _Draft) -> None:
        self._pace.running -= not draft.is_settled
        later = self._due.pop(draft.key, None) or self._fresh.pop(draft.key, draft)
        for each in (draft, later):
            each.settle(_unavailable())
        if not later.state.status.is_terminal:
            self._refused.add(later.key)
        elif later is not draft:
            self._doubt(draft.running, later.state)
        draft.running.fail(_unavailable())


def _unavailable() -> StorageUnavailable:
    return StorageUnavailable("The prediction cannot be recorded now. Try again later.")
