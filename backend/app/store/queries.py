"""The questions that the store answers. All SQL here runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from app.store.base import ReadConnection

Order = Literal["asc", "desc"]

LINK = "stream, seq, substr(body, length(body) - 65, 64), line_hash"
"""The columns of a `Link`: the last part of a stored line's body is the hash of the line before it."""

MOST_LOOKED_AT = 5000
"""Events that are looked at for one page, where no index knows all that is wanted of them."""

_COLUMNS = ("trace_id", "agent_instance_id", "status", "resource", "actor", "action_type")

LAST_POSITION = "SELECT coalesce(max(position), 0) FROM events"


@dataclass(frozen=True)
class Filter:
    """Which events are wanted; None: any.

    Attributes:
        since: earliest `occurred_at`, inclusive, in microseconds since 1970.
        until: latest `occurred_at`, exclusive.
    """

    agent_instance_id: str | None = None
    trace_id: str | None = None
    actor: str | None = None
    action_type: str | None = None
    resource: str | None = None
    status: str | None = None
    since: int | None = None
    until: int | None = None


class Place(NamedTuple):
    """Where an event is in the order of events: by time, and then by arrival."""

    occurred_at: int
    position: int


class StoredEvent(NamedTuple):
    """An event as it comes out of the store."""

    place: Place
    received_at: int
    body: str


class Page(NamedTuple):
    """Some events of a list.

    Attributes:
        following: where the list goes on behind these, or None where it ends. Between the last of these and that place
            there may be events that were looked at and are not wanted.
    """

    events: list[StoredEvent]
    following: Place | None


def select_page(connection: ReadConnection, wanted: Filter, order: Order, after: Place | None, limit: int) -> Page:
    """Return the first `limit` events after `after` in the given order.

    An index finds the events of a trace, of an agent, those that are unusual, or all by time. Where more is wanted than
    it knows, they are looked at one by one, only so many: the page may have fewer events, or none, and the list goes on
    all the same. So the time that a page takes does not grow with the number of events.
    """
    end: Place | None = None
    if _others(wanted):
        found = connection.fetch(*end_query(wanted, order, after, MOST_LOOKED_AT))
        end = Place(*found[0]) if found else None
    events = [
        StoredEvent(Place(occurred_at, position), received_at, body)
        for occurred_at, position, received_at, body in connection.fetch(
            *page_query(wanted, order, after, limit + 1, end)
        )
    ]
    return Page(events[:limit], events[limit - 1].place if len(events) > limit else end)


def end_query(wanted: Filter, order: Order, after: Place | None, most: int) -> tuple[str, list[Any]]:
    """Return SQL and parameters for the place of the last event that is looked at."""
    conditions, parameters = _conditions(wanted, order, after)
    sql = f"SELECT occurred_at, position {_ordered(conditions, order)} OFFSET ?"
    return sql, [*parameters, 1, most - 1]


def page_query(
    wanted: Filter, order: Order, after: Place | None, limit: int, end: Place | None = None
) -> tuple[str, list[Any]]:
    """Return SQL and parameters for the events of a page.

    Args:
        end: the last one that is looked at; None: all are.
    """
    conditions, parameters = _conditions(wanted, order, after, end)
    for column in _others(wanted):
        # An expression, so that no database takes another index for a better one.
        conditions.append(f"{column} || '' = ?")
        parameters.append(getattr(wanted, column))
    sql = f"SELECT occurred_at, position, received_at, body {_ordered(conditions, order)}"
    return sql, [*parameters, limit]


def _indexed(wanted: Filter) -> str | None:
    """Return the column by which an index finds events; None: by time."""
    if wanted.trace_id is not None:
        return "trace_id"
    if wanted.agent_instance_id is not None:
        return "agent_instance_id"
    return None if wanted.status in (None, "success") else "status"


def _others(wanted: Filter) -> list[str]:
    """Return the columns that matter besides."""
    indexed = _indexed(wanted)
    return [name for name in _COLUMNS if name != indexed and getattr(wanted, name) is not None]


def _conditions(
    wanted: Filter, order: Order, after: Place | None, end: Place | None = None
) -> tuple[list[str], list[Any]]:
    """Return the conditions that an index knows, and their parameters.

    There is one bound at each side: of two, SQLite may begin at the wider one.
    """
    conditions: list[str] = []
    parameters: list[Any] = []
    indexed = _indexed(wanted)
    if indexed is not None:
        conditions.append(f"{indexed} = ?")
        parameters.append(getattr(wanted, indexed))
    if indexed == "status":
        conditions.append("status <> 'success'")  # what the index of the unusual is defined by
    lower = [] if wanted.since is None else [Place(wanted.since, 0)]
    upper = [] if wanted.until is None else [Place(wanted.until, 0)]
    if after is not None:
        (lower if order == "asc" else upper).append(after)
    if end is not None and order == "asc":
        upper.append(Place(end.occurred_at, end.position + 1))
    elif end is not None:
        lower.append(Place(end.occurred_at, end.position - 1))
    if lower:
        conditions.append("(occurred_at, position) > (?, ?)")
        parameters += max(lower)
    if upper:
        conditions.append("(occurred_at, position) < (?, ?)")
        parameters += min(upper)
    return conditions, parameters


def _ordered(conditions: Sequence[str], order: Order) -> str:
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"FROM events {where} ORDER BY occurred_at {order}, position {order} LIMIT ?"


def select_event(connection: ReadConnection, event_id: object) -> StoredEvent | None:
    """Return the event with this id, as `Database.encode_id` gives it, or None."""
    rows = connection.fetch(
        "SELECT occurred_at, position, received_at, body FROM events WHERE event_id = ?", (event_id,)
    )
    if not rows:
        return None
    occurred_at, position, received_at, body = rows[0]
    return StoredEvent(Place(occurred_at, position), received_at, body)


class StreamSummary(NamedTuple):
    """What the store knows of one journal stream, over all traces.

    Attributes:
        expired_through: highest sequence number that retention deleted, or 0. Numbers up to it count no more.
        first: lowest stored sequence number beyond that, or None.
        last: highest stored sequence number.
        received: how many different sequence numbers beyond `expired_through` are stored.
    """

    stream: str
    expired_through: int
    first: int | None
    last: int
    received: int


def select_streams(connection: ReadConnection, trace_id: str, limit: int) -> list[StreamSummary]:
    """Return the streams that events of this trace came by, at most `limit`."""
    rows = connection.fetch(
        """
        SELECT stream, expired_through, min(CASE WHEN seq > expired_through THEN seq END), max(seq),
               count(DISTINCT CASE WHEN seq > expired_through THEN seq END)
        FROM (
            SELECT events.stream, events.seq, coalesce(expired_streams.through_seq, 0) AS expired_through
            FROM (SELECT DISTINCT stream FROM events WHERE trace_id = ? AND stream IS NOT NULL) AS mentioned
            JOIN events ON events.stream = mentioned.stream
            LEFT JOIN expired_streams ON expired_streams.stream = mentioned.stream
        ) AS placed
        GROUP BY stream, expired_through ORDER BY stream LIMIT ?
        """,
        (trace_id, limit),
    )
    return [StreamSummary(*row) for row in rows]


def select_holes(connection: ReadConnection, stream: str, after: int, limit: int) -> list[tuple[int, int]]:
    """Return the ranges of sequence numbers beyond `after`, both ends included, that lie between stored ones.

    Args:
        limit: how many ranges to return at most.
    """
    rows: Sequence[tuple[Any, ...]] = connection.fetch(
        """
        SELECT seq + 1, following - 1
        FROM (SELECT seq, lead(seq) OVER (ORDER BY seq) AS following FROM events WHERE stream = ? AND seq > ?) AS steps
        WHERE following > seq + 1 ORDER BY seq LIMIT ?
        """,
        (stream, after, limit),
    )
    return [(first, last) for first, last in rows]


def select_forks(connection: ReadConnection, stream: str, limit: int) -> list[int]:
    """Return sequence numbers of the stream that more than one event claims, at most `limit`."""
    rows = connection.fetch(
        "SELECT seq FROM events WHERE stream = ? GROUP BY seq HAVING count(*) > 1 ORDER BY seq LIMIT ?", (stream, limit)
    )
    return [seq for (seq,) in rows]


def select_broken(connection: ReadConnection, stream: str, after: int, limit: int) -> list[int]:
    """Return sequence numbers beyond `after` whose lines don't follow the ones before them, at most `limit`."""
    rows = connection.fetch(
        "SELECT seq FROM broken_links WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?", (stream, after, limit)
    )
    return [seq for (seq,) in rows]


def count_without_stream(connection: ReadConnection, trace_id: str) -> tuple[int, int]:
    """Return how many events this trace has, and how many of them came without a journal position."""
    ((events, placed),) = connection.fetch("SELECT count(*), count(stream) FROM events WHERE trace_id = ?", (trace_id,))
    return events, events - placed
