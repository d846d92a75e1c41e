"""Parts of a run that contradict each other are found, even by somebody who renews every hash in its manifest."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.gate import bundle, consistency
from agent_runtime.gate.bundle import Parts, RunOutcome
from agent_runtime.model import documents
from agent_runtime.results import ActionStatus
from runtime import examples
from runtime.gate_world import CONFIG, POLICY, REPOSITORY, GateWorld, close_the_gate, make_root, whole_run
from support.github import FullGitHub

MANIFEST = "bundle.json"
RESULT = "act/action-result.json"
RECEIPT = "approve/approval-receipt.json"
AUTHORIZATION = "verify/authorization.json"
REPORT = "seal/investigation-report.json"
INVESTIGATION = "investigate/investigation.json"

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
            *(sys.executable, "-I", str(root / "agent_runtime" / "__main__.py"), "simulate"),
            *("--resource", "checkout", "--context", context, "--out", str(out), *words),
        ],
        cwd=root,
        env={key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "AIMGENTIX"))},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr, out / "record" / "agent-run" / "audit-bundle"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles of runs that acted, by the kind of gate."""
    found = {}
    place = tmp_path_factory.mktemp("environment")
    with FullGitHub(REPOSITORY) as github:
        close_the_gate(github)
        world = GateWorld(make_root(place / "repository"), github)
        ending = world.record(whole_run(world))
        assert ending.problems == ()
        found["environment"] = ending.folder
    said, found["issue"] = simulate(tmp_path_factory.mktemp("issue") / "repository", "--approve", config=ISSUE)
    for folder in found.values():
        manifest, problems = consistency.verify(folder)
        assert (manifest["outcome"], problems) == ("acted", []), said
    return found


@pytest.fixture
def folder(made: dict[str, Path], tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(made["environment"], tmp_path / "bundle"))


def forge(folder: Path, name: str, change: Change) -> list[str]:
    """Change a document, renew the manifest's hashes, and return what `verify` says."""
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))
    if name != MANIFEST:
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["files"] = bundle.file_digests(folder)
        (folder / MANIFEST).write_text(json.dumps(manifest))
    found = consistency.verify(folder)[1]
    assert {problem.code for problem in found} <= {codes.TRAIL_MISMATCH, codes.TRAIL_MISSING, codes.TRAIL_TRUNCATED}
    return [problem.message for problem in found]


CEO = {"login": "ceo", "id": 1, "type": "User"}


@pytest.mark.threat("T36")
@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            MANIFEST,
            {"approver": {"login": "ceo", "id": 1, "type": "User"}},
            "says approver ceo, its parts say bob",
        ),
        (MANIFEST, {"approver": None}, "bundle.json says approver None, its parts say bob"),
        (MANIFEST, {"resource": "payments-db"}, "bundle.json says resource payments-db, its parts say checkout"),
        (MANIFEST, {"plan_digest": None}, "bundle.json names no plan, and one was executed"),
        (MANIFEST, {"trace_id": "other"}, "bundle.json says trace_id other, its parts say "),
        (MANIFEST, {"run": {"x": 1}}, "bundle.json names no run"),
        (MANIFEST, {"issue": 3}, "bundle.json says issue 3, its parts say None"),
        (MANIFEST, {"rejected_by": "mallory"}, "says rejected_by mallory, the record journal None"),
        (MANIFEST, {"outcome": "action_failed"}, "the outcome is action_failed, and the result says success"),
        (MANIFEST, {"outcome": "nothing_to_do"}, "the outcome is nothing_to_do, and the result says success"),
        (MANIFEST, {"journal_heads": {}}, "bundle.json names no end of the journal of act"),
        (RESULT, {"status": "failed"}, "the outcome is acted, and the result says failed"),
        (RESULT, {"status": "refused"}, "the outcome is acted, and the result says refused"),
        (RESULT, {"steps": []}, "its last step something else"),
        (RESULT, {"resource": "payments-db"}, "the result's resource is payments-db, the plan's checkout"),
        (RESULT, {"trace_id": "x"}, "report and result have different trace ids"),
        (RESULT, {"plan_digest": "f" * 64}, "result is of plan ffffffffffff"),
        (RECEIPT, {"trace_id": "x"}, "report and receipt have different trace ids"),
        (RECEIPT, {"approver": CEO}, "bundle.json says approver bob"),
        (RECEIPT, {"approver": CEO}, "the event approved says approver bob"),
        (RECEIPT, {"approver": CEO}, "receipt and authorization name different approvers"),
        (RECEIPT, {"plan_digest": "f" * 64}, "receipt is of plan ffffffffffff"),
        (AUTHORIZATION, {"approvers": [CEO]}, "receipt and authorization name different approvers"),
        (AUTHORIZATION, {"plan_digest": "f" * 64}, "authorization is of plan ffffffffffff"),
        (AUTHORIZATION, {"trace_id": "x"}, "report and authorization have different trace ids"),
        (
            AUTHORIZATION,
            {"authorized": False, "code": "GATE07"},
            "Execute left something behind, and Verify authorized nothing",
        ),
        (REPORT, {"resource": "payments-db"}, "bundle.json says resource checkout, its parts say payments-db"),
        (REPORT, {"trace_id": "x"}, "report and result have different trace ids"),
        (REPORT, {"investigation_sha256": "f" * 64}, "what the job investigate left is not what was sealed"),
        (INVESTIGATION, {"recommendation": "other"}, "what the job investigate left is not what was sealed"),
    ],
)
def test_parts_that_contradict_each_other_are_found(
    folder: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    found = forge(folder, name, lambda document: document.update(changes))
    assert any(message in line for line in found), found


@pytest.mark.threat("T8", "T36")
@pytest.mark.parametrize(
    ("name", "at", "changes", "message"),
    [
        (RESULT, "steps", {"action": "delete_everything"}, "the agent reports the actions ['delete_everything']"),
        (RESULT, "steps", {"status": "failed"}, "its last step something else"),
        (RESULT, "steps", {"code": "AGT002"}, "act: the event outcome says code None"),
    ],
)
def test_steps_that_contradict_the_plan_are_found(
    folder: Path, name: str, at: str, changes: dict[str, Any], message: str
) -> None:
    found = forge(folder, name, lambda document: document[at][0].update(changes))
    assert any(message in line for line in found), found


@pytest.mark.threat("T8", "T36")
@pytest.mark.parametrize("changes", [{"action": "delete_all"}, {"parameters": {"error_rate": 1}}, {"reason": "x"}])
def test_a_plan_that_was_changed_in_the_report_is_of_another_digest(folder: Path, changes: dict[str, Any]) -> None:
    found = forge(folder, REPORT, lambda document: document["plan"]["steps"][0].update(changes))
    assert any("bundle.json says plan_digest" in line for line in found), found
    assert any("an event is of plan" in line for line in found), found


@pytest.mark.threat("T36")
@pytest.mark.parametrize(
    "field", ["repository", "run_id", "sha", "ref", "actor", "triggering_actor", "workflow", "event"]
)
def test_a_manifest_of_another_run_is_found(folder: Path, field: str) -> None:
    found = forge(folder, MANIFEST, lambda document: document["run"].update({field: "other"}))
    assert any(f"the {field} of the run is other in bundle.json and " in line for line in found), found


@pytest.mark.threat("T36")
def test_all_documents_of_another_run_than_the_journals_are_found(folder: Path) -> None:
    """Somebody who rewrites manifest, receipt and result alike still meets the journals."""
    for name in (RESULT, RECEIPT, MANIFEST):
        found = forge(folder, name, lambda document: document["run"].update(run_attempt=2))
    assert "bundle.json says run_attempt 2, the record journal 1" in found


@pytest.mark.threat("T36")
@pytest.mark.parametrize("place", ["act", "act/journal"])
def test_a_file_by_the_manifests_name_is_no_manifest(folder: Path, place: str) -> None:
    (folder / place / MANIFEST).write_text("{}")
    assert f"{place}/{MANIFEST} was added" in [problem.message for problem in consistency.verify(folder)[1]]


@pytest.mark.threat("T36")
def test_the_issue_is_the_one_that_was_answered(made: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made["issue"], tmp_path / "bundle"))
    assert any(
        "bundle.json says issue 9, its parts say 1" in line
        for line in forge(folder, MANIFEST, lambda document: document.update(issue=9))
    )
    found = forge(folder, RECEIPT, lambda document: document.update(issue_comment=None))
    assert "the receipt names no comment, and a comment started the run" in found


@pytest.mark.threat("T20", "T36")
@pytest.mark.parametrize(("later", "holds"), [(timedelta(minutes=59), True), (timedelta(minutes=61), False)])
def test_an_intent_after_the_plan_expired_is_a_contradiction(
    made: dict[str, Path], later: timedelta, holds: bool
) -> None:
    parts = bundle.load(made["environment"], by_comment=False)
    assert parts.report and parts.report.plan
    moment = documents.format_time(documents.parse_time(parts.report.plan.issued_at) + later)
    for folder, step in (("act", "intent"), ("verify", "authorized")):
        events = [
            {**event, "timestamp": moment} if event["metadata"]["step"] == step else event
            for event in parts.events[folder]
        ]
        late = dataclasses.replace(parts, events={**parts.events, folder: events})
        problems = consistency.check(late, RunOutcome.ACTED, expected_heads={}, expected_digest=None)
        expired = f"{folder}: {step} is of {moment}, and the plan expired at {_expiry(parts)}"
        assert [problem.message for problem in problems] == ([] if holds else [expired])


def _expiry(parts: Parts) -> str:
    assert parts.report and parts.report.plan
    return parts.report.plan.expires_at


@pytest.mark.threat("T36")
@pytest.mark.parametrize("status", ActionStatus)
@pytest.mark.parametrize("outcome", RunOutcome)
def test_an_outcome_goes_with_one_status_only(status: ActionStatus, outcome: RunOutcome) -> None:
    fits = {
        ActionStatus.SUCCESS: RunOutcome.ACTED,
        ActionStatus.ALREADY_DONE: RunOutcome.ACTED,
        ActionStatus.DRY_RUN: RunOutcome.DRY_RUN,
        ActionStatus.FAILED: RunOutcome.ACTION_FAILED,
        ActionStatus.UNKNOWN: RunOutcome.OUTCOME_UNKNOWN,
        ActionStatus.REFUSED: RunOutcome.REFUSED,
    }
    steps = () if status is ActionStatus.REFUSED else (examples.step_result(status=status),)
    result = examples.result(status=status, steps=steps, code=codes.GATE_PRECONDITION if not steps else None)
    parts = Parts(authorization=examples.authorization(), result=dataclasses.replace(result, steps=steps))
    assert (consistency._check_outcome(outcome, parts) == []) == (fits[status] is outcome)


@pytest.mark.threat("T36")
def test_a_refusal_after_an_intent_is_a_contradiction() -> None:
    intent = {"metadata": {"step": "intent"}, "status": "pending"}
    refused = dataclasses.replace(examples.result(), status=ActionStatus.REFUSED, steps=(), code=codes.GATE_EXPIRED)
    parts = Parts(authorization=examples.authorization(), result=refused, events={"act": [intent]})
    assert consistency._check_outcome(RunOutcome.EXPIRED, parts) != []
    unwritten = dataclasses.replace(parts, result=dataclasses.replace(refused, code=codes.GATE_INTENT))
    assert consistency._check_outcome(RunOutcome.REFUSED, unwritten) == []


def leaves(value: Any, *path: Any) -> list[tuple[Any, ...]]:
    if isinstance(value, (dict, list)) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [leaf for key, item in items for leaf in leaves(item, *path, key)]
    return [path]


@pytest.mark.threat("T36")
@pytest.mark.parametrize("gate", ["environment", "issue"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.data())
def test_no_word_of_a_manifest_can_be_changed(
    made: dict[str, Path], tmp_path: Path, gate: str, data: st.DataObject
) -> None:
    folder = tmp_path / "bundle"
    if not folder.exists():
        shutil.copytree(made[gate], folder)
    manifest = json.loads((made[gate] / MANIFEST).read_text())
    path = data.draw(st.sampled_from(leaves(manifest)))
    at = manifest
    for key in path[:-1]:
        at = at[key]
    before = at[path[-1]]
    others = st.sampled_from([None, 0, 7, "", "other", "0" * 64, "acted", {}, [], ["x"], {"login": "ceo"}])
    at[path[-1]] = data.draw(others.filter(lambda value: value != before))
    (folder / MANIFEST).write_text(json.dumps(manifest))
    try:
        assert consistency.verify(folder)[1] != [], path
    except codes.BadInput as refused:
        assert refused.code == codes.TRAIL_MISMATCH


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
    manifest, problems = consistency.verify(folder)
    assert (manifest["outcome"], [problem.message for problem in problems]) == (outcome, []), said


def test_the_bundle_of_a_run_that_nobody_was_asked_about_holds_and_can_not_get_an_approver(tmp_path: Path) -> None:
    said, folder = simulate(tmp_path / "repository", "--approve", config=AUTO)
    manifest, problems = consistency.verify(folder)
    assert (manifest["outcome"], manifest["approver"], problems) == ("acted", None, []), said
    found = forge(copy_of(folder, tmp_path), MANIFEST, lambda document: document.update(approver=CEO))
    assert any("bundle.json says approver ceo, its parts say None" in line for line in found)
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
    manifest, problems = consistency.verify(folder)
    assert (manifest["trace_id"], problems) == ("alert-9", []), said
