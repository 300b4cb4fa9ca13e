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
    config = _config(connection)
    scripts = ScriptDirectory.from_config(config)
    found = MigrationContext.configure(connection).get_current_revision()
    if is_sqlite:
        number = connection.execute(text("PRAGMA user_version")).scalar_one()
        _refuse_newer(number, place)
        if found is None and number:
            command.stamp(config, found := FIRST)
    if found == scripts.get_current_head():
        return
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreUnfit(f"{place} was written by a newer version of Antiphon (schema {found})")
    if found is None and inspect(connection).get_table_names():
        raise StoreUnfit(f"{place} holds tables that are not Antiphon's")
    command.upgrade(config, "head")
    if is_sqlite:
        connection.execute(text(f"PRAGMA user_version={_USER_VERSION}"))


def _refuse_newer(number: int, place: str) -> None:
    if number > _USER_VERSION:
        raise StoreUnfit(f"{place} was written by a newer version of Antiphon (schema {number})")


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
