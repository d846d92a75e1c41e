"""The journal: what `capture()` accepted, on disk before `capture()` returns.

Each process appends to a segment file of its own (`<stream>.jsonl`, mode 0600, one `write` for each line), so no
process waits for another, and a killed process leaves whole lines behind. The process holds an advisory lock (flock)
on its segment as long as it lives: who gets the lock knows that the owner is gone and may deliver what it left.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections import deque
from weakref import WeakSet

try:
    import fcntl
except ImportError:  # Windows has no flock; the README says what that means
    fcntl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, List, Optional, Set, Tuple

    from .verify import (
        DirectoryReport,
        Problem,
        SegmentReport,
        StrPath,
        read_events,
        read_lines,
        verify_directory,
        verify_segment,
    )

__all__ = [
    "DirectoryReport",
    "Journal",
    "JournalError",
    "Problem",
    "SegmentReport",
    "lock_segment",
    "read_events",
    "read_lines",
    "verify_directory",
    "verify_segment",
]


def __getattr__(name: str) -> Any:
    """Find what reads journals, which stands in `verify`; writing them does not need it imported."""
    if name in __all__:
        from . import verify

        return getattr(verify, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


SUFFIX = ".jsonl"
SEGMENT_BYTES = 8 * 1024 * 1024
MEMORY_BYTES = 32 * 1024 * 1024
RETRY_DISK_SECONDS = 5.0
MAX_RETIRED = 8


class JournalError(OSError):
    """An event is not safe in the journal."""


def new_stream() -> str:
    """Return a new stream id: UTC time, process id and 64 random bits, so that names sort by age and never meet."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}-{os.urandom(8).hex()}"


def lock_segment(fd: int) -> bool:
    """Take the lock of a segment; return False when its owner lives, or somebody else is delivering it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)  # a file system without locks: nobody holds one
    return True


def _ignore(_: str) -> None:
    pass


class _Segment:
    """One stream and its file.

    Args:
        directory: where the file is created, locked.
        origin: stream, sequence number and head that this stream goes on from.
        reason: why it does not go on there, or None for the first of a process.

    Raises:
        OSError: the file can't be created.
    """

    def __init__(
        self, directory: str, origin: Optional[Tuple[Optional[str], int, Optional[str]]], reason: Optional[str]
    ) -> None:
        from hashlib import sha256  # loads OpenSSL, which takes longer than most of this package

        self._sha256 = sha256
        self.stream = new_stream()
        self.origin = origin
        self.path = os.path.join(directory, self.stream + SUFFIX)
        self.seq = 0
        self.head: Optional[str] = None
        self.size = 0
        self.unfinished = False  # an append was begun and has not ended: it failed, or an exception or signal cut in
        self.failure: Optional[str] = None
        self.named = False  # the next segment says that it goes on from here
        self._synced = 0  # bytes that are known to be on disk
        self._prefix_text = f'{{"v":1,"stream":"{self.stream}","seq":'
        self._prefix = self._prefix_text.encode()
        self._after = b""
        if reason is not None:
            stream, seq, head = origin or (None, 0, None)
            after = json.dumps({"stream": stream, "seq": seq, "hash": head, "reason": reason}, separators=(",", ":"))
            self._after = b'"after":%b,' % after.encode()
        self._syncing = threading.Lock()  # so that nobody closes the descriptor while another thread syncs it
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self.fd = os.open(self.path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)
        lock_segment(self.fd)

    def append(self, event: bytes) -> None:
        """Append one line.

        Raises:
            OSError: it was not written, or not whole; the segment takes no more.
        """
        self.unfinished = True
        if self.head is None:
            line = self._prefix + b'1,"prev":null,' + self._after + b'"event":' + event + b"}"
        else:
            line = f'{self._prefix_text}{self.seq + 1},"prev":"{self.head}","event":'.encode() + event + b"}"
        data = line + b"\n"
        if os.write(self.fd, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.seq += 1
        self.head = self._sha256(line).hexdigest()
        self.size += len(data)
        self.unfinished = False

    def fail(self, error: OSError) -> None:
        """Note why the segment ends, and remove what a short write left behind the last whole line."""
        self.failure = f"write failed: {errno.errorcode.get(error.errno or 0, 'unknown')}"
        try:
            os.ftruncate(self.fd, self.size)
        except OSError:
            pass  # the verifier reports a truncated line, and the next segment's first line tells why

    def sync(self) -> None:
        """Make all lines survive a power cut.

        Raises:
            OSError: they may not.
        """
        with self._syncing:
            size = self.size
            if self.fd < 0 or size == self._synced:
                return
            os.fsync(self.fd)
            if self._synced == 0 and fcntl is not None:  # the name of the file too, where a folder can be synced
                directory = os.open(os.path.dirname(self.path), os.O_RDONLY)
                try:
                    os.fsync(directory)
                finally:
                    os.close(directory)
            self._synced = size

    def end(self) -> None:
        """Close, and take no more lines."""
        self.failure = self.failure or ("interrupted" if self.unfinished else "closed")
        self.unfinished = True
        self.close()

    def close(self) -> None:
        """Close the file and give up its lock; an empty file is removed."""
        with self._syncing:
            if self.fd < 0:
                return
            if not self.named and not os.fstat(self.fd).st_size:
                os.unlink(self.path)
            os.close(self.fd)
            self.fd = -1


class Journal:
    """The events of this process, appended to its own segment. Threads, signal handlers and forked children may use it.

    Args:
        directory: where segments are written (created with mode 0700 when absent); None holds events in memory.
        strict: raise JournalError when an event can't be written to disk, instead of holding it in memory.
        segment_bytes: a segment of this size is followed by a new one.
        memory_bytes: how much is held in memory at most while no disk can be written.
        complain: called with one sentence whenever the disk can't be written; the caller decides what people see.
    """

    def __init__(
        self,
        directory: Optional[StrPath],
        strict: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
        memory_bytes: int = MEMORY_BYTES,
        complain: Optional[Callable[[str], None]] = None,
    ) -> None:
        self.directory = None if directory is None else os.path.abspath(os.fspath(directory))
        self.strict = strict
        self.segment_bytes = segment_bytes
        self.memory_bytes = memory_bytes
        self._complain = complain or _ignore
        self._reset()
        _journals.add(self)

    def _reset(self) -> None:
        self._lock = threading.RLock()  # a signal handler may append while its own thread is appending
        self._segment: Optional[_Segment] = None
        self._retired: List[_Segment] = []  # full or failed; still to be synced and closed
        self._released = False  # some were closed since `release_retired` was asked
        self._interrupted: List[_Segment] = []  # stay open: the append that was cut into may go on (a signal handler)
        self._held: Deque[bytes] = deque()  # events that no disk would take
        self._held_bytes = 0
        self._taken = 0  # events that were held, and are being delivered
        self._disk_error: Optional[OSError] = None
        self._retry_disk_at = 0.0
        self.streams: Set[str] = set()  # all that this process began
        self.accepted = 0  # events
        self.refused = 0

    @property
    def head(self) -> Optional[str]:
        """Hash of the last line that this process wrote to its present segment (64 hex digits), or None."""
        segment = self._segment
        return segment.head if segment else None

    @property
    def path(self) -> Optional[str]:
        """The present segment's file, or None before the first event, or while no disk can be written."""
        segment = self._segment
        return segment.path if segment and segment.fd >= 0 else None

    @property
    def paths(self) -> List[str]:
        """The files that this process keeps locked: the present segment's, and those that were interrupted."""
        with self._lock:
            return [segment.path for segment in [*self._interrupted, self._segment] if segment and segment.fd >= 0]

    @property
    def held(self) -> int:
        """How many events are in memory because no disk can be written."""
        return len(self._held) + self._taken

    def append(self, event: bytes, durable: bool = False) -> bool:
        """Append one encoded event; with `durable` it is also safe from a power cut when this returns.

        One lock is held over one `write`, because the order of lines is the order of the chain; nothing else waits
        under it.

        Returns:
            Whether the event was accepted: False only when no disk can be written and the memory for it is full.

        Raises:
            JournalError: `strict`, and the event is not on disk (or, with `durable`, maybe not safe there).
        """
        with self._lock:
            segment = self._segment
            if segment is None or segment.unfinished or segment.size >= self.segment_bytes:
                segment = self._next_segment(segment)
            if segment is None or self._held:
                accepted = self._hold(event)
            else:
                try:
                    segment.append(event)
                    accepted = True
                except OSError as error:
                    segment.fail(error)
                    accepted = self._hold(event)
            if accepted:
                self.accepted += 1
            else:
                self.refused += 1
        if durable and accepted:
            self.sync()
        return accepted

    def sync(self) -> bool:
        """Make everything that was appended so far survive a power cut; return whether all of it does.

        Raises:
            JournalError: `strict`, and it may not.
        """
        with self._lock:
            if self._held:
                self._write_held()
            segment = self._segment
            interrupted = list(self._interrupted)
        safe = all(self._release())
        for cut in interrupted:
            safe = self._sync(cut) and safe
        return (segment is None or self._sync(segment)) and safe and not self._held

    def release_retired(self) -> bool:
        """Sync and close the segments that are full or failed, so that they can be adopted.

        Returns:
            Whether any was closed since the last call.

        Raises:
            JournalError: `strict`, and one may not survive a power cut.
        """
        self._release()
        with self._lock:
            released, self._released = self._released, False
        return released

    def _release(self) -> List[bool]:
        with self._lock:
            retired, self._retired = self._retired, []
        safe = []
        for segment in retired:
            try:
                safe.append(self._sync(segment))
            finally:
                segment.close()
                self._released = True
        return safe

    def take_held(self, count: int) -> List[bytes]:
        """Return up to `count` events that are held in memory, oldest first, for delivery; `settle_held` ends that."""
        with self._lock:
            taken = [self._held.popleft() for _ in range(min(count, len(self._held)))]
            self._held_bytes -= sum(map(len, taken))
            self._taken = len(taken)
            return taken

    def settle_held(self, undelivered: List[bytes]) -> None:
        """Hold again those events of `take_held` that could not be delivered; the others are done with."""
        with self._lock:
            self._taken = 0
            self._held.extendleft(reversed(undelivered))
            self._held_bytes += sum(map(len, undelivered))

    def close(self) -> None:
        """Sync, and give up the segment and its lock; a later append goes on in a new segment.

        Raises:
            JournalError: `strict`, and something may not survive a power cut.
        """
        try:
            self.sync()
        finally:
            with self._lock:
                for segment in self._interrupted:
                    segment.close()
                self._interrupted = []
                if self._segment is not None:
                    self._segment.end()

    def _next_segment(self, before: Optional[_Segment]) -> Optional[_Segment]:
        """Return a new segment that goes on from `before`, or None when no disk can be written now. Holds the lock."""
        origin = reason = None
        if before is not None:
            reason = before.failure or ("interrupted" if before.unfinished else "size")
            before.named = before.seq > 0 or reason == "interrupted"
            origin = (before.stream, before.seq, before.head) if before.named else before.origin
        if self.directory is None or (not self.strict and time.monotonic() < self._retry_disk_at):
            return before if reason == "size" else None
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            segment = _Segment(self.directory, origin, reason)
        except OSError as error:
            self._disk_failed(error)
            return before if reason == "size" else None
        if before is not None:
            self._retire(before)
        self._segment = segment
        self.streams.add(segment.stream)
        return segment

    def _retire(self, segment: _Segment) -> None:
        if segment.unfinished and segment.failure is None:
            self._interrupted.append(segment)
            return
        if not segment.named:
            segment.close()
            return
        self._retired.append(segment)
        if len(self._retired) > MAX_RETIRED:  # nobody flushes: don't run out of file descriptors
            oldest = self._retired.pop(0)
            self._sync(oldest)
            oldest.close()
            self._released = True

    def _hold(self, event: bytes) -> bool:
        """Append `event` behind those in memory, then write what the disk takes. Holds the lock."""
        self._held.append(event)
        self._held_bytes += len(event)
        self._write_held()
        if not self._held:
            return True
        if self.strict or self._held_bytes > self.memory_bytes:
            self._held_bytes -= len(self._held.pop())
            if self.strict:
                raise JournalError(f"the event is not in the journal: {self._disk_error}") from self._disk_error
            return False
        return True

    def _write_held(self) -> None:
        """Write the events in memory to disk, as far as it takes them. Holds the lock."""
        for attempt in range(2):
            segment = self._segment
            if segment is None or segment.unfinished:
                segment = self._next_segment(segment)
            if segment is None:
                return
            try:
                while self._held:
                    segment.append(self._held[0])
                    self._held_bytes -= len(self._held.popleft())
                return
            except OSError as error:
                segment.fail(error)
                if attempt:
                    if segment.seq == 0:
                        segment.close()
                    self._disk_failed(error)

    def _disk_failed(self, error: OSError) -> None:
        self._disk_error = error
        self._retry_disk_at = time.monotonic() + RETRY_DISK_SECONDS
        if not self.strict:
            self._complain(f"can't write the journal in {self.directory} ({error.strerror}): events stay in memory")

    def _sync(self, segment: _Segment) -> bool:
        try:
            segment.sync()
        except OSError as error:
            segment.failure = f"sync failed: {errno.errorcode.get(error.errno or 0, 'unknown')}"
            segment.unfinished = True
            if self.strict:
                raise JournalError(f"events may not survive a power cut: {error}") from error
            self._complain(
                f"can't sync the journal in {self.directory} ({error.strerror}): a power cut may lose events"
            )
            return False
        return True

    def _after_fork_in_child(self) -> None:
        for segment in [self._segment, *self._interrupted, *self._retired]:
            if segment is not None and segment.fd >= 0:
                os.close(segment.fd)  # the parent's descriptor keeps the lock
        self._reset()


_journals: WeakSet[Journal] = WeakSet()


def _after_fork_in_child() -> None:
    for journal in list(_journals):
        journal._after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
