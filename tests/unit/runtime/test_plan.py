"""Sealing: the canonical form is RFC 8785, and every part of a plan is part of its digest."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.model import documents, plan
from support import examples

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


@pytest.mark.threat("T8")
@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(documents.Step)])
def test_every_field_of_every_step_is_part_of_the_digest(field: str) -> None:
    document = documents.plain(examples.sealed(examples.step(), examples.step(action="warm_cache")))
    before = plan.digest(document)
    for number in (0, 1):
        changed = json.loads(json.dumps(document))
        changed["steps"][number][field] = ["changed"]
        assert plan.digest(changed) != before


steps = st.builds(
    examples.step,
    action=st.sampled_from(["restart_service", "warm_cache", "scale"]),
    parameters=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), json_values, max_size=3),
    reason=st.text(st.characters(exclude_categories=["Cs"])),
    reversible=st.booleans(),
    rollback=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
)


@given(st.lists(steps, min_size=1, max_size=4))
def test_a_plan_survives_the_way_through_a_report(proposed: list[documents.Step]) -> None:
    sealed = examples.sealed(*proposed)
    read = documents.decode(documents.Report, documents.encode(examples.report(plan=sealed)), "report").plan
    assert read is not None
    assert plan.digest(read) == plan.digest(sealed)
    # Execute reads what Verify left, which is the canonical form itself.
    try:
        alone = documents.decode(documents.Plan, plan.canonical(sealed), "plan.json")
        assert plan.digest(alone) == plan.digest(sealed)
    except codes.BadInput as refused:  # a float from 2**53 on is written as an integer that nobody reads the same way
        assert refused.code == codes.PLAN_NOT_CANONICAL


@pytest.mark.threat("T8")
@given(st.lists(steps, min_size=1, max_size=4), st.data())
def test_steps_in_another_order_more_or_fewer_are_another_plan(
    proposed: list[documents.Step], data: st.DataObject
) -> None:
    other = data.draw(
        st.one_of(
            st.permutations(proposed),
            st.just(proposed[:-1]),
            st.just([*proposed, proposed[0]]),
            st.just(proposed[1:]),
        )
    )
    same = plan.canonical(other) == plan.canonical(proposed)
    if other:
        assert (plan.digest(examples.sealed(*other)) == plan.digest(examples.sealed(*proposed))) is same


def test_the_title_names_every_step_in_order() -> None:
    sealed = examples.sealed(examples.step(action="drain"), examples.step(), examples.step(action="undrain"))
    assert sealed.title == "drain+restart_service+undrain"


def test_the_short_digest_is_the_beginning_of_the_digest() -> None:
    digest = plan.digest(examples.sealed())
    assert plan.short(digest) == digest[:12]


# Steps that contradict each other.

KEYS, VALUES = ("a", "b"), (0, 1, 2)
OBSERVED = {"a": 0, "b": 1}
declared_steps = st.lists(
    st.builds(
        lambda action, parameters, changes: examples.step(action=action, parameters=parameters, changes=changes),
        st.sampled_from(("x", "y", "z")),
        st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES)),
        st.sets(st.sampled_from(KEYS)).map(lambda keys: tuple(sorted(keys))),
    ),
    min_size=1,
    max_size=4,
)


def runs_in_some_world(steps: list[documents.Step]) -> bool:
    """Whether there are effects for what the steps leave open with which every step finds what it names."""
    unsaid = [(number, key) for number, step in enumerate(steps) for key in step.changes if key not in step.parameters]
    for chosen in itertools.product((*VALUES, "other"), repeat=len(unsaid)):
        effects = dict(zip(unsaid, chosen, strict=True))
        world: dict[str, Any] = {}
        for number, step in enumerate(steps):
            kept = set(step.parameters) & set(world) - set(step.changes)
            if any(world[key] != step.parameters[key] for key in kept):
                break
            if any(effects.get((number, key), ...) == world.get(key, OBSERVED[key]) for key in step.changes):
                break  # it changes nothing, and the step says that it does
            world.update({key: step.parameters.get(key, effects.get((number, key))) for key in step.changes})
        else:
            return True
    return False


def after_an_unsaid_change(value: int) -> list[documents.Step]:
    """One sets `a`, another changes it without a word to what, and a third needs it to be this."""
    return [
        examples.step(action="x", parameters={"a": 1}, changes=("a",)),
        examples.step(action="y", parameters={}, changes=("a",)),
        examples.step(action="z", parameters={"a": value}, changes=()),
    ]


@given(declared_steps)
@example(after_an_unsaid_change(0))
@example(after_an_unsaid_change(1))
def test_steps_are_refused_exactly_where_what_they_declare_can_not_be(steps: list[documents.Step]) -> None:
    pairs = itertools.pairwise(steps)
    overridden = any(one.action == two.action and set(one.changes) & set(two.changes) for one, two in pairs)
    twice = len({(step.action, json.dumps(step.parameters, sort_keys=True)) for step in steps}) < len(steps)
    possible = runs_in_some_world(steps) and not overridden and not twice
    try:
        plan.check_steps(steps, OBSERVED)
    except codes.BadInput as problem:
        assert (problem.code, possible) == (codes.PLAN_STEPS, False)
        assert re.match(r"step [2-4] (overrides|needs|is) ", problem.message)
    else:
        assert possible
