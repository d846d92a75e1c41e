"""The gate behind environments: a reviewer's click in `agent-approval`, which GitHub enforces and records."""

from __future__ import annotations

from typing import List, Tuple

from agent_runtime import codes
from agent_runtime.gate import environment_checks
from agent_runtime.gate.checks import refuse, show
from agent_runtime.gate.verification import (
    ENABLED,
    EXPIRY,
    POLICY,
    RATE,
    VARIABLES,
    Check,
    Handover,
    Verification,
    check_environments,
    environments,
)
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext
from agent_runtime.model import names
from agent_runtime.model.config import Config
from agent_runtime.model.documents import Approvals, Plan


class EnvironmentVerification(Verification):
    """What is looked at behind environments."""

    def check_approval(self) -> None:
        """GATE07."""
        run = self.job.run
        records = self.api.approvals(run.repository, run.run_id)
        found = environment_checks.check_approvals(records, run, self.handover.plan_digest, self.plan.approvals)
        self.approvers = tuple(approver for approver, _ in found)
        for login in (approver.login for approver in self.approvers):
            if not has_access(self.api, self.job, login):
                refuse(codes.GATE_APPROVAL, f"{show(login)} approved, and has no access to this repository any more")

    def check_not_executed(self) -> None:
        """GATE09: a plan is bound to one attempt of one run, and an attempt authorizes once."""
        run = self.job.run
        for name in (names.AUTHORIZATION_ARTIFACT, names.RESULT_ARTIFACT):
            for each in (name, name + names.AUTO):
                if self.api.artifact_exists(run.repository, run.run_id, each):
                    raise codes.GateRefused(codes.GATE_CLAIMED, f"run {run.run_id} has an artifact {each} already")


def has_access(api: GitHubApi, job: JobContext, login: str) -> bool:
    """Whether a person can still see the repository; GitHub keeps reviewers in its lists who can't."""
    return api.permission(job.run.repository, login) != "none"


_APPROVAL = Check(
    codes.GATE_APPROVAL,
    "GitHub's record has as many approvals as the plan needs, each by another human whom it lets approve and who "
    "neither started nor re-ran the run and still has access, and no rejection",
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
    Check(
        codes.GATE_INITIATOR,
        "a person started the run, or an app that the policy's `initiators` names",
        EnvironmentVerification.check_initiator,
    ),
    EXPIRY,
    POLICY,
    RATE,
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
    VARIABLES,
    ENABLED,
)


class EnvironmentGate:
    """One of the two gates, see `gates.Gate`."""

    def check_closed(self, api: GitHubApi, job: JobContext) -> str:
        """Refuse unless the environments make a gate.

        Raises:
            GateRefused: a setting is missing (GATE06), or GitHub did not answer (GATE12).
        """
        check_environments(api, job)
        return codes.GATE_ENVIRONMENT

    def check_enough(self, api: GitHubApi, job: JobContext, wanted: Approvals) -> str:
        """Refuse unless each approval that a plan needs has an environment and a person with access of its own.

        Raises:
            GateRefused: the second one is not set up (GATE06), too few can approve (GATE15), or GitHub did not answer
                (GATE12).
        """
        found = check_environments(api, job, wanted.count)
        gates = [(name, settings or {}) for name, settings, _, _, required in found if required]
        asked = sorted({login for _, settings in gates for login in environment_checks.people(settings)})
        gone = [login for login in asked if not has_access(api, job, login)]
        return environment_checks.check_enough(gates, job.run, wanted, gone)

    def problems(self, api: GitHubApi, repository: str, settings: Config, approvals: int) -> List[str]:
        """Say what keeps the environments from being a gate."""
        return [
            f"the environment {name} is not a gate now: {problem}"
            for name, found, branches, default, required in environments(api, repository, settings, approvals)
            for problem in environment_checks.environment_problems(
                found, branches, default, name=name, reviewers_required=required, initiator=""
            )
        ]

    def how_to_decide(self, sealed: Plan, digest: str) -> List[str]:
        """The part of the reviewer's page that says how to answer."""
        from agent_runtime.gate.pages import review  # noqa: PLC0415  only seal writes this page

        return review.click_section(sealed, digest)

    def checks(self, *, automatic: bool = False) -> Tuple[Check, ...]:
        """The checks of *Verify*; where the policy asks nobody, there is no approval to look at."""
        return tuple(check for check in CHECKS if not (automatic and check is _APPROVAL))

    def verification(
        self, api: GitHubApi, job: JobContext, handover: Handover, *, automatic: bool = False
    ) -> Verification:
        """The state that these checks look at."""
        return EnvironmentVerification(api, job, handover, automatic=automatic)
