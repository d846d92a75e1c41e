"""The recorder: writes audit events into the journal of this process, and sends nothing anywhere."""

from __future__ import annotations

import atexit
import os
import sys

from . import settings
from .events import MAX_ID, AuditEvent, check_text
from .journal import SEGMENT_BYTES, Journal
from .redact import redactor_of
from .segments import JournalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Callable, Iterable, Optional, Set, Type, TypeVar

    from .redact import Redactor
    from .segments import StrPath

    Self = TypeVar("Self", bound="Recorder")


class Recorder:
    """Writes audit events into the journal of this process.  An `AuditClient` is one that delivers them, too.

    An argument left out is read from its environment variable, then has its default: README.md has the table of all.

    Raises:
        SettingError: an argument or variable has an impossible value.
        InvalidEvent: the agent's or the trace's id breaks the contract of events.
    """

    def __init__(
        self,
        agent_instance_id: Optional[str] = None,
        trace_id: Optional[str] = None,
        journal_dir: Optional[StrPath] = None,
        strict: Optional[bool] = None,
        redact_patterns: Optional[Iterable[str]] = None,
        redact_env: Optional[Iterable[str]] = None,
        segment_bytes: Optional[int] = None,
    ) -> None:
        self.agent_instance_id = settings.text(agent_instance_id, "AGENT_INSTANCE_ID") or settings.process_name()
        self.trace_id = settings.text(trace_id, "TRACE_ID") or settings.trace_parent(os.environ) or os.urandom(16).hex()
        check_text("agent_instance_id", self.agent_instance_id, MAX_ID)
        check_text("trace_id", self.trace_id, MAX_ID)
        self._redactor = redactor_of(os.environ, redact_env, redact_patterns)
        self._journal = Journal(
            os.fspath(journal_dir) if journal_dir else settings.journal_directory(os.environ),
            strict=settings.flag(strict, "AIMGENTIX_STRICT"),
            segment_bytes=settings.number(segment_bytes, "AIMGENTIX_SEGMENT_BYTES", int, SEGMENT_BYTES, 1),
            complain=lambda text: self._say_once("disk", text),
        )
        self._said: Set[str] = set()
        atexit.register(self._at_exit)

    @property
    def journal_dir(self) -> str:
        """Folder of the journal."""
        return str(self._journal.directory)

    @property
    def journal_head(self) -> Optional[str]:
        """Hash of this process's last line (64 hex digits), or None; kept elsewhere it anchors the chain."""
        return self._journal.head

    @property
    def redactor(self) -> Redactor:
        """What keeps secrets out of the events, for whatever else the program writes."""
        return self._redactor

    def capture(self, event: AuditEvent, durable: bool = False) -> None:
        """Redact `event` and append it to the journal; it survives the death of the process when this returns.

        Args:
            event: what happened.
            durable: also wait until it survives a power cut (fsync).

        Raises:
            JournalError: `strict`, and the event is not safe on disk.
        """
        self._journal.append(self._redactor.encode(event), durable)

    def close(self) -> bool:
        """Make all of it survive a power cut, and give up the journal's segment; runs by itself when the process exits.

        What is captured later is still journalled.

        Returns:
            Whether all of it survives a power cut.

        Raises:
            JournalError: `strict`, and something is not safe on disk.
        """
        return self._close(self._journal.sync)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def _close(self, flush: Callable[[], bool]) -> bool:
        atexit.unregister(self._at_exit)
        try:
            return flush()
        finally:
            self._journal.close()
            if self._journal.held:
                self._say_once("lost", f"events that could neither be stored nor delivered: {self._journal.held}")

    def _at_exit(self) -> None:
        try:
            self.close()
        except JournalError as error:
            self._say_once("disk", str(error))

    def _say_once(self, topic: str, message: str) -> None:
        if topic not in self._said:
            self._said.add(topic)
            _warn(message)


def _warn(message: str) -> None:
    # A program that has not imported logging has not configured it: then a warning would be printed on stderr.
    logger = getattr(sys.modules.get("logging"), "getLogger", None)
    if logger:
        logger("aimgentix").warning("aimgentix: %s", message)
    elif sys.stderr is not None:
        sys.stderr.write(f"aimgentix: {message}\n")
