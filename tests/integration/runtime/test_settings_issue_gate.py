"""`setup` and `doctor` of a repository whose gate is an issue, over real HTTP against a GitHub with a state."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import codes
from support import engines, settings_world
from support.github import FullGitHub
from support.settings_world import ANSWERS, WORKFLOW, Clone, close_by_hand


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered repository; tests don't change it."""
    folder = tmp_path_factory.mktemp("rendered")
    answers = {**ANSWERS, "approvers": "bob,alice", "repository_plan": "private-free"}
    return engines.run_copier(engines.clone_template(folder / "template"), folder / "agent", answers)


def free(github: FullGitHub) -> FullGitHub:
    github.visibility, github.plan = "private", "free"
    github.workflows["agent-act-on-approval.yml"] = "active"
    return github


@pytest.fixture
def clone(rendered: Path) -> Iterator[Clone]:
    """Everything as docs/SETUP_GUIDE.md says."""
    with free(settings_world.fresh()) as github:
        closed = Clone(rendered, github)
        closed.setup()
        close_by_hand(github)
        github.requests.clear()
        yield closed


def test_from_a_fresh_repository_to_a_gate_and_back(rendered: Path) -> None:
    with free(settings_world.fresh()) as github:
        somebody = Clone(rendered, github)
        assert somebody.doctor()["issue-gate"] == ["there is no label agent-approval"]
        assert "POST /repos/acme/checkout-restart/labels" in somebody.setup(dry_run=True) and github.labels == []

        assert "the gate is closed" in somebody.setup()
        assert github.labels == ["agent-approval"] and github.environments == {}
        assert "nothing to change, the gate is closed" in somebody.setup()
        close_by_hand(github)
        assert somebody.doctor() == {}
        assert [method for method, path in github.requests if method != "GET"] == ["POST"]


def test_where_environments_hold_secrets_setup_makes_them_beside_the_label(tmp_path: Path) -> None:
    answers = {"approvers": "bob,alice", "repository_plan": "private-team", "advanced": "yes"}
    root = settings_world.render(tmp_path, **answers, investigate_oidc="yes", act_secrets="DEPLOY_TOKEN")
    with free(settings_world.fresh()) as github:
        github.plan = "team"
        somebody = Clone(root, github)
        assert "the gate is closed" in somebody.setup()
        assert (github.labels, list(github.environments)) == (["agent-approval"], ["agent-act", "agent-investigate"])
        assert github.branch_policies == {"agent-act": ["main"], "agent-investigate": ["main"]}
        github.requests.clear()
        assert "nothing to change, the gate is closed" in somebody.setup()
        assert settings_world.writes(github) == []
        close_by_hand(github)
        assert somebody.doctor() == {}

        for name in ("agent-act", "agent-investigate"):
            del github.environments[name], github.branch_policies[name]
            (problem,) = somebody.doctor()["act-environment"]
            assert problem.startswith(f"environment {name}: it does not exist")
            somebody.setup()
        # Here an environment keeps it from every job before the approval.
        github.secrets = ["DEPLOY_TOKEN"]
        (problem,) = somebody.doctor()["secrets"]
        assert problem.startswith("DEPLOY_TOKEN is in the repository's secrets")


@pytest.mark.parametrize(
    ("loosen", "check", "problem"),
    [
        (lambda github: github.labels.clear(), "issue-gate", "there is no label"),
        (lambda github: setattr(github, "has_issues", False), "issue-gate", "issues are off"),
        (lambda github: github.people.update(bob="read", alice="read"), "issue-gate", "bob has no write access"),
        (lambda github: github.workflows.pop("agent-act-on-approval.yml"), "issue-gate", "GitHub knows no workflow"),
        (
            lambda github: github.workflows.update({"agent-act-on-approval.yml": "disabled_manually"}),
            "issue-gate",
            "is d",
        ),
        (lambda github: github.workflows.pop(WORKFLOW), "workflow", "GitHub knows no workflow"),
        (lambda github: setattr(github, "visibility", "public"), "plan", "repository_plan is private-free"),
        (lambda github: setattr(github, "plan", "enterprise"), "plan", "repository_plan is private-free"),
    ],
)
def test_doctor_names_what_keeps_the_issue_from_being_a_gate(
    clone: Clone, loosen: Callable[[FullGitHub], Any], check: str, problem: str
) -> None:
    loosen(clone.github)
    found = clone.doctor()
    assert set(found) == {check}
    assert problem in found[check][0]


def test_a_secret_of_the_repository_is_where_it_has_to_be(clone: Clone) -> None:
    clone.github.secrets = ["AGENT_ACT_TOKEN", "AIMGENTIX_API_KEY"]
    assert clone.doctor() == {}


def test_one_of_two_approvers_without_write_access_is_only_a_note(clone: Clone) -> None:
    clone.github.people["alice"] = "read"
    assert clone.doctor() == {}
    assert "note: alice can't approve without write access" in clone.command("doctor").stdout


def test_setup_refuses_approvers_who_could_not_comment(clone: Clone, tmp_path: Path) -> None:
    shutil.copytree(clone.root, tmp_path / "clone")
    config = tmp_path / "clone" / ".github" / "agent-config.yml"
    config.write_text(config.read_text().replace("'alice'", "'acme/sre'"))
    done = Clone(tmp_path / "clone", clone.github).command("setup")
    assert (done.returncode, done.stderr.count("\n")) == (codes.EXIT_BAD_INPUT, 1)
    assert "SET003: acme/sre is not a single person" in done.stderr
    done = clone.command("setup", "--wait-timer", "5")
    assert (done.returncode, "INP006" in done.stderr) == (codes.EXIT_BAD_INPUT, True)
    clone.github.has_issues = False
    done = clone.command("setup")
    assert (done.returncode, "gh repo edit --enable-issues" in done.stderr) == (codes.EXIT_REFUSED, True)
