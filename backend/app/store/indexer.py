"""Making the lists of runs and agents from the events, in the background, so that storing an event costs no more.

What is here can be thrown away: it is made anew from the events. The events are read by position; how far is stored
together with what was made of them, so that after a crash nothing counts twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from app.events.run import Event, Run, clean, line_hash_of, new_run, take
from app.log.entries import STREAM, parse_entry
from app.log.faults import Fault
from app.store.base import Fetching, QueryTimeout, StoreUnavailable, WriteConnection, parts_of
from app.store.runs import COLUMNS, TRAILS, Agent, count_trails, find_runs, list_unchecked, row_of, runs_by_number
from app.store.store import Store

if TYPE_CHECKING:
    from app.log.note import VerifierKey

log = logging.getLogger(__name__)

T = TypeVar("T")

STEP_EVENTS = 500
_STEP_ENTRIES = 1000
_IDLE_SECONDS = 0.5
_PAUSE_SECONDS = 0.001
_SHARE = 7
"""While events are waiting to be stored, this works one part of so many of the time."""
_LEASE_US = 10_000_000
_STEP_RUNS = 20
_VERIFY_SHARE = 20
"""Verifying works one part of so many of the time."""
_FEW = 400
_MOST_RUNS = 1000

_EVENTS = (
    "SELECT position, occurred_at, received_at, agent_instance_id, trace_id, resource, status, body, stream, seq,"
    " line_hash FROM events WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"
)
_ENTRIES = "SELECT position, entry FROM log_entries WHERE position >= ? ORDER BY position LIMIT ?"
_PUT_RUNS = (
    f"INSERT INTO runs ({', '.join(COLUMNS)}) VALUES {{rows}} ON CONFLICT (number) DO UPDATE"  # noqa: S608
    f" SET {', '.join(f'{name} = excluded.{name}' for name in COLUMNS if name not in ('number', 'trace_id'))}"
)
_PUT_AGENTS = """
    INSERT INTO agents (agent, repository, first_received, last_received, runs, events) VALUES {rows}
    ON CONFLICT (agent) DO UPDATE SET repository = coalesce(agents.repository, excluded.repository),
        last_received = excluded.last_received, runs = agents.runs + excluded.runs,
        events = agents.events + excluded.events
"""
_STREAM = "stream, last_seq, received, forked, broken, verbatim, last_position"
_PUT_STREAMS = f"""
    INSERT INTO streams ({_STREAM}) VALUES {{rows}}
    ON CONFLICT (stream) DO UPDATE SET last_seq = excluded.last_seq, received = excluded.received,
        forked = excluded.forked, broken = excluded.broken, verbatim = excluded.verbatim,
        last_position = excluded.last_position
"""  # noqa: S608  fixed names
_PUT_RUN_STREAMS = "INSERT INTO run_streams (stream, number) VALUES {rows} ON CONFLICT DO NOTHING"
_PUT_APPROVERS = "INSERT INTO run_approvers (approver, number) VALUES {rows} ON CONFLICT DO NOTHING"
_PUT_HEADS = "INSERT INTO stream_heads (stream, entry) VALUES {rows} ON CONFLICT DO NOTHING"
_ROWS = (256, 64, 16, 4, 1)
"""How many rows one statement takes."""


@dataclass
class State:
    """How far the index is.

    Attributes:
        epoch: of the events, as the log counts them.
        through: position of the last event that is in it.
        entries: how many entries of the log are in it.
    """

    epoch: int
    through: int
    entries: int
    last_number: int


@dataclass
class _Stream:
    """What is known of a journal stream.

    Attributes:
        received: how many different sequence numbers ever came.
        verbatim: whether the hash of each line is the one of what is stored of it.
    """

    last_seq: int = 0
    received: int = 0
    forked: int = 0
    broken: int = 0
    verbatim: int = 1
    last_position: int = 0

    @property
    def trail(self) -> str:
        """The worst that is known of it."""
        if self.forked:
            return "forked"
        if self.broken:
            return "wrong-prev"
        return "missing" if self.received < self.last_seq else "intact"


@dataclass
class Step:
    """What is to be stored, made of some events.

    Attributes:
        runs, streams: by trace and by name, as they are now.
        words: of each run that was there, as they were; by number.
        trails: of each stream that was there, as it was.
        heads: streams, and the entries of the log that have a digest of their events.
    """

    before: State
    after: State
    runs: dict[str, Run] = field(default_factory=dict)
    words: dict[int, str] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    streams: dict[str, _Stream] = field(default_factory=dict)
    trails: dict[str, str] = field(default_factory=dict)
    run_streams: set[tuple[str, int]] = field(default_factory=set)
    heads: list[tuple[str, int]] = field(default_factory=list)
    events: int = 0


def read_state(connection: Fetching) -> State:
    """Return how far the index is."""
    return State(*connection.fetch("SELECT epoch, through, entries, last_number FROM run_index", ())[0])


def make_step(connection: Fetching, through: int) -> Step:
    """Return what the next events, up to a position, and the next entries of the log make of the index.

    Args:
        through: what `last_position` said: no event at a lower position is still to come.
    """
    before = read_state(connection)
    step = Step(before, State(**vars(before)))
    rows = connection.fetch(_EVENTS, (before.through, through, STEP_EVENTS))
    if rows:
        _load(connection, step, rows)
        for row in rows:
            _take(connection, step, row)
        step.after.through = int(rows[-1][0])
        step.events = len(rows)
        _judge(connection, step)
    for index, data in connection.fetch(_ENTRIES, (before.entries, _STEP_ENTRIES)):
        step.after.entries = index + 1
        try:
            entry = parse_entry(bytes(data))
        except Fault:  # the log's own check says so
            continue
        if entry.kind == STREAM and entry.subject is not None:
            step.heads.append((entry.subject, index))
    return step


def _load(connection: Fetching, step: Step, rows: list[tuple[Any, ...]]) -> None:
    for some in _parts(sorted({row[4] for row in rows})):
        step.runs |= {run.trace_id: run for run in find_runs(connection, some)}
    step.words = {run.number: run.words for run in step.runs.values()}
    for some in _parts(sorted({row[8] for row in rows if row[8] is not None})):
        sql = f"SELECT {_STREAM} FROM streams WHERE stream IN ({_marks(some)})"  # noqa: S608  only marks
        step.streams |= {row[0]: _Stream(*row[1:]) for row in connection.fetch(sql, some)}
    step.trails = {stream: state.trail for stream, state in step.streams.items()}


def _take(connection: Fetching, step: Step, row: tuple[Any, ...]) -> None:
    event, (stream, seq, line_hash) = Event(*row[:8]), row[8:]
    run = step.runs.get(event.trace_id)
    is_new = run is None
    if run is None:
        step.after.last_number += 1
        run = step.runs[event.trace_id] = new_run(step.after.last_number, event)
    take(run, event)
    name = clean(event.agent) or ""
    known = step.agents.get(name)
    first = event.received_at if known is None else known.first_received
    runs, events = (0, 0) if known is None else (known.runs, known.events)
    step.agents[name] = Agent(name, run.repository, first, event.received_at, runs + is_new, events + 1)
    if stream is None:
        return
    step.run_streams.add((stream, run.number))
    state = step.streams.setdefault(stream, _Stream())
    if seq > state.last_seq or not _came_before(connection, stream, seq, event.position):
        state.received += 1
    else:
        state.forked = 1
    state.last_seq = max(state.last_seq, seq)
    state.last_position = event.position
    if state.verbatim and line_hash is not None and line_hash_of(stream, seq, event.body) != line_hash:
        state.verbatim = 0


def _came_before(connection: Fetching, stream: str, seq: int, position: int) -> bool:
    sql = "SELECT 1 FROM events WHERE stream = ? AND seq = ? AND position < ? LIMIT 1"
    return bool(connection.fetch(sql, (stream, seq, position)))


def _judge(connection: Fetching, step: Step) -> None:
    """Say what the trails of these runs are now, and of others that have events in the same streams."""
    for some in _parts(sorted(step.streams)):
        sql = f"SELECT DISTINCT stream FROM broken_links WHERE stream IN ({_marks(some)})"  # noqa: S608  only marks
        for (stream,) in connection.fetch(sql, some):
            step.streams[stream].broken = 1
    changed = [name for name, state in step.streams.items() if step.trails.get(name, "intact") != state.trail]
    for some in _parts(sorted(changed)):
        sql = f"SELECT DISTINCT number FROM run_streams WHERE stream IN ({_marks(some)}) ORDER BY number DESC LIMIT ?"  # noqa: S608
        numbers = [number for (number,) in connection.fetch(sql, [*some, _MOST_RUNS])]
        for few in _parts(numbers):
            step.runs |= {run.trace_id: run for run in runs_by_number(connection, few) if run.trace_id not in step.runs}
    by_number = {run.number: run for run in step.runs.values()}
    streams = {(number, name): step.streams[name].trail for name, number in step.run_streams}
    for few in _parts(sorted(by_number)):
        sql = f"""
            SELECT number, streams.stream, last_seq, received, forked, broken, verbatim, last_position
            FROM run_streams JOIN streams ON streams.stream = run_streams.stream WHERE number IN ({_marks(few)})
        """  # noqa: S608  only marks
        for number, name, *state in connection.fetch(sql, few):
            streams[number, name] = step.streams.get(name, _Stream(*state)).trail
    for run in by_number.values():
        run.trail = run.finding or "intact"
    for (number, _), trail in streams.items():
        by_number[number].trail = max(by_number[number].trail, trail, key=TRAILS.index)


def store_step(connection: WriteConnection, step: Step, holder: str) -> bool:
    """Store what a step made; return whether it was still the next one."""
    connection.begin()
    moved = connection.fetch(
        "UPDATE run_index SET epoch = ?, through = ?, entries = ?, last_number = ?"
        " WHERE epoch = ? AND through = ? AND entries = ? AND last_number = ? AND holder = ? RETURNING id",
        [*vars(step.after).values(), *vars(step.before).values(), holder],
    )
    if not moved:
        connection.rollback()
        return False
    put_runs(connection, list(step.runs.values()), step.words)
    _put(connection, _PUT_AGENTS, list(step.agents.values()))
    _put(connection, _PUT_STREAMS, [[name, *vars(state).values()] for name, state in step.streams.items()])
    _put(connection, _PUT_RUN_STREAMS, list(step.run_streams))
    _put(connection, _PUT_HEADS, step.heads)
    connection.commit()
    return True


def put_runs(connection: WriteConnection, runs: Sequence[Run], words: Mapping[int, str]) -> None:
    """Store runs as they are now.

    Args:
        words: of each run that was there, as they were; by number.
    """
    _put(connection, _PUT_RUNS, [row_of(run) for run in runs])
    connection.put_words([(run.number, run.words) for run in runs if words.get(run.number) != run.words])
    _put(connection, _PUT_APPROVERS, [(approver, run.number) for run in runs for approver in run.approvers])


def _put(connection: WriteConnection, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """Run a statement for many rows at once: each one asks a server, or lets go of the interpreter lock."""
    for some in parts_of(rows, _ROWS):
        marks = f"({', '.join('?' * len(some[0]))})"
        sql = statement.format(rows=", ".join([marks] * len(some)))
        connection.execute(sql, list(chain.from_iterable(some)))


def start_over(connection: WriteConnection) -> None:
    """Forget everything: the positions of events have begun anew."""
    connection.begin()
    for table in ("runs", "run_approvers", "run_words", "run_streams", "streams", "agents"):
        connection.execute(f"DELETE FROM {table}", ())  # noqa: S608  fixed names
    connection.execute("UPDATE run_index SET epoch = (SELECT epoch FROM log_seals), through = 0", ())
    connection.commit()


def prune(connection: WriteConnection) -> None:
    """Forget the runs of which retention deleted the last event. Their number is bounded; the next call goes on."""
    connection.begin()
    oldest = "(SELECT min(position) FROM events)"
    rows = connection.fetch(f"SELECT number FROM runs WHERE last_position < {oldest} LIMIT ?", (_MOST_RUNS,))  # noqa: S608
    for (number,) in rows:
        connection.execute("DELETE FROM runs WHERE number = ?", (number,))
        connection.execute("DELETE FROM run_approvers WHERE number = ?", (number,))
        connection.execute("DELETE FROM run_streams WHERE number = ?", (number,))
        connection.drop_words(number)
    connection.execute(f"DELETE FROM streams WHERE last_position < {oldest}", ())  # noqa: S608
    connection.commit()


def store_checked(connection: WriteConnection, checked: Sequence[tuple[Run, str]], now: int) -> None:
    """Store what verifying some runs found."""
    connection.begin()
    for run, trail in checked:
        finding = trail if trail in ("truncated", "edited") else None
        connection.execute(
            "UPDATE runs SET trail = ?, finding = ?, checked_at = ? WHERE number = ?", (trail, finding, now, run.number)
        )
    connection.commit()


def take_lease(connection: WriteConnection, holder: str, now: int) -> bool:
    """Return whether this process is the one that works, for some seconds."""
    connection.begin()
    held = connection.fetch(
        "UPDATE run_index SET holder = ?, held_until = ? WHERE holder = ? OR held_until < ? RETURNING id",
        (holder, now + _LEASE_US, holder, now),
    )
    connection.commit()
    return bool(held)


def end_lease(connection: WriteConnection, holder: str) -> None:
    """Let another process work at once."""
    connection.begin()
    connection.execute("UPDATE run_index SET holder = '', held_until = 0 WHERE holder = ?", (holder,))
    connection.commit()


class Indexer:
    """Keeps the index up to date and verifies what is stored, and lets go whenever events are waiting to be stored.

    Args:
        verify_hours: how often each run is verified.
        logs: the keys of the transparency log; none: there is none.
    """

    def __init__(self, store: Store, verify_hours: float, logs: Sequence[VerifierKey]) -> None:
        self._store = store
        self._verify_us = int(verify_hours * 3600 * 1_000_000)
        self._logs = logs
        self._holder = os.urandom(8).hex()
        self.trails: dict[str, int] = {}

    async def run(self) -> None:
        """Work until cancelled; then another process may."""
        try:
            while True:
                await self._work()
                await asyncio.sleep(_IDLE_SECONDS)
        finally:
            with suppress(StoreUnavailable):
                await self._store.write(partial(end_lease, holder=self._holder))

    async def _work(self) -> None:
        try:
            await self._catch_up()
            await self._verify()
            self.trails = await self._store.read(count_trails)
        except StoreUnavailable as error:
            log.warning("the lists of runs have to wait", extra={"reason": error.reason})
        except QueryTimeout:
            log.warning("the lists of runs have to wait", extra={"reason": "a query took too long"})
        except Exception as error:
            log.error("the lists of runs are not up to date", extra={"error": type(error).__name__})

    async def _catch_up(self) -> None:
        """Bring into the index whatever is not in it."""
        is_behind, is_void = await self._store.read(_is_behind)
        if not is_behind and not is_void:
            return
        if not await self._store.write(partial(take_lease, holder=self._holder, now=_now())):
            return
        if is_void:
            await self._store.write(start_over)
        through = await self._store.write(lambda connection: connection.last_position())
        while True:
            began = time.monotonic()
            step = await self._store.read(partial(make_step, through=through))
            if step.after == step.before:
                break
            if not await self._store.write(partial(store_step, step=step, holder=self._holder)):
                return
            busy = self._store.waiting_events > 0
            await asyncio.sleep((time.monotonic() - began) * (_SHARE - 1) if busy else _PAUSE_SECONDS)
            await self._store.write(partial(take_lease, holder=self._holder, now=_now()))
        await self._store.write(prune)

    async def _verify(self) -> None:
        """Verify some runs for which it is time, in a small part of the time."""
        runs = await self._store.read(partial(list_unchecked, before=_now() - self._verify_us, limit=_STEP_RUNS))
        if not runs or not await self._store.write(partial(take_lease, holder=self._holder, now=_now())):
            return
        # Only then: what reads the log takes its time to load, and memory.
        from app.store.verification import verify_run

        checked: list[tuple[Run, str]] = []
        for run in runs:
            began = time.monotonic()
            report = await self._store.read(partial(verify_run, run=run, logs=self._logs))
            checked.append((run, report.trail))
            if report.trail != run.trail:
                log.warning("the trail of a run is not what it was", extra={"found": report.trail, "run": run.number})
            await asyncio.sleep(min(1.0, (time.monotonic() - began) * (_VERIFY_SHARE - 1)))
            if (await self._store.read(_is_behind))[0]:
                break
        await self._store.write(partial(store_checked, checked=checked, now=_now()))


def _is_behind(connection: Fetching) -> tuple[bool, bool]:
    """Return whether there is anything to do, and whether positions have begun anew."""
    (row,) = connection.fetch(
        "SELECT through, entries, epoch, (SELECT max(position) FROM events), (SELECT max(position) FROM log_entries),"
        " (SELECT epoch FROM log_seals), (SELECT min(position) FROM events), (SELECT min(last_position) FROM runs)"
        " FROM run_index",
        (),
    )
    through, entries, epoch, last, last_entry, epoch_now, first, first_run = row
    is_behind = (last or 0) > through or (-1 if last_entry is None else last_entry) >= entries
    is_stale = first is not None and first_run is not None and first_run < first
    return is_behind or is_stale, epoch != epoch_now


def _now() -> int:
    return time.time_ns() // 1000


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _FEW):
        yield values[start : start + _FEW]
