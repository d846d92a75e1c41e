"""Asks GitHub for the settings of a repository."""

from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple, TypeVar, Union
from urllib.parse import quote

from agent_runtime import codes
from agent_runtime.github.api import environment_path
from agent_runtime.github.transport import (
    HTTP_FORBIDDEN,
    HTTP_NOT_FOUND,
    HTTP_UNAUTHORISED,
    NotAnswered,
    Transport,
    field,
    mapping,
)
from agent_runtime.local.codes import REPOSITORY_UNKNOWN, TOKEN_UNUSABLE
from agent_runtime.local.settings import protections
from agent_runtime.local.settings.model import (
    Approver,
    BranchPolicy,
    Environment,
    Gate,
    Observed,
    Repository,
    Unreadable,
)
from agent_runtime.model import names
from agent_runtime.model.config import ISSUE_GATE, PLAN_WITHOUT_ENVIRONMENTS, Config

# Lists of variables have smaller pages than everything else.
_VARIABLES_PER_PAGE = 30

T = TypeVar("T")


def observe(
    http: Transport, repository: str, settings: Config, initiators: Sequence[str] = (), *, approvals: int = 1
) -> Observed:
    """Read everything that doctor judges; what the token may not see becomes Unreadable.

    Arguments: as `observe_gate()`.

    Raises:
        BadInput: the token or the repository is invalid (SET001, SET002).
        NotAnswered: GitHub can't be reached.
    """
    gate = observe_gate(http, repository, settings, settings.approvers, initiators, approvals=approvals, contents=True)
    base = "/repos/" + repository
    branch = quote(gate.repository.default_branch, safe="")
    rules = _readable(lambda: http.pages(f"{base}/rules/branches/{branch}", None))
    organization = gate.repository.owner_type == "Organization"
    shared = _readable(lambda: _variables(http, base + "/actions/organization-variables")) if organization else {}
    own = _readable(lambda: _variables(http, base + "/actions/variables"))
    return Observed(
        gate=gate,
        secrets=_readable(lambda: _names(http, base + "/actions/secrets", "secrets")),
        organization_secrets=_readable(lambda: _names(http, base + "/actions/organization-secrets", "secrets"))
        if organization
        else frozenset(),
        variables=shared
        if isinstance(shared, Unreadable)
        else own
        if isinstance(own, Unreadable)
        else {**shared, **own},
        organization_variables={} if isinstance(shared, Unreadable) else shared,
        token=_readable(lambda: _object(http, base + "/actions/permissions/workflow")),
        actions=_readable(lambda: _object(http, base + "/actions/permissions")),
        rules=rules,
        bypass=rules if isinstance(rules, Unreadable) else _readable(lambda: _bypass(http, base, rules)),
        protection=_readable(lambda: http.get_or_none(f"{base}/branches/{branch}/protection")),
        codeowners_errors=_readable(lambda: _codeowners_errors(http, base)),
        workflow_state=_readable(lambda: _workflow_state(http, base, names.WORKFLOW_FILE)),
        report_state=_readable(lambda: _workflow_state(http, base, names.REPORT_FILE)),
        approval_workflow_state=_readable(lambda: _workflow_state(http, base, names.APPROVAL_WORKFLOW_FILE)),
        schedule_actor=_readable(lambda: _schedule_actor(http, base, branch)) if settings.schedule_cron else None,
    )


def observe_gate(
    http: Transport,
    repository: str,
    settings: Config,
    approvers: Sequence[str],
    initiators: Sequence[str] = (),
    *,
    approvals: int = 1,
    contents: bool = False,
) -> Gate:
    """Read what setup changes.

    Arguments:
        settings: says which environments there are to be, and which gate it is.
        initiators: of the policy; `approvals`: the most that it asks for.
        contents: also the names of the environments' secrets and their variables.

    Raises: as `observe()`.
    """
    found = _repository(http, repository)
    by_issue = settings.approval_gate == ISSUE_GATE  # only then the label matters, and a token may ask for it
    wanted = [*settings.every_environment(approvals)]
    if settings.repository_plan != PLAN_WITHOUT_ENVIRONMENTS and _names_update_app(http, repository):
        wanted.append(names.UPDATE_ENVIRONMENT)
    return Gate(
        repository=found,
        environments={name: _environment(http, repository, name, contents) for name in wanted},
        approvers=tuple(_approver(http, found, name) for name in approvers),
        has_label=by_issue and http.get_or_none(f"/repos/{repository}/labels/{names.GATE_LABEL}") is not None,
        initiators=tuple(_initiator(http, name) for name in initiators),
        protections=_protections(http, repository) if protections.is_offered(found, settings.repository_plan) else None,
    )


def _names_update_app(http: Transport, repository: str) -> bool:
    """Whether an App is named that proposes updates; only then its key needs an environment."""
    path = f"/repos/{repository}/actions/variables/{names.UPDATE_APP}"
    found = _readable(lambda: http.get_or_none(path))
    return isinstance(found, dict) and bool(found.get("value"))


def _protections(http: Transport, repository: str) -> Union[Tuple[Mapping[str, Any], ...], Unreadable, None]:
    """GitHub's list, which says no more than names, and each of them; None where GitHub has no such list."""
    path = f"/repos/{repository}/actions/policies"
    listed = _readable(lambda: http.pages(path, "policies", filters={"has_parents": "true"}))
    if isinstance(listed, Unreadable):
        return None if listed.status == HTTP_NOT_FOUND else listed
    # One of the organisation's can't be had from here.
    return tuple(http.get_or_none(f"{path}/{field(each, 'id', int, path)}") or each for each in listed)


def _initiator(http: Transport, name: str) -> Approver:
    path = "/users/" + quote(name, safe="")
    app = http.get_or_none(path)
    if app is None:
        return Approver(name, "Bot", None, "GitHub knows no app of this name")
    return Approver(name, "Bot", int(field(app, "id", int, path)))


def _readable(ask: Callable[[], T]) -> Union[T, Unreadable]:
    try:
        return ask()
    except NotAnswered as problem:
        if problem.status not in (HTTP_FORBIDDEN, HTTP_NOT_FOUND):
            raise
        needs = "; the token needs: " + problem.accepted if problem.accepted else ""
        return Unreadable(problem.status, problem.message + needs)


def _object(http: Transport, path: str) -> Mapping[str, Any]:
    return mapping(http.get(path), path)


def _repository(http: Transport, repository: str) -> Repository:
    path = "/repos/" + repository
    try:
        answer = _object(http, path)
    except NotAnswered as problem:
        if problem.status == HTTP_UNAUTHORISED:
            raise codes.BadInput(TOKEN_UNUSABLE, "GitHub does not know this token: " + problem.message) from None
        if problem.status in (301, HTTP_NOT_FOUND):
            raise codes.BadInput(
                REPOSITORY_UNKNOWN,
                f"there is no repository {repository} that this token can see ({problem.message})",
            ) from None
        raise
    owner = field(answer, "owner", dict, path)
    owner_type = str(field(owner, "type", str, path))
    permissions = answer.get("permissions")
    private = bool(field(answer, "private", bool, path))
    return Repository(
        full_name=str(field(answer, "full_name", str, path)),
        default_branch=str(field(answer, "default_branch", str, path)),
        visibility=str(answer.get("visibility") or ("private" if private else "public")),
        owner_type=owner_type,
        plan=_plan(http, str(field(owner, "login", str, path)), owner_type),
        administrator=permissions.get("admin") if isinstance(permissions, dict) else None,
        has_issues=answer.get("has_issues") is not False,
    )


def _plan(http: Transport, owner: str, owner_type: str) -> Optional[str]:
    """The owner's plan, which GitHub shows to members of an organisation, and of a person only to that person."""
    path = "/orgs/" + quote(owner, safe="") if owner_type == "Organization" else "/user"
    answer = _readable(lambda: _object(http, path))
    if isinstance(answer, Unreadable) or str(answer.get("login", "")).lower() != owner.lower():
        return None
    plan = answer.get("plan")
    return str(plan["name"]).lower() if isinstance(plan, dict) and isinstance(plan.get("name"), str) else None


def _environment(http: Transport, repository: str, name: str, contents: bool) -> Environment:
    path = environment_path(repository, name)
    settings = http.get_or_none(path)
    if settings is None:
        return Environment(None)
    secrets: Union[FrozenSet[str], Unreadable] = frozenset()
    variables: Union[Mapping[str, str], Unreadable] = {}
    if contents:
        secrets = _readable(lambda: _names(http, path + "/secrets", "secrets"))
        variables = _readable(lambda: _variables(http, path + "/variables"))
    return Environment(mapping(settings, path), _branch_policies(http, path), secrets, variables)


def _branch_policies(http: Transport, environment: str) -> Tuple[BranchPolicy, ...]:
    path = environment + "/deployment-branch-policies"
    answer = _readable(lambda: http.pages(path, "branch_policies"))
    if isinstance(answer, Unreadable):
        return ()
    return tuple(
        BranchPolicy(int(field(entry, "id", int, path)), str(field(entry, "name", str, path)), _kind(entry))
        for entry in answer
    )


def _kind(entry: Mapping[str, Any]) -> str:
    return str(entry.get("type") or "branch")


def _names(http: Transport, path: str, key: str) -> FrozenSet[str]:
    return frozenset(str(field(entry, "name", str, path)) for entry in http.pages(path, key))


def _variables(http: Transport, path: str) -> Mapping[str, str]:
    return {
        str(field(entry, "name", str, path)): str(field(entry, "value", str, path))
        for entry in http.pages(path, "variables", _VARIABLES_PER_PAGE)
    }


def _bypass(http: Transport, base: str, rules: List[Mapping[str, Any]]) -> Mapping[str, Optional[int]]:
    found: Dict[str, Optional[int]] = {}
    for number in sorted({rule["ruleset_id"] for rule in rules if isinstance(rule.get("ruleset_id"), int)}):
        path = f"{base}/rulesets/{number}"
        ruleset = _object(http, path)
        actors = ruleset.get("bypass_actors")
        found[str(ruleset.get("name") or number)] = len(actors) if isinstance(actors, list) else None
    return found


def _codeowners_errors(http: Transport, base: str) -> Optional[List[Mapping[str, Any]]]:
    path = base + "/codeowners/errors"
    answer = http.get_or_none(path)
    if answer is None:
        return None
    return [entry for entry in field(answer, "errors", list, path) if isinstance(entry, dict)]


def _workflow_state(http: Transport, base: str, file: str) -> Optional[str]:
    path = f"{base}/actions/workflows/{file}"
    answer = http.get_or_none(path)
    return None if answer is None else str(field(answer, "state", str, path))


def _schedule_actor(http: Transport, base: str, branch: str) -> Optional[str]:
    """Who starts scheduled runs, says the newest of them; or, where the workflow changed since, whoever changed it."""
    path = f"{base}/actions/workflows/{names.WORKFLOW_FILE}/runs?event=schedule&per_page=1"
    runs = field(http.get_or_none(path) or {"workflow_runs": []}, "workflow_runs", list, path)
    path = f"{base}/commits?path={names.INVESTIGATE_WORKFLOW}&sha={branch}&per_page=1"
    commits = http.get(path)
    found = [
        *((str(run.get("created_at")), run.get("actor")) for run in runs),
        *((str(commit["commit"]["committer"]["date"]), commit.get("author")) for commit in commits),
    ]
    _, actor = max(found, key=lambda each: each[0], default=("", None))
    return str(actor["login"]) if isinstance(actor, dict) and actor.get("login") else None


def _approver(http: Transport, repository: Repository, name: str) -> Approver:
    organization, slash, team = name.partition("/")
    if slash:
        return _team(http, repository, name, organization, team)
    path = "/users/" + quote(name, safe="")
    person = http.get_or_none(path)
    if person is None:
        return Approver(name, "User", None, "GitHub knows no user of this name")
    number = int(field(person, "id", int, path))
    if person.get("type") != "User":
        return Approver(name, "User", None, f"is of type {person.get('type')}, not a person")
    access = _readable(
        lambda: _object(http, f"/repos/{repository.full_name}/collaborators/{quote(name, safe='')}/permission")
    )
    # Only a token with write access may ask; without an answer GitHub itself decides when the reviewers are set.
    permission = "" if isinstance(access, Unreadable) else str(access.get("permission") or "")
    if permission == "none":
        return Approver(name, "User", number, "may not read the repository, and reviewers must", permission)
    return Approver(name, "User", number, permission=permission)


def _team(http: Transport, repository: Repository, name: str, organization: str, slug: str) -> Approver:
    owner = repository.full_name.partition("/")[0]
    if repository.owner_type != "Organization" or organization.lower() != owner.lower():
        return Approver(name, "Team", None, "only teams of an organisation that owns the repository can review")
    path = f"/orgs/{quote(organization, safe='')}/teams/{quote(slug, safe='')}"
    answer = _readable(lambda: _object(http, path))
    if isinstance(answer, Unreadable):
        return Approver(name, "Team", None, f"no such team that this token can see ({answer.reason})")
    number = int(field(answer, "id", int, path))
    members = int(field(answer, "members_count", int, path))
    if members == 0:
        return Approver(name, "Team", number, "has no members, so nobody can approve")
    if not http.exists(f"{path}/repos/{repository.full_name}"):
        return Approver(name, "Team", number, "has no access to the repository, and reviewers must be able to read it")
    return Approver(name, "Team", number, members=members)
