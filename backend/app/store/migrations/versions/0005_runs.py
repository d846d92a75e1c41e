"""What lists and pages show of runs and agents, made from the events in the background; and sessions of people."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    postgres = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "runs",
        # The order in which runs began to arrive. Given out by the indexer: one at a time writes here.
        sa.Column("number", sa.BigInteger if postgres else sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("trace_id", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("repository", sa.Text),
        sa.Column("run_id", sa.Text),
        sa.Column("attempt", sa.BigInteger),
        sa.Column("resource", sa.Text, nullable=False),
        sa.Column("action", sa.Text),
        sa.Column("plan_digest", sa.Text),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("conflicting", sa.BigInteger, nullable=False),
        sa.Column("code", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("approvers", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("last_at", sa.BigInteger, nullable=False),
        sa.Column("first_received", sa.BigInteger, nullable=False),
        sa.Column("last_received", sa.BigInteger, nullable=False),
        sa.Column("last_position", sa.BigInteger, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("trail", sa.Text, nullable=False),
        sa.Column("checked_at", sa.BigInteger, nullable=False),
        sa.Column("finding", sa.Text),
    )
    op.create_index("runs_trace", "runs", ["trace_id"], unique=True)
    for column in ("agent", "repository", "resource", "outcome", "code"):
        op.create_index(f"runs_{column}", "runs", [column, "number"])
    op.create_index("runs_received", "runs", ["first_received", "number"])
    op.create_index("runs_checked", "runs", ["checked_at"])
    op.create_index("runs_last", "runs", ["last_position"])
    unsound = sa.text("trail <> 'intact'")
    op.create_index("runs_trail", "runs", ["trail", "number"], sqlite_where=unsound, postgresql_where=unsound)
    op.create_table(
        "run_approvers",
        sa.Column("approver", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    )
    op.create_index("run_approvers_number", "run_approvers", ["number"])
    if postgres:
        op.execute("CREATE TABLE run_words (number bigint PRIMARY KEY, words tsvector NOT NULL)")
        op.execute("CREATE INDEX run_words_words ON run_words USING gin (words)")
    else:
        op.execute("CREATE VIRTUAL TABLE run_words USING fts5(words, tokenize = 'unicode61 remove_diacritics 0')")
    op.create_table(
        "run_streams",
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    )
    op.create_index("run_streams_number", "run_streams", ["number"])
    op.create_table(
        "streams",
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("forked", sa.BigInteger, nullable=False),
        sa.Column("broken", sa.BigInteger, nullable=False),
        sa.Column("verbatim", sa.BigInteger, nullable=False),
        sa.Column("last_position", sa.BigInteger, nullable=False),
    )
    op.create_index("streams_last", "streams", ["last_position"])
    op.create_table(
        "stream_heads",
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("entry", sa.BigInteger, primary_key=True, autoincrement=False),
    )
    op.create_table(
        "agents",
        sa.Column("agent", sa.Text, primary_key=True),
        sa.Column("repository", sa.Text),
        sa.Column("first_received", sa.BigInteger, nullable=False),
        sa.Column("last_received", sa.BigInteger, nullable=False),
        sa.Column("runs", sa.BigInteger, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
    )
    op.create_index("agents_last", "agents", ["last_received", "agent"])
    op.create_table(
        "run_index",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("through", sa.BigInteger, nullable=False),
        sa.Column("entries", sa.BigInteger, nullable=False),
        sa.Column("last_number", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("held_until", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO run_index VALUES (1, 0, 0, 0, 0, '', 0)")
    op.create_index("bundles_trace", "bundles", ["trace_id", "received_at"])
    op.create_table(
        "sessions",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("key_digest", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_index("bundles_trace")
    for table in (
        "sessions",
        "run_index",
        "agents",
        "stream_heads",
        "streams",
        "run_streams",
        "run_words",
        "run_approvers",
        "runs",
    ):
        op.drop_table(table)
