"""The schema, brought up to date: from nothing, or from any that was ever released.

Alembic keeps which one a database has. The first released schema was kept by hand, in SQLite's `user_version`; a file
that carries it is alembic's revision 0001.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from antiphon.store.unfit import StoreUnfit

FIRST = "0001"
_FIRST_TABLES = frozenset({"keys", "versions"})
"""What every database of ours has had since then."""
_USER_VERSION = 2
"""What SQLite files carry, so that the program that looked only at this number refuses them."""
_FROM_NUMBER = "user_version"
"""What stands for the revision of a file that has only the number."""
_LOCK = 0x416E7469
"""The key of the PostgreSQL lock under which one process migrates while others wait."""


def check(connection: Connection, place: str) -> str | None:
    """See that a database is one of ours, changing nothing; give its revision, None when it is empty.

    Raises:
        StoreUnfit: it was written by a newer program, or its tables are not ours.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    number = connection.execute(text("PRAGMA user_version")).scalar_one() if is_sqlite else 0
    if number > _USER_VERSION:
        raise _newer(place, number)
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    found = MigrationContext.configure(connection).get_current_revision()
    # Neither number is ours alone: others count their schemas in the same places.
    if not ((found or number) and tables >= _FIRST_TABLES):
        raise StoreUnfit(f"{place} holds tables that are not Antiphon's")
    scripts = ScriptDirectory.from_config(_config(connection))
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise _newer(place, found)
    return found or _FROM_NUMBER


def migrate(connection: Connection, place: str) -> None:
    """Bring a database to the newest schema, in the transaction that `connection` is in.

    Raises:
        StoreUnfit: as `check`.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    found, config = check(connection, place), _config(connection)
    if found == _FROM_NUMBER:
        command.stamp(config, FIRST)
    if found == ScriptDirectory.from_config(config).get_current_head():
        return
    command.upgrade(config, "head")
    if is_sqlite:
        connection.execute(text(f"PRAGMA user_version={_USER_VERSION}"))


def _newer(place: str, schema: int | str) -> StoreUnfit:
    return StoreUnfit(f"{place} was written by a newer version of Antiphon (schema {schema})")


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
