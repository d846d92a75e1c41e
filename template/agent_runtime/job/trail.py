"""The audit trail of one job: its words for what happens, written to the journal through the SDK."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Optional, Type

from agent_runtime import codes
from agent_runtime.github.context import audit_metadata
from agent_runtime.job.context import JobContext
from agent_runtime.text import escape
from aimgentix import ActionType, ActorType, AuditClient, AuditEvent, EventStatus, Redactor
from aimgentix.settings import SettingError


class Trail:
    """Writes the events of one job; use it as a context manager, so that it is flushed whatever happens."""

    def __init__(self, job: JobContext, resource: str) -> None:
        self._job = job
        self._resource = resource
        self._gha = audit_metadata(job.run, job.id)
        self._agent = job.environ.get("AGENT_INSTANCE_ID") or job.config.agent
        self._client = _client(self._agent, job)
        print("✅ AIMgentix audit client initialized")

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
        self._client.capture(
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
        return self._client.redactor

    @property
    def head(self) -> str:
        """Hash of the journal's last line: 64 hexadecimal digits, empty when nothing was written."""
        return self._client.journal_head or ""

    def __enter__(self) -> Trail:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        problem: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._client.close()


def _client(agent: str, job: JobContext) -> AuditClient:
    """The client of a job; an invalid setting of the audit backend costs the copy, never the job.

    Raises:
        BadInput: what is wrong is about the journal itself (INP012): nothing may continue without one.
    """

    def make(**settings: Any) -> AuditClient:
        return AuditClient(
            agent_instance_id=agent, trace_id=job.trace_id, journal_dir=str(job.journal), strict=True, **settings
        )

    try:
        try:
            return make()
        except SettingError as problem:
            # Everything about sending is given here, so that what the environment says of it is not even read.
            client = make(api_url="", exit_timeout=1.0, timeout=10.0, flush_interval=1.0, batch_events=1)
            incomplete = codes.TrailIncomplete(codes.TRAIL_UNDELIVERED, str(problem))
            print("error: " + escape.log_line(incomplete.line()), file=sys.stderr)
            return client
    except ValueError as problem:  # a setting, an id or a pattern
        raise codes.BadInput(codes.AUDIT_SETTING, str(problem)) from None
