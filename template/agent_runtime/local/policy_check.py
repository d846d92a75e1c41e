"""`policy check`: what the policy says of an action, rule by rule, locally.

The same evaluation as in a run.  What only a run knows (how often something happened) is named and not judged.
"""

from __future__ import annotations

import json
import shutil
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Optional, TextIO

from agent_runtime import codes
from agent_runtime.gate import policy
from agent_runtime.gate.policy import Policy, Verdict
from agent_runtime.gate.policy_file import parse_policy
from agent_runtime.model import config, inputs
from agent_runtime.results import RiskLevel
from agent_runtime.text.escape import terminal
from agent_runtime.text.strict_json import strict_json

_WIDEST = 120
_MEANING = {
    policy.AUTO: "it may be done without asking",
    policy.REVIEW: "a human may approve it",
    policy.DENIED: "it is never done, and nobody is asked",
}


def run(
    root: Path,
    *,
    action: str,
    resource: str,
    parameters_text: Optional[str],
    risk_level: RiskLevel,
    reversible: bool,
    policy_file: Optional[Path],
    as_json: bool,
    out: TextIO,
) -> int:
    """Print the decision and how each rule took part; return 0 for `review` and `auto`, 3 for `denied`.

    Arguments:
        root: of the agent repository.
        action, resource: as an agent would propose them.
        parameters_text: JSON object, none for no parameters.
        policy_file: another file than the repository's own policy, for trying out a change.

    Raises:
        BadInput: configuration, policy, action or resource (INP006, INP001) or parameters (POL003) is invalid.
    """
    settings = config.load(root)
    try:
        inputs.action(action)
    except codes.BadInput:
        raise codes.BadInput(
            codes.USAGE, f"--action {action[:80]!r} is not of lower-case letters, digits and _ . : -"
        ) from None
    inputs.resource(resource)
    parameters = _parameters(parameters_text)
    path = policy_file or root / settings.policy_path
    name = (policy_file or settings.policy_path).as_posix()
    try:
        rules = parse_policy(path.read_bytes(), name)
    except OSError as problem:
        raise codes.BadInput(codes.POLICY_MISSING, f"{name}: {problem.strerror}") from None
    verdict = policy.evaluate(
        rules, action=action, resource=resource, parameters=parameters, risk_level=risk_level, reversible=reversible
    )
    if not settings.auto_approval:
        verdict = policy.as_review(verdict, policy.AUTO_IS_OFF)
    if verdict.decision != policy.DENIED:
        verdict = replace(verdict, reasons=(*verdict.reasons, *_limits(rules, action, resource)))
    asked: Dict[str, Any] = {
        "action": action,
        "resource": resource,
        "parameters": parameters,
        "risk_level": str(risk_level),
        "reversible": reversible,
    }
    if as_json:
        json.dump(_document(asked, rules, name, verdict), out, indent=2, ensure_ascii=True)
        out.write("\n")
    else:
        out.write(_page(asked, rules, name, verdict))
    return codes.EXIT_REFUSED if verdict.decision == policy.DENIED else codes.EXIT_OK


def _parameters(text: Optional[str]) -> Dict[str, Any]:
    if text is None:
        return {}
    data = text.encode("utf-8", "surrogateescape")
    if len(data) > inputs.MAX_CONTEXT_BYTES:
        raise codes.BadInput(codes.PARAMETERS_INVALID, f"{len(data)} bytes are too many")
    try:
        value = strict_json(data)
    except ValueError as problem:
        raise codes.BadInput(codes.PARAMETERS_INVALID, f"not JSON: {problem}") from None
    if not isinstance(value, dict):
        raise codes.BadInput(codes.PARAMETERS_INVALID, f"a JSON {type(value).__name__}, not an object")
    return value


def _limits(rules: Policy, action: str, resource: str) -> List[str]:
    return [
        f"{name}: at most {limit.max} in {limit.per_text}; counted in a run, not here"
        for name, limit in policy.limits_of(rules, action, resource)
    ]


def _document(asked: Dict[str, Any], rules: Policy, name: str, verdict: Verdict) -> Dict[str, Any]:
    return {
        "schema_version": 1,
        **asked,
        "policy": {"file": name, "name": rules.name, "version": rules.version, "digest": rules.digest},
        "decision": verdict.decision,
        "matched_rules": list(verdict.matched_rules),
        "approvals": verdict.approvals,
        "approvers": None if verdict.approvers is None else list(verdict.approvers),
        "reasons": list(verdict.reasons),
    }


def _asked(verdict: Verdict) -> Dict[str, str]:
    if verdict.decision != policy.REVIEW:
        return {}
    return {"needs": policy.asked_for(verdict.approvals, verdict.approvers)}


def _page(asked: Dict[str, Any], rules: Policy, name: str, verdict: Verdict) -> str:
    width = min(_WIDEST, max(60, shutil.get_terminal_size((100, 24)).columns))
    facts = {
        "decision": f"{verdict.decision}: {_MEANING[verdict.decision]}",
        "decided by": ", ".join(verdict.matched_rules) or "no rule",
        **_asked(verdict),
        "asked": "{} on {}, risk {}, {}".format(
            asked["action"],
            asked["resource"],
            asked["risk_level"],
            "can be undone" if asked["reversible"] else "not said to be undone",
        ),
        "parameters": json.dumps(asked["parameters"], ensure_ascii=True, sort_keys=True),
        "policy": f"{name}, version {rules.version}, SHA-256 {rules.digest[:12]}",
    }
    lines = ["{:<12} {}".format(key + ":", terminal(value)) for key, value in facts.items()]
    lines += ["", "rule by rule:"]
    for reason in verdict.reasons:
        lines += textwrap.wrap(
            reason,  # a reason has been made visible where it was written
            width,
            initial_indent="- ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines) + "\n"
