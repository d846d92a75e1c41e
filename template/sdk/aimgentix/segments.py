"""The files of a journal folder: their names, their locks, and the notes that delivery keeps beside them."""

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


def read_notes(path: str) -> Tuple[int, List[int]]:
    """Return how many bytes of a segment are dealt with, and where in these the lines begin that were passed over.

    What is not known, or can't be true, is (0, []): then everything is sent again.
    """
    try:
        with open(offset_path(path), "rb") as file:
            offset, *passed = map(int, file.read(65536).split())
        with open(path, "rb") as file:
            for end in (offset, *filter(None, passed)):
                file.seek(end - 1)
                if file.read(1) != b"\n" or end > offset:
                    return 0, []
            return offset, passed
    except (OSError, ValueError, OverflowError):
        return 0, []


def read_offset(path: str) -> int:
    """Return how many bytes of the segment are dealt with."""
    return read_notes(path)[0]


def write_notes(path: str, offset: int, passed: List[int]) -> None:
    """Note what `read_notes` returns, replacing the old note atomically.

    Raises:
        OSError: it can't be written.
    """
    target = offset_path(path)
    temporary = f"{target}.{os.getpid()}"
    write(temporary, b"\n".join(b"%d" % number for number in (offset, *passed)) + b"\n", os.O_TRUNC)
    os.replace(temporary, target)


def unsent(path: str) -> int:
    """Return how many whole lines of a segment are not dealt with."""
    offset, passed = read_notes(path)
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read().count(b"\n") + len(passed)


def offset_path(path: str) -> str:
    """Return the file that holds the notes of a segment."""
    return os.path.join(os.path.dirname(path), stream_of(path) + ".offset")


def rejected_path(path: str) -> str:
    """Return the file that holds the refused lines of a segment."""
    return os.path.join(os.path.dirname(path), "rejected", os.path.basename(path))


def reasons_path(path: str) -> str:
    """Return the file that says why the lines of a segment were refused."""
    return os.path.join(os.path.dirname(path), "rejected", stream_of(path) + ".reasons.jsonl")


def write(path: str, data: bytes, how: int) -> None:
    """Write a file for its owner only; `how` is O_TRUNC or O_APPEND.

    Raises:
        OSError: it can't be written.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | how | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
