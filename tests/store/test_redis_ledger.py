"""The scripts that count in a real Redis: what they refuse leaves nothing behind, and an end counts once."""

import anyio
import pytest

from antiphon.core.limits import Limiter
from antiphon.domain.errors import InsufficientQuota, RateLimited
from antiphon.domain.limits import Holder, KeyLimits
from antiphon.store.redis_ledger import open_redis_ledger
from tests.valkey import valkey_server


@pytest.fixture(scope="module")
def valkey():
    with valkey_server() as server:
        yield server


@pytest.fixture
def run(valkey):
    """Use a ledger over an empty Redis."""
    valkey.command("FLUSHALL")

    def run(use):
        async def inside():
            async with open_redis_ledger(valkey.url) as ledger:
                await use(ledger)

        anyio.run(inside)

    return run


def test_what_is_refused_takes_no_room_no_request_and_no_tokens(run, valkey):
    used_up = Holder("team", "k1", KeyLimits(concurrent=1, requests_per_s=1000, tokens_per_month=10))

    async def use(ledger):
        limiter = Limiter(ledger)
        ticket = await limiter.admit(used_up)
        with pytest.raises(RateLimited, match="predictions at once"):
            await limiter.admit(used_up)
        await ticket.close(10)
        for _ in range(3):
            with pytest.raises(InsufficientQuota):
                await limiter.admit(used_up)
        assert valkey.command("ZCARD", "antiphon:running:k1") == b":0\r\n"

    run(use)


def test_an_end_that_is_told_twice_is_paid_for_once(run, valkey):
    holder = Holder("team", "k2", KeyLimits(tokens_per_day=100))

    async def use(ledger):
        ticket = await Limiter(ledger).admit(holder)
        (lease,) = ledger._open
        await ticket.close(7)
        key = valkey.command("KEYS", "antiphon:spent:*").decode().split()[-1]
        assert valkey.command("GET", key) == b"$1\r\n7\r\n"
        await ledger._leave(keys=["antiphon:running:k2", key], args=[lease, 7, 2**40])
        assert valkey.command("GET", key) == b"$1\r\n7\r\n"

    run(use)


def test_nothing_is_kept_for_ever(run, valkey):
    holder = Holder(
        "team", "k3", KeyLimits(concurrent=1, requests_per_s=1, tokens_per_minute=100, tokens_per_month=100)
    )

    async def use(ledger):
        limiter = Limiter(ledger)
        await (await limiter.admit(holder)).close(1)
        await anyio.sleep(1.1)
        await limiter.admit(holder)

    run(use)
    names = valkey.command("KEYS", "antiphon:*").decode().split()[2::2]
    assert len(names) == 4
    assert all(int(valkey.command("TTL", name)[1:]) >= 0 for name in names)
