"""The checks of what GitHub says of environments: their settings, and who approved in the gate's.

Pure like those of `checks.py`.
"""

from __future__ import annotations

import re
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.gate.checks import refuse, show
from agent_runtime.gate.policy import asked_for
from agent_runtime.model import names
from agent_runtime.model.documents import Approvals, Approver, Run
from agent_runtime.model.plan import SHORT_DIGEST_LENGTH

# What a person copies from the page to say which plan is meant, in group 1; a UUID and a commit are not that.
_DIGITS = re.compile(
    rf"[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}|commit [0-9a-f]+|"
    rf"(?<![0-9a-z])([0-9a-f]{{{SHORT_DIGEST_LENGTH},}})(?![0-9a-z])",
    re.IGNORECASE,
)
# Trace ids and commits.
_OTHER_LENGTHS = (32, 40)
_WHOLE_DIGEST = 64
# Where neither the policy nor a page says anything else.
ANYBODY = Approvals(1, ())


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
        return (f"GitHub answered about another environment, '{show(settings.get('name', ''))}'",)
    problems: List[str] = []
    if reviewers_required:
        problems += _reviewer_problems(settings, initiator)
        if settings.get("can_admins_bypass") is not False:
            problems.append("administrators can bypass it")
    problems += _branch_problems(settings, branch_policies, default_branch)
    return tuple(problems)


def _reviewer_problems(settings: Mapping[str, Any], initiator: str) -> List[str]:
    rules = [rule for rule in _mappings(settings.get("protection_rules")) if rule.get("type") == "required_reviewers"]
    known = _reviewers(settings)
    problems: List[str] = []
    if not known:
        problems.append("it has no required reviewers")
    elif all(reviewer == "user " + initiator.casefold() for reviewer in known):
        problems.append(f"its only required reviewer is {show(initiator)}, who started this run")
    if not rules or any(rule.get("prevent_self_review") is not True for rule in rules):
        problems.append("it does not prevent self-review")
    return problems


def people(settings: Mapping[str, Any]) -> List[str]:
    """The people among an environment's reviewers, in lower case; teams left out."""
    return [login for kind, _, login in (who.partition(" ") for who in _reviewers(settings)) if kind == "user"]


def check_enough(
    gates: Sequence[Tuple[str, Mapping[str, Any]]], run: Run, wanted: Approvals, gone: Collection[str] = ()
) -> str:
    """Refuse unless different people can give each approval that a plan needs (threats T15, T18).

    Who started or re-ran the run can't, nor can anybody whom the plan does not name where it names some.

    Arguments:
        gates: name and settings of the environment of each approval.
        gone: reviewers who have lost access to the repository.

    Returns:
        The teams of which that depends, because GitHub shows their members to no job; empty where none does, and
        where one approval by anybody is enough.

    Raises:
        GateRefused: GATE15, with whom each environment leaves.
    """
    out = {run.actor.casefold(), run.triggering_actor.casefold(), *gone}
    named = {login.casefold() for login in wanted.approvers}
    teams: Dict[str, None] = {}
    able: List[List[str]] = []
    left: List[str] = []
    impossible = False
    for name, settings in gates:
        able.append([login for login in people(settings) if login not in out and (not named or login in named)])
        of_gate = [who[len("team ") :] for who in _reviewers(settings) if who.startswith("team ")]
        teams.update(dict.fromkeys(of_gate))
        impossible = impossible or not (able[-1] or of_gate)
        left.append(f"{name}: {', '.join(map(show, (*able[-1], *of_gate))) or 'nobody'}")
    enough = all(able) and len({login for each in able for login in each}) >= wanted.count
    if impossible or not (enough or teams):
        refuse(
            codes.APPROVERS_IMPOSSIBLE,
            f"the policy wants {asked_for(wanted.count, wanted.approvers or None)}, and of the reviewers who have "
            f"access here and did not start this run these may approve: {'; '.join(left)}",
        )
    return "" if enough or (wanted.count == 1 and not named) else ", ".join(map(show, teams))


def _reviewers(settings: Mapping[str, Any]) -> List[str]:
    rules = [rule for rule in _mappings(settings.get("protection_rules")) if rule.get("type") == "required_reviewers"]
    found = [_reviewer(entry) for rule in rules for entry in _mappings(rule.get("reviewers"))]
    return [reviewer for reviewer in found if reviewer]


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
        return [f"every branch may use it instead of {show(default_branch)} only"]
    if kind.get("custom_branch_policies") is not True or kind.get("protected_branches") is not False:
        # Without any protected branch GitHub lets every branch through.
        return [f"every protected branch may use it instead of {show(default_branch)} only"]
    if list(branch_policies) != [default_branch]:
        return [f"it may be used from [{', '.join(map(show, branch_policies))}] instead of {show(default_branch)} only"]
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
        refuse(codes.GATE_ENVIRONMENT, f"environment {show(name)}: {'; '.join(problems)}")


def check_approvals(
    records: Sequence[Mapping[str, Any]], run: Run, plan_digest: str, wanted: Approvals = ANYBODY
) -> List[Tuple[Approver, str]]:
    """Return who approved, each with the comment, in the order of the environments; refuse unless it is enough.

    In each environment a human must have approved who did not start the run, and nobody rejected.

    GitHub's records have neither time nor attempt, so only a run's first attempt has a plan, and all of its records are
    about that plan.  A bypass by an administrator leaves none (threat T18).

    Threat T15: everybody who approved is a user, no bot, and neither the actor nor the triggering actor.

    Threats T8, T14: a comment that names another plan approves another plan.

    Where the plan needs two approvals, two environments have one each, by different people: another id, and another
    login whatever its case.  Where it names approvers, nobody else counts.

    Arguments:
        records: GitHub's JSON of `GET /repos/{owner}/{repo}/actions/runs/{id}/approvals`, all of them.
        run: the current run.
        plan_digest: of the plan that waits for the approval.
        wanted: who may approve, and how many must have by now.

    Raises:
        GateRefused: GATE07.
    """
    known = _mappings(list(records))
    for record in known:
        if record.get("state") == "rejected" and _is_about(record, *names.GATE_ENVIRONMENTS):
            refuse(codes.GATE_APPROVAL, f"{_login(record) or 'somebody'} rejected the plan")
    found: List[Tuple[Approver, str]] = []
    for environment in names.GATE_ENVIRONMENTS[: wanted.count]:
        approvals = [record for record in known if record.get("state") == "approved" and _is_about(record, environment)]
        if not approvals:
            refuse(
                codes.GATE_APPROVAL,
                f"none of the {len(records)} approval records of this run approves in the environment "
                f"{environment} (a bypass by an administrator is not an approval)",
            )
        people = [_approver(record, run) for record in approvals]
        for record, approver in zip(approvals, people):
            _check_counts(approver, wanted.approvers, [before for before, _ in found])
            _check_names_no_other_plan(record, plan_digest)
        found.append((people[-1], str(approvals[-1].get("comment") or "")))
    return found


def _check_counts(approver: Approver, named: Sequence[str], before: Sequence[Approver]) -> None:
    login = approver.login.casefold()
    if named and login not in [name.casefold() for name in named]:
        refuse(
            codes.GATE_APPROVAL, f"{show(approver.login)} approved, and the policy lets only {', '.join(named)} approve"
        )
    for other in before:
        if approver.id == other.id or login == other.login.casefold():
            refuse(codes.GATE_APPROVAL, f"{show(approver.login)} approved twice, and two different people must approve")


def is_answered(records: Sequence[Mapping[str, Any]], number: int) -> bool:
    """Whether a record of the environment of this approval is there, whatever it says."""
    return any(_is_about(record, names.GATE_ENVIRONMENTS[number - 1]) for record in _mappings(list(records)))


def rejections(records: Sequence[Mapping[str, Any]]) -> Dict[str, str]:
    """Who rejected in an environment of the gate, by login, each with the comment."""
    of_gate = [record for record in _mappings(list(records)) if _is_about(record, *names.GATE_ENVIRONMENTS)]
    said = {_login(record): str(record.get("comment") or "") for record in of_gate if record.get("state") == "rejected"}
    return {login: said[login] for login in sorted(said) if login}


def _check_names_no_other_plan(record: Mapping[str, Any], plan_digest: str) -> None:
    for found in _DIGITS.findall(str(record.get("comment") or "")):
        of_something_else = len(found) in _OTHER_LENGTHS or (found.isdecimal() and len(found) < _WHOLE_DIGEST)
        if not of_something_else and not plan_digest.startswith(found.lower()):
            refuse(
                codes.GATE_APPROVAL,
                f"{_login(record)} approved with a comment that names the plan {show(found)}, and this plan is "
                f"{show(plan_digest)} ({SHORT_DIGEST_LENGTH} or more hexadecimal digits in a comment are taken for a "
                "plan's, unless they look like a commit, a UUID, a trace id or a number)",
            )


def _is_about(record: Mapping[str, Any], *environments: str) -> bool:
    # GitHub takes upper and lower case for the same in names of environments.
    return any(
        str(environment.get("name", "")).casefold() in environments
        for environment in _mappings(record.get("environments"))
    )


def _login(record: Mapping[str, Any]) -> str:
    user = record.get("user")
    return show(user.get("login") or "") if isinstance(user, Mapping) else ""


def _approver(record: Mapping[str, Any], run: Run) -> Approver:
    user = record.get("user")
    if not isinstance(user, Mapping) or not isinstance(user.get("login"), str) or not user["login"]:
        refuse(codes.GATE_APPROVAL, "GitHub does not name who approved (a deleted account?)")
    login = str(user["login"])
    if user.get("type") != "User" or login.casefold().endswith("[bot]"):
        refuse(codes.GATE_APPROVAL, f"{show(login)} approved and is a {show(user.get('type'))}, not a human")
    if not isinstance(user.get("id"), int) or isinstance(user["id"], bool):
        refuse(codes.GATE_APPROVAL, f"GitHub's record of {show(login)} has no user id")
    for role, initiator in (("started", run.actor), ("re-ran", run.triggering_actor)):
        if login.casefold() == initiator.casefold():
            refuse(codes.GATE_APPROVAL, f"{show(login)} approved a run that {show(initiator)} {role}")
    return Approver(login=login, id=user["id"], type="User")
