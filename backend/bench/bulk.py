"""Filling a store with millions of events in minutes: made by the database itself, with the indexes built at the end.

They look like those of real runs, ten for each. The lists get as many runs as are wanted; the log gets nothing.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
from psycopg import sql

from app.events.run import Event, Run, new_run, take
from app.store.base import Row
from app.store.indexer import put_runs
from app.store.location import parse_location
from app.store.opening import open_database
from bench.load import Events

EVENTS_OF_A_RUN = 10
AGENTS = 50
RESOURCES = 997
APART_US = 100_000
"""Between two events: ten million of them are of eleven days."""

_COLUMNS = ", ".join(Row._fields)
_MADE = """
    SELECT number,
        {start} + number * {apart} AS at,
        {identity} AS hex,
        'restarter-' || (number / {of_a_run} % {agents}) AS agent,
        'bulk-' || (number / {of_a_run}) AS trace,
        CASE WHEN number % 1000 = 1 THEN 'human' ELSE 'agent' END AS actor,
        CASE WHEN number % 100000 = 2 THEN 'db_query' ELSE 'api_call' END AS action,
        'service/' || (number / {of_a_run} % {resources}) AS resource,
        CASE number % 1000 WHEN 3 THEN 'denied' WHEN 4 THEN 'error' ELSE 'success' END AS status,
        'bulk-stream-' || (number / {of_a_run}) AS stream,
        number % {of_a_run} + 1 AS seq
    FROM numbers
"""
_BODY = """
    '{"event_id":"' || substr(hex, 1, 8) || '-' || substr(hex, 9, 4) || '-' || substr(hex, 13, 4) || '-'
    || substr(hex, 17, 4) || '-' || substr(hex, 21) || '","timestamp":"' || {timestamp}
    || '","agent_instance_id":"' || agent || '","trace_id":"' || trace || '","actor":"' || actor
    || '","action_type":"' || action || '","resource":"' || resource || '","status":"' || status
    || '","latency_ms":12.5,"metadata":{"attempt":1,"gha":{"run_id":"' || trace || '","run_attempt":1,'
    || '"workflow":"Agent Runtime","job":"act","sha":"3d3c42e5aac5ba805825da76410c181273ba90b1"}}'
    || ',"stream":"' || stream || '","seq":' || seq || ',"prev":null}'
"""


_AT_ONCE = 10_000


def load(database_url: str, events: int, runs: int) -> None:
    """Store so many events, and list so many runs, in a store that a backend has prepared and that none uses now."""
    if database_url.startswith("sqlite:"):
        _load_sqlite(Path(database_url.removeprefix("sqlite:///")), events)
    else:
        _load_postgres(database_url, events)
    connection = open_database(parse_location(database_url), 60).connect_writer()
    where = "SELECT last_number, (SELECT max(position) FROM events) FROM run_index"
    ((last_number, position),) = connection.fetch(where, ())
    for part in _runs(runs, last_number, position):
        connection.begin()
        put_runs(connection, part, {})
        connection.commit()
    connection.begin()
    connection.execute("UPDATE run_index SET through = ?, last_number = ?", (position, last_number + runs))
    connection.commit()
    connection.close()
    if not database_url.startswith("sqlite:"):
        with psycopg.connect(database_url, autocommit=True) as session:
            session.execute("VACUUM (ANALYZE)")  # as the server does by itself, when it comes to it


def _runs(count: int, last_number: int, position: int) -> Iterator[list[Run]]:
    """Give runs in parts, as the indexer makes them of their last events."""
    source = Events()
    now = time.time_ns() // 1000
    for start in range(0, count, _AT_ONCE):
        part = []
        for number in range(start, min(start + _AT_ONCE, count)):
            at = now - (count - number) * APART_US
            agent, trace, resource = f"restarter-{number % AGENTS}", f"bulk-{number}", f"service/{number % RESOURCES}"
            event = Event(position, at, at, agent, trace, resource, "success", source.run(number))
            run = new_run(last_number + number + 1, event)
            take(run, event)
            run.checked_at = now
            part.append(run)
        yield part


def _made(events: int, identity: str) -> str:
    start = time.time_ns() // 1000 - events * APART_US
    return _MADE.format(
        start=start, apart=APART_US, identity=identity, of_a_run=EVENTS_OF_A_RUN, agents=AGENTS, resources=RESOURCES
    )


def _load_sqlite(path: Path, events: int) -> None:
    identity = "lower(hex(printf('%016x', number)))"
    timestamp = "strftime('%Y-%m-%dT%H:%M:%S', at / 1000000, 'unixepoch') || printf('.%06dZ', at % 1000000)"
    insert = f"""
        INSERT INTO events ({_COLUMNS})
        WITH RECURSIVE numbers (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM numbers WHERE number < ? - 1)
        SELECT CAST(printf('%016x', number) AS BLOB), at, at, agent, trace, actor, action, resource, status, stream,
            seq, NULL, {_BODY.replace("{timestamp}", timestamp)}
        FROM ({_made(events, identity)})
    """  # noqa: S608  fixed texts and numbers
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000", "temp_store = FILE"):
            connection.execute(f"PRAGMA {setting}")
        made = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'events' AND sql IS NOT NULL"
        indexes = connection.execute(made).fetchall()
        connection.execute("BEGIN")
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        connection.execute(insert, (events,))
        for _, definition in indexes:
            connection.execute(definition)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")


def _load_postgres(database_url: str, events: int) -> None:
    identity = "encode(convert_to(lpad(to_hex(number), 16, '0'), 'UTF8'), 'hex')"
    timestamp = "to_char(to_timestamp(at / 1000000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    insert = f"""
        INSERT INTO events ({_COLUMNS})
        SELECT hex::uuid, at, at, agent, trace, actor, action, resource, status, stream, seq, NULL,
            {_BODY.replace("{timestamp}", timestamp)}
        FROM (WITH numbers (number) AS (SELECT generate_series(0::bigint, %s::bigint - 1)) {_made(events, identity)})
            AS made
    """  # noqa: S608  fixed texts and numbers
    with psycopg.connect(database_url, autocommit=True) as session:
        for setting in ("synchronous_commit = off", "maintenance_work_mem = '512MB'"):
            session.execute(f"SET {setting}".encode())
        made = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'events' AND indexname NOT IN"
            " (SELECT conname FROM pg_constraint)"
        )
        indexes = session.execute(made).fetchall()
        with session.transaction():
            for name, _ in indexes:
                session.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
            session.execute(insert.replace("%", "%%").replace("%%s", "%s").encode(), (events,))
            for _, definition in indexes:
                session.execute(definition.encode())
