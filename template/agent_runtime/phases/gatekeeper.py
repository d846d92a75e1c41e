"""Asks GitHub what the gate's pure checks decide on."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

from agent_runtime import codes, config, gate, issue_gate, names
from agent_runtime.documents import Run
from agent_runtime.github.api import GitHubApi
from agent_runtime.phases.desk import Desk


def check_gate(api: GitHubApi, desk: Desk) -> str:
    """Refuse unless the gate of this repository can be closed; return the code of the check that was made.

    Raises:
        GateRefused: a setting of an environment is missing (GATE06); nobody else could approve in an issue (IGATE01),
            or none would be looked at (IGATE04); or GitHub did not answer (GATE12).
    """
    if desk.config.approval_gate != config.ISSUE_GATE:
        check_environments(api, desk.run)
        return codes.GATE_ENVIRONMENT
    branch = api.default_branch(desk.run.repository)
    if desk.run.ref != "refs/heads/" + branch:
        raise codes.GateRefused(codes.ISSUE_RUN, "this run is on {}, not on the default branch".format(desk.run.ref))
    issue_gate.check_possible(permissions(api, desk.run.repository, desk.config.approvers), desk.run)
    return codes.ISSUE_GATE_IMPOSSIBLE


def permissions(api: GitHubApi, repository: str, approvers: Sequence[str]) -> Dict[str, str]:
    """Return what each approver may do in the repository; a team may do nothing, because it can't comment."""
    return {name: "none" if "/" in name else api.permission(repository, name) for name in approvers}


def check_environments(api: GitHubApi, run: Run) -> None:
    """Refuse unless both environments exist and are protected (threat T13: a missing one is created open).

    Raises:
        GateRefused: a setting is missing (GATE06), or GitHub did not answer (GATE12).
    """
    branch = api.default_branch(run.repository)
    for name, reviewers_required in ((names.GATE_ENVIRONMENT, True), (names.ACT_ENVIRONMENT, False)):
        settings = api.environment(run.repository, name)
        branches = api.deployment_branches(run.repository, name) if settings is not None else []
        gate.check_environment(
            name,
            settings,
            branches,
            branch,
            reviewers_required=reviewers_required,
            initiator=run.actor,
        )


def approvals(api: GitHubApi, run: Run) -> List[Mapping[str, Any]]:
    """Return the approval records of this run."""
    return api.approvals(run.repository, run.run_id)
