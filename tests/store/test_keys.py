"""Keys on a real database: what is stored, who is believed, and what happens when it cannot be asked."""

import sqlite3
import stat

import anyio
import pytest

from antiphon.domain.errors import StorageUnavailable
from antiphon.domain.limits import ADMIN
from antiphon.store import keys as module
from antiphon.store.keys import open_keys


def run(path, use, bootstrap=None):
    async def inside():
        async with open_keys(f"sqlite:///{path}", path.parent, bootstrap) as (database, keys):
            return await use(keys, database)

    return anyio.run(inside)


def test_no_key_is_stored_and_only_its_owner_can_read_the_files(tmp_path):
    path = tmp_path / "home" / "antiphon.db"
    secret = run(path, lambda keys, _: keys.create("team", "laptop"))
    written = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert secret.encode() not in written
    assert secret.removeprefix("sk-antiphon-").encode() not in written
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_database_without_its_pepper_knows_no_key(tmp_path):
    path = tmp_path / "antiphon.db"
    secret = run(path, lambda keys, _: keys.create("team", "laptop"))
    path.with_suffix(".pepper").unlink()
    assert run(path, lambda keys, _: keys.holder_of(secret.encode())) is None


def test_the_bootstrap_key_is_admins_and_is_not_stored(tmp_path):
    path = tmp_path / "antiphon.db"
    assert run(path, lambda keys, _: keys.holder_of(b"sk-first"), "sk-first").account == ADMIN
    assert run(path, lambda keys, _: keys.list(), "sk-first") == []
    assert run(path, lambda keys, _: keys.holder_of(b"sk-first")) is None


def test_a_revoked_key_is_still_listed_and_cannot_be_revoked_twice(tmp_path):
    async def use(keys, _):
        secret = await keys.create("team", "laptop")
        (made,) = await keys.list()
        assert await keys.revoke(made.id)
        assert not await keys.revoke(made.id)
        (ended,) = await keys.list()
        assert (ended.id, ended.account, ended.name) == (made.id, "team", "laptop")
        assert ended.revoked is not None
        assert await keys.holder_of(secret.encode()) is None

    run(tmp_path / "antiphon.db", use)


def test_a_known_key_works_while_the_database_does_not_answer_and_an_unknown_one_hears_so(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FRESH_S", 0.0)
    path = tmp_path / "antiphon.db"

    async def use(keys, database):
        known, unseen = await keys.create("team", "a"), await keys.create("team", "b")
        assert (await keys.holder_of(known.encode())).account == "team"
        await database.close()
        path.rename(path.with_name("gone"))
        with sqlite3.connect(path) as empty:
            empty.execute("CREATE TABLE other (at INTEGER)")
        empty.close()
        assert (await keys.holder_of(known.encode())).account == "team"
        with pytest.raises(StorageUnavailable):
            await keys.holder_of(unseen.encode())
        monkeypatch.setattr(module, "STALE_S", 0.0)
        with pytest.raises(StorageUnavailable):
            await keys.holder_of(known.encode())

    run(path, use)


def test_keys_made_at_once_are_all_kept(tmp_path):
    async def use(keys, _):
        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(keys.create, "team", str(number))
        return await keys.list()

    assert {key.name for key in run(tmp_path / "antiphon.db", use)} == {str(number) for number in range(40)}
