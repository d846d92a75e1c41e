"""Whether a job that was cancelled and left nothing ever began: only GitHub's plain "no" counts as one (T37, T39)."""

from __future__ import annotations

from typing import Any

import pytest

from agent_runtime.gate import gatekeeper
from agent_runtime.github.api import GitHubApi
from runtime import examples
from support.github import FullGitHub

RUN = examples.run()
WHEN = "2026-11-22T11:00:00Z"


def sign(github: FullGitHub) -> str:
    return gatekeeper.sign_of_acting(GitHubApi(github.url, None, pause=lambda seconds: None), RUN)


def queued(github: FullGitHub, name: str = "Act") -> dict[str, Any]:
    """A job that was cancelled in the queue, beside others that ran."""
    for other in ("Investigate", "Approve restart_service on checkout (plan 0123456789ab)", "Record"):
        github.set_job(RUN.run_id, other, "in_progress", WHEN)
    github.set_job(RUN.run_id, name, "queued", WHEN)
    github.set_job(RUN.run_id, name, "completed", WHEN, "cancelled")
    return next(job for job in github.jobs[RUN.run_id] if job["name"] == name)


@pytest.mark.parametrize(
    "name",
    [
        "Act",
        "Act without asking: restart_service on checkout (plan 0123456789ab)",
        "Act on approval: restart_service on checkout (plan 0123456789ab)",
    ],
)
def test_a_job_that_left_the_queue_has_begun(name: str) -> None:
    with FullGitHub(RUN.repository) as github:
        queued(github, name)
        assert sign(github) == ""
        github.set_job(RUN.run_id, name, "in_progress", WHEN)
        github.set_job(RUN.run_id, name, "completed", WHEN, "cancelled")
        assert sign(github) == "it began on the runner 'GitHub Actions 21'"


@pytest.mark.threat("T37", "T39")
@pytest.mark.parametrize(
    "changes",
    [
        {"runner_id": 7},
        {"runner_name": "own-1"},
        {"steps": [{"name": "Set up job"}]},
        {"steps": None},
        {"status": "in_progress"},
        {"name": "Something"},
        {"name": None},
    ],
    ids=str,
)
def test_the_least_sign_of_a_runner_and_whatever_can_not_be_read_count(changes: dict[str, Any]) -> None:
    with FullGitHub(RUN.repository) as github:
        queued(github).update(changes)
        assert sign(github) != ""


@pytest.mark.threat("T37", "T39")
def test_an_earlier_attempt_that_began_counts() -> None:
    with FullGitHub(RUN.repository) as github:
        second = dict(queued(github), run_attempt=2)
        github.set_job(RUN.run_id, "Act", "in_progress", WHEN)
        github.jobs[RUN.run_id].append(second)
        assert "it began on the runner" in sign(github)


@pytest.mark.threat("T37")
def test_a_github_that_does_not_answer_does_not_say_no() -> None:
    with FullGitHub(RUN.repository) as github:
        queued(github)
        github.token = "another"
        assert sign(github).startswith("GitHub does not tell whether it began (")
