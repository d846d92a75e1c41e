"""The use case config-rollback where the branch is protected: a git server over HTTP, and GitHub's pull requests."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agent_runtime import ActionResult, ActionStatus, ProposedAction
from support import gitserver
from support.gitserver import Origin
from support.toolkit import USE_CASES, load_agent

PASSWORD = "token-for-tests"
SERVICE = USE_CASES / "config-rollback" / "example_service.py"


@dataclass
class World:
    """The example service with a bad configuration on a protected branch, and the part of GitHub that takes it.

    Arguments:
        catalogue: the file services.yml, and its entry for this service.
        way: how somebody merges as soon as somebody looks: "rebased", "squashed", "edited" (squashed, with another
            content) or not at all.
        closed: whether somebody closes it unmerged.
        status: what a new pull request is answered with, and what looking at it is answered with.
        said, header: a body and a header (with the value 60) of GitHub's answer, instead of the usual.
        looked: how often somebody looked at it.
    """

    origin: Origin
    service: str
    agent: ModuleType
    catalogue: Path
    entry: dict[str, Any] = field(default_factory=dict)
    way: str | None = "rebased"
    closed: bool = False
    looked: int = 0
    said: Any = None
    header: str = ""
    status: int = 201
    seen_status: int = 200
    opened: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """Answer for GitHub."""
        world = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                world.tokens.add(self.headers.get("Authorization"))
                world.opened.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self._answer(world.status, world.said or {"number": 7})

            def do_GET(self) -> None:
                world.tokens.add(self.headers.get("Authorization"))
                world.looked += 1
                if world.way:
                    world.merge(world.opened[-1]["head"])
                state = "closed" if world.way or world.closed else "open"
                self._answer(world.seen_status, {"number": 7, "merged": bool(world.way), "state": state})

            def _answer(self, status: int, value: Any) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                if world.header:
                    self.send_header(world.header, "60")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def merge(self, branch: str) -> None:
        """Merge a branch as somebody may do it."""
        bare = self.origin.bare
        merged = self.origin.head(branch)
        if self.way != "rebased":
            tree = gitserver.git(bare, "rev-parse", f"{merged}^{{tree}}")
            if self.way == "edited":
                blob = gitserver.git(bare, "hash-object", "-w", "--stdin", data='{"connections": 7}\n')
                tree = gitserver.git(bare, "mktree", data=f"100644 blob {blob}\tservice.json\n")
            merged = gitserver.git(bare, "commit-tree", tree, "-p", "main", "-m", "Squashed (#7)")
        gitserver.git(bare, "update-ref", "refs/heads/main", merged)

    def write(self, **changed: Any) -> None:
        """Write the catalogue with these keys changed; None takes one away."""
        self.entry = {key: value for key, value in {**self.entry, **changed}.items() if value is not None}
        self.catalogue.write_text(json.dumps({"services": {"example": self.entry}}), encoding="utf-8")

    def started(self) -> float:
        """When the process of the service that answers now was started."""
        with urllib.request.urlopen(self.service + "/healthz", timeout=10) as answer:
            return float(json.load(answer)["started"])


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Start the service, deploy a bad configuration, and protect the branch."""
    folder = tmp_path / "example"
    command = [sys.executable, str(SERVICE), "serve", f"--folder={folder}", f"--token={PASSWORD}", "--traffic=200"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        origin = Origin(folder / "configuration.git", tmp_path / "work")
        agent = load_agent("config-rollback")
        found = World(origin, url, agent, tmp_path / "services.yml")
        before = found.started()
        headers = {"Authorization": f"Bearer {PASSWORD}"}
        urllib.request.urlopen(urllib.request.Request(url + "/deploy", b'{"connections": 5}', headers)).close()
        while found.started() == before:
            time.sleep(0.02)
        gitserver.git(origin.bare, "config", "http.receivepack", "true")
        origin.protect()
        github = ThreadingHTTPServer(("127.0.0.1", 0), found.handler())
        threading.Thread(target=github.serve_forever, args=(0.05,), daemon=True).start()
        with gitserver.serve(origin, PASSWORD) as server:
            found.write(
                repository=server.url,
                branch="main",
                path="service.json",
                pull_request={"api": f"http://127.0.0.1:{github.server_port}", "repository": "acme/configuration"},
                log=url + "/log",
                metrics={"url": url + "/metrics"},
                health=url + "/healthz",
                restart=url + "/-/restart",
            )
            monkeypatch.setenv("SERVICES_FILE", str(found.catalogue))
            monkeypatch.setenv("AGENT_ACT_TOKEN", json.dumps({"git": PASSWORD, "restart": PASSWORD}))
            monkeypatch.setattr(agent, "MERGE_SECONDS", 0.1)
            yield found
        github.shutdown()
        github.server_close()
        process.terminate()


def proposed(world: World) -> tuple[ProposedAction, ...]:
    """The steps that a reviewer approves: to roll back, then to restart."""
    for _ in range(100):
        steps: tuple[ProposedAction, ...] = world.agent.ConfigRollbackAgent().investigate("example").actions
        if steps:
            assert [step.action for step in steps] == ["rollback_config", "restart_service"]
            assert steps[0].parameters["way"] == "pull request"
            return steps
        time.sleep(0.1)
    raise AssertionError("the agent proposes nothing")


def approved(world: World) -> dict[str, Any]:
    """What a reviewer approves of the rollback."""
    return dict(proposed(world)[0].parameters)


def carry_out(world: World, steps: tuple[ProposedAction, ...]) -> list[ActionResult]:
    """Do one step after the other, as the runtime does, until one does not succeed."""
    done: list[ActionResult] = []
    for step in steps:
        done.append(world.agent.ConfigRollbackAgent().act("example", step.action, step.parameters))
        if done[-1].status is not ActionStatus.SUCCESS:
            break
    return done


def act_with_the_jobs_token(world: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the job no token for git but its own, of the configuration's repository, and return GitHub's address."""
    api: str = world.entry["pull_request"]["api"]
    monkeypatch.setenv("AGENT_ACT_TOKEN", json.dumps({"restart": PASSWORD}))
    monkeypatch.setenv("GITHUB_TOKEN", PASSWORD)
    monkeypatch.setenv("GITHUB_SERVER_URL", world.entry["repository"].rsplit("/", 1)[0])
    monkeypatch.setenv("GITHUB_REPOSITORY", "configuration")
    monkeypatch.setenv("GITHUB_API_URL", api)
    return api


def test_where_the_branch_is_protected_a_pull_request_is_opened_and_its_merge_takes_effect(world: World) -> None:
    steps = proposed(world)
    parameters = steps[0].parameters
    result, restarted = carry_out(world, steps)
    assert (result.status, restarted.status) == (ActionStatus.SUCCESS, ActionStatus.SUCCESS), restarted
    (opened,) = world.opened
    pushed = world.origin.head(opened["head"])
    assert (opened["base"], opened["head"]) == ("main", f"rollback/{parameters['commit'][:12]}-{pushed[:12]}")
    assert parameters["commit"] in opened["body"]
    assert f"Restores-version-of: {parameters['previous']}" in opened["body"].splitlines(), (
        "a squash may keep only this"
    )
    assert world.tokens == {f"Bearer {PASSWORD}"}
    assert json.loads(world.origin.show("service.json"))["connections"] == 10
    assert [change.split(" ")[0] for change in result.changes] == ["pushed", "opened", "the"]
    assert restarted.changes == ("restarted example",)


def test_a_pull_request_that_nobody_merges_is_not_a_success(world: World) -> None:
    world.way = None
    before = world.started()
    parameters = approved(world)
    result = world.agent.ConfigRollbackAgent().act("example", "rollback_config", parameters)
    assert result.status is ActionStatus.FAILED
    assert "was not merged within 0.1 s, so nothing is changed on its branch yet" in result.details["error"]
    assert result.changes[-1] == "opened the pull request 7 in acme/configuration"
    assert json.loads(world.origin.show("service.json"))["connections"] == 5
    assert world.started() == before

    world.way = "rebased"  # the branch of the first run is still there
    time.sleep(1.1)  # times of commits are whole seconds
    again = world.agent.ConfigRollbackAgent().act("example", "rollback_config", parameters)
    assert again.status is ActionStatus.SUCCESS, again
    assert len({opened["head"] for opened in world.opened}) == 2


def test_a_pull_request_that_somebody_closes_is_waited_for_no_longer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.agent, "MERGE_SECONDS", 600.0)
    world.way, world.closed = None, True
    result = world.agent.ConfigRollbackAgent().act("example", "rollback_config", approved(world))
    assert result.status is ActionStatus.FAILED
    assert "the pull request 7 was closed without a merge" in result.details["error"]
    assert world.looked == 1
    assert result.changes[-1] == "opened the pull request 7 in acme/configuration"


@pytest.mark.parametrize(
    ("status", "header", "reported"),
    [
        (422, "", "HTTP 422: Validation Failed; A pull request already exists for acme:x."),
        (403, "Retry-After", "HTTP 403, too many requests; it asks to wait 60 s: Validation Failed"),
        (429, "Retry-After", "HTTP 429, too many requests; it asks to wait 60 s: Validation Failed"),
    ],
)
def test_why_github_refuses_a_pull_request_is_reported_in_its_words(
    world: World, monkeypatch: pytest.MonkeyPatch, status: int, header: str, reported: str
) -> None:
    parameters = approved(world)
    act_with_the_jobs_token(world, monkeypatch)
    world.write(pull_request={**world.entry["pull_request"], "repository": "configuration"})
    world.status, world.header = status, header
    world.said = {"message": "Validation Failed", "errors": [{"message": "A pull request already exists for acme:x."}]}
    result = world.agent.ConfigRollbackAgent().act("example", "rollback_config", parameters)
    assert result.status is ActionStatus.FAILED
    assert reported in result.details["error"]
    for wrong in ("token", "allow GitHub Actions", "whether it runs"):
        assert wrong not in result.details["error"]


def test_a_pull_request_that_github_does_not_return_is_unknown(world: World) -> None:
    world.way, world.seen_status = None, 503
    result = world.agent.ConfigRollbackAgent().act("example", "rollback_config", approved(world))
    assert result.status is ActionStatus.UNKNOWN
    assert "nobody knows whether the pull request 7 was merged" in result.details["error"]
    assert "HTTP 503" in result.details["error"]


def test_after_a_squash_the_commit_that_is_on_the_branch_is_named(world: World) -> None:
    world.way = "squashed"
    result = world.agent.ConfigRollbackAgent().act("example", "rollback_config", approved(world))
    assert result.status is ActionStatus.SUCCESS, result
    assert result.verification["restored_by"] == world.origin.head()
    assert world.origin.head() in (result.rollback or "")


def test_a_pull_request_that_was_merged_with_another_content_is_not_a_success(world: World) -> None:
    world.way = "edited"
    before = world.started()
    parameters = approved(world)
    result = world.agent.ConfigRollbackAgent().act("example", "rollback_config", parameters)
    assert result.status is ActionStatus.FAILED
    assert f"does not hold the version of {parameters['previous']}" in result.details["error"]
    assert world.origin.head() in result.details["error"]
    assert result.changes[-1] == "the pull request 7 was merged"
    assert world.started() == before, "what nobody approved is not put into production"


@pytest.mark.parametrize(
    ("foreign", "status"),
    [({}, ActionStatus.SUCCESS), ({"api": "/elsewhere"}, None), ({"repository": "another"}, None)],
)
def test_in_the_own_repository_the_own_token_serves_for_git_and_pull_requests(
    world: World, monkeypatch: pytest.MonkeyPatch, foreign: dict[str, str], status: ActionStatus | None
) -> None:
    parameters = approved(world)
    api = act_with_the_jobs_token(world, monkeypatch)
    where = {"api": api + foreign.get("api", "/"), "repository": foreign.get("repository", "configuration")}
    world.write(pull_request=where)
    result = world.agent.ConfigRollbackAgent().act("example", "rollback_config", parameters)
    if status:
        assert result.status is status, result
    assert world.tokens == {None if foreign else f"Bearer {PASSWORD}"}


def test_a_job_whose_own_token_may_open_no_pull_request_says_what_to_allow(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = approved(world)
    act_with_the_jobs_token(world, monkeypatch)
    world.write(pull_request={**world.entry["pull_request"], "repository": "configuration"})
    world.status = 403
    result = world.agent.ConfigRollbackAgent().act("example", "rollback_config", parameters)
    assert result.status is ActionStatus.FAILED
    assert "HTTP 403 with the token of GITHUB_TOKEN" in result.details["error"]
    assert "allow GitHub Actions to create pull requests" in result.details["error"]


def test_all_instances_must_be_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two instances before the restart, one after it: the example service behind the endpoint of another one."""
    monkeypatch.setattr(world.agent, "RESTART_SECONDS", 0.5)
    now = world.started()

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            lines = [
                f'process_start_time_seconds{{instance="{name}"}} {started!r}\n' for name, started in reported.items()
            ]
            data = "".join(lines).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            reported.pop("b")
            reported["a"] = time.time()
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    reported = {"a": now, "b": now + 0.5}
    with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        world.write(metrics={"url": address + "/metrics"}, restart=address + "/restart")
        rolled_back, result = carry_out(world, proposed(world))
        server.shutdown()
    assert result.status is ActionStatus.FAILED
    assert "not restarted within 0.5 s: 1 of 2 instances are there, without b" in result.details["error"]
    assert rolled_back.rollback


@pytest.mark.parametrize(("status", "ended"), [(422, ActionStatus.FAILED), (502, ActionStatus.UNKNOWN)])
def test_a_pull_request_that_github_does_not_take_is_reported_with_the_branch_that_was_pushed(
    world: World, status: int, ended: ActionStatus
) -> None:
    world.status = status
    parameters = approved(world)
    result = world.agent.ConfigRollbackAgent().act("example", "rollback_config", parameters)
    assert result.status is ended
    assert f"HTTP {status}" in result.details["error"]
    assert len(result.changes) == 1
    assert world.origin.head(world.opened[0]["head"]) in result.changes[0]


def test_without_a_pull_request_a_protected_branch_refuses(world: World) -> None:
    parameters = approved(world)
    world.write(pull_request=None)
    head = world.origin.head()
    result = world.agent.ConfigRollbackAgent().act("example", "rollback_config", parameters)
    assert (result.status, result.changes) == (ActionStatus.FAILED, ())
    assert "git push" in result.details["error"]
    assert world.origin.head() == head
