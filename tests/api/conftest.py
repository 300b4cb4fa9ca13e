"""Servers over each store, for the tests of what is kept."""

import pytest

from tests.conftest import STORES, serving
from tests.lives import kept_in
from tests.valkey import valkey_server


@pytest.fixture(scope="module", params=STORES)
def pair(request, tmp_path_factory):
    """Two server processes over one database: once a file, once on PostgreSQL."""
    url = "sqlite:///antiphon.db" if request.param == "sqlite" else request.getfixturevalue("postgres")()
    home = tmp_path_factory.mktemp("pair")
    with (
        serving(home, kept_in(url), log=home / "first.log") as first,
        serving(home, kept_in(url), log=home / "second.log") as second,
    ):
        yield first, second


@pytest.fixture(scope="module")
def valkey():
    """A Redis."""
    with valkey_server() as server:
        yield server


@pytest.fixture
def kept(pair):
    """A server over each store; another one is beside it."""
    return pair[0]
