"""The segments of a journal folder: their names and their locks."""

from __future__ import annotations

import errno
import os

try:
    import fcntl
except ImportError:  # Windows has no flock; the README says what that means
    fcntl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Tuple, Union

    StrPath = Union[str, os.PathLike[str]]

SUFFIX = ".jsonl"
_BINARY = getattr(os, "O_BINARY", 0)  # Windows


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
