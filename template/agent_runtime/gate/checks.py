"""The checks before acting: each looks at one thing, and refuses with its own code.

Every check is a pure function of what was sealed, what was approved and what GitHub says now, so that each can be
attacked in a test.  All of them fail closed: what is missing, malformed or ambiguous refuses.  Messages are read at
3 a.m. by somebody who did not write this: they name what is wrong, where, and the values, escaped.

Their order is in `environment.py` and `issue.py`; what each refusal means for a person: specs/codes.md.
"""

from __future__ import annotations

import hmac
import re
from datetime import datetime, timedelta
from typing import Any, List, Mapping, NoReturn, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.gate.policy import AUTO, DENIED, REVIEW, Happened, Policy, as_review, count, judge
from agent_runtime.model import names
from agent_runtime.model.documents import Approver, Plan, Run, is_hex64, parse_time
from agent_runtime.model.plan import SHORT_DIGEST_LENGTH, canonical, digest
from agent_runtime.text.escape import visible

# GitHub keeps a run waiting for its reviewer for 30 days; nothing may count longer.
MAX_TTL = timedelta(days=30)
# Clocks of two runners may differ; a plan from further ahead than this was not sealed by this run.
MAX_CLOCK_SKEW = timedelta(minutes=5)

# What acts with a job's own token.
JOBS_AUTHOR = "github-actions[bot]"

_SHOWN = 80
_BOUND_RUN_FIELDS = ("repository", "run_id", "run_attempt", "sha", "workflow")
# What a person copies from the page to say which plan is meant.
_DIGITS = re.compile(rf"(?<![0-9a-z])[0-9a-f]{{{SHORT_DIGEST_LENGTH},}}(?![0-9a-z])", re.IGNORECASE)
_OFF = frozenset({"", "0", "false", "no", "off"})
_ON = frozenset({"1", "true", "yes", "on"})


def _refuse(code: str, message: str) -> NoReturn:
    raise codes.GateRefused(code, message)


def _show(value: object) -> str:
    return visible(str(value), _SHOWN)


def check_digest(plan: Plan, approved_digest: str) -> None:
    """Refuse a plan that is not the one whose digest the reviewer saw (threats T8, T11).

    Arguments:
        approved_digest: plan digest from the outputs of `seal`, 64 lower-case hexadecimal digits.

    Raises:
        GateRefused: GATE02.
        BadInput: the plan has no canonical form (RPT007).
    """
    if not is_hex64(approved_digest):
        _refuse(codes.GATE_DIGEST, f"what was approved is not a plan digest but '{_show(approved_digest)}'")
    found = digest(plan)
    if not hmac.compare_digest(found, approved_digest):
        _refuse(
            codes.GATE_DIGEST,
            f"the plan in the report ({_show(plan.title)} on {_show(plan.resource)}) has the digest {found}, "
            f"the approved plan has {approved_digest}",
        )


def check_first_attempt(run: Run) -> None:
    """Refuse a run that was started again (threats T8, T14, T17b).

    GitHub's record of a click names the run, neither the attempt nor the plan: who reads the page of one attempt while
    the next one waits would approve a plan that nobody saw.  So only a run's first attempt has a plan.

    Raises:
        GateRefused: GATE03.
    """
    if run.run_attempt != 1:
        _refuse(
            codes.GATE_RUN,
            f"this is attempt {run.run_attempt} of run {_show(run.run_id)}, and a click approves a run, "
            "whichever attempt's page was read",
        )


def check_initiator(run: Run) -> None:
    """Refuse a run that another workflow started with its own token (threat T15).

    Whoever can write a workflow of a branch could start the agent through it, and approve as a person: GitHub names
    `github-actions[bot]` as the initiator then, and nobody knows who stands behind it.

    Raises:
        GateRefused: GATE14.
    """
    for login in (run.actor, run.triggering_actor):
        if login.casefold() == JOBS_AUTHOR:
            _refuse(codes.GATE_INITIATOR, f"{login} started this run, and nobody knows on whose behalf")


def check_run(plan_run: Run, current: Run) -> None:
    """Refuse a plan of another run, attempt, commit or workflow (threats T10, T19), and any later attempt.

    Raises:
        GateRefused: GATE03.
    """
    differences = [
        f"{name} is {_show(getattr(current, name))}, the plan was sealed in {_show(getattr(plan_run, name))}"
        for name in _BOUND_RUN_FIELDS
        if getattr(plan_run, name) != getattr(current, name)
    ]
    if differences:
        _refuse(codes.GATE_RUN, "; ".join(differences))
    check_first_attempt(current)


def check_not_expired(plan: Plan, now: datetime) -> None:
    """Refuse a plan whose time is over, or whose times make no sense (threat T20).

    Arguments:
        now: aware datetime.  From `expires_at` on, that second included, the plan is refused.

    Raises:
        GateRefused: GATE04.
    """
    if now.tzinfo is None or now.utcoffset() is None:
        _refuse(codes.GATE_EXPIRED, "the clock gave a time without a time zone, so expiry can't be judged")
    issued, expires = parse_time(plan.issued_at), parse_time(plan.expires_at)
    if expires <= issued:
        _refuse(codes.GATE_EXPIRED, f"the plan expires at {plan.expires_at}, not after it was sealed")
    if expires - issued > MAX_TTL:
        _refuse(
            codes.GATE_EXPIRED,
            f"the plan is valid from {plan.issued_at} to {plan.expires_at}, longer than {MAX_TTL.days} days",
        )
    if issued - now > MAX_CLOCK_SKEW:
        _refuse(codes.GATE_EXPIRED, f"the plan was sealed at {plan.issued_at}, which is in the future")
    if now >= expires:
        _refuse(
            codes.GATE_EXPIRED,
            f"the plan expired at {plan.expires_at}, {_duration(now - expires)} ago; it was valid for "
            f"{_duration(expires - issued)}",
        )


def _duration(span: timedelta) -> str:
    """A span for people, in the largest unit of which there are two; below that in seconds."""
    seconds = int(span.total_seconds())
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}s"
    return "1 second" if seconds == 1 else f"{seconds} seconds"


def check_policy(plan: Plan, policy: Policy, *, automatic: bool = False) -> None:
    """Refuse unless the policy of this commit is the one that the plan was sealed under, and says the same again.

    Threats T8 and T10: a plan or a policy that changed in between; T23: a decision that was not the policy's.

    Arguments:
        automatic: whether this is the job that acts without asking.  It executes only what was sealed with `auto` and
            is `auto` again; the job behind the gate executes only what was sealed with `review`, and there a policy
            that would ask nobody allows what somebody approved.

    Raises:
        GateRefused: GATE05.
    """
    if plan.policy.digest != policy.digest:
        _refuse(
            codes.GATE_POLICY,
            f"the plan was sealed under the policy with SHA-256 {plan.policy.digest}, this commit has {policy.digest}",
        )
    verdict = judge(policy, plan.steps, plan.resource)
    if not automatic:
        verdict = as_review(verdict)
    if verdict.decision == DENIED:
        _refuse(
            codes.GATE_POLICY, f"{_show(plan.title)} on {_show(plan.resource)} is denied: {'; '.join(verdict.reasons)}"
        )
    wanted = AUTO if automatic else REVIEW
    if {str(plan.policy.decision), verdict.decision} != {wanted} or (
        tuple(plan.policy.matched_rules) != verdict.matched_rules
    ):
        _refuse(
            codes.GATE_POLICY,
            "the plan says {} by [{}], the policy says {} by [{}], and this job executes {} only".format(
                plan.policy.decision,
                ", ".join(_show(rule) for rule in plan.policy.matched_rules),
                verdict.decision,
                ", ".join(verdict.matched_rules),
                wanted,
            ),
        )


def check_rate_limits(plan: Plan, policy: Policy, history: Sequence[Happened], now: datetime) -> None:
    """Refuse when as much happened already as the policy allows, over all runs of the repository (threat T25).

    Arguments:
        history: what other runs began, from GitHub's own records; each step of the plan counts for those after it.
        now: aware datetime.

    Raises:
        GateRefused: GATE13; the message says when the next action is possible.
    """
    happened = list(history)
    for step in plan.steps:
        counted = count(policy, action=step.action, resource=plan.resource, history=happened, now=now)
        full = [each.reason for each in counted if each.full]
        if full:
            _refuse(codes.GATE_RATE, f"{_show(step.action)} on {_show(plan.resource)}: {'; '.join(full)}")
        happened.append(Happened(now, step.action, plan.resource))


def environment_problems(
    settings: Optional[Mapping[str, Any]],
    branch_policies: Sequence[str],
    default_branch: str,
    *,
    name: str,
    reviewers_required: bool,
    initiator: str,
) -> Tuple[str, ...]:
    """Return everything that keeps the environment from being a gate; an empty tuple means that it is one.

    Arguments: as `check_environment()`.
    """
    if settings is None:
        return ("it does not exist, and GitHub would create it without any protection",)
    if str(settings.get("name", "")).casefold() != name.casefold():
        return ("GitHub answered about another environment, '{}'".format(_show(settings.get("name", ""))),)
    problems: List[str] = []
    if reviewers_required:
        problems += _reviewer_problems(settings, initiator)
        if settings.get("can_admins_bypass") is not False:
            problems.append("administrators can bypass it")
    problems += _branch_problems(settings, branch_policies, default_branch)
    return tuple(problems)


def _reviewer_problems(settings: Mapping[str, Any], initiator: str) -> List[str]:
    rules = [rule for rule in _mappings(settings.get("protection_rules")) if rule.get("type") == "required_reviewers"]
    reviewers = [_reviewer(entry) for rule in rules for entry in _mappings(rule.get("reviewers"))]
    known = [reviewer for reviewer in reviewers if reviewer]
    problems: List[str] = []
    if not known:
        problems.append("it has no required reviewers")
    elif all(reviewer == "user " + initiator.casefold() for reviewer in known):
        problems.append(f"its only required reviewer is {_show(initiator)}, who started this run")
    if not rules or any(rule.get("prevent_self_review") is not True for rule in rules):
        problems.append("it does not prevent self-review")
    return problems


def _reviewer(entry: Mapping[str, Any]) -> str:
    """Who may review, comparable; empty when GitHub's entry names nobody."""
    who = entry.get("reviewer")
    if not isinstance(who, Mapping):
        return ""
    if entry.get("type") == "User" and isinstance(who.get("login"), str) and who["login"]:
        return "user " + str(who["login"]).casefold()
    if entry.get("type") == "Team" and isinstance(who.get("slug"), str) and who["slug"]:
        return "team " + str(who["slug"]).casefold()
    return ""


def _branch_problems(settings: Mapping[str, Any], branch_policies: Sequence[str], default_branch: str) -> List[str]:
    kind = settings.get("deployment_branch_policy")
    if not isinstance(kind, Mapping):
        return [f"every branch may use it instead of {_show(default_branch)} only"]
    if kind.get("custom_branch_policies") is not True or kind.get("protected_branches") is not False:
        # Without any protected branch GitHub lets every branch through.
        return [f"every protected branch may use it instead of {_show(default_branch)} only"]
    if list(branch_policies) != [default_branch]:
        return [
            "it may be used from [{}] instead of {} only".format(
                ", ".join(_show(pattern) for pattern in branch_policies), _show(default_branch)
            )
        ]
    return []


def _mappings(value: object) -> List[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, (list, tuple)) else []


def check_environment(
    name: str,
    settings: Optional[Mapping[str, Any]],
    branch_policies: Sequence[str],
    default_branch: str,
    *,
    reviewers_required: bool,
    initiator: str,
) -> None:
    """Refuse unless the environment's settings make it a gate (threats T13, T15, T18, T21).

    Needed of every environment: it exists, and exactly the default branch may use it.  With `reviewers_required` also:
    at least one required reviewer besides the initiator, no self-review, no bypass by administrators.

    Arguments:
        name: of the environment.
        settings: GitHub's JSON of the environment, or None when there is none.
        branch_policies: name patterns of its deployment branches; those of tags as `tag:<pattern>`.
        default_branch: of the repository.
        initiator: login of who started the run.

    Raises:
        GateRefused: GATE06; the message names every missing setting.
    """
    problems = environment_problems(
        settings,
        branch_policies,
        default_branch,
        name=name,
        reviewers_required=reviewers_required,
        initiator=initiator,
    )
    if problems:
        _refuse(codes.GATE_ENVIRONMENT, "environment {}: {}".format(_show(name), "; ".join(problems)))


def check_approval(records: Sequence[Mapping[str, Any]], run: Run, plan_digest: str) -> Tuple[Approver, str]:
    """Return who approved, with the comment; refuse unless a human did who did not start the run, and nobody rejected.

    GitHub's records have neither time nor attempt, so only a run's first attempt has a plan, and all of its records are
    about that plan.  A bypass by an administrator leaves none (threat T18).

    Threat T15: everybody who approved is a user, no bot, and neither the actor nor the triggering actor.

    Threats T8, T14: a comment that names another plan approves another plan.

    Arguments:
        records: GitHub's JSON of `GET /repos/{owner}/{repo}/actions/runs/{id}/approvals`, all of them.
        run: the current run.
        plan_digest: of the plan that waits for the approval.

    Raises:
        GateRefused: GATE07.
    """
    of_gate = [record for record in _mappings(list(records)) if _names_gate(record)]
    for record in of_gate:
        if record.get("state") == "rejected":
            _refuse(codes.GATE_APPROVAL, f"{_login(record) or 'somebody'} rejected the plan")
    approvals = [record for record in of_gate if record.get("state") == "approved"]
    if not approvals:
        _refuse(
            codes.GATE_APPROVAL,
            f"none of the {len(records)} approval records of this run approves in the environment "
            f"{names.GATE_ENVIRONMENT} (a bypass by an administrator is not an approval)",
        )
    found = [_approver(record, run) for record in approvals]
    for record in approvals:
        _check_names_no_other_plan(record, plan_digest)
    return found[-1], str(approvals[-1].get("comment") or "")


def rejected_by(records: Sequence[Mapping[str, Any]]) -> Tuple[str, ...]:
    """The logins of everybody who rejected in the gate's environment."""
    of_gate = [record for record in _mappings(list(records)) if _names_gate(record)]
    return tuple(sorted({_login(record) for record in of_gate if record.get("state") == "rejected"} - {""}))


def _check_names_no_other_plan(record: Mapping[str, Any], plan_digest: str) -> None:
    for found in _DIGITS.findall(str(record.get("comment") or "")):
        if not plan_digest.startswith(found.lower()):
            _refuse(
                codes.GATE_APPROVAL,
                f"{_login(record)} approved with a comment that names the plan {_show(found)}, and this plan is "
                f"{_show(plan_digest)} (any {SHORT_DIGEST_LENGTH} or more hexadecimal "
                "digits in a comment are read as a plan's digest)",
            )


def _names_gate(record: Mapping[str, Any]) -> bool:
    # GitHub ignores case in names of environments.
    return any(
        str(environment.get("name", "")).casefold() == names.GATE_ENVIRONMENT
        for environment in _mappings(record.get("environments"))
    )


def _login(record: Mapping[str, Any]) -> str:
    user = record.get("user")
    return _show(user.get("login") or "") if isinstance(user, Mapping) else ""


def _approver(record: Mapping[str, Any], run: Run) -> Approver:
    user = record.get("user")
    if not isinstance(user, Mapping) or not isinstance(user.get("login"), str) or not user["login"]:
        _refuse(codes.GATE_APPROVAL, "GitHub does not name who approved (a deleted account?)")
    login = str(user["login"])
    if user.get("type") != "User" or login.casefold().endswith("[bot]"):
        _refuse(
            codes.GATE_APPROVAL, "{} approved and is a {}, not a human".format(_show(login), _show(user.get("type")))
        )
    if not isinstance(user.get("id"), int) or isinstance(user["id"], bool):
        _refuse(codes.GATE_APPROVAL, f"GitHub's record of {_show(login)} has no user id")
    for role, initiator in (("started", run.actor), ("re-ran", run.triggering_actor)):
        if login.casefold() == initiator.casefold():
            _refuse(codes.GATE_APPROVAL, f"{_show(login)} approved a run that {_show(initiator)} {role}")
    return Approver(login=login, id=user["id"], type="User")


def check_preconditions(plan: Plan, observed: Mapping[str, Any]) -> None:
    """Refuse when the world is not as it was when the plan was sealed (threat T9).

    Arguments:
        observed: what `observe()` says now; compared in canonical form, value by value.

    Raises:
        GateRefused: GATE08; the message names every key that differs.
    """
    differences = []
    for key in sorted(set(plan.preconditions) | set(observed), key=str):
        before = _canonical_text(plan.preconditions, key)
        now = _canonical_text(observed, key)
        if before != now:
            differences.append(f"{_show(key)} was {_show(before)} and is {_show(now)}")
    if differences:
        _refuse(codes.GATE_PRECONDITION, "since the plan was sealed: {}".format("; ".join(differences)))


def _canonical_text(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "not there"
    try:
        return canonical(values[key]).decode("utf-8")
    except codes.BadInput as problem:
        _refuse(codes.GATE_PRECONDITION, f"observe() gave {_show(key)} a value that can't be compared: {problem}")


def check_enabled(kill_switch: Optional[str]) -> None:
    """Refuse while the kill switch is on.

    Arguments:
        kill_switch: value of the variable AGENT_DISABLED.  Only no value, an empty one, 0, false, no and off mean that
            the agent may act; a value that nobody foresaw was meant to stop something.

    Raises:
        GateRefused: GATE10.
    """
    value = (kill_switch or "").strip().casefold()
    if value in _OFF:
        return
    remark = "" if value in _ON else ", which is neither on nor off and counts as on"
    _refuse(codes.GATE_DISABLED, f"AGENT_DISABLED is '{_show(kill_switch)}'{remark}")
