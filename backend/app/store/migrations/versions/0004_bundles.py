"""Bundles of the archive, and what a key that writes is bound to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "bundles",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("run_attempt", sa.BigInteger, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("resource", sa.Text, nullable=False),
        sa.Column("trace_id", sa.Text, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("received_by", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("held_because", sa.Text),
    )
    op.create_index("bundles_received", "bundles", ["received_at", "digest"])
    op.create_index("bundles_repository", "bundles", ["repository", "received_at", "digest"])
    op.create_index("bundles_agent", "bundles", ["agent", "received_at", "digest"])
    op.add_column("api_keys", sa.Column("agent", sa.Text))
    op.add_column("api_keys", sa.Column("repository", sa.Text))


def downgrade() -> None:
    op.drop_column("api_keys", "repository")
    op.drop_column("api_keys", "agent")
    op.drop_table("bundles")
