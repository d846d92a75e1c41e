"""The payload of an alert: the runtime's own checks say what specs/alert.schema.json says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.model import inputs
from support.environment import REPOSITORY

SCHEMA = json.loads((REPOSITORY / "template" / "specs" / "alert.schema.json").read_text(encoding="utf-8"))
VECTORS = json.loads(Path(__file__).with_name("alert.vectors.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def is_taken(payload: Any) -> bool:
    try:
        return inputs.alert(payload) is payload
    except codes.BadInput as refused:
        assert refused.line().isascii() and refused.line().isprintable() and len(refused.message) < 1000
        return False


def test_the_schema_is_one_and_its_examples_hold() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["examples"]
    for example in SCHEMA["examples"]:
        assert VALIDATOR.is_valid(example) and is_taken(example)


@pytest.mark.parametrize("case", VECTORS["valid"], ids=lambda case: str(case["name"]))
def test_what_is_agreed_is_taken_by_both(case: dict[str, Any]) -> None:
    assert VALIDATOR.is_valid(case["payload"])
    assert is_taken(case["payload"])


@pytest.mark.threat("T1")
@pytest.mark.parametrize("case", VECTORS["invalid"], ids=lambda case: str(case["name"]))
def test_what_is_not_agreed_is_refused_by_both_and_the_place_is_named(case: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(case["payload"])
    with pytest.raises(codes.BadInput) as refused:
        inputs.alert(case["payload"])
    assert refused.value.code == case["code"]
    assert refused.value.message.startswith(case["where"] + " ")


def test_a_payload_of_more_than_64_kib_is_refused() -> None:
    """What no JSON Schema can say: the size of the whole."""
    payload = {"resource": "a", **{f"text{number}": "x" * 8192 for number in range(8)}}
    assert VALIDATOR.is_valid(payload)
    with pytest.raises(codes.BadInput) as refused:
        inputs.alert(payload)
    assert refused.value.code == codes.ALERT_INVALID and "65536 are allowed" in refused.value.message


# Characters on both sides of every border that the schema draws.
CHARACTERS = st.sampled_from("aZ09 ._:/@+=,~%#-\t\n\r\x00\x1f\x7f\x85\x9f\xa0\u202e\ud800\udfff\ue000é🚨")
TEXTS = st.text(CHARACTERS, max_size=12) | st.text(max_size=6)
SCALARS = st.none() | st.booleans() | TEXTS | st.integers() | st.floats(allow_nan=False)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
NAMES = st.sampled_from(["resource", "alert_severity", "trace_id", "fingerprint", "summary"]) | TEXTS
PAYLOADS = st.fixed_dictionaries(
    {"resource": TEXTS | st.just("checkout")}, optional={"trace_id": VALUES, "alert_severity": VALUES}
)


@settings(max_examples=300)
@given(PAYLOADS, st.dictionaries(NAMES, VALUES, max_size=10))
def test_any_payload_is_taken_by_both_or_by_none(known: dict[str, Any], more: dict[str, Any]) -> None:
    payload = {**more, **known}
    assert is_taken(payload) == VALIDATOR.is_valid(payload)


@given(VALUES)
def test_any_json_is_taken_by_both_or_by_none(value: Any) -> None:
    assert is_taken(value) == VALIDATOR.is_valid(value)
