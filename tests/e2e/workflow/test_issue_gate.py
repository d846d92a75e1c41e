"""The gate of a private repository without protected environments, run for real: an issue asks, a comment approves.

A plan is made once and its state on GitHub copied for each test; what is approved restarts a real service.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import pytest

from agent_runtime.gate.bundle import load
from agent_runtime.gate.offline import verify
from support.engines import run_copier
from support.github import FullGitHub
from support.harness.artifacts import ArtifactStore
from support.harness.engine import ActionsHost, Repository, Run
from support.harness.node import ActionsService
from support.runs import approvers, bundle, carried_out, document, machines, promised, results
from support.world import NAME, WORKFLOW, World, failing_service

ACTING = ".github/workflows/agent-act-on-approval.yml"


@pytest.fixture(scope="module")
def issue_project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository generated for a private repository on GitHub Free; tests don't change it."""
    answers = {
        "agent_name": "Checkout Restart",
        "github_repository": NAME,
        "approvers": "bob,Carol",
        "repository_plan": "private-free",
    }
    return run_copier(template, tmp_path_factory.mktemp("project") / "checkout-restart", answers)


@dataclasses.dataclass
class Asked(World):
    """A world in which the run `asking` asks, in the issue `number`."""

    asking: Run
    number: int

    @property
    def issue(self) -> dict[str, Any]:
        """The issue as GitHub has it."""
        return self.github.issues[self.number]

    @property
    def digest(self) -> str:
        """Of the plan that the issue shows."""
        return self.asking.jobs["seal"].outputs["plan_digest"]

    @property
    def answers(self) -> list[str]:
        """What jobs wrote on the issue."""
        found = self.github.comments[self.number]
        return [each["body"] for each in found if each["user"]["login"] == "github-actions[bot]"]

    def say(self, login: str, text: str, kind: str = "User") -> dict[str, Any]:
        """Comment on the issue."""
        return self.github.comment(self.number, login, text, kind)

    def answer(self, login: str, text: str, kind: str = "User", **how: Any) -> Run:
        """Comment on the issue, and let the comment start its run."""
        return self.deliver(self.say(login, text, kind), **how)

    def deliver(self, comment: dict[str, Any], **how: Any) -> Run:
        """Start the run of a comment as it is now."""
        return self.actions.issue_comment(ACTING, copy.deepcopy(self.issue), copy.deepcopy(comment), **how)


def ended(**otherwise: str) -> dict[str, str]:
    """How the jobs of a run that a comment started end: all of them well, but for those named."""
    return {**dict.fromkeys(("approve", "claim", "act", "record"), "success"), **otherwise}


def private(github: FullGitHub) -> FullGitHub:
    """GitHub Free: no environments, and three people who may write."""
    github.visibility, github.plan = "private", "free"
    github.people = {"alice": "write", "bob": "write", "carol": "admin", "dave": "write", "mallory": "read"}
    return github


@contextmanager
def a_waiting_plan(service: ActionsService, project: Path, python: Path, folder: Path) -> Iterator[Asked]:
    """A run that asks, in a world with a service of its own."""
    origin = folder / "origin"
    with failing_service(project, origin) as (url, token), FullGitHub(NAME) as github:
        repository = Repository(origin, NAME, private(github), secrets={"AGENT_ACT_TOKEN": token})
        actions = ActionsHost(service, repository, python, folder / "runs")
        world = World(origin, github, repository, actions, url, token)
        run = world.start()
        assert results(run) == dict.fromkeys(("investigate", "seal", "ask", "record"), "success"), run.log
        assert machines(run) == promised("asked in an issue")
        yield Asked(**vars(world), asking=run, number=int(run.jobs["ask"].outputs["issue"]))


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
    with FullGitHub(NAME) as github:
        for name, value in vars(asked_once.github).items():
            if not name.startswith("_"):
                setattr(github, name, copy.deepcopy(value))
        repository = dataclasses.replace(asked_once.repository, github=github, variables={})
        actions = ActionsHost(service, repository, locked_python, tmp_path / "runs")
        asking = dataclasses.replace(
            asked_once.asking, artifacts=cast(ArtifactStore, github.stores[asked_once.asking.id])
        )
        yield dataclasses.replace(asked_once, github=github, repository=repository, actions=actions, asking=asking)
    assert asked_once.instance() == before, "something was executed"


# --------------------------------------------------------------------------------------------------------- the asking


@pytest.mark.threat("T13", "T14")
def test_a_plan_is_shown_in_an_issue_and_nothing_waits(asked_once: Asked) -> None:
    run, issue = asked_once.asking, asked_once.issue

    assert issue["user"]["login"] == "github-actions[bot]"
    assert [label["name"] for label in issue["labels"]] == ["agent-approval"]
    assert issue["title"] == f"Approve plan {asked_once.digest[:12]}: restart_service on example?"
    assert f"/approve {asked_once.digest}" in issue["body"] and "@bob, @Carol, please decide." in issue["body"]
    assert run.clicks == [] and asked_once.github.environments == {}, "no environment opens or is created"
    assert (bundle(run)["outcome"], bundle(run)["issue"], bundle(run)["problems"]) == ("waiting", issue["number"], [])
    names = ["investigation", "investigation-report", "audit-trace-id", "approval-request", "audit-bundle"]
    assert run.artifacts.names() == names
    assert carried_out(run) == []


# ----------------------------------------------------------------------------------------------------- honest answers


@pytest.mark.threat("T19", "T38")
def test_an_approved_plan_is_executed_and_the_issue_closed(own: Asked, tmp_path: Path) -> None:
    before = own.instance()

    run = own.answer("bob", f"/approve {own.digest[:12]}\r\nlooks right")

    assert results(run) == ended(), run.log
    assert machines(run) == promised("approved in an issue")
    assert own.instance() != before, "the service was restarted"
    assert run.jobs["act"].name == f"Act on approval of plan {own.digest[:12]}: restart_service on example"
    assert own.github.references == {f"refs/agent-claims/{own.digest}": run.github["sha"]}
    receipt = document(run, "approval-receipt", "approval-receipt.json")
    comment = own.github.comments[own.number][0]
    assert (receipt["approver"]["login"], receipt["plan_digest"]) == ("bob", own.digest)
    assert (receipt["issue_comment"]["id"], receipt["issue_comment"]["url"]) == (comment["id"], comment["html_url"])
    assert approvers(run) == ["bob"]
    assert (own.issue["state"], own.issue["state_reason"]) == ("closed", "completed")
    assert [text.splitlines()[0] for text in own.answers] == ["**The plan was approved and executed.**"]

    # The bundle holds both runs' parts, and stands without any network.
    assert (bundle(run)["outcome"], bundle(run)["approvers"][0]["login"], bundle(run)["problems"]) == (
        "acted",
        "bob",
        [],
    )
    for name, data in run.artifacts.named("audit-bundle").files().items():
        (tmp_path / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bundle" / name).write_bytes(data)
    found, problems = verify(tmp_path / "bundle")
    assert (found["plan_digest"], problems) == (own.digest, [])
    report = json.loads((tmp_path / "bundle/seal/investigation-report.json").read_bytes())
    assert report["run"]["run_id"] == own.asking.id and found["run"]["run_id"] == run.id
    assert {event["trace_id"] for event in load(tmp_path / "bundle", by_comment=True).events["act"]} == {
        report["trace_id"]
    }
    assert own.token not in run.log and carried_out(run) == []

    # Whatever comes later finds a closed issue, an old approval and a claimed plan.
    after = own.instance()
    late = own.answer("carol", f"/approve {own.digest}")
    assert results(late) == dict.fromkeys(("approve", "claim", "act", "record"), "skipped")
    own.issue["state"] = "open"
    own.github.references.clear()  # as anybody with write access could
    own.actions.rerun(run, "act", triggering_actor="bob")
    assert results(run)["act"] == "failure" and "GATE03" in run.jobs["act"].log
    own.actions.rerun(run, "approve", triggering_actor="bob")
    assert results(run)["act"] == "skipped" and "GATE03" in run.jobs["approve"].log
    assert own.instance() == after


@pytest.mark.threat("T17b", "T39")
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
    # The claim has to hold without the lock of the concurrency group.
    monkeypatch.setattr(own.actions.groups, "turn", lambda *_: nullcontext(True))
    comments = [own.say(login, f"/approve {own.digest}") for login in ("bob", "carol")]
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(own.deliver, comments))

    assert sorted(results(run)["act"] for run in runs) == ["skipped", "success"], runs[0].log + runs[1].log
    refused = next(run for run in runs if results(run)["act"] == "skipped")
    assert results(refused)["claim"] == "failure" and "GATE09" in refused.jobs["claim"].log
    assert bundle(refused)["outcome"] == "refused" and bundle(refused)["problems"] == []
    assert own.instance() != before and len(own.github.references) == 1


@pytest.mark.threat("T37", "T39")
def test_a_runner_that_dies_in_the_middle_of_the_effect_leaves_an_unknown_outcome(own: Asked) -> None:
    before = own.instance()

    run = own.answer("bob", f"/approve {own.digest}", cancels={"act": "execute"})

    assert own.instance() != before, "the effect happened"
    assert results(run) == ended(act="cancelled", record="failure")
    assert bundle(run)["outcome"] == "outcome_unknown"
    assert "TRAIL02: no action result" in bundle(run)["problems"]
    assert own.issue["state"] == "closed" and "Nothing was executed" not in own.answers[0]


def test_an_act_that_is_cancelled_in_the_queue_did_nothing(asked: Asked) -> None:
    run = asked.answer("bob", f"/approve {asked.digest}", cancels={"act": ""})

    assert results(run) == ended(act="cancelled")
    assert (bundle(run)["outcome"], bundle(run)["problems"], asked.issue["state"]) == ("cancelled", [], "open")


@pytest.mark.threat("T18")
def test_a_rejection_closes_the_issue_and_outlives_every_approval(asked: Asked) -> None:
    approved = asked.say("bob", f"/approve {asked.digest}")
    for number in range(120):
        asked.say("dave", f"what about {number}?")

    run = asked.answer("carol", "/reject not during the sale\n\nask again tomorrow")

    assert results(run) == ended(approve="failure", claim="skipped", act="skipped")
    assert "IGATE07" in run.jobs["approve"].log
    assert (bundle(run)["outcome"], bundle(run)["rejected_by"], bundle(run)["problems"]) == ("rejected", "carol", [])
    assert (asked.issue["state"], asked.issue["state_reason"]) == ("closed", "not_planned")
    (reported,) = asked.answers
    assert (
        reported.startswith("**A reviewer rejected the plan. Nothing was executed.**")
        and "not during the sale" in reported
    )

    asked.issue["state"] = "open"
    assert "IGATE07" in asked.deliver(approved).jobs["approve"].log


@pytest.mark.threat("T18")
def test_a_rejection_that_starts_no_run_stops_the_next_approval(asked: Asked) -> None:
    asked.say("carol", " /Reject: wrong host")

    run = asked.answer("bob", f"/approve {asked.digest}")

    assert results(run) == ended(approve="failure", claim="skipped", act="skipped")
    assert (bundle(run)["outcome"], bundle(run)["rejected_by"], bundle(run)["problems"]) == ("rejected", "carol", [])
    assert "wrong host" in asked.answers[0] and asked.issue["state"] == "closed"


def test_an_approval_on_the_second_page_reaches_the_last_check_before_the_claim(asked: Asked) -> None:
    for number in range(120):
        asked.say("dave", f"what about {number}?")
    asked.repository.variables["AGENT_DISABLED"] = "true"

    run = asked.answer("carol", f"/approve {asked.digest}")

    assert results(run) == ended(claim="failure", act="skipped")
    assert "GATE10" in run.jobs["claim"].log and asked.github.references == {}
    assert (bundle(run)["outcome"], asked.issue["state"]) == ("refused", "open"), "it can be approved again"
    assert "GATE10" in asked.answers[0]


# ------------------------------------------------------------------------------------------------------------- attacks

Attack = Callable[[Asked], "dict[str, Any]"]


def wrong_digest(asked: Asked) -> dict[str, Any]:
    return asked.say("bob", "/approve " + "0" * 12)


def short_digest(asked: Asked) -> dict[str, Any]:
    return asked.say("bob", f"/approve {asked.digest[:11]}")


def no_digest(asked: Asked) -> dict[str, Any]:
    return asked.say("bob", "/approve ::set-output name=code::x `whoami` @everyone\n" + asked.digest)


def edited_later(asked: Asked) -> dict[str, Any]:
    comment = asked.say("bob", f"/approve {asked.digest}")
    comment["updated_at"] = "2026-01-01T00:00:09Z"
    return comment


def edited_within_the_second(asked: Asked) -> dict[str, Any]:
    """Somebody who may write turns an approver's harmless comment into an approval, before GitHub's clock ticks."""
    comment = asked.say("bob", "/approve? I would rather not")
    posted = copy.deepcopy(comment)
    comment["body"] = f"/approve {asked.digest}"
    return posted


def deleted(asked: Asked) -> dict[str, Any]:
    return asked.github.comments[asked.number].pop() if asked.say("bob", f"/approve {asked.digest}") else {}


def by_the_initiator(asked: Asked) -> dict[str, Any]:
    """alice is none of the approvers; see the next test for one who is."""
    return asked.say("alice", f"/approve {asked.digest}")


def by_a_reader(asked: Asked) -> dict[str, Any]:
    return asked.say("mallory", f"/approve {asked.digest}")


def by_somebody_who_lost_access(asked: Asked) -> dict[str, Any]:
    asked.github.people["bob"] = "read"
    return asked.say("bob", f"/approve {asked.digest}")


def edited_issue(asked: Asked) -> dict[str, Any]:
    asked.issue["body"] = asked.issue["body"].replace("error_rate", "error_Rate")
    return asked.say("bob", f"/approve {asked.digest}")


def forged_issue(asked: Asked) -> dict[str, Any]:
    """Somebody opens an issue that reads the same."""
    forged = asked.github.open_issue("mallory", asked.issue["title"], asked.issue["body"], ["agent-approval"])
    asked.number = forged["number"]
    return asked.say("bob", f"/approve {asked.digest}")


def artifact_of_another_run(asked: Asked) -> dict[str, Any]:
    report = asked.asking.artifacts.named("investigation-report")
    asked.github.keep_archive(report.id + 50, "4711", report.name, report.archive)
    asked.issue["body"] = asked.issue["body"].replace(f"artifact `{report.id}`", f"artifact `{report.id + 50}`")
    return asked.say("bob", f"/approve {asked.digest}")


def run_of_another_workflow(asked: Asked) -> dict[str, Any]:
    reported = asked.github.run(asked.asking.id)
    assert reported is not None
    reported["path"] = ".github/workflows/mine.yml"
    return asked.say("bob", f"/approve {asked.digest}")


def investigated_again(asked: Asked) -> dict[str, Any]:
    asked.github.note_attempt(
        asked.asking.id, 2, branch="main", sha=asked.asking.github["sha"], triggering_actor="alice"
    )
    return asked.say("bob", f"/approve {asked.digest}")


def swapped_archive(asked: Asked) -> dict[str, Any]:
    asked.asking.artifacts.tamper("investigation-report", "more", b"x", unnoticed=True)
    return asked.say("bob", f"/approve {asked.digest}")


@pytest.mark.threat("T3", "T7", "T8", "T15", "T19", "T32")
@pytest.mark.parametrize(
    ("attack", "code", "answered"),
    [
        (wrong_digest, "GATE02", True),
        (short_digest, "IGATE05", True),
        (no_digest, "IGATE05", True),
        (edited_later, "IGATE05", True),
        (edited_within_the_second, "IGATE05", True),
        (deleted, "IGATE05", False),
        (by_the_initiator, "IGATE06", True),
        (by_a_reader, "IGATE06", False),
        (by_somebody_who_lost_access, "IGATE06", True),
        (edited_issue, "IGATE03", True),
        (forged_issue, "IGATE02", True),
        (artifact_of_another_run, "GATE01", True),
        (run_of_another_workflow, "IGATE04", True),
        (investigated_again, "IGATE04", True),
        (swapped_archive, "GATE01", True),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_not_an_approval_is_refused_and_reported_to_whom_it_concerns(
    asked: Asked, attack: Attack, code: str, answered: bool
) -> None:
    run = asked.deliver(attack(asked))

    assert results(run) == ended(approve="failure", claim="skipped", act="skipped"), run.log
    assert f"error: {code}: " in run.jobs["approve"].log
    assert bundle(run)["outcome"] == "approval_failed" and asked.github.references == {}
    assert asked.issue["state"] == "open", "another comment may still approve"
    assert [code in text and "@" not in re.sub("`[^`]*`", "", text) for text in asked.answers] == [True] * answered
    assert carried_out(run) == []


@pytest.fixture
def loosened(asked: Asked, service: ActionsService, locked_python: Path, tmp_path: Path) -> Asked:
    """The same with a repository that the test may change."""
    origin = tmp_path / "origin"
    shutil.copytree(asked.origin, origin)
    repository = dataclasses.replace(asked.repository, origin=origin)
    actions = ActionsHost(service, repository, locked_python, tmp_path / "changed")
    return dataclasses.replace(asked, origin=origin, repository=repository, actions=actions)


@pytest.mark.threat("T10")
def test_a_repository_that_moved_on_executes_no_older_plan(loosened: Asked) -> None:
    (loosened.origin / "README.md").write_text("moved")
    loosened.commit()

    run = loosened.answer("bob", f"/approve {loosened.digest}")

    assert results(run) == ended(approve="failure", claim="skipped", act="skipped")
    assert "error: GATE03: the repository moved on" in run.jobs["approve"].log
    assert "GATE03" in loosened.answers[0] and loosened.issue["state"] == "open"


@pytest.mark.threat("T25")
def test_what_comments_approved_uses_up_the_rate_limits(loosened: Asked) -> None:
    """There is room when the issue is opened, and none when it is approved; and nothing acts without asking."""
    policy = next((loosened.origin / ".github/agent-policies").glob("*.yml"))
    text = policy.read_text().replace("max_risk: medium\n", "max_risk: medium\n    requires_approval: false\n")
    text += "auto_approve:\n  - {type: restart_service, resources: [example], max_risk: medium}\n"
    policy.write_text(text + "rate_limits:\n  - {type: restart_service, max: 1, per: 24h}\n")
    agent = loosened.origin / "agent_runner.py"
    agent.write_text(agent.read_text().replace("reversible=False", "reversible=True"))
    loosened.commit()
    asking = loosened.start()
    mine = dataclasses.replace(loosened, asking=asking, number=int(asking.jobs["ask"].outputs["issue"]))
    assert "auto_approval is false" in mine.issue["body"]
    mine.github.add_artifact("7", "approval-receipt")
    mine.github.add_job("7", "Approve by comment")
    mine.github.add_job("7", f"Act on approval of plan {mine.digest[:12]}: restart_service on example")

    run = mine.answer("bob", f"/approve {mine.digest}")

    assert results(run) == ended(claim="failure", act="skipped"), run.log
    assert "error: GATE13: " in run.jobs["claim"].log and mine.github.references == {}
    again = mine.start()
    assert results(again)["ask"] == "skipped", "a reached limit denies; nobody is asked"
    assert again.jobs["seal"].outputs["decision"] == "denied"


@pytest.mark.threat("T20")
def test_an_approval_that_comes_too_late_ends_the_plan(loosened: Asked) -> None:
    workflow = loosened.origin / WORKFLOW
    command = "run: python -I -S agent_runtime/__main__.py seal"
    workflow.write_text(workflow.read_text().replace(command, command + " --minutes-ago 61"))
    loosened.commit()
    asking = loosened.start()
    late = dataclasses.replace(loosened, asking=asking, number=int(asking.jobs["ask"].outputs["issue"]))

    run = late.answer("bob", f"/approve {late.digest}")

    assert "error: GATE04: " in run.jobs["approve"].log
    assert bundle(run)["outcome"] == "expired"
    assert (late.issue["state"], late.issue["state_reason"]) == ("closed", "not_planned")


@pytest.mark.threat("T13", "T15")
def test_who_started_the_investigation_does_not_approve_it(asked: Asked) -> None:
    """bob is an approver and pressed the button; where nobody else could approve, there is no plan at all."""
    asking = asked.actions.dispatch(WORKFLOW, {"resource": "example"}, actor="bob")
    mine = dataclasses.replace(asked, asking=asking, number=int(asking.jobs["ask"].outputs["issue"]))
    assert "@Carol, please decide." in mine.issue["body"] and "@bob" not in mine.issue["body"]

    run = mine.answer("bob", f"/approve {mine.digest}")
    assert f"error: IGATE06: bob started run {asking.id}" in run.jobs["approve"].log
    assert results(run)["act"] == "skipped" and len(mine.answers) == 1

    asked.github.people["carol"] = "read"
    alone = asked.actions.dispatch(WORKFLOW, {"resource": "example"}, actor="bob")
    assert results(alone) == {"investigate": "success", "seal": "failure", "ask": "skipped", "record": "success"}
    assert "error: IGATE01: Carol has no write access" in alone.jobs["seal"].log


@pytest.mark.threat("T29")
@pytest.mark.parametrize("event", ["a bot", "a pull request", "no label", "another comment", "a closed issue"])
def test_other_comments_start_no_runner(asked: Asked, event: str) -> None:
    text = "please /approve this" if event == "another comment" else f"/approve {asked.digest}"
    comment = asked.say("bob", text, "Bot" if event == "a bot" else "User")
    changes: dict[str, dict[str, Any]] = {
        "a pull request": {"pull_request": {"url": "https://api.github.com/x"}},
        "no label": {"labels": []},
        "a closed issue": {"state": "closed"},
    }
    asked.issue.update(changes.get(event, {}))

    run = asked.deliver(comment)

    assert results(run) == dict.fromkeys(("approve", "claim", "act", "record"), "skipped")


@pytest.mark.threat("T21")
def test_an_investigation_on_another_branch_asks_nobody(loosened: Asked) -> None:
    subprocess.run(["git", "-C", str(loosened.origin), "branch", "feature"], check=True)
    run = loosened.actions.dispatch(WORKFLOW, {"resource": "example"}, actor="alice", ref="feature")
    assert results(run) == {"investigate": "success", "seal": "failure", "ask": "skipped", "record": "success"}
    assert "error: IGATE04: this run is on refs/heads/feature" in run.jobs["seal"].log
    assert len(loosened.github.issues) == 1


# ------------------------------------------------------------------------------------------------------ weekly report


def test_the_weekly_report_reads_what_comments_approved(own: Asked) -> None:
    own.answer("mallory", "what is this?")
    own.answer("bob", f"/approve {own.digest}")

    run = own.actions.schedule(".github/workflows/agent-report.yml")

    assert run.result == "success", run.log
    summary = run.jobs["report"].summary
    assert "Nothing needs a human's look." in summary and "It is closed now." in summary
    assert "| acted | 1 |" in summary and "| waiting | 1 |" in summary
    assert "| `bob` | 1 | 1 |" in summary, "answered within seconds, from the plan to the comment"
    assert "| Decisions | 1 |" in summary and "Nobody was asked" not in summary

    own.github.people.update(bob="read", carol="read")
    run = own.actions.schedule(".github/workflows/agent-report.yml")
    assert run.result == "failure"
    assert "an issue is not a gate now: " in run.jobs["report"].summary


def test_the_weekly_report_lists_an_issue_that_nobody_answered_in_time(own: Asked) -> None:
    """The plan that the fixture made is young; the other was sealed an hour and a minute ago."""
    workflow = own.origin / WORKFLOW
    command = "run: python -I -S agent_runtime/__main__.py seal"
    workflow.write_text(workflow.read_text().replace(command, command + " --minutes-ago 61"))
    own.commit()
    asking = own.start()
    late = dataclasses.replace(own, asking=asking, number=int(asking.jobs["ask"].outputs["issue"]))

    run = late.actions.schedule(".github/workflows/agent-report.yml")

    assert run.result == "failure", "so that GitHub notifies the team"
    summary = run.jobs["report"].summary
    assert "Nobody was asked, or nobody answered." in summary, summary
    assert "**1** needs a human's look." in summary, summary
    (line,) = [each for each in summary.splitlines() if "its issue still asks" in each]
    assert line.startswith(f"- [run {asking.id}](")

    late.answer("carol", "/reject")
    run = late.actions.schedule(".github/workflows/agent-report.yml")

    assert run.result == "success", run.log
    summary = run.jobs["report"].summary
    assert "Nothing needs a human's look." in summary
    assert "| rejected | 1 |" in summary and "| Decisions | 1 |" in summary
