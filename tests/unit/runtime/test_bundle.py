"""Reading what a run left: whatever is in the folder, the answer is what was found and what could not be read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.gate import bundle
from agent_runtime.gate.bundle import RunOutcome
from agent_runtime.model import documents
from agent_runtime.model.documents import Decision, PolicyStamp
from agent_runtime.results import ActionStatus
from support import examples

PARTS = {
    "seal/investigation-report.json": ("report", examples.report()),
    "approve/approval-receipt.json": ("receipts", (examples.receipt(),)),
    "verify/authorization.json": ("authorization", examples.authorization()),
    "act/action-result.json": ("result", examples.result()),
}


def write(folder: Path, name: str, data: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def test_documents_come_out_of_the_folders_of_their_jobs(tmp_path: Path) -> None:
    left = documents.encode(examples.investigation())
    write(tmp_path, "investigate/investigation.json", left)
    for name, (_, document) in PARTS.items():
        write(tmp_path, name, documents.encode(document[0] if isinstance(document, tuple) else document))
    parts = bundle.load(tmp_path, by_comment=False)
    assert parts.problems == ()
    for attribute, document in PARTS.values():
        assert getattr(parts, attribute) == document
    assert parts.investigation == examples.investigation()
    assert parts.investigation_sha256 == hashlib.sha256(left).hexdigest()
    assert (parts.heads, parts.events) == ({}, {})


def test_an_empty_folder_is_a_run_that_left_nothing(tmp_path: Path) -> None:
    assert bundle.load(tmp_path, by_comment=False) == bundle.Parts()
    assert bundle.load(tmp_path, by_comment=True).by_comment


@pytest.mark.threat("T36")
@pytest.mark.parametrize("name", PARTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(data=st.binary(max_size=50))
def test_a_document_that_can_not_be_read_is_a_problem_and_never_an_exception(
    tmp_path: Path, name: str, data: bytes
) -> None:
    write(tmp_path, name, data)
    parts = bundle.load(tmp_path, by_comment=False)
    assert not getattr(parts, PARTS[name][0])
    assert [problem.code for problem in parts.problems] in ([codes.REPORT_NOT_JSON], [codes.REPORT_SCHEMA])


@pytest.mark.parametrize("name", PARTS)
def test_a_folder_by_a_documents_name_is_a_problem(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    (problem,) = bundle.load(tmp_path, by_comment=False).problems
    assert problem.code == codes.REPORT_MISSING


def test_what_the_agent_left_needs_not_be_readable_to_have_a_digest(tmp_path: Path) -> None:
    write(tmp_path, "investigate/investigation.json", b"\x00")
    parts = bundle.load(tmp_path, by_comment=False)
    assert (parts.investigation, parts.problems) == (None, ())
    assert parts.investigation_sha256 == hashlib.sha256(b"\x00").hexdigest()


@pytest.mark.parametrize("data", [b"", b"x\n", b"{}\n", b"[]\n", b"\xff\n", b'{"event": {}}\n'])
def test_a_journal_that_is_none_is_a_problem_and_never_an_exception(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, "act/journal/0001.jsonl", data)
    parts = bundle.load(tmp_path, by_comment=False)
    assert parts.steps("act") == []
    assert {problem.code for problem in parts.problems} <= {codes.TRAIL_BROKEN}


def test_a_plan_that_the_policy_let_pass_is_automatic() -> None:
    stamp = PolicyStamp("a" * 64, Decision.AUTO, ("auto_approve[0]",))
    assert bundle.Parts(report=examples.report(plan=examples.sealed(policy=stamp))).automatic
    assert not bundle.Parts(report=examples.report()).automatic
    assert not bundle.Parts().automatic


@pytest.mark.parametrize(
    ("status", "code", "steps", "outcome"),
    [
        (ActionStatus.SUCCESS, None, 1, RunOutcome.ACTED),
        (ActionStatus.REFUSED, codes.GATE_DIGEST, 0, RunOutcome.REFUSED),
        (ActionStatus.REFUSED, codes.GATE_EXPIRED, 0, RunOutcome.EXPIRED),
        (ActionStatus.REFUSED, codes.GATE_EXPIRED, 1, RunOutcome.PARTIAL),
        (ActionStatus.FAILED, None, 1, RunOutcome.ACTION_FAILED),
        (ActionStatus.FAILED, None, 2, RunOutcome.PARTIAL),
        (ActionStatus.PARTIAL, None, 1, RunOutcome.PARTIAL),
        (ActionStatus.UNKNOWN, codes.OUTCOME_UNKNOWN, 1, RunOutcome.OUTCOME_UNKNOWN),
    ],
)
def test_a_result_says_how_a_run_ended(status: ActionStatus, code: str, steps: int, outcome: RunOutcome) -> None:
    done = documents.ActionReport(
        **{**examples.result().__dict__, "status": status, "code": code, "steps": (examples.step_result(),) * steps}
    )
    assert bundle.outcome_of_result(done) is outcome


def test_every_file_but_the_manifest_has_a_digest(tmp_path: Path) -> None:
    for name in ("bundle.json", "act/bundle.json", "a/b/c", "x"):
        write(tmp_path, name, name.encode())
    expected = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("act/bundle.json", "a/b/c", "x")}
    assert bundle.file_digests(tmp_path) == expected
