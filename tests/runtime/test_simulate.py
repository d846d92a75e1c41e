"""Whole runs at a desk, through real processes: what is executed, what is refused, and what the trail then says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent_runtime import bundle, codes

TEMPLATE = Path(__file__).resolve().parents[2] / "template"

AGENT = """
import json, os, sys
from pathlib import Path

ROOT = Path(__file__).parent
sys.path.insert(0, {template!r})

from agent_runtime import *

WORLD = ROOT / "world.json"


class Agent(AgentRunner):
    def investigate(self, resource, context=None):
        context = context or {{}}
        if context.get("raise"):
            raise RuntimeError("::error::boom\\n::set-output name=decision::review")
        if context.get("healthy"):
            return InvestigationResult((Finding("all is well"),), confidence=0.9)
        assert "AGENT_ACT_TOKEN" not in os.environ
        return InvestigationResult(
            (Finding("it fails", Severity.HIGH, {{"rate": 0.3}}),),
            "bump",
            RiskLevel.MEDIUM,
            0.8,
            "",
            True,
            ProposedAction(
                context.get("action", "bump"),
                {{"by": 2, "crash": bool(context.get("crash"))}},
                "because",
                RiskLevel.LOW,
            ),
        )

    def observe(self, resource):
        return {{"generation": json.loads(WORLD.read_text())["generation"]}}

    def act(self, resource, action, context=None):
        world = json.loads(WORLD.read_text())
        world["count"] += context["by"]
        world["token"] = os.environ.get("AGENT_ACT_TOKEN")
        WORLD.write_text(json.dumps(world))
        if context["crash"]:
            raise RuntimeError("lost the connection")
        return ActionResult(ActionStatus.SUCCESS, ("bumped",), {{"count": world["count"]}})


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
class Desk:
    """An agent repository whose world is one file."""

    root: Path

    @property
    def world(self) -> dict[str, object]:
        """What the agent can change."""
        return dict(json.loads((self.root / "world.json").read_text()))

    def call(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command line as a person would."""
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "AIMGENTIX"))}
        return subprocess.run(
            [sys.executable, "agent_runner.py", *arguments],
            cwd=self.root,
            env={**environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def simulate(self, *arguments: str, context: str = "{}", **variables: str) -> tuple[int, str, Path]:
        """Play a run; return exit code, everything it said, and the bundle."""
        out = self.root / "out"
        shutil.rmtree(out, ignore_errors=True)
        done = self.call(
            "simulate",
            *("--resource", "checkout", "--context", context, "--out", str(out)),
            *arguments,
            AGENT_ACT_TOKEN="act-token",
            **variables,
        )
        return done.returncode, done.stdout + done.stderr, out / "record" / "agent-run" / "audit-bundle"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A fresh agent repository."""
    root = tmp_path / "repository"
    policies = root / ".github" / "agent-policies"
    policies.mkdir(parents=True)
    (policies / "bumper.yml").write_text(POLICY)
    (root / ".github" / "agent-config.yml").write_text(CONFIG)
    (root / "agent_runner.py").write_text(AGENT.format(template=str(TEMPLATE)))
    (root / "world.json").write_text(json.dumps({"count": 0, "generation": 1}))
    return Desk(root)


def outcome_of(folder: Path) -> str:
    """The outcome that a bundle tells, after checking that everything in it holds."""
    manifest, problems = bundle.verify(folder)
    assert problems == []
    return str(manifest["outcome"])


def test_an_approved_plan_is_executed_once_and_the_trail_tells_who_approved(desk: Desk) -> None:
    code, said, folder = desk.simulate("--approve")
    assert code == 0, said
    assert desk.world == {"count": 2, "generation": 1, "token": "act-token"}
    assert outcome_of(folder) == "acted"
    assert json.loads((folder / "bundle.json").read_text())["approver"]["login"] == "reviewer"
    assert "✅ AIMgentix audit client initialized" in said


def test_a_rejected_plan_is_not_executed(desk: Desk) -> None:
    code, said, folder = desk.simulate("--reject")
    assert code == 0, said
    assert desk.world["count"] == 0
    assert outcome_of(folder) == "rejected"


@pytest.mark.parametrize(
    ("scenario", "refusal", "outcome"),
    [
        ("--expire", codes.GATE_EXPIRED, "expired"),
        ("--tamper", codes.GATE_DIGEST, "refused"),
        ("--swap", codes.GATE_ARTIFACT, "refused"),
        ("--other-run", codes.GATE_RUN, "refused"),
        ("--self-approve", codes.GATE_APPROVAL, "refused"),
        ("--bypass", codes.GATE_APPROVAL, "refused"),
    ],
)
def test_what_was_not_exactly_approved_is_refused(desk: Desk, scenario: str, refusal: str, outcome: str) -> None:
    code, said, folder = desk.simulate(scenario)
    assert code == codes.EXIT_REFUSED, said
    assert refusal in said
    assert "Traceback" not in said
    assert desk.world["count"] == 0
    manifest = json.loads((folder / "bundle.json").read_text())
    assert manifest["outcome"] == outcome


def test_a_second_execution_is_refused(desk: Desk) -> None:
    code, said, _ = desk.simulate("--execute-twice")
    assert code == codes.EXIT_REFUSED, said
    assert codes.GATE_CLAIMED in said
    assert desk.world["count"] == 2


def test_an_open_gate_stops_the_run_before_the_agent_is_asked(desk: Desk) -> None:
    code, said, folder = desk.simulate("--open-gate")
    assert code == codes.EXIT_REFUSED, said
    assert codes.GATE_ENVIRONMENT in said
    assert "agent-approval" in said
    assert desk.world["count"] == 0
    assert outcome_of(folder) == "investigation_failed"


def test_nothing_to_do_opens_no_gate(desk: Desk) -> None:
    code, said, folder = desk.simulate("--approve", context='{"healthy": true}')
    assert code == 0, said
    assert not (folder.parents[2] / "approve").exists()
    assert outcome_of(folder) == "nothing_to_do"


def test_what_the_policy_denies_opens_no_gate(desk: Desk) -> None:
    code, said, folder = desk.simulate("--approve", context='{"action": "delete_all"}')
    assert code == 0, said
    assert not (folder.parents[2] / "approve").exists()
    assert outcome_of(folder) == "denied"


def test_an_action_that_raises_leaves_an_unknown_outcome(desk: Desk) -> None:
    code, said, folder = desk.simulate("--approve", context='{"crash": true}')
    assert code == codes.EXIT_OUTCOME_UNKNOWN, said
    assert codes.OUTCOME_UNKNOWN in said
    assert outcome_of(folder) == "outcome_unknown"


def test_an_investigation_that_raises_proposes_nothing(desk: Desk) -> None:
    code, said, folder = desk.simulate("--approve", context='{"raise": true}')
    assert code == codes.EXIT_BAD_INPUT, said
    assert codes.INVESTIGATION_FAILED in said
    assert outcome_of(folder) == "investigation_failed"
    # What the agent said can't speak to the runner: the simulator puts its own prefix before each line of a job.
    log = (folder.parents[2] / "investigate" / "log.txt").read_text()
    assert not [line for line in log.splitlines() if line.lstrip().startswith("::")]


def test_the_kill_switch_stops_a_run(desk: Desk) -> None:
    code, said, _ = desk.simulate("--approve", AGENT_DISABLED="true")
    assert code == codes.EXIT_REFUSED, said
    assert codes.GATE_DISABLED in said
    assert desk.world["count"] == 0


def test_nobody_to_ask_is_an_error_and_leaves_nothing(desk: Desk) -> None:
    before = sorted(path.name for path in desk.root.iterdir())
    done = desk.call("simulate", "--resource", "checkout")
    assert done.returncode == codes.EXIT_BAD_INPUT
    assert codes.USAGE in done.stderr
    assert sorted(path.name for path in desk.root.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--resource", "a\nb"), codes.RESOURCE_INVALID),
        (("--resource", "a\u202eb"), codes.RESOURCE_INVALID),
        ((), codes.RESOURCE_MISSING),
        (("--resource", "a", "--trace-id", "x\ny"), codes.TRACE_ID_INVALID),
        (("--resource", "a", "--context", "[1]"), codes.CONTEXT_INVALID),
        (("--resource", "a", "--trigger", "cron"), codes.TRIGGER_INVALID),
    ],
)
@pytest.mark.parametrize("command", ["investigate", "simulate"])
def test_bad_input_is_one_line_and_leaves_nothing(
    desk: Desk, command: str, arguments: tuple[str, ...], code: str
) -> None:
    before = sorted(path.name for path in desk.root.iterdir())
    done = desk.call(command, *arguments, *(["--approve"] if command == "simulate" else []))
    assert done.returncode == codes.EXIT_BAD_INPUT
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert code in done.stderr
    assert sorted(path.name for path in desk.root.iterdir()) == before


@pytest.mark.parametrize("phase", ["approve", "act", "record"])
def test_a_phase_of_the_workflow_does_not_run_at_a_desk(desk: Desk, phase: str) -> None:
    arguments = {"act": ["--report", "report.json"], "record": ["--inputs", "."]}.get(phase, [])
    done = desk.call(phase, *arguments)
    assert done.returncode == codes.EXIT_BAD_INPUT
    assert len(done.stderr.splitlines()) == 1
    assert desk.world["count"] == 0


def test_a_changed_world_is_refused(desk: Desk) -> None:
    agent = (desk.root / "agent_runner.py").read_text()
    # The world moves on between plan and action: every observation sees another generation.
    moved = agent.replace(
        'return {"generation": json.loads(WORLD.read_text())["generation"]}',
        'return {"generation": os.getpid()}',
    )
    assert moved != agent
    (desk.root / "agent_runner.py").write_text(moved)
    code, said, _ = desk.simulate("--approve")
    assert code == codes.EXIT_REFUSED, said
    assert codes.GATE_PRECONDITION in said
    assert "generation" in said
    assert desk.world["count"] == 0


def test_a_report_at_a_desk_can_not_be_acted_on(desk: Desk) -> None:
    done = desk.call("investigate", "--resource", "checkout")
    assert done.returncode == 0, done.stderr
    report = json.loads((desk.root / "agent-run" / "investigation-report.json").read_text())
    assert report["plan"]["run"]["run_id"] == "local"
    assert "can't be executed" in done.stdout


class TestBundle:
    """An auditor's view: whatever is changed in a bundle afterwards is found."""

    @pytest.fixture
    def folder(self, desk: Desk) -> Path:
        """The bundle of a run that acted."""
        return desk.simulate("--approve")[2]

    def test_the_command_line_tells_the_verdict(self, desk: Desk, folder: Path) -> None:
        done = desk.call("verify", str(folder))
        assert done.returncode == 0
        assert "reviewer" in done.stdout
        again = desk.call("verify", str(folder), "--digest", "0" * 64)
        assert again.returncode == codes.EXIT_TRAIL_INCOMPLETE
        assert codes.TRAIL_MISMATCH in again.stderr

    @pytest.mark.parametrize(
        "name",
        [
            "investigate/investigation-report.json",
            "approve/approval-receipt.json",
            "act/action-result.json",
        ],
    )
    def test_a_changed_document_is_found(self, folder: Path, name: str) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes().replace(b'"by": 2', b'"by": 3').replace(b"reviewer", b"somebody"))
        assert bundle.verify(folder)[1] != [] or b"reviewer" not in path.read_bytes()

    def test_every_single_file_counts(self, folder: Path) -> None:
        for path in [path for path in folder.rglob("*") if path.is_file() and path.name != "bundle.json"]:
            whole = path.read_bytes()
            path.write_bytes(whole[:-1])
            assert bundle.verify(folder)[1] != [], path
            path.unlink()
            assert bundle.verify(folder)[1] != [], path
            path.write_bytes(whole)
        assert bundle.verify(folder)[1] == []

    def test_an_added_file_is_found(self, folder: Path) -> None:
        (folder / "act" / "note.txt").write_text("all was well")
        assert [problem.code for problem in bundle.verify(folder)[1]] == [codes.TRAIL_MISMATCH]

    def test_a_forged_manifest_does_not_hide_a_removed_event(self, folder: Path) -> None:
        (journal,) = (folder / "act" / "journal").glob("*.jsonl")
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(lines[:3] + lines[4:]))
        manifest = json.loads((folder / "bundle.json").read_text())
        manifest["files"] = bundle.file_digests(folder)
        (folder / "bundle.json").write_text(json.dumps(manifest))
        assert codes.TRAIL_BROKEN in {problem.code for problem in bundle.verify(folder)[1]}

    def test_a_forged_manifest_does_not_hide_a_cut_journal(self, folder: Path) -> None:
        (journal,) = (folder / "act" / "journal").glob("*.jsonl")
        journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
        manifest = json.loads((folder / "bundle.json").read_text())
        manifest["files"] = bundle.file_digests(folder)
        (folder / "bundle.json").write_text(json.dumps(manifest))
        found = {problem.code for problem in bundle.verify(folder)[1]}
        assert codes.TRAIL_TRUNCATED in found

    @pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"files": 1}', b"\xff"])
    def test_no_bundle_is_a_clear_error(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "bundle.json").write_bytes(content)
        with pytest.raises(codes.BadInput) as refused:
            bundle.verify(tmp_path)
        assert refused.value.code == codes.TRAIL_MISMATCH


def test_an_alert_is_played_as_github_sends_it(desk: Desk) -> None:
    alert = ("--trigger", "alert", "--trace-id", "alert-9")
    code, said, folder = desk.simulate("--approve", *alert, context='{"alert_severity": "critical"}')
    assert code == 0, said
    assert outcome_of(folder) == "acted"
    assert json.loads((folder / "bundle.json").read_text())["trace_id"] == "alert-9"

    code, said, folder = desk.simulate("--approve", *alert, context='{"alert_severity": 5}')
    assert code == codes.EXIT_BAD_INPUT
    assert "INP010: client_payload.alert_severity is a number, not a text" in said
    assert outcome_of(folder) == "investigation_failed"
    assert desk.world["count"] == 2
