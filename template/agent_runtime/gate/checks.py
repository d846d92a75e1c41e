"""The checks before acting that both gates make: each looks at one thing, and refuses with its own code.

Every check is a pure function of what was sealed, what was approved and what GitHub says now, so that each can be
attacked in a test.  All of them fail closed: what is missing, malformed or ambiguous refuses.  Messages are read at
3 a.m. by somebody who did not write this: they name what is wrong, where, and the values, escaped.

Those about environments and about an issue are in `environment_checks.py` and `issue_checks.py`, the order of all in
`environment.py` and `issue.py`; what each refusal means for a person: specs/codes.md.
"""

from __future__ import annotations

import hmac
import re
from datetime import datetime, timedelta
from typing import Any, Mapping, NoReturn, Optional, Sequence

from agent_runtime import codes
from agent_runtime.gate.policy import AUTO, DENIED, REVIEW, Happened, Policy, as_review, asked_for, count, judge
from agent_runtime.model.documents import Plan, Run, is_hex64, parse_time
from agent_runtime.model.names import JOBS_AUTHOR
from agent_runtime.model.plan import canonical, digest
from agent_runtime.text.escape import visible

# GitHub keeps a run waiting for its reviewer for 30 days; nothing may count longer.
MAX_TTL = timedelta(days=30)
# Clocks of two runners may differ; a plan from further ahead than this was not sealed by this run.
MAX_CLOCK_SKEW = timedelta(minutes=5)

_SHOWN = 80
# GitHub's names of people; `_` stands in those that a company manages. Every other name is an app's.
_PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
# The one app whose name GitHub may show like a person's.
_COPILOT = "copilot"
_BOUND_RUN_FIELDS = ("repository", "run_id", "run_attempt", "sha", "workflow")
_OFF = frozenset({"", "0", "false", "no", "off"})
_ON = frozenset({"1", "true", "yes", "on"})


def refuse(code: str, message: str) -> NoReturn:
    """Refuse with a check's own code."""
    raise codes.GateRefused(code, message)


def show(value: object) -> str:
    """A value as messages show it."""
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
        refuse(codes.GATE_DIGEST, f"what was approved is not a plan digest but '{show(approved_digest)}'")
    found = digest(plan)
    if not hmac.compare_digest(found, approved_digest):
        refuse(
            codes.GATE_DIGEST,
            f"the plan in the report ({show(plan.title)} on {show(plan.resource)}) has the digest {found}, "
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
        refuse(
            codes.GATE_RUN,
            f"this is attempt {run.run_attempt} of run {show(run.run_id)}, and a click approves a run, "
            "whichever attempt's page was read",
        )


def is_app(login: str) -> bool:
    """Whether a login is an app's, by GitHub's rules for names."""
    return _PERSON.fullmatch(login) is None or login.casefold() == _COPILOT


def check_initiator(run: Run, initiators: Sequence[str]) -> None:
    """Refuse a run that another workflow started with its own token, or an app that the policy does not name (T15).

    Whoever can write a workflow of a branch could start the agent through it, and approve as a person: GitHub names
    `github-actions[bot]` as the initiator then, and nobody knows who stands behind it.  Any other app has people behind
    it whom GitHub does not name either, so the policy, which is reviewed, says which may start runs.

    Arguments:
        initiators: of the policy.

    Raises:
        GateRefused: GATE14.
    """
    named = {login.casefold() for login in initiators} - {JOBS_AUTHOR}
    for login in (run.actor, run.triggering_actor):
        if login.casefold() == JOBS_AUTHOR:
            refuse(codes.GATE_INITIATOR, f"{login} started this run, and nobody knows on whose behalf")
        if is_app(login) and login.casefold() not in named:
            refuse(
                codes.GATE_INITIATOR,
                f"the app {show(login)} started this run, and the policy does not name it; if it may start runs, "
                f'name it there, by pull request: initiators: ["{show(login)}"]',
            )


def check_run(plan_run: Run, current: Run) -> None:
    """Refuse a plan of another run, attempt, commit or workflow (threats T10, T19), and any later attempt.

    Raises:
        GateRefused: GATE03.
    """
    differences = [
        f"{name} is {show(getattr(current, name))}, the plan was sealed in {show(getattr(plan_run, name))}"
        for name in _BOUND_RUN_FIELDS
        if getattr(plan_run, name) != getattr(current, name)
    ]
    if differences:
        refuse(codes.GATE_RUN, "; ".join(differences))
    check_first_attempt(current)


def check_not_expired(plan: Plan, now: datetime) -> None:
    """Refuse a plan whose time is over, or whose times make no sense (threat T20).

    Arguments:
        now: aware datetime.  From `expires_at` on, that second included, the plan is refused.

    Raises:
        GateRefused: GATE04.
    """
    if now.tzinfo is None or now.utcoffset() is None:
        refuse(codes.GATE_EXPIRED, "the clock gave a time without a time zone, so expiry can't be judged")
    issued, expires = parse_time(plan.issued_at), parse_time(plan.expires_at)
    if expires <= issued:
        refuse(codes.GATE_EXPIRED, f"the plan expires at {plan.expires_at}, not after it was sealed")
    if expires - issued > MAX_TTL:
        refuse(
            codes.GATE_EXPIRED,
            f"the plan is valid from {plan.issued_at} to {plan.expires_at}, longer than {MAX_TTL.days} days",
        )
    if issued - now > MAX_CLOCK_SKEW:
        refuse(codes.GATE_EXPIRED, f"the plan was sealed at {plan.issued_at}, which is in the future")
    if now >= expires:
        refuse(
            codes.GATE_EXPIRED,
            f"the plan expired at {plan.expires_at}, {duration(now - expires)} ago; it was valid for "
            f"{duration(expires - issued)}",
        )


def duration(span: timedelta) -> str:
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
        refuse(
            codes.GATE_POLICY,
            f"the plan was sealed under the policy with SHA-256 {plan.policy.digest}, this commit has {policy.digest}",
        )
    verdict = judge(policy, plan.steps, plan.resource, parse_time(plan.issued_at))
    if not automatic:
        verdict = as_review(verdict)
    if verdict.decision == DENIED:
        refuse(
            codes.GATE_POLICY, f"{show(plan.title)} on {show(plan.resource)} is denied: {'; '.join(verdict.reasons)}"
        )
    wanted = AUTO if automatic else REVIEW
    if {str(plan.policy.decision), verdict.decision} != {wanted} or (
        tuple(plan.policy.matched_rules) != verdict.matched_rules
    ):
        sealed_by, decided_by = ", ".join(map(show, plan.policy.matched_rules)), ", ".join(verdict.matched_rules)
        refuse(
            codes.GATE_POLICY,
            f"the plan says {plan.policy.decision} by [{sealed_by}], the policy says {verdict.decision} by "
            f"[{decided_by}], and this job executes {wanted} only",
        )
    sealed, demanded = (plan.approvals.count, plan.approvals.approvers or None), (verdict.approvals, verdict.approvers)
    if sealed != demanded:
        refuse(codes.GATE_POLICY, f"the plan asks for {asked_for(*sealed)}, and the policy for {asked_for(*demanded)}")


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
            refuse(codes.GATE_RATE, f"{show(step.action)} on {show(plan.resource)}: {'; '.join(full)}")
        happened.append(Happened(now, step.action, plan.resource))


def check_preconditions(
    expected: Mapping[str, Any],
    observed: Mapping[str, Any],
    *,
    changed: Sequence[str] = (),
    since: str = "the plan was sealed",
) -> None:
    """Refuse when the world is not as it was when the plan was sealed, or when the last step began (threat T9).

    Arguments:
        expected: the plan's preconditions; after a step, what `observe()` said before it.
        observed: what `observe()` says now; compared in canonical form, value by value.
        changed: the keys that the step in between is declared to change; their values may differ.
        since: when `expected` held, for the message.

    Raises:
        GateRefused: GATE08; the message names every key that differs.
    """
    differences = []
    for key in sorted(set(expected) | set(observed), key=str):
        before = _canonical_text(expected, key)
        now = _canonical_text(observed, key)
        if before != now and key not in changed:
            differences.append(f"{show(key)} was {show(before)} and is {show(now)}")
    if differences:
        refuse(codes.GATE_PRECONDITION, f"since {since}: {'; '.join(differences)}")


def _canonical_text(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "not there"
    try:
        return canonical(values[key]).decode("utf-8")
    except codes.BadInput as problem:
        refuse(codes.GATE_PRECONDITION, f"observe() gave {show(key)} a value that can't be compared: {problem}")


def check_variables(plan: Plan, seen: Mapping[str, str]) -> None:
    """Refuse when a variable that `act` reads is not what the plan was sealed with (threat T10).

    Arguments:
        seen: the variables as this job gets them: those of its environment override the repository's.

    Raises:
        GateRefused: GATE16; the message names every variable that differs.
    """
    differences = [
        f"{show(name)} was '{show(plan.variables.get(name, ''))}' and is '{show(seen.get(name, ''))}' in this job"
        for name in sorted(set(plan.variables) | set(seen))
        if plan.variables.get(name) != seen.get(name)
    ]
    if differences:
        refuse(codes.GATE_VARIABLES, "since the plan was sealed: " + "; ".join(differences))


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
    refuse(codes.GATE_DISABLED, f"AGENT_DISABLED is '{show(kill_switch)}'{remark}")
