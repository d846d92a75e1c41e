"""`.github/agent-config.yml`: the answers of the template's questions that the runtime needs."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Dict, Tuple

from agent_runtime import codes
from agent_runtime.model import names
from agent_runtime.text import strict_yaml

CONFIG_PATH = Path(".github") / "agent-config.yml"
POLICY_FOLDER = Path(".github") / "agent-policies"

# What stands between a plan and its execution: protected environments, or a comment on an issue.
ENVIRONMENT_GATE, ISSUE_GATE = "environment", "issue"
# The kinds of repositories in which environments have no required reviewers; the second has no environments at all.
PLANS_WITH_ISSUE_GATE = ("private-team", "private-free")
PLAN_WITHOUT_ENVIRONMENTS = "private-free"

# GitHub lets an approval wait for at most 30 days, and a job run for at most 6 hours.
_MAX_MINUTES = {"approval_ttl_minutes": 30 * 24 * 60, "act_timeout_minutes": 6 * 60}

_KINDS: Dict[str, Any] = {"str": str, "int": int, "bool": bool, "Tuple[str, ...]": list}


@dataclass(frozen=True)
class Config:
    """The agent's fixed facts, each under its name in the file; a field with a default may be left out there.

    Arguments:
        agent: slug; also the name of the policy file.
        repository: `owner/name`.
        approvers: logins or `org/team` that may approve.
        approval_ttl_minutes: minutes from sealing until a plan expires.
        repository_plan: visibility and plan; decides whether GitHub can protect environments.
        approval_gate: `environment` or `issue`.
        triggers: what starts a run, such as `manual+alert`.
        schedule_cron: empty where no schedule starts it.
        act_permissions: write permissions of the job that acts.
        auto_approval: whether the workflow has a job that acts without asking, where the policy says so.
        investigate_secrets, investigate_variables: names that the team's steps before investigating and the agent get.
        investigate_oidc: whether that job may ask GitHub for an identity token.
        investigate_container: image of that job, pinned by digest; empty without one.
        act_secrets, act_variables: names that the team's steps before acting and the agent get.
        investigate_runner, act_runner, gate_runner: labels of the machines.
        ephemeral_runners: whether each self-hosted machine takes one job and is gone.
        agent_python: version for the team's code, such as 3.13.
        act_timeout_minutes: for how long the job that acts may run.
        audit_host: the one host to which the audit backend's key may be sent, with its port; empty for any.
        notify: whether messages say that a plan waits and how it ended.
        toolkit: modules that the team's code uses, without what they import.
    """

    agent: str
    name: str
    repository: str
    approvers: Tuple[str, ...]
    approval_ttl_minutes: int
    repository_plan: str
    approval_gate: str = ENVIRONMENT_GATE
    triggers: str = "manual"
    schedule_cron: str = ""
    act_permissions: Tuple[str, ...] = ()
    auto_approval: bool = False
    investigate_secrets: Tuple[str, ...] = ()
    investigate_variables: Tuple[str, ...] = ()
    investigate_oidc: bool = False
    investigate_container: str = ""
    act_secrets: Tuple[str, ...] = ("AGENT_ACT_TOKEN",)
    act_variables: Tuple[str, ...] = ()
    investigate_runner: Tuple[str, ...] = ("ubuntu-latest",)
    act_runner: Tuple[str, ...] = ("ubuntu-latest",)
    gate_runner: Tuple[str, ...] = ("ubuntu-latest",)
    ephemeral_runners: bool = False
    agent_python: str = "3.13"
    act_timeout_minutes: int = 30
    audit_host: str = ""
    notify: bool = False
    toolkit: Tuple[str, ...] = ()

    @property
    def approval_ttl(self) -> timedelta:
        """For how long a plan counts after it was sealed."""
        return timedelta(minutes=self.approval_ttl_minutes)

    def environments(self, approvals: int = 1) -> Dict[str, Tuple[str, ...]]:
        """The environments that the gate stands on, each with the names of the secrets that it holds; the gate's first.

        Arguments:
            approvals: how many humans a plan needs, or the most that the policy asks for.
        """
        found: Dict[str, Tuple[str, ...]] = {}
        if self.approval_gate == ENVIRONMENT_GATE:
            found.update(dict.fromkeys(names.GATE_ENVIRONMENTS[:approvals], ()))
        if self.repository_plan != PLAN_WITHOUT_ENVIRONMENTS:
            found[names.ACT_ENVIRONMENT] = self.act_secrets
        if self.auto_approval:
            found[names.AUTO_ENVIRONMENT] = self.act_secrets
        if self.repository_plan != PLAN_WITHOUT_ENVIRONMENTS and (self.investigate_secrets or self.investigate_oidc):
            found[names.INVESTIGATE_ENVIRONMENT] = self.investigate_secrets
        return found

    def every_environment(self, approvals: int = 1) -> Dict[str, Tuple[str, ...]]:
        """These, and the one that only messages need: without it the gate is closed all the same."""
        found = self.environments(approvals)
        if self.notify and self.repository_plan != PLAN_WITHOUT_ENVIRONMENTS:
            found[names.NOTIFY_ENVIRONMENT] = (names.NOTIFY_SECRET,)
        return found

    @property
    def policy_path(self) -> Path:
        """Where this agent's policy is, relative to the repository's root."""
        return POLICY_FOLDER / (self.agent + ".yml")


def load(root: Path) -> Config:
    """Read the configuration of the agent repository at `root`.

    Raises:
        BadInput: the file is missing, or a key is missing, unknown or of the wrong type, or two exclude each other
            (INP007).
    """
    try:
        return _config(strict_yaml.values(strict_yaml.load((root / CONFIG_PATH).read_bytes())))
    except OSError as error:
        problem = error.strerror or "can't be read"
    except strict_yaml.StrictYamlError as error:
        problem = f"line {error.line}: {error.message}"
    except ValueError as error:
        problem = str(error)
    raise codes.BadInput(codes.CONFIG_INVALID, f"{CONFIG_PATH.as_posix()}: {problem}")


def _config(value: Any) -> Config:
    """What a decoded file says; a ValueError says what is wrong with it."""
    if not isinstance(value, dict):
        raise ValueError("not a mapping")
    known = {field.name: field for field in fields(Config)}
    for key in value:
        if key not in known and key != "schema_version":
            raise ValueError(f"unknown key {key!r}")
    version = value.get("schema_version")
    if version != 1 or isinstance(version, bool):
        raise ValueError("schema_version is not 1")
    given: Dict[str, Any] = {}
    for key, field in known.items():
        if key in value:
            given[key] = _typed(key, value[key], _KINDS[str(field.type)])
        elif field.default is MISSING:
            raise ValueError(f"key {key} is missing")
    config = Config(**given)
    if config.approval_gate not in (ENVIRONMENT_GATE, ISSUE_GATE):
        raise ValueError(f"approval_gate is neither {ENVIRONMENT_GATE} nor {ISSUE_GATE}")
    if config.auto_approval and config.approval_gate == ISSUE_GATE:
        raise ValueError(f"auto_approval needs an environment of its own, and approval_gate is {ISSUE_GATE}")
    if config.investigate_oidc and config.repository_plan == PLAN_WITHOUT_ENVIRONMENTS:
        raise ValueError(f"investigate_oidc needs an environment, and repository_plan is {PLAN_WITHOUT_ENVIRONMENTS}")
    return config


def _typed(key: str, value: Any, kind: Any) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        raise ValueError(f"key {key} is not of type {kind.__name__}")
    if key in _MAX_MINUTES and not 1 <= value <= _MAX_MINUTES[key]:
        raise ValueError(f"{key} is not between 1 and {_MAX_MINUTES[key]}")
    if kind is not list:
        return value
    if not all(isinstance(item, str) for item in value):
        raise ValueError(f"key {key} holds something that is not text")
    return tuple(value)
