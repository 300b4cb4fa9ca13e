"""Files that expired, over each store."""

import time

import anyio
import pytest
from anyio import fail_after
from sqlalchemy import insert

from antiphon.store import files as module
from antiphon.store.files import AT_ONCE, open_files
from antiphon.store.tables import files
from tests.store.kit import rows

pytestmark = pytest.mark.anyio


async def test_files_that_expire_are_removed_again_and_again_and_others_are_not(database, monkeypatch):
    monkeypatch.setattr(module, "SWEEP_S", 0.05)
    now = int(time.time())
    row = {"account": "me", "filename": "a", "size": 1, "created": now - 10, "content": b"x"}
    old = [row | {"id": f"old-{number}", "expires": now - 1} for number in range(2 * AT_ONCE + 1)]
    async with open_files(database):
        for batch in ([*old, row | {"id": "new", "expires": now + 60}], old):
            await database.write(lambda connection, batch=batch: connection.execute(insert(files), batch))
            with fail_after(10):
                while [one.id for one in await rows(database, files)] != ["new"]:
                    await anyio.sleep(0.05)


async def test_an_account_s_usage_leaves_out_what_has_expired(database):
    now = int(time.time())
    row = {"account": "me", "filename": "a", "size": 5, "created": now - 10, "content": b"x"}
    some = [row | {"id": "old", "expires": now - 1}, row | {"id": "new", "expires": now + 60}]
    some.append(row | {"id": "theirs", "expires": now + 60, "account": "you"})
    async with open_files(database) as kept:
        await database.write(lambda connection: connection.execute(insert(files), some))
        assert await kept.usage("me") == (1, 5)
        assert await kept.usage("nobody") == (0, 0)
