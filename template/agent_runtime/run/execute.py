"""Execute: the plan that *Verify* authorized on this machine, step by step, each with its intent and its outcome.

The team's own set-up steps ran between *Verify* and this, so digest, run and expiry are checked once more, and what is
written here is the agent's report: `record` holds it against what *Verify* and GitHub say.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Mapping, Optional, Tuple

from agent_runtime import codes
from agent_runtime.agent import AgentRunner
from agent_runtime.gate import checks
from agent_runtime.gate.pages.result import render_result
from agent_runtime.github import outputs
from agent_runtime.job.context import JobContext, now, write_whole
from agent_runtime.job.trail import Trail
from agent_runtime.model import documents, names, redaction
from agent_runtime.model.documents import ActionReport, Plan, Step, StepResult
from agent_runtime.results import ActionStatus
from agent_runtime.run import team
from aimgentix.events import ActorType, EventStatus

_EVENT_STATUS = {
    ActionStatus.SUCCESS: EventStatus.SUCCESS,
    ActionStatus.ALREADY_DONE: EventStatus.SUCCESS,
    ActionStatus.FAILED: EventStatus.ERROR,
    ActionStatus.PARTIAL: EventStatus.ERROR,
    ActionStatus.UNKNOWN: EventStatus.ERROR,
    ActionStatus.REFUSED: EventStatus.DENIED,
    ActionStatus.DRY_RUN: EventStatus.SUCCESS,
}
_SUCCEEDED = (ActionStatus.SUCCESS, ActionStatus.ALREADY_DONE)


@dataclass(frozen=True)
class ExecuteResult:
    """The result of executing; `problem` is the refusal, or None, and `planned` are the plan's steps, where known."""

    result: ActionReport
    problem: Optional[codes.AgentError]
    planned: Tuple[Step, ...]


def run_job(
    agent: AgentRunner, job: JobContext, *, resource: str, plan_path: Path, approved_digest: str
) -> ExecuteResult:
    """Execute the plan and write the result, whatever it is.

    Arguments:
        resource: for the trail only; what is acted on comes from the plan.
        plan_path: the file that *Verify* left.
        approved_digest: plan digest, from the outputs of a job without team code.
    """
    with Trail(job, resource, team.RECORDER) as journal:
        journal.event(names.STEP_STARTED, EventStatus.PENDING)
        result = ActionReport(
            schema_version=documents.SCHEMA_VERSION,
            trace_id=job.trace_id,
            run=job.run,
            plan_digest=approved_digest,
            resource=resource,
            status=ActionStatus.REFUSED,
        )
        planned: Tuple[Step, ...] = ()
        try:
            sealed = _authorized_plan(plan_path, approved_digest)
            result = replace(result, resource=sealed.resource)
            planned = sealed.steps
            result = _execute(agent, job, journal, sealed, result)
        except codes.AgentError as error:
            result = replace(result, code=error.code, message=error.message)
        problem: Optional[codes.AgentError] = None
        if result.status is ActionStatus.REFUSED:
            problem = codes.GateRefused(result.code or codes.GATE_API, result.message or "")
            journal.event(
                names.STEP_ERROR, EventStatus.DENIED, durable=True, code=problem.code, message=problem.message
            )
        write_whole(job.out / names.RESULT_NAME, documents.encode(result))
        outputs.write_outputs(job.environ, {"action_status": str(result.status), "journal_head": journal.head})
    outputs.write_summary(job.environ, render_result(result, planned))
    return ExecuteResult(result, problem, planned)


def _authorized_plan(path: Path, approved_digest: str) -> Plan:
    try:
        with path.open("rb") as stream:
            data = stream.read(documents.MAX_REPORT_BYTES + 1)
    except OSError as problem:
        raise codes.GateRefused(codes.GATE_DIGEST, f"{path}: {problem.strerror}; Verify leaves it") from None
    sealed = documents.decode(Plan, data, path.name)
    checks.check_digest(sealed, approved_digest)
    return sealed


def _execute(agent: AgentRunner, job: JobContext, journal: Trail, sealed: Plan, result: ActionReport) -> ActionReport:
    expected: Mapping[str, Any] = sealed.preconditions
    changed: Tuple[str, ...] = ()
    since = "the plan was sealed"
    for number, step in enumerate(sealed.steps):
        try:
            observed = _observe(agent, job, journal, sealed.resource)
            checks.check_preconditions(expected, observed, changed=changed, since=since)
            checks.check_not_expired(sealed, now())
            _declare_intent(journal, sealed, step, number, result.plan_digest)
        except codes.AgentError as error:
            return replace(result, status=ActionStatus.REFUSED, code=error.code, message=error.message)
        # A dry run has come as far as any other: only the effect is left out.
        done = StepResult(step.action, ActionStatus.DRY_RUN, 0.0)
        if not sealed.dry_run:
            done = _act(agent, job, journal, sealed.resource, step)
        journal.event(
            names.STEP_OUTCOME,
            _EVENT_STATUS[done.status],
            actor=ActorType.AGENT,
            latency_ms=done.latency_ms,
            durable=True,
            number=number,
            action=step.action,
            outcome=str(done.status),
            plan_digest=result.plan_digest,
            code=done.code,
        )
        result = replace(result, status=done.status, steps=(*result.steps, done), code=done.code)
        if done.status not in _SUCCEEDED and not sealed.dry_run:
            break
        expected, changed, since = observed, step.changes, f"step {number + 1} began"
    return result


def _observe(agent: AgentRunner, job: JobContext, journal: Trail, resource: str) -> Mapping[str, Any]:
    try:
        return team.observe(agent, resource, journal.redactor, environ=job.environ)
    except codes.AgentError as error:
        raise codes.GateRefused(codes.GATE_PRECONDITION, "what is so now is not known: " + error.message) from None


def _declare_intent(journal: Trail, sealed: Plan, step: Step, number: int, approved_digest: str) -> None:
    try:
        journal.event(
            names.STEP_INTENT,
            EventStatus.PENDING,
            actor=ActorType.AGENT,
            durable=True,
            number=number,
            action=step.action,
            plan_digest=approved_digest,
            dry_run=sealed.dry_run,
        )
    except OSError as problem:
        raise codes.GateRefused(codes.GATE_INTENT, f"the journal can't be written: {problem}") from None


def _act(agent: AgentRunner, job: JobContext, journal: Trail, resource: str, step: Step) -> StepResult:
    started = time.monotonic()
    answer, problem = team.act(
        agent, resource, step.action, dict(step.parameters), journal.redactor, environ=job.environ
    )
    done = StepResult(step.action, ActionStatus.UNKNOWN, round((time.monotonic() - started) * 1000, 3))
    if problem:
        journal.event(
            names.STEP_ERROR, EventStatus.ERROR, actor=ActorType.AGENT, code=codes.OUTCOME_UNKNOWN, message=problem
        )
        return replace(done, code=codes.OUTCOME_UNKNOWN, details={"problem": problem})
    return _readable(done, answer, journal)


def _readable(done: StepResult, answer: Any, journal: Trail) -> StepResult:
    """What `act()` returned, once it is known that it can be written down and read again."""
    try:
        filled = replace(
            done,
            status=answer.status,
            changes=tuple(answer.changes),
            verification=answer.verification,
            rollback=answer.rollback,
            details=answer.details,
        )
        readable = documents.decode(StepResult, documents.encode(filled), "the result of act()")
        return redaction.of_result(journal.redactor, readable)
    except (codes.BadInput, RecursionError, TypeError, ValueError) as problem:
        # The effect has happened; a result that can't be written down must not make it look as if it had not.
        return replace(done, code=codes.RESULT_INVALID, details={"problem": journal.redactor.text(str(problem))})
