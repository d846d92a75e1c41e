"""Rules of a policy that can never match, whatever an agent proposes: each is a mistake of whoever wrote it.

Found is what one rule says by itself: a type or resources that nothing can have, values of which one can't be of two
kinds, and bounds that leave nothing between them.  Said is only what is certain: of a format and a beginning together,
for example, nothing is known here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from fractions import Fraction
from itertools import chain
from math import floor
from typing import Any, DefaultDict, Dict, Iterator, List, Optional, Sequence, Tuple

from agent_runtime.gate.conditions import (
    EQUALITY,
    FORMAT,
    MAX_ITEMS,
    MEMBERSHIP,
    OF_EACH,
    ORDER,
    STARTS_WITH,
    Condition,
    Other,
    describe,
    holds,
    kind_of,
)
from agent_runtime.gate.expressions import AGE, COUNT, Steps, duration, exact, named, parse, seconds
from agent_runtime.gate.policy import Policy, Rule
from agent_runtime.text.escape import visible
from agent_runtime.text.patterns import caseless

# What no action and no resource has (model/inputs.py), beside the wildcards.
_NOT_IN_ACTION = re.compile(r"[^a-z0-9_.:*?-]")
_NOT_IN_RESOURCE = re.compile(r"[^A-Za-z0-9._:/@+=,~%#*?-]")


def never(policy: Policy) -> Iterator[Tuple[str, str]]:
    """Yield each rule that can never match, with the reason."""
    groups = {
        "allowed_actions": policy.allowed_actions,
        "denied_actions": policy.denied_actions,
        "auto_approve": policy.auto_approve,
    }
    for group, rules in groups.items():
        for number, rule in enumerate(rules):
            why = _nothing_has(rule, denies=group == "denied_actions") or _shapes(rule) or _bounds(rule)
            if why:
                yield f"{group}[{number}]", why


def _nothing_has(rule: Rule, *, denies: bool) -> Optional[str]:
    if _NOT_IN_ACTION.search(caseless(rule.type) if denies else rule.type):
        return f"no action has the type {visible(rule.type)}: types are of lower-case letters, digits and _ . : -"
    if all(_NOT_IN_RESOURCE.search(caseless(glob) if denies else glob) for glob in rule.resources):
        return "no resource has one of these names"
    return None


def _shapes(rule: Rule) -> Optional[str]:
    """Something that would have to be an object, a list and a single value, or two of them."""
    known: Dict[Steps, str] = {}
    for condition in rule.conditions:
        for place, shape in chain.from_iterable(_demanded(condition)):
            if known.setdefault(place, shape) != shape:
                hint = ", and max_items is for lists of single values: use count()" if _is_max(rule, place) else ""
                return f"{visible(named(place))} can't be {known[place]} and {shape}{hint}"
    return None


def _demanded(condition: Condition) -> Iterator[List[Tuple[Steps, str]]]:
    for text in (condition.parameter, *([condition.value.parameter] if isinstance(condition.value, Other) else [])):
        expression = parse(text)
        steps = expression.steps
        is_list = expression.function == COUNT or condition.operator in (MAX_ITEMS, *OF_EACH)
        yield [(steps[:end], "a list" if steps[end] is None else "an object") for end in range(1, len(steps))]
        yield [(steps, "a list" if is_list else "a single value")]
        if is_list and not expression.function:
            yield [((*steps, None), "a single value")]


def _is_max(rule: Rule, place: Steps) -> bool:
    return any(
        condition.operator == MAX_ITEMS and (*parse(condition.parameter).steps, None) == place
        for condition in rule.conditions
    )


def _bounds(rule: Rule) -> Optional[str]:
    """Conditions about one value that no value meets."""
    about: DefaultDict[Tuple[str, Steps], List[Condition]] = defaultdict(list)
    for condition in rule.conditions:
        expression, operator, value = parse(condition.parameter), condition.operator, condition.value
        if isinstance(value, Other) or operator == MAX_ITEMS:
            continue
        steps = (*expression.steps, None) if operator in OF_EACH else expression.steps
        value = seconds(duration(value)) if expression.function == AGE else value
        about[expression.function, steps].append(Condition("x", OF_EACH.get(operator, operator), value))
    for (function, steps), conditions in about.items():
        tried = _candidates(function, conditions)
        if tried is not None and not any(all(holds(each, {"x": value}) for each in conditions) for value in tried):
            said = " and ".join(describe(each)[2:] for each in conditions)
            what = f"{function}({named(steps)})" if function else named(steps)
            return f"nothing that {visible(what)} can be is {said}"
    return None


def _candidates(function: str, conditions: Sequence[Condition]) -> Optional[List[Any]]:
    """Values of which one meets the conditions if any value does; None where that is not known."""
    texts = [each.value for each in conditions if each.operator == STARTS_WITH]
    named_values: List[Any] = []
    for each in conditions:
        if each.operator in (*EQUALITY, *MEMBERSHIP, *ORDER):
            named_values += each.value if isinstance(each.value, tuple) else [each.value]
    kinds = {kind_of(value) for value in named_values}
    if any(each.operator in (FORMAT, STARTS_WITH) for each in conditions):
        kinds.add("a text")
    if len(kinds) > 1:
        return []
    if kinds == {"true or false"}:
        return [True, False]
    if kinds == {"a number"}:
        return _numbers(function, [Fraction(exact(value)) for value in named_values])
    if any(each.operator in ("equals", "in") for each in conditions):
        return named_values
    return [] if any(not max(texts, key=len).startswith(text) for text in texts) else None


def _numbers(function: str, points: Sequence[Fraction]) -> List[Any]:
    """Each bound, something between each two, and something beyond all, as far as a function can give it."""
    ordered = sorted({*points, *([Fraction(0)] if function else [])})
    between = [(low + high) / 2 for low, high in zip(ordered, ordered[1:])]
    found = [*ordered, *between, ordered[0] - 1, ordered[-1] + 1]
    if function == COUNT:
        return [number for each in found for number in (floor(each), floor(each) + 1) if number >= 1]
    return [each for each in found if not function or each >= 0]
