"""Workflow execution protections: setup makes them, doctor misses each, and the emulated GitHub refuses by them.

GitHub's OpenAPI description does not have them yet, so that nothing here is held to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import settings_world, shapes
from support.github import FullGitHub
from support.settings_world import WORKFLOW, Clone, close_by_hand, writes

PATH = ".github/workflows/" + WORKFLOW
REPORT = ".github/workflows/agent-report.yml"
APPROVAL = ".github/workflows/agent-act-on-approval.yml"


def make(folder: Path, github: FullGitHub, **answers: str) -> Clone:
    """A repository whose policy names an app, on a GitHub that offers protections."""
    root = settings_world.render(folder, **answers)
    policy = root / ".github" / "agent-policies" / "checkout-restart.yml"
    policy.write_text(policy.read_text() + "initiators: ['pager[bot]']\n")
    github.policies, github.apps = [], ["pager[bot]", "other[bot]"]
    github.workflows[APPROVAL.rpartition("/")[2]] = "active"
    return Clone(root, github)


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    with settings_world.fresh() as github:
        yield make(tmp_path, github, triggers="manual+alert+schedule")


def protected(github: FullGitHub) -> list[dict[str, Any]]:
    assert github.policies is not None
    return github.policies


@pytest.mark.threat("T15")
def test_setup_makes_one_for_each_workflow_and_a_second_run_changes_nothing(clone: Clone) -> None:
    asked = clone.setup(dry_run=True)
    assert clone.github.policies == [] and "POST /repos/acme/checkout-restart/actions/policies" in asked
    assert "protect agent-investigate-act.yml: done" in clone.setup()
    close_by_hand(clone.github)
    clone.github.requests.clear()
    assert "nothing to change" in clone.setup()
    assert (writes(clone.github), clone.doctor()) == ([], {})
    found = {each["name"]: each for each in protected(clone.github)}
    assert list(found) == ["gate: agent-investigate-act.yml", "gate: agent-report.yml"]
    assert found["gate: agent-investigate-act.yml"]["conditions"] == {
        "workflow_path": {"include": [PATH], "exclude": []}
    }
    assert {"id": shapes.number("pager[bot]"), "type": "Bot"} in found["gate: agent-investigate-act.yml"]["rules"][0][
        "parameters"
    ]["allowed_actors"]


@pytest.mark.threat("T15")
def test_github_refuses_what_may_not_start_the_agent(clone: Clone) -> None:
    refused = clone.github.refusal_to_start
    assert refused(PATH, "workflow_run", "github-actions[bot]") == "", "before"
    clone.setup()
    for event in ("workflow_dispatch", "repository_dispatch", "schedule"):
        for actor in ("bob", "alice", "pager[bot]"):
            assert refused(PATH, event, actor) == "", (event, actor)
        for actor in ("github-actions[bot]", "other[bot]", "mallory", "nobody"):
            assert f"Actor '{actor}' is not allowed" in refused(PATH, event, actor)
    for event in ("workflow_run", "push", "pull_request_target"):
        assert f"Event '{event}' is not allowed" in refused(PATH, event, "alice")
    assert refused(REPORT, "schedule", "alice") == ""
    assert "Event 'repository_dispatch'" in refused(REPORT, "repository_dispatch", "alice")


def evaluated(github: FullGitHub) -> None:
    protected(github)[0]["enforcement"] = "evaluate"


def without_actors(github: FullGitHub) -> None:
    del protected(github)[0]["rules"][0]


def another_actor(github: FullGitHub) -> None:
    protected(github)[0]["rules"][0]["parameters"]["allowed_actors"].append({"id": 7, "type": "User"})


def another_event(github: FullGitHub) -> None:
    protected(github)[0]["rules"][1]["parameters"]["allowed_events"].append("workflow_run")


def another_path(github: FullGitHub) -> None:
    protected(github)[0]["conditions"]["workflow_path"]["exclude"] = [PATH]


@pytest.mark.threat("T15")
@pytest.mark.parametrize("loosen", [evaluated, without_actors, another_actor, another_event, another_path])
def test_doctor_finds_what_was_loosened_and_setup_corrects_it(
    clone: Clone, loosen: Callable[[FullGitHub], None]
) -> None:
    clone.setup()
    close_by_hand(clone.github)
    loosen(clone.github)
    problem = "who and what may start agent-investigate-act.yml is restricted in another way than setup does it"
    assert clone.doctor() == {"execution-protections": [problem]}
    clone.github.requests.clear()
    assert "correct the protection of agent-investigate-act.yml: done" in clone.setup()
    assert [each.rpartition("/policies")[0][:4] + each[-4:] for each in writes(clone.github)] == ["PUT /101"]
    assert clone.doctor() == {}


@pytest.mark.threat("T15")
@pytest.mark.parametrize("place", [0, 1])
def test_doctor_finds_each_that_is_missing(clone: Clone, place: int) -> None:
    clone.setup()
    close_by_hand(clone.github)
    gone = protected(clone.github).pop(place)
    file = gone["name"].partition(": ")[2]
    assert clone.doctor() == {"execution-protections": [f"who and what may start {file} is not restricted on GitHub"]}


def test_what_the_organisation_forbids_and_an_app_that_is_not_there_are_said(clone: Clone) -> None:
    clone.setup()
    close_by_hand(clone.github)
    clone.github.apps = []
    events = {"type": "restrict_action_events", "parameters": {"allowed_events": ["push", "workflow_dispatch"]}}
    theirs = {"name": "no robots", "enforcement": "active", "rules": [events], "conditions": {}}
    protected(clone.github).append(dict(shapes.actions_policy("acme", 7, theirs), source_type="Organization"))
    assert clone.doctor()["execution-protections"] == [
        "initiators of the policy: pager[bot]: GitHub knows no app of this name",
        "who and what may start agent-investigate-act.yml is restricted in another way than setup does it",
        "the Actions policy 'no robots' keeps repository_dispatch, schedule from starting " + PATH,
        "the Actions policy 'no robots' keeps schedule from starting " + REPORT,
    ]


@pytest.mark.threat("T15")
def test_where_an_issue_is_the_gate_only_approvers_start_what_acts(tmp_path: Path) -> None:
    with settings_world.fresh() as github:
        github.visibility, github.plan = "private", "team"
        github.people["carol"] = "write"
        clone = make(tmp_path, github, repository_plan="private-team", approvers="bob,carol", triggers="manual")
        clone.setup()
        close_by_hand(github)
        assert "execution-protections" not in clone.doctor()
        for login, allowed in (("bob", True), ("carol", True), ("alice", False), ("pager[bot]", False)):
            assert (github.refusal_to_start(APPROVAL, "issue_comment", login) == "") is allowed
        assert "Event 'schedule'" in github.refusal_to_start(PATH, "schedule", "alice")


@pytest.mark.parametrize(
    ("visibility", "plan", "answer"), [("private", "free", "private-free"), ("private", "pro", "private-team")]
)
def test_where_github_offers_none_nobody_asks(tmp_path: Path, visibility: str, plan: str, answer: str) -> None:
    with settings_world.fresh() as github:
        github.visibility, github.plan = visibility, plan
        github.people["carol"] = "write"
        clone = make(tmp_path, github, repository_plan=answer, approvers="bob,carol")
        clone.setup()
        assert "execution-protections" not in clone.doctor()
        assert not [path for _, path in github.requests if "/policies" in path.replace("branch-policies", "")]
