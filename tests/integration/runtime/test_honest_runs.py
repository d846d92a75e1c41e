"""Bundles of whole runs, played in processes: they hold as they are, and not with somebody else's name in them."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import codes
from agent_runtime.gate import bundle, consistency, offline
from agent_runtime.gate.bundle import Parts, RunOutcome
from agent_runtime.results import ActionStatus
from support import examples, interpreter
from support.gate_world import CONFIG, POLICY, make_root

MANIFEST = "bundle.json"
AUTHORIZATION = "verify/authorization.json"

Change = Callable[[dict[str, Any]], object]

AGENT = """
from agent_runtime import *

class Agent(AgentRunner):
    def investigate(self, resource, context=None):
        context = context or {}
        step = ProposedAction("restart_service", {"crash": bool(context.get("crash"))}, "because", RiskLevel.LOW, True)
        return InvestigationResult((Finding("it fails"),), "restart", confidence=0.8, proposed_action=step)

    def act(self, resource, action, context=None):
        if context["crash"]:
            raise RuntimeError("lost the connection")
        return ActionResult(ActionStatus.SUCCESS, ("done",))

if __name__ == "__main__":
    raise SystemExit(Agent.main())
"""
ISSUE = CONFIG.replace("public", "private-free") + "approval_gate: issue\n"
AUTO = CONFIG + "auto_approval: true\n"


def simulate(root: Path, *words: str, config: str = CONFIG, context: str = "{}") -> tuple[str, Path]:
    """Play a run of the agent above in processes; return what it said, and its bundle."""
    make_root(root, config=config, policy=POLICY if config == AUTO else POLICY.partition("auto_approve")[0])
    (root / "agent_runner.py").write_text(AGENT)
    out = root / "out"
    done = subprocess.run(
        [
            *(interpreter.python(), "-I", str(root / "agent_runtime" / "__main__.py"), "simulate"),
            *("--resource", "checkout", "--context", context, "--out", str(out), *words),
        ],
        cwd=root,
        env={key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "AIMGENTIX"))},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr, out / "record" / "agent-run" / "audit-bundle"


def forge(folder: Path, name: str, change: Change) -> list[str]:
    """Change a document, renew the manifest's hashes, and return what `verify` says."""
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))
    if name != MANIFEST:
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["files"] = bundle.file_digests(folder)
        (folder / MANIFEST).write_text(json.dumps(manifest))
    found = offline.verify(folder)[1]
    assert {problem.code for problem in found} <= {codes.TRAIL_MISMATCH, codes.TRAIL_MISSING, codes.TRAIL_TRUNCATED}
    return [problem.message for problem in found]


CEO = {"login": "ceo", "id": 1, "type": "User"}


@pytest.mark.threat("T36")
def test_a_refusal_after_an_intent_is_a_contradiction() -> None:
    intent = {"metadata": {"step": "intent"}, "status": "pending"}
    refused = dataclasses.replace(examples.result(), status=ActionStatus.REFUSED, steps=(), code=codes.GATE_EXPIRED)
    parts = Parts(authorization=examples.authorization(), result=refused, events={"act": [intent]})
    assert consistency._check_outcome(RunOutcome.EXPIRED, parts) != []
    unwritten = dataclasses.replace(parts, result=dataclasses.replace(refused, code=codes.GATE_INTENT))
    assert consistency._check_outcome(RunOutcome.REFUSED, unwritten) == []


@pytest.mark.parametrize(
    ("scenario", "context", "outcome"),
    [
        ("--expire", {}, "expired"),
        ("--approve", {"crash": True}, "outcome_unknown"),
        ("--reject", {}, "rejected"),
    ],
)
@pytest.mark.parametrize("config", [CONFIG, ISSUE], ids=["environment", "issue"])
def test_the_bundle_of_an_honest_run_holds(
    tmp_path: Path, config: str, scenario: str, context: dict[str, Any], outcome: str
) -> None:
    said, folder = simulate(tmp_path / "repository", scenario, config=config, context=json.dumps(context))
    manifest, problems = offline.verify(folder)
    assert (manifest["outcome"], [problem.message for problem in problems]) == (outcome, []), said


def test_the_bundle_of_a_run_that_nobody_was_asked_about_holds_and_can_not_get_an_approver(tmp_path: Path) -> None:
    said, folder = simulate(tmp_path / "repository", "--approve", config=AUTO)
    manifest, problems = offline.verify(folder)
    assert (manifest["outcome"], manifest["approvers"], problems) == ("acted", [], []), said
    found = forge(copy_of(folder, tmp_path), MANIFEST, lambda document: document.update(approvers=[CEO]))
    assert any("bundle.json says approvers ceo, its parts say []" in line for line in found)
    approved = copy_of(folder, tmp_path)
    found = forge(approved, AUTHORIZATION, lambda document: document.update(approvers=[CEO]))
    assert "somebody approved a plan that nobody was asked about" in found


def copy_of(folder: Path, place: Path) -> Path:
    target = place / "copy"
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(folder, target))


def test_an_alert_that_brings_its_trace_id_leaves_a_bundle_that_holds(tmp_path: Path) -> None:
    context = '{"trace_id": "alert-9"}'
    said, folder = simulate(tmp_path / "repository", "--approve", "--trigger", "alert", context=context)
    manifest, problems = offline.verify(folder)
    assert (manifest["trace_id"], problems) == ("alert-9", []), said
