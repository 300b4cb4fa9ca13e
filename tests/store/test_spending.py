"""What a key spends, told to a real database: nothing is forgotten on the way, and nothing is kept for ever."""

import sqlite3
from contextlib import closing

import anyio
import pytest
from sqlalchemy.exc import ProgrammingError

from antiphon.core import ledger as module
from antiphon.core.ledger import HomeLedger
from antiphon.core.limits import Limiter
from antiphon.core.spending import Purses
from antiphon.domain.errors import InsufficientQuota, RateLimited
from antiphon.domain.limits import Holder, KeyLimits
from antiphon.store.database import open_database
from antiphon.store.rooms import open_rooms
from antiphon.store.spending import SqlSpending

HOLDER = Holder("team", "k1", KeyLimits(tokens_per_month=10))


def run(folder, use, spending=SqlSpending):
    async def inside():
        async with open_database("sqlite:///antiphon.db", folder) as database:
            purses = Purses(spending(database))
            with open_rooms(folder) as rooms:
                await use(Limiter(HomeLedger(purses, rooms)), purses)

    anyio.run(inside)


def locked(folder):
    """The database while another process writes."""
    link = sqlite3.connect(folder / "antiphon.db", isolation_level=None)
    link.execute("BEGIN IMMEDIATE")
    return closing(link)


async def spend(limiter, holder, tokens):
    await (await limiter.admit(holder)).close(tokens)


def stored(folder):
    with closing(sqlite3.connect(folder / "antiphon.db")) as link:
        return dict(link.execute('SELECT "window", sum(tokens) FROM spending GROUP BY 1').fetchall())


def test_what_is_on_its_way_to_the_store_counts_until_it_is_there(tmp_path):
    async def use(limiter, purses):
        await spend(limiter, HOLDER, 10)
        async with anyio.create_task_group() as group:
            with locked(tmp_path):
                group.start_soon(purses.exchange)
                await anyio.sleep(0.05)
                with pytest.raises(InsufficientQuota):
                    await limiter.admit(HOLDER)
        with pytest.raises(InsufficientQuota):
            await limiter.admit(HOLDER)

    run(tmp_path, use)


def test_what_could_not_be_told_is_told_later_and_once(tmp_path):
    async def use(limiter, purses):
        await spend(limiter, HOLDER, 3)
        with locked(tmp_path), anyio.move_on_after(0.1):
            await purses.exchange()
        assert stored(tmp_path) == {}
        await spend(limiter, HOLDER, 4)
        for _ in range(3):
            await purses.exchange()
        assert stored(tmp_path) == {"month": 7}

    run(tmp_path, use)


def test_a_database_that_refuses_for_a_while_ends_nothing_and_is_told_later(tmp_path, monkeypatch):
    """PostgreSQL says so of a table that is being restored, and of one whose privileges were taken away."""
    monkeypatch.setattr("antiphon.core.spending.EXCHANGE_S", 0.01)
    tries = []

    class Refusing(SqlSpending):
        async def exchange(self, spent):
            tries.append(spent)
            if 1 < len(tries) < 4:
                raise ProgrammingError("SELECT", None, Exception("no such table"))
            return await super().exchange(spent)

    async def use(limiter, purses):
        await spend(limiter, HOLDER, 3)
        async with anyio.create_task_group() as group:
            group.start_soon(purses.run)
            with anyio.fail_after(5):
                while not stored(tmp_path):
                    await anyio.sleep(0.01)
            group.cancel_scope.cancel()

    run(tmp_path, use, Refusing)
    assert stored(tmp_path) == {"month": 3}


def test_windows_that_are_over_are_asked_for_no_more(tmp_path, monkeypatch):
    holder = Holder("team", "k1", KeyLimits(tokens_per_minute=1000, tokens_per_day=1_000_000))
    asked = []

    class Counting(SqlSpending):
        async def exchange(self, spent):
            asked.append(len(spent))
            return await super().exchange(spent)

    async def use(limiter, purses):
        for minute in range(100):
            monkeypatch.setattr(module.time, "time", lambda minute=minute: 1_700_000_000.0 + 60 * minute)
            async with await limiter.admit(holder):  # It runs on: that is when others' spending is heard.
                await spend(limiter, holder, 1)
                await purses.exchange()

    run(tmp_path, use, Counting)
    assert stored(tmp_path) == {"minute": 100, "day": 100}
    assert max(asked) <= 4


def test_a_clock_that_is_set_back_takes_no_request_away(tmp_path, monkeypatch):
    holder = Holder("team", "k1", KeyLimits(requests_per_s=2))

    async def use(limiter, purses):
        await (await limiter.admit(holder)).close()
        now = module.time.time()
        monkeypatch.setattr(module.time, "time", lambda: now - 3600)
        await (await limiter.admit(holder)).close()
        with pytest.raises(RateLimited):
            await limiter.admit(holder)
        monkeypatch.setattr(module.time, "time", lambda: now - 3599)
        await (await limiter.admit(holder)).close()

    run(tmp_path, use)
