"""Predictions, and what goes with them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_RUNNING = sa.text("status IN ('pending', 'starting', 'started')")
_STORED = sa.text("is_stored")
_STORED_IN_SQLITE = sa.text("is_stored = 1")


def upgrade() -> None:
    """Make the tables beside those of keys and versions."""
    op.create_table(
        "facts",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.String(200), nullable=False),
    )
    _predictions()
    op.create_table(
        "labels",
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("label", sa.LargeBinary(32), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("prediction", sa.String(32), nullable=False, index=True),
        sa.PrimaryKeyConstraint("account", "label", "created_us", "prediction"),
    )
    op.create_table(
        "idempotency",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("prediction", sa.String(32), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "instances",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("beat", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "runs",
        sa.Column("model", sa.String(200), primary_key=True),
        sa.Column("predictions", sa.BigInteger, nullable=False),
    )


def _predictions() -> None:
    op.create_table(
        "predictions",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        *[sa.Column(name, sa.BigInteger, nullable=False) for name in ("created_us", "updated_us")],
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        *[sa.Column(name, sa.String(32), nullable=False) for name in ("engine", "instance")],
        sa.Column("reason", sa.String(16)),
        *[sa.Column(name, sa.BigInteger) for name in ("cancel_us", "queue_us", "setup_us", "execution_us")],
        sa.Column("failure_code", sa.String(64)),
        *[sa.Column(name, sa.Text) for name in ("failure_message", "usage", "receipt")],
        *[sa.Column(name, sa.Boolean, nullable=False) for name in ("is_streamed", "is_stored")],
        *[sa.Column(name, sa.Text) for name in ("metadata", "webhook_url", "webhook_secret")],
        *[sa.Column(name, sa.LargeBinary) for name in ("request", "output")],
    )
    by = ["account", "created_us", "id"]
    op.create_index("predictions_by_age", "predictions", by)
    op.create_index("predictions_by_status", "predictions", ["account", "status", "created_us", "id"])
    op.create_index(
        "predictions_running", "predictions", ["instance"], sqlite_where=_RUNNING, postgresql_where=_RUNNING
    )
    op.create_index("predictions_stored", "predictions", by, sqlite_where=_STORED_IN_SQLITE, postgresql_where=_STORED)
    op.create_index("predictions_kept", "predictions", ["created_us"])
