"""Seal: read what the team's machine hands over, judge it, bind it into a plan, and write what the reviewer reads.

This machine never ran team code.  Resource, context and trigger come from the run's own event; of what the other
machine hands over nothing is trusted except that the agent said it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Dict, List, Optional, Sequence, Tuple

import agent_runtime
from agent_runtime import codes
from agent_runtime.gate import duplicates, gates, history, policy, policy_file, session_policy, start
from agent_runtime.gate.pages import review
from agent_runtime.gate.policy import Happened, Policy, Verdict
from agent_runtime.github import archive, outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext, now, write_whole
from agent_runtime.job.request import Request
from agent_runtime.job.trail import Trail
from agent_runtime.model import documents, inputs, names, plan, redaction
from agent_runtime.model.documents import (
    Approvals,
    Decision,
    Investigation,
    Plan,
    PolicyStamp,
    Report,
    ReportStatus,
    Run,
    RuntimeStamp,
    Step,
)
from aimgentix.events import ActionType, EventStatus

_DECISIONS = {ReportStatus.DENIED: Decision.DENIED}
_INVESTIGATION = names.INVESTIGATION_NAME


@dataclass(frozen=True)
class Handover:
    """What the job `investigate` left.

    Arguments:
        artifact_id, digest: of the archive with `investigation.json`; empty where it uploaded none.
        result: GitHub's word for how the job ended.
    """

    artifact_id: str
    digest: str
    result: str


@dataclass(frozen=True)
class SealResult:
    """The result of sealing: the report, the reviewer's page, and the error that stopped it, or None."""

    report: Report
    markdown: str
    problem: Optional[codes.AgentError]


def run_job(job: JobContext, request: Request, handover: Handover, *, minutes_ago: int = 0) -> SealResult:
    """Seal what was handed over; write report, journal, outputs and summary, whatever the result is.

    Arguments:
        minutes_ago: dates the plan back, so that it expires earlier; never forward.

    Raises:
        BadInput: report or page are too large to be reviewed (RPT002); nothing is proposed then.
    """
    write_whole(job.out / names.TRACE_NAME, (job.trace_id + "\n").encode("ascii"))
    with Trail(job, request.resource) as journal:
        journal.event(names.STEP_STARTED, EventStatus.PENDING, trigger=request.trigger)
        problem: Optional[codes.AgentError] = None
        report = _report(job, request, ReportStatus.FAILED)
        try:
            report = _seal(job, request, handover, journal, now() - timedelta(minutes=minutes_ago))
        except codes.AgentError as error:
            problem = error
            report = replace(report, code=error.code, error=error.line())
            journal.event(names.STEP_ERROR, EventStatus.ERROR, code=error.code, message=error.message)
        digest = plan.digest(report.plan) if report.plan else ""
        decide = gates.of(job.config).how_to_decide(report.plan, digest) if report.plan else []
        markdown = review.render_summary(report, digest=digest, decide=decide, run_url=job.run_url)
        data = documents.encode(report)
        if len(data) > documents.MAX_REPORT_BYTES:
            size = f"{len(data)} bytes, {documents.MAX_REPORT_BYTES} are allowed ({review.sizes(report)})"
            raise codes.BadInput(codes.REPORT_TOO_LARGE, "the report has " + size)
        write_whole(job.out / names.REPORT_NAME, data)
        journal.event(
            names.STEP_FINISHED,
            EventStatus.ERROR if problem else EventStatus.SUCCESS,
            durable=True,
            report_status=str(report.status),
            report_sha256=hashlib.sha256(data).hexdigest(),
        )
        outputs.write_summary(job.environ, markdown)
        outputs.write_outputs(job.environ, _job_outputs(job, report, digest, journal.head))
    return SealResult(report, markdown, problem)


def _seal(job: JobContext, request: Request, handover: Handover, journal: Trail, issued_at: datetime) -> Report:
    api = GitHubApi.from_environment(job.environ)
    state, earlier = start.may_start(api, job, request)
    checked = gates.of(job.config).check_closed(api, job)
    journal.event(names.STEP_CHECK, EventStatus.SUCCESS, action_type=ActionType.POLICY_CHECK, check=checked)
    if state == start.DUPLICATE:
        journal.event(names.STEP_DUPLICATE, EventStatus.SUCCESS, duplicate_of=earlier)
        return _report(job, request, ReportStatus.DUPLICATE, duplicate_of=earlier)
    data, found = _read(api, job, request, handover)
    redaction.refuse_secrets_in_plan(journal.redactor, found)
    found = redaction.of_investigation(journal.redactor, found)
    report = replace(
        _report(job, request, ReportStatus.NOTHING_TO_DO),
        risk_level=found.risk_level,
        confidence=found.confidence,
        findings=found.findings,
        recommendation=found.recommendation,
        safe_to_proceed=found.safe_to_proceed,
        analysis=found.analysis,
        measured_at=found.measured_at,
        model=found.model,
        investigation_sha256=hashlib.sha256(data).hexdigest(),
    )
    if not found.steps:
        return report
    sealed_at = documents.format_time(issued_at)
    policy_data = policy_file.read(job.root, job.config)
    rules = policy_file.parse_policy(policy_data, job.config.policy_path.as_posix())
    verdict = _judge(job, api, rules, request.resource, found.steps, sealed_at=sealed_at)
    denied = verdict.decision == policy.DENIED or not found.safe_to_proceed
    write_whole(job.out / names.POLICY_NAME, policy_data)
    journal.event(
        names.STEP_POLICY,
        EventStatus.DENIED if denied else EventStatus.SUCCESS,
        action_type=ActionType.POLICY_CHECK,
        action=found.steps[0].action,
        steps=len(found.steps),
        decision=policy.DENIED if denied else verdict.decision,
        matched_rules=list(verdict.matched_rules),
        policy_digest=rules.digest,
        policy_file=names.POLICY_NAME,
    )
    reasons = verdict.reasons
    if not found.safe_to_proceed:
        reasons += ("the agent itself advises against acting now",)
    if denied:
        return replace(report, status=ReportStatus.DENIED, policy_reasons=reasons)
    approvals = _approvals(verdict, job.run)
    asks = verdict.decision != policy.AUTO
    unseen = gates.of(job.config).check_enough(api, job, approvals) if asks else ""
    variables = job.act_variables
    redaction.refuse_secrets(journal.redactor, variables, "act_variables")
    sealed = Plan(
        schema_version=documents.SCHEMA_VERSION,
        resource=request.resource,
        steps=found.steps,
        preconditions=found.preconditions,
        policy=PolicyStamp(rules.digest, Decision(verdict.decision), verdict.matched_rules),
        approvals=approvals,
        variables=variables,
        secrets=job.config.act_secrets,
        run=job.run,
        runtime=_runtime(job),
        issued_at=sealed_at,
        expires_at=documents.format_time(issued_at + job.config.approval_ttl),
        dry_run=request.dry_run,
    )
    # As Execute will read it: a number that its canonical form makes another one refuses now, not after the approval.
    sealed = documents.decode(Plan, plan.canonical(sealed), "the plan")
    cut = session_policy.of_plan(rules.session_policies, sealed.resource, sealed.steps)
    if not request.ask_again and verdict.decision == policy.REVIEW:
        earlier, _ = duplicates.find_waiting(api, job, sealed.title, sealed.resource)
        if earlier:
            journal.event(names.STEP_DUPLICATE, EventStatus.SUCCESS, duplicate_of=earlier)
            return replace(report, status=ReportStatus.DUPLICATE, duplicate_of=earlier, policy_reasons=reasons)
    journal.event(
        names.STEP_SEALED, EventStatus.PENDING, durable=True, action=sealed.title, plan_digest=plan.digest(sealed)
    )
    return replace(
        report,
        status=ReportStatus.ACTION_PROPOSED,
        policy_reasons=reasons,
        policy_asked=verdict.asked,
        approvers_unseen=unseen,
        policy_changed=history.policy_change(api, job),
        earlier=history.earlier(api, job, request.resource, now()),
        session_policy=cut,
        plan=sealed,
    )


def _read(api: GitHubApi, job: JobContext, request: Request, handover: Handover) -> Tuple[bytes, Investigation]:
    """Fetch and decode what the team's machine hands over; refuse what is not of this run and this request."""
    if not handover.artifact_id:
        raise codes.BadInput(
            codes.REPORT_MISSING, f"the job investigate ended as '{handover.result}' and left no {_INVESTIGATION}"
        )
    files = archive.fetch(api, job.run.repository, handover.artifact_id, handover.digest)
    data = files.get(_INVESTIGATION)
    if data is None:
        raise codes.BadInput(codes.REPORT_MISSING, f"the artifact of the job investigate has no {_INVESTIGATION}")
    found = documents.decode(Investigation, data, _INVESTIGATION)
    if found.run != job.run:
        raise codes.BadInput(codes.REPORT_OTHER_RUN, f"{_INVESTIGATION} is of run {found.run.run_id}")
    if found.resource != request.resource:
        raise codes.BadInput(
            codes.REPORT_OTHER_RUN, f"{_INVESTIGATION} is about '{found.resource}', this run about '{request.resource}'"
        )
    if found.error is not None:
        raise codes.BadInput(codes.INVESTIGATION_FAILED, f"the agent reports {found.code}: {found.error}")
    for step in found.steps:
        inputs.action(step.action)
    plan.check_steps(found.steps, found.preconditions)
    if handover.result != "success":
        raise codes.BadInput(
            codes.INVESTIGATION_FAILED, f"the job investigate ended as '{handover.result}' after it wrote its result"
        )
    return data, found


def _judge(
    job: JobContext, api: GitHubApi, rules: Policy, resource: str, steps: Sequence[Step], *, sealed_at: str
) -> Verdict:
    """What the policy says, with what happened already counted, and each step for those after it."""
    verdict = policy.judge(rules, steps, resource, documents.parse_time(sealed_at))
    if not job.config.auto_approval:
        verdict = policy.as_review(verdict, policy.AUTO_IS_OFF)
    if verdict.decision == policy.DENIED:
        return verdict
    moment = now()
    planned: List[Happened] = []
    for step in steps:
        found = history.begun(api, job, rules, action=step.action, resource=resource, now=moment)
        counts = policy.count(rules, action=step.action, resource=resource, history=[*found, *planned], now=moment)
        planned.append(Happened(moment, step.action, resource))
        reasons = (*verdict.reasons, *(each.reason for each in counts))
        full = tuple(each.rule for each in counts if each.full)
        if full:
            return Verdict(policy.DENIED, full, reasons)
        verdict = replace(verdict, reasons=reasons)
    return verdict


def _approvals(verdict: Verdict, run: Run) -> Approvals:
    """How many must approve and who may, for the plan.

    Raises:
        GateRefused: of those whom the policy names, too few can (GATE15).
    """
    named = verdict.approvers
    if named is None:
        return Approvals(verdict.approvals, ())
    started = {run.actor.casefold(), run.triggering_actor.casefold()}
    others = [login for login in named if login.casefold() not in started]
    if len(others) < verdict.approvals:
        needed = "1 approval is" if verdict.approvals == 1 else f"{verdict.approvals} approvals are"
        started_it = "" if len(others) == len(named) else f", of whom {run.actor} started the run"
        raise codes.GateRefused(
            codes.APPROVERS_IMPOSSIBLE,
            f"{', '.join(verdict.matched_rules)}: {needed} needed, and the rules that ask for them all name "
            f"{', '.join(named) or 'nobody'}{started_it}",
        )
    return Approvals(verdict.approvals, named)


def _runtime(job: JobContext) -> RuntimeStamp:
    manifest = (job.root / "agent_runtime" / "manifest.json").read_bytes()
    return RuntimeStamp(agent_runtime.__version__, hashlib.sha256(manifest).hexdigest())


def _report(job: JobContext, request: Request, status: ReportStatus, *, duplicate_of: Optional[str] = None) -> Report:
    return Report(
        schema_version=documents.SCHEMA_VERSION,
        trace_id=job.trace_id,
        run=job.run,
        timestamp=documents.format_time(now()),
        resource=request.resource,
        trigger=request.trigger,
        status=status,
        duplicate_of=duplicate_of,
    )


def _job_outputs(job: JobContext, report: Report, digest: str, head: str) -> Dict[str, str]:
    decision = report.plan.policy.decision if report.plan else _DECISIONS.get(report.status, Decision.NONE)
    return {
        "decision": str(decision),
        "approvals": str(report.plan.approvals.count) if report.plan else "",
        "action": report.plan.title if report.plan else "",
        "resource": report.resource,
        "plan_digest": digest,
        "plan_digest_short": plan.short(digest),
        "trace_id": job.trace_id,
        "journal_head": head,
    }
