"""What a journal directory holds, counted: for the command line and for summaries."""

from __future__ import annotations

import os

from .delivery import owner_lives, read_offset, rejected_path, segment_paths
from .verify import stream_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    from .verify import StrPath


class SegmentStatus:
    """Counts of one segment: whole lines (`captured`), and of these `delivered`, `waiting` and `rejected`.

    `in_use` tells whether a process holds the segment: the one that writes it, or one that is delivering it.
    """

    def __init__(self, path: str) -> None:
        offset = read_offset(path)
        with open(path, "rb") as file:
            dealt_with = file.read(offset).count(b"\n")
            self.waiting = file.read().count(b"\n")
        try:
            with open(rejected_path(path), "rb") as file:
                self.rejected = min(len(set(file.read().splitlines())), dealt_with)
        except FileNotFoundError:
            self.rejected = 0
        self.stream = stream_of(path)
        self.captured = dealt_with + self.waiting
        self.delivered = dealt_with - self.rejected
        self.in_use = owner_lives(path)

    def to_dict(self) -> Dict[str, Any]:
        """Return the counts by name."""
        return {
            "stream": self.stream,
            "captured": self.captured,
            "delivered": self.delivered,
            "waiting": self.waiting,
            "rejected": self.rejected,
            "in_use": self.in_use,
        }


def directory_status(directory: StrPath) -> List[SegmentStatus]:
    """Return the status of every segment in `directory`, oldest first; none when it does not exist.

    Raises:
        OSError: a file can't be read.
    """
    return [SegmentStatus(path) for path in segment_paths(os.fspath(directory))]
