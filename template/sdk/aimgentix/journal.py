"""The journal: what `capture()` accepted, on disk before `capture()` returns.

Each process appends to a segment file of its own (`<stream>.jsonl`, mode 0600, one `write` for each line), so no
process waits for another, and a killed process leaves whole lines behind. The process holds an advisory lock (flock)
on its segment as long as it lives: who gets the lock knows that the owner is gone and may deliver what it left.

One module, because a segment and the journal that changes from one to the next share what must hold in a signal
handler, after a fork and on a full disk.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections import deque
from weakref import WeakSet

from .segments import SUFFIX, JournalError, create_segment, line_of, new_stream, sync_segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, List, Optional, Set

    from .segments import StrPath


def __getattr__(name: str) -> Any:
    """Find what reads journals, which is in `verify`; writing them does not need it imported."""
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import verify

    return getattr(verify, name)


SEGMENT_BYTES = 8 * 1024 * 1024
MEMORY_BYTES = 32 * 1024 * 1024
RETRY_DISK_SECONDS = 5.0
LOOK_SECONDS = 0.05
MAX_RETIRED = 8


def _ignore(_: str) -> None:
    pass


class _Segment:
    """One stream and its file.

    Args:
        directory: where the file will be created, locked.
        sha256: of `hashlib`.
        after: what the first line says of where the stream continues from, or None.
    """

    def __init__(self, directory: str, sha256: Any, after: Optional[Dict[str, Any]]) -> None:
        self._sha256 = sha256
        self.stream = new_stream()
        self.path = os.path.join(directory, self.stream + SUFFIX)
        self.seq = 0
        self.head: Optional[str] = None
        self.size = 0
        self.unfinished = True  # claimed for a line that is not whole yet: see `Journal._claim`
        self.failure: Optional[str] = None
        self.named = False  # the next segment says that it continues from here
        self.heirs: List[_Segment] = []  # segments that continue from here: the first one does
        self.fd = -1
        self._synced = 0  # bytes that are known to be on disk
        self.after = after
        self._after = b"" if after is None else b'"after":%b,' % json.dumps(after, separators=(",", ":")).encode()
        # Nobody closes the descriptor while another thread syncs it; a signal handler may do either meanwhile.
        self._syncing = threading.RLock()

    def create(self) -> None:
        """Create the file, and its folder when there is none.

        Raises:
            OSError: it can't be created.
        """
        self.fd = create_segment(self.path)
        self.unfinished = False

    def append(self, event: bytes) -> None:
        """Append one line to the segment, which the caller has claimed.

        Raises:
            OSError: it was not written, or not whole; the segment takes no more.
        """
        line = line_of(self.stream, self.seq + 1, self.head, event, b"" if self.head else self._after)
        data = line + b"\n"
        if os.write(self.fd, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.seq += 1
        self.head = self._sha256(line).hexdigest()
        self.size += len(data)
        self.unfinished = False

    def is_removed(self) -> bool:
        """Return whether somebody removed the file, which then exists for this process only."""
        return self.fd >= 0 and not os.fstat(self.fd).st_nlink

    def restore(self) -> None:
        """Write a removed file anew, in a new folder if need be. Nothing is appended meanwhile.

        Raises:
            OSError: it can't be written.
        """
        fd = create_segment(self.path)
        try:
            written = 0
            while written < self.size:
                written += os.write(fd, os.pread(self.fd, self.size - written, written))
            os.dup2(fd, self.fd, inheritable=False)  # the same open file, so that the lock stays
            self._synced = 0
        except OSError:
            os.unlink(self.path)
            raise
        finally:
            os.close(fd)

    def fail(self, error: OSError) -> None:
        """Note why the segment ends, and remove what a short write left behind the last whole line."""
        self.failure = self.failure or f"write failed: {_code(error)}"
        try:
            os.ftruncate(self.fd, self.size)
        except OSError:
            pass  # the verifier reports a truncated line, and the next segment's first line says why

    def sync(self) -> None:
        """Make all lines survive a power cut.

        Raises:
            OSError: they may not.
        """
        with self._syncing:
            size = self.size
            if self.fd < 0 or size <= self._synced:
                return
            try:
                sync_segment(self.fd, None if self._synced else self.path)
            except (OSError, ValueError):  # on some Pythons -1 is a ValueError
                if self.fd >= 0:  # else a signal handler has synced and closed it
                    raise
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
            fd, self.fd = self.fd, -1
            os.close(fd)


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
        from hashlib import sha256  # loads OpenSSL: not for those who only import this, nor later, in a signal handler

        self._sha256 = sha256
        self.directory = None if directory is None else os.path.abspath(os.fspath(directory))
        self.strict = strict
        self.segment_bytes = segment_bytes
        self.memory_bytes = memory_bytes
        self._complain = complain or _ignore
        self._reset()
        _journals.add(self)

    def _reset(self) -> None:
        self._lock = threading.RLock()  # a signal handler may append while its own thread is appending
        self._appending = 0  # how many appends are under way: one, and those of signal handlers that cut into it
        self._segment: Optional[_Segment] = None
        self._first: List[_Segment] = []  # as the heirs of a segment
        self._retired: List[_Segment] = []  # full or failed; still to be synced and closed
        self._released: List[str] = []  # the files of those that were, since `release_retired` was asked
        self._interrupted: List[
            _Segment
        ] = []  # stay open: the append that was cut into may continue (a signal handler)
        self._held: Deque[bytes] = deque()  # events that no disk would take
        self._held_bytes = 0
        self._taken = 0  # events that were held, and are being delivered
        self._outside = 0  # events that never got a place in a chain, since a first line said how many
        self._unsafe = False  # a sync failed: a power cut may lose what was written before
        self._disk_error: Optional[OSError] = None
        self._retry_disk_at = 0.0
        self._look_at = 0.0  # whether the segment's file is still there
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
            return [segment.path for segment in self._open() if self._restored(segment)]

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
            self._appending += 1
            try:
                segment = None if self._held else self._claim()
                try:
                    if segment is None:
                        accepted = self._hold(event)
                    else:
                        now = time.monotonic()
                        if now >= self._look_at:
                            self._look_at = now + LOOK_SECONDS
                            if segment.is_removed():
                                self._restore(segment)
                        segment.append(event)
                        accepted = True
                except OSError as error:
                    if segment is None:
                        raise
                    segment.fail(error)
                    accepted = self._hold(event)
            finally:
                self._appending -= 1
            if accepted:
                self.accepted += 1
            else:
                self.refused += 1
                self._outside += 1
        if durable and accepted:
            self.sync()
        return accepted

    def sync(self) -> bool:
        """Make everything that was appended so far survive a power cut; return whether all of it does.

        Raises:
            JournalError: `strict`, and it may not.
        """
        with self._lock:
            self._write_held()
            segments = self._open()
            there = [self._restored(segment) for segment in segments]
        self._release()
        for segment in segments:
            self._sync(segment)
        return all(there) and not (self._unsafe or self.held)

    def release_retired(self) -> List[str]:
        """Sync and close the segments that are full or failed; return the files that were closed since the last call.

        Raises:
            JournalError: `strict`, and one may not survive a power cut.
        """
        self._release()
        with self._lock:
            released, self._released = self._released, []
        return released

    def _release(self) -> None:
        with self._lock:
            retired, self._retired = self._retired, []
            for segment in retired:
                self._unsafe = not self._restored(segment) or self._unsafe
        for segment in retired:
            self._close_retired(segment)

    def _close_retired(self, segment: _Segment) -> None:
        try:
            self._sync(segment)
        finally:
            segment.close()
            self._released.append(segment.path)

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
            self._outside += self._taken - len(undelivered)
            self._taken = 0
            self._held.extendleft(reversed(undelivered))
            self._held_bytes += sum(map(len, undelivered))

    def close(self) -> None:
        """Sync, and give up the segment and its lock; a later append continues in a new segment.

        Raises:
            JournalError: `strict`, and something may not survive a power cut.
        """
        try:
            self.sync()
        finally:
            with self._lock:
                if not self._appending:  # else this is a signal handler: the append that it cut into continues
                    for segment in self._open():
                        segment.end()
                    self._interrupted = []

    def _open(self) -> List[_Segment]:
        return [segment for segment in [*self._interrupted, self._segment] if segment and segment.fd >= 0]

    def _claim(self) -> Optional[_Segment]:
        """Return the segment for the next line, claimed, or None when no disk can be written now. Holds the lock.

        A signal handler may append at any moment. Before the claim its lines go where these go, or to a new segment,
        which is seen after the claim; from then on it continues in a new segment.
        """
        while True:
            segment = self._segment
            if segment is None or segment.unfinished or segment.size >= self.segment_bytes:
                segment = self._next_segment(segment)
                if segment is None:
                    return None
            segment.unfinished = True
            if segment is self._segment:
                return segment

    def _next_segment(self, before: Optional[_Segment]) -> Optional[_Segment]:
        """Return a new segment that continues from `before`, or None when no disk can be written. Holds the lock."""
        after: Optional[Dict[str, Any]] = None
        outside = self._outside
        full = None  # a segment that would take more, should there be no new one
        if before is not None:
            full = None if before.unfinished else before
            reason = before.failure or ("interrupted" if before.unfinished else "size")
            before.named = before.seq > 0 or reason == "interrupted"
            place = {"stream": before.stream, "seq": before.seq, "hash": before.head}
            after = {**(place if before.named else before.after or _NOWHERE), "reason": reason}
        elif outside:
            after = {**_NOWHERE, "reason": f"write failed: {_code(self._disk_error)}"}
        if after and outside:
            after["outside"] = after.get("outside", 0) + outside
        if self.directory is None or (not self.strict and time.monotonic() < self._retry_disk_at):
            return full
        segment = _Segment(self.directory, self._sha256, after)
        heirs = self._first if before is None else before.heirs
        try:
            # Two never continue from the same one, whenever a signal handler cuts in: the second continues from the
            # first, also when that has no file yet.
            heirs.append(segment)
            if self._segment is before:
                self._segment = heirs[0]
            if heirs[0] is not segment:
                heirs.remove(segment)
                return self._claim()
            segment.create()
        except BaseException as error:
            if segment in heirs:
                heirs.remove(segment)
            if self._segment is segment:
                self._segment = before
            if not isinstance(error, OSError):
                raise
            self._disk_failed(error)
            return full
        self._outside -= outside
        if before is not None:
            self._retire(before)
        self.streams.add(segment.stream)
        return segment

    def _retire(self, segment: _Segment) -> None:
        if segment.unfinished and segment.failure is None:
            self._interrupted.append(segment)
        elif not segment.named:
            segment.close()
        else:
            self._retired.append(segment)
            if len(self._retired) > MAX_RETIRED:  # nobody flushes: don't run out of file descriptors
                self._close_retired(self._retired.pop(0))

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
        failures = 0
        while self._held and failures < 2:
            segment = self._claim()
            if segment is None:
                return
            event = self._held.popleft()
            try:
                segment.append(event)
                self._held_bytes -= len(event)
            except BaseException as error:
                self._held.appendleft(event)
                if not isinstance(error, OSError):
                    raise
                segment.fail(error)
                failures += 1
                if failures == 2:
                    if segment.seq == 0:
                        segment.close()
                    self._disk_failed(error)

    def _disk_failed(self, error: OSError) -> None:
        self._disk_error = error
        self._retry_disk_at = time.monotonic() + RETRY_DISK_SECONDS
        if not self.strict:
            self._complain(f"can't write the journal in {self.directory} ({error.strerror}): events stay in memory")

    def _restored(self, segment: _Segment) -> bool:
        """Return whether the file of an open segment is there, written anew if need be. Holds the lock."""
        try:
            if segment.is_removed():
                self._restore(segment)
        except OSError as error:
            if segment.fd >= 0:  # else a signal handler has synced and closed it
                self._disk_failed(error)
                return False
        return True

    def _restore(self, segment: _Segment) -> None:
        claimed, segment.unfinished = segment.unfinished, True  # a signal handler continues elsewhere meanwhile
        segment.restore()
        segment.unfinished = claimed
        self._complain(f"the journal was removed from {self.directory}: what this process still had is written anew")

    def _sync(self, segment: _Segment) -> None:
        try:
            segment.sync()
        except OSError as error:
            segment.failure = f"sync failed: {_code(error)}"
            segment.unfinished = self._unsafe = True
            if self.strict:
                raise JournalError(f"events may not survive a power cut: {error}") from error
            self._complain(
                f"can't sync the journal in {self.directory} ({error.strerror}): a power cut may lose events"
            )

    def _after_fork_in_child(self) -> None:
        for segment in [*self._open(), *self._retired]:
            if segment.fd >= 0:
                os.close(segment.fd)  # the parent's descriptor keeps the lock
        self._reset()


_NOWHERE = {"stream": None, "seq": 0, "hash": None}


def _code(error: Optional[OSError]) -> str:
    return errno.errorcode.get((error.errno if error else None) or 0, "unknown")


_journals: WeakSet[Journal] = WeakSet()


def _after_fork_in_child() -> None:
    for journal in list(_journals):
        journal._after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
