"""The hash of each journal line, and the lines that don't follow the ones before them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("events", sa.Column("line_hash", sa.Text))
    op.create_table(
        "broken_links",
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    )


def downgrade() -> None:
    op.drop_table("broken_links")
    op.drop_column("events", "line_hash")
