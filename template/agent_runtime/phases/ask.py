"""Ask: where an issue is the gate, open the issue in which an approver reads the plan and answers with a comment."""

from __future__ import annotations

from pathlib import Path

from agent_runtime import codes, gate, issue_gate, names
from agent_runtime.documents import decode_report
from agent_runtime.github import outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.phases import comment
from agent_runtime.phases.act import read_report
from agent_runtime.phases.desk import Desk
from agent_runtime.phases.trail import Trail
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
    gate.check_artifact(data, report_sha256)
    found = decode_report(data, report_path.name)
    if found.plan is None:
        raise codes.BadInput(codes.REPORT_NO_PLAN, "the report's status is {}".format(found.status))
    gate.check_digest(found.plan, approved_digest)
    gate.check_run(found.plan.run, desk.run)
    origin = issue_gate.Origin(desk.run.run_id, artifact_id, artifact_sha256, report_sha256)
    title, body = comment.render(found, origin, desk)
    api = GitHubApi.from_environment(desk.environ)
    with Trail(desk, found.resource) as journal:
        issue = api.open_issue(desk.run.repository, title, body, names.GATE_LABEL)
        number = issue.get("number")
        if not isinstance(number, int):
            raise codes.GateRefused(codes.GATE_API, "GitHub opened an issue and does not say which")
        journal.event(names.STEP_ASKED, EventStatus.PENDING, durable=True, issue=number, plan_digest=approved_digest)
        outputs.write_outputs(desk.environ, {"issue": str(number), "journal_head": journal.head})
        issue_gate.check_issue(issue, number)
        issue_gate.check_page(issue, title, body)
    return number
