"""Every store for the store's tests: an empty database, opened, on SQLite and on PostgreSQL."""

import pytest

from antiphon.store.database import open_database


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def database(store_url, tmp_path):
    async with open_database(store_url, tmp_path) as opened:
        yield opened
