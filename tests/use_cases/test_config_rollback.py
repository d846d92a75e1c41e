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

from agent_runtime import ActionStatus
from use_cases import gitserver
from use_cases.conftest import USE_CASES, load_agent
from use_cases.gitserver import Origin

PASSWORD = "token-for-tests"
SERVICE = USE_CASES / "config-rollback" / "example_service.py"


@dataclass
class World:
    """The example service with a bad configuration on a protected branch, and the part of GitHub that takes it.

    Arguments:
        merges: whether somebody merges as soon as somebody looks.
        status: what a new pull request is answered with.
    """

    origin: Origin
    service: str
    agent: ModuleType
    merges: bool = True
    status: int = 201
    opened: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """Answer for GitHub."""
        world = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                world.tokens.add(self.headers.get("Authorization"))
                world.opened.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self._answer(world.status, {"number": 7})

            def do_GET(self) -> None:
                if world.merges:
                    merged = world.origin.head(world.opened[0]["head"])
                    gitserver.git(world.origin.bare, "update-ref", "refs/heads/main", merged)
                self._answer(200, {"number": 7, "merged": world.merges})

            def _answer(self, status: int, value: Any) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

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
        found = World(origin, url, agent)
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
            entry = {
                "repository": server.url,
                "branch": "main",
                "path": "service.json",
                "pull_request": {
                    "api": f"http://127.0.0.1:{github.server_port}",
                    "repository": "acme/configuration",
                },
                "log": url + "/log",
                "metrics": {"url": url + "/metrics"},
                "health": url + "/healthz",
                "restart": url + "/-/restart",
            }
            catalogue = tmp_path / "services.yml"
            catalogue.write_text(json.dumps({"services": {"example": entry}}), encoding="utf-8")
            monkeypatch.setenv("SERVICES_FILE", str(catalogue))
            monkeypatch.setenv("AGENT_ACT_TOKEN", json.dumps({"git": PASSWORD, "restart": PASSWORD}))
            monkeypatch.setattr(agent, "MERGE_SECONDS", 0.1)
            yield found
        github.shutdown()
        github.server_close()
        process.terminate()


def approved(world: World) -> dict[str, Any]:
    """What a reviewer approves."""
    for _ in range(100):
        proposed = world.agent.ConfigRollbackAgent().investigate("example").proposed_action
        if proposed is not None:
            assert proposed.parameters["way"] == "pull request"
            return dict(proposed.parameters)
        time.sleep(0.1)
    raise AssertionError("the agent proposes nothing")


def test_where_the_branch_is_protected_a_pull_request_is_opened_and_its_merge_takes_effect(world: World) -> None:
    parameters = approved(world)
    result = world.agent.ConfigRollbackAgent().act("example", "rollback_config", parameters)
    assert result.status is ActionStatus.SUCCESS, result
    (opened,) = world.opened
    assert (opened["base"], opened["head"]) == ("main", f"rollback/{parameters['commit'][:12]}")
    assert parameters["commit"] in opened["body"]
    assert world.tokens == {f"Bearer {PASSWORD}"}
    assert json.loads(world.origin.show("service.json"))["connections"] == 10
    assert [change.split(" ")[0] for change in result.changes] == ["pushed", "opened", "the", "restarted"]


def test_a_pull_request_that_nobody_merges_is_no_success(world: World) -> None:
    world.merges = False
    before = world.started()
    result = world.agent.ConfigRollbackAgent().act("example", "rollback_config", approved(world))
    assert result.status is ActionStatus.FAILED
    assert "nothing is rolled back yet" in result.details["error"]
    assert result.changes[-1] == "opened the pull request 7 in acme/configuration"
    assert json.loads(world.origin.show("service.json"))["connections"] == 5
    assert world.started() == before


@pytest.mark.parametrize(("status", "ended"), [(422, ActionStatus.FAILED), (502, ActionStatus.UNKNOWN)])
def test_a_pull_request_that_github_does_not_take_is_told_with_the_branch_that_was_pushed(
    world: World, status: int, ended: ActionStatus
) -> None:
    world.status = status
    parameters = approved(world)
    result = world.agent.ConfigRollbackAgent().act("example", "rollback_config", parameters)
    assert result.status is ended
    assert f"HTTP {status}" in result.details["error"]
    assert len(result.changes) == 1
    assert world.origin.head(f"rollback/{parameters['commit'][:12]}") in result.changes[0]


def test_without_a_pull_request_a_protected_branch_refuses(world: World, tmp_path: Path) -> None:
    parameters = approved(world)
    text = json.loads((tmp_path / "services.yml").read_text(encoding="utf-8"))
    del text["services"]["example"]["pull_request"]
    (tmp_path / "services.yml").write_text(json.dumps(text), encoding="utf-8")
    head = world.origin.head()
    result = world.agent.ConfigRollbackAgent().act("example", "rollback_config", parameters)
    assert (result.status, result.changes) == (ActionStatus.FAILED, ())
    assert "git push" in result.details["error"]
    assert world.origin.head() == head
