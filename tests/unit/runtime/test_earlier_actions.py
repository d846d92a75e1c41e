"""What earlier runs did to a resource is on the reviewer's page, as GitHub's list of jobs shows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent_runtime.gate.history import earlier
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext
from agent_runtime.model.config import Config
from agent_runtime.model.documents import Earlier
from support import examples, shapes
from support.github import FullGitHub

REPOSITORY = "acme/checkout-restart"
NOW = datetime.now(UTC)
APPROVE = "Approve plan 0123456789ab: restart_service on "


def found(github: FullGitHub) -> tuple[Earlier, ...] | None:
    settings = Config("p", "P", REPOSITORY, ("bob",), 60, "public")
    job = JobContext(Path("/"), Path("/"), "seal", settings, examples.run(run_id="99"), "99-1", {})
    return earlier(GitHubApi(github.url, None, pause=lambda seconds: None), job, "checkout", datetime.now(UTC))


def ran(github: FullGitHub, run_id: str, end: str, *, days: float = 1.0, resource: str = "checkout") -> None:
    """A run that was approved some days ago, and whose job to act ended so."""
    moment = NOW - timedelta(days=days)
    github.add_artifact(run_id, "approval-receipt", moment)
    github.add_job(run_id, APPROVE + resource, started=moment)
    github.add_job(run_id, "Act", conclusion=end, started=moment)


def test_each_end_is_named_the_newest_first_and_others_are_left_out() -> None:
    with FullGitHub(REPOSITORY) as github:
        for number, end in enumerate(("success", "failure", "cancelled", "failure"), 1):
            ran(github, str(number), end)
        github.set_steps("4", "Act", {"Verify": "failure", "Execute": "skipped"})
        ran(github, "5", "success", days=8)
        ran(github, "6", "success", resource="checkout-db")
        ran(github, "99", "success")
        github.add_run(
            "7",
            title="checkout [7-1]",
            event="workflow_dispatch",
            actor="alice",
            file="agent-investigate-act.yml",
            created=shapes.when(NOW - timedelta(hours=1)),
        )["conclusion"] = "failure"
        github.add_job("7", APPROVE + "checkout", conclusion="failure")
        github.add_job("7", "Act", conclusion="skipped")
        seen = found(github)
    assert seen is not None
    assert [(each.run_id, each.end) for each in seen] == [
        ("7", "was not approved"),
        ("4", "was refused"),
        ("3", "was cancelled"),
        ("2", "did not succeed"),
        ("1", "succeeded"),
    ]
    assert {each.action for each in seen} == {"restart_service"}


def test_a_plan_that_still_waits_is_no_earlier_action() -> None:
    with FullGitHub(REPOSITORY) as github:
        ran(github, "1", "success")
        github.add_job("1", APPROVE + "checkout", status="waiting", conclusion=None)
        github.add_job("1", "Act", status="queued", conclusion=None)
        assert found(github) == ()


@pytest.mark.parametrize("shorter", [False, True])
def test_what_github_does_not_say_is_not_known_and_stops_nothing(shorter: bool) -> None:
    with FullGitHub(REPOSITORY) as github:
        ran(github, "1", "success", days=0.5)
        assert found(github)
        if shorter:
            github.retention = timedelta(days=1)
        else:
            github.token = "another"
        assert found(github) is None
