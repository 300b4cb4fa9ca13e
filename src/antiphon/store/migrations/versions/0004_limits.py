"""What keys may, and what was spent with them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the column and the table."""
    op.add_column("keys", sa.Column("limits", sa.Text))
    op.create_table(
        "spending",
        sa.Column("key_id", sa.String(32), primary_key=True),
        sa.Column("window", sa.String(8), primary_key=True),
        *[sa.Column("start", sa.BigInteger, primary_key=True), sa.Column("tokens", sa.BigInteger, nullable=False)],
    )
