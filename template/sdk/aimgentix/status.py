"""What a journal directory holds, counted: for the command line and for summaries."""

from __future__ import annotations

import os

from .notes import offset_path, read_notes, reasons_path, rejected_path
from .segments import owner_lives, segment_paths, stream_of
from .verify import read_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple

    from .segments import StrPath


class SegmentStatus:
    """Counts of one segment: whole lines (`captured`), and of these `delivered`, `waiting` and `rejected`.

    `in_use` says whether a process holds the segment: the one that writes it, or one that is delivering it.
    """

    def __init__(self, path: str) -> None:
        offset, passed = read_notes(path)
        with open(path, "rb") as file:
            dealt_with = file.read(offset).count(b"\n") - len(passed)
            waiting = file.read().count(b"\n") + len(passed)
        try:
            with open(rejected_path(path), "rb") as file:
                rejected = min(len(set(file.read().splitlines())), dealt_with)
        except FileNotFoundError:
            rejected = 0
        self.stream = stream_of(path)
        self.captured = dealt_with + waiting
        self.delivered = dealt_with - rejected
        self.waiting = waiting
        self.rejected = rejected
        self.in_use = owner_lives(path)

    def to_dict(self) -> Dict[str, Any]:
        """Return the counts by name."""
        return dict(vars(self))


def directory_status(directory: StrPath) -> List[SegmentStatus]:
    """Return the status of every segment in `directory`, oldest first; none when it does not exist.

    Raises:
        OSError: a file can't be read.
    """
    return [SegmentStatus(path) for path in segment_paths(os.fspath(directory))]


def prune(directory: StrPath, before: float, archived: bool) -> Tuple[int, int]:
    """Remove segments that were last written `before` a time, and are in no process's hands, with what is beside.

    Args:
        archived: whether those count as delivered of which not all is: somebody has a copy.

    Returns:
        How many were removed and kept.

    Raises:
        OSError: one can't be read or removed.
    """
    origins: Dict[object, object] = {}  # the stream that each stream continues from
    going: Dict[object, str] = {}
    for path in segment_paths(os.fspath(directory)):
        status = SegmentStatus(path)
        first = next(read_lines(path), None)
        origins[status.stream] = ((first.after if first else None) or {}).get("stream")
        done = archived or not (status.waiting or status.rejected)
        if done and not status.in_use and os.path.getmtime(path) < before:
            going[status.stream] = path
    while True:
        needed = {origin for stream, origin in origins.items() if stream not in going}
        if needed.isdisjoint(going):
            break
        going = {stream: path for stream, path in going.items() if stream not in needed}
    for path in going.values():
        for each in (path, offset_path(path), rejected_path(path), reasons_path(path)):
            if os.path.exists(each):
                os.unlink(each)
    return len(going), len(origins) - len(going)
