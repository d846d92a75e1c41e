"""What a policy asks of objects and lists of them: exactly what it says, and never more because something is odd."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.gate import checks, expressions, policy
from agent_runtime.gate.conditions import Condition, Other, holds
from agent_runtime.gate.policy import Policy, Rule, Verdict, evaluate
from agent_runtime.gate.policy_file import parse_policy
from agent_runtime.local import policy_lint
from agent_runtime.model.documents import Decision, PolicyStamp
from agent_runtime.results import RiskLevel
from support import examples
from support.strategies import json_objects, json_values

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
OLD = "2026-11-01T00:00:00Z"

RULES = b"""\
name: cleanup
version: 1
allowed_actions:
  - type: delete_files
    conditions:
      - {parameter: folder, operator: equals, value: /srv/cache}
      - {parameter: count(files), operator: at_most, value: 3}
      - {parameter: "sum(files[].bytes)", operator: at_most, value: 1000}
      - {parameter: "sum(files[].bytes)", operator: at_least, value: {parameter: usage.excess}}
      - {parameter: "files[].bytes", operator: greater_than, value: 0}
      - {parameter: "age(files[].modified)", operator: at_least, value: 7d}
      - {parameter: "files[].path", operator: not_in, value: [keep]}
path_roots:
  - {type: delete_files, parameter: "files[].path", root: /srv/cache}
"""


def file(name: str = "cleanup.py", **changes: Any) -> dict[str, Any]:
    return {"path": name, "bytes": 400, "modified": OLD, **changes}


def asked(*files: Any, **changes: Any) -> dict[str, Any]:
    return {"folder": "/srv/cache", "usage": {"excess": 700}, "files": list(files or (file(), file("b"))), **changes}


def decide(parameters: dict[str, Any], moment: datetime | None = NOW, data: bytes = RULES) -> Verdict:
    return evaluate(
        parse_policy(data, "p.yml"),
        action="delete_files",
        resource="cache",
        parameters=parameters,
        risk_level=RiskLevel.LOW,
        moment=moment,
    )


def test_what_is_as_the_rule_says_goes_to_a_reviewer_who_sees_what_was_asked() -> None:
    verdict = decide(asked())
    assert verdict.decision == policy.REVIEW
    assert verdict.asked == (
        "allowed_actions[0]: folder /srv/cache = /srv/cache, count(files) 2 ≤ 3, sum(files[].bytes) 800 ≤ 1000, "
        "sum(files[].bytes) 800 ≥ the parameter usage.excess 700, files[].bytes 400 > 0, "
        "age(files[].modified) 29d ≥ 7d, files[].path [2 items] not in [keep]; risk low, at most high",
    )
    others = asked(file(), file("b", bytes=399, modified="2026-11-23T00:00:00Z"))
    assert "files[].bytes 399 to 400 > 0, age(files[].modified) 7d to 29d ≥ 7d" in decide(others).asked[0]
    ages = [expressions.age_of(Fraction(span)) for span in (0, 59, 60, 7_199, 86_399, 86_400)]
    assert ages == ["0s", "59s", "1m", "1h", "23h", "1d"]
    more = asked(file(owner="x"), file("b", kind="log"), why="full")
    assert decide(more).asked[0].endswith("; not looked at: files[].kind, files[].owner, why")


NOT_SUMMED: list[Any] = ["400", True, None, {}, [400], math.nan, math.inf, 2**53, 10**5000, 1e300]
NOT_TIMES: list[Any] = [
    *("2026-12-01T00:00:00Z", "2026-11-30T12:00:00.1Z", "2026-11-01", "2026-11-01T00:00:00", OLD + "\n"),
    *("2026-11-01T00:00:00+00:00", "2026-02-30T00:00:00Z", "٢٠٢٦-11-01T00:00:00Z", 0, -1e18, None, {}, []),
]
ODD: list[tuple[dict[str, Any], str]] = [
    (asked(file(), file(), file(), file(bytes=1)), "count(files) at most 3"),
    (asked(file(bytes=601), file()), "sum(files[].bytes) at most 1000"),
    (asked(file(bytes=299), file()), "sum(files[].bytes) at least the parameter usage.excess"),
    (asked(usage={"excess": 801}), "sum(files[].bytes) at least the parameter usage.excess"),
    (asked(usage={"excess": "1"}), "can't be compared with the parameter usage.excess"),
    (asked(usage={}), "there is no usage.excess in this plan"),
    (asked(usage=None), "there is no usage.excess"),
    (asked(files=[]), "there is no count(files) in this plan"),
    (asked(files={"0": file()}), "there is no count(files)"),
    (asked(files="files"), "there is no count(files)"),
    (asked(file(), {"path": "b", "modified": OLD}), "there is no sum(files[].bytes)"),
    (asked(file(), "b"), "there is no sum(files[].bytes)"),
    (asked(file(), [file()]), "there is no sum(files[].bytes)"),
    (asked(file(bytes=900), file(bytes=900), file(bytes=-900)), "there is no sum(files[].bytes)"),
    *((asked(file(bytes=odd), file()), "there is no sum(files[].bytes)") for odd in NOT_SUMMED),
    (asked(file(), file(), file(bytes=0)), "not all of it is alike to: files[].bytes greater than 0"),
    (
        asked(file(), file(modified="2026-11-23T12:00:00.000000001Z")),
        "not all of it is alike to: age(files[].modified)",
    ),
    (asked(*[file(modified="2026-11-23T12:00:01Z")] * 2), "it is not so that age(files[].modified) at least 7d"),
    *((asked(file(modified=odd), file()), "there is no age(files[].modified) in this plan") for odd in NOT_TIMES),
    (asked(file(), file("keep")), "not all of it is alike to: files[].path not in [keep]"),
    (asked(file(), file(" KEEP")), "not all of it is alike to: files[].path not in [keep]"),
]


@pytest.mark.threat("T23")
@pytest.mark.parametrize(("parameters", "reason"), ODD, ids=range(len(ODD)))
def test_whatever_is_odd_is_never_allowed_and_always_denied(parameters: dict[str, Any], reason: str) -> None:
    verdict = decide(parameters)
    assert verdict.decision == policy.DENIED
    assert any(reason in line for line in verdict.reasons), verdict.reasons
    for condition in parse_policy(RULES, "p.yml").allowed_actions[0].conditions:
        if holds(condition, parameters, NOW) is None:
            denying = Policy("p", 1, (Rule("*"),), (Rule("*", conditions=(condition,)),), "")
            found = evaluate(
                denying, action="a", resource="r", parameters=parameters, risk_level=RiskLevel.LOW, moment=NOW
            )
            assert found.decision == policy.DENIED


def test_without_the_time_of_the_sealing_nothing_has_an_age() -> None:
    assert any("there is no age(files[].modified)" in line for line in decide(asked(), None).reasons)


def test_ages_count_from_the_sealing_to_the_second() -> None:
    edge = asked(*[file(modified="2026-11-23T12:00:00Z")] * 2)
    assert decide(edge).decision == policy.REVIEW
    assert decide(edge, NOW - timedelta(seconds=1)).decision == policy.DENIED
    assert decide(edge, NOW + timedelta(days=999)).decision == policy.REVIEW


@pytest.mark.threat("T8")
def test_verify_judges_ages_as_of_the_sealing_and_no_other_moment() -> None:
    rules = parse_policy(RULES, "p.yml")
    step = examples.step(action="delete_files", parameters=asked(*[file(modified="2026-11-23T12:00:00Z")] * 2))
    stamp = PolicyStamp(rules.digest, Decision.REVIEW, ("allowed_actions[0]",))
    sealed = examples.sealed(step, policy=stamp, issued_at="2026-11-30T12:00:00Z", expires_at="2026-11-30T13:00:00Z")
    checks.check_policy(sealed, rules)
    with pytest.raises(codes.GateRefused, match=r"it is not so that age\(files\[\]\.modified\) at least 7d") as caught:
        checks.check_policy(dataclasses.replace(sealed, issued_at="2026-11-30T11:59:59Z"), rules)
    assert caught.value.code == codes.GATE_POLICY


def test_what_was_written_when_the_plan_was_sealed_has_no_age_yet() -> None:
    assert holds(Condition("age(a)", "less_than", "1m"), {"a": "2026-11-30T12:00:00Z"}, NOW) is True


def test_a_sum_and_a_count_are_one_value_to_compare_with() -> None:
    for other in ("sum(b[].n)", "count(b)"):
        asked = about("a", "equals", f"{{parameter: '{other}'}}")
        text = f"name: p\nversion: 1\nallowed_actions:\n- type: a\n  conditions:\n  - {asked}\n"
        (condition,) = parse_policy(text.encode(), "p.yml").allowed_actions[0].conditions
        assert holds(condition, {"a": 1, "b": [{"n": 1}]}) is True


def test_an_expression_has_at_most_ten_parts() -> None:
    assert len(expressions.parse(".".join("abcdefghij")).steps) == 10
    with pytest.raises(ValueError, match="it has 11 parts: 10 are allowed"):
        expressions.parse(".".join("abcdefghijk"))


def test_a_deep_object_is_looked_at_as_deep_as_the_rule_says_and_costs_nothing() -> None:
    deep: Any = 1
    for _ in range(50_000):
        deep = [{"a": deep}]
    assert expressions.values("sum(a[].a[].a)", {"a": deep}, None) is None
    assert decide(asked(extra=1)).decision == policy.REVIEW
    assert holds(Condition("a[].a[].a", "equals", 1), {"a": deep}) is None


# Numbers as they can be in a plan, and some that can't.
numbers = st.one_of(
    st.integers(-5, 2**53 + 5), st.floats(-1, 1e6), st.sampled_from([True, None, "1", math.nan, math.inf])
)


def plain_sum(items: list[Any]) -> Fraction | None:
    """The sum as anybody would write it."""
    if any(type(item) not in (int, float) or item != item or not 0 <= item < 2**53 for item in items):
        return None
    return sum((Fraction(str(item)) for item in items), Fraction(0)) if items else None


@pytest.mark.threat("T23")
@given(st.lists(numbers, max_size=6), st.integers(0, 2**53))
@example([0.1, 0.2], 0)
def test_sums_and_counts_are_those_of_a_plain_reference(items: list[Any], bound: int) -> None:
    parameters = {"a": [{"n": item} for item in items]}
    total = plain_sum(items)
    assert expressions.values("sum(a[].n)", parameters, None) == (None if total is None else [total])
    assert expressions.values("count(a)", parameters, None) == ([len(items)] if items else None)
    nested = {"groups": [{"a": [item]} for item in items]}
    assert expressions.values("sum(groups[].a[])", nested, None) == (None if total is None else [total])
    less = None if total is None else total <= bound
    assert holds(Condition("sum(a[].n)", "at_most", bound), parameters) is less
    assert holds(Condition("sum(a[].n)", "greater_than", bound), parameters) is (None if less is None else not less)


def test_decimals_are_added_as_they_are_written() -> None:
    assert holds(Condition("sum(a[])", "equals", 0.3), {"a": [0.1, 0.2]}) is True
    assert holds(Condition("sum(a[])", "at_most", 0.3), {"a": [0.1, 0.2]}) is True
    assert holds(Condition("sum(a[])", "less_than", 0.3), {"a": [0.1, 0.2]}) is False


@pytest.mark.threat("T23")
@given(st.lists(st.integers(1, 300), min_size=1, max_size=3), st.data())
def test_a_value_that_moved_beyond_its_bound_is_never_allowed(sizes: list[int], data: st.DataObject) -> None:
    before = asked(*(file(bytes=size) for size in sizes), usage={"excess": 1})
    assert decide(before).decision == policy.REVIEW
    files = [dict(each) for each in before["files"]]
    moved = data.draw(st.integers(0, len(files) - 1))
    after, changes = (
        {**before, "files": files},
        data.draw(st.sampled_from(["bytes", "modified", "more", "excess", "folder"])),
    )
    if changes == "bytes":
        files[moved]["bytes"] += data.draw(st.integers(1001 - sum(sizes), 2**60))
    elif changes == "modified":
        late = NOW - timedelta(days=7) + timedelta(seconds=data.draw(st.integers(1, 10**9)))
        files[moved]["modified"] = f"{late:%Y-%m-%dT%H:%M:%SZ}"
    elif changes == "more":
        files += [file(bytes=1)] * data.draw(st.integers(4 - len(files), 50))
    elif changes == "excess":
        after["usage"] = {"excess": data.draw(st.integers(sum(sizes) + 1, 2**60))}
    else:
        after["folder"] = data.draw(st.sampled_from(["/srv", "/srv/cache/", "/srv/cache/..", "/SRV/cache", ""]))
    assert decide(after).decision == policy.DENIED


@pytest.mark.threat("T23")
@given(json_objects, st.lists(json_values, max_size=3))
def test_no_json_crashes_it(others: dict[str, Any], items: list[Any]) -> None:
    for parameters in (others, {"files": items}, asked(*items), asked(**others)):
        verdict = decide(parameters)
        assert verdict.decision in (policy.DENIED, policy.REVIEW)
        assert all("\n" not in line for line in (*verdict.reasons, *verdict.asked))


@given(st.text("ab.[]() \n", max_size=12))
def test_an_expression_is_read_or_is_an_error_and_named_as_it_is_written(text: str) -> None:
    try:
        found = expressions.parse(text)
    except ValueError as problem:
        assert "\n" not in str(problem)
    else:
        assert expressions.named(found.steps) == text


@pytest.mark.threat("T22")
@pytest.mark.parametrize(
    "name", ["cleanup.py", "a/sdk/x.tgz", "sdk/x", "requirements.txt", "__pycache__/x.pyc", "a:b", "a, b"]
)
def test_below_a_declared_root_the_names_of_this_repository_mean_nothing(name: str) -> None:
    assert decide(asked(file(name), file("b"))).decision == policy.REVIEW
    assert decide(asked(file(name), file("b")), data=RULES.split(b"path_roots")[0]).decision == (
        policy.REVIEW if name in ("a/sdk/x.tgz", "a:b", "a, b") else policy.DENIED
    )


@pytest.mark.threat("T22")
@pytest.mark.parametrize(
    "name",
    [
        *(
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/..",
            ".",
            "",
            "~/x",
            "$HOME/x",
            "%2e%2e/x",
            "..\\x",
            "a\n../x",
            "a, /x",
        ),
        *(".github/workflows/x.yml", "work/agent/agent_runner.py", ".git/config", "CODEOWNERS", "a/agent_runtime/x"),
    ],
)
def test_t22_nothing_leads_out_of_a_declared_root(name: str) -> None:
    verdict = decide(asked(file(name), file("b")))
    assert (verdict.decision, verdict.matched_rules) == (policy.DENIED, ("protected_paths",))
    assert "the parameter files[].path names" in verdict.reasons[0]


@pytest.mark.threat("T22")
def test_t22_a_root_holds_for_its_parameter_its_action_and_its_resource_only() -> None:
    for parameters in (
        asked(file(), file("b"), path="cleanup.py"),
        asked(path=["cleanup.py"]),
        asked(files=["cleanup.py"]),
    ):
        assert decide(parameters).matched_rules == ("protected_paths",)
    for other in (b"type: delete_file, p", b"type: Delete_files, p", b"type: delete_files, resources: [logs], p"):
        data = RULES.replace(b"{type: delete_files, p", b"{" + other)
        assert decide(asked(), data=data).matched_rules == ("protected_paths",)
    named_so = RULES.replace(b'files[].path", root', b'target", root')
    assert decide(asked(file("a"), file("b"), target="../x"), data=named_so).matched_rules == ("protected_paths",)


def never(*conditions: str, group: str = "allowed_actions", more: str = "type: a") -> list[tuple[str, str]]:
    text = f"name: p\nversion: 1\n{group}:\n- {more}\n  conditions:\n" + "".join(f"  - {it}\n" for it in conditions)
    return list(policy_lint.never(parse_policy(text.encode(), "p.yml")))


def about(parameter: str, operator: str, value: Any) -> str:
    return f"{{parameter: '{parameter}', operator: {operator}, value: {value}}}"


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        ([about("a", "at_most", 5), about("a", "at_least", 6)], "nothing that a can be is at most 5 and at least 6"),
        ([about("a", "less_than", 5), about("a", "at_least", 5)], "nothing that a can be is less than 5"),
        ([about("a", "equals", "x"), about("a", "not_in", "[x, z]")], "nothing that a can be is equals x and not in"),
        ([about("a", "in", "[x, z]"), about("a", "starts_with", "w")], "nothing that a can be"),
        ([about("a", "equals", "x y"), about("a", "format", "service-name")], "nothing that a can be"),
        ([about("a", "starts_with", "x"), about("a", "starts_with", "z")], "nothing that a can be"),
        ([about("a", "equals", "'5'"), about("a", "at_most", 5)], "nothing that a can be"),
        ([about("a", "each_in", "[x]"), about("a", "each_starts_with", "z")], "nothing that a[] can be"),
        ([about("a[]", "equals", "x"), about("a", "each_in", "[z]")], "nothing that a[] can be"),
        ([about("count(a)", "equals", 0)], "nothing that count(a) can be is equals 0"),
        ([about("count(a)", "greater_than", 3), about("count(a)", "less_than", 4)], "nothing that count(a) can be"),
        ([about("sum(a[])", "less_than", 0)], "nothing that sum(a[]) can be is less than 0"),
        ([about("age(a)", "at_least", "2d"), about("age(a)", "less_than", "48h")], "nothing that age(a) can be"),
        ([about("a.b", "equals", 1), about("a", "equals", 1)], "a can't be an object and a single value"),
        ([about("a[].b", "equals", 1), about("a.b", "equals", 1)], "a can't be a list and an object"),
        ([about("a[].b", "equals", 1), about("a", "each_in", "[1]")], "a[] can't be an object and a single value"),
        (
            [about("a[].b", "equals", 1), about("a", "max_items", 3)],
            "a[] can't be an object and a single value, and max_items is for lists of single values: use count()",
        ),
        (
            [about("a", "equals", "{parameter: b.c}"), about("b", "equals", 1)],
            "b can't be an object and a single value",
        ),
    ],
)
def test_a_rule_that_can_never_match_is_said(conditions: list[str], why: str) -> None:
    for group in ("allowed_actions", "denied_actions", "auto_approve"):
        ((rule, said),) = never(*conditions, group=group)
        assert (rule, said[: len(why)]) == (f"{group}[0]", why)


@pytest.mark.parametrize(
    "conditions",
    [
        [about("a", "at_most", 5), about("a", "at_least", 5)],
        [about("a", "greater_than", 4), about("a", "less_than", 5), about("a", "not_equals", 4.5)],
        [about("a", "not_in", "[x, z]"), about("a", "not_equals", "w")],
        [about("a", "format", "host-name"), about("a", "starts_with", "web-"), about("a", "starts_with", "w")],
        [about("a", "equals", "true"), about("a", "not_equals", "false")],
        [about("count(a)", "at_least", 1), about("count(a)", "at_most", 1), about("a[].b", "equals", "x")],
        [
            about("sum(a[].b)", "at_most", 0.5),
            about("sum(a[].b)", "greater_than", 0),
            about("age(a[].c)", "at_least", "1d"),
        ],
        [about("a", "max_items", 3), about("a", "each_in", "[x]"), about("count(a)", "at_most", 3)],
        [about("a", "at_most", "{parameter: b}"), about("a", "at_least", 3), about("b", "at_most", 2)],
    ],
)
def test_a_rule_that_can_match_is_left_alone(conditions: list[str]) -> None:
    assert never(*conditions) == []


def test_a_type_and_resources_that_nothing_has_are_said() -> None:
    ((_, why),) = never(about("a", "equals", 1), more="type: Restart")
    assert why == "no action has the type Restart: types are of lower-case letters, digits and _ . : -"
    assert never(about("a", "equals", 1), more="type: Restart", group="denied_actions") == []
    ((_, why),) = never(
        about("a", "equals", 1), more="{type: a}\n".replace("{type: a}", "type: a\n  resources: ['my db']")
    )
    assert why == "no resource has one of these names"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["at_least", "at_most", "less_than", "greater_than", "not_equals", "equals"]),
            st.integers(0, 4),
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["a", "count(a)", "sum(a[])"]),
)
def test_what_is_said_to_match_never_matches_nothing_and_what_is_not_can(
    conditions: list[tuple[str, int]], what: str
) -> None:
    """Against trying every whole and half number around."""
    rules = tuple(Condition(what, operator, value) for operator, value in conditions)
    tried = [value / 2 for value in range(-4, 14)]
    made: list[dict[str, Any]] = [{"a": value} for value in tried] if what == "a" else []
    made += [{"a": [0] * count} for count in range(1, 8)] if what == "count(a)" else []
    made += [{"a": [value]} for value in tried if value >= 0] if what == "sum(a[])" else []
    possible = any(all(holds(rule, each) for rule in rules) for each in made)
    found = list(policy_lint.never(Policy("p", 1, (Rule("a", conditions=rules),), (), "")))
    assert bool(found) == (not possible)


def test_other_is_shown_as_a_parameter() -> None:
    rule = Rule("*", conditions=(Condition("to", "at_most", Other("limit")),))
    verdict = evaluate(
        Policy("p", 1, (rule,), (), ""),
        action="a",
        resource="r",
        parameters={"to": 5, "limit": 4},
        risk_level=RiskLevel.LOW,
    )
    assert "it is not so that to at most the parameter limit" in verdict.reasons[0]
