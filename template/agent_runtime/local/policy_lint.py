"""Rules of a policy that can never match, whatever an agent proposes: each is a mistake of whoever wrote it.

Found is what one rule says by itself: a type or resources that nothing can have, values of which one can't be of two
kinds, and bounds that leave nothing between them.  Said is only what is certain: of a format and a beginning together,
for example, nothing is known here.  The same of the statements of session policies: what AWS refuses at the login, and
parameters of which a rule lets no value through that could take its place.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from math import floor
from typing import Any, DefaultDict, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from agent_runtime.gate import session_policy
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
# AWS IAM's grammar, as far as it is certain what it refuses.
# Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
_AWS_ACTION = re.compile(r"\*|[A-Za-z0-9*-]+:[A-Za-z0-9*?]+")
_AWS_OPERATOR = re.compile(
    r"(ForAllValues:|ForAnyValue:)?(String(Not)?(Equals(IgnoreCase)?|Like)|(Numeric|Date)((Not)?Equals|(Less|Greater)"
    r"Than(Equals)?)|Bool|BinaryEquals|(Not)?IpAddress|Arn(Not)?(Equals|Like)|Null)(IfExists)?",
    re.IGNORECASE,
)
_ARN = "arn:"


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
    for action, statements in policy.session_policies.items():
        for statement in statements:
            why = _aws_refuses(statement) or _never_filled(statement, action, policy.allowed_actions)
            if why:
                yield f"session_policies.{visible(action)}", why


def _aws_refuses(statement: Mapping[str, Any]) -> Optional[str]:
    for action in session_policy.listed(statement["Action"]):
        if not _AWS_ACTION.fullmatch(action):
            return f"AWS has no action {visible(action)}: write service:Action"
    for resource in session_policy.listed(statement["Resource"]):
        fixed = re.split(r"[*?{$]", resource, maxsplit=1)[0]
        if not (fixed.startswith(_ARN) or (fixed != resource and _ARN.startswith(fixed))):
            return f"nothing in AWS is called {visible(resource)}: write an ARN, which begins with {_ARN}, or *"
    for operator, asked in statement.get("Condition", {}).items():
        if not _AWS_OPERATOR.fullmatch(operator):
            return f"AWS has no operator {visible(operator)} for a condition"
        for key in asked:
            if ":" not in key:
                return f"AWS has no condition key {visible(key)}: write service:Key, such as aws:SourceIp"
    return None


def _never_filled(statement: Mapping[str, Any], action: str, allowed: Sequence[Rule]) -> Optional[str]:
    """A parameter that a rule's plans can't have as the statement needs it: each of them would be refused."""
    rules = [(f"allowed_actions[{number}]", rule) for number, rule in enumerate(allowed) if rule.type == action]
    for name, of_list in session_policy.parameters(statement):
        if name == session_policy.RESOURCE:
            if of_list:
                return f"nothing can fill in {{{name}[]}}: the resource is one name"
            continue
        place = (name, None) if of_list else (name,)
        needed = Condition(name, MAX_ITEMS if of_list else "equals", None)
        for rule_name, rule in rules:
            why = _shapes(replace(rule, conditions=(*rule.conditions, needed))) or _no_text(rule, place)
            if why:
                return f"no plan that {rule_name} allows can fill in {visible('{' + named(place) + '}')}: {why}"
    return None


def _no_text(rule: Rule, place: Steps) -> Optional[str]:
    """Whether a rule names the values that may stand at a place, and none of them can be a part of a session policy."""
    for steps, operator, value in _asked(rule):
        if steps == place and operator in ("equals", "in") and not isinstance(value, Other):
            problems = [session_policy.problem(each) for each in (value if isinstance(value, tuple) else (value,))]
            if all(problems):
                return f"what {visible(named(place))} can be {problems[0]}"
    return None


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


def _asked(rule: Rule) -> Iterator[Tuple[Steps, str, Any]]:
    """Where values stand that a rule asks about, with operator and value: of a list its items."""
    for condition in rule.conditions:
        expression, operator = parse(condition.parameter), condition.operator
        if not expression.function:
            steps = (*expression.steps, None) if operator in OF_EACH else expression.steps
            yield steps, OF_EACH.get(operator, operator), condition.value


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
