"""Approve: runs after the click or the comment, and writes down whose it was from GitHub's own record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, Optional

from agent_runtime import codes
from agent_runtime.gate import checks, verification
from agent_runtime.gate.issue import COMMENT_CHECKS, IssueVerification
from agent_runtime.gate.verification import Handover
from agent_runtime.github import archive, outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext, now, write_whole
from agent_runtime.job.trail import Trail
from agent_runtime.model import documents, inputs, names, plan
from agent_runtime.model.documents import Approver, IssueComment, Receipt
from aimgentix import ActionType, ActorType, EventStatus


def run_job(job: JobContext, *, resource: str, plan_digest: str) -> Receipt:
    """Read GitHub's record of the click and write the receipt.

    Arguments:
        plan_digest: what was shown to the reviewer, 64 hexadecimal digits.

    Raises:
        GateRefused: the run was started again (GATE03); nobody, or nobody who may, approved this plan (GATE07); or
            GitHub did not answer (GATE12).
    """
    if not documents.is_hex64(plan_digest):
        raise codes.GateRefused(codes.GATE_DIGEST, "the approved digest is not a SHA-256")
    with Trail(job, resource) as journal:
        try:
            checks.check_first_attempt(job.run)
            records = GitHubApi.from_environment(job.environ).approvals(job.run.repository, job.run.run_id)
            approver = checks.check_approval(records, job.run, plan_digest)
        except codes.AgentError as error:
            _write_refusal(journal, error)
            outputs.write_outputs(job.environ, {"journal_head": journal.head})
            raise
        comments = [str(record.get("comment") or "") for record in records if record.get("state") == "approved"]
        receipt = _write_receipt(job, journal, plan_digest, approver, comments[-1])
        outputs.write_outputs(job.environ, {"journal_head": journal.head})
    return receipt


def run_comment_job(job: JobContext) -> Receipt:
    """Examine the comment that started this run; write the receipt, and the report that it approves.

    Raises:
        GateRefused, BadInput: the comment approves nothing.  Why, and whether its author may be answered, is left for
            the record job: this one can't write to GitHub.
    """
    state = IssueVerification(GitHubApi.from_environment(job.environ), job, Handover(""))
    problem: Optional[codes.AgentError] = None
    try:
        verification.run(COMMENT_CHECKS, state)
    except codes.AgentError as error:
        problem = error
    known: Dict[str, str] = {"answer": "yes" if state.answerable else "no", "code": problem.code if problem else ""}
    resource = "unknown"
    if state.report is not None:
        resource = inputs.resource(state.report.resource)
        job = replace(job, trace_id=inputs.trace_id(state.report.trace_id, job.trace_id))
        known.update(
            action=state.plan.title,
            resource=resource,
            trace_id=job.trace_id,
            plan_digest=state.digest,
            plan_digest_short=plan.short(state.digest),
        )
        archive.write(state.files, job.out / "seal")
    with Trail(job, resource) as journal:
        if problem is not None:
            _write_refusal(
                journal, problem, rejected_by=state.rejected_by, issue=state.posted.issue, comment=state.posted.id
            )
            outputs.write_outputs(job.environ, {**known, "journal_head": journal.head})
            raise problem
        receipt = _write_receipt(
            job, journal, state.digest, state.approvers[0], state.posted.text, comment=state.approval
        )
        outputs.write_outputs(job.environ, {**known, "journal_head": journal.head})
    return receipt


def _write_receipt(
    job: JobContext,
    journal: Trail,
    plan_digest: str,
    approver: Approver,
    text: str,
    *,
    comment: Optional[IssueComment] = None,
) -> Receipt:
    receipt = Receipt(
        schema_version=documents.SCHEMA_VERSION,
        trace_id=job.trace_id,
        run=job.run,
        plan_digest=plan_digest,
        approver=approver,
        comment=text,
        observed_at=documents.format_time(now()),
        issue_comment=comment,
    )
    write_whole(job.out / names.RECEIPT_NAME, documents.encode(receipt))
    journal.event(
        names.STEP_APPROVED,
        EventStatus.SUCCESS,
        action_type=ActionType.POLICY_CHECK,
        actor=ActorType.HUMAN,
        durable=True,
        approver=documents.plain(approver),
        plan_digest=plan_digest,
        issue_comment=documents.plain(comment),
    )
    return receipt


def _write_refusal(journal: Trail, problem: codes.AgentError, **facts: Any) -> None:
    journal.event(
        names.STEP_ERROR,
        EventStatus.DENIED,
        action_type=ActionType.POLICY_CHECK,
        durable=True,
        code=problem.code,
        message=problem.message,
        **facts,
    )
