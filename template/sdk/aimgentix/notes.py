"""The notes that delivery keeps beside a segment: what is dealt with, and what the backend refused."""

from __future__ import annotations

import os

from .segments import stream_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Tuple


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
    if offset == os.path.getsize(path):
        return len(passed)
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
