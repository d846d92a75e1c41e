"""Messages in whole runs: they say that a plan waits and how it ended, and a run ends the same without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from support.engines import run_copier
from support.github import FullGitHub
from support.harness.engine import ActionsHost, Repository, Run, approve_as
from support.harness.node import ActionsService
from support.receivers import Receiver, mail_server, nobody, webhooks
from support.runs import ALL_SUCCEED, bundle, ended, reject, results
from support.world import NAME, WORKFLOW, World, ask_for_two_approvals, failing_service, make_python

ACTING = ".github/workflows/agent-act-on-approval.yml"
ANSWERS = {
    "agent_name": "Checkout Restart",
    "github_repository": NAME,
    "approvers": "bob,carol",
    "advanced": "yes",
    "notify": "yes",
}
SENT = {"notify-waiting": "success", "notify-second": "skipped", "notify-ended": "success"}
NOT_SENT = {**SENT, "notify-waiting": "failure", "notify-ended": "failure"}

# Makes a world whose gate is of the plan of this name.
Worlds = Callable[[str], World]


@pytest.fixture(scope="module")
def projects(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Repositories that answered notify=yes, by plan; tests don't change them."""

    @cache
    def generate(plan: str) -> Path:
        return run_copier(template, tmp_path_factory.mktemp(plan) / "project", {**ANSWERS, "repository_plan": plan})

    return generate


@pytest.fixture
def worlds(service: ActionsService, projects: Callable[[str], Path], tmp_path: Path) -> Iterator[Worlds]:
    """Such repositories, behind environments or with an issue as the gate."""
    with ExitStack() as stack:

        def make(plan: str) -> World:
            project = projects(plan)
            origin = tmp_path / "origin"
            url, token = stack.enter_context(failing_service(project, origin))
            github = stack.enter_context(FullGitHub(NAME))
            repository = Repository(origin, NAME, github)
            if plan == "private-free":
                github.visibility, github.plan = "private", "free"
                github.people = {"alice": "write", "bob": "write", "carol": "write", "mallory": "read"}
                repository.secrets["AGENT_ACT_TOKEN"] = token
            else:
                github.protect("agent-approval", reviewers=("alice", "bob"))
                for name in ("agent-act", "agent-notify"):
                    github.protect(name)
                repository.environment_secrets["agent-act"] = {"AGENT_ACT_TOKEN": token}
            actions = ActionsHost(service, repository, make_python(project), tmp_path / "runs")
            return World(origin, github, repository, actions, url, token)

        yield make


def post(hook: Receiver) -> tuple[str, str, str]:
    """Title, text and type of what a webhook got last."""
    posted: dict[str, Any] = hook.posts[-1][2]
    return posted["title"], posted["message"], posted["type"]


def page(world: World, run: Run) -> str:
    """The address of the page that `seal` wrote in a run."""
    (seal,) = [job for job in world.github.jobs[run.id] if job["name"] == "Seal"]
    return f"/{NAME}/actions/runs/{run.id}#summary-{seal['id']}"


def test_a_run_that_two_must_approve_sends_three_messages(worlds: Worlds) -> None:
    world = worlds("public")
    ask_for_two_approvals(world.origin)
    world.commit("Ask for two approvals")
    world.github.protect("agent-approval-second", reviewers=("alice", "bob", "carol"))
    with webhooks() as hook, mail_server() as mails:
        addresses = [f"json://127.0.0.1:{hook.port}/s3cret", f"mailto://127.0.0.1:{mails.port}?from=a@x.example"]
        addresses[1] += "&to=b@x.example&mode=insecure"
        world.repository.environment_secrets["agent-notify"] = {"AGENT_NOTIFY_URLS": "\n".join(addresses)}
        said: list[str] = []

        def approve(waiting: Any) -> Any:
            said.append(post(hook)[0])
            return approve_as(("bob", "carol")[len(said) - 1])(waiting)

        run = world.start(reviewer=approve)

    assert results(run) == {**ended(**{"approve-second": "success"}), **SENT, "notify-second": "success"}, run.log
    digest = run.jobs["seal"].outputs["plan_digest"]
    assert said[0] == f"Approve plan {digest[:12]}: restart_service on example?"
    titles = [posted["title"] for _, _, posted in hook.posts]
    assert titles[1] == f"One more approval for plan {digest[:12]}: restart_service on example?"
    assert "- Approved by: bob\n- Still needed: 1 approval, by carol or dave" in hook.posts[1][2]["message"]
    assert (len(hook.posts), len(mails.mails)) == (3, 3)
    title, text, mood = post(hook)
    assert (title, mood) == (f"Plan {digest[:12]}: acted (restart_service on example)", "success")
    for _, _, posted in hook.posts:
        assert digest in posted["message"] and page(world, run) in posted["message"]
    assert "- Approved by: bob, carol" in text and "- Trail: complete" in text
    for job in SENT:
        assert "address 1 of 2 (json): sent\naddress 2 of 2 (mailto): sent\n" in run.jobs[job].log
        assert run.jobs[job].summary.startswith("# Sent\n")
    assert "s3cret" not in run.log
    assert bundle(run)["outcome"] == "acted"


def test_a_rejection_is_sent(worlds: Worlds) -> None:
    world = worlds("public")
    with webhooks() as hook:
        world.repository.environment_secrets["agent-notify"] = {"AGENT_NOTIFY_URLS": f"json://127.0.0.1:{hook.port}/"}
        run = world.start(reviewer=reject)

    assert results(run) == {**ended(approve="failure", act="skipped"), **SENT}, run.log
    title, text, mood = post(hook)
    assert ": rejected (" in title and "- Rejected by: bob" in text and mood == "failure"


@pytest.mark.parametrize("how", ["dead, slow and broken", "no secret", "no environment"])
def test_a_run_ends_the_same_when_nothing_can_be_sent(worlds: Worlds, how: str) -> None:
    world = worlds("public")
    before = world.instance()
    with webhooks("slow") as slow, webhooks("500") as broken, nobody() as dead:
        ports = (dead, slow.port, broken.port)
        if how == "dead, slow and broken":
            addresses = "\n".join(f"json://127.0.0.1:{port}/s3cret" for port in ports)
            world.repository.environment_secrets["agent-notify"] = {"AGENT_NOTIFY_URLS": addresses}
        elif how == "no environment":
            del world.github.environments["agent-notify"]
        run = world.start(reviewer=approve_as("bob"))

    assert results(run) == {**ALL_SUCCEED, **NOT_SENT}, run.log
    assert run.result == "success"
    assert world.instance() != before
    assert (bundle(run)["outcome"], bundle(run)["problems"]) == ("acted", [])
    for job in ("notify-waiting", "notify-ended"):
        log, summary = run.jobs[job].log, run.jobs[job].summary
        if how == "dead, slow and broken":
            assert "error: NOTE01: 3 of 3 addresses did not accept the message" in log
            assert "address 2 of 3 (json): no answer within 30 seconds" in log
            assert summary.startswith("# Not sent everywhere\n")
        else:
            assert "error: NOTE02: AGENT_NOTIFY_URLS: it holds no address" in log
            assert summary.startswith("# Nothing was sent\n")
    assert "s3cret" not in run.log


def test_an_issue_that_asks_two_is_sent_and_so_are_its_first_approval_and_its_end(worlds: Worlds) -> None:
    world = worlds("private-free")
    ask_for_two_approvals(world.origin)
    world.commit("Ask for two approvals")
    with webhooks() as hook:
        world.repository.secrets["AGENT_NOTIFY_URLS"] = f"json://127.0.0.1:{hook.port}/"
        asking = world.actions.dispatch(WORKFLOW, {"resource": "example"}, actor="alice")
        jobs = ("investigate", "seal", "ask", "notify-waiting", "record")
        assert results(asking) == dict.fromkeys(jobs, "success"), asking.log
        number = int(asking.jobs["ask"].outputs["issue"])
        digest = asking.jobs["seal"].outputs["plan_digest"]
        title, text, _ = post(hook)
        assert (
            title == world.github.issues[number]["title"] == f"Approve plan {digest[:12]}: restart_service on example?"
        )
        assert f"/{NAME}/issues/{number}" in text and page(world, asking) in text

        def comment(login: str, words: str) -> Run:
            said = world.github.comment(number, login, words, "User")
            return world.actions.issue_comment(ACTING, dict(world.github.issues[number]), said)

        outsider = comment("mallory", f"/approve {digest}")
        assert outsider.jobs["notify-ended"].result == "skipped" and len(hook.posts) == 1

        first = comment("bob", f"/approve {digest}")
        assert first.jobs["notify-ended"].result == "success" and first.jobs["act"].result == "skipped", first.log
        title, text, mood = post(hook)
        assert (title, mood) == (f"Plan {digest[:12]}: waiting (restart_service on example)", "warning")
        assert "- Approved by: bob\n- Still needed: 1 approval, by carol or dave" in text
        assert f"/{NAME}/issues/{number}" in text

        acting = comment("carol", f"/approve {digest}")
        assert results(acting) == dict.fromkeys(("approve", "claim", "act", "record", "notify-ended"), "success")

    title, text, mood = post(hook)
    assert (title, mood) == (f"Plan {digest[:12]}: acted (restart_service on example)", "success")
    # The page of the run that sealed the plan, and the issue; the run that acted.
    assert page(world, asking) in text and f"/{NAME}/issues/{number}" in text
    assert f"/{NAME}/actions/runs/{acting.id}]" in text and "- Approved by: bob, carol\n" in text
