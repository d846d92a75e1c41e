"""Requests and answers held to GitHub's own OpenAPI description by Prism, which is in between.

With `--errors` Prism answers for GitHub as soon as a request or an answer is not as described, so that a command that
comes through proves both: what setup and doctor send, and what the loopback GitHub of all other tests answers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_runtime.github.api import GitHubApi
from agent_runtime.github.transport import NotAnswered, Transport
from examples import alertmanager_bridge
from support import settings_world, shapes
from support.openapi import description
from support.settings_world import REPOSITORY, TOKEN, Clone, close_by_hand

ENVIRONMENT = f"/repos/{REPOSITORY}/environments/agent-approval"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered repository; tests don't change it."""
    return settings_world.render(tmp_path_factory.mktemp("rendered"))


@pytest.fixture(scope="module")
def behind_prism(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone whose API is Prism, with the loopback GitHub behind it; started once, reset for each test."""
    log = tmp_path_factory.mktemp("prism") / "proxy.log"
    with settings_world.fresh() as github, description.prism(log, "proxy", github.url) as url:
        yield Clone(root, github, url)


@pytest.fixture
def clone(behind_prism: Clone) -> Clone:
    """The same with everything as in a fresh repository."""
    fresh = vars(settings_world.fresh())
    for name, value in fresh.items():
        if not name.startswith("_"):
            setattr(behind_prism.github, name, value)
    return behind_prism


def _http(clone: Clone) -> Transport:
    return Transport(clone.url, TOKEN, pause=lambda seconds: None)


def test_the_bypass_of_administrators_is_still_not_in_the_description() -> None:
    body = description.whole()["paths"]["/repos/{owner}/{repo}/environments/{environment_name}"]["put"]["requestBody"]
    assert "can_admins_bypass" not in body["content"]["application/json"]["schema"]["properties"]


def test_prism_refuses_what_is_not_described(clone: Clone) -> None:
    for method, path, body in (
        ("PUT", ENVIRONMENT, {"wait_timer": "soon"}),
        ("PUT", ENVIRONMENT, {"admins": False}),
        ("POST", ENVIRONMENT + "/deployment-branch-policies", {"type": "branch"}),
        ("PUT", f"/repos/{REPOSITORY}/actions/permissions", {"enabled": False}),
    ):
        with pytest.raises(NotAnswered) as refused:
            _http(clone).send(method, path, body)
        assert refused.value.status in (404, 405, 422), refused.value.message
    assert clone.github.requests == []


def test_prism_refuses_an_answer_that_is_not_described(clone: Clone) -> None:
    clone.github.protect("agent-approval", ("bob",))
    _http(clone).get(ENVIRONMENT)
    del clone.github.environments["agent-approval"]["node_id"]
    with pytest.raises(NotAnswered) as refused:
        _http(clone).get(ENVIRONMENT)
    assert refused.value.status == 500


def test_the_whole_sequence_is_as_described(clone: Clone) -> None:
    assert {"gate-environment", "act-environment"} <= set(clone.doctor())
    clone.setup(dry_run=True)
    assert "the gate is closed" in clone.setup(wait_minutes=5)
    close_by_hand(clone.github)
    assert clone.doctor() == {}
    assert "nothing to change" in clone.setup()
    clone.github.branch_policies["agent-act"] += ["release/*", "tag:v*"]
    clone.github.environments["agent-approval"]["protection_rules"].clear()
    assert set(clone.doctor()) == {"gate-environment", "act-environment"}
    assert "the gate is closed" in clone.setup(exact=True, reviewers=("alice", "acme/sre"))
    assert clone.github.branch_policies["agent-act"] == ["main"]


def test_everything_that_doctor_may_see_is_as_described(clone: Clone) -> None:
    clone.setup()
    close_by_hand(clone.github)
    clone.github.plan = "enterprise"
    clone.github.secrets = [f"SECRET_{number}" for number in range(130)]
    clone.github.organization_secrets = ["SHARED"]
    clone.github.environment_secrets = {"agent-act": ["AGENT_ACT_TOKEN"]}
    clone.github.variables = {f"VARIABLE_{number}": "x" for number in range(65)}
    clone.github.organization_variables = {"AGENT_DISABLED": "false"}
    clone.github.environment_variables = {"agent-act": {"REGION": "eu"}}
    clone.github.bypass_actors = [{"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}]
    clone.github.branch_protection = {"enforce_admins": {"url": "https://api.github.com/x", "enabled": True}}
    error = {"line": 1, "column": 1, "kind": "Unknown owner", "path": ".github/CODEOWNERS", "message": "no"}
    clone.github.codeowners_errors = [error]
    assert set(clone.doctor()) == {"default-branch", "codeowners"}


def test_what_doctor_asks_about_a_schedule_is_as_described(clone: Clone, tmp_path: Path) -> None:
    scheduled = Clone(settings_world.render(tmp_path, triggers="manual+schedule"), clone.github, clone.url)
    scheduled.setup()
    close_by_hand(clone.github)
    clone.github.changed[".github/workflows/agent-investigate-act.yml"] = ("bob", shapes.CREATED)
    file = "agent-investigate-act.yml"
    clone.github.add_run("7", title="x [-]", event="schedule", actor="bob", file=file, created=shapes.CREATED)
    assert scheduled.doctor() == {}


def test_a_persons_repository_is_as_described(clone: Clone) -> None:
    clone.github.owner_type, clone.github.plan, clone.github.people = "User", "pro", {"bob": "write", "alice": "write"}
    clone.setup(reviewers=("bob", "alice"))
    assert set(clone.doctor()) >= {"approvers"}  # the configuration names a team, which a person has not
    clone.github.visibility = "private"
    assert "private repository of a person, plan pro" in clone.doctor()["plan"][0]


def test_what_the_gate_asks_during_a_run_is_as_described(clone: Clone) -> None:
    clone.github.protect("agent-approval", ("bob",))
    clone.github.review("7", "bob", "approved", "go")
    clone.github.add_artifact("7", "action-result")
    api = GitHubApi(clone.url, TOKEN, pause=lambda seconds: None)
    assert api.default_branch(REPOSITORY) == "main"
    assert api.environment(REPOSITORY, "agent-approval") is not None
    assert api.environment(REPOSITORY, "agent-act") is None
    assert api.deployment_branches(REPOSITORY, "agent-approval") == ["main"]
    assert api.deployment_branches(REPOSITORY, "agent-act") == []
    assert [record["state"] for record in api.approvals(REPOSITORY, "7")] == ["approved"]
    assert api.artifact_exists(REPOSITORY, "7", "action-result")
    clone.github.changed[".github/agent-policies/x.yml"] = ("bob", shapes.CREATED)
    assert api.last_commit(REPOSITORY, ".github/agent-policies/x.yml", "main")["author"]["login"] == "bob"
    assert api.last_commit(REPOSITORY, ".github/agent-policies/y.yml", "main") == {}
    clone.github.add_job("7", "Approve restart on checkout (plan 0123456789ab)")
    clone.github.add_job("7", "Act", "in_progress", None)
    assert [artifact["workflow_run"]["id"] for artifact in api.artifacts(REPOSITORY, "action-result")] == [7]
    assert [job["status"] for job in api.jobs(REPOSITORY, "7")] == ["completed", "in_progress"]


def test_what_the_report_and_deduplicating_alerts_ask_is_as_described(clone: Clone) -> None:
    for number, event in enumerate(("repository_dispatch", "schedule", "repository_dispatch"), start=1):
        run = clone.github.add_run(
            str(number),
            title="x [y]",
            event=event,
            actor="bob",
            file="agent.yml",
            created=f"2026-11-2{number}T00:00:00Z",
        )
        run.update(status="completed", conclusion="success")
    clone.github.set_job("3", "Investigate", "completed", "2026-11-23T00:01:00Z", "success")
    clone.github.set_job("3", "Approve x on y (plan 0)", "waiting", "2026-11-23T00:02:00Z")
    clone.github.add_artifact("3", "audit-bundle", archive=b"archive")
    api = GitHubApi(clone.url, TOKEN, pause=lambda seconds: None)
    since = "2026-11-22T00:00:00Z"
    assert [run["id"] for run in api.runs(REPOSITORY, "agent.yml", since=since)] == [3, 2]
    assert [run["id"] for run in api.runs(REPOSITORY, "agent.yml", since=since, event="repository_dispatch")] == [3]
    assert [run["id"] for run in api.last_run(REPOSITORY, "agent.yml", before=since)] == [1]
    assert api.last_run(REPOSITORY, "agent.yml", before="2026-11-21T00:00:00Z") == []
    assert [job["status"] for job in api.jobs(REPOSITORY, "3")] == ["completed", "waiting"]
    assert [artifact["name"] for artifact in api.artifacts_of_run(REPOSITORY, "3")] == ["audit-bundle"]


def test_what_the_bridge_of_alertmanager_sends_is_as_described(clone: Clone) -> None:
    github = alertmanager_bridge.GitHub(REPOSITORY, TOKEN, clone.url)
    github.dispatch({"resource": "checkout"}, time.monotonic() + 60)
    assert clone.github.dispatches == [{"event_type": "alert-triggered", "client_payload": {"resource": "checkout"}}]
    with pytest.raises(alertmanager_bridge.NotTaken, match="HTTP 422"):
        github.dispatch({f"key{number}": 1 for number in range(11)}, time.monotonic())


def test_what_the_issue_gate_asks_and_writes_is_as_described(clone: Clone) -> None:
    file = "agent-investigate-act.yml"
    clone.github.add_run("7", title="x", event="schedule", actor="alice", file=file, created=shapes.CREATED)
    clone.github.note_attempt("7", 2, branch="main", sha="a" * 40, triggering_actor="bob")
    clone.github.keep_archive(17, "7", "investigation-report", b"zip")
    api = GitHubApi(clone.url, TOKEN, pause=lambda seconds: None)

    run = api.workflow_run(REPOSITORY, "7")
    assert (run["run_attempt"], run["head_branch"], run["triggering_actor"]["login"]) == (2, "main", "bob")
    assert api.workflow_run(REPOSITORY, "8") == {}
    artifact = api.artifact(REPOSITORY, 17)
    assert (artifact["workflow_run"]["id"], artifact["digest"][:7]) == (7, "sha256:")
    assert [api.permission(REPOSITORY, login) for login in ("bob", "mallory", "nobody")] == ["write", "read", "none"]

    issue = api.open_issue(REPOSITORY, "Approve?", "text", "agent-approval")
    assert (issue["number"], issue["user"]["type"], issue["labels"][0]["name"]) == (1, "Bot", "agent-approval")
    for number in range(130):
        clone.github.comment(1, "bob", str(number))
    api.answer(REPOSITORY, 1, "reported")
    assert [comment["body"] for comment in api.comments(REPOSITORY, 1)] == [*map(str, range(130)), "reported"]
    api.close_issue(REPOSITORY, 1, completed=False)
    assert (api.issue(REPOSITORY, 1)["state"], api.issue(REPOSITORY, 1)["state_reason"]) == ("closed", "not_planned")
    assert api.issue(REPOSITORY, 2) == {}

    assert api.claim(REPOSITORY, "refs/agent-claims/" + "0" * 64, "a" * 40)
    assert not api.claim(REPOSITORY, "refs/agent-claims/" + "0" * 64, "b" * 40)


@pytest.mark.parametrize("refusal", ["a foreign token", "no rights", "no such repository"])
def test_refusals_are_as_described(clone: Clone, refusal: str) -> None:
    if refusal == "a foreign token":
        clone.github.token, path, status = "ghp_another", "/user", 401
    elif refusal == "no rights":
        clone.github.administrator, path, status = False, f"/repos/{REPOSITORY}/actions/permissions", 403
    else:
        path, status = "/repos/acme/another", 404
    with pytest.raises(NotAnswered) as refused:
        _http(clone).get(path)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("plan", "reported"), [("free", "HTTP 404"), ("team", "HTTP 422")], ids=["404 of Free", "422 of Team"]
)
def test_refusals_of_a_plan_are_as_described(
    clone: Clone, plan: str, reported: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone.github.visibility, clone.github.plan = "private", plan
    monkeypatch.setattr(shapes, "organization", lambda login, _plan, whole=shapes.organization: whole(login, None))
    done = clone.command("setup")
    assert (done.returncode, "SET004" in done.stderr, reported in done.stderr) == (3, True, True), done.stderr


@pytest.fixture(scope="module")
def mocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Prism as GitHub: one that answers with GitHub's examples, one that makes up whatever the description allows."""
    folder = tmp_path_factory.mktemp("mock")
    with (
        description.prism(folder / "examples.log", "mock") as examples,
        description.prism(folder / "dynamic.log", "mock", "--dynamic", "--seed", "gate") as dynamic,
    ):
        yield examples, dynamic


@pytest.mark.parametrize("which", [0, 1], ids=["GitHub's examples", "any answer that the description allows"])
def test_doctor_understands_every_answer_that_github_describes(root: Path, mocks: tuple[str, str], which: int) -> None:
    clone = Clone(root, settings_world.fresh(), mocks[which])
    done = clone.command("doctor", "--json")
    assert done.returncode == 3, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    problems = {check["name"]: check["findings"] for check in document["checks"]}
    assert problems["gate-environment"] and problems["act-environment"]
    done = clone.command("setup", "--dry-run", "--reviewer", "octocat")
    assert done.returncode in (0, 2, 3), done.stderr
    assert "Traceback" not in done.stderr
