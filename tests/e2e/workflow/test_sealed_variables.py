"""What `act` reads from outside the repository is part of the plan, and refused where it is not what was sealed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent_runtime.local.terminal import as_terminal
from support.engines import run_copier
from support.github import FullGitHub
from support.harness.engine import ActionsHost, Repository, Run, approve_as
from support.harness.node import ActionsService
from support.runs import ALL_SUCCEED, bundle, document, ended, results
from support.world import NAME, World, failing_service, make_python

ANSWERS = {
    "agent_name": "Checkout Restart",
    "github_repository": NAME,
    "approvers": "bob",
    "advanced": "yes",
    "act_variables": "CLUSTER,REGION",
}


@pytest.fixture(scope="module")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose agent acts with two variables."""
    return run_copier(template, tmp_path_factory.mktemp("sealed") / "project", ANSWERS)


@pytest.fixture
def world(service: ActionsService, project: Path, tmp_path: Path) -> Iterator[World]:
    """Its world, in which one of the variables is set."""
    origin = tmp_path / "origin"
    with failing_service(project, origin) as (url, token), FullGitHub(NAME) as github:
        github.protect("agent-approval", reviewers=("alice", "bob"))
        github.protect("agent-act")
        repository = Repository(origin, NAME, github, environment_secrets={"agent-act": {"AGENT_ACT_TOKEN": token}})
        repository.variables["CLUSTER"] = "staging"
        actions = ActionsHost(service, repository, make_python(project), tmp_path / "runs")
        yield World(origin, github, repository, actions, url, token)


def test_the_variables_are_in_the_plan_and_on_the_page(world: World) -> None:
    run = world.start(reviewer=approve_as("bob"))

    assert results(run) == ALL_SUCCEED, run.log
    plan = document(run, "investigation-report", "investigation-report.json")["plan"]
    assert plan["variables"] == {"CLUSTER": "staging", "REGION": ""}
    assert plan["secrets"] == ["AGENT_ACT_TOKEN"]
    page = as_terminal(run.jobs["seal"].summary)
    assert "Variable CLUSTER" in page and '"staging"' in page and "AGENT_ACT_TOKEN" in page
    assert (bundle(run)["outcome"], bundle(run)["problems"]) == ("acted", [])


def override(world: World, run: Run) -> None:
    """Whoever may change the environment points the agent elsewhere, behind the reviewer's back."""
    world.repository.environment_variables["agent-act"] = {"CLUSTER": "production"}


def change(world: World, run: Run) -> None:
    world.repository.variables["CLUSTER"] = "production"


def remove(world: World, run: Run) -> None:
    del world.repository.variables["CLUSTER"]


def add(world: World, run: Run) -> None:
    world.repository.variables["REGION"] = "eu"


@pytest.mark.threat("T10")
@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (override, "CLUSTER was 'staging' and is 'production' in this job"),
        (change, "CLUSTER was 'staging' and is 'production' in this job"),
        (remove, "CLUSTER was 'staging' and is '' in this job"),
        (add, "REGION was '' and is 'eu' in this job"),
    ],
)
def test_a_variable_that_is_not_as_it_was_sealed_is_refused(
    world: World, attack: Callable[[World, Run], None], said: str
) -> None:
    before = world.instance()

    run = world.start(reviewer=approve_as("bob"), hooks={"act": lambda run: attack(world, run)})

    assert results(run) == ended(act="failure"), run.log
    assert f"error: GATE16: since the plan was sealed: {said}" in run.jobs["act"].log
    assert world.instance() == before
    assert (bundle(run)["outcome"], bundle(run)["problems"]) == ("refused", [])


@pytest.mark.threat("T33")
def test_a_variable_that_holds_a_secret_is_not_shown(world: World) -> None:
    world.repository.variables["CLUSTER"] = secret = "ghp_" + "a1B2" * 9

    run = world.start(reviewer=approve_as("bob"))

    assert results(run) == ended(seal="failure", approve="skipped", act="skipped")
    assert "AGT004: act_variables.CLUSTER looks like a secret" in run.jobs["seal"].log
    assert all(secret.encode() not in data for each in run.artifacts.latest() for data in each.files().values())
