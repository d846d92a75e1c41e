"""Approve: runs after the click or the comment, and writes down whose it was from GitHub's own record."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

from agent_runtime import codes
from agent_runtime.gate import checks, comment, gatekeeper
from agent_runtime.github import outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.run_context import Desk, now, write_whole
from agent_runtime.job.trail import Trail
from agent_runtime.model import documents, inputs, names, plan
from agent_runtime.model.documents import Approver, IssueComment, Receipt
from aimgentix import ActionType, ActorType, EventStatus


def run_phase(desk: Desk, *, resource: str, plan_digest: str, approvals_before: int) -> Receipt:
    """Read GitHub's approval record and write the receipt.

    Arguments:
        plan_digest: what was shown to the reviewer, 64 hexadecimal digits.
        approvals_before: number of records that the run had when the plan was sealed.

    Raises:
        GateRefused: the run was started again (GATE03); nobody, or nobody who may, approved this plan (GATE07); or
            GitHub did not answer (GATE12).
    """
    if not documents.is_hex64(plan_digest):
        raise codes.GateRefused(codes.GATE_DIGEST, "the approved digest is not a SHA-256")
    with Trail(desk, resource) as journal:
        try:
            checks.check_first_attempt(desk.run)
            records = gatekeeper.approvals(GitHubApi.from_environment(desk.environ), desk.run)
            record = checks.check_approval(records, approvals_before, desk.run, plan_digest)
        except codes.AgentError as error:
            journal.event(
                names.STEP_ERROR,
                EventStatus.DENIED,
                action_type=ActionType.POLICY_CHECK,
                durable=True,
                code=error.code,
                message=error.message,
            )
            outputs.write_outputs(desk.environ, {"journal_head": journal.head})
            raise
        approver = approver_of(record)
        receipt = Receipt(
            schema_version=documents.SCHEMA_VERSION,
            trace_id=desk.trace_id,
            run=desk.run,
            plan_digest=plan_digest,
            approver=approver,
            comment=str(record.get("comment") or ""),
            observed_at=documents.format_time(now()),
        )
        write_whole(desk.out / names.RECEIPT_NAME, documents.encode(receipt))
        journal.event(
            names.STEP_APPROVED,
            EventStatus.SUCCESS,
            action_type=ActionType.POLICY_CHECK,
            actor=ActorType.HUMAN,
            durable=True,
            approver=documents.plain(approver),
            plan_digest=plan_digest,
        )
        outputs.write_outputs(desk.environ, {"journal_head": journal.head})
    return receipt


def run_comment_phase(desk: Desk) -> Receipt:
    """Examine the comment that started this run; write the receipt, and the investigation that it approves.

    Raises:
        GateRefused, BadInput: the comment approves nothing.  Why, and whether its author may be told, is left for the
            record job: this one can't write to GitHub.
    """
    posted = comment.posted(desk)
    examination = comment.Examination(GitHubApi.from_environment(desk.environ), desk, posted)
    approval: Optional[IssueComment] = None
    problem: Optional[codes.AgentError] = None
    try:
        approval = examination.run(comment.plainly)
    except codes.AgentError as error:
        problem = error
    told = {"answer": "yes" if examination.answerable else "no", "code": problem.code if problem else ""}
    resource = "unknown"
    if examination.report is not None:
        resource = inputs.resource(examination.report.resource)
        desk = replace(desk, trace_id=inputs.trace_id(examination.report.trace_id, desk.trace_id))
        told.update(
            action=inputs.action(examination.plan.action),
            resource=resource,
            trace_id=desk.trace_id,
            plan_digest=examination.digest,
        )
        told.update(plan_digest_short=examination.digest[: plan.SHORT_DIGEST_LENGTH])
        for name, data in examination.files.items():
            write_whole(desk.out / names.INVESTIGATION_FOLDER / name, data)
    with Trail(desk, resource) as journal:
        if approval is None or problem is not None:
            refused = problem or codes.GateRefused(codes.COMMENT_UNUSABLE, "nothing was approved")
            journal.event(
                names.STEP_ERROR,
                EventStatus.DENIED,
                action_type=ActionType.POLICY_CHECK,
                durable=True,
                code=refused.code,
                message=refused.message,
                rejected_by=examination.rejected_by,
                issue=posted.issue,
                comment=posted.id,
            )
            outputs.write_outputs(desk.environ, {**told, "journal_head": journal.head})
            raise refused
        receipt = Receipt(
            schema_version=documents.SCHEMA_VERSION,
            trace_id=desk.trace_id,
            run=desk.run,
            plan_digest=examination.digest,
            approver=examination.approver,
            comment=posted.text,
            observed_at=documents.format_time(now()),
            issue_comment=approval,
        )
        write_whole(desk.out / names.RECEIPT_NAME, documents.encode(receipt))
        journal.event(
            names.STEP_APPROVED,
            EventStatus.SUCCESS,
            action_type=ActionType.POLICY_CHECK,
            actor=ActorType.HUMAN,
            durable=True,
            approver=documents.plain(receipt.approver),
            plan_digest=receipt.plan_digest,
            issue_comment=documents.plain(approval),
        )
        outputs.write_outputs(desk.environ, {**told, "journal_head": journal.head})
    return receipt


def approver_of(record: object) -> Approver:
    """Return who gave an approval record that `checks.check_approval()` accepted."""
    user = record["user"]  # type: ignore[index]
    return Approver(login=str(user["login"]), id=int(user["id"]), type=str(user["type"]))
