"""What was seen of a repository on GitHub and in its files: plain values, so that deciding needs no network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, FrozenSet, List, Mapping, Optional, Tuple, Union

from agent_runtime.gate.policy import Policy
from agent_runtime.model.config import ENVIRONMENT_GATE


@dataclass(frozen=True)
class Unreadable:
    """Something that GitHub did not say.

    Arguments:
        status: of HTTP.
        reason: what was asked and what came back, in one line.
    """

    status: int
    reason: str


@dataclass(frozen=True)
class Repository:
    """A repository and who owns it.

    Arguments:
        full_name: `owner/name` as GitHub writes it now.
        visibility: `public`, `private` or `internal`.
        owner_type: `User` or `Organization`.
        plan: GitHub's name of the owner's plan (`free`, `pro`, `team`, `enterprise`, …), or None if unknown.
        administrator: whether the token's user may change settings, or None where GitHub is silent.
        has_issues: whether issues can be opened.
    """

    full_name: str
    default_branch: str
    visibility: str
    owner_type: str
    plan: Optional[str]
    administrator: Optional[bool]
    has_issues: bool = True


@dataclass(frozen=True)
class BranchPolicy:
    """One entry of an environment's deployment branches: its id, pattern and kind (`branch` or `tag`)."""

    id: int
    name: str
    kind: str

    @property
    def pattern(self) -> str:
        """As `gate.environment_problems()` wants it: a tag never passes for a branch."""
        return self.name if self.kind == "branch" else f"{self.kind}:{self.name}"


@dataclass(frozen=True)
class Environment:
    """One environment.

    Arguments:
        settings: GitHub's JSON, or None when it does not exist.
        secrets: names only.
        variables: values by name.
    """

    settings: Optional[Mapping[str, Any]]
    branch_policies: Tuple[BranchPolicy, ...] = ()
    secrets: Union[FrozenSet[str], Unreadable] = frozenset()
    variables: Union[Mapping[str, str], Unreadable] = field(default_factory=dict)


@dataclass(frozen=True)
class Approver:
    """Somebody who shall approve, or start runs.

    Arguments:
        name: `login` or `organisation/team`, as the answers have it.
        kind: `User`, `Team` or, of an app that starts runs, `Bot`.
        id: GitHub's number; None when there is nobody of this name.
        problem: why this approver can't review, in one line; empty when nothing stands against it.
        permission: on the repository, as GitHub names it; empty where GitHub is silent.
        members: how many people a team stands for.
    """

    name: str
    kind: str
    id: Optional[int]
    problem: str = ""
    permission: str = ""
    members: int = 1


@dataclass(frozen=True)
class Gate:
    """What `setup` needs to know.

    Arguments:
        environments: the gate first.
        has_label: whether the label of an issue gate is there.
        initiators: the apps of the policy that may start runs, as `Bot`.
        protections: GitHub's JSON of its workflow execution protections; None where GitHub offers none.
    """

    repository: Repository
    environments: Mapping[str, Environment]
    approvers: Tuple[Approver, ...]
    has_label: bool = False
    initiators: Tuple[Approver, ...] = ()
    protections: Union[Tuple[Mapping[str, Any], ...], Unreadable, None] = None


@dataclass(frozen=True)
class Observed:
    """What `doctor` needs to know of GitHub.

    Arguments:
        secrets, organization_secrets: names of the secrets that every job can read.
        variables: repository's and organisation's, values by name; the repository's win.
        organization_variables: the organisation's alone.
        token: default permissions of the jobs' token.
        actions: which actions may run.
        rules: every rule of a ruleset that is active for the default branch.
        bypass: for each ruleset behind those rules, how many may go around it; None where GitHub does not show it.
        protection: classic branch protection of the default branch, or None when there is none.
        codeowners_errors: GitHub's list, or None when it finds no CODEOWNERS file.
        workflow_state, report_state: of the agent's workflow and of the weekly report; None when GitHub does not know
            the file.
        approval_workflow_state: the same of the one that a comment starts.
        schedule_actor: login that GitHub gives to scheduled runs; None where there is no schedule, or it is not known.
    """

    gate: Gate
    secrets: Union[FrozenSet[str], Unreadable]
    organization_secrets: Union[FrozenSet[str], Unreadable]
    variables: Union[Mapping[str, str], Unreadable]
    token: Union[Mapping[str, Any], Unreadable]
    actions: Union[Mapping[str, Any], Unreadable]
    rules: Union[List[Mapping[str, Any]], Unreadable]
    bypass: Union[Mapping[str, Optional[int]], Unreadable]
    protection: Union[Mapping[str, Any], Unreadable, None]
    codeowners_errors: Union[List[Mapping[str, Any]], Unreadable, None]
    workflow_state: Union[str, Unreadable, None]
    report_state: Union[str, Unreadable, None]
    approval_workflow_state: Union[str, Unreadable, None] = None
    schedule_actor: Union[str, Unreadable, None] = None
    organization_variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Local:
    """What the files of this repository say.

    Arguments:
        repository: `owner/name` of the configuration.
        approvers: of the configuration.
        ttl_minutes: how long an approval counts.
        plan_answer: `public`, `private-enterprise`, `private-team` or `private-free`.
        problems: lines of `check`.
        policy: or None when it can't be read; `problems` then says why.
        codeowners: text of .github/CODEOWNERS, or None.
        checklist: text of PRODUCTION_CHECKLIST.md, or None.
        gate: `approval_gate` of the configuration.
        environments: those that there are to be, with the names of the secrets that each is to hold.
        acting: names of the secrets that act() gets.
        act_variables: names of the variables that act() gets.
        audit_host: the only host that the audit backend's key may be sent to; empty for any.
        notify: whether messages are sent.
        triggers: what starts runs, such as `manual+alert`.
        guarded: files here that decide about actions, each of which needs an owner.
    """

    repository: str
    approvers: Tuple[str, ...]
    ttl_minutes: int
    plan_answer: str
    problems: Tuple[str, ...]
    policy: Optional[Policy]
    codeowners: Optional[str]
    checklist: Optional[str]
    gate: str = ENVIRONMENT_GATE
    environments: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    acting: Tuple[str, ...] = ()
    act_variables: Tuple[str, ...] = ()
    audit_host: str = ""
    notify: bool = False
    triggers: str = ""
    guarded: Tuple[str, ...] = ()
