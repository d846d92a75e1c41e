"""Approve: runs after the click, and records whose it was, from GitHub's own record."""

from __future__ import annotations

from typing import Any, Optional

from agent_runtime import codes
from agent_runtime.gate import checks, environment_checks
from agent_runtime.github import outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext, now, write_whole
from agent_runtime.job.trail import Trail
from agent_runtime.model import documents, names
from agent_runtime.model.documents import Approver, IssueComment, Receipt
from aimgentix.events import ActionType, ActorType, EventStatus


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
            approver, text = environment_checks.check_approval(records, job.run, plan_digest)
        except codes.AgentError as error:
            write_refusal(journal, error)
            outputs.write_outputs(job.environ, {"journal_head": journal.head})
            raise
        receipt = write_receipt(job, journal, plan_digest, approver, text)
        outputs.write_outputs(job.environ, {"journal_head": journal.head})
    return receipt


def write_receipt(
    job: JobContext,
    journal: Trail,
    plan_digest: str,
    approver: Approver,
    text: str,
    *,
    comment: Optional[IssueComment] = None,
) -> Receipt:
    """Write the receipt and its event.

    Arguments:
        text: of the approval's comment.
        comment: the comment on an issue, where it approved.
    """
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


def write_refusal(journal: Trail, problem: codes.AgentError, **facts: Any) -> None:
    """Write down why nothing was approved."""
    journal.event(
        names.STEP_ERROR,
        EventStatus.DENIED,
        action_type=ActionType.POLICY_CHECK,
        durable=True,
        code=problem.code,
        message=problem.message,
        **facts,
    )
