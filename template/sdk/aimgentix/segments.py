"""The segments of a journal folder: their names, their locks, and the bytes of a line."""

from __future__ import annotations

import errno
import os
import time

try:
    import fcntl
except ImportError:  # Windows has no flock; the README says what that means
    fcntl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Tuple, Union

    StrPath = Union[str, os.PathLike[str]]

SUFFIX = ".jsonl"
_BINARY = getattr(os, "O_BINARY", 0)  # Windows


class JournalError(OSError):
    """An event is not safe in the journal."""


def new_stream() -> str:
    """Return a new stream id: UTC time, process id and 64 random bits, so that names sort by age and never meet."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}-{os.urandom(8).hex()}"


def line_of(stream: str, seq: int, prev: Optional[str], event: bytes, after: bytes = b"") -> bytes:
    """Return a journal line without its newline; `chain.py` says what its members are.

    Args:
        after: the member that says where the stream continues from, with its comma.
    """
    previous = "null" if prev is None else f'"{prev}"'
    return b'{"v":1,"stream":"%b","seq":%d,"prev":%b,%b"event":%b}' % (
        stream.encode(),
        seq,
        previous.encode(),
        after,
        event,
    )


def create_segment(path: str) -> int:
    """Create a segment file, and its folder when there is none; return the descriptor, locked.

    Raises:
        OSError: it can't be created.
    """
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND
    fd = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)
    lock_segment(fd)
    return fd


def sync_segment(fd: int, path: Optional[str]) -> None:
    """Make what is in a segment survive a power cut, and, given its path, the name of the file too where that works.

    Raises:
        OSError: it may not.
    """
    os.fsync(fd)
    if path is not None and hasattr(os, "O_DIRECTORY"):
        folder = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def stream_of(path: str) -> str:
    """Return the stream id that the name of a segment file says."""
    name = os.path.basename(path)
    return name[: -len(SUFFIX)] if name.endswith(SUFFIX) else name


def segment_files(directory: StrPath) -> List[Tuple[str, str]]:
    """Return (stream, path) of every segment in `directory`, oldest first; see `strange_files` for the rest.

    Raises:
        OSError: the directory can't be read.
    """
    return [(stream_of(path), path) for path in _named_like_segments(directory) if os.path.isfile(path)]


def strange_files(directory: StrPath) -> List[str]:
    """Return the paths that have the name of a segment and are not files: folders, pipes, links that lead nowhere."""
    try:
        return [path for path in _named_like_segments(directory) if not os.path.isfile(path)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def segment_paths(directory: str) -> List[str]:
    """Return the segments in `directory`, oldest first; none when it does not exist."""
    try:
        return [path for _, path in segment_files(directory)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _named_like_segments(directory: StrPath) -> List[str]:
    directory = os.fspath(directory)
    return [os.path.join(directory, name) for name in sorted(os.listdir(directory)) if name.endswith(SUFFIX)]


def lock_segment(fd: int) -> bool:
    """Take the lock of a segment; return False when its owner lives, or somebody else is delivering it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)  # a file system without locks: nobody holds one
    return True


def open_segment(path: str) -> int:
    """Open a segment for locking it; return the descriptor.

    Raises:
        OSError: it can't be opened.
    """
    try:
        return os.open(path, os.O_RDWR | _BINARY)  # NFS gives an exclusive lock only on a writable descriptor
    except PermissionError:
        return os.open(path, os.O_RDONLY | _BINARY)


def owner_lives(path: str) -> bool:
    """Return whether a process holds the segment: its owner, or one that is delivering it."""
    if os.path.getsize(path) == 0:  # its owner may be about to take the lock
        return False
    fd = open_segment(path)
    try:
        return not lock_segment(fd)
    finally:
        os.close(fd)
