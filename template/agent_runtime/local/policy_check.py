"""`policy check`, `policy test`: what the policy says of an action, of a plan and of the team's cases, locally.

The same evaluation as in a run.  What only a run knows (how often something happened) is named and not judged.
"""

from __future__ import annotations

import json
import shutil
import textwrap
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, TextIO, Tuple

from agent_runtime import codes
from agent_runtime.gate import policy, session_policy
from agent_runtime.gate.policy import Policy, Verdict
from agent_runtime.gate.policy_file import parse_policy
from agent_runtime.local import policy_cases
from agent_runtime.local.codes import CASE_FAILED, PARAMETERS_INVALID
from agent_runtime.model import config, documents, inputs
from agent_runtime.model.config import Config
from agent_runtime.model.documents import Investigation, Plan, Report, Step
from agent_runtime.model.plan import canonical
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
    moment: datetime,
    policy_file: Optional[Path],
    as_json: bool,
    out: TextIO,
) -> int:
    """Print the decision and how each rule took part; return 0 for `review` and `auto`, 3 for `denied`.

    Arguments:
        root: of the agent repository.
        action, resource: as an agent would propose them.
        parameters_text: JSON object, none for no parameters.
        moment: when a plan with it would be sealed.
        policy_file: another file than the repository's own policy, for trying out a change.

    Raises:
        BadInput: configuration, policy, action or resource (INP006, INP001) or parameters (POL003) is invalid, or the
            session policy can't be made (POL007).
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
    rules, name = _rules(root, settings, policy_file)
    verdict = policy.evaluate(
        rules,
        action=action,
        resource=resource,
        parameters=parameters,
        risk_level=risk_level,
        reversible=reversible,
        moment=moment,
    )
    verdict = _as_in_a_run(verdict, rules, settings, (action,), resource)
    asked: Dict[str, Any] = {
        "action": action,
        "resource": resource,
        "parameters": parameters,
        "risk_level": str(risk_level),
        "reversible": reversible,
    }
    step = Step(action, parameters, "", reversible, None, risk_level, ())
    cut = _session_policy(rules, verdict, resource, [step])
    return _answer(asked, _facts(asked), rules, name, verdict, session=cut, as_json=as_json, out=out)


def run_plan(root: Path, *, plan_file: Path, policy_file: Optional[Path], as_json: bool, out: TextIO) -> int:
    """The same for every step of a plan, as when it was sealed.

    Arguments:
        plan_file: a sealed plan, a report with one, or an `investigation.json`.

    Raises:
        BadInput: as above, the file can't be read (INP006), or it has no plan (RPT003, RPT004, RPT006).
    """
    settings = config.load(root)
    steps, resource, moment = _planned(plan_file)
    rules, name = _rules(root, settings, policy_file)
    verdict = policy.judge(rules, steps, resource, documents.parse_time(moment))
    verdict = _as_in_a_run(verdict, rules, settings, tuple(step.action for step in steps), resource)
    asked = {"resource": resource, "sealed_at": moment, "steps": [documents.plain(step) for step in steps]}
    facts = {"plan": f"{plan_file.name}, {len(steps)} step(s) on {resource}, as of {moment}"}
    cut = _session_policy(rules, verdict, resource, steps)
    return _answer(asked, facts, rules, name, verdict, session=cut, as_json=as_json, out=out)


def run_cases(root: Path, *, cases_file: Optional[Path], policy_file: Optional[Path], out: TextIO) -> int:
    """Print what the policy says of each of the team's cases; return 0 when all are as expected, 2 otherwise.

    Raises:
        BadInput: as above, or the cases can't be read (POL006).
    """
    settings = config.load(root)
    rules, _ = _rules(root, settings, policy_file)
    path, name = cases_file or root / policy_cases.CASES, (cases_file or policy_cases.CASES).as_posix()
    cases = policy_cases.read(path, name)
    failed = 0
    for case in cases:
        said = policy_cases.problem(case, rules, auto_approval=settings.auto_approval)
        failed += said is not None
        where = f"{CASE_FAILED}: {terminal(name)} line {case.line}"
        out.write(f"{where}: {case.name}: {said}\n" if said else f"ok: {case.name}\n")  # both are visible already
    out.write(f"policy: {len(cases) - failed} of {len(cases)} cases are as expected\n")
    return codes.EXIT_BAD_INPUT if failed else codes.EXIT_OK


def _rules(root: Path, settings: Config, policy_file: Optional[Path]) -> Tuple[Policy, str]:
    name = (policy_file or settings.policy_path).as_posix()
    try:
        return parse_policy((policy_file or root / settings.policy_path).read_bytes(), name), name
    except OSError as problem:
        raise codes.BadInput(codes.POLICY_MISSING, f"{name}: {problem.strerror}") from None


def _planned(path: Path) -> Tuple[Sequence[Step], str, str]:
    """The steps of a file, their resource, and when they were sealed, or measured if they were not."""
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise codes.BadInput(codes.USAGE, f"--plan {path}: {problem.strerror}") from None
    try:
        keys = set(strict_json(data))
    except (TypeError, ValueError) as problem:
        raise codes.BadInput(codes.REPORT_NOT_JSON, f"{path.name}: {problem}") from None
    if "steps" in keys and "measured_at" in keys:
        found = documents.decode(Investigation, data, path.name)
        if found.steps:
            return found.steps, found.resource, found.measured_at
        raise codes.BadInput(codes.REPORT_NO_PLAN, f"{path.name} proposes nothing")
    if "issued_at" in keys:
        sealed: Optional[Plan] = documents.decode(Plan, data, path.name)
    else:
        sealed = documents.decode(Report, data, path.name).plan
    if sealed is None:
        raise codes.BadInput(codes.REPORT_NO_PLAN, f"{path.name}: the report has no plan")
    return sealed.steps, sealed.resource, sealed.issued_at


def _as_in_a_run(verdict: Verdict, rules: Policy, settings: Config, actions: Tuple[str, ...], resource: str) -> Verdict:
    if not settings.auto_approval:
        verdict = policy.as_review(verdict, policy.AUTO_IS_OFF)
    if verdict.decision == policy.DENIED:
        return verdict
    limits = dict.fromkeys(line for action in actions for line in _limits(rules, action, resource))
    return replace(verdict, reasons=(*verdict.reasons, *limits))


def _session_policy(rules: Policy, verdict: Verdict, resource: str, steps: Sequence[Step]) -> str:
    """What `seal` would cut the credential down to: of the plan's values in their canonical form, as it has them."""
    if not rules.session_policies or verdict.decision == policy.DENIED:
        return ""
    sealed = [replace(step, parameters=strict_json(canonical(step.parameters))) for step in steps]
    return session_policy.of_plan(rules.session_policies, resource, sealed)


def _answer(
    asked: Dict[str, Any],
    facts: Dict[str, str],
    rules: Policy,
    name: str,
    verdict: Verdict,
    *,
    session: str,
    as_json: bool,
    out: TextIO,
) -> int:
    if as_json:
        document = _document(asked, rules, name, verdict)
        document["session_policy"] = json.loads(session) if session else None
        json.dump(document, out, indent=2, ensure_ascii=True)
        out.write("\n")
    else:
        out.write(_page(facts, rules, name, verdict))
        if session:
            used = f"{len(session)} of the {session_policy.MAX_CHARACTERS} characters that AWS takes"
            out.write(f"\nwhat the credential may do, {used}:\n{json.dumps(json.loads(session), indent=2)}\n")
    return codes.EXIT_REFUSED if verdict.decision == policy.DENIED else codes.EXIT_OK


def _parameters(text: Optional[str]) -> Dict[str, Any]:
    if text is None:
        return {}
    data = text.encode("utf-8", "surrogateescape")
    if len(data) > inputs.MAX_CONTEXT_BYTES:
        raise codes.BadInput(PARAMETERS_INVALID, f"{len(data)} bytes are too many")
    try:
        value = strict_json(data)
    except ValueError as problem:
        raise codes.BadInput(PARAMETERS_INVALID, f"not JSON: {problem}") from None
    if not isinstance(value, dict):
        raise codes.BadInput(PARAMETERS_INVALID, f"a JSON {type(value).__name__}, not an object")
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


def _facts(asked: Dict[str, Any]) -> Dict[str, str]:
    undone = "can be undone" if asked["reversible"] else "not said to be undone"
    return {
        "asked": f"{asked['action']} on {asked['resource']}, risk {asked['risk_level']}, {undone}",
        "parameters": json.dumps(asked["parameters"], ensure_ascii=True, sort_keys=True),
    }


def _page(about: Dict[str, str], rules: Policy, name: str, verdict: Verdict) -> str:
    width = min(_WIDEST, max(60, shutil.get_terminal_size((100, 24)).columns))
    facts = {
        "decision": f"{verdict.decision}: {_MEANING[verdict.decision]}",
        "decided by": ", ".join(verdict.matched_rules) or "no rule",
        **_asked(verdict),
        **about,
        "policy": f"{name}, version {rules.version}, SHA-256 {rules.digest[:12]}",
    }
    lines = [f"{key + ':':<12} {terminal(value)}" for key, value in facts.items()]
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
