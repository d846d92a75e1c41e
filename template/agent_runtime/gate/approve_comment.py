"""Approve where an issue is the gate: runs after a comment, examines it, and records whose it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, Optional

from agent_runtime import codes
from agent_runtime.gate import verification
from agent_runtime.gate.approve import write_receipt, write_refusal
from agent_runtime.gate.issue import COMMENT_CHECKS, IssueVerification
from agent_runtime.gate.verification import Handover
from agent_runtime.github import archive, outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext
from agent_runtime.job.trail import Trail
from agent_runtime.model import inputs, names, plan
from agent_runtime.model.documents import Receipt


def run_job(job: JobContext) -> Receipt:
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
            write_refusal(
                journal,
                problem,
                rejected_by=state.rejected_by,
                rejected_because=state.rejected_because,
                issue=state.posted.issue,
                comment=state.posted.id,
            )
            outputs.write_outputs(job.environ, {**known, "journal_head": journal.head})
            raise problem
        if state.earlier is not None:
            who, text, where = state.earlier
            write_receipt(job, journal, state.digest, who, text, comment=where, name=names.FIRST_RECEIPT_NAME)
        receipt = write_receipt(
            job, journal, state.digest, state.approvers[-1], state.posted.text, comment=state.approval
        )
        outputs.write_outputs(job.environ, {**known, "journal_head": journal.head})
    return receipt
