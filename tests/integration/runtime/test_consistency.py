"""Parts of a bundle that contradict each other are found, even by somebody who renews every hash in its manifest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.gate import bundle, consistency, offline
from agent_runtime.gate.bundle import Parts, RunOutcome
from agent_runtime.job.context import now
from agent_runtime.local import auditor
from agent_runtime.model import documents, names
from agent_runtime.results import ActionStatus, ModelUse
from support import examples
from support.gate_world import REPOSITORY, GateWorld, close_the_gate, make_root, whole_run
from support.github import FullGitHub
from support.simulated import CONFIG, make

MANIFEST = names.MANIFEST_NAME
INVESTIGATION = "investigate/investigation.json"
REPORT = "seal/investigation-report.json"
RECEIPT = "approve/approval-receipt.json"
AUTHORIZATION = "verify/authorization.json"
RESULT = "act/action-result.json"
DOCUMENTS = (INVESTIGATION, REPORT, RECEIPT, AUTHORIZATION, RESULT)
CEO = {"login": "ceo", "id": 1, "type": "User"}

Change = Callable[[dict[str, Any]], object]


def acted(folder: Path, **step: Any) -> Path:
    """The bundle of a run of two steps that bob approved."""
    with FullGitHub(REPOSITORY) as github:
        close_the_gate(github)
        world = GateWorld(make_root(folder / "repository"), github)
        ending = world.record(whole_run(world, examples.step(**step), examples.step(action="warm_cache")))
    assert (ending.outcome, ending.problems) == (RunOutcome.ACTED, ())
    return ending.folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Bundles of runs that acted: behind environments, another one of the same day, and where an issue is the gate."""
    at = make(tmp_path_factory.mktemp("issue") / "repository")
    (at.root / ".github" / "agent-config.yml").write_text(
        CONFIG.replace("public", "private-free") + "approval_gate: issue\n"
    )
    code, said, issue = at.simulate("--approve")
    assert code == 0, said
    found = {
        "environment": acted(tmp_path_factory.mktemp("environment")),
        "another": acted(tmp_path_factory.mktemp("another"), parameters={"error_rate": 0.9}),
        "issue": issue,
    }
    for folder in found.values():
        assert offline.verify(folder)[1] == []
    yield found


@pytest.fixture
def folder(made: dict[str, Path], tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(made["environment"], tmp_path / "bundle"))


def renew(folder: Path) -> None:
    """Write the hashes of all files into the manifest, as whoever changes one would."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"] = bundle.file_digests(folder)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def verify(folder: Path) -> list[str]:
    """What `verify` says; each line has a code of the trail, and can be shown."""
    found = offline.verify(folder)[1]
    assert all(problem.code.startswith(("TRAIL", "RPT")) for problem in found), found
    assert all(problem.message.isprintable() for problem in found), found
    return [problem.message for problem in found]


def forge(folder: Path, name: str, change: Change) -> list[str]:
    """Change a document, renew the manifest's hashes, and return what `verify` says."""
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))
    if name != MANIFEST:
        renew(folder)
    return verify(folder)


def load(folder: Path) -> Parts:
    return bundle.load(folder, by_comment=False)


# The conversation with a language model.


@pytest.mark.threat("T36")
@pytest.mark.parametrize(
    ("left", "message"),
    [
        (None, "the conversation with the language model is gone"),
        (b"another", "the conversation with the language model is not the one that the report names"),
        (b"[]", ""),
    ],
)
def test_t36_a_conversation_is_the_one_that_the_report_names(folder: Path, left: bytes | None, message: str) -> None:
    used = ModelUse("openai:small", hashlib.sha256(b"[]").hexdigest(), 2, 1, 100)
    if left is not None:
        (folder / "investigate" / names.TRANSCRIPT_NAME).write_bytes(left)
    said = forge(folder, REPORT, lambda report: report.update(model=documents.plain(used)))
    assert [line for line in said if "conversation" in line] == ([message] if message else [])


# Documents and manifest.


@pytest.mark.threat("T36")
@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (MANIFEST, {"approvers": [CEO]}, "says approvers ceo, its parts say bob"),
        (MANIFEST, {"approvers": []}, "bundle.json says approvers [], its parts say bob"),
        (MANIFEST, {"resource": "payments-db"}, "bundle.json says resource payments-db, its parts say checkout"),
        (MANIFEST, {"plan_digest": None}, "bundle.json names no plan, and one was executed"),
        (MANIFEST, {"plan_digest": "f" * 64}, "report is of plan"),
        (MANIFEST, {"trace_id": "other"}, "bundle.json says trace_id other, its parts say "),
        (MANIFEST, {"run": {"x": 1}}, "bundle.json names no run"),
        (MANIFEST, {"steps": []}, "bundle.json says steps [], its parts say {'action': 'restart_service', "),
        (MANIFEST, {"issue": 3}, "bundle.json says issue 3, its parts say None"),
        (MANIFEST, {"rejected_by": "mallory"}, "says rejected_by mallory, the record journal None"),
        (MANIFEST, {"outcome": "action_failed"}, "the outcome is action_failed, and the result says success"),
        (MANIFEST, {"outcome": "nothing_to_do"}, "the outcome is nothing_to_do, and the result says success"),
        (MANIFEST, {"outcome": "not_started"}, "the outcome is not_started, and the result says success"),
        (MANIFEST, {"journal_heads": {}}, "bundle.json names no end of the journal of act"),
        (
            MANIFEST,
            {"reported_by_agent": ["investigate"]},
            "bundle.json says reported_by_agent ['investigate'], its parts say ['investigate', 'act']",
        ),
        (RESULT, {"status": "failed"}, "the outcome is acted, and the result says failed"),
        (RESULT, {"status": "refused"}, "the outcome is acted, and the result says refused"),
        (RESULT, {"resource": "payments-db"}, "the result's resource is payments-db, the plan's checkout"),
        (RESULT, {"trace_id": "x"}, "report and result have different trace ids"),
        (RESULT, {"plan_digest": "f" * 64}, "result is of plan ffffffffffff"),
        (RECEIPT, {"trace_id": "x"}, "report and receipt have different trace ids"),
        (RECEIPT, {"approver": CEO}, "bundle.json says approvers bob"),
        (RECEIPT, {"approver": CEO}, "the event approved says approver bob"),
        (RECEIPT, {"approver": CEO}, "receipts and authorization name different approvers"),
        (RECEIPT, {"plan_digest": "f" * 64}, "receipt is of plan ffffffffffff"),
        (AUTHORIZATION, {"approvers": []}, "receipts and authorization name different approvers"),
        (AUTHORIZATION, {"trace_id": "x"}, "report and authorization have different trace ids"),
        (AUTHORIZATION, {"plan_digest": "f" * 64}, "authorization is of plan ffffffffffff"),
        (
            AUTHORIZATION,
            {"authorized": False, "code": codes.GATE_RUN, "message": "x"},
            "Execute left something behind, and Verify authorized nothing",
        ),
        (REPORT, {"resource": "payments-db"}, "bundle.json says resource checkout, its parts say payments-db"),
        (REPORT, {"trace_id": "x"}, "report and result have different trace ids"),
        (REPORT, {"plan": None, "status": "nothing_to_do"}, "no report with a plan"),
        (REPORT, {"investigation_sha256": "f" * 64}, "what the job investigate left is not what was sealed"),
        (INVESTIGATION, {"recommendation": "x"}, "what the job investigate left is not what was sealed"),
    ],
)
def test_parts_that_contradict_each_other_are_found(
    folder: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    found = forge(folder, name, lambda document: document.update(changes))
    assert any(message in line for line in found), found


@pytest.mark.threat("T8", "T36")
@pytest.mark.parametrize("gate", ["environment", "issue"])
def test_the_policy_file_of_the_plan_is_there_and_another_or_none_is_found(
    made: dict[str, Path], tmp_path: Path, gate: str
) -> None:
    folder = Path(shutil.copytree(made[gate], tmp_path / "bundle"))
    path = folder / "seal" / "policy.yml"
    sealed = json.loads((folder / REPORT).read_text())["plan"]["policy"]["digest"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sealed
    assert auditor.examine(folder, now=now()).policy.endswith(sealed)
    path.write_bytes(path.read_bytes().replace(b"max_risk: ", b"max_risk:  "))
    renew(folder)
    found = [problem.line() for problem in offline.verify(folder)[1]]
    assert found == [f"{codes.TRAIL_MISMATCH}: seal/policy.yml is not the policy that the plan was judged by"]
    path.unlink()
    renew(folder)
    assert [problem.line() for problem in offline.verify(folder)[1]] == found


@pytest.mark.threat("T8", "T36")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda steps: steps.pop(), "the result says success, and 1 of 2 steps ran"),
        (lambda steps: steps.clear(), "its last step something else"),
        (lambda steps: steps.reverse(), "the agent reports the actions ['warm_cache', 'restart_service'], the plan"),
        (lambda steps: steps.append(steps[0]), "the agent reports the actions"),
        (lambda steps: steps[0].update(action="delete_all"), "the agent reports the actions ['delete_all'"),
        (lambda steps: steps[0].update(code="ACT001"), "act: the event outcome says code None"),
        (lambda steps: steps[0].update(status="already_done"), "act: the event outcome says outcome success"),
        (lambda steps: steps[1].update(status="failed"), "its last step something else"),
        (lambda steps: [each.update(status="dry_run") for each in steps], "what was executed is not what a dry run is"),
    ],
)
def test_a_result_of_other_steps_than_the_plans_is_found(
    folder: Path, change: Callable[[list[dict[str, Any]]], object], message: str
) -> None:
    found = forge(folder, RESULT, lambda document: change(document["steps"]))
    assert any(message in line for line in found), found


@pytest.mark.threat("T8", "T36")
@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan["steps"].pop(),
        lambda plan: plan["steps"].reverse(),
        lambda plan: plan["steps"][1]["parameters"].update(force=True),
        lambda plan: plan["variables"].update(REGION="eu"),
        lambda plan: plan["approvals"].update(count=2),
        lambda plan: plan.update(expires_at="2027-01-01T00:00:00Z"),
        lambda plan: plan["policy"].update(decision="auto"),
        lambda plan: plan.update(dry_run=True),
    ],
)
def test_any_change_of_the_sealed_plan_is_found_by_its_digest(folder: Path, change: Change) -> None:
    found = forge(folder, REPORT, lambda document: change(document["plan"]))
    assert any(line.startswith("report is of plan ") for line in found), found


@pytest.mark.threat("T36")
@pytest.mark.parametrize(
    "field", ["repository", "run_id", "sha", "ref", "actor", "triggering_actor", "workflow", "event"]
)
def test_a_manifest_of_another_run_is_found(folder: Path, field: str) -> None:
    found = forge(folder, MANIFEST, lambda document: document["run"].update({field: "other"}))
    assert any(f"the {field} of the run is other in bundle.json and " in line for line in found), found


@pytest.mark.threat("T36")
def test_all_documents_of_another_run_than_the_journals_are_found(folder: Path) -> None:
    """Somebody who rewrites manifest, receipt, authorization and result alike still meets the journals."""
    for name in (RESULT, AUTHORIZATION, RECEIPT, MANIFEST):
        found = forge(folder, name, lambda document: document["run"].update(run_attempt=2))
    assert "bundle.json says run_attempt 2, the record journal 1" in found


@pytest.mark.threat("T36")
@pytest.mark.parametrize("place", ["act", "act/journal", "seal", "record"])
def test_a_file_by_the_manifests_name_is_not_the_manifest(folder: Path, place: str) -> None:
    (folder / place / MANIFEST).write_text("{}")
    assert f"{place}/{MANIFEST} was added" in verify(folder)


# Parts that are gone, or of another run.


@pytest.mark.threat("T36")
@pytest.mark.parametrize("gate", ["environment", "issue"])
def test_no_file_can_be_taken_away_changed_or_emptied(made: dict[str, Path], tmp_path: Path, gate: str) -> None:
    """Neither with the manifest as it is, nor with one that was renewed."""
    files = sorted(bundle.file_digests(made[gate]))
    assert {"seal", "approve", "verify", "act", "record"} <= {name.split("/")[0] for name in files}
    copied = [names.TRACE_NAME, names.PLAN_NAME]  # for people: what they say is in a document
    for number, name in enumerate(files):
        for change in ("removed", "emptied", "cut"):
            folder = Path(shutil.copytree(made[gate], tmp_path / f"{number}-{change}"))
            data = (folder / name).read_bytes()
            (folder / name).unlink()
            if change != "removed":
                (folder / name).write_bytes(data[: len(data) // 2 if change == "cut" else 0])
            reported = "is missing" if change == "removed" else "was changed"
            assert f"{name} {reported}" in verify(folder)
            renew(folder)
            assert verify(folder) or Path(name).name in copied, f"{name} was {change}"
            shutil.rmtree(folder)


@pytest.mark.threat("T10", "T36")
@pytest.mark.parametrize("name", [*DOCUMENTS, "investigate", "seal", "approve", "verify", "act", "record"])
def test_no_part_of_another_run_fits(made: dict[str, Path], folder: Path, name: str) -> None:
    other = made["another"] / name
    if other.is_dir():
        shutil.rmtree(folder / name)
        shutil.copytree(other, folder / name)
    else:
        shutil.copyfile(other, folder / name)
    assert verify(folder)
    renew(folder)
    assert verify(folder), "even with a manifest that was renewed"


@pytest.mark.threat("T36")
def test_the_issue_is_the_one_that_was_answered(made: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made["issue"], tmp_path / "bundle"))
    assert any(
        "bundle.json says issue 9, its parts say 1" in line
        for line in forge(folder, MANIFEST, lambda document: document.update(issue=9))
    )
    found = forge(folder, RECEIPT, lambda document: document.update(issue_comment=None))
    assert "the receipt names no comment, and a comment started the run" in found


# The trail of a run that acted, step by step.


@pytest.mark.threat("T35", "T36")
@pytest.mark.parametrize(
    ("job", "step", "message"),
    [
        ("seal", "plan_sealed", "seal: no event plan_sealed"),
        ("approve", "approved", "0 events approved, the plan needs 1"),
        ("verify", "gate_check", "verify: the check GATE02 did not pass"),
        ("verify", "authorized", "verify: no event authorized"),
        ("act", "intent", "act: 0 events intent, the result has 2 steps"),
        ("act", "outcome", "act: 0 events outcome, the result has 2 steps"),
    ],
)
def test_every_event_that_an_action_needs_is_missed(made: dict[str, Path], job: str, step: str, message: str) -> None:
    parts = load(made["environment"])
    kept = [event for event in parts.events[job] if event["metadata"]["step"] != step]
    found = check(dataclasses.replace(parts, events={**parts.events, job: kept}))
    assert message in found


@pytest.mark.threat("T8", "T36")
def test_every_check_of_the_gate_must_have_passed(made: dict[str, Path]) -> None:
    parts = load(made["environment"])
    codes_found = [entry["check"] for entry in parts.steps("verify", "gate_check")]
    assert len(codes_found) == len(set(codes_found)) > 8
    for code in codes_found:
        events = [
            {**event, "status": "denied"} if event["metadata"].get("check") == code else event
            for event in parts.events["verify"]
        ]
        found = check(dataclasses.replace(parts, events={**parts.events, "verify": events}))
        assert found == [f"verify: the check {code} did not pass"]


@pytest.mark.threat("T36")
def test_what_the_agents_machine_wrote_replaces_nothing_of_the_others(made: dict[str, Path]) -> None:
    """Its journal may claim every check, every approval and an authorization: they count where no team code ran."""
    parts = load(made["environment"])
    claimed = [event for job in ("seal", "approve", "verify") for event in parts.events[job]]
    hijacked = {job: [*parts.events[job], *claimed] for job in bundle.REPORTED_BY_AGENT}
    found = check(dataclasses.replace(parts, events=hijacked))
    assert {"seal: no event plan_sealed", "0 events approved, the plan needs 1", "verify: no event authorized"} <= set(
        found
    )


@pytest.mark.threat("T23", "T36")
def test_a_plan_for_one_job_that_another_job_handled_is_found(made: dict[str, Path]) -> None:
    parts = load(made["environment"])
    for job in ("verify", "act"):
        events = json.loads(json.dumps(parts.events[job]))
        for event in events:
            event["metadata"]["gha"]["job"] = names.AUTO_JOB
        found = check(dataclasses.replace(parts, events={**parts.events, job: events}))
        assert found == ["a plan that was sealed for a review was handled by the job act-auto"]


def check(parts: Parts, outcome: RunOutcome = RunOutcome.ACTED) -> list[str]:
    found = consistency.check(parts, outcome, expected_heads={}, expected_digest=None)
    return [problem.message for problem in found]


@pytest.mark.threat("T20", "T36")
@pytest.mark.parametrize(("job", "step"), [("act", "intent"), ("verify", "authorized")])
@pytest.mark.parametrize(("later", "holds"), [(timedelta(minutes=59), True), (timedelta(minutes=61), False)])
@pytest.mark.parametrize("zone", [0, 2, -5])
def test_what_began_after_the_plan_expired_is_a_contradiction(
    made: dict[str, Path], job: str, step: str, later: timedelta, holds: bool, zone: int
) -> None:
    parts = load(made["environment"])
    assert parts.report and parts.report.plan
    sealed = documents.parse_time(parts.report.plan.issued_at)
    local = (sealed + later + timedelta(hours=zone)).strftime("%Y-%m-%dT%H:%M:%S")
    moment = f"{local}.250{'-' if zone < 0 else '+'}{abs(zone):02}:00" if zone else local + "Z"
    events = [
        {**event, "timestamp": moment} if event["metadata"]["step"] == step else event for event in parts.events[job]
    ]
    found = check(dataclasses.replace(parts, events={**parts.events, job: events}))
    expected = f"{job}: {step} is of {moment}, and the plan expired at {parts.report.plan.expires_at}"
    assert set(found) == (set() if holds else {expected})


@pytest.mark.threat("T36")
@given(st.sampled_from(list(ActionStatus)), st.sampled_from(list(RunOutcome)))
def test_an_outcome_goes_with_one_status_only(made: dict[str, Path], status: ActionStatus, outcome: RunOutcome) -> None:
    parts = load(made["environment"])
    assert parts.result
    fits = {
        ActionStatus.SUCCESS: RunOutcome.ACTED,
        ActionStatus.ALREADY_DONE: RunOutcome.ACTED,
        ActionStatus.DRY_RUN: RunOutcome.DRY_RUN,
        ActionStatus.UNKNOWN: RunOutcome.OUTCOME_UNKNOWN,
        # Its first step was executed, so that "nothing was executed" would be wrong.
        ActionStatus.FAILED: RunOutcome.PARTIAL,
        ActionStatus.PARTIAL: RunOutcome.PARTIAL,
        ActionStatus.REFUSED: RunOutcome.PARTIAL,
    }
    changed = dataclasses.replace(parts, result=dataclasses.replace(parts.result, status=status))
    said = f"the outcome is {outcome}, and the result says {status}"
    assert (said not in check(changed, outcome)) == (fits[status] is outcome)


# The manifest, word by word.


def leaves(value: Any, *path: Any) -> list[tuple[Any, ...]]:
    if isinstance(value, (dict, list)) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [leaf for key, item in items for leaf in leaves(item, *path, key)]
    return [path]


WORDS = st.sampled_from([None, 0, 7, "", "other", "0" * 64, "acted", {}, [], ["x"], [[1, 2]], CEO])


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
    path = data.draw(st.sampled_from(leaves(manifest) + [(name,) for name in manifest]))
    at = manifest
    for key in path[:-1]:
        at = at[key]
    before = at[path[-1]]
    at[path[-1]] = data.draw(WORDS.filter(lambda value: value != before))
    (folder / MANIFEST).write_text(json.dumps(manifest))
    try:
        assert verify(folder) != [], path
    except codes.BadInput as refused:
        assert refused.code == codes.TRAIL_MISMATCH


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"files": [[1, 2]]}', "[" * 100_000, '{"a": NaN}'])
def test_what_is_not_a_manifest_is_refused_in_one_line(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(codes.BadInput) as refused:
        offline.verify(folder)
    assert refused.value.code == codes.TRAIL_MISMATCH and "\n" not in refused.value.line()
