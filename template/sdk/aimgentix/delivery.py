"""Delivery of segments: what the backend has of a journal, what it refused, and whose turn it is to send the rest.

One module: all of it moves the same offsets and notes beside a segment, and a kill between two lines loses nothing.
"""

from __future__ import annotations

import json
import os
import random
import time

from .chain import MalformedLine, parse_line
from .events import utc_now
from .notes import read_notes, read_offset, reasons_path, rejected_path, unsent, write, write_notes
from .segments import lock_segment, open_segment, segment_paths, stream_of
from .transport import DELIVERED, MISCONFIGURED, REFUSED, UNAVAILABLE, DeliveryResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

    from .journal import Journal
    from .transport import Transport

    _Refused = List[Tuple[bytes, DeliveryResult]]

__all__ = ["Deliverer", "Undelivered", "backoff", "drain", "keep_rejected", "read_offset", "segment_paths"]

BATCH_BYTES = 1024 * 1024
BACKOFF_BASE = 0.5
BACKOFF_MAX = 30.0
_NOT_ABOUT_A_LINE = (None, 408, 425, 429, 503)
TOGETHER = 100  # so many segments, and locks, are taken at once: what is left of them is often a line or two
MAX_STUCK = 8  # so many lines one after the other, each sent alone and met by a server error: that is the server


OUT_OF_TIME = DeliveryResult(UNAVAILABLE, "out of time")


class Undelivered(Exception):
    """The backend takes nothing now; `outcome` says why. Everything not delivered is where it was."""

    def __init__(self, outcome: DeliveryResult) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome


class Deliverer:
    """Takes lines from segments to the backend, and notes what was dealt with.

    What is wrong with one line or one segment keeps no other waiting: it is passed over, and tried again later.

    Args:
        transport: where to.
        batch_events: how many lines go in one request at most.
        on_progress: called with stream, lines delivered and lines refused whenever a batch has been dealt with.

    Attributes:
        deadline: no request is begun after this `time.monotonic()`.
        rejection: the last refusal, or None.
        problem: what was passed over last since `begin`, and why, or None.
    """

    def __init__(
        self,
        transport: Transport,
        batch_events: int = 500,
        on_progress: Optional[Callable[[str, int, int], None]] = None,
    ) -> None:
        self.deadline: Optional[float] = None
        self.rejection: Optional[DeliveryResult] = None
        self.problem: Optional[DeliveryResult] = None
        self._transport = transport
        self._batch_events = batch_events
        self._on_progress = on_progress
        self._most = batch_events  # how many lines go in one request now: fewer after a batch that was refused
        self._stuck = 0  # lines, one after the other, that were passed over
        self._notes: Dict[str, Tuple[int, List[int]]] = {}  # should the disk not take them
        self._again = 0  # how often lines that were passed over were tried again in vain
        self._again_at = 0.0

    def begin(self, deadline: Optional[float]) -> None:
        """Begin a pass over segments that ends at `deadline`."""
        self.deadline = deadline
        self.problem = None
        self._stuck = 0

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def deliver(self, path: str) -> bool:
        """Deliver the whole lines of a segment that are not dealt with yet. The caller owns the segment or its lock.

        Returns:
            Whether all of them are dealt with now; if not, `problem` says why.

        Raises:
            Undelivered: the backend stopped taking lines.
        """
        try:
            with open(path, "rb") as file:
                return self._deliver(path, file)
        except OSError as error:  # it can't be read, or what was refused can't be set aside
            self.problem = DeliveryResult(MISCONFIGURED, f"{error.filename or path}: {error.strerror}")
            return False

    def _deliver(self, path: str, file: BinaryIO) -> bool:
        offset, passed = self._noted(path)
        stuck: List[int] = []  # lines just passed over: it may still turn out that the backend takes nothing
        position = offset
        while True:
            file.seek(position)  # the last read may have ended within a line that was being written
            lines = self._next_batch(file)
            if not lines:
                break
            count, refused, failure = self._send(lines)
            if failure:
                stuck.append(position)
            else:
                passed, stuck = passed + stuck, []
            position += sum(map(len, lines[:count])) + count
            if not failure:
                offset = position
                self._note(path, offset, passed, count, refused)
        while passed and time.monotonic() >= self._again_at:
            file.seek(passed[0])
            _, refused, failure = self._send([file.readline().rstrip(b"\n")])
            if failure:
                self._again += 1
                self._again_at = time.monotonic() + backoff(self._again + 1)
                passed = passed[1:] + passed[:1]
            else:
                self._again = 0
                passed = passed[1:]
                self._note(path, offset, passed, 1, refused)
        return not passed and not stuck

    def _deliver_several(self, taken: List[Tuple[str, int]]) -> List[str]:
        """Deliver segments, of which the locked descriptors are given: in one request, if that is enough.

        Returns:
            Those of which all whole lines are dealt with now.
        """
        half = len(taken) // 2
        if not half:
            return [path for path, _ in taken if self.deliver(path)]
        rests = list(filter(None, [self._rest(path, fd) for path, fd in taken]))
        whole = b"".join(rest for _, rest in rests)
        lines = whole.split(b"\n")[:-1]
        fit = len(rests) == len(taken) and len(whole) < BATCH_BYTES and 0 < len(lines) <= self._most
        if fit and self._post(lines).kind == DELIVERED:
            for (path, _), (offset, rest) in zip(taken, rests):
                self._note(path, offset + len(rest), [], rest.count(b"\n"), [])
            return [path for path, _ in taken]
        return self._deliver_several(taken[:half]) + self._deliver_several(taken[half:])

    def _rest(self, path: str, fd: int) -> Optional[Tuple[int, bytes]]:
        """Return where what is not dealt with of a segment begins, and its whole lines; None: it is for `deliver`."""
        offset, passed = self._noted(path)
        try:
            os.lseek(fd, offset, os.SEEK_SET)
            rest = os.read(fd, min(os.fstat(fd).st_size, BATCH_BYTES))
        except OSError:  # `deliver` says why
            return None
        return None if passed else (offset, rest[: rest.rfind(b"\n") + 1])

    def _noted(self, path: str) -> Tuple[int, List[int]]:
        noted = read_notes(path)
        return max(noted, self._notes.get(path, noted), key=lambda notes: notes[0])

    def _note(self, path: str, offset: int, passed: List[int], count: int, refused: _Refused) -> None:
        """Note that so much of a segment is dealt with, `count` lines of it since the last note."""
        if refused:
            keep_rejected(path, refused)
        self._notes[path] = offset, passed
        try:
            write_notes(path, offset, passed)
        except OSError:  # a full disk: after this process, some lines are sent again, and stored once
            pass
        if self._on_progress:
            self._on_progress(stream_of(path), count - len(refused), len(refused))

    def deliver_held(self, journal: Journal) -> bool:
        """Deliver the events that `journal` holds in memory; return whether it did. Refused ones stay there.

        Raises:
            Undelivered: the backend stopped taking lines.
        """
        events, kept = journal.take_held(journal.held), []  # type: List[bytes], List[bytes]
        try:
            self._send_all("", events, kept)
        finally:
            journal.settle_held(kept + events)
        return not kept

    def deliver_rejected(self, directory: str) -> None:
        """Send once more what was refused earlier. What is refused again stays, and segments in other hands.

        Raises:
            Undelivered: the backend stopped taking lines.
            OSError: a file can't be read or written.
        """
        for path in segment_paths(os.path.join(directory, "rejected")):
            segment = os.path.join(directory, os.path.basename(path))
            if path.endswith(".reasons.jsonl"):
                continue
            fd = open_segment(segment) if os.path.exists(segment) else -1
            try:
                if fd >= 0 and not lock_segment(fd):
                    continue
                with open(path, "rb") as file:
                    lines, kept = list(dict.fromkeys(file.read().splitlines())), []  # type: List[bytes], List[bytes]
                try:
                    self._send_all(stream_of(path), lines, kept)
                finally:
                    left = kept + lines
                    write(f"{path}.{os.getpid()}", b"".join(line + b"\n" for line in left), os.O_TRUNC)
                    os.replace(f"{path}.{os.getpid()}", path)
                if not left:
                    os.unlink(path)
                    os.unlink(reasons_path(segment))
            finally:
                if fd >= 0:
                    os.close(fd)

    def _send_all(self, stream: str, lines: List[bytes], kept: List[bytes]) -> None:
        """Send `lines`, which are taken from there, and add those to `kept` that were refused or passed over."""
        while lines:
            count, refused, failure = self._send(lines)
            kept += lines[:count] if failure else [line for line, _ in refused]
            del lines[:count]
            if refused:
                self.problem = refused[0][1]
            if self._on_progress and not failure:
                self._on_progress(stream, count - len(refused), len(refused) if stream else 0)

    def deliver_orphans(self, paths: Iterable[str], settled: Dict[str, int], own: Sequence[str] = ()) -> int:
        """Adopt and deliver every segment of `paths` whose owner is gone.

        Args:
            paths: segments; those that are gone are none of our business.
            settled: sizes of segments known to be dealt with, by path; kept by the caller from call to call.
            own: paths of the caller's own segments, which are left alone.

        Returns:
            How many segments with something to deliver are in other hands.

        Raises:
            Undelivered: the backend stopped taking lines.
        """
        busy = 0
        taken: Dict[str, Tuple[int, int]] = {}  # size, and the descriptor with the lock
        try:
            for path in paths:
                try:
                    size = os.path.getsize(path)
                    if size == 0 or path in own or settled.get(path) == size:  # an owner locks it before it writes
                        continue
                    if read_notes(path) == (size, []):
                        settled[path] = size
                        continue
                    taken[path] = size, open_segment(path)
                    if not lock_segment(taken[path][1]):
                        os.close(taken.pop(path)[1])
                        busy += unsent(path) > 0
                except FileNotFoundError:  # cleared away
                    continue
                except PermissionError:  # another user's, in a shared folder
                    busy += 1
                except OSError as error:
                    self.problem = DeliveryResult(MISCONFIGURED, f"{path}: {error.strerror}")
                if len(taken) == TOGETHER:
                    self._deliver_taken(taken, settled)
            self._deliver_taken(taken, settled)
        finally:
            for _, fd in taken.values():
                os.close(fd)
        return busy

    def _deliver_taken(self, taken: Dict[str, Tuple[int, int]], settled: Dict[str, int]) -> None:
        for path in self._deliver_several([(path, fd) for path, (_, fd) in taken.items()]):
            settled[path] = taken[path][0]
        while taken:
            os.close(taken.popitem()[1][1])

    def _next_batch(self, file: BinaryIO) -> List[bytes]:
        lines: List[bytes] = []
        size = 0
        while len(lines) < self._most and size < BATCH_BYTES:
            line = file.readline()
            if not line.endswith(b"\n"):  # the end, or a line that is being written, or was cut when its writer died
                break
            lines.append(line[:-1])
            size += len(line)
        return lines

    def _send(self, lines: List[bytes]) -> Tuple[int, _Refused, Optional[DeliveryResult]]:
        """Post lines from the front, fewer at a time as long as the backend does not say which of them it refuses.

        Returns:
            How many are dealt with, those of them that were refused, and None. Or, when the first line meets a server
            error even alone: 1, nothing, and that error.

        Raises:
            Undelivered: the backend takes nothing.
        """
        count = min(len(lines), self._most)
        while count > 1 and sum(map(len, lines[:count])) > BATCH_BYTES + 65536:
            count //= 2
        pending = list(range(count))
        refused: Dict[int, DeliveryResult] = {}
        while pending:
            outcome = self._post([lines[number] for number in pending])
            if outcome.kind == DELIVERED:
                self._most = min(2 * self._most, self._batch_events)
                break
            faults = outcome.faults
            if outcome.kind == REFUSED:
                self.rejection = outcome
                if len(pending) == 1:
                    faults = {0: faults.get(0, outcome.detail)}
            if faults:
                self._stuck = 0
                refused.update(
                    {pending[at]: DeliveryResult(REFUSED, said, outcome.status) for at, said in faults.items()}
                )
                pending = [number for number in pending if number not in refused]
            elif len(pending) > 1:
                self._most = len(pending) // 2
                count = pending[self._most]
                pending = pending[: self._most]
            elif pending[0] > 0:
                count = pending[0]
                break
            elif self._stuck >= MAX_STUCK:
                raise Undelivered(outcome)
            else:
                self._stuck += 1
                self.problem = outcome
                return 1, [], outcome
        return count, [(lines[number], refused[number]) for number in sorted(refused) if number < count], None

    def _post(self, lines: List[bytes]) -> DeliveryResult:
        """Post lines, and return what became of them: delivered, refused, or met by an error that may be one line's.

        Raises:
            Undelivered: the backend takes nothing, or there is no time left.
        """
        left = None if self.deadline is None else self.deadline - time.monotonic()
        if left is not None and left <= 0:
            raise Undelivered(OUT_OF_TIME)
        outcome = self._transport.post(lines, left)
        if outcome.kind == DELIVERED:
            self._stuck = 0
        elif outcome.kind != REFUSED and (
            outcome.kind != UNAVAILABLE or outcome.retry_after or outcome.status in _NOT_ABOUT_A_LINE
        ):
            raise Undelivered(outcome)
        return outcome


def drain(deliverer: Deliverer, directory: str, deadline: float, rejected: bool = False) -> Optional[str]:
    """Deliver what processes that are gone have left in `directory`, trying again as long as there is time.

    Args:
        deliverer: how lines get to the backend.
        directory: the journal directory; one that is absent is empty.
        deadline: `time.monotonic()` at which to stop.
        rejected: send once more what was refused earlier, too.

    Returns:
        Why not everything was taken, or None. Segments of processes that still run may be left.

    Raises:
        OSError: the directory can't be read, or what was refused can't be rewritten.
    """
    settled: Dict[str, int] = {}
    failures = 0
    while True:
        reason: Optional[str] = None
        deliverer.begin(deadline)
        try:
            if rejected:
                deliverer.deliver_rejected(directory)
                rejected, deliverer.problem = False, None
            busy = deliverer.deliver_orphans(segment_paths(directory), settled)
            problem = deliverer.problem
            reason = problem.detail if problem else None
            if not busy and (problem is None or problem.kind == MISCONFIGURED):
                return reason
            pause = 0.2  # somebody else is at it; they may end, or die
        except Undelivered as error:
            problem = error.outcome
            reason = problem.detail
            if problem.kind == MISCONFIGURED:
                return reason
        if problem:
            failures += 1
            pause = max(backoff(failures), problem.retry_after or 0.0)
        if time.monotonic() + pause >= deadline:
            return reason
        time.sleep(pause)


def backoff(failures: int, rng: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after so many failures in a row: full jitter, at most 30."""
    return min(BACKOFF_MAX, BACKOFF_BASE * 2.0 ** min(failures - 1, 16)) * rng()


def keep_rejected(path: str, refused: _Refused) -> None:
    """Append refused lines of a segment to `rejected/`, and beside them why they were refused.

    Raises:
        OSError: they can't be written.
    """
    target = rejected_path(path)
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    write(target, b"".join(line + b"\n" for line, _ in refused), os.O_APPEND)
    reasons: Dict[Tuple[Optional[int], str], List[Optional[int]]] = {}
    for line, outcome in refused:
        reasons.setdefault((outcome.status, outcome.detail), []).append(_seq(line))
    text = "".join(
        json.dumps({"at": utc_now(), "status": status, "said": detail, "seq": seqs}) + "\n"
        for (status, detail), seqs in reasons.items()
    )
    write(reasons_path(path), text.encode(), os.O_APPEND)


def _seq(line: bytes) -> Optional[int]:
    try:
        return parse_line(line).seq
    except MalformedLine:
        return None
