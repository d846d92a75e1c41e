"""Storing several batches in one transaction, each of them whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from app.events.chain import broken_links
from app.events.sameness import same_content
from app.store.base import AppendResult, Conflicting, Row, Stored, StoreUnavailable, WriteConnection

Batch = Sequence[Row]

_ATTEMPTS = 5


@dataclass(frozen=True)
class Committed:
    """What became of a group of batches.

    Attributes:
        outcomes: of each batch, in order.
        broken: how many lines were found not to follow the ones before them.
    """

    outcomes: list[AppendResult]
    broken: int


@dataclass(frozen=True)
class Sorted:
    """What is to be done with a group of batches.

    Attributes:
        new: rows to insert, in the order in which they came.
        outcomes: what becomes of each batch once they are inserted.
    """

    new: list[Row]
    outcomes: list[AppendResult]


def sort_out(batches: Sequence[Batch], known: Mapping[bytes, str]) -> Sorted:
    """Separate new events from duplicates and conflicts.

    Args:
        batches: in the order in which they came; of two events with one id the first counts.
        known: the bodies of the events that are stored already, by id.
    """
    bodies = dict(known)
    new: list[Row] = []
    outcomes: list[AppendResult] = []
    for batch in batches:
        fresh: dict[bytes, Row] = {}
        conflicts: list[int] = []
        for index, row in enumerate(batch):
            earlier = fresh[row.event_id].body if row.event_id in fresh else bodies.get(row.event_id)
            if earlier is None:
                fresh[row.event_id] = row
            elif not same_content(earlier, row.body):
                conflicts.append(index)
        if conflicts:
            outcomes.append(Conflicting(tuple(conflicts)))
            continue
        new.extend(fresh.values())
        bodies.update((event_id, row.body) for event_id, row in fresh.items())
        outcomes.append(Stored(len(fresh), len(batch) - len(fresh)))
    return Sorted(new, outcomes)


def commit_group(connection: WriteConnection, batches: Sequence[Batch]) -> Committed:
    """Store `batches` in one transaction and return what became of them once they are durable.

    Nearly always every event is new, so that is tried first. When it turns out otherwise, the transaction is undone and
    the batches are sorted out against what is stored. Another process may store one of the same events in between;
    then the sorting is done again.

    Raises:
        StoreUnavailable, Contention: nothing is stored, or nobody knows whether it is; trying again is safe.
    """
    rows = list(chain.from_iterable(batches))
    connection.begin()
    if connection.insert(rows) == len(rows):
        broken = _check_links(connection, rows)
        connection.commit()
        return Committed([Stored(len(batch), 0) for batch in batches], broken)
    connection.rollback()
    event_ids = list({row.event_id for row in rows})
    for _ in range(_ATTEMPTS):
        connection.begin()
        todo = sort_out(batches, connection.existing(event_ids))
        if not todo.new or connection.insert(todo.new) == len(todo.new):
            broken = _check_links(connection, todo.new)
            connection.commit()
            return Committed(todo.outcomes, broken)
        connection.rollback()
    raise StoreUnavailable("other processes keep storing the same events")


def _check_links(connection: WriteConnection, new: Sequence[Row]) -> int:
    """Mark the lines that, now that `new` is stored, don't follow the ones before them; return how many."""
    broken = broken_links(new, connection.links)
    if broken:
        connection.mark_broken(broken)
    return len(broken)
