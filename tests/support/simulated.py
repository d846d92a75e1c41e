"""An agent repository whose world is one file, for runs of `simulate` and of single commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent_runtime.gate import offline
from support import interpreter
from support.environment import REPOSITORY

TEMPLATE = REPOSITORY / "template"

AGENT = """
import json, os, signal, subprocess, sys
from pathlib import Path

from agent_runtime import *

ROOT = Path(__file__).parent

WORLD = ROOT / "world.json"


def environment(job):
    (ROOT / ("environment-" + job)).write_text("\\n".join(sorted(os.environ)))


class Agent(AgentRunner):
    def investigate(self, resource, context=None):
        context = context or {}
        environment("investigate")
        if context.get("raise"):
            raise RuntimeError("::error::boom\\n::set-output name=decision::review")
        if context.get("healthy"):
            return InvestigationResult((Finding("all is well"),), confidence=0.9)
        return InvestigationResult(
            (Finding("it fails", Severity.HIGH, {"rate": 0.3}),),
            "bump",
            RiskLevel.MEDIUM,
            0.8,
            "",
            True,
            ProposedAction(
                context.get("action", "bump"),
                {"by": 2, "crash": bool(context.get("crash"))},
                "because",
                RiskLevel.LOW,
                bool(context.get("reversible")),
            ),
        )

    def observe(self, resource):
        return {"generation": json.loads(WORLD.read_text())["generation"]}

    def act(self, resource, action, context=None):
        environment("act")
        world = json.loads(WORLD.read_text())
        world["count"] += context["by"]
        world["token"] = os.environ.get("AGENT_ACT_TOKEN")
        WORLD.write_text(json.dumps(world))
        if context["crash"]:
            raise RuntimeError("lost the connection")
        return ActionResult(ActionStatus.SUCCESS, ("bumped",), {"count": world["count"]})


if __name__ == "__main__":
    raise SystemExit(Agent.main())
"""

POLICY = """
name: bumper
version: 1
allowed_actions:
  - type: bump
    max_risk: medium
"""

CONFIG = """
schema_version: 1
agent: bumper
name: Bumper
repository: acme/bumper
approvers: [bob]
approval_ttl_minutes: 60
repository_plan: public
"""


@dataclass
class Clone:
    """An agent repository whose world is one file."""

    root: Path

    @property
    def world(self) -> dict[str, object]:
        """What the agent can change."""
        return dict(json.loads((self.root / "world.json").read_text()))

    @property
    def config(self) -> Path:
        """The answers that the runtime reads."""
        return self.root / ".github" / "agent-config.yml"

    def call(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command line as a person would."""
        return self.run(("agent_runner.py",), *arguments, **variables)

    def run(self, program: tuple[str, ...], *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one of the two programs: the team's, or the one without team code."""
        return subprocess.run(
            [interpreter.python(), *program, *arguments],
            cwd=self.root,
            env=self.environ(**variables),
            capture_output=True,
            text=True,
            check=False,
        )

    @staticmethod
    def environ(**variables: str) -> dict[str, str]:
        """The variables of a terminal outside any workflow."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "AIMGENTIX"))}
        return {**kept, **variables}

    def simulate(self, *arguments: str, context: str = "{}", **variables: str) -> tuple[int, str, Path]:
        """Play a run; return exit code, everything it said, and the bundle."""
        out = self.root / "out"
        shutil.rmtree(out, ignore_errors=True)
        done = self.call(
            "simulate",
            *("--resource", "checkout", "--context", context, "--out", str(out)),
            *arguments,
            **{"AGENT_ACT_TOKEN": "act-token", **variables},
        )
        return done.returncode, done.stdout + done.stderr, out / "record" / "agent-run" / "audit-bundle"

    def seen(self, job: str) -> set[str]:
        """The names of the variables that team code saw in a job."""
        return set((self.root / f"environment-{job}").read_text().splitlines())


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A fresh agent repository."""
    return make(tmp_path / "repository")


def make(root: Path) -> Clone:
    """Write the repository."""
    policies = root / ".github" / "agent-policies"
    policies.mkdir(parents=True)
    (policies / "bumper.yml").write_text(POLICY)
    (root / ".github" / "agent-config.yml").write_text(CONFIG)
    (root / "agent_runner.py").write_text(AGENT)
    for name in ("agent_runtime", "sdk"):
        (root / name).symlink_to(TEMPLATE / name)
    (root / "world.json").write_text(json.dumps({"count": 0, "generation": 1}))
    return Clone(root)


def outcome_of(folder: Path) -> str:
    """The outcome that a bundle names, after checking that everything in it holds."""
    manifest, problems = offline.verify(folder)
    assert problems == []
    return str(manifest["outcome"])
