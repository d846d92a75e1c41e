"""Events, what retention deleted of their streams, and API keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    postgres = op.get_bind().dialect.name == "postgresql"
    # On SQLite the position is the rowid: an index holds it without naming it.
    position = (
        sa.Column("position", sa.BigInteger, sa.Identity(), primary_key=True)
        if postgres
        else sa.Column("position", sa.Integer, primary_key=True)
    )
    op.create_table(
        "events",
        position,
        sa.Column("event_id", sa.Uuid if postgres else sa.LargeBinary, nullable=False),
        sa.Column("occurred_at", sa.BigInteger, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("agent_instance_id", sa.Text, nullable=False),
        sa.Column("trace_id", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action_type", sa.Text, nullable=False),
        sa.Column("resource", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("stream", sa.Text),
        sa.Column("seq", sa.BigInteger),
        sa.Column("body", sa.Text, nullable=False),
    )
    last = ["position"] if postgres else []
    op.create_index("events_event_id", "events", ["event_id"], unique=True)
    op.create_index("events_time", "events", ["occurred_at", *last])
    op.create_index("events_agent", "events", ["agent_instance_id", "occurred_at", *last])
    op.create_index("events_trace", "events", ["trace_id", "occurred_at", *last])
    placed = sa.text("stream IS NOT NULL")
    op.create_index("events_stream", "events", ["stream", "seq"], sqlite_where=placed, postgresql_where=placed)
    unusual = sa.text("status <> 'success'")
    op.create_index(
        "events_unusual", "events", ["status", "occurred_at", *last], sqlite_where=unusual, postgresql_where=unusual
    )
    op.create_table(
        "expired_streams",
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("through_seq", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
    )


def downgrade() -> None:
    op.drop_table("api_keys")
    op.drop_table("expired_streams")
    op.drop_table("events")
