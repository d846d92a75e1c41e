"""Runs and agents as lists. All SQL here runs on SQLite and PostgreSQL; how words are found is each one's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.events.run import OTHER, OUTCOMES, PHASES, Run, clean, words_of
from app.store.base import Fetching, ReadConnection

COLUMNS = (
    "number", "trace_id", "agent", "repository", "run_id", "attempt", "resource", "action", "plan_digest", "outcome",
    "conflicting", "code", "reason", "approvers", "started_at", "last_at", "first_received", "last_received",
    "last_position", "events", "words", "trail", "checked_at", "finding",
)  # fmt: skip
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM runs"  # noqa: S608  fixed names

TRAILS = ("intact", "missing", "wrong-prev", "forked", "truncated", "edited")
"""What a trail can be, the worse the later."""
REFUSED = ("refused", "denied", "rejected", "expired", "approval_failed")
"""Outcomes of runs that were not allowed to act."""

MAX_QUERY_WORDS = 10
MAX_COUNTED = 10_000
"""Runs of one kind are counted up to here: what counts all of them takes the longer, the more there are."""
_MOST = 2**62


@dataclass(frozen=True)
class RunFilter:
    """Which runs are wanted; None: any. Times are when runs began to arrive, by the backend's clock (µs since 1970).

    Attributes:
        text: words that all have to be there, or beginnings of words.
        outcome: one of a run's, or `not-allowed` for all of `REFUSED`.
        trail: one of `TRAILS`, or `unsound` for all but the first.
    """

    text: str | None = None
    agent: str | None = None
    repository: str | None = None
    resource: str | None = None
    outcome: str | None = None
    code: str | None = None
    approver: str | None = None
    trail: str | None = None
    since: int | None = None
    until: int | None = None


class Agent(NamedTuple):
    """One agent.

    Attributes:
        runs, events: how many ever came.
    """

    agent: str
    repository: str | None
    first_received: int
    last_received: int
    runs: int
    events: int


class Progress(NamedTuple):
    """How far the lists are.

    Attributes:
        through: position of the last event that is in them.
        waiting: how many positions of events are not yet.
    """

    through: int
    waiting: int


def list_runs(connection: ReadConnection, wanted: RunFilter, before: int | None, limit: int) -> list[Run]:
    """Return the newest runs that began to arrive before the one with the number `before`, at most `limit`."""
    numbers = _numbers(connection, wanted, before)
    conditions, parameters = _conditions(wanted)
    if wanted.text is not None:
        words = words_of(wanted.text)[:MAX_QUERY_WORDS]
        if not words:
            return []
        # Each database finds words in the order of numbers, so without another filter it may stop early.
        only = "" if conditions else " ORDER BY 1 DESC LIMIT ?"
        conditions.append(f"number IN ({connection.WITH_WORDS} AND {connection.WORDS_NUMBER} BETWEEN ? AND ?{only})")
        parameters += [connection.words_query(words), *numbers, *([limit] if only else [])]
    conditions.append("number BETWEEN ? AND ?")
    sql = f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY number DESC LIMIT ?"
    return [run_of(row) for row in connection.fetch(sql, [*parameters, *numbers, limit])]


def _numbers(connection: Fetching, wanted: RunFilter, before: int | None) -> tuple[int, int]:
    """Return the lowest and the highest number that a run may have: they are given out as runs begin to arrive."""
    lowest, highest = 0, _MOST if before is None else before - 1
    if wanted.since is not None:
        sql = "SELECT number FROM runs WHERE first_received >= ? ORDER BY first_received, number LIMIT 1"
        lowest = _first(connection.fetch(sql, (wanted.since,)), _MOST)
    if wanted.until is not None:
        sql = "SELECT number FROM runs WHERE first_received < ? ORDER BY first_received DESC, number DESC LIMIT 1"
        highest = min(highest, _first(connection.fetch(sql, (wanted.until,)), 0))
    return lowest, highest


def _first(rows: Sequence[tuple[Any, ...]], default: int) -> int:
    return int(rows[0][0]) if rows else default


def _conditions(wanted: RunFilter) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    parameters: list[Any] = []
    for column in ("agent", "repository", "resource", "code"):
        value = getattr(wanted, column)
        if value is not None:
            conditions.append(f"{column} = ?")
            parameters.append(clean(value))
    if wanted.outcome == "not-allowed":
        conditions.append(f"outcome IN ({', '.join('?' * len(REFUSED))})")
        parameters += REFUSED
    elif wanted.outcome is not None:
        conditions.append("outcome = ?")
        parameters.append(wanted.outcome)
    if wanted.trail == "unsound":
        conditions.append("number IN (SELECT number FROM runs WHERE trail <> 'intact')")
    elif wanted.trail is not None:
        # The index has only those that are not intact.
        conditions.append("trail = ?" if wanted.trail == TRAILS[0] else "trail = ? AND trail <> 'intact'")
        parameters.append(wanted.trail)
    if wanted.approver is not None:
        conditions.append("number IN (SELECT number FROM run_approvers WHERE approver = ?)")
        parameters.append(clean(wanted.approver, 100))
    return conditions, parameters


def find_run(connection: Fetching, trace_id: str) -> Run | None:
    """Return the run of a trace, or None."""
    rows = connection.fetch(f"{_SELECT} WHERE trace_id = ?", (trace_id,))
    return run_of(rows[0]) if rows else None


def find_runs(connection: Fetching, trace_ids: Sequence[str]) -> list[Run]:
    """Return the runs of some traces, as far as they are known."""
    marks = ", ".join("?" * len(trace_ids))
    return [run_of(row) for row in connection.fetch(f"{_SELECT} WHERE trace_id IN ({marks})", trace_ids)]


def runs_by_number(connection: Fetching, numbers: Sequence[int]) -> list[Run]:
    """Return the runs with these numbers."""
    marks = ", ".join("?" * len(numbers))
    return [run_of(row) for row in connection.fetch(f"{_SELECT} WHERE number IN ({marks})", numbers)]


def run_of(row: Sequence[Any]) -> Run:
    """Return the run that a row of `COLUMNS` is."""
    members = dict(zip(COLUMNS, row, strict=True))
    members["approvers"] = json.loads(members["approvers"])
    return Run(**members)


def row_of(run: Run) -> list[Any]:
    """Return a run as a row of `COLUMNS`."""
    values = {name: getattr(run, name) for name in COLUMNS}
    values["approvers"] = json.dumps(run.approvers)
    return list(values.values())


def list_agents(connection: ReadConnection, before: tuple[int, str] | None, limit: int) -> list[Agent]:
    """Return the agents from which events came last, after the one with this time and name, at most `limit`."""
    where = "" if before is None else "WHERE (last_received, agent) < (?, ?)"
    rows = connection.fetch(
        f"SELECT agent, repository, first_received, last_received, runs, events FROM agents {where}"  # noqa: S608
        " ORDER BY last_received DESC, agent DESC LIMIT ?",
        [*(before or ()), limit],
    )
    return [Agent(*row) for row in rows]


def count_agents(connection: Fetching) -> int:
    """Return how many agents there are."""
    return int(connection.fetch("SELECT count(*) FROM agents", ())[0][0])


def count_outcomes(connection: Fetching, since: int) -> dict[str, int]:
    """Return how many runs have each outcome, of those that began to arrive since a time; up to `MAX_COUNTED`."""
    lowest, _ = _numbers(connection, RunFilter(since=since), None)
    return _counts(connection, "outcome", (*PHASES, *OUTCOMES, OTHER), "number >= ?", lowest)


def count_trails(connection: Fetching) -> dict[str, int]:
    """Return how many runs have each state of their trail but intact; up to `MAX_COUNTED`."""
    return _counts(connection, "trail", TRAILS[1:], "trail <> 'intact'")


def _counts(
    connection: Fetching, column: str, values: Sequence[str], condition: str, *parameters: object
) -> dict[str, int]:
    """Return how many runs have each value of a column that an index has, without those that none has."""
    some = f"SELECT 1 FROM runs WHERE {column} = ? AND {condition} LIMIT {MAX_COUNTED}"  # noqa: S608  fixed names
    each = [f"SELECT {number} AS number, (SELECT count(*) FROM ({some}) AS found)" for number in range(len(values))]  # noqa: S608
    rows = connection.fetch(" UNION ALL ".join(each), [one for value in values for one in (value, *parameters)])
    return {values[number]: count for number, count in rows if count}


def list_late(connection: ReadConnection, before: int, limit: int) -> list[Run]:
    """Return runs that did not end and from which nothing came since the time `before`, the newest first."""
    found: list[Run] = []
    for phase in ("running", "waiting", "approved"):
        sql = f"{_SELECT} WHERE outcome = ? AND last_received < ? ORDER BY number DESC LIMIT ?"
        found += [run_of(row) for row in connection.fetch(sql, (phase, before, limit))]
    return sorted(found, key=lambda run: -run.number)[:limit]


def progress(connection: Fetching) -> Progress:
    """Return how far the lists are."""
    through, last = connection.fetch(
        "SELECT through, (SELECT coalesce(max(position), 0) FROM events) FROM run_index", ()
    )[0]
    return Progress(through, max(0, last - through))


def list_unchecked(connection: Fetching, before: int, limit: int) -> list[Run]:
    """Return the runs that were verified before a time, or never; those for which that is longest ago first."""
    rows = connection.fetch(f"{_SELECT} WHERE checked_at < ? ORDER BY checked_at LIMIT ?", (before, limit))
    return [run_of(row) for row in rows]


def streams_of(connection: Fetching, number: int) -> list[str]:
    """Return the streams that a run's events came by, those that are gone too."""
    rows = connection.fetch("SELECT stream FROM run_streams WHERE number = ? ORDER BY stream", (number,))
    return [stream for (stream,) in rows]
