"""`.github/agent-config.yml`: the answers of the template's questions that the runtime needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Tuple

from agent_runtime import codes
from agent_runtime.text import strict_yaml

CONFIG_PATH = Path(".github") / "agent-config.yml"
POLICY_FOLDER = Path(".github") / "agent-policies"

# What stands between a plan and its execution: protected environments, or a comment on an issue.
ENVIRONMENT_GATE, ISSUE_GATE = "environment", "issue"
# The one kind of repository in which GitHub does not protect environments.
PLAN_WITH_ISSUE_GATE = "private-other"
PRIVATE_TEAM = "private-team"

_KEYS = {
    "schema_version": int,
    "agent": str,
    "name": str,
    "repository": str,
    "approvers": list,
    "approval_ttl_minutes": int,
    "repository_plan": str,
    "approval_gate": str,
    "auto_approval": bool,
}
# A configuration of an older template does not say it; acting without asking is off unless the answer says otherwise.
_OPTIONAL = {"approval_gate": ENVIRONMENT_GATE, "auto_approval": False}

# GitHub lets an approval wait for at most 30 days.
_MAX_TTL_MINUTES = 30 * 24 * 60


@dataclass(frozen=True)
class Config:
    """The agent's fixed facts.

    Arguments:
        agent: slug; also the name of the policy file.
        repository: `owner/name`.
        approvers: logins or `org/team` that may approve.
        approval_ttl_minutes: minutes from sealing until a plan expires.
        repository_plan: visibility and plan; decides whether GitHub can protect environments.
        approval_gate: `environment` or `issue`.
        auto_approval: whether the workflow has a job that acts without asking, where the policy says so.
    """

    agent: str
    name: str
    repository: str
    approvers: Tuple[str, ...]
    approval_ttl_minutes: int
    repository_plan: str
    approval_gate: str = ENVIRONMENT_GATE
    auto_approval: bool = False

    @property
    def approval_ttl(self) -> timedelta:
        """For how long a plan counts after it was sealed."""
        return timedelta(minutes=self.approval_ttl_minutes)

    @property
    def policy_path(self) -> Path:
        """Where this agent's policy lies, relative to the repository's root."""
        return POLICY_FOLDER / (self.agent + ".yml")


def load(root: Path) -> Config:
    """Read the configuration of the agent repository at `root`.

    Raises:
        BadInput: the file is missing, or a key is missing, unknown or of the wrong type, or two exclude each other
            (INP007).
    """

    def refuse(problem: str) -> codes.BadInput:
        return codes.BadInput(codes.CONFIG_INVALID, f"{CONFIG_PATH.as_posix()}: {problem}")

    try:
        value: Any = strict_yaml.values(strict_yaml.load((root / CONFIG_PATH).read_bytes()))
    except OSError as problem:
        raise refuse(problem.strerror or "can't be read") from None
    except strict_yaml.StrictYamlError as problem:
        raise refuse(f"line {problem.line}: {problem.message}") from None
    if not isinstance(value, dict):
        raise refuse("not a mapping")
    value = {**_OPTIONAL, **value}
    for key in value:
        if key not in _KEYS:
            raise refuse(f"unknown key {key!r}")
    for key, kind in _KEYS.items():
        if key not in value:
            raise refuse(f"key {key} is missing")
        if not isinstance(value[key], kind) or isinstance(value[key], bool) != (kind is bool):
            raise refuse(f"key {key} is not of type {kind.__name__}")
    if not 1 <= value["approval_ttl_minutes"] <= _MAX_TTL_MINUTES:
        raise refuse(f"approval_ttl_minutes is not between 1 and {_MAX_TTL_MINUTES}")
    if value["schema_version"] != 1:
        raise refuse("schema_version is not 1")
    if value["approval_gate"] not in (ENVIRONMENT_GATE, ISSUE_GATE):
        raise refuse(f"approval_gate is neither {ENVIRONMENT_GATE} nor {ISSUE_GATE}")
    if value["auto_approval"] and value["approval_gate"] == ISSUE_GATE:
        raise refuse(f"auto_approval needs an environment of its own, and approval_gate is {ISSUE_GATE}")
    return Config(
        agent=value["agent"],
        name=value["name"],
        repository=value["repository"],
        approvers=tuple(str(item) for item in value["approvers"]),
        approval_ttl_minutes=value["approval_ttl_minutes"],
        repository_plan=value["repository_plan"],
        approval_gate=value["approval_gate"],
        auto_approval=value["auto_approval"],
    )
