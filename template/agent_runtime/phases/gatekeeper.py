"""Asks GitHub what the gate's pure checks decide on."""

from __future__ import annotations

from typing import Any, List, Mapping

from agent_runtime import gate, names
from agent_runtime.documents import Run
from agent_runtime.github.api import GitHubApi


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
