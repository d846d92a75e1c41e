"""Investigate: look, evaluate the policy, seal the plan, and write what the reviewer reads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Dict, Optional

from agent_runtime import codes, documents, gate, inputs, names, plan, policy, report
from agent_runtime.agent import AgentRunner
from agent_runtime.documents import Decision, PolicyStamp, Report, ReportStatus
from agent_runtime.github import outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.phases import gatekeeper, team
from agent_runtime.phases.desk import Desk, load_policy, now, write_whole
from agent_runtime.phases.trail import Trail
from agent_runtime.results import InvestigationResult, RiskLevel
from aimgentix import ActionType, ActorType, EventStatus


@dataclass(frozen=True)
class Outcome:
    """What an investigation came to, for the command line and the simulator.

    Arguments:
        markdown: the reviewer's page.
        problem: the error that stopped it, or None.
    """

    report: Report
    markdown: str
    problem: Optional[codes.AgentError]


def run_phase(
    agent: AgentRunner,
    desk: Desk,
    *,
    resource: str,
    context_text: Optional[str],
    trigger: str,
    sealed_minutes_ago: int = 0,
) -> Outcome:
    """Run the investigation and write report, journal, outputs and summary, whatever it comes to.

    Arguments:
        resource: what to look at, checked already.
        context_text: the trigger's JSON text, untrusted.
        trigger: manual, alert or schedule.
        sealed_minutes_ago: dates the plan back, so that it expires earlier; never forward.

    Raises:
        BadInput: the context is no JSON object, or the report is too large to be reviewed; nothing is proposed then.
    """
    context = inputs.context(context_text)
    write_whole(desk.out / names.TRACE_NAME, (desk.trace_id + "\n").encode("ascii"))
    with Trail(desk, resource) as journal:
        journal.event(names.STEP_STARTED, EventStatus.PENDING, trigger=trigger)
        problem: Optional[codes.AgentError] = None
        try:
            finished = _investigate(
                agent,
                desk,
                journal,
                resource=resource,
                context=context,
                trigger=trigger,
                issued_at=now() - timedelta(minutes=sealed_minutes_ago),
            )
        except codes.AgentError as error:
            problem = error
            finished = _failed(desk, resource, trigger, error)
            journal.event(names.STEP_ERROR, EventStatus.ERROR, code=error.code, message=error.message)
        markdown = report.render_summary(
            finished, digest=plan.digest(finished.plan) if finished.plan else None, gate_note=_gate_note(desk)
        )
        data = documents.encode(finished)
        if len(data) > documents.MAX_REPORT_BYTES:
            raise codes.BadInput(codes.REPORT_TOO_LARGE, "the report has {} bytes".format(len(data)))
        write_whole(desk.out / names.REPORT_NAME, data)
        journal.event(
            names.STEP_FINISHED,
            EventStatus.ERROR if problem else EventStatus.SUCCESS,
            durable=True,
            report_status=str(finished.status),
            report_sha256=hashlib.sha256(data).hexdigest(),
        )
        outputs.write_summary(desk.environ, markdown)
        outputs.write_outputs(desk.environ, _job_outputs(desk, finished, data, journal.head))
    return Outcome(finished, markdown, problem)


def _investigate(
    agent: AgentRunner,
    desk: Desk,
    journal: Trail,
    *,
    resource: str,
    context: Dict[str, Any],
    trigger: str,
    issued_at: datetime,
) -> Report:
    gate.check_enabled(desk.environ.get("AGENT_DISABLED"))
    baseline = 0
    if desk.in_workflow:
        api = GitHubApi.from_environment(desk.environ)
        checked = gatekeeper.check_gate(api, desk)
        journal.event(names.STEP_CHECK, EventStatus.SUCCESS, action_type=ActionType.POLICY_CHECK, check=checked)
        baseline = len(gatekeeper.approvals(api, desk.run))
    started = now()
    result = team.investigate(agent, resource, context)
    journal.event(
        names.STEP_INVESTIGATED,
        EventStatus.SUCCESS,
        actor=ActorType.AGENT,
        latency_ms=(now() - started).total_seconds() * 1000,
        findings=len(result.findings),
    )
    base = _base_report(desk, resource, trigger, result)
    proposed = result.proposed_action
    if proposed is None:
        return base
    rules = load_policy(desk)
    verdict = policy.evaluate(
        rules,
        action=proposed.action,
        resource=resource,
        parameters=proposed.parameters,
        risk_level=proposed.risk_level,
    )
    reasons = tuple(verdict.reasons)
    denied = verdict.decision != Decision.REVIEW.value
    if not result.safe_to_proceed:
        reasons += ("the agent itself advises against acting now",)
        denied = True
    journal.event(
        names.STEP_POLICY,
        EventStatus.DENIED if denied else EventStatus.SUCCESS,
        action_type=ActionType.POLICY_CHECK,
        action=proposed.action,
        decision="denied" if denied else "review",
        matched_rules=list(verdict.matched_rules),
        policy_digest=rules.digest,
    )
    if denied:
        return replace(base, status=ReportStatus.DENIED, policy_reasons=reasons)
    sealed = plan.seal(
        proposed,
        resource=resource,
        preconditions=team.observe(agent, resource),
        policy=PolicyStamp(rules.digest, Decision.REVIEW, tuple(verdict.matched_rules)),
        run=desk.run,
        issued_at=issued_at,
        ttl_minutes=desk.config.approval_ttl_minutes,
        approvals_before=baseline,
    )
    journal.event(
        names.STEP_SEALED, EventStatus.PENDING, durable=True, action=sealed.action, plan_digest=plan.digest(sealed)
    )
    return replace(base, status=ReportStatus.ACTION_PROPOSED, policy_reasons=reasons, plan=sealed)


def _base_report(desk: Desk, resource: str, trigger: str, result: InvestigationResult) -> Report:
    try:
        shaped = Report(
            schema_version=documents.SCHEMA_VERSION,
            trace_id=desk.trace_id,
            run=desk.run,
            timestamp=documents.format_time(now()),
            resource=resource,
            trigger=trigger,
            status=ReportStatus.NOTHING_TO_DO,
            risk_level=result.risk_level,
            confidence=float(result.confidence),
            findings=tuple(result.findings),
            recommendation=result.recommendation,
            safe_to_proceed=result.safe_to_proceed,
            analysis=result.analysis,
        )
        # What act and record will read must be readable: find out now, while the agent's author is looking.
        return documents.decode_report(documents.encode(shaped), "the result of investigate()")
    except (codes.BadInput, TypeError, ValueError) as problem:
        message = problem.message if isinstance(problem, codes.BadInput) else str(problem)
        raise codes.BadInput(codes.RESULT_INVALID, message) from None


def _failed(desk: Desk, resource: str, trigger: str, error: codes.AgentError) -> Report:
    return Report(
        schema_version=documents.SCHEMA_VERSION,
        trace_id=desk.trace_id,
        run=desk.run,
        timestamp=documents.format_time(now()),
        resource=resource,
        trigger=trigger,
        status=ReportStatus.FAILED,
        risk_level=RiskLevel.LOW,
        confidence=0.0,
        findings=(),
        recommendation="none: the investigation failed",
        safe_to_proceed=False,
        analysis="",
        error=error.line(),
    )


def _gate_note(desk: Desk) -> Optional[str]:
    if desk.in_workflow:
        return None
    return "Made outside a workflow run: the gate was not checked, and this plan can't be executed."


_DECISIONS: Dict[ReportStatus, Decision] = {
    ReportStatus.ACTION_PROPOSED: Decision.REVIEW,
    ReportStatus.DENIED: Decision.DENIED,
    ReportStatus.NOTHING_TO_DO: Decision.NONE,
    ReportStatus.FAILED: Decision.NONE,
}


def _job_outputs(desk: Desk, finished: Report, data: bytes, head: str) -> Dict[str, str]:
    digest = plan.digest(finished.plan) if finished.plan else ""
    return {
        "decision": str(_DECISIONS[finished.status]),
        "plan_digest": digest,
        "plan_digest_short": digest[: plan.SHORT_DIGEST_LENGTH],
        "action": finished.plan.action if finished.plan else "",
        "resource": finished.resource,
        "trace_id": desk.trace_id,
        "report_sha256": hashlib.sha256(data).hexdigest(),
        "approvals_before": str(finished.plan.approvals_before) if finished.plan else "0",
        "journal_head": head,
    }
