"""Verifying what is stored of one run: that its journals are whole, and that what is stored is what came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.events.run import Run, line_hash_of
from app.store.base import Fetching, ReadConnection, Row
from app.store.runs import TRAILS, streams_of

if TYPE_CHECKING:
    from app.log.note import VerifierKey

MAX_EVENTS = 20_000
"""Events of one run that are looked at; the command `log-check` looks at all."""
MAX_STREAMS = 200
MAX_HEADS = 500
_MAX_FINDINGS = 20
_PAGE = 1000

_EVENT = ", ".join(("position", *Row._fields))
_EVENTS = (
    f"SELECT {_EVENT} FROM events WHERE stream = ? AND (seq, position) > (?, ?)"  # noqa: S608  fixed names
    " ORDER BY seq, position LIMIT ?"
)
_AT = {name: 1 + index for index, name in enumerate(Row._fields)}


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        state: one of `TRAILS`.
    """

    state: str
    detail: str


@dataclass
class StreamReport:
    """What was found about one journal stream.

    Attributes:
        events: how many are stored.
        last: highest sequence number that is stored.
        expired: how many at its beginning retention deleted.
        verbatim: whether the hash of every line is the one of what is stored of it; None: its writer isn't the SDK,
            and its lines can't be made again from what is stored.
        logged: events that the transparency log has a digest of, and that are as they were then.
        unlogged: events that came since.
        entries: indices of the log's entries about this stream, the newest last.
        findings: what is wrong; cut short.
        unchecked: why something could not be checked.
    """

    stream: str
    events: int = 0
    last: int = 0
    expired: int = 0
    verbatim: bool | None = True
    logged: int = 0
    unlogged: int = 0
    entries: list[int] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def find(self, state: str, detail: str) -> None:
        """Add a finding."""
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append(Finding(state, detail))


@dataclass
class RunReport:
    """What was found about a run.

    Attributes:
        unplaced: events that came without a place in a journal: nothing shows whether one of these is missing.
        log: whether there is a transparency log to compare with.
        cosigned: whether the newest checkpoint has the witnesses' signatures.
    """

    streams: list[StreamReport]
    unplaced: int
    log: bool
    cosigned: bool = False

    @property
    def trail(self) -> str:
        """The worst that was found: one of `TRAILS`."""
        states = [finding.state for stream in self.streams for finding in stream.findings]
        return max(states, key=TRAILS.index, default=TRAILS[0])

    @property
    def findings(self) -> list[Finding]:
        """Everything that was found."""
        return [finding for stream in self.streams for finding in stream.findings]

    @property
    def logged(self) -> bool:
        """Whether all events are in the log, as they are."""
        return self.log and bool(self.streams) and not any(one.unlogged or one.unchecked for one in self.streams)


def verify_run(connection: ReadConnection, run: Run, logs: Sequence[VerifierKey]) -> RunReport:
    """Look at every event of a run's streams, and compare it with its neighbours and with the log.

    Args:
        logs: the keys of the log; none: there is no log, or its key is elsewhere.
    """
    names = set(streams_of(connection, run.number))
    sql = "SELECT DISTINCT stream FROM events WHERE trace_id = ? AND stream IS NOT NULL ORDER BY stream LIMIT ?"
    names |= {stream for (stream,) in connection.fetch(sql, (run.trace_id, MAX_STREAMS))}
    sql = "SELECT count(*) FROM events WHERE trace_id = ? AND stream IS NULL"
    ((unplaced,),) = connection.fetch(sql, (run.trace_id,))
    log = _Log(connection, logs)
    report = RunReport([], int(unplaced), log.exists, log.cosigned)
    left = MAX_EVENTS
    for name in sorted(names)[:MAX_STREAMS]:
        stream = StreamReport(name, entries=log.entries_about(name))
        rows = list(_rows(connection, name, left))
        left -= len(rows)
        if left <= 0:
            stream.unchecked.append(f"only {MAX_EVENTS:,} events of a run are looked at")
        _check_sequence(connection, stream, rows, cut=left <= 0)
        _check_lines(connection, stream, rows)
        if log.exists and left > 0:
            log.check(stream, rows)
        report.streams.append(stream)
    return report


def _rows(connection: Fetching, stream: str, most: int) -> Iterator[tuple[Any, ...]]:
    """Give a stream's events in the order of their sequence numbers, each as `position` and the fields of a `Row`."""
    place = (0, 0)
    found = 0
    while found < most:
        rows = connection.fetch(_EVENTS, (stream, *place, min(_PAGE, most - found)))
        if not rows:
            return
        yield from rows
        found += len(rows)
        place = (rows[-1][_AT["seq"]], rows[-1][0])


def _check_sequence(connection: Fetching, report: StreamReport, rows: Sequence[tuple[Any, ...]], *, cut: bool) -> None:
    expired = connection.fetch("SELECT through_seq FROM expired_streams WHERE stream = ?", (report.stream,))
    report.expired = int(expired[0][0]) if expired else 0
    counts = Counter(int(row[_AT["seq"]]) for row in rows)
    report.events = len(rows)
    report.last = max(counts, default=0)
    following = report.expired + 1
    for seq in sorted(counts):
        if seq > following:
            report.find("missing", _numbers(following, seq - 1, "missing"))
        following = max(following, seq + 1)
    for seq, count in sorted(counts.items()):
        if count > 1:
            report.find("forked", f"number {seq} is claimed by {count} different events")
    seen = connection.fetch("SELECT last_seq FROM streams WHERE stream = ?", (report.stream,))
    if not cut and seen and seen[0][0] > max(report.last, report.expired):
        report.find("truncated", _numbers(report.last + 1, int(seen[0][0]), "came once, and gone from the end"))


def _check_lines(connection: Fetching, report: StreamReport, rows: Sequence[tuple[Any, ...]]) -> None:
    """Check that each line has the hash of the one before, and that what is stored still has the line's hash."""
    hashes: dict[int, set[str | None]] = {}
    for row in rows:
        hashes.setdefault(row[_AT["seq"]], set()).add(row[_AT["line_hash"]])
    for row in rows:
        seq, before = row[_AT["seq"]], hashes.get(row[_AT["seq"]] - 1)
        if before and None not in before and row[_AT["body"]][-66:-2] not in before:
            report.find("wrong-prev", f"number {seq} does not have the hash of the line before it")
    differing = [
        row[_AT["seq"]]
        for row in rows
        if row[_AT["line_hash"]] is not None
        and line_hash_of(report.stream, row[_AT["seq"]], row[_AT["body"]]) != row[_AT["line_hash"]]
    ]
    known = connection.fetch("SELECT verbatim FROM streams WHERE stream = ?", (report.stream,))
    if not (known and known[0][0]):
        report.verbatim = None
        return
    report.verbatim = not differing
    for seq in differing:
        report.find("edited", f"what is stored of number {seq} does not have the hash that the line had when it came")


class _Log:
    """Compares events with the digests that the transparency log has of them.

    What the log has is read before the events are: those that come meanwhile are later than it.
    """

    def __init__(self, connection: ReadConnection, logs: Sequence[VerifierKey]) -> None:
        self._connection = connection
        self._logs = logs
        self.exists = bool(connection.fetch("SELECT 1 FROM log_entries LIMIT 1", ()))
        self.cosigned = False
        if not self.exists:
            return
        from app.store.log import latest, read_seal

        self._seal = read_seal(connection)
        sql = "SELECT entries, (SELECT max(position) FROM log_entries) FROM run_index"
        ((indexed, newest),) = connection.fetch(sql, ())
        self._is_behind = indexed <= newest
        published = latest(connection)
        self.cosigned = published is not None and published.witnessed

    def entries_about(self, stream: str) -> list[int]:
        """Return where the log has digests of a stream's events."""
        sql = "SELECT entry FROM stream_heads WHERE stream = ? ORDER BY entry LIMIT ?"
        return [int(entry) for (entry,) in self._connection.fetch(sql, (stream, MAX_HEADS + 1))]

    def check(self, report: StreamReport, rows: Sequence[tuple[Any, ...]]) -> None:
        """Compare a stream's events with the entries that are in its report."""
        if len(report.entries) > MAX_HEADS:
            report.unchecked.append(f"only the first {MAX_HEADS} digests in the log were compared")
            del report.entries[MAX_HEADS:]
        if self._is_behind:
            report.unchecked.append("the newest entries of the log are not looked up yet")
        covered: set[int] = set()
        for index in report.entries:
            covered |= self._compare(report, index, rows)
        uncovered = [row[0] for row in rows if row[0] not in covered]
        report.unlogged = sum(position > self._seal.through for position in uncovered)
        if len(uncovered) > report.unlogged and not report.unchecked:
            report.find(
                "edited", f"{len(uncovered) - report.unlogged} events were put in after the log took its digests"
            )

    def _compare(self, report: StreamReport, index: int, rows: Sequence[tuple[Any, ...]]) -> set[int]:
        """Compare the events that one entry has the digest of; return the positions of those that are there."""
        from app.log.entries import parse_entry
        from app.log.faults import Fault
        from app.log.verify import checkpoint_of
        from app.store.log import Seal, heads, prove

        try:
            proof = prove(self._connection, index)
            if proof is None:
                report.unchecked.append(f"entry {index} of the log is in no checkpoint yet")
                return set()
            if self._logs:
                checkpoint_of(proof.checkpoint, self._logs)
            entry = parse_entry(proof.extra or b"")
        except Fault as fault:
            report.find("edited", f"entry {index} of the log: {fault.detail}")
            return set()
        details = entry.details or {}
        epoch, after, through = (int(details.get(name, 0)) for name in ("epoch", "after", "through"))
        had = int(details.get("events", 0))
        oldest = self._connection.fetch("SELECT min(position) FROM events", ())[0][0]
        if epoch != self._seal.epoch or oldest is None or after + 1 < oldest:
            report.unchecked.append(f"entry {index} of the log has a digest of events that were deleted since")
            return set()
        part = sorted((row for row in rows if after < row[0] <= through), key=lambda row: int(row[0]))
        found = heads(part, Seal(epoch, after), through, 0)
        if len(part) < had:
            state = "truncated" if int(details.get("seq") or 0) > report.last else "missing"
            report.find(
                state, f"entry {index} of the log has {had} events of this stream, and {had - len(part)} are gone"
            )
        elif not found or found[0].digest != entry.digest:
            report.find("edited", f"the events are not those that entry {index} of the log has the digest of")
        else:
            report.logged += had
        return {row[0] for row in part}


def _numbers(first: int, last: int, what: str) -> str:
    return f"number {first} is {what}" if first == last else f"numbers {first} to {last} are {what}"
