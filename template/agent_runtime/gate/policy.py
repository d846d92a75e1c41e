"""What the agent may do: the policy, and deciding by it.

Deciding is pure and denies by default: a denying rule wins over any allowing one, and whatever can't be judged (a
missing parameter, another type) counts against the action: against allowing it, and against doing it without asking.
No number that the agent reports about itself, such as its confidence, takes part (threat T23).

One module, because a rule, what it demands and the verdict are read together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

from agent_runtime.gate import protected_paths
from agent_runtime.gate.conditions import ONLY_WRITING, Condition, Other, compared, describe, doubt, holds
from agent_runtime.gate.expressions import Steps, named, parse
from agent_runtime.model.documents import Step
from agent_runtime.results import RiskLevel
from agent_runtime.text.escape import visible
from agent_runtime.text.patterns import glob_matches, glob_nearly_matches

AUTO = "auto"
REVIEW = "review"
DENIED = "denied"

AUTO_IS_OFF = "a human is asked: auto_approval is false in .github/agent-config.yml"

# What stands between a rule's questions and the parameters that none of them is about, which the page shows apart.
NOT_LOOKED_AT = "; not looked at: "

# How many must approve, and who may.
_Demand = Tuple[int, Optional[Tuple[str, ...]]]

# No rule of auto_approve may reach higher.
HIGHEST_AUTO_RISK = RiskLevel.MEDIUM


@dataclass(frozen=True)
class Rule:
    """Which actions a rule is about.

    Arguments:
        type: glob of the action's type.
        resources: globs, at least one of which the resource must match.
        conditions: all of them must hold.
        max_risk: highest risk that an allowing rule allows; a denying rule is about every risk.
        reason: the author's words: `description` of an allowing rule, `reason` of a denying one.
        requires_approval: of an allowing rule: whether a human must approve what it allows.
        approvals: how many distinct humans must; `approvers`: their logins, all reviewers of the gate where it is None.
    """

    type: str
    resources: Tuple[str, ...] = ("*",)
    conditions: Tuple[Condition, ...] = ()
    max_risk: RiskLevel = RiskLevel.HIGH
    reason: Optional[str] = None
    requires_approval: bool = True
    approvals: int = 1
    approvers: Optional[Tuple[str, ...]] = None


@dataclass(frozen=True)
class PathRoot:
    """Where paths of an action lead: below a folder outside the agent's repository.

    Arguments:
        type: glob of the action's type; `resources`: globs, at least one of which the resource must match.
        parameter: a path to texts, each of which `act()` takes for relative to `root`.
        root: absolute path of that folder on the machine that acts.
    """

    type: str
    resources: Tuple[str, ...]
    parameter: str
    root: str


@dataclass(frozen=True)
class RateLimit:
    """How often actions may happen: at most `max` within the last `per`, over all runs of this repository.

    Arguments:
        type: glob of the actions' type.
        resources: globs, at least one of which a resource must match.
        per_text: `per` as the file has it, for people.
    """

    type: str
    resources: Tuple[str, ...]
    max: int
    per: timedelta
    per_text: str
    reason: Optional[str] = None

    def is_about(self, action: str, resource: str) -> bool:
        """Whether an action counts for this limit; other case or whitespace in its names doesn't get around it."""
        return glob_nearly_matches(self.type, action) and any(
            glob_nearly_matches(glob, resource) for glob in self.resources
        )


@dataclass(frozen=True)
class Policy:
    """A policy file.

    Arguments:
        digest: SHA-256 of its bytes in hexadecimal.
        auto_approve: what may be done without asking, where the template's answer `auto_approval` is yes.
        rate_limits: how often; all that are about an action must leave room for it.
        initiators: logins of the apps that may start runs, beside people.
        session_policies: what the credential that acts is cut down to, by action.
        path_roots: which paths are not in this repository; of several about the same paths the first counts.
    """

    name: str
    version: int
    allowed_actions: Tuple[Rule, ...]
    denied_actions: Tuple[Rule, ...]
    digest: str
    auto_approve: Tuple[Rule, ...] = ()
    rate_limits: Tuple[RateLimit, ...] = ()
    initiators: Tuple[str, ...] = ()
    session_policies: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    path_roots: Tuple[PathRoot, ...] = ()

    @property
    def most_approvals(self) -> int:
        """How many humans the most demanding rule asks for."""
        return max((rule.approvals for rule in self.allowed_actions), default=1)


@dataclass(frozen=True)
class Verdict:
    """What a policy says about one action.

    Arguments:
        decision: `auto` (it may be done without asking), `review` (a human may approve it) or `denied`.
        matched_rules: the rules that decided, for example `allowed_actions[0]`.
        reasons: one line for each rule looked at, for people.
        asked: what each of the rules that decided asks, with the values that it was asked about.
        approvals: how many distinct humans must approve.
        approvers: who may: None for every reviewer of the gate; nobody where the rules have nobody in common.
    """

    decision: str
    matched_rules: Tuple[str, ...]
    reasons: Tuple[str, ...]
    asked: Tuple[str, ...] = ()
    approvals: int = 1
    approvers: Optional[Tuple[str, ...]] = None


def evaluate(
    policy: Policy,
    *,
    action: str,
    resource: str,
    parameters: Mapping[str, Any],
    risk_level: RiskLevel,
    reversible: bool = False,
    every_rule: bool = True,
    moment: Optional[datetime] = None,
) -> Verdict:
    """Decide whether an action may be done, and whether a human must be asked before.

    `review` needs one allowing rule of which everything holds, and no denying rule that may be about the action.  A
    condition can't be judged when what it looks at is missing (`expressions.py`), is of another type than its value
    (`true` is not a number), is a text that contains invisible characters or is not in Unicode's normal form C, or
    differs only in case, whitespace around it or compatibility characters (`Prod` where the rule says `prod`): then an
    allowing rule does not match and a denying rule does.  In the same way a denying rule is about actions and resources
    whose names come that close.  A parameter that names a protected path denies (threat T22).

    `auto` needs all of that, a rule of `auto_approve` of which everything holds, a reversible action, and that no
    allowing rule which may be about the action requires approval.  Such a rule counts here even where its risk ceiling
    is exceeded, so that neither more risk nor a missing parameter ever means less asking.  For the same reason the
    strictest demand of all these rules counts: the highest `approvals`, and those `approvers` whom each of them names.

    Arguments:
        every_rule: give each rule a line; else those that are about other actions share one.
        moment: aware datetime, from which ages count: when the plan is sealed, so that *Verify* judges the same.
            Without it no condition about an age can be judged.
    """
    asked = _Asked(action, resource, parameters, risk_level, moment)
    what = f"{visible(action)} on {visible(resource)}"
    denying: List[str] = []
    allowing: List[str] = []
    automatic: List[str] = []
    reserved: List[str] = []
    demands: List[_Demand] = []
    questions: List[str] = []
    rules = _Said(None if every_rule else action)
    guarded = protected_paths.problem(parameters, _roots(policy, action, resource))
    if guarded:
        denying.append("protected_paths")
        rules.lines.append(f"protected_paths: {guarded}, so {what} is denied")
    for number, rule in enumerate(policy.denied_actions):
        name = f"denied_actions[{number}]"
        obstacle = _far_off(rule, asked) or _false_condition(rule, asked)
        if obstacle is None:
            denying.append(name)
        rules.of(name, rule, obstacle or f"applies{_doubts(rule, asked)}, so {what} is denied")

    def look(name: str, rule: Rule, matching: List[str]) -> None:
        obstacle = _mismatch(rule, asked)
        if obstacle is None:
            matching.append(name)
            questions.append(_question(name, rule, asked))
        rules.of(name, rule, obstacle or f"matches, up to risk {rule.max_risk}")

    for number, rule in enumerate(policy.allowed_actions):
        name = f"allowed_actions[{number}]"
        look(name, rule, allowing)
        if rule.requires_approval and not (_far_off(rule, asked) or _false_condition(rule, asked)):
            reserved.append(name)
            demands.append((rule.approvals, rule.approvers))
            if rule.approvals > 1 or rule.approvers:
                rules.lines.append(f"{name} asks for {asked_for(rule.approvals, rule.approvers)}")
    for number, rule in enumerate(policy.auto_approve):
        look(f"auto_approve[{number}]", rule, automatic)
    reasons = rules.whole()
    if denying:
        return Verdict(DENIED, tuple(denying), tuple(reasons))
    if not allowing:
        reasons.append(f"no allowing rule matches {what}, and what is not allowed is denied")
        return Verdict(DENIED, (), tuple(reasons))
    why = _why_ask(automatic, reserved, reversible=reversible)
    if not policy.auto_approve or why:
        said = ("a human is asked: " + why,) if policy.auto_approve else ()
        return Verdict(REVIEW, tuple(allowing), (*reasons, *said), _of_allowing(questions), *_strictest(demands))
    return Verdict(AUTO, (*allowing, *automatic), (*reasons, f"no human is asked about {what}"), tuple(questions))


class _Asked(NamedTuple):
    """What a policy is asked about."""

    action: str
    resource: str
    parameters: Mapping[str, Any]
    risk_level: RiskLevel
    moment: Optional[datetime]


class _Said:
    """The lines about the rules, in their order.

    Arguments:
        action: rules that are about another one than this share one line; None: each has its own.
    """

    def __init__(self, action: Optional[str]) -> None:
        self.lines: List[str] = []
        self._others: List[str] = []
        self._action = action

    def of(self, name: str, rule: Rule, outcome: str) -> None:
        """Say what became of a rule."""
        if self._action is None or glob_nearly_matches(rule.type, self._action):
            self.lines.append(_reason(name, rule, outcome))
        else:
            self._others.append(name)

    def whole(self) -> List[str]:
        """All lines."""
        return [*self.lines, *(["about other actions: " + ", ".join(self._others)] if self._others else [])]


def judge(policy: Policy, steps: Sequence[Step], resource: str, moment: Optional[datetime] = None) -> Verdict:
    """Decide about every step of a plan; the strictest decision counts for all of them.

    Arguments:
        moment: when the plan is sealed.
    """
    verdicts = [
        evaluate(
            policy,
            action=step.action,
            resource=resource,
            parameters=step.parameters,
            risk_level=step.risk_level,
            reversible=step.reversible,
            every_rule=False,
            moment=moment,
        )
        for step in steps
    ]
    said = {each.decision for each in verdicts}
    decision = next(word for word in (DENIED, REVIEW, AUTO) if word in said)
    deciding = [each for each in verdicts if decision != DENIED or each.decision == DENIED]
    if decision == REVIEW:
        deciding = [as_review(each) for each in deciding]
    rules = tuple(dict.fromkeys(rule for each in deciding for rule in each.matched_rules))
    mark = len(steps) > 1
    reasons = [
        f"step {number}: {reason}" if mark else reason
        for number, each in enumerate(verdicts, 1)
        for reason in each.reasons
    ]
    asked = tuple(
        each.replace(": ", f" of step {number}: ", 1) if mark else each
        for number, verdict in enumerate(verdicts, 1)
        for each in (verdict.asked if decision == AUTO else _of_allowing(verdict.asked))
    )
    demanded = _strictest((each.approvals, each.approvers) for each in deciding)
    return Verdict(decision, rules, tuple(reasons), () if decision == DENIED else asked, *demanded)


def asked_for(approvals: int, approvers: Optional[Sequence[str]]) -> str:
    """How many must approve and who may, for people."""
    what = "1 approval" if approvals == 1 else f"{approvals} approvals by different people"
    return what if approvers is None else f"{what}, out of {', '.join(approvers) or 'nobody'}"


def as_review(verdict: Verdict, reason: Optional[str] = None) -> Verdict:
    """Return the verdict of a gate at which somebody is always asked: `review` instead of `auto`.

    Arguments:
        reason: why, as a further line.
    """
    if verdict.decision != AUTO:
        return verdict
    rules = tuple(rule for rule in verdict.matched_rules if rule.startswith("allowed_actions"))
    said = verdict.reasons[:-1] + ((reason,) if reason else ())
    return Verdict(REVIEW, rules, said, _of_allowing(verdict.asked))


def _question(name: str, rule: Rule, asked: _Asked) -> str:
    """What a rule that matches asks: every condition with its value, the risk, and at which values it doesn't look."""
    said = ", ".join(compared(condition, asked.parameters, asked.moment) for condition in rule.conditions)
    judged = f"{name}: {said or 'no condition on the parameters'}; risk {asked.risk_level}, at most {rule.max_risk}"
    others = [condition.value.parameter for condition in rule.conditions if isinstance(condition.value, Other)]
    seen = {_bare(parse(each).steps) for each in (*(condition.parameter for condition in rule.conditions), *others)}
    free = sorted({visible(named(place)) for place in _places(asked.parameters) if place not in seen})
    return f"{judged}{NOT_LOOKED_AT}{', '.join(free)}" if said and free else judged


def _of_allowing(questions: Sequence[str]) -> Tuple[str, ...]:
    return tuple(each for each in questions if each.startswith("allowed_actions"))


def _places(parameters: Mapping[str, Any]) -> Set[Steps]:
    """The paths to everything in an action's parameters that is not an object itself, nor a list of objects."""
    found: Set[Steps] = set()
    waiting: List[Tuple[Steps, Any]] = [((), dict(parameters))]
    while waiting:
        place, value = waiting.pop()
        inside = value if isinstance(value, (list, tuple)) else ()
        if isinstance(value, dict) and (value or not place):
            waiting += [((*place, str(key)), item) for key, item in value.items()]
        elif any(isinstance(item, (dict, list, tuple)) for item in inside):
            waiting += [((*place, None), item) for item in inside]
        else:
            found.add(_bare(place))
    return found


def _bare(place: Steps) -> Steps:
    """A path to a list for the path to its items, which are looked at together."""
    return place[:-1] if place and place[-1] is None else place


def _roots(policy: Policy, action: str, resource: str) -> Dict[Steps, str]:
    """Below which folders the paths of an action are, by where they stand."""
    return {
        parse(each.parameter).steps: each.root
        for each in reversed(policy.path_roots)
        if glob_matches(each.type, action) and any(glob_matches(glob, resource) for glob in each.resources)
    }


@dataclass(frozen=True)
class Happened:
    """An action that a run of this repository began, whatever became of it.

    Arguments:
        moment: aware datetime.
        action, resource: None where the history does not say; then it counts for every limit.
    """

    moment: datetime
    action: Optional[str]
    resource: Optional[str]


@dataclass(frozen=True)
class Count:
    """What the history says of one rate limit: its name, whether it leaves no room, and a line for people."""

    rule: str
    full: bool
    reason: str


def limits_of(policy: Policy, action: str, resource: str) -> Tuple[Tuple[str, RateLimit], ...]:
    """Return the rate limits that an action counts for, with their names."""
    return tuple(
        (f"rate_limits[{number}]", limit)
        for number, limit in enumerate(policy.rate_limits)
        if limit.is_about(action, resource)
    )


def count(
    policy: Policy, *, action: str, resource: str, history: Sequence[Happened], now: datetime
) -> Tuple[Count, ...]:
    """Count what happened for every rate limit that is about an action.

    Arguments:
        history: at least as far back as the longest of these limits; what is older is passed over.
        now: aware datetime.
    """
    return tuple(_count(name, limit, history, now) for name, limit in limits_of(policy, action, resource))


def _count(name: str, limit: RateLimit, history: Sequence[Happened], now: datetime) -> Count:
    counted = sorted(
        each.moment
        for each in history
        if each.moment > now - limit.per
        and (each.action is None or each.resource is None or limit.is_about(each.action, each.resource))
    )
    full = len(counted) >= limit.max
    said = f"{len(counted)} of {limit.max} in the last {limit.per_text}"
    if full:
        free = (counted[len(counted) - limit.max] + limit.per).astimezone(timezone.utc)
        said += f", next possible at {free + timedelta(seconds=bool(free.microsecond)):%Y-%m-%dT%H:%M:%SZ}"
    return Count(name, full, _reason(name, limit, said))


def _strictest(demands: Iterable[_Demand]) -> _Demand:
    """The highest number of approvals, and the approvers that are common to all who name some."""
    most = 1
    common: Optional[Tuple[str, ...]] = None
    for approvals, approvers in demands:
        most = max(most, approvals)
        if approvers is not None:
            named = {login.casefold() for login in approvers}
            common = tuple(login for login in (approvers if common is None else common) if login.casefold() in named)
    return most, common


def _why_ask(automatic: Sequence[str], reserved: Sequence[str], *, reversible: bool) -> str:
    """Why a human is asked about an allowed action; empty where nobody need be."""
    if not automatic:
        return "no rule of auto_approve matches"
    if reserved:
        return f"{' and '.join(reserved)} requires approval and may be about it"
    return "" if reversible is True else "the agent does not say that it can be undone"


def _reason(name: str, rule: Union[Rule, RateLimit], outcome: str) -> str:
    line = f"{name} ({visible(rule.type)} on {', '.join(map(visible, rule.resources))}): {outcome}"
    return line if rule.reason is None else f"{line} [{visible(rule.reason)}]"


def _mismatch(rule: Rule, asked: _Asked) -> Optional[str]:
    return _off_target(rule, asked) or _unmet_condition(rule, asked) or _too_risky(rule, asked)


def _off_target(rule: Rule, asked: _Asked, matches: Callable[[str, str], bool] = glob_matches) -> Optional[str]:
    if not matches(rule.type, asked.action):
        return f"is about another action than {visible(asked.action)}"
    if not any(matches(glob, asked.resource) for glob in rule.resources):
        return f"is about another resource than {visible(asked.resource)}"
    return None


def _far_off(rule: Rule, asked: _Asked) -> Optional[str]:
    """As `_off_target()`, for a rule that holds something back: it is about what comes close, too."""
    return _off_target(rule, asked, glob_nearly_matches)


def _false_condition(rule: Rule, asked: _Asked) -> Optional[str]:
    for condition in rule.conditions:
        if holds(condition, asked.parameters, asked.moment) is False:
            return f"does not apply: it is not so that {describe(condition)}"
    return None


def _unmet_condition(rule: Rule, asked: _Asked) -> Optional[str]:
    for condition in rule.conditions:
        held = holds(condition, asked.parameters, asked.moment)
        if held is None:
            return f"does not match: {doubt(condition, asked.parameters, asked.moment)}"
        if not held:
            return f"does not match: it is not so that {describe(condition)}"
    return None


def _too_risky(rule: Rule, asked: _Asked) -> Optional[str]:
    if asked.risk_level.rank > rule.max_risk.rank:
        return f"does not match: the risk is {asked.risk_level}, at most {rule.max_risk} is allowed"
    return None


def _doubts(rule: Rule, asked: _Asked) -> str:
    """Why a denying rule applies although not everything could be judged, or nothing."""
    known = (asked.parameters, asked.moment)
    doubts = [doubt(condition, *known) for condition in rule.conditions if holds(condition, *known) is None]
    if _off_target(rule, asked):
        doubts.insert(0, f"{ONLY_WRITING} it is about {visible(asked.action)} on {visible(asked.resource)}")
    return f" because {' and '.join(doubts)}" if doubts else ""
