"""Who has an idempotency key: claims on both stores."""

from collections import Counter
from uuid import uuid4

import anyio
import pytest
from sqlalchemy import update

from antiphon.store.idempotency import KEPT_S, SqlIdempotency
from antiphon.store.tables import idempotency
from tests.store.kit import rows

pytestmark = pytest.mark.anyio
DIGEST, OTHER = b"1" * 32, b"2" * 32


async def race(database, count=50, **options):
    """Claim one key for many predictions at once; give who has it, by what each was told."""
    claims, store = {}, SqlIdempotency(database)

    async def claim(mine):
        claims[mine] = await store.claim("team", "key", DIGEST, mine, **options)

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(claim, uuid4())
    winners = Counter(claim.prediction_id for claim in claims.values())
    assert len(winners) == 1
    assert {claim.digest for claim in claims.values()} == {DIGEST}
    (winner,) = winners
    return winner, winner in claims


async def age(database, seconds):
    older = update(idempotency).values(created_us=idempotency.c.created_us - int(seconds * 1e6))
    await database.write(lambda connection: connection.execute(older))


async def test_of_fifty_who_claim_a_key_at_once_one_has_it_and_all_are_told_who(database):
    assert (await race(database))[1]
    assert len(await rows(database, idempotency)) == 1


async def test_a_key_is_kept_for_a_day_and_then_taken_by_one(database):
    first, _ = await race(database)
    await age(database, KEPT_S - 60)
    assert await race(database) == (first, False)
    claim = await SqlIdempotency(database).claim("team", "key", OTHER, uuid4())
    assert KEPT_S - 60 <= claim.age_s < KEPT_S - 30
    await age(database, 61)
    second, is_new = await race(database)
    assert is_new
    assert second != first


async def test_a_key_is_one_accounts_own(database):
    store, mine, theirs = SqlIdempotency(database), uuid4(), uuid4()
    assert (await store.claim("team", "key", DIGEST, mine)).prediction_id == mine
    assert (await store.claim("other", "key", OTHER, theirs)).prediction_id == theirs
    assert (await store.claim("team", "key", DIGEST, uuid4())).prediction_id == mine


async def test_another_request_with_the_key_is_told_the_first_ones_digest_and_cannot_take_it(database):
    store, mine = SqlIdempotency(database), uuid4()
    await store.claim("team", "key", DIGEST, mine)
    for instead_of in (None, mine):
        claim = await store.claim("team", "key", OTHER, uuid4(), instead_of)
        assert (claim.prediction_id, claim.digest) == (mine, DIGEST)


async def test_a_key_whose_prediction_came_to_nothing_goes_to_one_of_those_who_ask_for_it(database):
    first, _ = await race(database)
    assert await race(database, instead_of=uuid4()) == (first, False)
    second, is_new = await race(database, instead_of=first)
    assert is_new
    assert second != first
    assert await race(database, instead_of=first) == (second, False)


@pytest.mark.parametrize("key", ["k" * 255, "a b", "'; DROP TABLE idempotency; --", "~!@#$%^&*()"])
async def test_any_printable_key_is_kept(database, key):
    store, mine = SqlIdempotency(database), uuid4()
    for prediction in (mine, uuid4()):
        assert (await store.claim("team", key, DIGEST, prediction)).prediction_id == mine
