"""Documents that jobs exchange: what is written can be read, and nothing else can."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.model import documents
from support import examples

PATHS_TO_TYPES = [
    (("schema_version",), "1"),
    (("schema_version",), 2),
    (("run", "run_attempt"), True),
    (("run", "run_id"), 4711),
    (("confidence",), 1.5),
    (("confidence",), "0.5"),
    (("status",), "approved"),
    (("findings", 0, "severity"), "fatal"),
    (("findings", 0, "evidence"), []),
    (("plan", "steps"), []),
    (("plan", "steps", 0, "reversible"), "false"),
    (("plan", "steps", 0, "parameters"), []),
    (("plan", "steps", 0, "risk_level"), "none"),
    (("plan", "approvals", "count"), 0),
    (("plan", "approvals", "count"), 3),
    (("plan", "approvals", "count"), 1.0),
    (("plan", "approvals", "count"), True),
    (("plan", "approvals", "approvers"), "bob"),
    (("plan", "variables"), {"REGION": 1}),
    (("plan", "runtime", "digest"), "B" * 64),
    (("duplicate_of",), "17"),
    (("plan", "expires_at"), "tomorrow"),
    (("plan", "expires_at"), "2026-11-22T12:00:00+01:00"),
    (("plan", "policy", "digest"), "A" * 64),
    (("plan", "policy", "decision"), "approved"),
    (("plan",), None),
]


def _at(document: Any, path: tuple[Any, ...], value: Any) -> bytes:
    here = document
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = value
    return json.dumps(document).encode()


def test_what_is_written_is_read_again() -> None:
    report = examples.report()
    assert documents.decode(documents.Report, documents.encode(report), "report") == report


@pytest.mark.parametrize(("path", "value"), PATHS_TO_TYPES, ids=lambda item: str(item)[:40])
def test_a_value_of_another_kind_is_refused(path: tuple[Any, ...], value: Any) -> None:
    data = _at(documents.plain(examples.report()), path, value)
    with pytest.raises(codes.BadInput) as refused:
        documents.decode(documents.Report, data, "report.json")
    assert refused.value.code == codes.REPORT_SCHEMA
    assert "report.json" in refused.value.message


@pytest.mark.parametrize(
    "path",
    [
        (),
        ("run",),
        ("plan",),
        ("plan", "policy"),
        ("plan", "run"),
        ("plan", "approvals"),
        ("plan", "runtime"),
        ("plan", "steps", 0),
        ("findings", 0),
    ],
)
def test_an_unknown_key_is_refused_at_every_level(path: tuple[Any, ...]) -> None:
    data = _at(documents.plain(examples.report()), (*path, "approved"), True)
    with pytest.raises(codes.BadInput) as refused:
        documents.decode(documents.Report, data, "report")
    assert refused.value.code == codes.REPORT_SCHEMA


def _of_the_plan() -> list[tuple[str, ...]]:
    """Every key of a run and of a plan, with the way to it."""
    document = documents.plain(examples.report())
    places: list[tuple[Any, ...]] = [("run",), ("plan",), ("plan", "steps", 0)]
    places += [("plan", part) for part in ("run", "policy", "approvals", "runtime")]
    found = []
    for place in places:
        here = document
        for step in place:
            here = here[step]
        found += [(*place, key) for key in here]
    return found


@pytest.mark.threat("T11")
@pytest.mark.parametrize("path", _of_the_plan(), ids=lambda path: ".".join(map(str, path)))
def test_a_missing_key_is_refused(path: tuple[Any, ...]) -> None:
    document = here = documents.plain(examples.report())
    for step in path[:-1]:
        here = here[step]
    del here[path[-1]]
    with pytest.raises(codes.BadInput) as refused:
        documents.decode(documents.Report, json.dumps(document).encode(), "report")
    assert refused.value.code == codes.REPORT_SCHEMA


@given(st.integers(min_value=0, max_value=len(documents.encode(examples.report())) - 3))
def test_a_truncated_report_is_refused(length: int) -> None:
    with pytest.raises(codes.BadInput) as refused:
        documents.decode(documents.Report, documents.encode(examples.report())[:length], "report")
    assert refused.value.code == codes.REPORT_NOT_JSON


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_with_a_code(data: bytes) -> None:
    with pytest.raises(codes.BadInput):
        documents.decode(documents.Report, data, "report")


@pytest.mark.threat("T11")
@pytest.mark.parametrize(
    "data",
    [
        b'{"schema_version": 1, "schema_version": 1}',
        b'{"confidence": NaN}',
        b"[" * 200_000,
        b'"\xff"',
        b'{"a": "\xed\xa0\x80"}',
    ],
    ids=["duplicate key", "NaN", "too deep", "not UTF-8", "surrogate"],
)
def test_json_that_parsers_read_differently_is_refused(data: bytes) -> None:
    with pytest.raises(codes.BadInput) as refused:
        documents.decode(documents.Report, data, "report")
    assert refused.value.code == codes.REPORT_NOT_JSON


def test_a_report_over_the_limit_is_refused() -> None:
    with pytest.raises(codes.BadInput) as refused:
        documents.decode(documents.Report, b" " * (documents.MAX_REPORT_BYTES + 1), "report")
    assert refused.value.code == codes.REPORT_TOO_LARGE


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        documents.format_time(examples.ISSUED.replace(tzinfo=None))
    assert documents.parse_time(documents.format_time(examples.ISSUED)) == examples.ISSUED


INVESTIGATIONS = [
    (("schema_version",), 2),
    (("confidence",), 1.5),
    (("confidence",), -0.1),
    (("steps", 0, "action"), 1),
    (("steps", 0, "approved"), True),
    (("findings",), [{"message": "x"}] * (documents.MAX_FINDINGS + 1)),
    (("measured_at",), "now"),
    (("error",), "it failed, and proposes something"),
    (("plan",), documents.plain(examples.sealed())),
    (("decision",), "auto"),
    (("status",), "action_proposed"),
    (("policy",), {"decision": "auto"}),
    (("run", "run_attempt"), "1"),
    (("safe_to_proceed",), 1),
]


@pytest.mark.threat("T8", "T23")
@pytest.mark.parametrize(("path", "value"), INVESTIGATIONS, ids=lambda item: str(item)[:40])
def test_an_investigation_holds_what_was_agreed_and_nothing_that_decides(path: tuple[Any, ...], value: Any) -> None:
    data = _at(documents.plain(examples.investigation()), path, value)
    with pytest.raises(codes.BadInput) as refused:
        documents.decode(documents.Investigation, data, "investigation.json")
    assert refused.value.code == codes.REPORT_SCHEMA


WHOLE = [
    examples.investigation(),
    examples.sealed(),
    examples.report(),
    examples.receipt(),
    examples.authorization(),
    examples.result(),
]


@pytest.mark.parametrize("document", WHOLE, ids=lambda document: type(document).__name__)
def test_every_document_survives_the_way_to_another_job(document: Any) -> None:
    assert documents.decode(type(document), documents.encode(document), "document") == document


@pytest.mark.parametrize("document", WHOLE, ids=lambda document: type(document).__name__)
def test_no_document_takes_the_place_of_another(document: Any) -> None:
    for other in WHOLE:
        if other is not document:
            with pytest.raises(codes.BadInput):
                documents.decode(type(document), documents.encode(other), "document")


@pytest.mark.parametrize("changes", [{"code": codes.GATE_DIGEST}, {"authorized": False}])
def test_an_authorization_is_given_or_says_why_not(changes: dict[str, Any]) -> None:
    data = json.dumps({**documents.plain(examples.authorization()), **changes}).encode()
    with pytest.raises(codes.BadInput) as refused:
        documents.decode(documents.Authorization, data, "authorization.json")
    assert refused.value.code == codes.REPORT_SCHEMA
