"""Authorize: the step *Verify* of the jobs that act.  All checks, then one word, before anything of the team's starts.

It runs on a fresh machine, with nothing installed but the runtime's own packages and no acting secret.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

from agent_runtime import codes
from agent_runtime.gate import gates, session_policy, verification
from agent_runtime.gate.pages.result import render_authorization
from agent_runtime.gate.verification import Handover
from agent_runtime.github import outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext, write_whole
from agent_runtime.job.trail import Trail
from agent_runtime.model import documents, names
from agent_runtime.model.documents import Authorization
from agent_runtime.model.plan import canonical
from aimgentix.events import ActionType, EventStatus


def run_job(job: JobContext, handover: Handover, *, resource: str, automatic: bool = False) -> Authorization:
    """Make all checks; write their result, and the plan for the steps that follow.

    Arguments:
        resource: for the trail only; what is acted on comes from the sealed plan.
        automatic: whether this is the job that acts without asking, for plans that the policy sealed with `auto`.

    Raises:
        AgentError: the first check that refuses.
    """
    found = Authorization(
        schema_version=documents.SCHEMA_VERSION,
        trace_id=job.trace_id,
        run=job.run,
        plan_digest=handover.plan_digest,
        resource=resource,
        authorized=True,
    )
    gate = gates.of(job.config)
    problem: Optional[codes.AgentError] = None
    with Trail(job, resource) as journal:
        journal.event(names.STEP_STARTED, EventStatus.PENDING)
        try:
            state = gate.verification(GitHubApi.from_environment(job.environ), job, handover, automatic=automatic)
            verification.run(gate.checks(automatic=automatic), state, journal)
            found = replace(found, resource=state.plan.resource, approvers=state.approvers)
            cut = session_policy.of_plan(state.rules.session_policies, state.plan.resource, state.plan.steps)
            if cut:
                write_whole(job.out / names.SESSION_POLICY_NAME, cut.encode("ascii"))
            write_whole(job.out / names.PLAN_NAME, canonical(state.plan))
        except codes.AgentError as error:
            problem = error
            found = replace(found, authorized=False, code=error.code, message=error.message)
        write_whole(job.out / names.AUTHORIZATION_NAME, documents.encode(found))
        journal.event(
            names.STEP_ERROR if problem else names.STEP_AUTHORIZED,
            EventStatus.DENIED if problem else EventStatus.SUCCESS,
            action_type=ActionType.POLICY_CHECK,
            durable=True,
            plan_digest=handover.plan_digest,
            approvers=[documents.plain(approver) for approver in found.approvers],
            code=found.code,
            message=found.message,
        )
        outputs.write_outputs(job.environ, {"verify_head": journal.head})
    outputs.write_summary(job.environ, render_authorization(found))
    if problem is not None:
        raise problem
    return found
