"""Delivery of segments: what the backend has of a journal, what it refused, and whose turn it is to send the rest."""

from __future__ import annotations

import json
import os
import random
import time

from .chain import MalformedLine, parse_line
from .events import utc_now
from .journal import lock_segment
from .transport import DELIVERED, MISCONFIGURED, REFUSED, UNAVAILABLE, Outcome
from .verify import segment_files, stream_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, Callable, Dict, List, Optional, Sequence, Tuple

    from .journal import Journal
    from .transport import Transport

BATCH_BYTES = 1024 * 1024
BACKOFF_BASE = 0.5
BACKOFF_MAX = 30.0
MAX_REQUESTS = 64  # to find the refused lines of one batch; what is in doubt after that is refused as a whole


class Undelivered(Exception):
    """The backend takes nothing now; `outcome` says why. Everything not delivered is where it was."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome


class Courier:
    """Takes lines from segments to the backend, and notes what was dealt with.

    Args:
        transport: where to.
        batch_events: how many lines go in one request at most.
        on_progress: called with stream, lines delivered and lines refused whenever a batch has been dealt with.

    Attributes:
        deadline: no request is begun after this `time.monotonic()`.
        rejection: the last refusal, or None.
    """

    def __init__(
        self,
        transport: Transport,
        batch_events: int = 500,
        on_progress: Optional[Callable[[str, int, int], None]] = None,
    ) -> None:
        self.deadline: Optional[float] = None
        self.rejection: Optional[Outcome] = None
        self._transport = transport
        self._batch_events = batch_events
        self._on_progress = on_progress
        self._requests_left = 0
        self._offsets: Dict[str, int] = {}  # what was dealt with, should the disk not take the note

    def prepare(self) -> None:
        """Do what takes long before the first delivery: import the HTTP library."""
        try:
            self._transport.connect()
        except Exception:  # said when there is something to deliver
            self._transport.close()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def deliver(self, path: str) -> None:
        """Deliver the whole lines of a segment that are not dealt with yet. The caller owns the segment or its lock.

        Raises:
            Undelivered: the backend stopped taking them.
            OSError: the segment can't be read, or refused lines can't be set aside.
        """
        offset = max(read_offset(path), self._offsets.get(path, 0))
        with open(path, "rb") as file:
            while True:
                file.seek(offset)  # the last read may have ended within a line that was being written
                lines, size = self._next_batch(file)
                if not lines:
                    return
                refused = self._send(lines)
                if refused:
                    keep_rejected(path, refused)
                offset += size
                self._offsets[path] = offset
                try:
                    write_offset(path, offset)
                except OSError:  # a full disk: after this process, some lines are sent again, and stored once
                    pass
                if self._on_progress:
                    self._on_progress(stream_of(path), len(lines) - len(refused), len(refused))

    def deliver_held(self, journal: Journal) -> None:
        """Deliver the events that `journal` holds in memory. Refused ones stay there.

        Raises:
            Undelivered: the backend stopped taking them, or refuses some.
        """
        while True:
            events = undelivered = journal.take_held(self._batch_events)
            if not events:
                return
            try:
                refused = self._send(events)
                undelivered = [event for event, _ in refused]
            finally:
                journal.settle_held(undelivered)
            if self._on_progress:
                self._on_progress("", len(events) - len(refused), 0)
            if refused:
                raise Undelivered(refused[0][1])

    def deliver_orphans(self, directory: str, settled: Dict[str, int], own: Sequence[str] = ()) -> int:
        """Adopt and deliver every segment in `directory` whose owner is gone.

        Args:
            directory: the journal directory; one that is absent is empty.
            settled: sizes of segments known to be dealt with, by path; kept by the caller from call to call.
            own: paths of the caller's own segments, which are left alone.

        Returns:
            How many segments with something to deliver are in other hands.

        Raises:
            Undelivered: the backend stopped taking lines.
            OSError: a segment can't be read, or refused lines can't be set aside.
        """
        busy = 0
        for path in segment_paths(directory):
            try:
                size = os.path.getsize(path)
                if size == 0 or path in own or settled.get(path) == size:  # an owner takes its lock before it writes
                    continue
                fd = open_segment(path)
            except FileNotFoundError:  # cleared away
                continue
            except PermissionError:  # another user's, in a shared folder
                busy += 1
                continue
            try:
                if lock_segment(fd):
                    self.deliver(path)
                    settled[path] = size
                elif unsent(path):
                    busy += 1
            finally:
                os.close(fd)
        return busy

    def _next_batch(self, file: BinaryIO) -> Tuple[List[bytes], int]:
        lines: List[bytes] = []
        size = 0
        while len(lines) < self._batch_events and size < BATCH_BYTES:
            line = file.readline()
            if not line.endswith(b"\n"):  # the end, or a line that is being written, or was cut when its writer died
                break
            lines.append(line[:-1])
            size += len(line)
        return lines, size

    def _send(self, lines: List[bytes]) -> List[Tuple[bytes, Outcome]]:
        self._requests_left = MAX_REQUESTS
        return self._send_part(lines)

    def _send_part(self, lines: List[bytes]) -> List[Tuple[bytes, Outcome]]:
        """Post `lines`, halving what is refused until the refused lines are alone; return those with the reason."""
        left = None if self.deadline is None else self.deadline - time.monotonic()
        if left is not None and left <= 0:
            raise Undelivered(Outcome(UNAVAILABLE, "out of time"))
        self._requests_left -= 1
        outcome = self._transport.post(lines, left)
        if outcome.kind == DELIVERED:
            return []
        if outcome.kind != REFUSED:
            raise Undelivered(outcome)
        self.rejection = outcome
        if len(lines) == 1 or self._requests_left <= 0:
            return [(line, outcome) for line in lines]
        middle = len(lines) // 2
        return self._send_part(lines[:middle]) + self._send_part(lines[middle:])


def drain(courier: Courier, directory: str, deadline: float) -> Optional[str]:
    """Deliver what processes that are gone have left in `directory`, trying again as long as there is time.

    Args:
        courier: how lines get to the backend.
        directory: the journal directory; one that is absent is empty.
        deadline: `time.monotonic()` at which to stop.

    Returns:
        Why the backend did not take everything, or None. Segments of processes that still run may be left.

    Raises:
        OSError: a segment can't be read, or refused lines can't be set aside.
    """
    courier.deadline = deadline
    settled: Dict[str, int] = {}
    failures = 0
    while True:
        reason = None
        try:
            if not courier.deliver_orphans(directory, settled):
                return None
            pause = 0.2  # somebody else is at it; they may end, or die
        except Undelivered as error:
            reason = error.outcome.detail
            if error.outcome.kind == MISCONFIGURED:
                return reason
            failures += 1
            pause = max(backoff(failures), error.outcome.retry_after or 0.0)
        if time.monotonic() + pause >= deadline:
            return reason
        time.sleep(pause)


def backoff(failures: int, rng: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after so many failures in a row: full jitter, at most 30."""
    return min(BACKOFF_MAX, BACKOFF_BASE * 2.0 ** min(failures - 1, 16)) * rng()


def segment_paths(directory: str) -> List[str]:
    """Return the segments in `directory`, oldest first; none when it does not exist."""
    try:
        return [path for _, path in segment_files(directory)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def open_segment(path: str) -> int:
    """Open a segment for locking it; return the descriptor.

    Raises:
        OSError: it can't be opened.
    """
    try:
        return os.open(path, os.O_RDWR)  # NFS gives an exclusive lock only on a writable descriptor
    except PermissionError:
        return os.open(path, os.O_RDONLY)


def owner_lives(path: str) -> bool:
    """Return whether a process holds the segment: its owner, or one that is delivering it."""
    if os.path.getsize(path) == 0:  # its owner may be about to take the lock
        return False
    fd = open_segment(path)
    try:
        return not lock_segment(fd)
    finally:
        os.close(fd)


def read_offset(path: str) -> int:
    """Return how many bytes of the segment are dealt with; 0 when that is not known, or can't be true."""
    try:
        with open(offset_path(path), "rb") as file:
            offset = int(file.read(32))
        with open(path, "rb") as file:
            file.seek(offset - 1)
            return offset if offset > 0 and file.read(1) == b"\n" else 0
    except (OSError, ValueError, OverflowError):
        return 0


def write_offset(path: str, offset: int) -> None:
    """Note that `offset` bytes of the segment are dealt with, replacing the old note atomically.

    Raises:
        OSError: it can't be written.
    """
    target = offset_path(path)
    temporary = f"{target}.{os.getpid()}"
    _write(temporary, b"%d\n" % offset, os.O_TRUNC)
    os.replace(temporary, target)


def offset_path(path: str) -> str:
    """Return the file that holds the offset of a segment."""
    return os.path.join(os.path.dirname(path), stream_of(path) + ".offset")


def rejected_path(path: str) -> str:
    """Return the file that holds the refused lines of a segment."""
    return os.path.join(os.path.dirname(path), "rejected", os.path.basename(path))


def unsent(path: str) -> int:
    """Return how many whole lines of a segment are not dealt with."""
    with open(path, "rb") as file:
        file.seek(read_offset(path))
        return file.read().count(b"\n")


def keep_rejected(path: str, refused: List[Tuple[bytes, Outcome]]) -> None:
    """Append refused lines of a segment to `rejected/`, and beside them why they were refused.

    Raises:
        OSError: they can't be written.
    """
    target = rejected_path(path)
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    _write(target, b"".join(line + b"\n" for line, _ in refused), os.O_APPEND)
    reasons: Dict[Tuple[Optional[int], str], List[Optional[int]]] = {}
    for line, outcome in refused:
        reasons.setdefault((outcome.status, outcome.detail), []).append(_seq(line))
    text = "".join(
        json.dumps({"at": utc_now(), "status": status, "said": detail, "seq": seqs}) + "\n"
        for (status, detail), seqs in reasons.items()
    )
    _write(os.path.join(os.path.dirname(target), stream_of(path) + ".reasons.jsonl"), text.encode(), os.O_APPEND)


def _seq(line: bytes) -> Optional[int]:
    try:
        return parse_line(line).seq
    except MalformedLine:
        return None


def _write(path: str, data: bytes, how: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | how | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
