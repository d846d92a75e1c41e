"""The gate of a private repository without protected environments, run for real: an issue asks, a comment approves.

A plan is made once and its state on GitHub copied for each test; what is approved restarts a real service.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent_runtime.bundle import load, verify
from agent_runtime.simulate.server import LoopbackGitHub
from template.engines import run_copier
from workflow.conftest import NAME, World, failing_service
from workflow.harness.engine import ActionsHost, Repository, Run
from workflow.harness.node import ActionsService
from workflow.test_gated_runs import bundle, document, results

ACTING = ".github/workflows/agent-act-on-approval.yml"


@pytest.fixture(scope="module")
def issue_project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository generated for a private repository on GitHub Free; tests don't change it."""
    answers = {
        "agent_name": "Checkout Restart",
        "github_repository": NAME,
        "approvers": "bob,Carol",
        "repository_plan": "private-other",
    }
    return run_copier(template, tmp_path_factory.mktemp("project") / "checkout-restart", answers)


@dataclasses.dataclass
class Asked(World):
    """A world in which a run has asked: the issue and the digest of its plan."""

    asking: Run

    @property
    def issue(self) -> dict[str, Any]:
        """The issue as GitHub has it."""
        return self.github.issues[int(self.asking.jobs["ask"].outputs["issue"])]

    @property
    def digest(self) -> str:
        """Of the plan that the issue shows."""
        return self.asking.jobs["investigate"].outputs["plan_digest"]

    @property
    def answers(self) -> list[str]:
        """What jobs wrote on the issue."""
        found = self.github.comments[self.issue["number"]]
        return [each["body"] for each in found if each["user"]["login"] == "github-actions[bot]"]

    def say(self, login: str, text: str, kind: str = "User") -> dict[str, Any]:
        """Comment on the issue."""
        return self.github.comment(self.issue["number"], login, text, kind)

    def answer(self, login: str, text: str, kind: str = "User", **how: Any) -> Run:
        """Comment on the issue, and let the comment start its run."""
        return self.deliver(self.say(login, text, kind), **how)

    def deliver(self, comment: dict[str, Any], **how: Any) -> Run:
        """Start the run of a comment as it is now."""
        return self.actions.issue_comment(ACTING, copy.deepcopy(self.issue), copy.deepcopy(comment), **how)


def private(github: LoopbackGitHub) -> LoopbackGitHub:
    """GitHub Free: no environments, and three people who may write."""
    github.visibility, github.plan = "private", "free"
    github.people = {"alice": "write", "bob": "write", "carol": "admin", "dave": "write", "mallory": "read"}
    return github


@contextmanager
def a_waiting_plan(service: ActionsService, project: Path, python: Path, folder: Path) -> Iterator[Asked]:
    """A run that asks, in a world with a service of its own."""
    origin = folder / "origin"
    with failing_service(project, origin) as (url, token), LoopbackGitHub(NAME) as github:
        repository = Repository(origin, NAME, private(github), secrets={"AGENT_ACT_TOKEN": token})
        actions = ActionsHost(service, repository, python, folder / "runs")
        world = World(origin, github, repository, actions, url, token)
        run = world.start()
        assert results(run) == dict.fromkeys(("investigate", "ask", "record"), "success"), run.log
        yield Asked(**vars(world), asking=run)


@pytest.fixture(scope="module")
def asked_once(
    service: ActionsService, issue_project: Path, locked_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    """A plan that waits for an approval in an issue; tests copy it."""
    with a_waiting_plan(service, issue_project, locked_python, tmp_path_factory.mktemp("asked")) as waiting:
        yield waiting


@pytest.fixture
def own(service: ActionsService, issue_project: Path, locked_python: Path, tmp_path: Path) -> Iterator[Asked]:
    """The same for one test alone, which may execute it."""
    with a_waiting_plan(service, issue_project, locked_python, tmp_path) as waiting:
        yield waiting


@pytest.fixture
def asked(asked_once: Asked, service: ActionsService, locked_python: Path, tmp_path: Path) -> Iterator[Asked]:
    """A copy of the state on GitHub; repository and service are shared, so that nothing may be executed."""
    before = asked_once.instance()
    with LoopbackGitHub(NAME) as github:
        for name, value in vars(asked_once.github).items():
            if not name.startswith("_"):
                setattr(github, name, copy.deepcopy(value))
        repository = dataclasses.replace(asked_once.repository, github=github)
        actions = ActionsHost(service, repository, locked_python, tmp_path / "runs")
        yield dataclasses.replace(asked_once, github=github, repository=repository, actions=actions)
    assert asked_once.instance() == before, "something was executed"


# --------------------------------------------------------------------------------------------------------- the asking


def test_a_plan_is_shown_in_an_issue_and_nothing_waits(asked_once: Asked) -> None:
    run, issue = asked_once.asking, asked_once.issue

    assert issue["user"]["login"] == "github-actions[bot]"
    assert [label["name"] for label in issue["labels"]] == ["agent-approval"]
    assert issue["title"] == f"Approve restart_service on example? (plan {asked_once.digest[:12]})"
    assert f"/approve {asked_once.digest}" in issue["body"] and "@bob, @Carol, please decide." in issue["body"]
    assert run.clicks == [] and asked_once.github.environments == {}, "no environment opens or is created"
    assert (bundle(run)["outcome"], bundle(run)["issue"], bundle(run)["problems"]) == ("waiting", issue["number"], [])
    assert run.artifacts.names() == ["investigation-report", "audit-trace-id", "approval-request", "audit-bundle"]
    assert [step.commands for job in run.jobs.values() for step in job.steps if step.commands] == []


# ----------------------------------------------------------------------------------------------------- honest answers


def test_an_approved_plan_is_executed_and_the_issue_closed(own: Asked, tmp_path: Path) -> None:
    before = own.instance()

    run = own.answer("bob", f"/approve {own.digest[:12]}\r\nlooks right")

    assert results(run) == dict.fromkeys(("approve", "act", "record"), "success"), run.log
    assert own.instance() != before, "the service was restarted"
    assert own.github.references == {f"refs/agent-claims/{own.digest}": run.github["sha"]}
    receipt = document(run, "approval-receipt", "approval-receipt.json")
    comment = own.github.comments[own.issue["number"]][0]
    assert (receipt["approver"]["login"], receipt["plan_digest"]) == ("bob", own.digest)
    assert (receipt["issue_comment"]["id"], receipt["issue_comment"]["url"]) == (comment["id"], comment["html_url"])
    assert document(run, "action-result", "action-result.json")["approver"]["login"] == "bob"
    assert (own.issue["state"], own.issue["state_reason"]) == ("closed", "completed")
    assert [text.splitlines()[0] for text in own.answers] == ["**The plan was approved and executed.**"]

    # The bundle holds both runs' parts, and stands without any network.
    assert (bundle(run)["outcome"], bundle(run)["approver"]["login"], bundle(run)["problems"]) == ("acted", "bob", [])
    for name, data in run.artifacts.named("audit-bundle").files().items():
        (tmp_path / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bundle" / name).write_bytes(data)
    found, problems = verify(tmp_path / "bundle")
    assert (found["plan_digest"], problems) == (own.digest, [])
    report = json.loads((tmp_path / "bundle/investigate/investigation-report.json").read_bytes())
    assert report["run"]["run_id"] == own.asking.id and found["run"]["run_id"] == run.id
    assert {event["trace_id"] for event in load(tmp_path / "bundle").events["act"]} == {report["trace_id"]}
    assert (
        own.token not in run.log
        and [step.commands for job in run.jobs.values() for step in job.steps if step.commands] == []
    )

    # Whatever comes later finds a closed issue, an old approval and a claimed plan.
    after = own.instance()
    late = own.answer("Carol", f"/approve {own.digest}")
    assert results(late) == dict.fromkeys(("approve", "act", "record"), "skipped")
    own.issue["state"] = "open"
    own.actions.rerun(run, "approve", triggering_actor="bob")
    assert results(run)["act"] == "skipped" and "GATE03" in run.jobs["approve"].log
    assert own.instance() == after


def test_two_approvals_at_the_same_time_act_once(own: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both jobs pass every check and reach the claim together; GitHub lets one create the reference."""
    before = own.instance()
    together = threading.Barrier(2)
    answer = own.github.answer

    def wait_for_each_other(method: str, path: str, *rest: Any) -> Any:
        if path.endswith("/git/refs"):
            together.wait(60)
        return answer(method, path, *rest)

    monkeypatch.setattr(own.github, "answer", wait_for_each_other)
    comments = [own.say(login, f"/approve {own.digest}") for login in ("bob", "carol")]
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(own.deliver, comments))

    assert sorted(results(run)["act"] for run in runs) == ["failure", "success"], runs[0].log + runs[1].log
    refused = next(run for run in runs if results(run)["act"] == "failure")
    assert "GATE09" in refused.jobs["act"].log
    assert document(refused, "action-result", "action-result.json")["status"] == "refused"
    assert bundle(refused)["outcome"] == "refused" and bundle(refused)["problems"] == []
    assert own.instance() != before and len(own.github.references) == 1
