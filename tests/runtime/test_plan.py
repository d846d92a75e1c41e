"""Sealing: the canonical form is RFC 8785, and every part of a plan is part of its digest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.model import documents, plan
from runtime import examples

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=12,
)


# RFC 8785, section 3.2.2 and 3.2.3, and appendix B.
@pytest.mark.parametrize(
    ("value", "canonical"),
    [
        (
            {"numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001]},
            '{"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}',
        ),
        ({"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}, None),
        ({"literals": [None, True, False]}, '{"literals":[null,true,false]}'),
        ({"string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/"}, None),
        (-0.0, "0"),
        (1.0, "1"),
    ],
)
def test_the_canonical_form_is_that_of_the_rfc(value: Any, canonical: str | None) -> None:
    found = plan.canonical(value)
    if canonical is not None:
        assert found.decode() == canonical
    assert json.loads(found) == value
    if isinstance(value, dict):
        keys = list(json.loads(found))
        assert keys == sorted(keys, key=lambda key: key.encode("utf-16-be"))


@given(json_values)
def test_the_canonical_form_does_not_depend_on_the_order_of_keys(value: Any) -> None:
    def reversed_keys(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: reversed_keys(item[key]) for key in reversed(item)}
        return [reversed_keys(entry) for entry in item] if isinstance(item, list) else item

    assert plan.canonical(reversed_keys(value)) == plan.canonical(value)
    # RFC 8785 knows one kind of number, the IEEE 754 double.
    assert json.loads(plan.canonical(value), parse_int=float) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**53, "\ud800", {"a": {1: 2}}, object(), {1, 2}, b"x"])
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(codes.BadInput) as refused:
        plan.canonical({"value": value})
    assert refused.value.code == codes.PLAN_NOT_CANONICAL


def test_anyone_can_compute_the_digest_again() -> None:
    sealed = examples.sealed()
    # Only ASCII keys and short numbers here, so sorted compact JSON is the RFC 8785 form.
    again = json.dumps(documents.plain(sealed), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert plan.digest(sealed) == hashlib.sha256(again.encode()).hexdigest()


@pytest.mark.threat("T8")
@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(documents.Plan)])
def test_every_field_is_part_of_the_digest(field: str) -> None:
    document = documents.plain(examples.sealed())
    before = plan.digest(document)
    document[field] = ["changed"]
    assert plan.digest(document) != before


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), json_values), st.text())
def test_a_plan_survives_the_way_through_a_report(parameters: dict[str, Any], reason: str) -> None:
    try:
        sealed = plan.seal(
            examples.proposed(parameters=parameters, reason=reason),
            resource="checkout",
            preconditions={},
            policy=examples.sealed().policy,
            run=examples.run(),
            issued_at=examples.ISSUED,
            ttl_minutes=60,
            approvals_before=0,
        )
    except codes.BadInput as refused:
        assert refused.code == codes.PLAN_NOT_CANONICAL
        return
    data = documents.encode(examples.report(plan=sealed))
    read = documents.decode_report(data, "report").plan
    assert read is not None
    assert plan.digest(read) == plan.digest(sealed)


def test_the_expiry_follows_from_the_time_of_sealing() -> None:
    sealed = examples.sealed(ttl_minutes=90)
    assert (sealed.issued_at, sealed.expires_at) == ("2026-11-22T11:00:00Z", "2026-11-22T12:30:00Z")
