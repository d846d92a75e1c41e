"""Ask: where an issue is the gate, open the issue in which an approver reads the plan and answers with a comment."""

from __future__ import annotations

from agent_runtime import codes
from agent_runtime.gate import issue, issue_checks
from agent_runtime.gate.verification import Handover, Verification
from agent_runtime.github import outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext
from agent_runtime.job.trail import Trail
from agent_runtime.model import names
from aimgentix.events import EventStatus


def run_job(job: JobContext, handover: Handover) -> int:
    """Open the issue, check that it is there as intended, and return its number.

    Raises:
        GateRefused, BadInput: the report is not this run's, is too large for an issue, or GitHub did not take it as it
            is; no comment can approve then.
    """
    api = GitHubApi.from_environment(job.environ)
    state = Verification(api, job, handover)
    state.fetch_report()
    state.check_digest()
    state.check_run()
    if state.report is None:
        raise codes.BadInput(codes.REPORT_NO_PLAN, "no report was found")
    origin = issue_checks.Origin(job.run.run_id, int(handover.report_id), handover.report_digest)
    title, body = issue.render(state.report, origin, job)
    with Trail(job, state.plan.resource) as journal:
        opened = api.open_issue(job.run.repository, title, body, names.GATE_LABEL)
        number = opened.get("number")
        if not isinstance(number, int):
            raise codes.GateRefused(codes.GATE_API, "GitHub opened an issue and does not say which")
        journal.event(
            names.STEP_ASKED, EventStatus.PENDING, durable=True, issue=number, plan_digest=handover.plan_digest
        )
        outputs.write_outputs(job.environ, {"issue": str(number), "journal_head": journal.head})
        issue_checks.check_issue(opened, number)
        issue_checks.check_page(opened, title, body)
    return number
