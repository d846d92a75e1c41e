"""An agent repository whose agent does what the alert says: the worst agent that a gate can have."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_runtime.local.simulate.jobs import Job, parse_outputs
from agent_runtime.local.simulate.run import Request, SimulatedRun
from agent_runtime.local.simulate.scenario import Scenario
from agent_runtime.local.simulate.server import LoopbackGitHub
from support import compiled, interpreter
from support.environment import REPOSITORY

AGENT = """
import json, os, signal, subprocess, sys
from pathlib import Path

from agent_runtime import *

ROOT = Path(__file__).parent


class Hijacked(AgentRunner):
    def investigate(self, resource, context=None):
        given = context or {}
        (ROOT / "environment.json").write_text(json.dumps(sorted(os.environ)))
        exec(given.get("python", ""), {"ROOT": ROOT})
        if given.get("tool"):
            subprocess.run(["sh", "-c", given["tool"]], cwd=ROOT)
        return InvestigationResult(
            findings=(Finding(given.get("finding", "the alert says so"), Severity.HIGH),),
            recommendation="do what the alert says",
            risk_level=RiskLevel.LOW,
            confidence=given.get("confidence", 0.5),
            proposed_action=ProposedAction(
                given.get("action", "note"), given.get("parameters", {}), "because", RiskLevel.LOW
            ),
        )

    def act(self, resource, action, context=None):
        with (ROOT / "done.jsonl").open("a") as done:
            done.write(json.dumps([resource, action, context]) + "\\n")
        exec(context.get("python", ""), {"ROOT": ROOT})
        if context.get("tool"):
            subprocess.run(["sh", "-c", context["tool"]], cwd=ROOT)
        if context.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        return ActionResult(ActionStatus.SUCCESS, ("noted",))


if __name__ == "__main__":
    raise SystemExit(Hijacked.main())
"""

POLICY = """
name: hijacked
version: 1
allowed_actions:
  - type: note
    resources: [checkout]
"""

CONFIG = """
schema_version: 1
agent: hijacked
name: Hijacked
repository: acme/hijacked
approvers: [reviewer]
approval_ttl_minutes: 60
repository_plan: public
"""

# What a runner gives to a step, for one that a test starts by itself.
RUNNER = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_RUN_ID": "4711",
    "GITHUB_SHA": "3d3c42e5aac5ba805825da76410c181273ba90b1",
    "GITHUB_API_URL": "http://127.0.0.1:9",
    "GITHUB_REPOSITORY": "acme/hijacked",
    "GITHUB_RUN_ATTEMPT": "1",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_ACTOR": "initiator",
    "GITHUB_TRIGGERING_ACTOR": "initiator",
    "GITHUB_WORKFLOW": "Agent Runtime - Investigate & Act",
    "GITHUB_EVENT_NAME": "workflow_dispatch",
}


@dataclass(frozen=True)
class Played:
    """A simulated run: exit code, everything it said, and its folder."""

    code: int
    said: str
    folder: Path

    @property
    def bundle(self) -> dict[str, Any]:
        """What the run's bundle says of itself."""
        return dict(json.loads((self.bundle_folder / "bundle.json").read_text(encoding="utf-8")))

    @property
    def bundle_folder(self) -> Path:
        """The run's bundle."""
        return self.folder / "record" / "agent-run" / "audit-bundle"

    def document(self, job: str, name: str) -> Any:
        """A document that a job wrote."""
        return json.loads((self.folder / job / "agent-run" / name).read_text(encoding="utf-8"))

    def outputs(self, job: str, step: str) -> dict[str, str]:
        """What a step wrote as outputs."""
        return parse_outputs((self.folder / job / f"output-{step}").read_text(encoding="utf-8"))

    def page(self, job: str, step: str) -> str:
        """The summary of a step."""
        return (self.folder / job / f"summary-{step}").read_text(encoding="utf-8")

    def executed(self) -> list[str]:
        """The steps that the journal of *Execute* lists, in order."""
        journals = sorted((self.folder / "act" / "agent-act" / "journal").glob("*.jsonl"))
        lines = [json.loads(line) for path in journals for line in path.read_text(encoding="utf-8").splitlines()]
        return [line["event"]["metadata"]["step"] for line in lines if "event" in line]


@dataclass(frozen=True)
class Clone:
    """The repository, and what its agent did to the world."""

    root: Path

    @property
    def done(self) -> list[list[Any]]:
        """What act() was called with, call by call: resource, action, parameters."""
        path = self.root / "done.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def call(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the repository's command line."""
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "AIMGENTIX"))}
        return subprocess.run(
            [interpreter.python(), "agent_runner.py", *arguments],
            cwd=self.root,
            env={**environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def simulate(self, scenario: str, alert: dict[str, Any]) -> Played:
        """Play a run that an alert with these contents started."""
        folder = self.root / "run"
        shutil.rmtree(folder, ignore_errors=True)
        arguments = ["--resource", "checkout", "--context", json.dumps(alert), "--trigger", "alert"]
        done = self.call("simulate", *arguments, "--out", str(folder), scenario, AGENT_ACT_TOKEN="act-token")
        return Played(done.returncode, done.stdout + done.stderr, folder)

    def lose(
        self, scenario: str, alert: dict[str, Any], lose: Callable[[SimulatedRun, LoopbackGitHub], None]
    ) -> Played:
        """Play such a run in which something happens to what its jobs left, just before `record` looks."""
        folder = self.root / "run"
        said: list[str] = []

        class Lossy(SimulatedRun):
            def record(self, github: LoopbackGitHub, folder: str) -> Job:
                lose(self, github)
                return super().record(github, folder)

        request = Request(self.root, folder, "checkout", json.dumps(alert), "alert", "", False, Scenario(scenario))
        ended = Lossy(request, said.append, lambda page, question: False).play()
        return Played(ended.exit_code, "\n".join(said), folder)


def make(root: Path) -> Clone:
    """Write the repository, with a runtime of its own."""
    policies = root / ".github" / "agent-policies"
    policies.mkdir(parents=True)
    (policies / "hijacked.yml").write_text(POLICY)
    (root / ".github" / "agent-config.yml").write_text(CONFIG)
    (root / "agent_runner.py").write_text(AGENT)
    for name in ("agent_runtime", "sdk"):
        shutil.copytree(REPOSITORY / "template" / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        compiled.beside(root / name)
    return Clone(root)
