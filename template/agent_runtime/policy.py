"""What the agent may do: the policy, and deciding by it.

Deciding is pure and denies by default: a denying rule wins over any allowing one, and whatever can't be judged (a
missing parameter, another type) counts against the action.  No number that the agent reports about itself, such as its
confidence, takes part (threat T23).
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Tuple, Union

from agent_runtime.escape import is_visible, visible
from agent_runtime.patterns import Expression, glob_matches
from agent_runtime.results import RiskLevel

REVIEW = "review"
DENIED = "denied"

EQUALITY = ("equals", "not_equals")
MEMBERSHIP = ("in", "not_in")
ORDER = ("greater_than", "at_least", "less_than", "at_most")
MATCHES = "matches"
OPERATORS = (*EQUALITY, *MEMBERSHIP, MATCHES, *ORDER)


@dataclass(frozen=True)
class Condition:
    """What must hold of one parameter: `parameter` `operator` `value`."""

    parameter: str
    operator: str
    value: Any


@dataclass(frozen=True)
class Rule:
    """Which actions a rule is about.

    Arguments:
        type: glob of the action's type.
        resources: globs, at least one of which the resource must match.
        conditions: all of them must hold.
        max_risk: highest risk that an allowing rule allows; a denying rule is about every risk.
        reason: the author's words: `description` of an allowing rule, `reason` of a denying one.
    """

    type: str
    resources: Tuple[str, ...] = ("*",)
    conditions: Tuple[Condition, ...] = ()
    max_risk: RiskLevel = RiskLevel.HIGH
    reason: Optional[str] = None


@dataclass(frozen=True)
class Policy:
    """A policy file; `digest` is the SHA-256 of its bytes in hexadecimal."""

    name: str
    version: int
    allowed_actions: Tuple[Rule, ...]
    denied_actions: Tuple[Rule, ...]
    digest: str


@dataclass(frozen=True)
class Verdict:
    """What a policy says about one action.

    Arguments:
        decision: `review` (a human may approve it) or `denied`.
        matched_rules: the rules that decided, for example `allowed_actions[0]`.
        reasons: one line for each rule looked at, for people.
    """

    decision: str
    matched_rules: Tuple[str, ...]
    reasons: Tuple[str, ...]


def parse_policy(data: bytes, source: str) -> Policy:
    """Read a policy file.

    Keys: `name`, `version`, `allowed_actions` (`type`, `resources`, `conditions`, `max_risk`, `description`) and
    `denied_actions` (`type`, `resources`, `conditions`, `reason`); a condition has `parameter`, `operator` and `value`.

    Arguments:
        data: the file's bytes, UTF-8, at most 64 KiB.
        source: its name, for messages.

    Raises:
        BadInput: POL002, with file, line, key and what to do about it.
    """
    from agent_runtime import policy_file  # noqa: PLC0415  reading depends on the policy, not the reverse

    return policy_file.read(data, source)


def evaluate(
    policy: Policy, *, action: str, resource: str, parameters: Mapping[str, Any], risk_level: RiskLevel
) -> Verdict:
    """Decide whether a human may be asked to approve an action.

    `review` needs one allowing rule of which everything holds, and no denying rule that may be about the action.  A
    condition can't be judged when its parameter is missing, is of another type than the condition's value (`true` is no
    number), or is a text that holds invisible characters or is not in Unicode's normal form C: then an allowing rule
    does not match and a denying rule does.
    """
    asked = "{} on {}".format(visible(action), visible(resource))
    denying: List[str] = []
    allowing: List[str] = []
    reasons: List[str] = []
    for number, rule in enumerate(policy.denied_actions):
        name = "denied_actions[{}]".format(number)
        obstacle = _off_target(rule, action, resource) or _false_condition(rule, parameters)
        if obstacle is None:
            denying.append(name)
        reasons.append(
            _reason(name, rule, obstacle or "applies{}, so {} is denied".format(_doubts(rule, parameters), asked))
        )
    for number, rule in enumerate(policy.allowed_actions):
        name = "allowed_actions[{}]".format(number)
        obstacle = (
            _off_target(rule, action, resource) or _unmet_condition(rule, parameters) or _too_risky(rule, risk_level)
        )
        if obstacle is None:
            allowing.append(name)
        reasons.append(_reason(name, rule, obstacle or "matches, up to risk {}".format(rule.max_risk)))
    if denying:
        return Verdict(DENIED, tuple(denying), tuple(reasons))
    if allowing:
        return Verdict(REVIEW, tuple(allowing), tuple(reasons))
    reasons.append("no allowing rule matches {}, and what is not allowed is denied".format(asked))
    return Verdict(DENIED, (), tuple(reasons))


def _reason(name: str, rule: Rule, outcome: str) -> str:
    line = "{} ({} on {}): {}".format(
        name, visible(rule.type), ", ".join(visible(glob) for glob in rule.resources), outcome
    )
    return line if rule.reason is None else "{} [{}]".format(line, visible(rule.reason))


def _off_target(rule: Rule, action: str, resource: str) -> Optional[str]:
    if not glob_matches(rule.type, action):
        return "is about another action than {}".format(visible(action))
    if not any(glob_matches(glob, resource) for glob in rule.resources):
        return "is about another resource than {}".format(visible(resource))
    return None


def _false_condition(rule: Rule, parameters: Mapping[str, Any]) -> Optional[str]:
    for condition in rule.conditions:
        if _holds(condition, parameters) is False:
            return "does not apply: it is not so that {}".format(_describe(condition))
    return None


def _unmet_condition(rule: Rule, parameters: Mapping[str, Any]) -> Optional[str]:
    for condition in rule.conditions:
        held = _holds(condition, parameters)
        if held is None:
            return "does not match: {}".format(_doubt(condition, parameters))
        if not held:
            return "does not match: it is not so that {}".format(_describe(condition))
    return None


def _too_risky(rule: Rule, risk_level: RiskLevel) -> Optional[str]:
    if risk_level.rank > rule.max_risk.rank:
        return "does not match: the risk is {}, at most {} is allowed".format(risk_level, rule.max_risk)
    return None


def _doubts(rule: Rule, parameters: Mapping[str, Any]) -> str:
    """Why a denying rule applies although not every condition could be judged, or nothing."""
    doubts = [_doubt(condition, parameters) for condition in rule.conditions if _holds(condition, parameters) is None]
    return " because {}".format(" and ".join(doubts)) if doubts else ""


def _doubt(condition: Condition, parameters: Mapping[str, Any]) -> str:
    if condition.parameter not in parameters:
        return "the parameter {} is missing".format(visible(condition.parameter))
    return "the parameter {} can't be compared with {}".format(
        visible(condition.parameter), show_value(condition.value)
    )


def _describe(condition: Condition) -> str:
    return "{} {} {}".format(
        visible(condition.parameter), condition.operator.replace("_", " "), show_value(condition.value)
    )


def show_value(value: Any) -> str:
    """A condition's value, as messages name it."""
    if isinstance(value, tuple):
        return "[{}]".format(", ".join(show_value(item) for item in value))
    return visible(value) if isinstance(value, str) else str(value).lower()


def _holds(condition: Condition, parameters: Mapping[str, Any]) -> Optional[bool]:
    """Whether the condition holds; None when that can't be judged."""
    if condition.parameter not in parameters:
        return None
    actual = parameters[condition.parameter]
    expected = condition.value
    sample = expected[0] if isinstance(expected, tuple) else expected
    kind = kind_of(actual)
    if kind is None or kind != kind_of(sample):
        return None
    if condition.operator in EQUALITY:
        return bool(actual == expected) == (condition.operator == "equals")
    if condition.operator in MEMBERSHIP:
        return (actual in expected) == (condition.operator == "in")
    if condition.operator in ORDER:
        return _compare(condition.operator, actual, expected)
    try:
        return Expression(expected).matches(actual)
    except ValueError:
        return None


def _compare(operator: str, actual: Union[int, float], expected: Union[int, float]) -> bool:
    if operator == "greater_than":
        return actual > expected
    if operator == "at_least":
        return actual >= expected
    if operator == "less_than":
        return actual < expected
    return actual <= expected


def kind_of(value: Any) -> Optional[str]:
    """The kind of a value for comparisons; None for what is never compared."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number" if isinstance(value, int) or math.isfinite(value) else None
    if isinstance(value, str):
        return "a text" if is_visible(value) and unicodedata.is_normalized("NFC", value) else None
    return None
