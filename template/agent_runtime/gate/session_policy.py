"""Session policies: what the credential that acts is cut down to, made from the sealed plan where the policy says how.

`session_policies` of the policy has statements of AWS IAM for each action, with `{parameter}` in resources and
conditions.  Only values get in: a text or a whole number of the plan, never a wildcard, and never into the name of an
action.  What can't be made refuses the plan, because a login without its session policy has the role's whole power.
"""

from __future__ import annotations

import json
import re
from typing import Any, Callable, Dict, Iterator, List, Mapping, NoReturn, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.gate.conditions import kind_of
from agent_runtime.gate.expressions import parse
from agent_runtime.gate.policy import Rule
from agent_runtime.model.documents import Step
from agent_runtime.text.escape import visible
from agent_runtime.text.strict_yaml import Node

MAX_CHARACTERS = 2048  # what AWS takes of session policies, as plain text
RESOURCE = "resource"

_VERSION = "2012-10-17"
_REQUIRED = ("Effect", "Action", "Resource")
_KEYS = (*_REQUIRED, "Condition")
# `{name}` is a parameter, `{name[]}` each item of one that is a list, `${aws:name}` a variable of AWS's own.
_PART = re.compile(r"\$\{[^{}]*\}|\{([^{}\[\]]+)(\[\])?\}|[{}]")
# What AWS would read as more than a value.
_PATTERN = re.compile(r"[*?$]")

Statements = Mapping[str, Sequence[Mapping[str, Any]]]


def read(node: Node, allowed: Mapping[str, Sequence[str]], fail: Callable[[int, str], NoReturn]) -> Statements:
    """Read `session_policies`: for each action its statements.

    Arguments:
        allowed: what `known()` says of the rules.
        fail: reports what is wrong in a line, and does not return.
    """
    where = "session_policies"
    if not isinstance(node.value, dict):
        fail(node.line, f"{where} is not a mapping: write each action's name, and its list of statements")
    for action in allowed:
        if action not in node.value:
            fail(node.line, f"{where} has no {visible(action)}, which is allowed: name every action, without wildcards")
    found: Dict[str, List[Dict[str, Any]]] = {}
    for action, listed in node.value.items():
        name = f"{where}.{visible(action)}"
        if action not in allowed:
            fail(listed.line, f"{name} is an action that no rule allows: remove it")
        statements = _plain(listed)
        if not isinstance(statements, list) or not statements:
            fail(listed.line, f"{name} is not a list of statements: write at least one")
        for statement, place in zip(statements, listed.value):
            wrong = _wrong(statement, (RESOURCE, *allowed[action]))
            if wrong:
                fail(place.line, f"{name}: {wrong}")
        found[action] = statements
    return found


def known(allowed: Sequence[Rule]) -> Dict[str, List[str]]:
    """The allowed actions, each with the parameters that every rule about it has a condition on."""
    found: Dict[str, List[str]] = {}
    for rule in allowed:
        expressions = [parse(condition.parameter) for condition in rule.conditions]
        asked = [expression.steps[0] or "" for expression in expressions if not expression.function]
        found[rule.type] = [name for name in asked if name in found.get(rule.type, asked)]
    return found


def parameters(statement: Any) -> Iterator[Tuple[str, bool]]:
    """Each parameter that has a place in a statement, and whether it is one that is a list."""
    for text in _with_places(statement):
        for part in _PART.finditer(text):
            if part[1]:
                yield part[1], bool(part[2])


def problem(value: Any) -> str:
    """Why a value can't take the place of a parameter; empty where it can."""
    if isinstance(value, int) and not isinstance(value, bool):
        return ""
    if not isinstance(value, str) or not value or kind_of(value) is None:
        return "is not a plain text or a whole number"
    return "has one of * ? $, which AWS would read as more than itself" if _PATTERN.search(value) else ""


def of_plan(policies: Statements, resource: str, steps: Sequence[Step]) -> str:
    """Return the session policy of a plan as JSON in one line; nothing where the policy has none.

    Raises:
        BadInput: it can't be made from the plan's values, or AWS would not take it (POL007).
    """
    if not policies:
        return ""
    statements: List[Any] = []
    for step in steps:
        if step.action not in policies:
            raise _refused(f"session_policies has nothing for {visible(step.action)}")
        values = {**step.parameters, RESOURCE: resource}
        statements += [_filled(statement, values) for statement in policies[step.action]]
    unique = [each for number, each in enumerate(statements) if each not in statements[:number]]
    text = json.dumps({"Version": _VERSION, "Statement": unique}, separators=(",", ":"))
    if len(text) > MAX_CHARACTERS:
        raise _refused(f"the session policy has {len(text)} characters, and AWS takes {MAX_CHARACTERS}")
    return text


def _plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _plain(value) for key, value in node.value.items()}
    return [_plain(each) for each in node.value] if isinstance(node.value, list) else node.value


def _wrong(statement: Any, known: Sequence[str]) -> str:
    """What is wrong with a statement; empty where nothing is."""
    if not isinstance(statement, dict) or not set(_REQUIRED) <= set(statement) <= set(_KEYS):
        return f"a statement has {', '.join(_REQUIRED)}, perhaps Condition, and nothing else"
    if statement["Effect"] not in ("Allow", "Deny"):
        return "Effect is Allow or Deny"
    conditions = statement.get("Condition", {})
    if not isinstance(conditions, dict) or not all(isinstance(each, dict) for each in conditions.values()):
        return "Condition has operators, each with keys and values, as in AWS's JSON"
    fixed = [*listed(statement["Action"]), *conditions, *(key for each in conditions.values() for key in each)]
    filled = _with_places(statement)
    if not fixed or not filled or not all(isinstance(text, str) and text for text in [*fixed, *filled]):
        return "write texts, or lists of texts"
    if any("{" in text or "}" in text for text in fixed):
        return "a parameter can stand in Resource and in the values of Condition, nowhere else"
    for text in filled:
        for part in _PART.finditer(text):
            if part[0] in "{}":
                return f"{visible(text)} has a brace that is none of a parameter"
            if part[1] and part[1] not in known:
                return f"{{{visible(part[1])}}} is not a parameter that a condition of its rules is about: add one"
        if sum(bool(part[2]) for part in _PART.finditer(text)) > 1:
            return f"{visible(text)} has more than one list"
    return ""


def _with_places(statement: Mapping[str, Any]) -> List[Any]:
    """The texts of a statement in which a parameter may stand."""
    conditions = statement.get("Condition", {})
    given = [statement["Resource"], *(value for each in conditions.values() for value in each.values())]
    return [text for value in given for text in listed(value)]


def listed(value: Any) -> List[Any]:
    """What AWS takes as one text or as a list of them."""
    return value if isinstance(value, list) else [value]


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """A statement with its parameters in place; what holds a list becomes one."""
    if isinstance(value, dict):
        return {key: _filled(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [text for each in value for text in listed(_filled(each, values))]
    many = next((part[1] for part in _PART.finditer(value) if part[2]), None)
    if many is None:
        return _PART.sub(lambda part: _value(part[1], values) if part[1] else part[0], value)
    items = values.get(many)
    if not isinstance(items, (list, tuple)) or not items:
        raise _refused(f"the parameter {visible(many)} is not a list of at least one item")
    single = value.replace(f"{{{many}[]}}", f"{{{many}}}")
    return [_filled(single, {**values, many: item}) for item in items]


def _value(name: str, values: Mapping[str, Any]) -> str:
    """One value, as text."""
    found = values.get(name)
    why = problem(found)
    if why:
        raise _refused(f"the parameter {visible(name)} {why}")
    return str(found)


def _refused(why: str) -> codes.BadInput:
    return codes.BadInput(codes.SESSION_POLICY, why)
