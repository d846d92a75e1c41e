"""From answers and what was seen to the requests that close the gate.  Pure: nothing here talks to GitHub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.gate import environment_checks, issue_checks
from agent_runtime.github.api import environment_path
from agent_runtime.local.codes import APPROVER_UNUSABLE, GATE_STILL_OPEN, PLAN_WITHOUT_GATE
from agent_runtime.local.settings import github_plans, protections
from agent_runtime.local.settings.model import Approver, BranchPolicy, Environment, Gate
from agent_runtime.model import names

# Limits of GitHub's environments.
MAX_REVIEWERS = 6
MAX_WAIT_MINUTES = 43_200

_CUSTOM_BRANCHES = {"protected_branches": False, "custom_branch_policies": True}


@dataclass(frozen=True)
class Answers:
    """What the team wants.

    Arguments:
        plan_answer: `repository_plan` of the configuration.
        wait_minutes: pause before the reviewers' answer counts; None leaves what is there.
        exact: also remove deployment branches that are too many.
    """

    plan_answer: Optional[str] = None
    wait_minutes: Optional[int] = None
    exact: bool = False


@dataclass(frozen=True)
class Call:
    """One request that changes something, and what it is for."""

    method: str
    path: str
    body: Optional[Mapping[str, Any]]
    reason: str


@dataclass(frozen=True)
class Changes:
    """The requests in their order, and what a person should know about what they leave as it is."""

    calls: Tuple[Call, ...]
    remarks: Tuple[str, ...]


def changes(answers: Answers, seen: Gate) -> Changes:
    """Return the requests after which the environments are as docs/SETUP_GUIDE.md says; none when they are already.

    What protects more than that stays: reviewers and wait timer of agent-act, a wait timer that nobody asked to change.

    Raises:
        BadInput: the approvers can't review (SET003), or the wait timer is out of range (INP006).
        GateRefused: the repository's plan has no required reviewers (SET004).
    """
    _check_approvers(seen.approvers)
    if answers.wait_minutes is not None and not 0 <= answers.wait_minutes <= MAX_WAIT_MINUTES:
        raise codes.BadInput(codes.USAGE, f"the wait timer is not between 0 and {MAX_WAIT_MINUTES} minutes")
    if github_plans.protection(seen.repository, answers.plan_answer) in (
        github_plans.Protection.BRANCHES,
        github_plans.Protection.NOTHING,
    ):
        raise plan_refusal(seen)
    calls, remarks = _environments(answers, seen)
    if len(seen.approvers) == 1 and seen.approvers[0].kind == "User":
        remarks.append(
            f"{seen.approvers[0].name} is the only reviewer: runs that {seen.approvers[0].name} starts can't be "
            "approved by anybody"
        )
    return Changes(tuple(calls), tuple(remarks))


def _environments(answers: Answers, seen: Gate) -> Tuple[List[Call], List[str]]:
    """The requests for every environment that there is to be, and what they leave as it is."""
    calls: List[Call] = []
    remarks: List[str] = []
    for name, environment in seen.environments.items():
        current = current_body(environment.settings)
        if name in names.GATE_ENVIRONMENTS:
            wanted = _gate_body(seen.approvers, current, answers.wait_minutes)
        else:
            wanted = _act_body(current)
        path = environment_path(seen.repository.full_name, name)
        if current is None or any(current[key] != value for key, value in wanted.items()):
            calls.append(Call("PUT", path, wanted, _difference(name, current, wanted)))
        branch_calls, branch_remarks = _branches(name, path, environment, seen.repository.default_branch, answers.exact)
        calls += branch_calls
        remarks += branch_remarks
    return calls, remarks


def issue_gate_changes(answers: Answers, seen: Gate) -> Changes:
    """Return the requests after which an issue can be the gate: its label, and the environments that hold secrets.

    Raises:
        BadInput: nobody of the approvers could approve in an issue (SET003), or a wait timer is asked for (INP006).
        GateRefused: the repository has no issues (SET007).
    """
    if answers.wait_minutes is not None:
        raise codes.BadInput(codes.USAGE, "a wait timer belongs to an environment, and the gate here is an issue")
    problems = issue_gate_open(seen)
    if problems:
        raise codes.BadInput(APPROVER_UNUSABLE, "; ".join(problems))
    if not seen.repository.has_issues:
        raise codes.GateRefused(
            GATE_STILL_OPEN,
            f"issues are off in {seen.repository.full_name}: gh repo edit --enable-issues",
        )
    label = {"name": names.GATE_LABEL, "color": "d4c5f9", "description": "An agent asks here for an approval"}
    path = f"/repos/{seen.repository.full_name}/labels"
    calls, remarks = _environments(answers, seen)
    if not seen.has_label:
        calls.append(Call("POST", path, label, "create the label " + names.GATE_LABEL))
    if not seen.environments:
        remarks.append("secrets of the repository are there for every job: see docs/SETUP_GUIDE.md, step 2")
    if len(seen.approvers) == 1:
        remarks.append(
            f"{seen.approvers[0].name} is the only approver: runs that {seen.approvers[0].name} starts are refused"
        )
    return Changes(tuple(calls), tuple(remarks))


def protection_changes(seen: Gate, *, triggers: str, by_issue: bool) -> Changes:
    """Return the requests after which GitHub lets nobody and nothing else start the gate's workflows."""
    if not isinstance(seen.protections, tuple):
        return Changes((), ())
    bodies = protections.wanted(seen, triggers=triggers, by_issue=by_issue)
    path = f"/repos/{seen.repository.full_name}/actions/policies"
    calls = [
        Call("POST", path, body, "protect " + body["name"].partition(": ")[2])
        if number is None
        else Call("PUT", f"{path}/{number}", body, "correct the protection of " + body["name"].partition(": ")[2])
        for body, number in protections.outstanding(seen, bodies)
    ]
    return Changes(tuple(calls), tuple(protections.obstacles(seen, bodies)))


def issue_gate_open(seen: Gate) -> Tuple[str, ...]:
    """Return what keeps an issue from being a gate, one line each, by the check that seal makes."""
    return issue_checks.gate_problems({each.name: each.permission or "unknown" for each in seen.approvers}, ())


def plan_refusal(seen: Gate) -> codes.GateRefused:
    """The refusal for a plan without required reviewers, with what to choose."""
    return codes.GateRefused(
        PLAN_WITHOUT_GATE,
        f"{seen.repository.full_name} is a {github_plans.describe(seen.repository)}: it has no environments with "
        f"required reviewers; {github_plans.choices(seen.repository)}",
    )


def still_open(seen: Gate) -> Tuple[str, ...]:
    """Return what keeps the environments from being a gate, one line each, by the checks that act makes."""
    found: List[str] = []
    for name, environment in seen.environments.items():
        problems = environment_checks.environment_problems(
            environment.settings,
            [policy.pattern for policy in environment.branch_policies],
            seen.repository.default_branch,
            name=name,
            reviewers_required=name in names.GATE_ENVIRONMENTS,
            initiator="",
        )
        found += [f"{name}: {problem}" for problem in problems]
    return tuple(found)


def current_body(settings: Optional[Mapping[str, Any]]) -> Optional[Dict[str, Any]]:
    """Return the body of the request that would leave an environment as it is; None when there is none."""
    if settings is None:
        return None
    body: Dict[str, Any] = {
        "wait_timer": 0,
        "prevent_self_review": False,
        "reviewers": [],
        "can_admins_bypass": settings.get("can_admins_bypass") is not False,
        "deployment_branch_policy": settings.get("deployment_branch_policy"),
    }
    rules = settings.get("protection_rules")
    for rule in rules if isinstance(rules, list) else []:
        if rule.get("type") == "wait_timer":
            body["wait_timer"] = rule.get("wait_timer")
        if rule.get("type") == "required_reviewers":
            body["prevent_self_review"] = rule.get("prevent_self_review") is True
            body["reviewers"] = sorted(
                (
                    {"type": str(entry.get("type")), "id": int(entry["reviewer"]["id"])}
                    for entry in rule.get("reviewers") or []
                    if isinstance(entry.get("reviewer"), dict) and isinstance(entry["reviewer"].get("id"), int)
                ),
                key=_order,
            )
    return body


def _check_approvers(approvers: Sequence[Approver]) -> None:
    if not approvers:
        raise codes.BadInput(APPROVER_UNUSABLE, "nobody was named who may approve")
    if len(approvers) > MAX_REVIEWERS:
        raise codes.BadInput(
            APPROVER_UNUSABLE,
            f"{len(approvers)} approvers, and GitHub takes at most {MAX_REVIEWERS}: name a team",
        )
    problems = [f"{approver.name}: {approver.problem}" for approver in approvers if approver.problem]
    if problems:
        raise codes.BadInput(APPROVER_UNUSABLE, "; ".join(problems))


def _order(reviewer: Mapping[str, Any]) -> Tuple[str, int]:
    return (str(reviewer["type"]), int(reviewer["id"]))


def _gate_body(
    approvers: Sequence[Approver], current: Optional[Mapping[str, Any]], wait_minutes: Optional[int]
) -> Dict[str, Any]:
    kept = current["wait_timer"] if current else 0
    reviewers = {(approver.kind, int(approver.id or 0)) for approver in approvers}
    return {
        "wait_timer": kept if wait_minutes is None else wait_minutes,
        "prevent_self_review": True,
        "reviewers": [{"type": kind, "id": number} for kind, number in sorted(reviewers)],
        "can_admins_bypass": False,
        "deployment_branch_policy": dict(_CUSTOM_BRANCHES),
    }


def _act_body(current: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    """What an environment that holds secrets is to be; what protects it more stays."""
    wanted = {"can_admins_bypass": False, "deployment_branch_policy": dict(_CUSTOM_BRANCHES)}
    # In a private repository of GitHub Pro or Team a request that only names one of these is refused, and has none.
    kept = {key: current[key] for key in ("wait_timer", "prevent_self_review", "reviewers")} if current else {}
    return {**kept, **wanted} if any(kept.values()) else wanted


def _difference(name: str, current: Optional[Mapping[str, Any]], wanted: Mapping[str, Any]) -> str:
    if current is None:
        return f"create {name}"
    return f"update {name}: {', '.join(key for key in wanted if current.get(key) != wanted[key])}"


def _branches(
    name: str, path: str, environment: Environment, default_branch: str, exact: bool
) -> Tuple[List[Call], List[str]]:
    calls: List[Call] = []
    remarks: List[str] = []
    policies = path + "/deployment-branch-policies"
    fitting = [policy for policy in environment.branch_policies if policy.pattern == default_branch]
    if not fitting:
        calls.append(
            Call(
                "POST",
                policies,
                {"name": default_branch, "type": "branch"},
                f"let {default_branch} use {name}",
            )
        )
    extra: List[BranchPolicy] = [policy for policy in environment.branch_policies if policy not in fitting[:1]]
    for policy in extra:
        if exact:
            calls.append(Call("DELETE", f"{policies}/{policy.id}", None, f"keep {policy.pattern} from {name}"))
        else:
            remarks.append(
                f"{name} may be used from {policy.pattern} too, which keeps the gate open: remove it with --exact"
            )
    return calls, remarks
