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
_LOCK = 0x416E7469
"""The key of the PostgreSQL lock under which one process migrates while others wait."""


def migrate(connection: Connection, place: str) -> None:
    """Bring a database to the newest schema, in the transaction that `connection` is in.

    Raises:
        StoreUnfit: it was written by a newer program, or its tables are not ours.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    number = connection.execute(text("PRAGMA user_version")).scalar_one() if is_sqlite else 0
    if number > _USER_VERSION:
        raise _newer(place, number)
    config = _config(connection)
    scripts = ScriptDirectory.from_config(config)
    found = MigrationContext.configure(connection).get_current_revision()
    tables = set(inspect(connection).get_table_names())
    # Neither number is ours alone: others count their schemas in the same places.
    if tables and not ((found or number) and tables >= _FIRST_TABLES):
        raise StoreUnfit(f"{place} holds tables that are not Antiphon's")
    if tables and found is None:
        command.stamp(config, found := FIRST)
    if found == scripts.get_current_head():
        return
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise _newer(place, found)
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
