"""Slots, the queue, and what cancelling leaves behind."""

import contextlib

import anyio
import pytest

from antiphon.core.admission import Admission
from antiphon.domain.errors import QueueFull

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@contextlib.asynccontextmanager
async def held(admission, slots, account=""):
    await admission.take(slots, account)
    try:
        yield
    finally:
        admission.give_back(slots)


async def holder(admission, slots, order, name, release):
    async with held(admission, slots):
        order.append(name)
        await release.wait()


async def settle():
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


async def test_requests_run_in_order_of_arrival_and_a_large_one_is_not_overtaken():
    admission, order, release = Admission(2, 5), [], anyio.Event()
    async with anyio.create_task_group() as group:
        for name, slots in (("a", 1), ("large", 2), ("b", 1)):
            group.start_soon(holder, admission, slots, order, name, release)
            await settle()
        assert order == ["a"]
        assert repr(admission) == "<Admission 1 of 2 slots held, 2 queued>"
        release.set()
    assert order == ["a", "large", "b"]
    assert repr(admission) == "<Admission 0 of 2 slots held, 0 queued>"


async def test_a_full_queue_refuses_at_once():
    admission, release = Admission(1, 0), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(holder, admission, 1, [], "a", release)
        await settle()
        with pytest.raises(QueueFull):
            async with held(admission, 1):
                pass
        release.set()


async def test_a_waiter_that_leaves_frees_the_way_for_those_behind_it():
    admission, order, release = Admission(2, 5), [], anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(holder, admission, 1, order, "a", release)
        await settle()
        with anyio.CancelScope() as scope:

            async def leave():
                async with held(admission, 2):
                    order.append("never")

            async with anyio.create_task_group() as inner:
                inner.start_soon(leave)
                await settle()
                group.start_soon(holder, admission, 1, order, "b", release)
                await settle()
                assert order == ["a"]
                scope.cancel()
        await settle()
        assert order == ["a", "b"]
        release.set()
    assert admission.free == 2


async def test_slots_granted_to_a_waiter_in_the_moment_it_is_cancelled_are_not_lost():
    for _ in range(200):
        admission = Admission(1, 5)
        async with anyio.create_task_group() as group:
            release = anyio.Event()
            group.start_soon(holder, admission, 1, [], "a", release)
            await settle()
            waiting = anyio.CancelScope()

            async def wait(scope=waiting, slots=admission):
                with scope:
                    async with held(slots, 1):
                        await anyio.sleep_forever()

            group.start_soon(wait)
            await settle()
            release.set()
            await anyio.lowlevel.checkpoint()
            waiting.cancel()
        assert repr(admission) == "<Admission 0 of 1 slots held, 0 queued>"


async def waits(admission, account, order, name, release):
    try:
        async with held(admission, 1, account):
            order.append(name)
            await release.wait()
    except QueueFull:
        order.append(f"{name} refused")


async def test_accounts_have_turns_however_many_of_one_came_before():
    admission, order, release = Admission(1, 10), [], anyio.Event()
    async with anyio.create_task_group() as group:
        for account, name in (
            ("a", "a1"),
            ("a", "a2"),
            ("a", "a3"),
            ("a", "a4"),
            ("b", "b1"),
            ("b", "b2"),
            ("c", "c1"),
        ):
            group.start_soon(waits, admission, account, order, name, release)
            await settle()
        release.set()
    assert order == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]
    assert repr(admission) == "<Admission 0 of 1 slots held, 0 queued>"


async def test_a_flood_that_fills_the_line_makes_room_for_the_first_of_another_account_and_for_no_more_than_its_share():
    admission, order, release = Admission(1, 4), [], anyio.Event()
    names = [("a", f"a{number}") for number in range(6)] + [("b", f"b{number}") for number in range(4)]
    async with anyio.create_task_group() as group:
        for account, name in names:
            group.start_soon(waits, admission, account, order, name, release)
            await settle()
        # a0 runs, a1 to a4 wait, a5 is one too many; b0 and b1 take the places of a4 and a3, and then both have two.
        assert order == ["a0", "a5 refused", "a4 refused", "a3 refused", "b2 refused", "b3 refused"]
        assert admission.queued == 4
        release.set()
    assert order[6:] == ["a1", "b0", "a2", "b1"]
    assert (admission.free, admission.queued) == (1, 0)
