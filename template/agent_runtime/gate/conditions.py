"""What a policy can ask of an action's parameters, and whether it holds: yes, no, or that can't be judged."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any, Iterable, Mapping, Optional

from agent_runtime.gate.expressions import AGE, age_of, duration, exact, parse, seconds, values
from agent_runtime.text.escape import is_visible, visible
from agent_runtime.text.formats import FORMATS
from agent_runtime.text.patterns import caseless

EQUALITY = ("equals", "not_equals")
MEMBERSHIP = ("in", "not_in")
ORDER = ("greater_than", "at_least", "less_than", "at_most")
FORMAT = "format"
STARTS_WITH = "starts_with"
# About lists, so that one plan can't grow into a mass action: how many, and each of them.
MAX_ITEMS = "max_items"
EACH_IN = "each_in"
EACH_FORMAT = "each_format"
EACH_STARTS_WITH = "each_starts_with"
# What each item of a list must be, by the operator about the list.
OF_EACH = {EACH_IN: "in", EACH_FORMAT: FORMAT, EACH_STARTS_WITH: STARTS_WITH}
BATCH = (MAX_ITEMS, *OF_EACH)
OPERATORS = (*EQUALITY, *MEMBERSHIP, FORMAT, STARTS_WITH, *ORDER, *BATCH)

_LONGEST_SHOWN = 20
_SIGNS = {"equals": "=", "max_items": "≤", "greater_than": ">", "at_least": "≥", "less_than": "<", "at_most": "≤"}
# What stands before the question that can't be judged.
ONLY_WRITING = "only case, whitespace or compatibility characters decide whether"


@dataclass(frozen=True)
class Other:
    """The right side of a comparison with another parameter: an expression that is one value."""

    parameter: str


@dataclass(frozen=True)
class Condition:
    """What must hold of an action's parameters: `parameter` `operator` `value`.

    Arguments:
        parameter: an expression; where it is one value for each item of a list, all of them must agree.
        value: what to compare with, the name of a format, a text such as `7d` for an age, or an `Other`.
    """

    parameter: str
    operator: str
    value: Any


def holds(condition: Condition, parameters: Mapping[str, Any], moment: Optional[datetime] = None) -> Optional[bool]:
    """Whether the condition holds; None when that can't be judged.

    Of a list of which some items fit and others don't it can't be judged, either: an allowing rule needs all of them,
    and a denying rule is stopped by none.

    Arguments:
        moment: aware datetime, from which ages count.
    """
    found = values(condition.parameter, parameters, moment)
    expected = _expected(condition, parameters, moment)
    if found is None or expected is None:
        return None
    return _agreed(_judge(condition.operator, actual, expected) for actual in found)


def doubt(condition: Condition, parameters: Mapping[str, Any], moment: Optional[datetime] = None) -> str:
    """Why a condition can't be judged, for people."""
    for each in (condition.parameter, *([condition.value.parameter] if isinstance(condition.value, Other) else [])):
        if values(each, parameters, moment) is None:
            expression = parse(each)
            plain = not expression.function and len(expression.steps) == 1
            return f"the parameter {visible(each)} is missing" if plain else f"there is no {visible(each)} in this plan"
    found = values(condition.parameter, parameters, moment) or []
    expected = _expected(condition, parameters, moment)
    if condition.operator in BATCH or len(found) > 1:
        return (
            f"the parameter {visible(condition.parameter)} is not a list of one kind, or not all of it is alike "
            f"to: {describe(condition)}"
        )
    if _comparable(found[0], expected) and _nearly(condition.operator, found[0], expected):
        return f"{ONLY_WRITING} {describe(condition)}"
    return f"the parameter {visible(condition.parameter)} can't be compared with {show_value(condition.value)}"


def describe(condition: Condition) -> str:
    """A condition in words, with what its format means."""
    operator = condition.operator.replace("_", " ").replace("format", "has the format")
    said = f"{visible(condition.parameter)} {operator} {show_value(condition.value)}"
    return f"{said} ({FORMATS[condition.value]})" if condition.operator in (FORMAT, EACH_FORMAT) else said


def compared(condition: Condition, parameters: Mapping[str, Any], moment: Optional[datetime] = None) -> str:
    """A condition that holds, with the value that it was asked about, unless that is long: `error_rate 0.31 > 0.05`."""
    found = values(condition.parameter, parameters, moment) or []
    if all(kind_of(value) == "a number" for value in found):
        show = age_of if parse(condition.parameter).function == AGE else show_value
        shown = " to ".join(dict.fromkeys((show(min(found)), show(max(found)))))
    else:
        (actual,) = found if len(found) == 1 else (found,)
        shown = f"[{len(actual)} items]" if isinstance(actual, (list, tuple)) else show_value(actual)
    shown = shown if len(shown) <= _LONGEST_SHOWN else "…"
    sign = _SIGNS.get(condition.operator) or condition.operator.replace("_", " ")
    other = values(condition.value.parameter, parameters, moment) if isinstance(condition.value, Other) else None
    than = f"{show_value(condition.value)} {show_value(other[0])}" if other else show_value(condition.value)
    return f"{visible(condition.parameter)} {shown} {sign} {than}"


def show_value(value: Any) -> str:
    """A condition's value, as messages name it."""
    if isinstance(value, tuple):
        return f"[{', '.join(show_value(item) for item in value)}]"
    if isinstance(value, Other):
        return f"the parameter {visible(value.parameter)}"
    if isinstance(value, Fraction):
        value = value.numerator if value.denominator == 1 else float(value)
    return visible(value) if isinstance(value, str) else str(value).lower()


def _expected(condition: Condition, parameters: Mapping[str, Any], moment: Optional[datetime]) -> Any:
    """What a condition compares with; None where the other parameter has no value that can be compared."""
    if isinstance(condition.value, Other):
        found = values(condition.value.parameter, parameters, moment)
        return found[0] if found and len(found) == 1 and kind_of(found[0]) else None
    if parse(condition.parameter).function == AGE:
        return seconds(duration(condition.value))
    return condition.value


def _judge(operator: str, actual: Any, expected: Any) -> Optional[bool]:
    """Whether one value is as an operator asks; None when that can't be judged."""
    if operator in BATCH:
        return _judge_list(operator, actual, expected)
    if not _comparable(actual, expected):
        return None
    if operator in ORDER:
        return _compare(operator, exact(actual), exact(expected))
    met = _is_met(operator, actual, expected)
    if not met and _nearly(operator, actual, expected):
        return None
    return met == (operator not in ("not_equals", "not_in"))


def _is_met(operator: str, actual: Any, expected: Any) -> bool:
    """Whether a value is one that the condition names."""
    if operator == FORMAT:
        return FORMATS[expected].accepts(actual)
    if operator == STARTS_WITH:
        return str(actual).startswith(expected)
    return _same(actual) in [_same(each) for each in (expected if operator in MEMBERSHIP else (expected,))]


def _same(value: Any) -> Any:
    return value if isinstance(value, (bool, str)) else exact(value)


def _comparable(actual: Any, expected: Any) -> bool:
    kind = kind_of(actual)
    return kind is not None and kind == kind_of(expected[0] if isinstance(expected, tuple) else expected)


def _nearly(operator: str, actual: Any, expected: Any) -> bool:
    """Whether a text is what the condition names but for case, whitespace around it or compatibility characters.

    Whoever gets the text may well take it for the same: a rule that denies `prod` must not let `Prod` pass.
    """
    if not isinstance(actual, str):
        return False
    if operator != FORMAT:
        expected = tuple(map(caseless, expected)) if isinstance(expected, tuple) else caseless(expected)
    return _is_met(operator, caseless(actual), expected)


def _judge_list(operator: str, items: Any, expected: Any) -> Optional[bool]:
    """The same of a list; an empty list, a list of several kinds and what is not a list can't be judged."""
    if not isinstance(items, (list, tuple)) or not items:
        return None
    kinds = {kind_of(item) for item in items}
    if len(kinds) > 1 or None in kinds:
        return None
    if operator == MAX_ITEMS:
        return len(items) <= int(expected)
    return _agreed(_judge(OF_EACH[operator], item, expected) for item in items)


def _agreed(answers: Iterable[Optional[bool]]) -> Optional[bool]:
    """The one answer that all of them are."""
    said = set(answers)
    return said.pop() if len(said) == 1 else None


def _compare(operator: str, actual: Any, expected: Any) -> bool:
    if operator == "greater_than":
        return bool(actual > expected)
    if operator == "at_least":
        return bool(actual >= expected)
    if operator == "less_than":
        return bool(actual < expected)
    return bool(actual <= expected)


def kind_of(value: Any) -> Optional[str]:
    """The kind of a value for comparisons; None for what is never compared."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float, Fraction)):
        return "a number" if not isinstance(value, float) or math.isfinite(value) else None
    if isinstance(value, str):
        return "a text" if is_visible(value) and unicodedata.is_normalized("NFC", value) else None
    return None
