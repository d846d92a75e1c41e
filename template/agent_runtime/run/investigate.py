"""Investigate: run the team's `investigate()` and `observe()`, and write what they returned as data for `seal`.

Nothing here judges, seals or shows: this machine runs team code, so nothing that it says is trusted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional

from agent_runtime import codes
from agent_runtime.agent import AgentRunner, Notes, ProposedAction
from agent_runtime.job.context import JobContext, now, write_whole
from agent_runtime.job.request import Request
from agent_runtime.job.trail import Trail
from agent_runtime.model import documents, names, plan, redaction
from agent_runtime.model.documents import Investigation, Step
from agent_runtime.results import RiskLevel
from agent_runtime.run import team
from aimgentix.events import ActorType, EventStatus
from aimgentix.redact import Redactor


class _Kept(Notes):
    """Notes that go into the job's trail and among the files that it uploads."""

    def __init__(self, job: JobContext, journal: Trail) -> None:
        self._job, self._journal = job, journal

    @property
    def redactor(self) -> Redactor:
        return self._journal.redactor

    def event(self, step: str, ok: bool, latency_ms: Optional[float] = None, **facts: Any) -> None:
        status = EventStatus.SUCCESS if ok else EventStatus.ERROR
        self._journal.event(step, status, actor=ActorType.AGENT, latency_ms=latency_ms, **facts)

    def keep(self, name: str, data: bytes) -> str:
        write_whole(self._job.out / name, data)
        return super().keep(name, data)


def run_job(agent: AgentRunner, job: JobContext, request: Request) -> Investigation:
    """Run the investigation and write `investigation.json` and the journal, whatever the result is.

    Raises:
        BadInput: the agent failed, or returned something that can't be handed over; the file says so, too.
    """
    with Trail(job, request.resource, team.RECORDER) as journal:
        journal.event(names.STEP_STARTED, EventStatus.PENDING, trigger=request.trigger)
        problem: Optional[codes.AgentError] = None
        try:
            found = _investigate(agent, job, request, journal)
        except codes.AgentError as error:
            problem = error
            found = replace(_empty(job, request), code=error.code, error=error.message)
            journal.event(names.STEP_ERROR, EventStatus.ERROR, code=error.code, message=error.message)
        write_whole(job.out / names.INVESTIGATION_NAME, documents.encode(found))
        journal.event(names.STEP_FINISHED, EventStatus.ERROR if problem else EventStatus.SUCCESS, durable=True)
    if problem is not None:
        raise problem
    return found


def _investigate(agent: AgentRunner, job: JobContext, request: Request, journal: Trail) -> Investigation:
    started = now()
    agent.notes = _Kept(job, journal)
    result = team.investigate(agent, request.resource, request.context, journal.redactor, environ=job.environ)
    measured = now()
    journal.event(
        names.STEP_INVESTIGATED,
        EventStatus.SUCCESS,
        actor=ActorType.AGENT,
        latency_ms=(measured - started).total_seconds() * 1000,
        findings=len(result.findings),
    )
    try:
        found = replace(
            _empty(job, request),
            measured_at=documents.format_time(measured),
            risk_level=result.risk_level,
            confidence=float(result.confidence),
            findings=tuple(result.findings),
            recommendation=result.recommendation,
            safe_to_proceed=result.safe_to_proceed,
            analysis=result.analysis,
            model=result.model,
            steps=tuple(_step(proposed) for proposed in result.actions),
        )
        # What seal will read must be readable: find out now, while the agent's author is looking.
        found = documents.decode(Investigation, documents.encode(found), "the result of investigate()")
    except (codes.BadInput, TypeError, ValueError) as problem:
        message = problem.message if isinstance(problem, codes.BadInput) else str(problem)
        raise codes.BadInput(codes.RESULT_INVALID, journal.redactor.text(message)) from None
    if found.steps:
        found = replace(
            found, preconditions=team.observe(agent, request.resource, journal.redactor, environ=job.environ)
        )
        plan.check_steps(found.steps, found.preconditions)
    redaction.refuse_secrets_in_plan(journal.redactor, found)
    return redaction.of_investigation(journal.redactor, found)


def _step(proposed: ProposedAction) -> Step:
    return Step(
        action=proposed.action,
        parameters=documents.plain(proposed.parameters),
        reason=proposed.reason,
        reversible=proposed.reversible,
        rollback=proposed.rollback,
        risk_level=proposed.risk_level,
        changes=tuple(proposed.changes),
    )


def _empty(job: JobContext, request: Request) -> Investigation:
    return Investigation(
        schema_version=documents.SCHEMA_VERSION,
        run=job.run,
        resource=request.resource,
        measured_at=documents.format_time(now()),
        risk_level=RiskLevel.LOW,
        confidence=0.0,
        findings=(),
        recommendation="",
        safe_to_proceed=False,
        analysis="",
        steps=(),
        preconditions={},
    )
