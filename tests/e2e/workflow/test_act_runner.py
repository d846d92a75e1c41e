"""The generated workflow under nektos/act, a runner that is not ours: what was approved runs, and nothing else.

It reads the workflow with another parser, evaluates its expressions by another implementation, and hands outputs,
environment and files on in its own way.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.act.runner import Act, Run, WatchedGitHub
from support.world import NAME, WORKFLOW, ask_for_two_approvals, commit_all, failing_service

SECOND = "agent-approval-second"
ALL_SUCCEED = dict.fromkeys(("investigate", "seal", "approve", "act", "record"), "success")


@dataclass
class ActWorld:
    """A repository whose gate is closed, with the reviewer bob, and a service that fails."""

    origin: Path
    github: WatchedGitHub
    act: Act
    url: str

    def instance(self) -> str:
        """Which life of the service answers: another one after a restart."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + "/healthz", timeout=10) as answer:
            return str(json.loads(answer.read())["instance"])

    def approve(self, run: Run) -> None:
        """Let bob approve as soon as the plan is sealed: act knows no environments, and waits for nobody."""
        self.github.after_upload["audit-trace-id"] = lambda: self.github.review(run.id, "bob", "approved", "go")


@pytest.fixture
def world(project: Path, locked_python: Path, tmp_path: Path) -> Iterator[ActWorld]:
    origin = tmp_path / "origin"
    with failing_service(project, origin) as (url, token), WatchedGitHub(NAME) as github:
        github.protect("agent-approval", reviewers=("alice", "bob"))
        github.protect("agent-act")
        act = Act(origin, WORKFLOW, github, locked_python, tmp_path / "act", {"AGENT_ACT_TOKEN": token})
        yield ActWorld(origin, github, act, url)


def verify(run: Run, origin: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the run's bundle as an auditor does, with the repository's own command."""
    for name, data in run.artifacts.named("audit-bundle").files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    command = [sys.executable, "-I", "agent_runtime/__main__.py", "verify", str(folder)]
    return subprocess.run(command, cwd=origin, capture_output=True, text=True, check=False)


def test_an_alert_leads_to_an_approved_action_with_a_whole_trail(world: ActWorld, tmp_path: Path) -> None:
    before = world.instance()
    alert = {"resource": "example", "alert_severity": "critical", "trace_id": "alert-9", "region": "eu"}
    event = {"action": "alert-triggered", "branch": "main", "client_payload": alert}
    run = world.act.trigger("repository_dispatch", event, actor="monitoring")
    world.approve(run)

    world.act.finish(run)

    assert run.results == ALL_SUCCEED, run.log
    assert world.instance() != before, "the service was restarted"
    report = run.document("investigation-report", "investigation-report.json")
    assert (report["trigger"], report["trace_id"]) == ("alert", "alert-9")
    digest = run.document("approval-receipt", "approval-receipt.json")["plan_digest"]
    assert run.jobs["approve"].name == f"Approve plan {digest[:12]}: restart_service on example"
    assert run.jobs["seal"].summary.startswith("# Approve ") and digest[:12] in run.jobs["seal"].summary
    checked = verify(run, world.origin, tmp_path / "bundle")
    assert checked.returncode == 0, checked.stderr
    facts = {name: value.strip() for name, value in (line.split(":", 1) for line in checked.stdout.splitlines())}
    assert (facts["outcome"], facts["plan"], facts["approved by"]) == ("acted", digest, "bob")
    assert facts["verdict"].startswith("every digest and hash chain holds")


@pytest.mark.threat("T7")
def test_a_plan_that_changes_after_the_approval_is_refused(world: ActWorld, tmp_path: Path) -> None:
    before = world.instance()
    event = {"inputs": {"resource": "example"}, "ref": "refs/heads/main"}
    run = world.act.trigger("workflow_dispatch", event, actor="alice")
    world.approve(run)

    def change_plan() -> None:
        report = run.document("investigation-report", "investigation-report.json")
        report["plan"]["steps"][0]["parameters"]["error_rate"] = 1.0
        name = "investigation-report.json"
        run.artifacts.tamper("investigation-report", name, json.dumps(report).encode(), unnoticed=True)

    world.github.after_upload["approval-receipt"] = change_plan

    world.act.finish(run)

    assert run.results == {**ALL_SUCCEED, "act": "failure", "record": "failure"}, run.log
    assert "act: Verify: error: GATE01: " in run.log
    assert "Execute" not in run.jobs["act"].steps and world.instance() == before, "nothing was executed"
    authorization = run.document("action-authorization", "authorization.json")
    assert (authorization["authorized"], authorization["code"]) == (False, "GATE01")
    manifest = run.document("audit-bundle", "bundle.json")
    assert manifest["outcome"] == "refused"
    # The report that was sealed is gone, and the trail says so.
    assert manifest["problems"][0].startswith("GATE01: seal: ")
    assert verify(run, world.origin, tmp_path / "bundle").returncode != 0


@pytest.mark.threat("T15")
def test_two_people_approve_what_needs_two(world: ActWorld) -> None:
    """Who approves twice is refused: test_approvals.py and test_simulate.py."""
    before = world.instance()
    ask_for_two_approvals(world.origin)
    commit_all(world.origin, "Ask for two approvals")
    world.github.protect(SECOND, reviewers=("alice", "bob", "carol"))
    event = {"inputs": {"resource": "example"}, "ref": "refs/heads/main"}
    run = world.act.trigger("workflow_dispatch", event, actor="alice")
    world.approve(run)
    world.github.after_upload["approval-receipt"] = lambda: world.github.review(
        run.id, "carol", "approved", "go", environment=SECOND
    )

    world.act.finish(run)

    manifest = run.document("audit-bundle", "bundle.json")
    assert run.results == {**ALL_SUCCEED, "approve-second": "success"}, run.log
    assert run.jobs["approve-second"].name.endswith(" (2 of 2): restart_service on example")
    assert [each["login"] for each in manifest["approvers"]] == ["bob", "carol"]
    assert world.instance() != before and manifest["outcome"] == "acted"


def test_a_process_that_a_step_leaves_behind_ends_with_the_run(tmp_path: Path) -> None:
    """It holds a lock for as long as it lives, and the step waits until it does."""
    origin, lock = tmp_path / "origin", tmp_path / "lock"
    step = {"run": f"setsid flock {lock} sleep 1000 > /dev/null 2>&1 &\nwhile flock -n {lock} true; do :; done"}
    workflow = {"on": "workflow_dispatch", "jobs": {"leave": {"runs-on": "ubuntu-latest", "steps": [step]}}}
    origin.mkdir()
    (origin / "leave.yml").write_text(json.dumps(workflow), encoding="utf-8")
    commit_all(origin)
    with WatchedGitHub(NAME) as github:
        act = Act(origin, "leave.yml", github, Path(sys.prefix), tmp_path / "act", {})
        run = act.trigger("workflow_dispatch", {"ref": "refs/heads/main"}, actor="alice")

        act.finish(run)

    assert run.results == {"leave": "success"}, run.log
    with lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
