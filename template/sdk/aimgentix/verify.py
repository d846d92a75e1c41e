"""Offline verification of journals: what is wrong, where, and of which kind. Reads only; needs no network."""

from __future__ import annotations

import os
from collections import namedtuple

from .chain import Line, MalformedLine, line_hash, parse_line
from .events import AuditEvent, InvalidEvent
from .segments import segment_files, strange_files, stream_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any, Dict, Iterator, List, Optional, Tuple

    from .segments import StrPath

# Kinds of problems, each a distinct result.
ALTERED = "altered"  # a line is not the one that was chained
MISSING = "missing"  # sequence numbers, or a whole stream that another one continues from, are not there
REORDERED = "reordered"  # a line comes after one with a higher sequence number
REPEATED = "repeated"  # the same line twice
FORKED = "forked"  # two different lines claim the same place in the same stream
FOREIGN = "foreign stream"  # a line of another stream, or something that is not a file where one is expected
TRUNCATED = "truncated line"  # the last line has no newline: the write was cut
APPENDED = "appended"  # lines after the expected head
KINDS = (ALTERED, FORKED, MISSING, REORDERED, REPEATED, FOREIGN, APPENDED, TRUNCATED)  # gravest first


class JournalProblem(namedtuple("JournalProblem", "kind seq message")):
    """One finding: its `kind` (one of KINDS), the `seq` it concerns (or None), and a sentence for people."""

    __slots__ = ()

    def to_dict(self) -> Dict[str, Any]:
        """Return the problem as JSON values."""
        return dict(self._asdict())


class SegmentReport:
    """What verifying one segment found.

    Attributes:
        path: the file.
        stream: the stream id (the file's name without its suffix).
        lines: how many whole lines it has.
        head: hash of the last whole line, or None when there is none. The head of an unanchored segment (`anchored`
            false) says what the end is, not that nothing was cut off behind it.
        anchored: whether an expected head was given and met.
        after: where the stream continues from, or None.
        problems: what is wrong, empty when all is well.
    """

    def __init__(self, path: str, stream: str) -> None:
        self.path = path
        self.stream = stream
        self.lines = 0
        self.last_seq = 0
        self.head: Optional[str] = None
        self.anchored = False
        self.after: Optional[Dict[str, Any]] = None
        self.problems: List[JournalProblem] = []

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def outside(self) -> int:
        """How many events before the first line have no place in any chain: no disk could be written then."""
        count = (self.after or {}).get("outside", 0)
        return count if type(count) is int and count > 0 else 0

    def to_dict(self) -> Dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "stream": self.stream,
            "lines": self.lines,
            "head": self.head,
            "anchored": self.anchored,
            "outside": self.outside,
            "problems": [problem.to_dict() for problem in self.problems],
        }


class DirectoryReport:
    """What verifying a directory found: a report for each segment, and the problems between segments."""

    def __init__(self, segments: List[SegmentReport], problems: List[JournalProblem]) -> None:
        self.segments = segments
        self.between = problems

    @property
    def problems(self) -> List[JournalProblem]:
        """All problems, those of the segments first."""
        return [problem for segment in self.segments for problem in segment.problems] + self.between

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def expect_head(self, head: str) -> None:
        """Anchor the segment that ends with `head`; note that it is missing when none does."""
        ends = [segment for segment in self.segments if segment.head == head]
        for segment in ends:
            segment.anchored = True
        if not ends:
            self.between.append(JournalProblem(MISSING, None, f"no segment ends with the expected head {head}"))

    def to_dict(self) -> Dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "ok": self.ok,
            "segments": [segment.to_dict() for segment in self.segments],
            "problems": [problem.to_dict() for problem in self.between],
        }


def verify_segment(path: StrPath, expected_head: Optional[str] = None) -> SegmentReport:
    """Check the chain of one segment file.

    Args:
        path: the file, named `<stream>.jsonl`.
        expected_head: hash of the last line as kept elsewhere (a job output, a log). Without it, lines cut off at the
            end and a changed last line can't be seen.

    Raises:
        OSError: the file can't be read.
    """
    path = os.fspath(path)
    report = SegmentReport(path, stream_of(path))
    with open(path, "rb") as file:
        whole, _, rest = file.read().rpartition(b"\n")
    _check_chain(report, whole.split(b"\n") if whole else [], expected_head)
    if rest:
        report.problems.append(
            JournalProblem(
                TRUNCATED, report.last_seq + 1, f"{len(rest)} bytes after line {report.lines} have no newline"
            )
        )
    return report


def verify_directory(directory: StrPath, expected_heads: Optional[Dict[str, str]] = None) -> DirectoryReport:
    """Check every segment of a directory, and that streams which others continue from are there and complete.

    Args:
        directory: the journal directory.
        expected_heads: expected head by stream id; a stream that is named here and absent is missing.

    Raises:
        OSError: the directory or a segment can't be read.
    """
    expected = expected_heads or {}
    segments = [verify_segment(path, expected.get(stream)) for stream, path in segment_files(directory)]
    by_stream = {segment.stream: segment for segment in segments}
    between = [
        JournalProblem(MISSING, None, f"stream {stream} is expected and not there")
        for stream in expected
        if stream not in by_stream
    ]
    between += [
        JournalProblem(FOREIGN, None, f"{os.path.basename(path)} is not a file") for path in strange_files(directory)
    ]
    successors: Dict[str, str] = {}
    for segment in segments:
        if segment.after:
            between.extend(_check_after(segment, by_stream, successors))
    return DirectoryReport(segments, between)


def read_lines(path: StrPath) -> Iterator[Line]:
    """Yield the well-formed whole lines of one segment, in file order.

    Raises:
        OSError: the file can't be read.
    """
    with open(path, "rb") as file:
        for raw in file:
            if raw.endswith(b"\n"):
                try:
                    yield parse_line(raw[:-1])
                except MalformedLine:
                    continue


def read_events(directory: StrPath) -> List[AuditEvent]:
    """Return the valid events of all segments in `directory`, by time, each `event_id` once.

    It does not judge: `verify_directory` does.

    Raises:
        OSError: the directory or a segment can't be read.
    """
    events: Dict[str, AuditEvent] = {}
    for _, path in segment_files(directory):
        for line in read_lines(path):
            try:
                event = AuditEvent.from_dict(line.event)
            except (InvalidEvent, MalformedLine):
                continue
            events.setdefault(event.event_id, event)
    return sorted(events.values(), key=lambda event: instant(event.timestamp))


def instant(timestamp: str) -> Tuple[datetime, str]:
    """Return the moment of a valid event's timestamp to the microsecond, and the digits after that."""
    from datetime import datetime

    head, fraction = timestamp[:19], timestamp[19:]
    digits, zone = "", fraction
    if fraction.startswith("."):
        zone = fraction[1:].lstrip("0123456789")
        digits = fraction[1 : len(fraction) - len(zone)]
    moment = datetime.fromisoformat(head + "." + digits[:6].ljust(6, "0") + ("+00:00" if zone == "Z" else zone))
    return moment, digits[6:]


def _check_chain(report: SegmentReport, raws: List[bytes], expected_head: Optional[str]) -> None:
    found = report.problems
    hashes: Dict[int, str] = {}  # of the first line seen for each sequence number
    links: Dict[int, Optional[str]] = {}  # what that line says of its predecessor
    for number, raw in enumerate(raws, 1):
        report.lines, report.head = number, line_hash(raw)
        try:
            line = parse_line(raw)
            if line.seq == 1 or number == len(raws):  # the chain vouches for what is between
                line.check()
        except MalformedLine as error:
            found.append(JournalProblem(ALTERED, report.last_seq + 1, f"line {number} is not a journal line: {error}"))
            report.last_seq += 1
            hashes.setdefault(report.last_seq, report.head)
            continue
        problem = _misplaced(line, report, hashes)
        if problem is not None:
            found.append(problem)
        if problem is None or problem.kind == REORDERED:
            hashes[line.seq], links[line.seq] = report.head, line.prev
            report.last_seq = max(report.last_seq, line.seq)
        if line.seq == 1 and report.after is None:
            report.after = line.after
    found.extend(_gaps(hashes))
    known = {problem.seq for problem in found if problem.kind == ALTERED}
    for seq, prev in sorted(links.items()):
        if seq - 1 in hashes and hashes[seq - 1] != prev and seq - 1 not in known:
            found.append(
                JournalProblem(ALTERED, seq - 1, f"line {seq - 1} is not the one that line {seq} was chained to")
            )
    if expected_head is not None:
        report.anchored = expected_head == report.head
        if not report.anchored:
            found.append(_check_head(expected_head, hashes))


def _misplaced(line: Line, report: SegmentReport, hashes: Dict[int, str]) -> Optional[JournalProblem]:
    """Return what is wrong with where `line`, the last one read, stands."""
    if line.stream != report.stream:
        return JournalProblem(FOREIGN, line.seq, f"line {report.lines} belongs to stream {line.stream}")
    if line.seq in hashes:
        if hashes[line.seq] == report.head:
            return JournalProblem(REPEATED, line.seq, f"line {report.lines} repeats sequence number {line.seq}")
        return JournalProblem(FORKED, line.seq, f"two different lines have sequence number {line.seq}")
    if line.seq < report.last_seq:
        return JournalProblem(REORDERED, line.seq, f"sequence number {line.seq} comes after {report.last_seq}")
    return None


def _gaps(numbers: Dict[int, str]) -> Iterator[JournalProblem]:
    expected = 1
    for number in sorted(numbers):
        if number == expected + 1:
            yield JournalProblem(MISSING, expected, f"sequence number {expected} is missing")
        elif number > expected:
            yield JournalProblem(MISSING, expected, f"sequence numbers {expected} to {number - 1} are missing")
        expected = number + 1


def _check_head(expected_head: str, hashes: Dict[int, str]) -> JournalProblem:
    for seq, digest in hashes.items():
        if digest == expected_head:
            return JournalProblem(APPENDED, seq + 1, f"there are lines after the expected head, line {seq}")
    return JournalProblem(MISSING, None, "the expected head is not in the segment: its end was cut off or changed")


def _check_after(
    segment: SegmentReport, by_stream: Dict[str, SegmentReport], successors: Dict[str, str]
) -> Iterator[JournalProblem]:
    after = segment.after or {}
    stream, seq, reason = after.get("stream"), after.get("seq"), after.get("reason")
    if stream is None:  # nothing could be written before
        return
    before = by_stream.get(stream) if isinstance(stream, str) else None
    if before is None:
        yield JournalProblem(MISSING, None, f"stream {stream}, which {segment.stream} continues from, is not there")
        return
    if successors.setdefault(before.stream, segment.stream) != segment.stream:
        yield JournalProblem(
            FORKED, None, f"both {successors[before.stream]} and {segment.stream} continue from {before.stream}"
        )
    if isinstance(seq, int) and before.last_seq < seq:
        yield JournalProblem(
            MISSING, before.last_seq + 1, f"stream {before.stream} ends at {before.last_seq}, its successor knows {seq}"
        )
    elif reason != "interrupted" and after.get("hash") != before.head:
        yield JournalProblem(
            ALTERED, before.last_seq, f"the end of {before.stream} is not what {segment.stream} continues from"
        )
