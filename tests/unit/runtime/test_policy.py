"""The policy reads one way only and denies whatever it does not clearly allow (T3, T6, T23)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from datetime import timedelta
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.gate import policy
from agent_runtime.gate.conditions import OPERATORS, Condition
from agent_runtime.gate.policy import Policy, RateLimit, Rule, Verdict, as_review, evaluate, judge
from agent_runtime.gate.policy_file import parse_policy
from agent_runtime.results import RiskLevel
from support import examples
from support.strategies import (
    action_types,
    hostile_text,
    json_objects,
    moments,
    parameters,
    policies,
    resources,
    risks,
    rules,
)

SOURCE = ".github/agent-policies/payments.yml"

WHOLE = b"""\
name: payments
version: 3
allowed_actions:
  - type: restart
    resources: ["payments-*"]
    conditions:
      - {parameter: environment, operator: in, value: [staging, prod]}
      - {parameter: window_minutes, operator: at_most, value: 60}
    max_risk: medium
    description: restarting is harmless outside a window
  - type: "scale:*"
denied_actions:
  - type: "*"
    resources: [payments-db]
    reason: databases are for people
"""


def decide(
    data: bytes,
    action: str = "restart",
    resource: str = "payments-api",
    risk_level: RiskLevel = RiskLevel.MEDIUM,
    **parameters: Any,
) -> Verdict:
    found = parse_policy(data, SOURCE)
    return evaluate(found, action=action, resource=resource, parameters=parameters, risk_level=risk_level)


def refused(data: bytes) -> str:
    with pytest.raises(codes.BadInput) as caught:
        parse_policy(data, SOURCE)
    assert caught.value.code == codes.POLICY_INVALID
    assert "\n" not in caught.value.line()
    return caught.value.message


def test_a_whole_policy() -> None:
    found = parse_policy(WHOLE, SOURCE)
    assert (found.name, found.version, found.digest) == ("payments", 3, hashlib.sha256(WHOLE).hexdigest())
    assert found.allowed_actions == (
        Rule(
            "restart",
            ("payments-*",),
            (
                Condition("environment", "in", ("staging", "prod")),
                Condition("window_minutes", "at_most", 60),
            ),
            RiskLevel.MEDIUM,
            "restarting is harmless outside a window",
        ),
        Rule("scale:*", ("*",), (), RiskLevel.HIGH, None),
    )
    assert found.denied_actions == (Rule("*", ("payments-db",), (), RiskLevel.HIGH, "databases are for people"),)


def test_an_allowed_action_goes_to_review() -> None:
    verdict = decide(WHOLE, environment="prod", window_minutes=60)
    assert (verdict.decision, verdict.matched_rules) == (policy.REVIEW, ("allowed_actions[0]",))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"action": "restarts"}, "allowed_actions[0] (restart on payments-*): is about another action than restarts"),
        ({"action": "Restart"}, "is about another action"),
        ({"resource": "orders-api"}, "is about another resource than orders-api"),
        ({"resource": "Payments-api"}, "is about another resource"),
        ({"environment": "dev"}, "it is not so that environment in [staging, prod]"),
        ({"environment": None}, "the parameter environment can't be compared with [staging, prod]"),
        ({"environment": ["prod"]}, "the parameter environment can't be compared"),
        ({"environment": "prod\u200b"}, "the parameter environment can't be compared"),
        ({"window_minutes": 61}, "it is not so that window_minutes at most 60"),
        ({"window_minutes": "60"}, "the parameter window_minutes can't be compared with 60"),
        ({"window_minutes": True}, "the parameter window_minutes can't be compared with 60"),
        ({"window_minutes": float("nan")}, "the parameter window_minutes can't be compared with 60"),
        ({"risk_level": RiskLevel.HIGH}, "the risk is high, at most medium is allowed"),
    ],
)
def test_anything_else_is_denied_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    verdict = decide(WHOLE, **{"environment": "prod", "window_minutes": 5, **changes})
    assert (verdict.decision, verdict.matched_rules) == (policy.DENIED, ())
    assert any(reason in line for line in verdict.reasons)
    what = f"{changes.get('action', 'restart')} on {changes.get('resource', 'payments-api')}"
    assert verdict.reasons[-1] == f"no allowing rule matches {what}, and what is not allowed is denied"


def test_a_missing_parameter_denies() -> None:
    verdict = decide(WHOLE, environment="prod")
    assert verdict.decision == policy.DENIED
    assert any("the parameter window_minutes is missing" in line for line in verdict.reasons)


def test_denied_wins_over_allowed() -> None:
    verdict = decide(WHOLE, resource="payments-db", environment="prod", window_minutes=5)
    assert (verdict.decision, verdict.matched_rules) == (policy.DENIED, ("denied_actions[0]",))
    assert verdict.reasons[0] == (
        "denied_actions[0] (* on payments-db): applies, so restart on payments-db is denied [databases are for people]"
    )


def test_a_denying_rule_that_cannot_be_judged_says_why_it_applies() -> None:
    data = b"""\
name: p
version: 1
denied_actions: [{type: "*", conditions: [{parameter: host, operator: equals, value: db}]}]
"""
    assert (
        decide(data)
        .reasons[0]
        .endswith("applies because the parameter host is missing, so restart on payments-api is denied")
    )
    assert "because the parameter host can't be compared with db, so" in decide(data, host=5).reasons[0]


def test_critical_risk_needs_to_be_allowed_by_name() -> None:
    allowed = b'name: p\nversion: 1\nallowed_actions: [{type: "*"}]\n'
    assert decide(allowed, risk_level=RiskLevel.HIGH).decision == policy.REVIEW
    assert decide(allowed, risk_level=RiskLevel.CRITICAL).decision == policy.DENIED
    named = b'name: p\nversion: 1\nallowed_actions: [{type: "*", max_risk: critical}]\n'
    assert decide(named, risk_level=RiskLevel.CRITICAL).decision == policy.REVIEW


AUTO = b"""\
name: payments
version: 1
allowed_actions:
  - {type: "restart*", requires_approval: false}
  - type: restart
    conditions: [{parameter: force, operator: equals, value: true}]
    max_risk: low
denied_actions:
  - {type: "*", resources: [payments-db]}
auto_approve:
  - type: restart
    resources: ["payments-*"]
    conditions: [{parameter: environment, operator: equals, value: staging}]
    max_risk: medium
"""
STAGING: dict[str, Any] = {"environment": "staging", "force": False}


def decide_auto(data: bytes = AUTO, **changes: Any) -> Verdict:
    ask: dict[str, Any] = {
        "action": "restart",
        "resource": "payments-api",
        "parameters": STAGING,
        "risk_level": RiskLevel.MEDIUM,
        "reversible": True,
    }
    return evaluate(parse_policy(data, SOURCE), **{**ask, **changes})


@pytest.mark.threat("T23")
def test_t23_what_the_policy_names_is_done_without_asking() -> None:
    verdict = decide_auto()
    assert (verdict.decision, verdict.matched_rules) == (policy.AUTO, ("allowed_actions[0]", "auto_approve[0]"))
    assert verdict.reasons[-1] == "no human is asked about restart on payments-api"


@pytest.mark.threat("T23")
@pytest.mark.parametrize(
    ("changes", "decision", "reason"),
    [
        ({"reversible": False}, "review", "a human is asked: the agent does not say that it can be undone"),
        ({"risk_level": RiskLevel.HIGH}, "review", "a human is asked: no rule of auto_approve matches"),
        ({"resource": "orders-api"}, "review", "a human is asked: no rule of auto_approve matches"),
        ({"action": "restart:rolling"}, "review", "a human is asked: no rule of auto_approve matches"),
        ({"parameters": {**STAGING, "environment": "prod"}}, "review", "no rule of auto_approve matches"),
        ({"parameters": {"force": False}}, "review", "the parameter environment is missing"),
        (
            {"parameters": {**STAGING, "force": True}},
            "review",
            "a human is asked: allowed_actions[1] requires approval and may be about it",
        ),
        ({"parameters": {"environment": "staging"}}, "review", "allowed_actions[1] requires approval and may be"),
        ({"parameters": {**STAGING, "force": "no"}}, "review", "allowed_actions[1] requires approval and may be"),
        ({"resource": "payments-db"}, "denied", "denied_actions[0] (* on payments-db): applies"),
        ({"action": "delete"}, "denied", "no allowing rule matches"),
    ],
)
def test_t23_whatever_is_unclear_is_asked(changes: dict[str, Any], decision: str, reason: str) -> None:
    verdict = decide_auto(**changes)
    assert verdict.decision == decision
    assert any(reason in line for line in verdict.reasons), verdict.reasons


@pytest.mark.threat("T23")
def test_t23_more_risk_than_a_reserved_rule_allows_is_not_a_way_around_asking() -> None:
    """allowed_actions[1] stops at low; at medium it does not match, and still keeps its approval."""
    forced = {**STAGING, "force": True}
    for risk in (RiskLevel.LOW, RiskLevel.MEDIUM):
        assert decide_auto(parameters=forced, risk_level=risk).decision == policy.REVIEW


@pytest.mark.threat("T23")
def test_t23_nothing_is_done_without_asking_unless_the_policy_says_so() -> None:
    data = AUTO[: AUTO.index(b"auto_approve")]
    assert decide_auto(data).decision == policy.REVIEW
    assert decide_auto(data).matched_rules == ("allowed_actions[0]",)
    assert decide_auto(AUTO.replace(b", requires_approval: false", b"")).decision == policy.REVIEW


def test_the_default_risk_of_what_is_done_without_asking_is_low() -> None:
    data = AUTO.replace(b"    max_risk: medium\n", b"")
    assert decide_auto(data, risk_level=RiskLevel.LOW).decision == policy.AUTO
    assert decide_auto(data, risk_level=RiskLevel.MEDIUM).decision == policy.REVIEW


def test_rate_limits_are_read() -> None:
    data = b"""\
name: p
version: 1
rate_limits:
  - {type: "restart*", resources: ["payments-*"], max: 3, per: 24h, description: enough for a day}
  - {type: "*", max: 1, per: 30m}
"""
    assert parse_policy(data, SOURCE).rate_limits == (
        RateLimit("restart*", ("payments-*",), 3, timedelta(days=1), "24h", "enough for a day"),
        RateLimit("*", ("*",), 1, timedelta(minutes=30), "30m"),
    )


def test_a_list_of_which_some_fit_neither_is_allowed_nor_escapes_a_denying_rule() -> None:
    condition = b"{parameter: hosts, operator: each_in, value: [db-1, db-2]}"
    allowing = b"name: p\nversion: 1\nallowed_actions: [{type: '*', conditions: [" + condition + b"]}]\n"
    denying = (
        b"name: p\nversion: 1\nallowed_actions: [{type: '*'}]\n"
        b"denied_actions: [{type: '*', conditions: [" + condition + b"]}]\n"
    )
    some = decide(allowing, hosts=["db-1", "web-1"])
    assert some.decision == policy.DENIED
    assert (
        "the parameter hosts is not a list of one kind, or not all of it is alike to: hosts each in" in some.reasons[0]
    )
    assert decide(allowing, hosts=["db-1", "db-2"]).decision == policy.REVIEW
    assert decide(denying, hosts=["web-1", "db-1"]).decision == policy.DENIED
    assert decide(denying, hosts=["web-1", "web-2"]).decision == policy.REVIEW


def test_a_policy_without_rules_denies() -> None:
    assert decide(b"name: p\nversion: 1\n").decision == policy.DENIED
    assert decide(b"name: p\nversion: 1\nallowed_actions: []\n").decision == policy.DENIED


HOLDS = [
    (
        "equals",
        "prod",
        ["prod"],
        ["", "pro", "prods", "p rod"],
        [1, True, None, [], "pr\u200bod", "Prod", "prod ", " prod", "\uff50rod", "\u3000prod"],
    ),
    ("equals", 1, [1, 1.0], [2, 0.5], ["1", True, None]),
    ("equals", True, [True], [False], [1, "true", None]),
    ("equals", "é", ["é"], ["e"], ["e\u0301"]),
    ("not_equals", "prod", ["dev"], ["prod"], [1, None, True, {}, "PROD", "prod "]),
    ("in", ("a", "b"), ["a", "b"], ["c"], [1, None, True, "A", "b ", "\uff41"]),
    ("in", ("Stra\u00dfe", "b"), ["Stra\u00dfe"], ["Strase"], ["strasse", "STRASSE"]),
    ("in", (1, 2), [1, 2.0], [3], ["1", True]),
    ("not_in", ("a", "b"), ["c"], ["a"], [1, None, "A", " b"]),
    (
        "format",
        "service-name",
        ["db-1", "d"],
        ["", "db-", "xdb-1!", "d" * 64],
        [1, None, True, [], "db-1\n", "DB-1", " db-1", "\uff44b-1"],
    ),
    ("format", "git-ref", ["main", "v1.2", "Fix/A-1"], ["", "-f", "a..b", "a b"], [1, "main\n", " main", "\uff4dain"]),
    (
        "starts_with",
        "db-",
        ["db-", "db-1", "db-1 or anything"],
        ["", "db", "a-db-1"],
        [1, None, ["db-1"], "db-1\n", "DB-1", " db-1", "\uff44b-1"],
    ),
    ("starts_with", "Stra\u00dfe", ["Stra\u00dfe 1"], ["Strase"], ["strasse 1", "STRASSE"]),
    ("greater_than", 5, [6, 5.5, 10**400], [5, 4], ["6", True, float("inf"), float("nan")]),
    ("at_least", 5, [5, 6], [4.9], ["5", None]),
    ("less_than", 5, [4, -1, -(10**400)], [5], ["4", float("-inf")]),
    ("at_most", 5.5, [5.5, 5], [6], ["5", True]),
    ("max_items", 2, [["a"], ["a", "b"], [1, 2.5]], [["a", "b", "c"]], [[], "ab", 1, ["a", 1], [["a"]], [None], {}]),
    (
        "each_in",
        ("a", "b"),
        [["a"], ["b", "a", "a"]],
        [["c"], ["c", "d"]],
        ["a", [], ["a", "c"], ["A"], ["c", "A"], ["a", 1], [None], {}],
    ),
    ("each_in", (1, 2), [[1], [2, 1.0]], [[3]], [1, [], [1, 3], [1, True], ["1"]]),
    (
        "each_format",
        "service-name",
        [["ab"], ["a", "b-1"]],
        [["?"], ["-", "a b"]],
        ["ab", [], ["a", "?"], ["A"], ["a\n"], [1]],
    ),
    (
        "each_starts_with",
        "web-",
        [["web-1"], ["web-1", "web-2"]],
        [["db-1"], ["db-1", "web"]],
        ["web-1", [], ["web-1", "db-1"], ["WEB-1"], ["web-1\n"], [1]],
    ),
]


RANK = {policy.DENIED: 0, policy.REVIEW: 1, policy.AUTO: 2}


@pytest.mark.parametrize(("operator", "value", "true", "false", "unclear"), HOLDS, ids=[row[0] for row in HOLDS])
def test_conditions(operator: str, value: Any, true: list[Any], false: list[Any], unclear: list[Any]) -> None:
    """An allowing rule needs a clear yes; a denying rule is stopped by a clear no only."""
    rule = Rule("*", conditions=(Condition("p", operator, value),))
    allowing = Policy("p", 1, (rule,), (), "")
    denying = Policy("p", 1, (Rule("*"),), (rule,), "")

    def decision(found: Policy, parameters: dict[str, Any]) -> str:
        return evaluate(found, action="a", resource="r", parameters=parameters, risk_level=RiskLevel.LOW).decision

    cases = [({"p": item}, True) for item in true] + [({"p": item}, False) for item in false]
    for given_parameters, holds in cases:
        assert decision(allowing, given_parameters) == ("review" if holds else "denied"), given_parameters
        assert decision(denying, given_parameters) == ("denied" if holds else "review"), given_parameters
    for given_parameters in [{}, {"P": true[0]}, *({"p": item} for item in unclear)]:
        assert decision(allowing, given_parameters) == "denied", given_parameters
        assert decision(denying, given_parameters) == "denied", given_parameters


def test_every_operator_is_tested() -> None:
    assert {row[0] for row in HOLDS} == set(OPERATORS)


asked = st.fixed_dictionaries(
    {
        "action": action_types,
        "resource": resources,
        "parameters": parameters,
        "risk_level": risks,
        "reversible": st.booleans(),
        "moment": moments,
    }
)


def rank(found: Policy, ask: dict[str, Any]) -> int:
    """How much is allowed: 0 nothing, 1 after asking, 2 without asking."""
    return RANK[evaluate(found, **ask).decision]


@pytest.mark.threat("T23")
@given(policies, rules, asked)
def test_another_denying_rule_never_yields_more(found: Policy, rule: Rule, ask: dict[str, Any]) -> None:
    stricter = dataclasses.replace(found, denied_actions=(*found.denied_actions, rule))
    assert rank(stricter, ask) <= rank(found, ask)


@pytest.mark.threat("T23")
@given(policies, asked)
def test_t23_a_denying_rule_about_everything_denies_whatever_else_the_policy_says(
    found: Policy, ask: dict[str, Any]
) -> None:
    closed = dataclasses.replace(found, denied_actions=(*found.denied_actions, Rule("*")))
    assert evaluate(closed, **ask).decision == policy.DENIED


@pytest.mark.threat("T23")
@given(policies, asked)
def test_t23_without_rules_for_it_nothing_is_done_without_asking(found: Policy, ask: dict[str, Any]) -> None:
    assert rank(dataclasses.replace(found, auto_approve=()), ask) < RANK[policy.AUTO]
    assert rank(found, {**ask, "reversible": False}) < RANK[policy.AUTO]
    reserved = dataclasses.replace(
        found,
        allowed_actions=tuple(dataclasses.replace(rule, requires_approval=True) for rule in found.allowed_actions),
    )
    assert rank(reserved, ask) < RANK[policy.AUTO]
    if ask["risk_level"].rank > RiskLevel.MEDIUM.rank:
        assert rank(found, ask) < RANK[policy.AUTO]


@given(policies, asked)
def test_a_gate_at_which_somebody_is_asked_changes_nothing_else(found: Policy, ask: dict[str, Any]) -> None:
    plain = dataclasses.replace(found, auto_approve=())
    reviewed = as_review(evaluate(found, **ask), "because")
    assert (reviewed.decision, reviewed.matched_rules) == (
        evaluate(plain, **ask).decision,
        evaluate(plain, **ask).matched_rules,
    )


@pytest.mark.threat("T23")
@given(policies, asked, st.data())
def test_leaving_parameters_out_never_yields_more(found: Policy, ask: dict[str, Any], data: st.DataObject) -> None:
    kept = {name: value for name, value in ask["parameters"].items() if data.draw(st.booleans())}
    assert rank(found, {**ask, "parameters": kept}) <= rank(found, ask)


WIDE = {chr(number): chr(number + 0xFEE0) for number in range(0x21, 0x7F)}


def disguised(data: st.DataObject, text: str) -> str:
    """The text as somebody writes it who wants to get past a rule: what gets it may read it as the same."""
    # One draw for each sign of what is this short; one after the other takes seconds where there are thousands.
    period = min(len(text), 20)
    drawn = data.draw(st.lists(st.integers(0, 4), min_size=period, max_size=period))
    signs = []
    for number, sign in enumerate(text):
        forms = [sign, sign.upper(), sign.lower(), WIDE.get(sign, sign), WIDE.get(sign.upper(), sign)]
        form = forms[drawn[number % period]]
        signs.append(form if len(form) == 1 else sign)
    spaces = st.text(" \u00a0\u2003\u3000", max_size=2)
    return data.draw(spaces) + "".join(signs) + data.draw(spaces)


def names_exactly(value: Any, rule: Rule) -> bool:
    """Whether a rule excepts exactly this text."""
    excepted = [condition.value for condition in rule.conditions if condition.operator in ("not_equals", "not_in")]
    return any(value == one or (isinstance(one, tuple) and value in one) for one in excepted)


@pytest.mark.threat("T3")
@given(rules, asked, st.data())
def test_a_disguise_gets_nothing_past_a_denying_rule(rule: Rule, ask: dict[str, Any], data: st.DataObject) -> None:
    found = Policy("p", 1, (Rule("*"),), (rule,), "")

    def disguise(value: Any) -> Any:
        if isinstance(value, list):
            return [disguise(item) for item in value]
        return disguised(data, value) if isinstance(value, str) else value

    values = {name: disguise(value) for name, value in ask["parameters"].items()}
    assume(not any(names_exactly(value, rule) for value in values.values() if isinstance(value, str)))
    hidden = {
        **ask,
        "action": disguised(data, ask["action"]),
        "resource": disguised(data, ask["resource"]),
        "parameters": values,
    }
    assert rank(found, hidden) <= rank(found, ask)


@pytest.mark.threat("T3")
@given(
    st.sampled_from(["equals", "in", "format", "starts_with", "each_in", "each_format", "each_starts_with"]),
    st.from_regex(r"[a-z]{1,8}-[0-9]", fullmatch=True),
    st.data(),
)
def test_a_disguised_value_is_denied_as_the_value_that_is_named(operator: str, named: str, data: st.DataObject) -> None:
    value: Any = {"in": (named,), "format": "service-name", "starts_with": named[:-1]}.get(
        operator.replace("each_", ""), named
    )
    given_value: Any = disguised(data, named)
    if operator.startswith("each_"):
        given_value = ["?", given_value]
    rule = Rule("*", conditions=(Condition("p", operator, value),))
    found = Policy("p", 1, (Rule("*"),), (rule,), "")
    ask: dict[str, Any] = {
        "action": "a",
        "resource": "r",
        "parameters": {"p": given_value},
        "risk_level": RiskLevel.LOW,
    }
    assert evaluate(found, **ask).decision == policy.DENIED


@pytest.mark.threat("T3")
def test_a_denying_rule_says_that_only_the_writing_differs() -> None:
    data = b"""\
name: p
version: 1
allowed_actions: [{type: "*"}]
denied_actions:
  - {type: "*", conditions: [{parameter: target, operator: in, value: [prod, live]}]}
  - {type: "*", resources: ["*-db"]}
"""
    reasons = decide(data, target="Prod").reasons
    assert reasons[0] == (
        "denied_actions[0] (* on *): applies because only case, whitespace or compatibility characters decide whether "
        "target in [prod, live], so restart on payments-api is denied"
    )
    verdict = decide(data, resource="payments-DB", target="dev")
    assert (verdict.decision, verdict.matched_rules) == (policy.DENIED, ("denied_actions[1]",))
    assert verdict.reasons[1] == (
        "denied_actions[1] (* on *-db): applies because only case, whitespace or compatibility characters decide "
        "whether it is about restart on payments-DB, so restart on payments-DB is denied"
    )
    assert decide(data, target="dev").decision == policy.REVIEW


@pytest.mark.threat("T23")
@pytest.mark.parametrize("changes", [{"parameters": {**STAGING, "mode": "Forced "}}, {"resource": "payments-API"}])
def test_t23_a_disguise_is_not_a_way_around_asking(changes: dict[str, Any]) -> None:
    """Where a rule that keeps its approval may be meant, somebody is asked."""
    data = AUTO.replace(
        b"parameter: force, operator: equals, value: true", b"parameter: mode, operator: in, value: [forced]"
    )
    data = data.replace(
        b"  - type: restart\n    conditions", b"  - type: restart\n    resources: [payments-api]\n    conditions", 1
    )
    assert decide_auto(data, parameters={**STAGING, "mode": "calm"}).decision == policy.AUTO
    assert decide_auto(data, **{"parameters": {**STAGING, "mode": "forced"}, **changes}).decision == policy.REVIEW


@pytest.mark.threat("T25")
def test_a_disguised_name_counts_for_its_rate_limit() -> None:
    limit = RateLimit("restart", ("checkout",), 1, timedelta(hours=1), "1h")
    assert limit.is_about("restart", "Checkout ") and not limit.is_about("restart", "checkout-2")


@given(policies, asked, st.randoms())
def test_the_order_of_rules_decides_nothing(found: Policy, ask: dict[str, Any], random: Any) -> None:
    shuffled = dataclasses.replace(
        found,
        allowed_actions=tuple(random.sample(found.allowed_actions, len(found.allowed_actions))),
        denied_actions=tuple(random.sample(found.denied_actions, len(found.denied_actions))),
        auto_approve=tuple(random.sample(found.auto_approve, len(found.auto_approve))),
    )
    assert evaluate(found, **ask) == evaluate(found, **ask)
    assert evaluate(shuffled, **ask).decision == evaluate(found, **ask).decision


@given(policies, asked)
def test_more_risk_never_yields_more(found: Policy, ask: dict[str, Any]) -> None:
    ranks = [rank(found, {**ask, "risk_level": risk}) for risk in RiskLevel]
    assert ranks == sorted(ranks, reverse=True), "less is allowed with more risk"


@given(policies, hostile_text, hostile_text, json_objects, risks)
def test_reasons_are_lines_whatever_is_asked(
    found: Policy, action: str, resource: str, given_parameters: dict[str, Any], risk_level: RiskLevel
) -> None:
    verdict = evaluate(found, action=action, resource=resource, parameters=given_parameters, risk_level=risk_level)
    looked_at = len(found.allowed_actions) + len(found.denied_actions) + len(found.auto_approve)
    assert len(verdict.reasons) in (looked_at, looked_at + 1)
    assert not any(re.search(r"[\x00-\x1f\x7f-\x9f\u202e\u2028]", line) for line in verdict.reasons)
    assert (verdict.decision == policy.REVIEW) == any(
        name.startswith("allowed_actions") for name in verdict.matched_rules
    )


INVALID = [
    ("", 1, "the file is empty"),
    ("- a\n", 1, "the policy is a list: write keys and values (name, version, allowed_actions, denied_actions, auto_"),
    ("version: 1\n", 1, "the policy has no name: add it"),
    ("name: p\n", 1, "the policy has no version: add it"),
    ("name: 5\nversion: 1\n", 1, "name is 5: write a text, in quotes if need be"),
    ("name: ''\nversion: 1\n", 1, "name has 0 characters: 1 to 256 are allowed"),
    ("name: p\nversion: 0\n", 2, "version is 0: write a whole number from 1"),
    ("name: p\nversion: true\n", 2, "version is true: write a whole number from 1"),
    ("name: p\nversion: '1'\n", 2, "version is '1': write a whole number from 1"),
    ("name: p\nversion: 010\n", 2, "010 without quotes is read differently by different programs"),
    ("name: p\nversion: 1\nversion: 2\n", 3, "the key version appears twice: keep one of them"),
    ("name: p\nversion: 1\nauto_approved: []\n", 3, "the policy has the unknown key auto_approved: use name, "),
    ("name: p\nversion: 1\nauto_approve: true\n", 3, "auto_approve is true: write a list"),
    ("name: p\nversion: 1\ninitiators: pager[bot]\n", 3, "initiators is 'pager[bot]': write a list"),
    (
        "name: p\nversion: 1\ninitiators:\n  - pager[bot]\n  - alice\n",
        5,
        "initiators[1] is 'alice': write an app as \"name[bot]\"; people need no entry",
    ),
    ("name: p\nversion: 1\ninitiators: ['*']\n", 3, "initiators[0] is '*': write an app as"),
    (
        "name: p\nversion: 1\ninitiators: ['GitHub-Actions[bot]']\n",
        3,
        "initiators[0] is 'GitHub-Actions[bot]', which every workflow can be: remove it",
    ),
    ("name: p\nversion: 1\nauto_approve:\n  - x\n", 4, "auto_approve[0] is 'x': write keys and values"),
    (
        "name: p\nversion: 1\nauto_approve:\n- type: a\n  max_risk: high\n",
        5,
        "auto_approve[0].max_risk is 'high': use one of low, medium",
    ),
    (
        "name: p\nversion: 1\nauto_approve:\n- type: a\n  requires_approval: false\n",
        5,
        "auto_approve[0] has the unknown key requires_approval",
    ),
    (
        "name: p\nversion: 1\nauto_approve:\n- type: a\n  confidence: 0.95\n",
        5,
        "auto_approve[0] has the unknown key confidence",
    ),
    (
        "name: p\nversion: 1\nallowed_actions:\n- type: a\n  requires_approval: 'false'\n",
        5,
        "allowed_actions[0].requires_approval is 'false': use true or false",
    ),
    ("name: p\nversion: 1\nrate_limits: {}\n", 3, "rate_limits is a mapping: write a list"),
    ("name: p\nversion: 1\nrate_limits:\n- {type: a, max: 1}\n", 4, "rate_limits[0] has no per: add it"),
    (
        "name: p\nversion: 1\nrate_limits:\n- {type: a, max: 0, per: 1h}\n",
        4,
        "rate_limits[0].max is 0: write a whole number, 1 to 1000",
    ),
    ("name: p\nversion: 1\nrate_limits:\n- {type: a, max: true, per: 1h}\n", 4, "rate_limits[0].max is true: write"),
    ("name: p\nversion: 1\nrate_limits:\n- {type: a, max: 1.5, per: 1h}\n", 4, "rate_limits[0].max is 1.5: write"),
    *[
        (
            "name: p\nversion: 1\nrate_limits:\n- {type: a, max: 1, per: " + per + "}\n",
            4,
            "rate_limits[0].per is " + shown + ": write minutes, hours or days up to 30d, such as 30m, 24h or 7d",
        )
        for per, shown in (
            ("1", "1"),
            ("0h", "'0h'"),
            ("1w", "'1w'"),
            ("1H", "'1H'"),
            ("31d", "'31d'"),
            ("'1 h'", "'1 h'"),
            ("1h30m", "'1h30m'"),
            ("-1h", "'-1h'"),
            ("99999h", "'99999h'"),
        )
    ],
    ("name: p\nversion: 1\ndenied_actions:\n", 3, "denied_actions is empty: write a list, for example []"),
    ("name: p\nversion: 1\nallowed_actions: restart\n", 3, "allowed_actions is 'restart': write a list"),
    ("name: p\nversion: 1\nallowed_actions: [restart]\n", 3, "allowed_actions[0] is 'restart': write keys and values"),
    ("name: p\nversion: 1\nallowed_actions:\n- {}\n", 4, "allowed_actions[0] has no type: add it"),
    ("name: p\nversion: 1\nallowed_actions:\n- type: on\n", 4, "on without quotes is read differently"),
    (
        "name: p\nversion: 1\nallowed_actions:\n- type: a\n  reason: x\n",
        5,
        "allowed_actions[0] has the unknown key reason",
    ),
    (
        "name: p\nversion: 1\nallowed_actions:\n- type: a\n  description: 1\n",
        5,
        "allowed_actions[0].description is 1: write a text",
    ),
    (
        "name: p\nversion: 1\nallowed_actions:\n- type: a\n  max_risk: High\n",
        5,
        "allowed_actions[0].max_risk is 'High': use one of low, medium, high, critical",
    ),
    (
        "name: p\nversion: 1\nallowed_actions:\n- type: a\n  max_risk: [low]\n",
        5,
        "allowed_actions[0].max_risk is a list: use one of low",
    ),
    (
        "name: p\nversion: 1\ndenied_actions:\n- type: a\n  max_risk: low\n",
        5,
        "denied_actions[0] has the unknown key max_risk",
    ),
    (
        "name: p\nversion: 1\ndenied_actions:\n- type: a\n  resources: []\n",
        5,
        "denied_actions[0].resources is empty: name one, or remove the key",
    ),
    (
        "name: p\nversion: 1\ndenied_actions:\n- type: a\n  resources: '*'\n",
        5,
        "denied_actions[0].resources is '*': write a list",
    ),
    (
        "name: p\nversion: 1\ndenied_actions:\n- type: a\n  resources: [*]\n",
        5,
        "write a value that starts with * in quotes",
    ),
    (
        "name: p\nversion: 1\ndenied_actions:\n- type: *all\n",
        4,
        "the alias *all is not allowed: write the value out, or in quotes",
    ),
    ("name: p\nversion: 1\ndenied_actions: &d []\n", 3, "the anchor &d is not allowed: write the value out"),
    ("name: !!str 5\nversion: 1\n", 1, "the tag tag:yaml.org,2002:str is not allowed: remove it"),
    ("name: p\nversion: 1\n---\nname: q\n", 3, "a second document: keep one in a file"),
    ("name: p\n\tversion: 1\n", 2, "not YAML: "),
    ("name: [p\nversion: 1\n", 2, "not YAML: "),
    ('name: "\\U99999999"\nversion: 1\n', 1, "not YAML: "),
    ("name: p\nversion: 1\n? [a]\n: b\n", 3, "a key is not a text: write it in quotes"),
    ("name: p\nversion: 1\n1: b\n", 3, "a key is not a text: write it in quotes"),
    (
        "name: p # \u202e lla dewolla\nversion: 1\n",
        1,
        "the character \\u{202e} can't be seen and hides what the line says",
    ),
    ("name: p\n# one\u2028allowed_actions: [{type: '*'}]\nversion: 1\n", 2, "the character \\u{2028} can't be seen"),
    ("name: p\n# one\rallowed_actions: [{type: '*'}]\nversion: 1\n", 2, "the character \\u{d} can't be seen"),
    ("name: p\nversion: 1\n# \x1b[2K\n", 3, "the character \\u{1b} can't be seen"),
    (
        "name: p\nversion: 1\ndenied_actions:\n- type: de\u200blete\n",
        4,
        "denied_actions[0].type is 'de\\u{200b}lete', with characters that can't be seen",
    ),
    ("name: p\nversion: 1\ndenied_actions:\n- type: cafe\u0301\n", 4, "not in Unicode's form NFC"),
]
CONDITIONS = [
    ("{parameter: a, operator: equals}", "conditions[0] has no value: add it"),
    ("{parameter: a, operator: equal, value: 1}", "conditions[0].operator is 'equal': use one of equals, not_equals"),
    ("{parameter: '', operator: equals, value: 1}", "conditions[0].parameter has 0 characters"),
    ("{parameter: 1, operator: equals, value: 1}", "conditions[0].parameter is 1: write a text"),
    ("{parameter: a, operator: equals, value: null}", "conditions[0].value is empty: write a text, a number, true or"),
    ("{parameter: a, operator: equals, value: [1]}", "conditions[0].value is a list: write a text, a number, true or"),
    ("{parameter: a, operator: equals, value: {b: 1}}", "conditions[0].value has the unknown key b: use parameter"),
    ("{parameter: a, operator: in, value: {parameter: b}}", "conditions[0].value is a mapping: write a list"),
    ("{parameter: a, operator: starts_with, value: {parameter: b}}", "conditions[0].value is a mapping: write a text"),
    ("{parameter: a, operator: equals, value: {parameter: 'b[]'}}", "'b[]': compare with one value, not with a list"),
    ("{parameter: a, operator: at_most, value: {parameter: age(b)}}", "an age is compared with a time such as 7d, or"),
    ("{parameter: 'a[', operator: equals, value: 1}", "parameter is 'a[': write a name, a.b, a[].b, count(a), sum(a["),
    ("{parameter: 'count(a[])', operator: equals, value: 1}", "'count(a[])': write count(a), which counts the items"),
    (
        "{parameter: sum(a.b), operator: at_most, value: 1}",
        "parameter is 'sum(a.b)': sum() is of a list: write sum(a[]",
    ),
    ("{parameter: count(a), operator: starts_with, value: x}", "starts_with, which is not about what count() gives"),
    ("{parameter: count(a), operator: equals, value: x}", "conditions[0].value is 'x': count() is a number"),
    (
        "{parameter: age(a), operator: at_least, value: 7}",
        "value is 7: write minutes, hours or days, such as 30m or 7d",
    ),
    ("{parameter: age(a), operator: equals, value: 7d}", "operator is equals, which is not about what age() gives"),
    ("{parameter: a, operator: equals, value: 12:30}", "12:30 without quotes is read differently"),
    ("{parameter: a, operator: equals, value: 0x1F}", "0x1F without quotes is read differently"),
    ("{parameter: a, operator: equals, value: 1_000}", "1_000 without quotes is read differently"),
    ("{parameter: a, operator: equals, value: .inf}", ".inf without quotes is read differently"),
    ("{parameter: a, operator: equals, value: 1e3}", "1e3 without quotes is read differently"),
    ("{parameter: a, operator: equals, value: 1e999}", "1e999 without quotes is read differently"),
    ("{parameter: a, operator: equals, value: 9007199254740992}", "9007199254740992 without quotes is read"),
    ("{parameter: a, operator: equals, value: 2026-01-01}", "2026-01-01 without quotes is read differently"),
    ("{parameter: a, operator: equals, value: True}", "True without quotes is read differently"),
    ("{parameter: a, operator: in, value: prod}", "conditions[0].value is 'prod': write a list"),
    ("{parameter: a, operator: in, value: []}", "conditions[0].value is empty: name at least one value"),
    ("{parameter: a, operator: in, value: [a, 1]}", "conditions[0].value mixes texts, numbers and true or false"),
    ("{parameter: a, operator: not_in, value: [1, true]}", "conditions[0].value mixes texts, numbers"),
    ("{parameter: a, operator: at_most, value: '5'}", "conditions[0].value is '5': at_most needs a number"),
    ("{parameter: a, operator: less_than, value: true}", "conditions[0].value is true: less_than needs a number"),
    ("{parameter: a, operator: format, value: 5}", "conditions[0].value is 5: use one of ascii-line, git-commit, git-"),
    ("{parameter: a, operator: format, value: '[a-z]+'}", "conditions[0].value is '[a-z]+': use one of ascii-line, "),
    ("{parameter: a, operator: each_format, value: [version]}", "conditions[0].value is a list: use one of ascii-line"),
    ("{parameter: a, operator: starts_with, value: 5}", "conditions[0].value is 5: write a text"),
    ("{parameter: a, operator: starts_with, value: ''}", "conditions[0].value has 0 characters"),
    ("{parameter: a, operator: each_starts_with, value: [a]}", "conditions[0].value is a list: write a text"),
    (
        "{parameter: a, operator: matches, value: '[0-9a-f]{40}'}",
        "conditions[0].operator matches is no longer known: use format with one of ascii-line, git-commit, git-ref, "
        "host-name, key-id, relative-path, service-name, version",
    ),
    (
        "{parameter: a, operator: each_matches, value: 'web-[0-9]+'}",
        "conditions[0].operator each_matches is no longer known: use each_format with one of ascii-line, git-commit",
    ),
    ("{parameter: a, operator: max_items, value: 0}", "conditions[0].value is 0: write a whole number, 1 to 1000"),
    ("{parameter: a, operator: max_items, value: [1]}", "conditions[0].value is a list: write a whole number"),
    ("{parameter: a, operator: each_in, value: a}", "conditions[0].value is 'a': write a list"),
    ("{parameter: a, operator: each_in, value: [a, 1]}", "conditions[0].value mixes texts, numbers and true or false"),
    ("{parameter: a, operator: equals, value: 1, negate: true}", "conditions[0] has the unknown key negate"),
]


@pytest.mark.parametrize(("text", "line", "message"), INVALID)
def test_a_mistake_is_reported_with_its_place(text: str, line: int, message: str) -> None:
    found = refused(text.encode())
    assert found.startswith(f"{SOURCE} line {line}: ")
    assert message in found


@pytest.mark.parametrize(("condition", "message"), CONDITIONS)
def test_a_mistake_in_a_condition_is_reported_with_its_place(condition: str, message: str) -> None:
    text = f"name: p\nversion: 1\ndenied_actions:\n- type: a\n  conditions:\n  - {condition}\n"
    found = refused(text.encode())
    assert found.startswith(SOURCE + " line 6: ")
    assert message in found


def test_bytes_that_are_not_utf8_are_reported_with_their_line() -> None:
    assert refused(b"name: p\nversion: 1\n# \xff\n") == SOURCE + " line 3: not UTF-8: save the file as UTF-8"


def test_a_huge_policy_is_refused() -> None:
    assert "65537 bytes: 65536 are allowed" in refused(b"#" * (64 * 1024 + 1))


@pytest.mark.parametrize("piece", [b"[", b"- ", b"{a: ", b"? ", b"[{a: ", b"\n "])
def test_deep_nesting_is_refused_quickly(piece: bytes) -> None:
    refused(piece * (60_000 // len(piece)))


def test_windows_line_endings_and_a_byte_order_mark_are_fine() -> None:
    assert parse_policy(b"\xef\xbb\xbf" + WHOLE.replace(b"\n", b"\r\n"), SOURCE).version == 3


def test_words_for_people_may_hold_anything_and_are_shown_escaped() -> None:
    data = 'name: p\nversion: 1\ndenied_actions: [{type: "*", reason: "a\\u202eb ⚠️"}]\n'.encode()
    assert (
        decide(data).reasons[0]
        == "denied_actions[0] (* on *): applies, so restart on payments-api is denied [a\\u{202e}b ⚠\\u{fe0f}]"
    )


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_policy_or_bad_input(data: bytes) -> None:
    try:
        parse_policy(data, SOURCE)
    except codes.BadInput as problem:
        assert problem.code == codes.POLICY_INVALID
        assert re.match(r"[^\n]* line \d+: [^\n]+\Z", problem.message)


_pieces = st.sampled_from(
    [
        "name",
        "version",
        "allowed_actions",
        "type",
        ":",
        ": ",
        "\n",
        "\n  ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        '"',
        "*",
        "&a",
        "!!",
        "|",
        ">",
        "?",
        "%",
        "#",
        "---",
        "...",
        "\t",
        "1",
        "yes",
        "\\",
        "@",
        "<<",
        "\ufeff",
        "é",
        "\x85",
        "\\U99999999",
    ]
)


@given(st.lists(_pieces, max_size=25).map("".join))
def test_arbitrary_yaml_is_a_policy_or_bad_input(text: str) -> None:
    try:
        parse_policy(text.encode(), SOURCE)
    except codes.BadInput as problem:
        assert problem.code == codes.POLICY_INVALID
        assert re.match(r"[^\n]* line \d+: [^\n]+\Z", problem.message)


def _as_yaml(found: Policy) -> str:
    def rule(item: Rule, allowing: bool) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "type": item.type,
            "resources": list(item.resources),
            "conditions": [
                dataclasses.asdict(dataclasses.replace(c, value=list(c.value)) if isinstance(c.value, tuple) else c)
                for c in item.conditions
            ],
        }
        return {**fields, "max_risk": str(item.max_risk)} if allowing else fields

    def allowed(item: Rule) -> dict[str, Any]:
        return {**rule(item, True), "requires_approval": item.requires_approval}

    return json.dumps(
        {
            "name": found.name,
            "version": found.version,
            "allowed_actions": [allowed(item) for item in found.allowed_actions],
            "denied_actions": [rule(item, False) for item in found.denied_actions],
            "auto_approve": [rule(item, True) for item in found.auto_approve],
        }
    )


def test_the_apps_that_may_start_runs_are_read() -> None:
    data = b"name: p\nversion: 1\ninitiators:\n  - pager[bot]\n  - Copilot\n"
    assert parse_policy(data, SOURCE).initiators == ("pager[bot]", "Copilot")


@given(policies)
def test_what_is_written_is_what_is_read(found: Policy) -> None:
    text = _as_yaml(found)
    data = text.encode()
    expected = dataclasses.replace(
        found,
        denied_actions=tuple(
            dataclasses.replace(rule, max_risk=RiskLevel.HIGH, requires_approval=True) for rule in found.denied_actions
        ),
        digest=hashlib.sha256(data).hexdigest(),
    )
    assert parse_policy(data, SOURCE) == expected


@given(st.text("0123456789.-+eExob_:~yno", min_size=1, max_size=8))
@example("1e3")
@example("1.5e+3")
@example("-0")
def test_an_unquoted_word_means_what_pyyaml_means_or_is_refused(word: str) -> None:
    """Nobody who reads the file with another YAML reader sees another value than the gate does."""
    text = (
        "name: p\nversion: 1\ndenied_actions: [{type: a, conditions: [{parameter: p, operator: equals, value: " + word
    )
    data = (text + "}]}]\n").encode()
    try:
        found = parse_policy(data, SOURCE)
    except codes.BadInput:
        return
    ours = found.denied_actions[0].conditions[0].value
    theirs = yaml.safe_load(data)["denied_actions"][0]["conditions"][0]["value"]
    assert (type(ours), ours) == (type(theirs), theirs)


@pytest.mark.threat("T23")
def test_what_the_rules_asked_is_there_with_the_values() -> None:
    rules = parse_policy(
        b"""
name: p
version: 1
allowed_actions:
  - {type: "*", max_risk: critical}
  - type: restart
    conditions:
      - {parameter: error_rate, operator: greater_than, value: 0.05}
      - {parameter: requests, operator: at_least, value: 20}
      - {parameter: files, operator: max_items, value: 5}
      - {parameter: zone, operator: in, value: [a, b]}
      - {parameter: commit, operator: format, value: git-commit}
  - {type: restart, conditions: [{parameter: error_rate, operator: greater_than, value: 0.9}]}
auto_approve:
  - {type: restart, max_risk: low}
""",
        "p.yml",
    )
    parameters = {"error_rate": 0.3, "requests": 100, "files": ["x", "y"], "zone": "a", "commit": "a" * 40}
    verdict = evaluate(rules, action="restart", resource="checkout", parameters=parameters, risk_level=RiskLevel.LOW)
    assert verdict.asked == (
        "allowed_actions[0]: no condition on the parameters; risk low, at most critical",
        "allowed_actions[1]: error_rate 0.3 > 0.05, requests 100 \u2265 20, files [2 items] \u2264 5, "
        "zone a in [a, b], commit … format git-commit; risk low, at most high",
    )
    (_, more) = evaluate(
        rules,
        action="restart",
        resource="checkout",
        parameters={**parameters, "to": 4, "run": "x"},
        risk_level=RiskLevel.LOW,
    ).asked
    assert more == verdict.asked[1] + "; not looked at: run, to"


@given(policies, asked)
def test_the_page_lists_each_rule_that_may_be_about_the_action_and_names_the_others(
    found: Policy, ask: dict[str, Any]
) -> None:
    whole, page = evaluate(found, **ask), evaluate(found, **ask, every_rule=False)
    assert dataclasses.replace(page, reasons=()) == dataclasses.replace(whole, reasons=())
    (others,) = [line for line in page.reasons if line.startswith("about other actions: ")] or [""]
    left_out = others.removeprefix("about other actions: ").split(", ") if others else []
    assert not set(left_out) & set(page.matched_rules)
    assert [line for line in page.reasons if line != others] == [
        line for line in whole.reasons if line.split(" ")[0] not in left_out
    ]
    listed = {line.split(" ")[0] for line in whole.reasons if f": is about another action than {ask['action']}" in line}
    assert set(left_out) <= listed


def test_rules_about_other_actions_share_a_line_but_not_those_that_come_close() -> None:
    rules = "\n".join(
        [
            "name: p",
            "version: 1",
            "allowed_actions: [{type: restart}, {type: scale}, {type: Restart}, {type: '*', resources: [other]}]",
            "denied_actions: [{type: purge}, {type: 'RESTART', resources: [here], reason: not here}]",
        ]
    )
    verdict = judge(parse_policy(rules.encode(), "p.yml"), [examples.step(action="restart")], "here")
    assert [line.split(":")[0] for line in verdict.reasons] == [
        "denied_actions[1] (RESTART on here)",
        "allowed_actions[0] (restart on *)",
        "allowed_actions[2] (Restart on *)",
        "allowed_actions[3] (* on other)",
        "about other actions",
    ]
    assert verdict.reasons[-1] == "about other actions: denied_actions[0], allowed_actions[1]"
