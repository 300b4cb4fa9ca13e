"""Files."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table of files."""
    op.create_table(
        "files",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("filename", sa.String(255), nullable=False),
        *[sa.Column(name, sa.BigInteger, nullable=False) for name in ("size", "created", "expires")],
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_index("files_by_age", "files", ["account", "created", "id"])
    op.create_index("files_expired", "files", ["expires"])
