"""The gate of a repository: what stands between a plan and its execution, by one interface."""

from __future__ import annotations

from typing import List, Protocol, Sequence, Tuple

from agent_runtime.gate.verification import Check, Handover, Verification
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext
from agent_runtime.model import config
from agent_runtime.model.config import Config
from agent_runtime.model.documents import Approvals, Plan


class Gate(Protocol):
    """What every kind of gate can do."""

    def check_closed(self, api: GitHubApi, job: JobContext) -> str:
        """Refuse unless the gate can be closed now; return the code of the check that was made."""

    def check_enough(self, api: GitHubApi, job: JobContext, wanted: Approvals) -> str:
        """Refuse unless a plan that needs these approvals can get them here.

        Returns:
            The teams of whose members that depends, where a job can't see them; empty where it is known.
        """

    def problems(self, api: GitHubApi, repository: str, settings: Config, approvals: int) -> List[str]:
        """Say what keeps the gate from being one, whoever starts a run.

        Arguments:
            approvals: the most that the policy asks for.
        """

    def how_to_decide(self, sealed: Plan, digest: str) -> List[str]:
        """The part of the reviewer's page that says how to answer, in blocks of Markdown."""

    def checks(self, *, automatic: bool = False) -> Tuple[Check, ...]:
        """The checks that *Verify* makes, in their order."""

    def verification(
        self, api: GitHubApi, job: JobContext, handover: Handover, *, automatic: bool = False
    ) -> Verification:
        """The state that these checks look at."""


def of(settings: Config) -> Gate:
    """The gate that the repository's configuration asks for."""
    return by_name(settings.approval_gate)


def by_name(name: str) -> Gate:
    """The gate of this kind: `environment` or `issue`."""
    # Each loads what it needs: a reviewer of a repository reads one of them.
    if name == config.ISSUE_GATE:
        from agent_runtime.gate.issue import IssueGate  # noqa: PLC0415

        return IssueGate()
    from agent_runtime.gate.environment import EnvironmentGate  # noqa: PLC0415

    return EnvironmentGate()


def check_codes(name: str, *, automatic: bool = False) -> Sequence[str]:
    """The codes of the checks that a gate makes before an action, in their order."""
    return [check.code for check in by_name(name).checks(automatic=automatic)]
