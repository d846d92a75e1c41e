"""Events in a PostgreSQL database, shared by any number of backend processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from app.events.chain import Link, Place
from app.store.base import Contention, QueryTimeout, Row, StoreUnavailable
from app.store.queries import LAST_POSITION, LINK

if TYPE_CHECKING:
    from sqlalchemy import Connection as SqlConnection
    from sqlalchemy import Engine

_COLUMNS = ", ".join(Row._fields)
_FEW = 16
"""Up to so many rows, one INSERT is quicker than a COPY with what belongs to it."""

_CONNECT_SECONDS = 5
_OPTIONS: dict[str, Any] = {
    "connect_timeout": _CONNECT_SECONDS,
    "fallback_application_name": "aimgentix-backend",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""What libpq gets where the operator's URL is silent."""
_WRITE_SECONDS = 30

_RETENTION_LOCK = 0x61696D78
"""Name of the advisory lock of the one process that deletes old events."""
_MIGRATION_LOCK = 0x61696D67
_MIGRATION_SECONDS = 3600
_LOG_LOCK = 0x61696D6C
"""Name of the advisory lock of the one process that adds to the transparency log."""


class PostgresDatabase:
    """The database that `conninfo` names.

    Args:
        query_timeout: seconds that one query may take.
    """

    def __init__(self, conninfo: str, query_timeout: float) -> None:
        self.conninfo = conninfo
        self.query_timeout = query_timeout

    def create(self) -> None:
        """Do nothing: an administrator creates databases."""

    def revision(self) -> str | None:
        with self._session() as session:
            encoding = session.execute("SHOW server_encoding").fetchone()
            if encoding != ("UTF8",):
                raise StoreUnavailable(f"the database's encoding is {encoding and encoding[0]}; it has to be UTF8", 60)
            try:
                found = session.execute("SELECT version_num FROM alembic_version").fetchone()
            except errors.UndefinedTable:
                return None
        return str(found[0]) if found else None

    def engine(self) -> Engine:
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        return create_engine("postgresql+psycopg://", creator=self._transactional, poolclass=NullPool)

    def lock(self, connection: SqlConnection) -> None:
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")

    def execute(self, sql: str, parameters: Sequence[Any]) -> int:
        with self._session() as session:
            return session.execute(sql.replace("?", "%s").encode(), parameters).rowcount

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """Open a connection for a start or a command; what is wrong is said in the server's own words."""
        try:
            with connect(self.conninfo, _CONNECT_SECONDS) as session:
                yield session
        except psycopg.Error as error:
            raise StoreUnavailable(" ".join(str(error).split())) from None

    def _transactional(self) -> psycopg.Connection[tuple[Any, ...]]:
        connection = connect(self.conninfo, _MIGRATION_SECONDS)
        connection.autocommit = False
        return connection

    def connect_writer(self) -> PostgresWriter:
        return PostgresWriter(self.conninfo)

    def connect_reader(self) -> PostgresReader:
        return PostgresReader(self.conninfo, self.query_timeout)

    def encode_id(self, event_id: bytes) -> object:
        return UUID(bytes=event_id)

    def free_bytes(self) -> int | None:
        return None


@contextmanager
def _unavailable() -> Iterator[None]:
    """Turn the server's errors that are about its state, and not about the statement, into StoreUnavailable."""
    try:
        yield
    except (errors.DeadlockDetected, errors.SerializationFailure):
        raise Contention from None
    except psycopg.OperationalError as error:
        raise StoreUnavailable(_reason(error), 2) from None
    except (errors.ReadOnlySqlTransaction, psycopg.InterfaceError) as error:
        raise StoreUnavailable(_reason(error), 2) from None


def _reason(error: psycopg.Error) -> str:
    return f"PostgreSQL does not answer ({error.sqlstate or type(error).__name__})"


def connect(conninfo: str, statement_timeout: float) -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection on which every statement is given up after `statement_timeout` seconds.

    Raises:
        psycopg.Error: that can't be done.
    """
    said = conninfo_to_dict(conninfo)
    unsaid = {name: value for name, value in _OPTIONS.items() if name not in said}
    connection = psycopg.connect(conninfo, autocommit=True, **unsaid)
    try:
        connection.execute(
            "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false)",
            (f"{int(statement_timeout * 1000)}ms", "10s"),
        )
    except psycopg.Error:
        connection.close()
        raise
    return connection


class PostgresWriter:
    """The connection that stores."""

    def __init__(self, conninfo: str) -> None:
        with _unavailable():
            self._connection = connect(conninfo, _WRITE_SECONDS)
            execute = self._connection.execute
            setting = execute("SHOW synchronous_commit").fetchone()
            if setting and setting[0] in ("off", "local"):
                # An acknowledgement means durable here, whatever the server's administrator chose for others.
                execute("SET synchronous_commit = on")
            execute(_CREATE_INCOMING)

    def begin(self) -> None:
        with _unavailable():
            self._connection.execute("BEGIN")

    def insert(self, rows: Sequence[Row]) -> int:
        with _unavailable():
            if len(rows) <= _FEW:
                return self._insert_few(rows)
            with self._connection.cursor() as cursor:
                with cursor.copy(_COPY) as copy:
                    copy.write(_copy_text(rows))
                return cursor.execute(_INSERT_INCOMING).rowcount

    def _insert_few(self, rows: Sequence[Row]) -> int:
        values = ", ".join([_VALUES] * len(rows))
        sql = f"INSERT INTO events ({_COLUMNS}) VALUES {values} ON CONFLICT (event_id) DO NOTHING"  # noqa: S608  only marks
        parameters: list[object] = []
        for row in rows:
            parameters.append(row.event_id.hex())
            parameters.extend(row[1:])
        return self._connection.execute(sql.encode(), parameters, prepare=True).rowcount

    def existing(self, event_ids: Sequence[bytes]) -> dict[bytes, str]:
        wanted = [UUID(bytes=event_id) for event_id in event_ids]
        with _unavailable():
            cursor = self._connection.execute("SELECT event_id, body FROM events WHERE event_id = ANY(%s)", (wanted,))
            return {event_id.bytes: body for event_id, body in cursor}

    def links(self, places: Sequence[Place]) -> list[Link]:
        with _unavailable():
            return [Link(*row) for row in self._connection.execute(_LINKS, _arrays(places), prepare=True)]

    def mark_broken(self, places: Sequence[Place]) -> None:
        with _unavailable():
            self._connection.execute(_MARK_BROKEN, _arrays(places))

    def purge(self, before: int, limit: int) -> int:
        with _unavailable():
            alone = self._connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_RETENTION_LOCK,)).fetchone()
            if not alone or not alone[0]:
                return 0
            return self._connection.execute(_PURGE, {"before": before, "limit": limit}).rowcount

    def fetch(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with _unavailable():
            return self._connection.execute(sql.replace("?", "%s").encode(), parameters).fetchall()

    def execute(self, sql: str, parameters: Sequence[Any]) -> None:
        with _unavailable():
            self._connection.execute(sql.replace("?", "%s").encode(), parameters)

    def put_words(self, words: Sequence[tuple[int, str]]) -> None:
        with _unavailable():
            self._connection.execute(_PUT_WORDS, ([number for number, _ in words], [text for _, text in words]))

    def drop_words(self, number: int) -> None:
        with _unavailable():
            self._connection.execute("DELETE FROM run_words WHERE number = %s", (number,))

    def lock_log(self) -> None:
        with _unavailable():
            self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOG_LOCK,))

    def last_position(self) -> int:
        with _unavailable(), self._connection.transaction():
            # An insert under way may have taken its positions, and be committed after one with higher positions.
            self._connection.execute("LOCK TABLE events IN SHARE MODE")
            found = self._connection.execute(LAST_POSITION).fetchone()
        return int(found[0]) if found else 0

    def commit(self) -> None:
        with _unavailable():
            self._connection.execute("COMMIT")

    def rollback(self) -> None:
        with suppress(psycopg.Error):
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        with suppress(psycopg.Error):
            self._connection.close()


def _arrays(places: Sequence[Place]) -> tuple[list[str], list[int]]:
    return [stream for stream, _ in places], [seq for _, seq in places]


_PUT_WORDS = """
    INSERT INTO run_words (number, words)
    SELECT number, array_to_tsvector(string_to_array(words, ' '))
    FROM unnest(%s::bigint[], %s::text[]) AS changed (number, words)
    ON CONFLICT (number) DO UPDATE SET words = excluded.words
"""
_PLACES = "SELECT * FROM unnest(%s::text[], %s::bigint[])"
_LINKS = f"SELECT {LINK} FROM events WHERE (stream, seq) IN ({_PLACES})"  # noqa: S608  fixed names
_MARK_BROKEN = f"INSERT INTO broken_links (stream, seq) {_PLACES} ON CONFLICT DO NOTHING"

_VALUES = "(%s::uuid, %s::bigint, %s::bigint, " + ", ".join(["%s::text"] * 7) + ", %s::bigint, %s::text, %s::text)"

_CREATE_INCOMING = """
    CREATE TEMPORARY TABLE incoming (
        ordinal integer, event_id uuid, occurred_at bigint, received_at bigint, agent_instance_id text, trace_id text,
        actor text, action_type text, resource text, status text, stream text, seq bigint, line_hash text, body text
    ) ON COMMIT DELETE ROWS
"""
_COPY = f"COPY incoming (ordinal, {_COLUMNS}) FROM STDIN"
_INSERT_INCOMING = f"""
    INSERT INTO events ({_COLUMNS}) SELECT {_COLUMNS} FROM incoming ORDER BY ordinal ON CONFLICT (event_id) DO NOTHING
"""  # noqa: S608  only the names of columns

_PURGE = """
    WITH oldest AS (
        SELECT position, stream, seq, received_at FROM events ORDER BY position LIMIT %(limit)s
    ), expired AS (
        DELETE FROM events WHERE position < coalesce(
            (SELECT min(position) FROM oldest WHERE received_at >= %(before)s),
            (SELECT max(position) + 1 FROM oldest)
        ) RETURNING stream, seq
    ), marked AS (
        INSERT INTO expired_streams (stream, through_seq)
        SELECT stream, max(seq) FROM expired WHERE stream IS NOT NULL GROUP BY stream
        ON CONFLICT (stream) DO UPDATE SET through_seq = greatest(expired_streams.through_seq, excluded.through_seq)
    )
    SELECT 1 FROM expired
"""

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _copy_text(rows: Sequence[Row]) -> bytes:
    """Return the rows in COPY's text format, with their ordinals.

    Only what a client wrote freely needs escapes. `body` is JSON on one line, in which only the backslash is special.
    """
    lines = []
    for ordinal, row in enumerate(rows):
        (
            event_id,
            occurred_at,
            received_at,
            agent,
            trace,
            actor,
            action,
            resource,
            status,
            stream,
            seq,
            line_hash,
            body,
        ) = row
        if "\\" in body:  # the other texts are part of the body, so without one there they hold nothing special either
            agent, trace, resource = agent.translate(_ESCAPES), trace.translate(_ESCAPES), resource.translate(_ESCAPES)
            body = body.replace("\\", "\\\\")
        place = "\\N\t\\N\t\\N" if stream is None else f"{stream}\t{seq}\t{line_hash}"
        lines.append(
            f"{ordinal}\t{event_id.hex()}\t{occurred_at}\t{received_at}\t{agent}\t{trace}\t{actor}\t{action}\t{resource}"
            f"\t{status}\t{place}\t{body}\n"
        )
    return "".join(lines).encode()


class PostgresReader:
    """A connection that answers queries."""

    WORDS_NUMBER: ClassVar[str] = "number"
    WITH_WORDS: ClassVar[str] = "SELECT number FROM run_words WHERE words @@ ?::tsquery"

    @staticmethod
    def words_query(words: Sequence[str]) -> str:
        return " & ".join(f"'{word}':*" for word in words)

    def __init__(self, conninfo: str, timeout: float) -> None:
        with _unavailable():
            self._connection = connect(conninfo, timeout)
            self._connection.execute("SET default_transaction_read_only = on")

    def fetch(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with _unavailable():
            try:
                return self._connection.execute(sql.replace("?", "%s").encode(), parameters).fetchall()
            except errors.QueryCanceled:
                raise QueryTimeout from None

    def close(self) -> None:
        with suppress(psycopg.Error):
            self._connection.close()
