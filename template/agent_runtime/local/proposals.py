"""What `check` knows of an agent's proposals without running it: plans that stand as literals in its code."""

from __future__ import annotations

import ast
from typing import Any, Dict, Iterator, Mapping, Tuple

from agent_runtime import codes
from agent_runtime.model import plan
from agent_runtime.model.documents import Step
from agent_runtime.results import RiskLevel

_LIST = "proposed_actions"
_ARGUMENTS = ("action", "parameters", "reason", "risk_level", "reversible", "rollback", "changes")


def problems(tree: ast.Module) -> Iterator[Tuple[int, str, str]]:
    """Return line, code and what is wrong of each list of proposed actions that could never become a plan.

    Only what stands there as literals, or as names of literals, is judged; `seal` judges what is really proposed.
    """
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == _LIST and isinstance(node.value, (ast.List, ast.Tuple)):
            line = node.value.lineno
            if not node.value.elts:
                yield line, codes.RESULT_INVALID, f"{_LIST} is empty: leave it out when there is nothing to do"
            try:
                plan.check_steps([_step(element, constants) for element in node.value.elts], None)
            except codes.BadInput as problem:
                yield line, problem.code, problem.message
            except (AttributeError, KeyError, SyntaxError, TypeError, ValueError):
                continue  # not all of what is compared is a literal
            except ModuleNotFoundError:
                continue  # a fresh repository, whose packages are not installed yet


def _step(element: ast.expr, constants: Mapping[str, ast.expr]) -> Step:
    if not isinstance(element, ast.Call) or any(isinstance(argument, ast.Starred) for argument in element.args):
        raise ValueError(_LIST)
    given: Dict[str, ast.expr] = dict(zip(_ARGUMENTS, element.args))
    given.update({str(each.arg): each.value for each in element.keywords})
    known = {name: _value(given[name], constants) for name in ("action", "parameters", "changes") if name in given}
    return Step(
        str(known["action"]),
        dict(known.get("parameters", {})),
        "",
        reversible=False,
        rollback=None,
        risk_level=RiskLevel.HIGH,
        changes=tuple(known.get("changes", ())),
    )


def _value(node: ast.expr, constants: Mapping[str, ast.expr]) -> Any:
    if isinstance(node, ast.Name):
        return ast.literal_eval(constants[node.id])
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key or node): _value(each, constants) for key, each in zip(node.keys, node.values)}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(each, constants) for each in node.elts]
    return ast.literal_eval(node)
