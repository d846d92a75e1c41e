"""What a policy can ask of a parameter, and whether it holds: yes, no, or that can't be judged."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Union

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
_OF_EACH = {EACH_IN: "in", EACH_FORMAT: FORMAT, EACH_STARTS_WITH: STARTS_WITH}
BATCH = (MAX_ITEMS, *_OF_EACH)
OPERATORS = (*EQUALITY, *MEMBERSHIP, FORMAT, STARTS_WITH, *ORDER, *BATCH)

_LONGEST_SHOWN = 20
_SIGNS = {"equals": "=", "max_items": "≤", "greater_than": ">", "at_least": "≥", "less_than": "<", "at_most": "≤"}
# What stands before the question that can't be judged.
ONLY_WRITING = "only case, whitespace or compatibility characters decide whether"


@dataclass(frozen=True)
class Condition:
    """What must hold of one parameter: `parameter` `operator` `value`."""

    parameter: str
    operator: str
    value: Any


def doubt(condition: Condition, parameters: Mapping[str, Any]) -> str:
    """Why a condition can't be judged, for people."""
    if condition.parameter not in parameters:
        return f"the parameter {visible(condition.parameter)} is missing"
    if condition.operator in BATCH:
        return (
            f"the parameter {visible(condition.parameter)} is not a list of one kind, or not all of it is alike "
            f"to: {describe(condition)}"
        )
    actual = parameters[condition.parameter]
    if _comparable(condition, actual) and _nearly(condition, actual):
        return f"{ONLY_WRITING} {describe(condition)}"
    return f"the parameter {visible(condition.parameter)} can't be compared with {show_value(condition.value)}"


def describe(condition: Condition) -> str:
    """A condition in words, with what its format means."""
    operator = condition.operator.replace("_", " ").replace("format", "has the format")
    said = f"{visible(condition.parameter)} {operator} {show_value(condition.value)}"
    return f"{said} ({FORMATS[condition.value]})" if condition.operator in (FORMAT, EACH_FORMAT) else said


def compared(condition: Condition, parameters: Mapping[str, Any]) -> str:
    """A condition that holds, with the value that it was asked about, unless that is long: `error_rate 0.31 > 0.05`."""
    actual = parameters[condition.parameter]
    shown = f"[{len(actual)} items]" if isinstance(actual, (list, tuple)) else show_value(actual)
    shown = shown if len(shown) <= _LONGEST_SHOWN else "…"
    sign = _SIGNS.get(condition.operator) or condition.operator.replace("_", " ")
    return f"{visible(condition.parameter)} {shown} {sign} {show_value(condition.value)}"


def show_value(value: Any) -> str:
    """A condition's value, as messages name it."""
    if isinstance(value, tuple):
        return "[{}]".format(", ".join(show_value(item) for item in value))
    return visible(value) if isinstance(value, str) else str(value).lower()


def holds(condition: Condition, parameters: Mapping[str, Any]) -> Optional[bool]:
    """Whether the condition holds; None when that can't be judged."""
    if condition.parameter not in parameters:
        return None
    actual = parameters[condition.parameter]
    expected = condition.value
    if condition.operator in BATCH:
        return _holds_for_each(condition, actual)
    if not _comparable(condition, actual):
        return None
    if condition.operator in ORDER:
        return _compare(condition.operator, actual, expected)
    met = _is_met(condition.operator, actual, expected)
    if not met and _nearly(condition, actual):
        return None
    return met == (condition.operator not in ("not_equals", "not_in"))


def _is_met(operator: str, actual: Any, expected: Any) -> bool:
    """Whether a value is one that the condition names."""
    if operator == FORMAT:
        return FORMATS[expected].accepts(actual)
    if operator == STARTS_WITH:
        return str(actual).startswith(expected)
    return actual in expected if operator in MEMBERSHIP else bool(actual == expected)


def _comparable(condition: Condition, actual: Any) -> bool:
    expected = condition.value
    kind = kind_of(actual)
    return kind is not None and kind == kind_of(expected[0] if isinstance(expected, tuple) else expected)


def _nearly(condition: Condition, actual: Any) -> bool:
    """Whether a text is what the condition names but for case, whitespace around it or compatibility characters.

    Whoever gets the text may well take it for the same: a rule that denies `prod` must not let `Prod` pass.
    """
    if not isinstance(actual, str):
        return False
    expected = condition.value
    if condition.operator != FORMAT:
        expected = tuple(map(caseless, expected)) if isinstance(expected, tuple) else caseless(expected)
    return _is_met(condition.operator, caseless(actual), expected)


def _holds_for_each(condition: Condition, items: Any) -> Optional[bool]:
    """Whether the condition holds for a list; None when that can't be judged.

    An empty list, a list of several kinds and what is not a list can't be judged.  Neither can a list of which some
    elements fit and others don't: an allowing rule needs all of them, and a denying rule is stopped by none.
    """
    if not isinstance(items, (list, tuple)) or not items:
        return None
    kinds = {kind_of(item) for item in items}
    if len(kinds) > 1 or None in kinds:
        return None
    if condition.operator == MAX_ITEMS:
        return len(items) <= int(condition.value)
    single = Condition("item", _OF_EACH[condition.operator], condition.value)
    answers = {holds(single, {"item": item}) for item in items}
    return answers.pop() if len(answers) == 1 else None


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
