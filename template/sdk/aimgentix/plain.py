"""The plain recorder, for a process without threads and children: what it can't write, it raises.

It writes the same lines into the same kind of file as `recorder.py`, and is all that the jobs which decide load.
"""

from __future__ import annotations

import errno
import os
from hashlib import sha256

from .events import MAX_ID, AuditEvent, check_text
from .redact import redactor_of
from .segments import SUFFIX, create_segment, line_of, new_stream, sync_segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from .segments import StrPath


class PlainRecorder:
    """Writes audit events into one segment, and sends nothing anywhere.

    Attributes:
        redactor: what keeps secrets out of the events, for whatever else the program writes.
        journal_head: hash of the last line (64 hex digits), or None; kept elsewhere it anchors the chain.

    Raises:
        InvalidEvent: the agent's or the trace's id breaks the contract of events.
        ValueError: AIMGENTIX_REDACT_PATTERNS holds what is not a pattern.
    """

    def __init__(self, agent_instance_id: str, trace_id: str, journal_dir: StrPath) -> None:
        check_text("agent_instance_id", agent_instance_id, MAX_ID)
        check_text("trace_id", trace_id, MAX_ID)
        self.redactor = redactor_of(os.environ)
        self.journal_head: Optional[str] = None
        self._stream = new_stream()
        self._path = os.path.join(os.fspath(journal_dir), self._stream + SUFFIX)
        self._fd = -1
        self._lines = 0
        self._bytes = 0

    def capture(self, event: AuditEvent, durable: bool = False) -> None:
        """Redact `event` and append it; it survives the death of the process when this returns.

        Args:
            event: what happened.
            durable: also wait until it survives a power cut (fsync).

        Raises:
            OSError: it is not safe on disk.
        """
        if self._fd < 0:
            self._fd = create_segment(self._path)
        line = line_of(self._stream, self._lines + 1, self.journal_head, self.redactor.encode(event))
        if os.write(self._fd, line + b"\n") != len(line) + 1:
            os.ftruncate(self._fd, self._bytes)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._lines += 1
        self._bytes += len(line) + 1
        self.journal_head = sha256(line).hexdigest()
        if durable:
            sync_segment(self._fd, self._path)

    def close(self) -> None:
        """Make all of it survive a power cut, and give up the segment.

        Raises:
            OSError: something may not.
        """
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            try:
                sync_segment(fd, self._path)
            finally:
                os.close(fd)
