"""Ask: where an issue is the gate, open the issue in which an approver reads the plan and answers with a comment."""

from __future__ import annotations

from pathlib import Path

from agent_runtime import codes
from agent_runtime.gate import checks, comment, issue_checks
from agent_runtime.github import outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.run_context import Desk
from agent_runtime.job.trail import Trail
from agent_runtime.model import names
from agent_runtime.model.documents import decode_report
from agent_runtime.run.act import read_report
from aimgentix import EventStatus


def run_phase(
    desk: Desk, *, report_path: Path, report_sha256: str, approved_digest: str, artifact_id: int, artifact_sha256: str
) -> int:
    """Open the issue, look whether it is there as it was meant, and return its number.

    Arguments:
        report_path: the downloaded report.
        report_sha256, approved_digest: of report and plan, from the investigate job's outputs.
        artifact_id, artifact_sha256: of the archive with the report, from the upload's outputs.

    Raises:
        GateRefused, BadInput: the report is not this run's, is too large for an issue, or GitHub did not take it as it
            is; no comment can approve then.
    """
    data = read_report(report_path)
    checks.check_artifact(data, report_sha256)
    found = decode_report(data, report_path.name)
    if found.plan is None:
        raise codes.BadInput(codes.REPORT_NO_PLAN, f"the report's status is {found.status}")
    checks.check_digest(found.plan, approved_digest)
    checks.check_run(found.plan.run, desk.run)
    origin = issue_checks.Origin(desk.run.run_id, artifact_id, artifact_sha256, report_sha256)
    title, body = comment.render(found, origin, desk)
    api = GitHubApi.from_environment(desk.environ)
    with Trail(desk, found.resource) as journal:
        issue = api.open_issue(desk.run.repository, title, body, names.GATE_LABEL)
        number = issue.get("number")
        if not isinstance(number, int):
            raise codes.GateRefused(codes.GATE_API, "GitHub opened an issue and does not say which")
        journal.event(names.STEP_ASKED, EventStatus.PENDING, durable=True, issue=number, plan_digest=approved_digest)
        outputs.write_outputs(desk.environ, {"issue": str(number), "journal_head": journal.head})
        issue_checks.check_issue(issue, number)
        issue_checks.check_page(issue, title, body)
    return number
