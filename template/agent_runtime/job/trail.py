"""The audit trail of one job: its words for what happens, written to the journal through the SDK."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Optional, Type, Union

from agent_runtime import codes
from agent_runtime.github.context import audit_metadata
from agent_runtime.job.context import JobContext
from aimgentix.events import ActionType, ActorType, AuditEvent, EventStatus
from aimgentix.plain import PlainRecorder
from aimgentix.redact import Redactor

if TYPE_CHECKING:
    from aimgentix.recorder import Recorder

# What each job with a journal prints.
OPENED = "AIMgentix audit journal opened; the last step of record delivers it where there is a backend"


class Trail:
    """Writes the events of one job; use it as a context manager, so that it is flushed whatever happens.

    Arguments:
        resource: of every event.
        recorder: makes what writes, from agent, trace id and folder.  A job with team code needs one that bears
            threads, children and a folder that somebody removes.

    Raises:
        BadInput: something is wrong about the journal (INP012).
    """

    def __init__(
        self,
        job: JobContext,
        resource: str,
        recorder: Callable[[str, str, str], Union[PlainRecorder, Recorder]] = PlainRecorder,
    ) -> None:
        self._job = job
        self._resource = resource
        self._gha = audit_metadata(job.run, job.id)
        self._agent = job.environ.get("AGENT_INSTANCE_ID") or job.config.agent
        try:
            self._recorder = recorder(self._agent, job.trace_id, str(job.journal))
        except ValueError as problem:  # a setting, an id or a pattern: nothing may go on without a journal
            raise codes.BadInput(codes.AUDIT_SETTING, str(problem)) from None
        print(OPENED)

    def event(
        self,
        step: str,
        status: EventStatus,
        *,
        action_type: ActionType = ActionType.TOOL_CALL,
        actor: ActorType = ActorType.SYSTEM,
        latency_ms: Optional[float] = None,
        durable: bool = False,
        **facts: Any,
    ) -> None:
        """Append one event.

        Arguments:
            step: one of the names in `names`.
            durable: return only after the event is on the disk.
            facts: JSON values for the event's metadata.

        Raises:
            OSError: the journal can't be written.
        """
        metadata = {"step": step, "gha": self._gha}
        metadata.update(facts)
        self._recorder.capture(
            AuditEvent(
                agent_instance_id=self._agent,
                trace_id=self._job.trace_id,
                actor=actor,
                action_type=action_type,
                resource=self._resource,
                status=status,
                latency_ms=latency_ms,
                metadata=metadata,
            ),
            durable=durable,
        )

    @property
    def redactor(self) -> Redactor:
        """What keeps secrets out of the events; the job's other outputs go through it too."""
        return self._recorder.redactor

    @property
    def head(self) -> str:
        """Hash of the journal's last line: 64 hexadecimal digits, empty when nothing was written."""
        return self._recorder.journal_head or ""

    def __enter__(self) -> Trail:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        problem: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._recorder.close()
