"""Parts of a bundle that contradict each other are found, even by somebody who renews every hash in its manifest."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.gate import bundle
from agent_runtime.gate.bundle import RunOutcome
from agent_runtime.model import documents
from agent_runtime.results import ActionStatus
from runtime.test_simulate import CONFIG, POLICY, Desk, desk, make

__all__ = ["desk"]

MANIFEST = "bundle.json"
RESULT = "act/action-result.json"
RECEIPT = "approve/approval-receipt.json"
REPORT = "investigate/investigation-report.json"

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles of a run that acted, by the kind of its gate."""
    found = {}
    for gate, text in (
        ("environment", CONFIG),
        ("issue", CONFIG.replace("public", "private-free") + "approval_gate: issue\n"),
    ):
        at = make(tmp_path_factory.mktemp(gate) / "repository")
        (at.root / ".github" / "agent-config.yml").write_text(text)
        code, said, found[gate] = at.simulate("--approve")
        assert code == 0, said
        assert bundle.verify(found[gate])[1] == []
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
    found = bundle.verify(folder)[1]
    assert {problem.code for problem in found} <= {codes.TRAIL_MISMATCH, codes.TRAIL_MISSING, codes.TRAIL_TRUNCATED}
    return [problem.message for problem in found]


@pytest.mark.threat("T36")
@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            MANIFEST,
            {"approver": {"login": "ceo", "id": 1, "type": "User"}},
            "says approver ceo, its parts say reviewer",
        ),
        (MANIFEST, {"approver": None}, "bundle.json says approver None, its parts say reviewer"),
        (MANIFEST, {"resource": "payments-db"}, "bundle.json says resource payments-db, its parts say checkout"),
        (MANIFEST, {"plan_digest": None}, "bundle.json names no plan, and one was executed"),
        (MANIFEST, {"trace_id": "other"}, "bundle.json says trace_id other, its parts say "),
        (MANIFEST, {"run": {"x": 1}}, "bundle.json names no run"),
        (MANIFEST, {"issue": 3}, "bundle.json says issue 3, its parts say None"),
        (MANIFEST, {"rejected_by": "mallory"}, "says rejected_by mallory, the record journal None"),
        (MANIFEST, {"outcome": "action_failed"}, "the outcome is action_failed, and the result says success"),
        (MANIFEST, {"outcome": "nothing_to_do"}, "the outcome is nothing_to_do, and the result says success"),
        (MANIFEST, {"journal_heads": {}}, "bundle.json tells no end of the journal of act"),
        (RESULT, {"status": "failed"}, "the outcome is acted, and the result says failed"),
        (RESULT, {"status": "refused"}, "the outcome is acted, and the result says refused"),
        (RESULT, {"action": "delete_everything"}, "the result's action is delete_everything, the plan's bump"),
        (RESULT, {"resource": "payments-db"}, "the result's resource is payments-db, the plan's checkout"),
        (RESULT, {"trace_id": "x"}, "report and result have different trace ids"),
        (RESULT, {"code": "ACT001"}, "act: the event outcome says code None"),
        (RECEIPT, {"trace_id": "x"}, "report and receipt have different trace ids"),
        (RECEIPT, {"approver": {"login": "ceo", "id": 1, "type": "User"}}, "bundle.json says approver reviewer"),
        (RECEIPT, {"approver": {"login": "ceo", "id": 1, "type": "User"}}, "the event approved says approver reviewer"),
        (REPORT, {"resource": "payments-db"}, "bundle.json says resource checkout, its parts say payments-db"),
        (REPORT, {"trace_id": "x"}, "report and result have different trace ids"),
    ],
)
def test_parts_that_contradict_each_other_are_found(
    folder: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    found = forge(folder, name, lambda document: document.update(changes))
    assert any(message in line for line in found), found


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
    assert f"{place}/{MANIFEST} was added" in [problem.message for problem in bundle.verify(folder)[1]]


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
    parts = bundle.load(made["environment"])
    assert parts.report and parts.report.plan
    sealed = documents.parse_time(parts.report.plan.issued_at)
    moment = documents.format_time(sealed + later)
    events = [
        {**event, "timestamp": moment} if event["metadata"]["step"] == "intent" else event
        for event in parts.events["act"]
    ]
    late = dataclasses.replace(parts, events={**parts.events, "act": events})
    found = [problem.message for problem in bundle.check(late, acted=True, expected_heads={}, expected_digest=None)]
    assert found == ([] if holds else [f"the intent is of {moment}, and the plan expired at {_expiry(parts)}"])


def _expiry(parts: bundle.Parts) -> str:
    assert parts.report and parts.report.plan
    return parts.report.plan.expires_at


@pytest.mark.threat("T36")
@given(st.sampled_from(list(ActionStatus)), st.sampled_from(list(RunOutcome)))
def test_an_outcome_goes_with_one_status_only(made: dict[str, Path], status: ActionStatus, outcome: RunOutcome) -> None:
    parts = bundle.load(made["environment"])
    assert parts.result
    fits = {
        ActionStatus.SUCCESS: RunOutcome.ACTED,
        ActionStatus.ALREADY_DONE: RunOutcome.ACTED,
        ActionStatus.REHEARSED: RunOutcome.REHEARSED,
        ActionStatus.FAILED: RunOutcome.ACTION_FAILED,
        ActionStatus.UNKNOWN: RunOutcome.OUTCOME_UNKNOWN,
        ActionStatus.REFUSED: RunOutcome.REFUSED,
    }
    changed = dataclasses.replace(parts, result=dataclasses.replace(parts.result, status=status))
    found = bundle._check_outcome(outcome, changed)
    # This run meant to act, so that a refusal never fits.
    assert (found == []) == (fits[status] is outcome and status is not ActionStatus.REFUSED)


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
        assert bundle.verify(folder)[1] != [], path
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
@pytest.mark.parametrize("gate", ["environment", "issue"])
def test_the_bundle_of_an_honest_run_holds(
    desk: Desk, gate: str, scenario: str, context: dict[str, Any], outcome: str
) -> None:
    if gate == "issue":
        text = CONFIG.replace("public", "private-free") + "approval_gate: issue\n"
        (desk.root / ".github" / "agent-config.yml").write_text(text)
    _, said, folder = desk.simulate(scenario, context=json.dumps(context))
    manifest, problems = bundle.verify(folder)
    assert (manifest["outcome"], [problem.message for problem in problems]) == (outcome, []), said


def test_the_bundle_of_a_run_that_nobody_was_asked_about_holds_and_can_not_get_an_approver(desk: Desk) -> None:
    policies = desk.root / ".github" / "agent-policies" / "bumper.yml"
    policies.write_text(POLICY + "    requires_approval: false\nauto_approve: [{type: bump}]\n")
    (desk.root / ".github" / "agent-config.yml").write_text(CONFIG + "auto_approval: true\n")
    folder = desk.simulate("--approve", context='{"reversible": true}')[2]
    assert bundle.verify(folder)[1] == []
    found = forge(
        folder, MANIFEST, lambda document: document.update(approver={"login": "ceo", "id": 1, "type": "User"})
    )
    assert any("bundle.json says approver ceo, its parts say None" in line for line in found)


def test_an_alert_that_brings_its_trace_id_leaves_a_bundle_that_holds(desk: Desk) -> None:
    folder = desk.simulate("--approve", "--trigger", "alert", context='{"trace_id": "alert-9"}')[2]
    manifest, problems = bundle.verify(folder)
    assert (manifest["trace_id"], problems) == ("alert-9", [])
