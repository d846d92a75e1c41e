"""Comparing what is stored with what was signed: the log's own tree, and the events whose digests it has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from app.log.checkpoint import Checkpoint
from app.log.entries import STREAM, Entry, parse_entry
from app.log.faults import Fault
from app.log.note import VerifierKey
from app.log.tiles import Builder, Tile
from app.log.tree import leaf_hash
from app.log.verify import checkpoint_of
from app.store.base import Fetching
from app.store.log import Seal, heads, latest, load_tile, read_entries, read_events, read_seal

_ENTRIES = 5000


@dataclass
class Report:
    """What was found.

    Attributes:
        entries: in the log.
        events: that are as they were when the log took their digest.
        deleted: events that the log has the digest of and that are gone, all of them older than any that is there:
            by retention, a purge, or somebody who may write to the store.
        unchecked: events that remain of a range of which the oldest are gone.
        faults: everything else.
    """

    entries: int = 0
    events: int = 0
    deleted: int = 0
    unchecked: int = 0
    faults: list[Fault] = field(default_factory=list)


def audit(connection: Fetching, logs: Sequence[VerifierKey], signed: Checkpoint | None) -> Report:
    """Compare everything that is stored with the newest checkpoint, and the events with the log.

    Args:
        logs: whose signature the checkpoint needs.
        signed: what was signed last, as it is kept beside the key.
    """
    report = Report()
    published = latest(connection)
    wanted: list[Checkpoint] = [] if signed is None else [signed]
    if published is not None:
        try:
            wanted.append(checkpoint_of(published.note, logs)[0])
        except Fault as fault:
            report.faults.append(fault)
    streams = _Streams(connection, report)
    for entry in _entries(connection, wanted, report):
        streams.take(entry)
    streams.finish()
    return report


def _entries(connection: Fetching, wanted: Sequence[Checkpoint], report: Report) -> Iterator[Entry]:
    """Give the entries as they are read; what is wrong with them or with the tree goes into the report."""
    builder = Builder()
    while rows := read_entries(connection, builder.size, _ENTRIES):
        for index, data in rows:
            if index != builder.size:
                report.faults.append(Fault("damaged-entry", f"entry {builder.size} is missing"))
                return
            try:
                yield parse_entry(data)
            except Fault as fault:
                report.faults.append(Fault("damaged-entry", f"entry {index}: {fault.detail}"))
            _compare_tiles(connection, builder.add(leaf_hash(data)), report)
            for checkpoint in wanted:
                if checkpoint.size == builder.size and checkpoint.root != builder.root():
                    detail = f"the first {checkpoint.size} entries are not those that were signed"
                    report.faults.append(Fault("damaged-entry", detail))
    report.entries = builder.size
    _compare_tiles(connection, builder.partial(), report)
    for checkpoint in wanted:
        if checkpoint.size > builder.size:
            detail = f"{checkpoint.size} entries were signed and the store has {builder.size}"
            report.faults.append(Fault("rolled-back", detail))


def _compare_tiles(connection: Fetching, tiles: Iterable[tuple[Tile, bytes]], report: Report) -> None:
    for tile, hashes in tiles:
        if load_tile(connection, tile.level, tile.number) != hashes:
            report.faults.append(Fault("damaged-tree", f"{tile.path} is not what the entries make it"))


class _Streams:
    """Compares events with the heads of their streams, range by range."""

    def __init__(self, connection: Fetching, report: Report) -> None:
        self._connection = connection
        self._report = report
        self._epoch = read_seal(connection).epoch
        self._first = connection.fetch("SELECT min(position) FROM events", ())[0][0]
        self._range: list[Entry] = []

    def take(self, entry: Entry) -> None:
        """Take the next entry of the log."""
        if entry.kind != STREAM:
            return
        if self._range and _range_of(self._range[0]) != _range_of(entry):
            self.finish()
        self._range.append(entry)

    def finish(self) -> None:
        """Compare the events of the heads that were taken."""
        logged, self._range = self._range, []
        if not logged:
            return
        epoch, after, through = _range_of(logged[0])
        sealed = sum(int((entry.details or {}).get("events", 0)) for entry in logged)
        if epoch != self._epoch or self._first is None or through < self._first:
            self._report.deleted += sealed
            return
        rows = list(read_events(self._connection, after, through))
        if after + 1 < self._first:
            self._report.deleted += max(0, sealed - len(rows))
            self._report.unchecked += len(rows)
            return
        found = {entry.subject: entry for entry in heads(rows, Seal(epoch, after), through, 0)}
        for entry in logged:
            self._compare(entry, found.pop(entry.subject, None))
        for entry in found.values():
            detail = f"{_name(entry)}: events {after + 1} to {through} were not there when the log took their digest"
            self._report.faults.append(Fault("row-altered", detail))

    def _compare(self, logged: Entry, found: Entry | None) -> None:
        had = (logged.details or {}).get("events", 0)
        has = 0 if found is None else (found.details or {})["events"]
        _, after, through = _range_of(logged)
        if has < had:
            detail = f"{_name(logged)}: of {had} events at {after + 1} to {through}, {had - has} are gone"
            self._report.faults.append(Fault("row-missing", detail))
        elif found is None or found.digest != logged.digest:
            detail = f"{_name(logged)}: the events at {after + 1} to {through} are not those that were stored"
            self._report.faults.append(Fault("row-altered", detail))
        else:
            self._report.events += had


def _range_of(entry: Entry) -> tuple[int, int, int]:
    details = entry.details or {}
    return details.get("epoch", 0), details.get("after", 0), details.get("through", 0)


def _name(entry: Entry) -> str:
    return "events without a stream" if entry.subject is None else f"stream {entry.subject}"
