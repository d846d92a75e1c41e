"""Act: verify everything again, write down the intent, do exactly what was approved, write down what came of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Optional, Tuple, TypeVar

from agent_runtime import codes
from agent_runtime.agent import AgentRunner
from agent_runtime.gate import checks, comment, gatekeeper, pages
from agent_runtime.gate.approve import approver_of
from agent_runtime.gate.policy import Policy
from agent_runtime.github import outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.run_context import Desk, load_policy, now, write_whole
from agent_runtime.job.trail import Trail
from agent_runtime.model import config, documents, names
from agent_runtime.model.documents import ActionReport, Approver, Plan, Report
from agent_runtime.results import ActionStatus
from agent_runtime.run import team
from agent_runtime.text import redaction
from aimgentix import ActionType, ActorType, EventStatus

_EVENT_STATUS = {
    ActionStatus.SUCCESS: EventStatus.SUCCESS,
    ActionStatus.ALREADY_DONE: EventStatus.SUCCESS,
    ActionStatus.FAILED: EventStatus.ERROR,
    ActionStatus.UNKNOWN: EventStatus.ERROR,
    ActionStatus.REFUSED: EventStatus.DENIED,
    ActionStatus.REHEARSED: EventStatus.SUCCESS,
}

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Outcome:
    """What acting came to, for the command line and the simulator.

    Arguments:
        problem: the refusal, or None.
    """

    result: ActionReport
    markdown: str
    problem: Optional[codes.AgentError]


class _Checks:
    """Runs the checks in order, writes each into the journal, and stops at the first that refuses."""

    def __init__(self, journal: Trail) -> None:
        self._journal = journal

    def __call__(self, code: str, check: Callable[[], _Value]) -> _Value:
        try:
            value = check()
        except codes.AgentError as error:
            self._journal.event(
                names.STEP_CHECK,
                EventStatus.DENIED,
                action_type=ActionType.POLICY_CHECK,
                durable=True,
                check=code,
                code=error.code,
                message=error.message,
            )
            raise
        self._journal.event(names.STEP_CHECK, EventStatus.SUCCESS, action_type=ActionType.POLICY_CHECK, check=code)
        return value


def read_report(path: Path) -> bytes:
    """Return the bytes of the report that the investigate job uploaded.

    Raises:
        BadInput: there is none (RPT001).
    """
    try:
        with path.open("rb") as stream:
            return stream.read(documents.MAX_REPORT_BYTES + 1)
    except OSError as problem:
        raise codes.BadInput(codes.REPORT_MISSING, f"{path.name}: {problem.strerror}") from None


def run_phase(
    agent: AgentRunner,
    desk: Desk,
    *,
    resource: str,
    report_path: Path,
    report_sha256: str,
    approved_digest: str,
    automatic: bool = False,
) -> Outcome:
    """Verify, execute and record; writes the result whatever it comes to.

    Arguments:
        automatic: whether this is the job that acts without asking, for plans that the policy sealed with `auto`.
        resource: for the trail only; what is acted on comes from the sealed plan.
        report_path: the downloaded report; not read where an issue is the gate, as `report_sha256`.
        report_sha256: digest of the report's bytes, from the investigate job's outputs.
        approved_digest: plan digest, from the outputs of the investigate or the approve job.
    """
    with Trail(desk, resource) as journal:
        journal.event(names.STEP_STARTED, EventStatus.PENDING)
        result = ActionReport(
            schema_version=documents.SCHEMA_VERSION,
            trace_id=desk.trace_id,
            run=desk.run,
            plan_digest=approved_digest,
            action="",
            resource=resource,
            status=ActionStatus.REFUSED,
            latency_ms=0.0,
        )
        problem: Optional[codes.AgentError] = None
        try:
            check = _Checks(journal)
            sealed, approver = _verify(
                agent,
                desk,
                check,
                journal,
                report_path=report_path,
                report_sha256=report_sha256,
                approved_digest=approved_digest,
                automatic=automatic,
            )
            result = replace(result, action=sealed.action, resource=sealed.resource, approver=approver)
            # The checks may have taken long: GitHub is asked with patience, and observe() looks around.
            check(codes.GATE_EXPIRED, lambda: checks.check_not_expired(sealed, now()))
            _declare_intent(journal, sealed, approved_digest, approver)
            # A dry run has come as far as any other: only the effect is left out.
            if sealed.dry_run:
                result = replace(result, status=ActionStatus.REHEARSED)
            else:
                result = _execute(agent, desk, journal, sealed, result)
        except codes.AgentError as error:
            problem = error
            result = replace(result, status=ActionStatus.REFUSED, code=error.code, details={"refused": error.message})
        write_whole(desk.out / names.RESULT_NAME, documents.encode(result))
        journal.event(
            names.STEP_OUTCOME,
            _EVENT_STATUS[result.status],
            actor=ActorType.AGENT,
            latency_ms=result.latency_ms,
            durable=True,
            outcome=str(result.status),
            plan_digest=approved_digest,
            code=result.code,
        )
        outputs.write_outputs(desk.environ, {"action_status": str(result.status), "journal_head": journal.head})
        markdown = pages.render_result(result)
        outputs.write_summary(desk.environ, markdown)
    return Outcome(result, markdown, problem)


def _verify(
    agent: AgentRunner,
    desk: Desk,
    check: _Checks,
    journal: Trail,
    *,
    report_path: Path,
    report_sha256: str,
    approved_digest: str,
    automatic: bool,
) -> Tuple[Plan, Optional[Approver]]:
    """Go through the checks in the order of specs/github-actions-agent-runtime.md, section "Checks before acting".

    Nobody approved what the policy decided alone: there the check of the approval is left out, and nothing else.
    """
    api = GitHubApi.from_environment(desk.environ)
    if desk.config.approval_gate == config.ISSUE_GATE:
        return _verify_comment(agent, desk, check, journal, api=api, approved_digest=approved_digest)
    data = read_report(report_path)
    check(codes.GATE_ARTIFACT, lambda: checks.check_artifact(data, report_sha256))
    found, sealed = check(codes.GATE_DIGEST, lambda: _approved_plan(data, approved_digest))
    check(codes.GATE_RUN, lambda: _check_run(found, sealed, desk))
    check(codes.GATE_EXPIRED, lambda: checks.check_not_expired(sealed, now()))
    rules = check(codes.GATE_POLICY, lambda: _check_policy(sealed, desk, automatic=automatic))
    check(codes.GATE_RATE, lambda: _check_rate_limits(api, sealed, rules, desk))
    check(
        codes.GATE_ENVIRONMENT,
        lambda: gatekeeper.check_environments(api, desk.run, automatic=desk.config.auto_approval),
    )
    approver: Optional[Approver] = None
    if not automatic:
        record = check(
            codes.GATE_APPROVAL,
            lambda: checks.check_approval(
                gatekeeper.approvals(api, desk.run), sealed.approvals_before, desk.run, approved_digest
            ),
        )
        approver = approver_of(record)
    check(
        codes.GATE_PRECONDITION,
        lambda: checks.check_preconditions(
            sealed, team.observe(agent, sealed.resource, journal.redactor, environ=desk.environ)
        ),
    )
    check(codes.GATE_CLAIMED, lambda: _check_not_executed(api, desk))
    check(codes.GATE_DISABLED, lambda: checks.check_enabled(desk.environ.get("AGENT_DISABLED")))
    return sealed, approver


def _verify_comment(
    agent: AgentRunner, desk: Desk, check: _Checks, journal: Trail, *, api: GitHubApi, approved_digest: str
) -> Tuple[Plan, Approver]:
    """The same where an issue is the gate: everything is fetched and looked at anew, then the plan is claimed.

    The order is that of section "The issue gate".  The claim is the last check, so that a refusal consumes nothing.
    """
    examination = comment.Examination(api, desk, comment.posted(desk))
    examination.run(check)
    sealed = examination.plan
    check(codes.GATE_DIGEST, lambda: checks.check_digest(sealed, approved_digest))
    check(codes.GATE_RATE, lambda: _check_rate_limits(api, sealed, load_policy(desk), desk))
    check(
        codes.GATE_PRECONDITION,
        lambda: checks.check_preconditions(
            sealed, team.observe(agent, sealed.resource, journal.redactor, environ=desk.environ)
        ),
    )
    check(codes.GATE_DISABLED, lambda: checks.check_enabled(desk.environ.get("AGENT_DISABLED")))
    check(codes.GATE_CLAIMED, lambda: _claim(api, sealed, approved_digest))
    return sealed, examination.approver


def _claim(api: GitHubApi, sealed: Plan, digest: str) -> None:
    """Take the plan for this run: of all runs that ever try, GitHub lets one create the reference."""
    if not api.claim(sealed.run.repository, names.CLAIMS + digest, sealed.run.sha):
        raise codes.GateRefused(codes.GATE_CLAIMED, f"the reference {names.CLAIMS}{digest} exists already")


def _approved_plan(data: bytes, approved_digest: str) -> Tuple[Report, Plan]:
    found = documents.decode_report(data, "investigation-report.json")
    if found.plan is None:
        raise codes.BadInput(codes.REPORT_NO_PLAN, f"the report's status is {found.status}")
    checks.check_digest(found.plan, approved_digest)
    return found, found.plan


def _check_run(found: Report, sealed: Plan, desk: Desk) -> None:
    checks.check_run(sealed.run, desk.run)
    if found.run != sealed.run:
        raise codes.BadInput(
            codes.REPORT_OTHER_RUN,
            f"the report is of run {found.run.run_id}, its plan of {sealed.run.run_id}",
        )


def _check_policy(sealed: Plan, desk: Desk, *, automatic: bool) -> Policy:
    rules = load_policy(desk)
    if automatic and not desk.config.auto_approval:
        raise codes.GateRefused(codes.GATE_POLICY, "auto_approval is false in .github/agent-config.yml")
    checks.check_policy(sealed, rules, automatic=automatic)
    return rules


def _check_rate_limits(api: GitHubApi, sealed: Plan, rules: Policy, desk: Desk) -> None:
    moment = now()
    found = gatekeeper.history(
        api,
        desk.run,
        rules,
        action=sealed.action,
        resource=sealed.resource,
        now=moment,
        ttl=desk.config.approval_ttl,
    )
    checks.check_rate_limits(sealed, rules, found, moment)


def _check_not_executed(api: GitHubApi, desk: Desk) -> None:
    """A plan is bound to one attempt of one run, and an attempt leaves its result behind once: one is one too many."""
    for name in (names.RESULT_ARTIFACT, names.AUTO_RESULT_ARTIFACT):
        if api.artifact_exists(desk.run.repository, desk.run.run_id, name):
            raise codes.GateRefused(codes.GATE_CLAIMED, f"run {desk.run.run_id} has an artifact {name} already")


def _declare_intent(journal: Trail, sealed: Plan, approved_digest: str, approver: Optional[Approver]) -> None:
    try:
        journal.event(
            names.STEP_INTENT,
            EventStatus.PENDING,
            actor=ActorType.AGENT,
            durable=True,
            action=sealed.action,
            plan_digest=approved_digest,
            approver=documents.plain(approver),
            decision=str(sealed.policy.decision),
            dry_run=sealed.dry_run,
        )
    except OSError as problem:
        raise codes.GateRefused(codes.GATE_INTENT, f"the journal can't be written: {problem}") from None


def _execute(agent: AgentRunner, desk: Desk, journal: Trail, sealed: Plan, result: ActionReport) -> ActionReport:
    started = time.monotonic()
    answer, problem = team.act(
        agent, sealed.resource, sealed.action, dict(sealed.parameters), journal.redactor, environ=desk.environ
    )
    latency_ms = round((time.monotonic() - started) * 1000, 3)
    if problem:
        journal.event(
            names.STEP_ERROR, EventStatus.ERROR, actor=ActorType.AGENT, code=codes.OUTCOME_UNKNOWN, message=problem
        )
        return replace(
            result,
            status=ActionStatus.UNKNOWN,
            latency_ms=latency_ms,
            code=codes.OUTCOME_UNKNOWN,
            details={"problem": problem},
        )
    filled = replace(
        result,
        status=answer.status,
        latency_ms=latency_ms,
        changes=tuple(answer.changes),
        verification=answer.verification,
        rollback=answer.rollback,
        details=answer.details,
    )
    try:
        readable = documents.decode_action_report(documents.encode(filled), "the result of act()")
        return redaction.of_result(journal.redactor, readable)
    except (codes.BadInput, TypeError, ValueError) as problem_found:
        # The effect has happened; a result that can't be written down must not make it look as if it had not.
        return replace(
            result,
            status=ActionStatus.UNKNOWN,
            latency_ms=latency_ms,
            code=codes.RESULT_INVALID,
            details={"problem": journal.redactor.text(str(problem_found))},
        )
