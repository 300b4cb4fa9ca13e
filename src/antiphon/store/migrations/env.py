"""What alembic runs: the migrations, in the transaction of the connection it was given."""

from alembic import context

from antiphon.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
