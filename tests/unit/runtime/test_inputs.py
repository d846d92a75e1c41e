"""What people and triggers give is checked before anything uses it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.model import inputs

NASTY = [
    "a\nb",
    "a\r",
    "a\x00",
    "a\u202eb",
    "a\u200bb",
    "a b",
    "$(id)",
    "a`id`",
    "a;b",
    "a|b",
    "a<b",
    '"',
    "'",
    "-x",
    "..",
]


@pytest.mark.parametrize("text", ["checkout", "arn:aws:ec2:eu-1:123:instance/i-0", "ns/deploy@v1.2", "a" * 256])
def test_a_plain_resource_is_taken_as_it_is(text: str) -> None:
    assert inputs.resource(text) == text


@pytest.mark.threat("T1", "T6")
@pytest.mark.parametrize("text", [*NASTY, "a" * 257, "ä", "\u0430pp"])
def test_another_resource_is_refused(text: str) -> None:
    with pytest.raises(codes.BadInput) as refused:
        inputs.resource(text)
    assert refused.value.code == codes.RESOURCE_INVALID
    assert refused.value.line().isascii()
    assert refused.value.line().isprintable()


@pytest.mark.parametrize("text", [None, ""])
def test_a_missing_resource_is_its_own_error(text: str | None) -> None:
    with pytest.raises(codes.BadInput) as refused:
        inputs.resource(text)
    assert refused.value.code == codes.RESOURCE_MISSING


@given(st.text(min_size=1))
def test_a_trace_id_is_plain_or_refused(text: str) -> None:
    try:
        found = inputs.trace_id(text, "default")
    except codes.BadInput as refused:
        assert refused.code == codes.TRACE_ID_INVALID
        assert refused.line().isascii()
    else:
        assert found == text
        assert text.isascii()
        assert text.isprintable()
        assert " " not in text


def test_without_a_trace_id_the_run_has_its_own() -> None:
    assert inputs.trace_id("", "4711-1") == "4711-1"


@pytest.mark.parametrize(
    "text", ["[]", "1", '"x"', "null", "{", "{'a': 1}", '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 99999]
)
def test_a_context_that_is_not_an_object_is_refused(text: str) -> None:
    with pytest.raises(codes.BadInput) as refused:
        inputs.context(text)
    assert refused.value.code == codes.CONTEXT_INVALID


def test_a_context_over_the_limit_is_refused() -> None:
    with pytest.raises(codes.BadInput) as refused:
        inputs.context(json.dumps({"a": "x" * inputs.MAX_CONTEXT_BYTES}))
    assert refused.value.code == codes.CONTEXT_INVALID


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()))
def test_a_context_object_is_taken_as_it_is(value: dict[str, Any]) -> None:
    assert inputs.context(json.dumps(value)) == value


@pytest.mark.parametrize("text", ["restart_service", "s3:put", "a"])
def test_a_plain_action_is_taken(text: str) -> None:
    assert inputs.action(text) == text


@pytest.mark.parametrize("text", [*NASTY, "", "Restart", "1a", "a" * 65])
def test_another_action_is_refused(text: str) -> None:
    with pytest.raises(codes.BadInput) as refused:
        inputs.action(text)
    assert refused.value.code == codes.RESULT_INVALID


def test_an_unknown_trigger_is_refused() -> None:
    assert inputs.trigger(None) == "manual"
    with pytest.raises(codes.BadInput) as refused:
        inputs.trigger("cron")
    assert refused.value.code == codes.TRIGGER_INVALID
