"""What *Verify* looks at before anything may act: an ordered list of checks over one state, each with its own refusal.

The state is filled by the checks themselves, from what other jobs handed over and from what GitHub says now; the clock
is read once.  The lists are in `environment.py` and `issue.py`; whoever must know the order takes it from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.gate import checks, environment_checks, history, policy_file
from agent_runtime.gate.policy import Policy
from agent_runtime.github import archive
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext, now
from agent_runtime.job.trail import Trail
from agent_runtime.model import documents, names
from agent_runtime.model.config import Config
from agent_runtime.model.documents import Approver, Plan, Report
from aimgentix.events import ActionType, EventStatus

# Name, settings, deployment branches, default branch and whether reviewers are required of one environment.
EnvironmentSettings = Tuple[str, Optional[Mapping[str, Any]], Sequence[str], str, bool]


@dataclass(frozen=True)
class Check:
    """One check.

    Arguments:
        code: of its refusal.
        what: what must hold, in one sentence, for people.
        look: makes it, and raises AgentError where it does not hold.
    """

    code: str
    what: str
    look: Callable[[Any], None]


@dataclass(frozen=True)
class Handover:
    """Where the report is, and which plan was approved, from the outputs of jobs without team code.

    Arguments:
        report_id, report_digest: of the archive with the report; empty where an issue names them.
        plan_digest: what was approved, 64 hexadecimal digits.
    """

    plan_digest: str
    report_id: str = ""
    report_digest: str = ""


class Verification:
    """The state of one verification.

    Attributes:
        report: once it is known to be the genuine one.
        approvers: whose approvals count.
    """

    def __init__(self, api: GitHubApi, job: JobContext, handover: Handover, *, automatic: bool = False) -> None:
        self.api = api
        self.job = job
        self.handover = handover
        self.automatic = automatic
        self.now = now()
        self.report: Optional[Report] = None
        self.approvers: Tuple[Approver, ...] = ()
        self._rules: Optional[Policy] = None

    @property
    def plan(self) -> Plan:
        """The sealed plan.

        Raises:
            BadInput: there is none (RPT006).
        """
        if self.report is None or self.report.plan is None:
            status = self.report.status if self.report else "not known"
            raise codes.BadInput(codes.REPORT_NO_PLAN, f"the report's status is {status}")
        return self.report.plan

    @property
    def rules(self) -> Policy:
        """The policy at this commit."""
        if self._rules is None:
            self._rules = policy_file.load(self.job.root, self.job.config)
        return self._rules

    def fetch_report(self) -> None:
        """GATE01: the report is the one that `seal` uploaded."""
        handover = self.handover
        files = archive.fetch(self.api, self.job.run.repository, handover.report_id, handover.report_digest)
        self.report = documents.decode(Report, files.get(names.REPORT_NAME, b""), names.REPORT_NAME)

    def check_digest(self) -> None:
        """GATE02."""
        checks.check_digest(self.plan, self.handover.plan_digest)

    def check_run(self) -> None:
        """GATE03."""
        checks.check_run(self.plan.run, self.job.run)
        if self.report is None or self.report.run != self.plan.run:
            raise codes.BadInput(codes.REPORT_OTHER_RUN, "the report and its plan name different runs")

    def check_initiator(self) -> None:
        """GATE14."""
        checks.check_initiator(self.plan.run, self.rules.initiators)

    def check_expiry(self) -> None:
        """GATE04."""
        checks.check_not_expired(self.plan, self.now)

    def check_policy(self) -> None:
        """GATE05."""
        if self.automatic and not self.job.config.auto_approval:
            raise codes.GateRefused(
                codes.GATE_POLICY,
                f"this plan needs a human, and {names.AUTO_JOB} may run none: auto_approval is false in "
                ".github/agent-config.yml",
            )
        checks.check_policy(self.plan, self.rules, automatic=self.automatic)

    def check_rate(self) -> None:
        """GATE13."""
        for step in self.plan.steps:
            found = history.begun(
                self.api, self.job, self.rules, action=step.action, resource=self.plan.resource, now=self.now
            )
            checks.check_rate_limits(self.plan, self.rules, found, self.now)

    def check_environments(self) -> None:
        """GATE06 (threat T13: a missing environment is created open)."""
        check_environments(self.api, self.job, self.plan.approvals.count)

    def check_variables(self) -> None:
        """GATE16."""
        checks.check_variables(self.plan, self.job.act_variables)

    def check_enabled(self) -> None:
        """GATE10."""
        checks.check_enabled(self.job.environ.get("AGENT_DISABLED"))


# The checks that both gates make in the same way; each has its place in their lists.
EXPIRY = Check(codes.GATE_EXPIRED, "the plan has not expired", Verification.check_expiry)
POLICY = Check(
    codes.GATE_POLICY,
    "the policy of this commit is the one of the sealing, and decides the same again",
    Verification.check_policy,
)
RATE = Check(
    codes.GATE_RATE, "the rate limits leave room, counted over all runs of the repository", Verification.check_rate
)
VARIABLES = Check(
    codes.GATE_VARIABLES,
    "the variables that `act` reads have the sealed values, and no environment overrides one",
    Verification.check_variables,
)
ENABLED = Check(codes.GATE_DISABLED, "the kill switch is off", Verification.check_enabled)


def environments(api: GitHubApi, repository: str, settings: Config, approvals: int) -> List[EnvironmentSettings]:
    """Ask GitHub for the settings of the environments that the gate stands on, and of those that hold secrets."""
    branch = api.default_branch(repository)
    found: List[EnvironmentSettings] = []
    for name in settings.environments(approvals):
        answer = api.environment(repository, name)
        branches = api.deployment_branches(repository, name) if answer is not None else []
        found.append((name, answer, branches, branch, name in names.GATE_ENVIRONMENTS))
    return found


def check_environments(api: GitHubApi, job: JobContext, approvals: int = 1) -> List[EnvironmentSettings]:
    """Refuse unless each of these environments is set up as it must be (GATE06); return what was found."""
    found = environments(api, job.run.repository, job.config, approvals)
    for name, settings, branches, default, required in found:
        environment_checks.check_environment(
            name, settings, branches, default, reviewers_required=required, initiator=job.run.actor
        )
    return found


def run(listed: Sequence[Check], state: Verification, journal: Optional[Trail] = None) -> None:
    """Make the checks in order, write each into the journal, and stop at the first that refuses.

    Raises:
        AgentError: of that check.
    """
    for check in listed:
        problem: Optional[codes.AgentError] = None
        try:
            check.look(state)
        except codes.AgentError as error:
            problem = error
        if journal is not None:
            facts: Dict[str, Any] = {"code": problem.code, "message": problem.message} if problem else {}
            journal.event(
                names.STEP_CHECK,
                EventStatus.DENIED if problem else EventStatus.SUCCESS,
                action_type=ActionType.POLICY_CHECK,
                durable=problem is not None,
                check=check.code,
                **facts,
            )
        if problem is not None:
            raise problem
