"""The gate behind environments: a reviewer's click in `agent-approval`, which GitHub enforces and records."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.gate import checks
from agent_runtime.gate.pages import review
from agent_runtime.gate.verification import Check, Handover, Verification
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext
from agent_runtime.model import names
from agent_runtime.model.config import Config
from agent_runtime.model.documents import Plan

# Name, settings, deployment branches, default branch and whether reviewers are required of one environment.
_Settings = Tuple[str, Optional[Mapping[str, Any]], Sequence[str], str, bool]


class EnvironmentVerification(Verification):
    """What is looked at behind environments."""

    def check_environments(self) -> None:
        """GATE06 (threat T13: a missing environment is created open)."""
        for name, settings, branches, default, required in read(self.api, self.job.run.repository, self.job.config):
            checks.check_environment(
                name, settings, branches, default, reviewers_required=required, initiator=self.job.run.actor
            )

    def check_approval(self) -> None:
        """GATE07."""
        run = self.job.run
        records = self.api.approvals(run.repository, run.run_id)
        self.approvers = (checks.check_approval(records, run, self.handover.plan_digest)[0],)

    def check_not_executed(self) -> None:
        """GATE09: a plan is bound to one attempt of one run, and an attempt authorizes once."""
        run = self.job.run
        for name in (names.AUTHORIZATION_ARTIFACT, names.RESULT_ARTIFACT):
            for each in (name, name + names.AUTO):
                if self.api.artifact_exists(run.repository, run.run_id, each):
                    raise codes.GateRefused(codes.GATE_CLAIMED, f"run {run.run_id} has an artifact {each} already")


_APPROVAL = Check(
    codes.GATE_APPROVAL,
    "GitHub's record has an approval by a human who neither started nor re-ran the run, and no rejection",
    EnvironmentVerification.check_approval,
)
CHECKS = (
    Check(
        codes.GATE_ARTIFACT,
        "the report is, byte for byte, what `seal` uploaded",
        EnvironmentVerification.fetch_report,
    ),
    Check(codes.GATE_DIGEST, "the plan in it has the approved digest", EnvironmentVerification.check_digest),
    Check(
        codes.GATE_RUN,
        "the plan was sealed in the first attempt of this run, at this commit, by this workflow",
        EnvironmentVerification.check_run,
    ),
    Check(codes.GATE_INITIATOR, "no other workflow started the run", EnvironmentVerification.check_initiator),
    Check(codes.GATE_EXPIRED, "the plan has not expired", EnvironmentVerification.check_expiry),
    Check(
        codes.GATE_POLICY,
        "the policy of this commit is the one of the sealing, and decides the same again",
        EnvironmentVerification.check_policy,
    ),
    Check(
        codes.GATE_RATE,
        "the rate limits leave room, counted over all runs of the repository",
        EnvironmentVerification.check_rate,
    ),
    Check(
        codes.GATE_ENVIRONMENT,
        "the environments exist, are limited to the default branch, and the gate's has reviewers besides the initiator",
        EnvironmentVerification.check_environments,
    ),
    _APPROVAL,
    Check(
        codes.GATE_CLAIMED,
        "the run has authorized nothing before",
        EnvironmentVerification.check_not_executed,
    ),
    Check(codes.GATE_DISABLED, "the kill switch is off", EnvironmentVerification.check_enabled),
)


class EnvironmentGate:
    """One of the two gates, see `gates.Gate`."""

    def check_closed(self, api: GitHubApi, job: JobContext) -> str:
        """Refuse unless the environments make a gate.

        Raises:
            GateRefused: a setting is missing (GATE06), or GitHub did not answer (GATE12).
        """
        EnvironmentVerification(api, job, Handover("")).check_environments()
        return codes.GATE_ENVIRONMENT

    def problems(self, api: GitHubApi, repository: str, settings: Config) -> List[str]:
        """Say what keeps the environments from being a gate."""
        return [
            f"the environment {name} is not a gate now: {problem}"
            for name, found, branches, default, required in read(api, repository, settings)
            for problem in checks.environment_problems(
                found, branches, default, name=name, reviewers_required=required, initiator=""
            )
        ]

    def how_to_decide(self, sealed: Plan, digest: str) -> List[str]:
        """The part of the reviewer's page that says how to answer."""
        return review.click_section(sealed, digest)

    def checks(self, *, automatic: bool = False) -> Tuple[Check, ...]:
        """The checks of *Verify*; where the policy asks nobody, there is no approval to look at."""
        return tuple(check for check in CHECKS if not (automatic and check is _APPROVAL))

    def verification(
        self, api: GitHubApi, job: JobContext, handover: Handover, *, automatic: bool = False
    ) -> Verification:
        """The state that these checks look at."""
        return EnvironmentVerification(api, job, handover, automatic=automatic)


def read(api: GitHubApi, repository: str, settings: Config) -> List[_Settings]:
    """Ask GitHub for the settings of the environments that the gate stands on, and of those that hold secrets."""
    branch = api.default_branch(repository)
    found: List[_Settings] = []
    for name in settings.environments:
        answer = api.environment(repository, name)
        branches = api.deployment_branches(repository, name) if answer is not None else []
        found.append((name, answer, branches, branch, name == names.GATE_ENVIRONMENT))
    return found
