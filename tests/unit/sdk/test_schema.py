"""The JSON Schema says the same as the vectors, and so as the SDK."""

from __future__ import annotations

import json

import jsonschema
import pytest

from support.sdk.helpers import SPECS

VECTORS = json.loads((SPECS / "audit-event.vectors.json").read_text(encoding="utf-8"))
SCHEMA = json.loads((SPECS / "audit-event.schema.json").read_text(encoding="utf-8"))
# What JSON Schema can't say without its optional format assertions: whether a date exists.
DATES = {"day that does not exist", "month 13", "hour 24", "leap second", "year 0"}


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


@pytest.mark.parametrize("case", VECTORS["valid"], ids=lambda case: case["name"])
def test_accepts_the_valid(validator, case):
    assert list(validator.iter_errors(case["event"])) == []


@pytest.mark.parametrize(
    "case", [case for case in VECTORS["invalid"] if case["name"] not in DATES], ids=lambda case: case["name"]
)
def test_refuses_the_invalid_for_the_field_that_is_named(validator, case):
    errors = list(validator.iter_errors(case["event"]))
    if case["field"] == "event":
        assert errors[0].validator == "type"
    elif case["field"] in case["event"]:
        assert [error.path[0] for error in errors] == [case["field"]]
    else:
        assert [error.message for error in errors] == [f"'{case['field']}' is a required property"]
