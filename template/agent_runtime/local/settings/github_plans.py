"""What GitHub's plans can protect, and what to choose.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/deployments-and-environments
"""

from __future__ import annotations

from enum import Enum
from typing import Optional, Tuple

from agent_runtime.local.settings.model import Repository

PUBLIC_ANSWER = "public"
ENTERPRISE_ANSWER = "private-enterprise"
TEAM_ANSWER = "private-team"
FREE_ANSWER = "private-free"

_ENTERPRISE = frozenset({"enterprise", "business", "business_plus"})
_PAID = frozenset({"pro", "team", "developer", "micro", "small", "medium", "large", "unlimited"})


class Protection(Enum):
    """What environments of a repository can do."""

    REVIEWERS = "environments with required reviewers"
    BRANCHES = "environments with secrets and deployment branches, without required reviewers"
    NOTHING = "no environments"
    UNKNOWN = "not known"


def protection(repository: Repository, answer: Optional[str]) -> Protection:
    """Return what the repository's visibility and its owner's plan allow.

    Arguments:
        answer: `repository_plan` of the configuration; trusted where GitHub does not say which plan it is.
    """
    if repository.visibility == "public":
        return Protection.REVIEWERS
    if repository.visibility == "internal" or repository.plan in _ENTERPRISE:
        return Protection.REVIEWERS  # internal repositories exist on Enterprise only
    if repository.plan in _PAID:
        return Protection.BRANCHES
    if repository.plan == "free":
        return Protection.NOTHING
    return Protection.REVIEWERS if answer == ENTERPRISE_ANSWER else Protection.UNKNOWN


def fitting_answers(repository: Repository) -> Tuple[str, ...]:
    """Return the values of `repository_plan` that agree with what GitHub says."""
    if repository.visibility == "public":
        return (PUBLIC_ANSWER,)
    found = protection(repository, None)
    if found is Protection.REVIEWERS:
        return (ENTERPRISE_ANSWER,)
    if found is Protection.UNKNOWN:
        return (ENTERPRISE_ANSWER, TEAM_ANSWER, FREE_ANSWER)
    return (TEAM_ANSWER,) if found is Protection.BRANCHES else (FREE_ANSWER,)


def describe(repository: Repository) -> str:
    """Say in a few words which repository of which plan this is."""
    plan = f"plan {repository.plan}" if repository.plan else "plan unknown to this token"
    owner = "an organisation" if repository.owner_type == "Organization" else "a person"
    return f"{repository.visibility} repository of {owner}, {plan}"


def choices(repository: Repository) -> str:
    """Say what a team can do whose plan has no required reviewers."""
    if repository.owner_type == "Organization":
        move = "move the organisation to GitHub Enterprise"
    else:
        move = "move the repository to an organisation on GitHub Enterprise"
    answer = TEAM_ANSWER if protection(repository, None) is Protection.BRANCHES else FREE_ANSWER
    return (
        f"let an issue be the gate (python agent_runner.py update --set repository_plan={answer}), make the repository "
        f"public (required reviewers are there on every plan), or {move}"
    )
