"""The transparency log: its entries, its tiles, the checkpoints that were signed, and how far the events are in it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "log_entries",
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("identity", sa.LargeBinary, nullable=False),
        sa.Column("entry", sa.LargeBinary, nullable=False),
    )
    op.create_index("log_entries_identity", "log_entries", ["identity"], unique=True)
    op.create_table(
        "log_tiles",
        sa.Column("level", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "log_checkpoints",
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("witnessed", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "log_seals",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("through", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO log_seals (id, epoch, through) VALUES (1, 0, 0)")


def downgrade() -> None:
    for table in ("log_seals", "log_checkpoints", "log_tiles", "log_entries"):
        op.drop_table(table)
