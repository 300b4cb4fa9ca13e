"""The ledger of many machines: requests, predictions and tokens of keys, counted in one Redis (or Valkey).

All that is asked of a request is one script, so that nothing comes between looking and counting. A prediction has a
lease, which a process that dies renews no more. Time is Redis's own, except for the beginnings of windows.
"""

import itertools
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import anyio
import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from antiphon.core.groups import companions
from antiphon.core.limits import Counted, Leave, Standing, judged
from antiphon.domain.errors import StorageUnavailable
from antiphon.domain.limits import Account, Holder, accounts_of, most_credit
from antiphon.store.unfit import StoreUnfit

ANSWER_S = 0.5
"""How long Redis may take for anything."""
CONNECTIONS = 32
LEASE_S = 10
"""How long what a dead process ran is held against its key."""
BEAT_S = 2.0
"""How often leases are renewed, and ends told that could not be told."""
_ANY = 2**53
"""As good as no limit, and a whole number in Lua."""

_ENTER = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local lease_s, concurrent, per_s, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local running, credit = redis.call('ZCARD', KEYS[1]), 1
if per_s > 0 then
  local kept = redis.call('HMGET', KEYS[2], 'credit', 'at')
  local passed_s = math.max(0, now - (tonumber(kept[2]) or 0))
  credit = math.min(most, (tonumber(kept[1]) or most) + passed_s * per_s)
end
local is_free = running < concurrent and credit >= 1
local said = {running, string.format('%.17g', credit)}
for place = 3, #KEYS do
  local spent = tonumber(redis.call('GET', KEYS[place]) or 0)
  is_free = is_free and spent < tonumber(ARGV[place + 3])
  said[place] = spent
end
if is_free then
  redis.call('ZADD', KEYS[1], now + lease_s, ARGV[1])
  redis.call('EXPIRE', KEYS[1], lease_s)
  if per_s > 0 then
    redis.call('HSET', KEYS[2], 'credit', string.format('%.17g', credit - 1), 'at', string.format('%.17g', now))
    redis.call('EXPIRE', KEYS[2], math.min(1000000000, math.ceil(most / per_s)))
  end
end
return said
"""
"""Count a request, if it may be; say what stood against it in any case.

Its keys are those of predictions, of requests and of each account; the limits of accounts follow the other arguments.
"""
_LEAVE = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 then
  for place = 2, #KEYS do
    redis.call('INCRBY', KEYS[place], ARGV[2])
    redis.call('EXPIREAT', KEYS[place], ARGV[place + 1])
  end
end
"""
"""Count an end and what it cost, however often it is told."""
_BEAT = """
local clock = redis.call('TIME')
for place = 2, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', clock[1] + tonumber(ARGV[1]), ARGV[place])
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""
"""Renew leases, but none whose end was told meanwhile."""

_log = structlog.get_logger()


class RedisLedger:
    """See core.limits.Ledger."""

    def __init__(self, client: Redis) -> None:
        self._enter, self._leave, self._beat = map(client.register_script, (_ENTER, _LEAVE, _BEAT))
        self._process, self._numbers = uuid4().hex, itertools.count()
        self._open: dict[str, str] = {}
        """The key of each lease."""
        self._owed: dict[str, tuple[list[str], list[str | int]]] = {}
        """The ends that are not told yet: what the script is given."""

    async def enter(self, holder: Holder) -> tuple[Standing, Leave]:
        """Count a request, if nothing stands against it."""
        now, lease = time.time(), f"{self._process}:{next(self._numbers)}"
        limits, accounts = holder.limits, list(accounts_of(holder, now))
        per_s, concurrent = limits.requests_per_s or 0, limits.concurrent or _ANY
        keys = [
            _running(holder.key_id),
            f"antiphon:rate:{holder.key_id}",
            *(_spent(account) for account, _, _ in accounts),
        ]
        args = [lease, LEASE_S, concurrent, per_s, most_credit(per_s), *(limit for _, limit, _ in accounts)]
        running, credit, *spent = await _asked(self._enter, keys, args)
        stands = {account: tokens for (account, _, _), tokens in zip(accounts, spent, strict=True)}
        standing = judged(holder, Counted(stands, running, float(credit)), now)
        self._open[lease] = holder.key_id
        return standing, partial(self._end, holder, lease)

    async def _end(self, holder: Holder, lease: str, tokens: int) -> None:
        del self._open[lease]
        accounts = list(accounts_of(holder, time.time())) if tokens else []
        keys = [_running(holder.key_id), *(_spent(account) for account, _, _ in accounts)]
        self._owed[lease] = keys, [lease, tokens, *(end for _, _, end in accounts)]
        with anyio.CancelScope(shield=True):
            await self._pay(lease)

    async def _pay(self, lease: str) -> bool:
        """Tell an end; give whether it was heard. If not, it is told again."""
        try:
            await _asked(self._leave, *self._owed[lease])
        except StorageUnavailable:
            return False
        self._owed.pop(lease, None)
        return True

    async def run(self) -> None:
        """Renew the leases, for ever."""
        while True:
            await anyio.sleep(BEAT_S)
            try:
                await self._renew()
            except StorageUnavailable:
                _log.warning("limits cannot be told", predictions=len(self._open))
            await self.settle()

    async def settle(self) -> None:
        """Tell the ends that could not be told."""
        for lease in list(self._owed):
            if lease in self._owed and not await self._pay(lease):
                _log.warning("spending cannot be told", predictions=len(self._owed))
                return

    async def _renew(self) -> None:
        leases: dict[str, list[str]] = {}
        for lease, key_id in self._open.items():
            leases.setdefault(key_id, []).append(lease)
        for key_id, its in leases.items():
            await _asked(self._beat, [_running(key_id)], [LEASE_S, *its])


@asynccontextmanager
async def open_redis_ledger(url: str) -> AsyncGenerator[RedisLedger]:
    """Keep the ledger in a Redis for the body.

    Args:
        url: `redis://USER:PASSWORD@HOST:PORT/NUMBER`, `rediss://…` or `unix://PATH`.

    Raises:
        StoreUnfit: it cannot be used; the message is one line without the password.
    """
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=ANSWER_S,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),  # A script that may have run is not sent again.
        )
    except ValueError:  # Its message may quote a password.
        raise StoreUnfit("the address of Redis cannot be read: redis://USER:PASSWORD@HOST:PORT/NUMBER") from None
    client = Redis.from_pool(pool)
    place = "Redis at " + ":".join(
        str(pool.connection_kwargs[name]) for name in ("path", "host", "port") if name in pool.connection_kwargs
    )
    try:
        try:
            with anyio.fail_after(2 * ANSWER_S):
                await client.ping()
        except (RedisError, OSError, TypeError) as error:  # TypeError: options that the client has not.
            raise StoreUnfit(
                f"{place} cannot be used: {(str(error).splitlines() or ['it does not answer'])[0]}"
            ) from None
        ledger = RedisLedger(client)
        async with companions() as group:
            group.start_soon(ledger.run)
            yield ledger
        with anyio.CancelScope(shield=True):
            await ledger.settle()
    finally:
        with anyio.move_on_after(ANSWER_S, shield=True):
            await client.aclose()


async def _asked(script: AsyncScript, keys: Sequence[str], args: Sequence[str | float]) -> Any:
    """Give what a script says.

    Raises:
        StorageUnavailable: Redis does not answer in time, or cannot do it.
    """
    try:
        with anyio.fail_after(ANSWER_S):
            return await script(keys=keys, args=args)
    except (RedisError, OSError) as error:  # OSError includes TimeoutError.
        raise StorageUnavailable("Limits cannot be checked now. Try again later.") from error


def _running(key_id: str) -> str:
    return f"antiphon:running:{key_id}"


def _spent(account: Account) -> str:
    return "antiphon:spent:" + ":".join(map(str, account))
