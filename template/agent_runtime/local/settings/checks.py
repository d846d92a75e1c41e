"""What is in order and what is open, check by check.  Pure: from what was seen to results.

Each check has a name that the checklist refers to (`<!-- doctor: NAME -->` at the end of a line), a few words about
what it looks at, and for everything that is open: what is wrong, where, and how to fix it.

One module, because it is one list: each check is a few lines, and their order is that in which a person fixes things.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import Enum
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple, Union
from urllib.parse import urlsplit

from agent_runtime import codes
from agent_runtime.gate import checks, environment_checks, issue_checks
from agent_runtime.gate.policy import Policy
from agent_runtime.local.settings import codeowners, github_plans, protections
from agent_runtime.local.settings.model import Approver, Environment, Local, Observed, Unreadable
from agent_runtime.model import names
from agent_runtime.model.config import ISSUE_GATE
from agent_runtime.text.escape import visible

CI_CHECK = "Check, lint, test"
KILL_SWITCH = "AGENT_DISABLED"
AUDIT_SECRET = "AIMGENTIX_API_KEY"  # noqa: S105  the name of a secret
AUDIT_URL = "AIMGENTIX_API_URL"

# What decides about actions, whether it is here or not; a change of any of these must be reviewed, as must `guarded`.
GUARDED_PATHS = (
    ".github/workflows/agent-investigate-act.yml",
    ".github/workflows/agent-act-on-approval.yml",
    ".github/workflows/agent-attest.yml",
    ".github/actions/setup-agent/action.yml",
    ".github/actions/setup-gate/action.yml",
    ".github/actions/prepare-act/action.yml",
    ".github/agent-policies/policy.yml",
    ".github/agent-config.yml",
    ".github/CODEOWNERS",
    "agent_runner.py",
    "agent_runtime/gate/checks.py",
    "sdk/aimgentix/client.py",
    "requirements.in",
    "requirements.lock",
)
_SHOWN_PATHS = 5

_SETUP = "python agent_runner.py setup"
_ANSWER = "python agent_runner.py update --set "
_GUIDE = "docs/SETUP_GUIDE.md, step"


class State(str, Enum):
    """How a check ended; a note is something to know that keeps nothing open."""

    OK = "ok"
    OPEN = "open"
    UNREADABLE = "unreadable"
    NOTE = "note"


@dataclass(frozen=True)
class OpenItem:
    """One thing that is open: what is wrong and where, and the command or page that fixes it."""

    problem: str
    fix: str
    state: State = State.OPEN


@dataclass(frozen=True)
class Result:
    """One check.

    Arguments:
        name: stable; the checklist and scripts refer to it.
        title: what it looks at.
        findings: what is open; empty when nothing is.
    """

    name: str
    title: str
    findings: Tuple[OpenItem, ...]

    @property
    def state(self) -> State:
        """The worst of the findings."""
        states = [finding.state for finding in self.findings]
        return next((state for state in (State.OPEN, State.UNREADABLE) if state in states), State.OK)


_OpenItems = Iterator[OpenItem]


def check_all(seen: Observed, local: Local) -> List[Result]:
    """Return the result of every check, in the order in which a person would fix them."""
    return [Result(name, title, tuple(check(seen, local))) for name, (title, check) in CHECKS.items()]


def _show(value: object) -> str:
    return visible(str(value), 120)


def _unreadable(what: str, answer: Unreadable) -> OpenItem:
    return OpenItem(
        f"{what} can't be read: {answer.reason}",
        "run doctor with a token of an administrator of the repository",
        State.UNREADABLE,
    )


def _repository(seen: Observed, local: Local) -> _OpenItems:
    found = seen.gate.repository
    if found.full_name.casefold() != local.repository.casefold():
        yield OpenItem(
            f".github/agent-config.yml says {_show(local.repository)}, this is {_show(found.full_name)}",
            _ANSWER + "github_repository=" + shlex.quote(_show(found.full_name)),
        )
    protection = github_plans.protection(found, local.plan_answer)
    if local.gate != ISSUE_GATE and protection in (github_plans.Protection.BRANCHES, github_plans.Protection.NOTHING):
        yield OpenItem(
            f"a {github_plans.describe(found)} has no required reviewers",
            f"{github_plans.choices(found)}; see {_GUIDE} 1",
        )
    fitting = github_plans.fitting_answers(found)
    if local.plan_answer not in fitting:
        yield OpenItem(
            f"repository_plan is {_show(local.plan_answer)} in .github/agent-config.yml, and this is a "
            f"{github_plans.describe(found)}",
            _ANSWER + "repository_plan=" + fitting[0],
        )


def _gate_environment(seen: Observed, local: Local) -> _OpenItems:
    if local.gate == ISSUE_GATE:
        return
    for name in names.GATE_ENVIRONMENTS:
        if name in seen.gate.environments:
            yield from _gate_findings(seen, local, name)


def _gate_findings(seen: Observed, local: Local, gate: str) -> _OpenItems:
    environment = seen.gate.environments[gate]
    yield from _environment_findings(seen, gate, reviewers_required=True)
    known = {(approver.kind, approver.id) for approver in seen.gate.approvers}
    for kind, number, name in _reviewers(environment):
        if (kind, number) not in known:
            yield OpenItem(
                f"environment {gate}: {_show(name)} may approve and is not among the approvers of "
                ".github/agent-config.yml",
                _SETUP,
            )
    for rule in _rules_of(environment, "wait_timer"):
        minutes = rule.get("wait_timer")
        if isinstance(minutes, int) and minutes >= local.ttl_minutes:
            yield OpenItem(
                f"environment {gate}: waits {minutes} minutes, and an approval counts for {local.ttl_minutes}",
                _SETUP + " --wait-timer 0",
            )
    secrets = environment.secrets
    if isinstance(secrets, Unreadable):
        yield _unreadable("the names of its secrets", secrets)
    elif secrets:
        yield OpenItem(
            f"environment {gate} holds secrets ({', '.join(sorted(secrets))}), and nothing in it needs one",
            "gh secret delete NAME --env " + gate,
        )


def _act_environment(seen: Observed, local: Local) -> _OpenItems:
    for name in seen.gate.environments:
        if name in names.GATE_ENVIRONMENTS:
            continue
        yield from _environment_findings(seen, name, reviewers_required=False)
        settings = seen.gate.environments[name].settings
        if settings is not None and settings.get("can_admins_bypass") is not False:
            yield OpenItem(f"environment {name}: administrators can bypass it", _SETUP)
        asked = ", ".join(sorted(_show(login) for _, _, login in _reviewers(seen.gate.environments[name])))
        if asked:
            yield OpenItem(
                f"environment {name}: its job waits for a click of {asked}, too, which no page explains and no trail "
                "records",
                f"Settings, Environments, {name}: remove the required reviewers",
                State.NOTE if name == names.ACT_ENVIRONMENT else State.OPEN,
            )
        variables = seen.gate.environments[name].variables
        for hidden in (
            () if isinstance(variables, Unreadable) else sorted(set(local.act_variables).intersection(variables))
        ):
            yield OpenItem(
                f"environment {name}: its variable {_show(hidden)} hides the repository's, which is the one that is "
                "sealed: every plan is refused (GATE16)",
                f"gh variable delete {hidden} --env {name}; use the repository's variable",
            )


def _environment_findings(seen: Observed, name: str, *, reviewers_required: bool) -> _OpenItems:
    environment = seen.gate.environments[name]
    extra = len(environment.branch_policies) > 1
    for problem in environment_checks.environment_problems(
        environment.settings,
        [policy.pattern for policy in environment.branch_policies],
        seen.gate.repository.default_branch,
        name=name,
        reviewers_required=reviewers_required,
        initiator="",
    ):
        exact = " --exact" if extra and problem.startswith("it may be used from") else ""
        yield OpenItem(f"environment {name}: {problem}", _SETUP + exact)


def _issue_gate(seen: Observed, local: Local) -> _OpenItems:
    if local.gate != ISSUE_GATE:
        return
    fix = _ANSWER + "approvers=LOGIN,LOGIN"
    if not seen.gate.repository.has_issues:
        yield OpenItem("issues are off, so nobody can be asked", "gh repo edit --enable-issues")
    if not seen.gate.has_label:
        yield OpenItem(f"there is no label {names.GATE_LABEL}", _SETUP)
    permissions = {approver.name: approver.permission or "unknown" for approver in seen.gate.approvers}
    problems = issue_checks.gate_problems(permissions, ())
    for problem in problems:
        yield OpenItem(problem, fix)
    for name, permission in permissions.items():
        if not problems and issue_checks.gate_problems({name: permission}, ()):
            yield OpenItem(f"{_show(name)} can't approve without write access", fix, State.NOTE)
    yield from _state_of(names.APPROVAL_WORKFLOW_FILE, seen.approval_workflow_state)


def _rules_of(environment: Environment, kind: str) -> List[Mapping[str, Any]]:
    rules = (environment.settings or {}).get("protection_rules")
    return [rule for rule in rules if rule.get("type") == kind] if isinstance(rules, list) else []


def _reviewers(environment: Environment) -> Iterator[Tuple[str, int, str]]:
    for rule in _rules_of(environment, "required_reviewers"):
        for entry in rule.get("reviewers") or []:
            who = entry.get("reviewer")
            if isinstance(who, dict):
                yield str(entry.get("type")), int(who.get("id") or 0), str(who.get("login") or who.get("slug"))


def _approvers(seen: Observed, _local: Local) -> _OpenItems:
    fix = _ANSWER + "approvers=LOGIN,ORG/TEAM, then " + _SETUP
    for approver in seen.gate.approvers:
        if approver.problem:
            yield OpenItem(f"{_show(approver.name)} {approver.problem}", fix)
    if len(seen.gate.approvers) == 1 and seen.gate.approvers[0].kind == "User":
        name = _show(seen.gate.approvers[0].name)
        yield OpenItem(f"{name} is the only approver, so nobody can approve a run that {name} starts", fix, State.NOTE)
    actor = seen.schedule_actor
    if isinstance(actor, Unreadable):
        yield _unreadable("who last changed the schedule", actor)
    elif actor and {(each.kind, each.name.casefold()) for each in seen.gate.approvers} == {("User", actor.casefold())}:
        yield OpenItem(
            f"scheduled runs count as started by whoever last changed the schedule: {_show(actor)}, the only approver, "
            "so nobody can ever approve one",
            fix + "; or let somebody else commit the next change of " + names.INVESTIGATE_WORKFLOW,
        )


def _environment_secrets(seen: Observed, local: Local) -> _OpenItems:
    """Whether each environment holds what it is to hold, and the reading one nothing that acts."""
    for name, wanted in local.environments.items():
        if name == names.NOTIFY_ENVIRONMENT:
            continue  # see `_addresses`: without them there is no message
        own = seen.gate.environments[name].secrets if name in seen.gate.environments else frozenset()
        if isinstance(own, Unreadable):
            yield _unreadable(f"which secrets {name} holds", own)
            continue
        for secret in sorted(set(wanted) - own):
            yield OpenItem(
                f"{name} holds no {secret}", f"gh secret set {secret} --env {name}, if it is needed", State.NOTE
            )
        if name == names.INVESTIGATE_ENVIRONMENT:
            for secret in sorted(set(local.acting) & own):
                yield OpenItem(
                    f"{name} holds {secret}, with which act() changes something",
                    f"gh secret delete {secret} --env {name}",
                )


def _update_key(seen: Observed) -> _OpenItems:
    """Whether the key that can push workflow files is where one job reads it."""
    name = names.UPDATE_ENVIRONMENT
    shared = seen.secrets if not isinstance(seen.secrets, Unreadable) else frozenset()
    if name not in seen.gate.environments:
        return
    own = seen.gate.environments[name].secrets
    if names.UPDATE_SECRET in shared:
        yield OpenItem(
            f"{names.UPDATE_SECRET} is a secret of the repository, and it can push workflow files: every job reads it",
            f"gh secret set {names.UPDATE_SECRET} --env {name}; then gh secret delete {names.UPDATE_SECRET}",
        )
    elif isinstance(own, Unreadable):
        yield _unreadable(f"which secrets {name} holds", own)
    elif names.UPDATE_SECRET not in own:
        yield OpenItem(
            f"{names.UPDATE_APP} names an App, and {name} holds no {names.UPDATE_SECRET}: updates can't be proposed",
            f"gh secret set {names.UPDATE_SECRET} --env {name}, with the App's private key; or gh variable delete "
            + names.UPDATE_APP,
        )


def _shared_secrets(seen: Observed, local: Local) -> _OpenItems:
    """Whether what acts is where every job reads it."""
    in_environment = names.ACT_ENVIRONMENT in local.environments
    if not in_environment and not isinstance(seen.secrets, Unreadable):
        # No environment keeps them here, and the repository's secrets are where they have to be.
        for secret in sorted(set(local.acting) - seen.secrets):
            yield OpenItem(
                f"the repository holds no {secret}: act() has the job's own token only",
                f"gh secret set {secret}, if act() needs more",
                State.NOTE,
            )
    places = (
        ("the repository's secrets", seen.secrets, ""),
        (
            "the organisation's secrets",
            seen.organization_secrets,
            " --org ORG, or take this repository out of its list",
        ),
    )
    for place, found, option in places:
        if isinstance(found, Unreadable):
            yield _unreadable(f"the names of {place}", found)
            continue
        for secret in sorted(set(local.acting) & found) if in_environment else ():
            yield OpenItem(
                f"{secret} is in {place}, where every job reads it before the approval",
                f"gh secret set {secret} --env {names.ACT_ENVIRONMENT}; then gh secret delete {secret}{option}",
            )


def _addresses(seen: Observed, local: Local) -> _OpenItems:
    """Whether messages have somewhere to go."""
    name, place, option = names.NOTIFY_ENVIRONMENT, "the repository", ""
    held = seen.secrets
    if name in local.environments:
        place, option = name, " --env " + name
        held = seen.gate.environments[name].secrets if name in seen.gate.environments else frozenset()
    if isinstance(held, Unreadable):
        yield _unreadable(f"which secrets {place} holds", held)
    elif names.NOTIFY_SECRET not in held:
        yield OpenItem(
            f"{place} holds no {names.NOTIFY_SECRET}, so nobody gets a message",
            f"gh secret set {names.NOTIFY_SECRET}{option}, with an address a line; or {_ANSWER}notify=no",
        )


def _secrets(seen: Observed, local: Local) -> _OpenItems:
    yield from _environment_secrets(seen, local)
    yield from _shared_secrets(seen, local)
    yield from _update_key(seen)
    if local.notify:
        yield from _addresses(seen, local)
    variables = seen.variables
    if isinstance(variables, Unreadable):
        yield _unreadable("the repository's variables", variables)
        return
    for name in sorted({*local.acting, AUDIT_SECRET, names.NOTIFY_SECRET} & set(variables)):
        yield OpenItem(
            f"{name} is a variable, which everybody who reads the repository's settings or logs can see",
            f"gh variable delete {name}, make a new one where it came from, and store that as a secret",
        )
    shared = frozenset().union(
        *(each for each in (seen.secrets, seen.organization_secrets) if isinstance(each, frozenset))
    )
    address = "" if AUDIT_URL in shared else variables.get(AUDIT_URL, "")
    if variables.get(AUDIT_URL) and not address:
        yield OpenItem(
            f"{AUDIT_URL} is a secret and a variable: the secret counts",
            f"gh variable delete {AUDIT_URL}, or gh secret delete {AUDIT_URL}",
            State.NOTE,
        )
    if address and not _is_address(address):
        yield OpenItem(
            f"{AUDIT_URL} is {_show(address)}, not an address: the audit backend will get nothing",
            f"gh variable set {AUDIT_URL} --body https://audit.example.com, with your backend's address",
        )
    yield from _audit_host(address, local)
    if isinstance(seen.secrets, Unreadable):
        return
    has_key = AUDIT_SECRET in shared
    if (address or AUDIT_URL in shared) and not has_key:
        yield OpenItem(
            f"{AUDIT_URL} is set and the repository has no secret {AUDIT_SECRET}: the audit backend will get nothing",
            "gh secret set " + AUDIT_SECRET,
        )
    if has_key and not local.audit_host:
        yield OpenItem(
            f"audit_host is empty, so {AUDIT_SECRET} is sent to whatever host {AUDIT_URL} names",
            _ANSWER + "advanced=yes --set audit_host=audit.example.com, with your backend's host",
            State.NOTE,
        )


def _audit_host(address: str, local: Local) -> _OpenItems:
    if local.audit_host and _is_address(address) and urlsplit(address).netloc.casefold() != local.audit_host:
        yield OpenItem(
            f"{AUDIT_URL} is {_show(address)}, and audit_host allows {_show(local.audit_host)} only: the audit backend "
            "will get nothing",
            f"gh variable set {AUDIT_URL} --body https://{local.audit_host}, or change the answer audit_host",
        )


def _is_address(text: str) -> bool:
    """Whether the SDK would send to it."""
    from aimgentix.settings import SettingError  # noqa: PLC0415  nothing else here needs the SDK
    from aimgentix.transport import check_url  # noqa: PLC0415

    try:
        return bool(check_url(text))
    except SettingError:
        return False


def _token(seen: Observed, _local: Local) -> _OpenItems:
    if isinstance(seen.token, Unreadable):
        yield _unreadable("the default permissions of the jobs' token", seen.token)
        return
    fix = (
        f"gh api --method PUT repos/{seen.gate.repository.full_name}/actions/permissions/workflow -f "
        "default_workflow_permissions=read "
        "-F can_approve_pull_request_reviews=false"
    )
    if seen.token.get("default_workflow_permissions") != "read":
        yield OpenItem("jobs that name no permissions get a token that may write", fix)
    if seen.token.get("can_approve_pull_request_reviews") is not False:
        yield OpenItem("GitHub Actions may create and approve pull requests", fix)


def _actions(seen: Observed, _local: Local) -> _OpenItems:
    if isinstance(seen.actions, Unreadable):
        yield _unreadable("which actions may run", seen.actions)
        return
    path = f"repos/{seen.gate.repository.full_name}/actions/permissions"
    # GitHub replaces what this request leaves out, so the present choice of actions is named again.
    allowed = visible(str(seen.actions.get("allowed_actions") or "all"), 40)
    fix = f"gh api --method PUT {path} -F enabled=true -f allowed_actions={allowed} -F sha_pinning_required=true"
    if seen.actions.get("enabled") is not True:
        yield OpenItem("GitHub Actions is off in this repository", fix)
    elif seen.actions.get("sha_pinning_required") is not True:
        yield OpenItem("actions may run that are not pinned to a full commit SHA", fix)


def _workflow(seen: Observed, _local: Local) -> _OpenItems:
    yield from _state_of(names.WORKFLOW_FILE, seen.workflow_state)


def _protections(seen: Observed, local: Local) -> _OpenItems:
    if isinstance(seen.gate.protections, Unreadable):
        yield _unreadable("who and what may start the workflows", seen.gate.protections)
    if not isinstance(seen.gate.protections, tuple):
        return
    for app in seen.gate.initiators:
        if app.problem:
            yield OpenItem(f"initiators of the policy: {_show(app.name)}: {app.problem}", "correct the policy")
    bodies = protections.wanted(seen.gate, triggers=local.triggers, by_issue=local.gate == ISSUE_GATE)
    for body, number in protections.outstanding(seen.gate, bodies):
        file = body["name"].partition(": ")[2]
        problem = "is not restricted on GitHub" if number is None else "is restricted in another way than setup does it"
        yield OpenItem(f"who and what may start {file} {problem}", _SETUP)
    for obstacle in protections.obstacles(seen.gate, bodies):
        yield OpenItem(obstacle, "Settings, Actions, Policies: allow these events there, or except this workflow")


def _report(seen: Observed, _local: Local) -> _OpenItems:
    yield from _state_of(names.REPORT_FILE, seen.report_state)


def _state_of(file: str, state: Union[str, Unreadable, None]) -> _OpenItems:
    if isinstance(state, Unreadable):
        yield _unreadable("the state of the workflow " + file, state)
    elif state is None:
        yield OpenItem("GitHub knows no workflow " + file, "push it to the default branch")
    elif state != "active":
        yield OpenItem(f"the workflow {file} is {_show(state)}", "gh workflow enable " + file)


def _branch(seen: Observed, _local: Local) -> _OpenItems:
    if isinstance(seen.rules, Unreadable) and isinstance(seen.protection, Unreadable):
        yield _unreadable("how the default branch is protected", seen.rules)
        return
    rules = [] if isinstance(seen.rules, Unreadable) else seen.rules
    classic: Mapping[str, Any] = seen.protection if isinstance(seen.protection, dict) else {}
    by_type: Dict[str, List[Mapping[str, Any]]] = {}
    for rule in rules:
        parameters = rule.get("parameters")
        by_type.setdefault(str(rule.get("type")), []).append(parameters if isinstance(parameters, dict) else {})
    reviews = classic.get("required_pull_request_reviews")
    reviews = reviews if isinstance(reviews, dict) else {}
    fix = f"Settings, Rules, Rulesets: see {_GUIDE} 3"
    branch = _show(seen.gate.repository.default_branch)
    if "pull_request" not in by_type and not reviews:
        yield OpenItem(f"{branch} takes pushes without a pull request", fix)
    elif not (
        any(each.get("require_code_owner_review") is True for each in by_type.get("pull_request", []))
        or reviews.get("require_code_owner_reviews") is True
    ):
        yield OpenItem(f"{branch} takes pull requests without a review by code owners", fix)
    if "pull_request" in by_type or reviews:
        yield from _reviews(branch, by_type.get("pull_request", []), reviews)
    if CI_CHECK not in _required_checks(by_type, classic):
        yield OpenItem(f"{branch} takes pull requests while the check '{CI_CHECK}' fails", fix)
    forced = classic.get("allow_force_pushes")
    if "non_fast_forward" not in by_type and not (isinstance(forced, dict) and forced.get("enabled") is False):
        yield OpenItem(f"{branch} takes force pushes", fix)
    if isinstance(seen.bypass, Unreadable):
        yield _unreadable("who may bypass the rules of the default branch", seen.bypass)
    else:
        yield from _bypass(seen.bypass)
    admins = classic.get("enforce_admins")
    if reviews and "pull_request" not in by_type and not (isinstance(admins, dict) and admins.get("enabled") is True):
        yield OpenItem(f"administrators can go around the protection of {branch}", fix)


def _reviews(branch: str, rules: List[Mapping[str, Any]], classic: Mapping[str, Any]) -> _OpenItems:
    """What a required review is worth; of several rules the strictest counts."""
    fix = f"Settings, Rules, Rulesets: see {_GUIDE} 3"
    counts = [each.get("required_approving_review_count") for each in (*rules, classic)]
    if not any(isinstance(count, int) and count >= 1 for count in counts):
        yield OpenItem(f"{branch} takes pull requests without an approval", fix)
    if not (
        any(each.get("dismiss_stale_reviews_on_push") is True for each in rules)
        or classic.get("dismiss_stale_reviews") is True
    ):
        yield OpenItem(f"an approval of a pull request to {branch} stays when something else is pushed to it", fix)
    if not any(each.get("require_last_push_approval") is True for each in (*rules, classic)):
        yield OpenItem(f"whoever pushed last to a pull request to {branch} may be the one who approves it", fix)
    allowed = classic.get("bypass_pull_request_allowances")
    if isinstance(allowed, dict) and any(allowed.values()):
        yield OpenItem(f"some may push to {branch} without a pull request", "remove them from the branch's protection")


def _bypass(rulesets: Mapping[str, Any]) -> _OpenItems:
    for name, actors in rulesets.items():
        if actors is None:
            yield OpenItem(
                f"who may bypass the ruleset '{_show(name)}' is not shown to this token",
                "run doctor with a token of an administrator of the repository",
                State.UNREADABLE,
            )
        elif actors:
            yield OpenItem(
                f"the ruleset '{_show(name)}' has {actors} on its bypass list",
                f"empty the bypass list: see {_GUIDE} 3",
            )


def _required_checks(by_type: Mapping[str, List[Mapping[str, Any]]], classic: Mapping[str, Any]) -> List[str]:
    found: List[str] = []
    for parameters in by_type.get("required_status_checks", []):
        entries = parameters.get("required_status_checks")
        found += [str(entry.get("context")) for entry in entries or [] if isinstance(entry, dict)]
    statuses = classic.get("required_status_checks")
    if isinstance(statuses, dict):
        found += [str(context) for context in statuses.get("contexts") or []]
    return found


def _codeowners(seen: Observed, local: Local) -> _OpenItems:
    if local.codeowners is None:
        yield OpenItem(".github/CODEOWNERS is missing", "restore it from the history: git log -- .github/CODEOWNERS")
        return
    guarded = dict.fromkeys((*GUARDED_PATHS, *local.guarded))
    uncovered = [path for path in guarded if not codeowners.owners(local.codeowners, path)]
    if uncovered:
        more = len(uncovered) - _SHOWN_PATHS
        yield OpenItem(
            f".github/CODEOWNERS gives no owner to {', '.join(map(_show, uncovered[:_SHOWN_PATHS]))}"
            + (f" and {more} more" if more > 0 else ""),
            "add a line for each",
        )
    errors = seen.codeowners_errors
    if isinstance(errors, Unreadable):
        yield _unreadable("what GitHub says about CODEOWNERS", errors)
    elif errors is None:
        yield OpenItem("GitHub finds no CODEOWNERS on the default branch", "push .github/CODEOWNERS")
    else:
        for error in errors:
            yield OpenItem(
                f".github/CODEOWNERS, line {error.get('line')}: {_show(error.get('kind'))}",
                "fix the line: owners need write access to the repository",
            )


def _policy(seen: Observed, local: Local) -> _OpenItems:
    if local.policy is None:
        yield OpenItem("there is no policy that can be read", "see the findings of the check 'repository-check'")
        return
    kinds = (
        ("allowed_actions", local.policy.allowed_actions, "allows"),
        ("auto_approve", local.policy.auto_approve, "asks nobody about"),
    )
    for key, rules, verb in kinds:
        for number, rule in enumerate(rules):
            if rule.type.strip("*") == "" and any(resource.strip("*") == "" for resource in rule.resources):
                yield OpenItem(
                    f"{key}[{number}] of the policy {verb} every action on every resource",
                    "name actions and resources in .github/agent-policies/",
                )
    yield from _rules_of_approval(local.policy, local.approvers, seen.gate.approvers)
    if local.policy.auto_approve and local.gate == ISSUE_GATE:
        yield OpenItem(
            "the policy has rules of auto_approve, and where an issue is the gate a human is asked about everything",
            "remove the rules, or let them wait for a repository whose environments GitHub protects",
            State.NOTE,
        )
    elif local.policy.auto_approve and names.AUTO_ENVIRONMENT not in seen.gate.environments:
        yield OpenItem(
            "the policy has rules of auto_approve, and auto_approval is false in .github/agent-config.yml: a human is "
            "asked about everything",
            _ANSWER + "auto_approval=yes, or remove the rules",
            State.NOTE,
        )


def _rules_of_approval(policy: Policy, approvers: Sequence[str], seen: Sequence[Approver]) -> _OpenItems:
    """Whether those whom the policy names are asked on GitHub, and enough of them."""
    people = {login.casefold() for login in approvers}
    fix = _ANSWER + "approvers=LOGIN,LOGIN, then " + _SETUP
    if any("/" in name for name in people):
        # Whom a team stands for is GitHub's to say; it says how many they are.
        most = sum(approver.members for approver in seen)
        if most < policy.most_approvals:
            yield OpenItem(
                f"the policy asks for {policy.most_approvals} approvals by different people, and the approvers of "
                f".github/agent-config.yml are {most}",
                fix,
            )
        return
    for number, rule in enumerate(policy.allowed_actions):
        place, named = f"allowed_actions[{number}] of the policy", rule.approvers or ()
        for login in (login for login in named if login.casefold() not in people):
            yield OpenItem(
                f"{place} names {_show(login)}, who is not among the approvers of .github/agent-config.yml", fix
            )
        able = people.intersection(login.casefold() for login in named) if named else people
        if len(able) < rule.approvals:
            yield OpenItem(
                f"{place} asks for {rule.approvals} approvals, and {len(able)} of the approvers of "
                ".github/agent-config.yml may give one",
                fix,
            )


def _kill_switch(seen: Observed, _local: Local) -> _OpenItems:
    variables = seen.variables
    if isinstance(variables, Unreadable):
        yield _unreadable("the variable " + KILL_SWITCH, variables)
        return
    places: List[Tuple[str, Mapping[str, str]]] = [("", variables)]
    above = seen.organization_variables.get(KILL_SWITCH)
    if above is not None and above != variables.get(KILL_SWITCH):
        yield OpenItem(
            f"the organisation's {KILL_SWITCH} is {_show(above)}, and the repository's, "
            f"{_show(variables.get(KILL_SWITCH))}, hides it",
            f"gh variable delete {KILL_SWITCH}",
        )
    for name, environment in seen.gate.environments.items():
        if isinstance(environment.variables, Unreadable):
            yield _unreadable("the variables of the environment " + name, environment.variables)
        else:
            places.append((" --env " + name, environment.variables))
    for option, values in places:
        try:
            checks.check_enabled(values.get(KILL_SWITCH))
        except codes.GateRefused as refusal:
            yield OpenItem(
                f"the kill switch is on: {refusal.message}" + (f" ({option.strip()})" if option else ""),
                f"gh variable delete {KILL_SWITCH}{option} (when the agent may act again)",
            )
        else:
            if option and values.get(KILL_SWITCH):
                yield OpenItem(
                    f"{KILL_SWITCH} is off in an environment ({option.strip()}), which hides the repository's variable",
                    f"gh variable delete {KILL_SWITCH}{option}; use the repository's variable",
                )


def _repository_check(_seen: Observed, local: Local) -> _OpenItems:
    for problem in local.problems:
        yield OpenItem(problem, "python agent_runner.py check")
    if local.checklist is None:
        yield OpenItem(
            "PRODUCTION_CHECKLIST.md is missing, so nobody is asked its questions",
            "restore it from the history: git log -- PRODUCTION_CHECKLIST.md",
        )


CHECKS: Dict[str, Tuple[str, Callable[[Observed, Local], _OpenItems]]] = {
    "plan": ("visibility and plan of the repository", _repository),
    "approvers": ("people and teams that may approve", _approvers),
    "gate-environment": (
        "environments in which humans approve: agent-approval, and a second where the policy wants two",
        _gate_environment,
    ),
    "act-environment": ("environments that hold secrets (agent-act, and others where they are used)", _act_environment),
    "issue-gate": ("issues as the gate, where no environment has reviewers", _issue_gate),
    "secrets": ("where secrets are stored", _secrets),
    "token-permissions": ("default permissions of jobs", _token),
    "pinned-actions": ("which actions may run", _actions),
    "workflow": ("the workflow on GitHub", _workflow),
    "execution-protections": ("who and what GitHub lets start the workflows", _protections),
    "weekly-report": ("the weekly report on GitHub", _report),
    "default-branch": ("rules of the default branch", _branch),
    "codeowners": ("owners of what decides about actions", _codeowners),
    "policy": ("breadth of the policy", _policy),
    "kill-switch": ("the variable AGENT_DISABLED", _kill_switch),
    "repository-check": ("files of this repository", _repository_check),
}
