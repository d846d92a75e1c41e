"""The gate of a repository without protected environments: an issue shows the plan, an approver's comment approves it.

The jobs that write the receipt, that claim the plan and that act do the same here, each by itself.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.gate import issue_checks
from agent_runtime.gate.comment import posted
from agent_runtime.gate.pages import review
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
)
from agent_runtime.github import archive
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext
from agent_runtime.model import documents, names, plan
from agent_runtime.model.config import Config
from agent_runtime.model.documents import Approvals, Approver, IssueComment, Plan, Report


class IssueVerification(Verification):
    """What is looked at where an issue is the gate.

    Attributes:
        answerable: whether the author may learn why the comment does not count.
        earlier: the approval before this comment's, where the plan needs two: who, the comment's text, and where it is.
        files: of the artifact with the report, by name; filled together with `report`.
        rejected_by, rejected_because: login of the approver who rejected, and the reason in the comment.
    """

    def __init__(self, api: GitHubApi, job: JobContext, handover: Handover, *, automatic: bool = False) -> None:
        super().__init__(api, job, handover, automatic=automatic)
        self.posted = posted(job)
        self.answerable = False
        self.files: Mapping[str, bytes] = {}
        self.rejected_by: Optional[str] = None
        self.earlier: Optional[Tuple[Approver, str, IssueComment]] = None
        self.rejected_because: Optional[str] = None
        self._comments: List[Mapping[str, Any]] = []
        self._comment: Mapping[str, Any] = {}
        self._issue: Mapping[str, Any] = {}
        self._run: Mapping[str, Any] = {}
        self._branch = ""

    @property
    def digest(self) -> str:
        """Digest of the sealed plan; empty when there is none."""
        return plan.digest(self.report.plan) if self.report and self.report.plan else ""

    @property
    def approval(self) -> IssueComment:
        """The comment that approves, once the checks have passed."""
        return self._described(self._comment)

    def _described(self, comment: Mapping[str, Any]) -> IssueComment:
        url, created = str(comment.get("html_url") or ""), str(comment.get("created_at"))
        return IssueComment(self.posted.issue, comment["id"], url, created)

    def check_author(self) -> None:
        """IGATE06."""
        repository = self.job.run.repository
        self._comments = self.api.comments(repository, self.posted.issue)
        self._comment = issue_checks.find_comment(self._comments, self.posted.id)
        user = self._comment.get("user")
        login = user.get("login") if isinstance(user, dict) else None
        permission = self.api.permission(repository, login) if isinstance(login, str) else "none"
        try:
            issue_checks.check_author(self._comment, self.job.config.approvers, permission)
        except codes.GateRefused as refusal:
            self.answerable = not isinstance(refusal, issue_checks.UnauthorizedCommenter)
            raise
        self.answerable = True
        author = self._comment["user"]
        self.approvers = (Approver(login=author["login"], id=author["id"], type=author["type"]),)

    def check_issue(self) -> None:
        """IGATE02."""
        self._issue = self.api.issue(self.job.run.repository, self.posted.issue)
        issue_checks.check_issue(self._issue, self.posted.issue)

    def check_origin(self) -> None:
        """IGATE04."""
        repository, origin = self.job.run.repository, issue_checks.read_origin(self._issue)
        self._branch = self.api.default_branch(repository)
        self._run = self.api.workflow_run(repository, origin.run_id)
        artifact = self.api.artifact(repository, origin.artifact_id)
        issue_checks.check_origin(self._run, artifact, origin, repository=repository, branch=self._branch)

    def fetch_report(self) -> None:
        """GATE01: the report that the issue names, after it and its plan are what GitHub knows of their run."""
        origin = issue_checks.read_origin(self._issue)
        files = archive.fetch(self.api, self.job.run.repository, str(origin.artifact_id), origin.artifact_sha256)
        found = documents.decode(Report, files.get(names.REPORT_NAME, b""), names.REPORT_NAME)
        if found.plan is None:
            raise codes.BadInput(codes.REPORT_NO_PLAN, f"the report's status is {found.status}")
        issue_checks.check_sealed_run(found.plan, self._run)
        if found.run != found.plan.run:
            raise codes.BadInput(codes.REPORT_OTHER_RUN, "report and plan name different runs")
        self.files = files
        self.report = found

    def check_page(self) -> None:
        """IGATE03."""
        found, self.report = self.report, None  # until its page is known to be what was shown, it is nobody's
        if found is None:
            raise codes.BadInput(codes.REPORT_NO_PLAN, "no report was found")
        issue_checks.check_page(self._issue, *render(found, issue_checks.read_origin(self._issue), self.job))
        self.report = found

    def check_no_rejection(self) -> None:
        """IGATE07."""
        found = issue_checks.rejection(self._comments, self.job.config.approvers)
        self.rejected_by, self.rejected_because = found or (None, None)
        issue_checks.check_no_rejection(self._comments, self.job.config.approvers)

    def check_comment(self) -> None:
        """IGATE05, and GATE02 for another plan."""
        issue_checks.check_comment(self._comment, self.posted.text, self.digest)

    def check_may_approve(self) -> None:
        """IGATE06."""
        issue_checks.check_may_approve(self._comment["user"]["login"], self.plan)

    def check_approvals(self) -> None:
        """IGATE08: comments before this one count as it does; the same person counts once."""
        if self.plan.approvals.count == 1:
            return
        own = self.approvers[0]
        for comment in self._comments[: self._comments.index(self._comment)]:
            login = issue_checks.named_approver(comment, self.job.config.approvers)
            permission = self.api.permission(self.job.run.repository, login) if login else "none"
            other = issue_checks.approver_of(comment, self.job.config.approvers, permission, self.plan, self.digest)
            if other and other.id != own.id and other.login.casefold() != own.login.casefold():
                self.earlier = (other, str(comment.get("body")), self._described(comment))
        if self.earlier is None:
            raise codes.GateRefused(
                codes.APPROVAL_MISSING,
                f"{own.login} approved, and one of the 2 approvals by different people is still missing",
            )
        self.approvers = (self.earlier[0], own)

    def check_commit(self) -> None:
        """GATE03."""
        issue_checks.check_commit(self.plan, self.job.run, self._branch)

    def check_claim(self) -> None:
        """GATE09: the job `claim` of this run took the plan."""
        if not self.api.reference_exists(self.job.run.repository, names.CLAIMS + self.digest):
            raise codes.GateRefused(codes.GATE_CLAIMED, f"nothing claimed the plan {plan.short(self.digest)}")


# What the job that reads the comment looks at; the jobs after it look at all of this again.
COMMENT_CHECKS = (
    Check(codes.COMMENT_AUTHOR, "the comment is by a human approver with write access", IssueVerification.check_author),
    Check(
        codes.ISSUE_UNKNOWN,
        "the issue is open, labelled, and opened by a job of this repository",
        IssueVerification.check_issue,
    ),
    Check(
        codes.ISSUE_RUN,
        "the report is an artifact of a run of the agent's workflow on the default branch",
        IssueVerification.check_origin,
    ),
    Check(
        codes.GATE_ARTIFACT,
        "the report is, byte for byte, what `seal` uploaded, and GitHub says the same of its run",
        IssueVerification.fetch_report,
    ),
    Check(
        codes.ISSUE_EDITED,
        "title and text of the issue are, character by character, what the runtime writes about this plan",
        IssueVerification.check_page,
    ),
    Check(codes.PLAN_REJECTED, "no approver rejected it", IssueVerification.check_no_rejection),
    Check(
        codes.COMMENT_UNUSABLE,
        "the comment was not edited, approves, and names this plan",
        IssueVerification.check_comment,
    ),
    Check(
        codes.COMMENT_AUTHOR,
        "its author neither started nor re-ran the investigation, and is one whom the plan lets approve",
        IssueVerification.check_may_approve,
    ),
    Check(
        codes.GATE_RUN,
        "this is the first attempt of a run on the default branch, at the plan's commit",
        IssueVerification.check_commit,
    ),
    Check(
        codes.GATE_INITIATOR,
        "a person started the investigation, or an app that the policy's `initiators` names",
        IssueVerification.check_initiator,
    ),
    EXPIRY,
    POLICY,
    Check(
        codes.APPROVAL_MISSING,
        "where the plan needs two approvals, a comment before this one is the other, by another such person",
        IssueVerification.check_approvals,
    ),
)
# What the job that claims the plan looks at beyond that; the claim comes last, so that a refusal consumes nothing.
CLAIM_CHECKS = (
    *COMMENT_CHECKS,
    Check(codes.GATE_DIGEST, "the plan has the approved digest", IssueVerification.check_digest),
    RATE,
    Check(
        codes.GATE_ENVIRONMENT,
        "the environment that holds the acting secrets is limited to the default branch (where there is one)",
        IssueVerification.check_environments,
    ),
    VARIABLES,
    ENABLED,
)
CHECKS = (
    *CLAIM_CHECKS,
    Check(codes.GATE_CLAIMED, "the job `claim` of this run took the plan", IssueVerification.check_claim),
)


class IssueGate:
    """One of the two gates, see `gates.Gate`."""

    def check_closed(self, api: GitHubApi, job: JobContext) -> str:
        """Refuse unless somebody could approve in an issue, and the approval would count.

        Raises:
            GateRefused: nobody else could approve (IGATE01), none would be looked at (IGATE04), a setting is missing
                (GATE06), or GitHub did not answer (GATE12).
        """
        branch = api.default_branch(job.run.repository)
        if job.run.ref != "refs/heads/" + branch:
            raise codes.GateRefused(
                codes.ISSUE_RUN, f"this run is on {job.run.ref}, not on the default branch {branch}"
            )
        issue_checks.check_possible(permissions(api, job.run.repository, job.config.approvers), job.run)
        check_environments(api, job)
        return codes.ISSUE_GATE_IMPOSSIBLE

    def check_enough(self, api: GitHubApi, job: JobContext, wanted: Approvals) -> str:
        """Refuse unless so many of those who may approve a plan can comment here.

        Raises:
            GateRefused: too few can (IGATE01), or GitHub did not answer (GATE12).
        """
        if wanted.count > 1 or wanted.approvers:
            people = permissions(api, job.run.repository, job.config.approvers)
            issue_checks.check_enough(people, job.run, wanted)
        return ""

    def problems(self, api: GitHubApi, repository: str, settings: Config, approvals: int) -> List[str]:  # noqa: ARG002
        """Say what keeps an issue from being a gate."""
        people = permissions(api, repository, settings.approvers)
        return [f"an issue is not a gate now: {problem}" for problem in issue_checks.gate_problems(people, ())]

    def how_to_decide(self, sealed: Plan, digest: str) -> List[str]:  # noqa: ARG002  the issue itself says it
        """The part of the reviewer's page that says how to answer."""
        return review.issue_section()

    def checks(self, *, automatic: bool = False) -> Tuple[Check, ...]:  # noqa: ARG002  no such job here
        """The checks of *Verify*; an issue gate has no job that acts without asking."""
        return CHECKS

    def verification(
        self, api: GitHubApi, job: JobContext, handover: Handover, *, automatic: bool = False
    ) -> Verification:
        """The state that these checks look at."""
        return IssueVerification(api, job, handover, automatic=automatic)


def permissions(api: GitHubApi, repository: str, approvers: Sequence[str]) -> Dict[str, str]:
    """Return what each approver may do in the repository; a team may do nothing, because it can't comment."""
    return {name: "none" if "/" in name else api.permission(repository, name) for name in approvers}


def render(found: Report, origin: issue_checks.Origin, job: JobContext) -> Tuple[str, str]:
    """Return title and text of the issue about a report; `ask` posts them, and everybody else compares."""
    return review.render_issue(
        found,
        digest=plan.digest(found.plan),
        approvers=job.config.approvers,
        origin=origin.line(),
        run_url=job.run_url(origin.run_id),
    )
