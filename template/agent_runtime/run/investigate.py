"""Investigate: look, evaluate the policy, seal the plan, and write what the reviewer reads."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Dict, Iterator, Mapping, Optional

from agent_runtime import codes
from agent_runtime.agent import AgentRunner
from agent_runtime.gate import checks, duplicates, gatekeeper, pages, policy
from agent_runtime.github import outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.run_context import Desk, load_policy, now, write_whole
from agent_runtime.job.trail import Trail
from agent_runtime.model import config, documents, names, plan
from agent_runtime.model.documents import Decision, PolicyStamp, Report, ReportStatus
from agent_runtime.results import InvestigationResult, ProposedAction, RiskLevel
from agent_runtime.run import team
from agent_runtime.text import escape, redaction
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


@contextmanager
def refusing(environ: Mapping[str, str]) -> Iterator[None]:
    """Tell a person in the run's summary, too, that what started the run can't be used."""
    try:
        yield
    except codes.BadInput as problem:
        outputs.write_summary(environ, pages.render_refusal(problem))
        raise


def run_phase(
    agent: AgentRunner,
    desk: Desk,
    *,
    resource: str,
    context: Dict[str, Any],
    trigger: str,
    folds: bool = False,
    dry_run: bool = False,
    sealed_minutes_ago: int = 0,
) -> Outcome:
    """Run the investigation and write report, journal, outputs and summary, whatever it comes to.

    Arguments:
        resource: what to look at, checked already.
        context: what the trigger says, checked already, and untrusted.
        trigger: manual, alert or schedule.
        folds: whether an earlier run that waits for a decision about the same trace makes this one needless.
        dry_run: whether the plan is only rehearsed: everything is asked and checked, and nothing is executed.
        sealed_minutes_ago: dates the plan back, so that it expires earlier; never forward.

    Raises:
        BadInput: the report is too large to be reviewed; nothing is proposed then.
    """
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
                folds=folds,
                dry_run=dry_run,
                issued_at=now() - timedelta(minutes=sealed_minutes_ago),
            )
        except codes.AgentError as error:
            problem = error
            finished = _failed(desk, resource, trigger, error)
            journal.event(names.STEP_ERROR, EventStatus.ERROR, code=error.code, message=error.message)
        markdown = pages.render_summary(
            finished,
            digest=plan.digest(finished.plan) if finished.plan else None,
            gate_note=_gate_note(desk),
            server_url=desk.environ.get("GITHUB_SERVER_URL") or "https://github.com",
            in_issue=desk.config.approval_gate == config.ISSUE_GATE,
        )
        data = documents.encode(finished)
        if len(data) > documents.MAX_REPORT_BYTES:
            raise codes.BadInput(codes.REPORT_TOO_LARGE, f"the report has {len(data)} bytes")
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
    folds: bool,
    dry_run: bool,
    issued_at: datetime,
) -> Report:
    checks.check_enabled(desk.environ.get("AGENT_DISABLED"))
    baseline = 0
    api = GitHubApi.from_environment(desk.environ)
    if desk.in_workflow:
        checks.check_first_attempt(desk.run)
        checked = gatekeeper.check_gate(api, desk)
        journal.event(names.STEP_CHECK, EventStatus.SUCCESS, action_type=ActionType.POLICY_CHECK, check=checked)
        baseline = len(gatekeeper.approvals(api, desk.run))
        earlier = duplicates.find(api, desk, resource, now(), _print_line) if folds else None
        if earlier is not None:
            journal.event(names.STEP_FOLDED, EventStatus.SUCCESS, duplicate_of=earlier)
            return _duplicate(desk, resource, trigger, earlier)
    started = now()
    result = team.investigate(agent, resource, context, journal.redactor, environ=desk.environ)
    journal.event(
        names.STEP_INVESTIGATED,
        EventStatus.SUCCESS,
        actor=ActorType.AGENT,
        latency_ms=(now() - started).total_seconds() * 1000,
        findings=len(result.findings),
    )
    base = redaction.of_report(journal.redactor, _base_report(desk, resource, trigger, result))
    proposed = result.proposed_action
    if proposed is None:
        return base
    rules = load_policy(desk)
    verdict = _judge(desk, api, rules, resource, proposed)
    reasons = tuple(verdict.reasons)
    denied = verdict.decision == policy.DENIED
    if not result.safe_to_proceed:
        reasons += ("the agent itself advises against acting now",)
        denied = True
    journal.event(
        names.STEP_POLICY,
        EventStatus.DENIED if denied else EventStatus.SUCCESS,
        action_type=ActionType.POLICY_CHECK,
        action=proposed.action,
        decision=policy.DENIED if denied else verdict.decision,
        matched_rules=list(verdict.matched_rules),
        policy_digest=rules.digest,
    )
    if denied:
        return replace(base, status=ReportStatus.DENIED, policy_reasons=reasons)
    preconditions = team.observe(agent, resource, journal.redactor, environ=desk.environ)
    redaction.refuse_secrets(journal.redactor, preconditions, "observe()")
    redaction.refuse_secrets(journal.redactor, proposed.parameters, "proposed_action.parameters")
    sealed = plan.seal(
        redaction.of_proposal(journal.redactor, proposed),
        resource=resource,
        preconditions=preconditions,
        policy=PolicyStamp(rules.digest, Decision(verdict.decision), tuple(verdict.matched_rules)),
        run=desk.run,
        issued_at=issued_at,
        ttl_minutes=desk.config.approval_ttl_minutes,
        approvals_before=baseline,
        dry_run=dry_run,
    )
    journal.event(
        names.STEP_SEALED, EventStatus.PENDING, durable=True, action=sealed.action, plan_digest=plan.digest(sealed)
    )
    return replace(base, status=ReportStatus.ACTION_PROPOSED, policy_reasons=reasons, plan=sealed)


def _judge(desk: Desk, api: GitHubApi, rules: policy.Policy, resource: str, proposed: ProposedAction) -> policy.Verdict:
    """What the policy says, with what happened already counted where GitHub can be asked."""
    verdict = policy.evaluate(
        rules,
        action=proposed.action,
        resource=resource,
        parameters=proposed.parameters,
        risk_level=proposed.risk_level,
        reversible=proposed.reversible,
    )
    if not desk.config.auto_approval:
        verdict = policy.as_review(verdict, policy.AUTO_IS_OFF)
    elif not desk.in_workflow:
        verdict = policy.as_review(verdict, policy.AUTO_IS_ELSEWHERE)
    if verdict.decision == policy.DENIED or not policy.limits_of(rules, proposed.action, resource):
        return verdict
    if not desk.in_workflow:
        return replace(verdict, reasons=(*verdict.reasons, "the rate limits are counted in a workflow run only"))
    moment = now()
    counts = policy.count(
        rules,
        action=proposed.action,
        resource=resource,
        history=gatekeeper.history(
            api, desk.run, rules, action=proposed.action, resource=resource, now=moment, ttl=desk.config.approval_ttl
        ),
        now=moment,
    )
    reasons = (*verdict.reasons, *(each.reason for each in counts))
    full = tuple(each.rule for each in counts if each.full)
    return policy.Verdict(policy.DENIED, full, reasons) if full else replace(verdict, reasons=reasons)


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


def _print_line(text: str) -> None:
    print(escape.log_line("whether an earlier run asks already is not known, so this one asks: " + text))


def _duplicate(desk: Desk, resource: str, trigger: str, earlier: str) -> Report:
    return Report(
        schema_version=documents.SCHEMA_VERSION,
        trace_id=desk.trace_id,
        run=desk.run,
        timestamp=documents.format_time(now()),
        resource=resource,
        trigger=trigger,
        status=ReportStatus.DUPLICATE,
        risk_level=RiskLevel.LOW,
        confidence=0.0,
        findings=(),
        recommendation=f"nothing to do: run {earlier} already waits for a decision about this",
        safe_to_proceed=False,
        analysis="",
        duplicate_of=earlier,
    )


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
    ReportStatus.DENIED: Decision.DENIED,
    ReportStatus.NOTHING_TO_DO: Decision.NONE,
    ReportStatus.DUPLICATE: Decision.NONE,
    ReportStatus.FAILED: Decision.NONE,
}


def _job_outputs(desk: Desk, finished: Report, data: bytes, head: str) -> Dict[str, str]:
    digest = plan.digest(finished.plan) if finished.plan else ""
    return {
        "decision": str(finished.plan.policy.decision if finished.plan else _DECISIONS[finished.status]),
        "plan_digest": digest,
        "plan_digest_short": digest[: plan.SHORT_DIGEST_LENGTH],
        "action": finished.plan.action if finished.plan else "",
        "resource": finished.resource,
        "trace_id": desk.trace_id,
        "report_sha256": hashlib.sha256(data).hexdigest(),
        "approvals_before": str(finished.plan.approvals_before) if finished.plan else "0",
        "journal_head": head,
    }
