"""Claim: where an issue is the gate, take the approved plan for this run, so that it runs once.

The only job that may write to the repository before an action, and it never runs team code.
"""

from __future__ import annotations

from agent_runtime import codes
from agent_runtime.gate import verification
from agent_runtime.gate.issue import CLAIM_CHECKS, IssueVerification
from agent_runtime.gate.verification import Handover
from agent_runtime.github import outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext
from agent_runtime.job.trail import Trail
from agent_runtime.model import names
from aimgentix.events import ActionType, EventStatus


def run_job(job: JobContext, *, resource: str, plan_digest: str) -> None:
    """Make every check of *Verify*, then create the git reference of the plan: of all runs that try, one succeeds.

    Raises:
        GateRefused, BadInput: a check refuses, or another run took the plan (GATE09).
    """
    api = GitHubApi.from_environment(job.environ)
    state = IssueVerification(api, job, Handover(plan_digest))
    with Trail(job, resource) as journal:
        try:
            verification.run(CLAIM_CHECKS, state, journal)
            if not api.claim(job.run.repository, names.CLAIMS + plan_digest, state.plan.run.sha):
                raise codes.GateRefused(codes.GATE_CLAIMED, f"the reference {names.CLAIMS}{plan_digest} exists already")
            journal.event(
                names.STEP_CLAIMED,
                EventStatus.SUCCESS,
                action_type=ActionType.POLICY_CHECK,
                durable=True,
                plan_digest=plan_digest,
            )
        except codes.AgentError as error:
            journal.event(names.STEP_ERROR, EventStatus.DENIED, durable=True, code=error.code, message=error.message)
            raise
        finally:
            outputs.write_outputs(job.environ, {"journal_head": journal.head})
