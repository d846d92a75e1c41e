"""Approve: runs after the click, and records whose it was, from GitHub's own record."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Optional

from agent_runtime import codes
from agent_runtime.gate import environment_checks
from agent_runtime.gate.pages.result import render_first_approval, render_refused_click
from agent_runtime.gate.verification import Handover, Verification
from agent_runtime.github import outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext, now, write_whole
from agent_runtime.job.trail import Trail
from agent_runtime.model import documents, names
from agent_runtime.model.documents import Approver, IssueComment, Receipt
from aimgentix.events import ActionType, ActorType, EventStatus

# GitHub starts this job at the click, and its list of clicks may lag behind.
_LAG_SECONDS = 3


def run_job(job: JobContext, handover: Handover, *, resource: str, number: int) -> Receipt:
    """Read GitHub's record of the click and write the receipt.

    Arguments:
        resource: for the trail only.
        number: of the approval: 1, or 2 for the second.

    Raises:
        GateRefused: the report or its plan is another one (GATE01, GATE02); the run was started again (GATE03);
            nobody, or nobody who may, approved this plan (GATE07); or GitHub did not answer (GATE12).
    """
    api = GitHubApi.from_environment(job.environ)
    with Trail(job, resource) as journal:
        try:
            state = Verification(api, job, handover)
            state.fetch_report()
            state.check_digest()
            state.check_run()
            wanted = replace(state.plan.approvals, count=number)
            records = api.approvals(job.run.repository, job.run.run_id)
            if not environment_checks.is_answered(records, number):
                time.sleep(_LAG_SECONDS)
                records = api.approvals(job.run.repository, job.run.run_id)
            approver, text = environment_checks.check_approvals(records, job.run, handover.plan_digest, wanted)[-1]
        except codes.AgentError as error:
            write_refusal(journal, error)
            outputs.write_outputs(job.environ, {"journal_head": journal.head})
            outputs.write_summary(job.environ, render_refused_click(resource, error))
            raise
        receipt = write_receipt(job, journal, handover.plan_digest, approver, text)
        outputs.write_outputs(job.environ, {"journal_head": journal.head})
    if number < state.plan.approvals.count:
        outputs.write_summary(job.environ, render_first_approval(receipt, state.plan.approvals))
    return receipt


def write_receipt(
    job: JobContext,
    journal: Trail,
    plan_digest: str,
    approver: Approver,
    text: str,
    *,
    comment: Optional[IssueComment] = None,
    name: str = names.RECEIPT_NAME,
) -> Receipt:
    """Write the receipt and its event.

    Arguments:
        text: of the approval's comment.
        comment: the comment on an issue, where it approved.
        name: of the file.
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
    write_whole(job.out / name, documents.encode(receipt))
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
