"""Documents that jobs exchange: what is written can be read, and nothing else can."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.model import documents
from runtime import examples

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
    (("plan", "reversible"), "false"),
    (("plan", "approvals_before"), -1),
    (("plan", "approvals_before"), 0.5),
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
    assert documents.decode_report(documents.encode(report), "report") == report


@pytest.mark.parametrize(("path", "value"), PATHS_TO_TYPES, ids=lambda item: str(item)[:40])
def test_a_value_of_another_kind_is_refused(path: tuple[Any, ...], value: Any) -> None:
    data = _at(documents.plain(examples.report()), path, value)
    with pytest.raises(codes.BadInput) as refused:
        documents.decode_report(data, "report.json")
    assert refused.value.code == codes.REPORT_SCHEMA
    assert "report.json" in refused.value.message


@pytest.mark.parametrize("path", [(), ("run",), ("plan",), ("plan", "policy"), ("plan", "run"), ("findings", 0)])
def test_an_unknown_key_is_refused_at_every_level(path: tuple[Any, ...]) -> None:
    data = _at(documents.plain(examples.report()), (*path, "approved"), True)
    with pytest.raises(codes.BadInput) as refused:
        documents.decode_report(data, "report")
    assert refused.value.code == codes.REPORT_SCHEMA


@given(st.data())
def test_a_missing_key_is_refused(data: st.DataObject) -> None:
    document = documents.plain(examples.report())
    part = data.draw(st.sampled_from([document["run"], document["plan"], document["plan"]["policy"]]))
    del part[data.draw(st.sampled_from(sorted(part)))]
    with pytest.raises(codes.BadInput) as refused:
        documents.decode_report(json.dumps(document).encode(), "report")
    assert refused.value.code == codes.REPORT_SCHEMA


@given(st.integers(min_value=0, max_value=len(documents.encode(examples.report())) - 3))
def test_a_truncated_report_is_refused(length: int) -> None:
    with pytest.raises(codes.BadInput) as refused:
        documents.decode_report(documents.encode(examples.report())[:length], "report")
    assert refused.value.code == codes.REPORT_NOT_JSON


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_with_a_code(data: bytes) -> None:
    with pytest.raises(codes.BadInput):
        documents.decode_report(data, "report")


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
        documents.decode_report(data, "report")
    assert refused.value.code == codes.REPORT_NOT_JSON


def test_a_report_over_the_limit_is_refused() -> None:
    with pytest.raises(codes.BadInput) as refused:
        documents.decode_report(b" " * (documents.MAX_REPORT_BYTES + 1), "report")
    assert refused.value.code == codes.REPORT_TOO_LARGE


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        documents.format_time(examples.ISSUED.replace(tzinfo=None))
    assert documents.parse_time(documents.format_time(examples.ISSUED)) == examples.ISSUED
