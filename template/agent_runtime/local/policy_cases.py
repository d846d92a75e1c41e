"""`policy test`: the team's own cases, what its policy must say about actions that it thought of.

cases:
  - description: four old files of the cache
    action: delete_files
    resource: ci-cache
    parameters: {files: [{bytes: 4096, modified: "2026-11-01T00:00:00Z"}]}
    risk: medium                    # low without it
    reversible: false               # false without it
    at: "2026-11-30T12:00:00Z"      # when the plan is sealed; needed where the policy asks for ages
    decision: review                # denied, review or auto
    decided_by: ["allowed_actions[0]"]    # if it matters which rules
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Dict, List, Mapping, NoReturn, Optional, Tuple

from agent_runtime import codes
from agent_runtime.gate import policy
from agent_runtime.gate.policy import Policy, Verdict
from agent_runtime.local.codes import CASES_INVALID
from agent_runtime.model import inputs
from agent_runtime.model.documents import parse_time
from agent_runtime.results import RiskLevel
from agent_runtime.text import strict_yaml
from agent_runtime.text.escape import visible
from agent_runtime.text.strict_yaml import Node

CASES = Path("tests") / "policy.yml"

_KEYS = (
    *("description", "action", "resource", "parameters", "risk", "reversible", "at"),
    *("decision", "decided_by"),
)
_DECISIONS = (policy.DENIED, policy.REVIEW, policy.AUTO)
_SHOWN = 80


@dataclass(frozen=True)
class Case:
    """One case: what is proposed, and what the policy must say."""

    line: int
    name: str
    action: str
    resource: str
    parameters: Mapping[str, Any]
    risk: RiskLevel
    reversible: bool
    moment: Optional[datetime]
    decision: str
    decided_by: Optional[Tuple[str, ...]]


def read(path: Path, name: str) -> List[Case]:
    """Read the cases.

    Raises:
        BadInput: POL006, with file, line, key and what to do about it.
    """
    try:
        root = strict_yaml.load(path.read_bytes())
    except OSError as problem:
        raise codes.BadInput(CASES_INVALID, f"{name}: {problem.strerror}") from None
    except strict_yaml.StrictYamlError as problem:
        raise codes.BadInput(CASES_INVALID, f"{name} line {problem.line}: {problem.message}") from None
    entries = root.value.get("cases") if isinstance(root.value, dict) and set(root.value) == {"cases"} else None
    if entries is None or not isinstance(entries.value, list):
        _fail(name, root, "write one key, cases, with a list")
    return [_case(name, entry) for entry in entries.value]


def problem(case: Case, rules: Policy, *, auto_approval: bool) -> Optional[str]:
    """Return what the policy says instead of what a case expects, or None.

    Arguments:
        auto_approval: the template's answer; without it a human is always asked.
    """
    verdict = _verdict(case, rules)
    if not auto_approval:
        verdict = policy.as_review(verdict, policy.AUTO_IS_OFF)
    if verdict.decision != case.decision:
        return f"the case says {case.decision}, the policy {verdict.decision}: {'; '.join(verdict.reasons)}"
    if case.decided_by is not None and set(case.decided_by) != set(verdict.matched_rules):
        return f"{case.decision} as the case says, but decided by {', '.join(verdict.matched_rules) or 'no rule'}"
    return None


def _verdict(case: Case, rules: Policy) -> Verdict:
    return policy.evaluate(
        rules,
        action=case.action,
        resource=case.resource,
        parameters=case.parameters,
        risk_level=case.risk,
        reversible=case.reversible,
        every_rule=False,
        moment=case.moment,
    )


def _fail(name: str, node: Node, message: str) -> NoReturn:
    raise codes.BadInput(CASES_INVALID, f"{name} line {node.line}: {message}")


def _case(name: str, node: Node) -> Case:
    fields: Dict[str, Node] = node.value if isinstance(node.value, dict) else {}
    for key in ("action", "resource", "decision"):
        if key not in fields:
            _fail(name, node, f"a case has no {key}: add it")
    for key, each in fields.items():
        if key not in _KEYS:
            _fail(name, each, f"a case has the unknown key {visible(key, _SHOWN)}: use {', '.join(_KEYS)}")
    known = {key: strict_yaml.values(each) for key, each in fields.items()}
    asked = f"{known['action']} on {known['resource']}"
    try:
        inputs.action(known["action"])
        inputs.resource(known["resource"] if isinstance(known["resource"], str) else None)
        moment = parse_time(str(known["at"])) if "at" in known else None
        risk = RiskLevel(known.get("risk", "low"))
    except (codes.BadInput, ValueError) as problem:
        _fail(name, node, str(problem))
    parameters, reversible = known.get("parameters", {}), known.get("reversible", False)
    decided_by = known.get("decided_by")
    if not isinstance(parameters, dict):
        _fail(name, fields["parameters"], "parameters are keys and values")
    if not isinstance(reversible, bool):
        _fail(name, fields["reversible"], "reversible is true or false")
    if known["decision"] not in _DECISIONS:
        _fail(name, fields["decision"], f"decision is one of {', '.join(_DECISIONS)}")
    if not isinstance(decided_by, (list, type(None))):
        _fail(name, fields["decided_by"], "decided_by is a list of rules, such as allowed_actions[0]")
    return Case(
        line=node.line,
        name=visible(str(known.get("description", asked)), _SHOWN),
        action=known["action"],
        resource=known["resource"],
        parameters=parameters,
        risk=risk,
        reversible=reversible,
        moment=moment,
        decision=known["decision"],
        decided_by=None if decided_by is None else tuple(map(str, decided_by)),
    )
