"""What a comment on an issue approves: asks GitHub for all of it, and lets the issue gate's checks judge.

The job that writes the receipt and the job that acts do the same here, each by itself.  From the event that started
the run only three things are taken: which issue, which comment, and what the comment said when it was posted.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, TypeVar

from agent_runtime import codes
from agent_runtime.gate import checks, issue_checks, pages
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.run_context import Desk, load_policy, now
from agent_runtime.model import config, documents, names, plan
from agent_runtime.model.documents import Approver, IssueComment, Plan, Report

MAX_ARCHIVE_BYTES = 32 * 1024 * 1024
_MAX_FILES = 200
_FILES = re.compile(r"investigation-report\.json|trace-id\.txt|journal/[A-Za-z0-9_-][A-Za-z0-9._-]*")

_Value = TypeVar("_Value")
Check = Callable[[str, Callable[[], Any]], Any]


@dataclass(frozen=True)
class Posted:
    """The comment that started this run, as GitHub told the runner.

    Arguments:
        issue: its number; `id` is the comment's.
        text: what it said when it was posted.
    """

    issue: int
    id: int
    text: str


def posted(desk: Desk) -> Posted:
    """Read the event that started this run.

    Raises:
        BadInput: no comment started it (INP005).
        GateRefused: the gate of this repository is not an issue (IGATE01).
    """
    if desk.config.approval_gate != config.ISSUE_GATE:
        raise codes.GateRefused(codes.ISSUE_GATE_IMPOSSIBLE, "the approval gate here is the environment agent-approval")
    try:
        event = documents.strict_json(Path(desk.environ["GITHUB_EVENT_PATH"]).read_bytes())
        issue, comment = event["issue"]["number"], event["comment"]
        found = Posted(issue, comment["id"], comment["body"])
    except (KeyError, TypeError, ValueError, OSError) as problem:
        raise codes.BadInput(
            codes.RUN_CONTEXT_MISSING, f"no comment on an issue started this run ({type(problem).__name__})"
        ) from None
    if not all(type(number) is int and number > 0 for number in (found.issue, found.id)) or type(found.text) is not str:
        raise codes.BadInput(codes.RUN_CONTEXT_MISSING, "the event names no issue and no comment")
    return found


def plainly(_code: str, look: Callable[[], _Value]) -> _Value:
    """Make a check and write nothing about it."""
    return look()


class Examination:
    """The checks of one comment, in their order, and what they found so far.

    Attributes:
        answerable: whether the author may be told why the comment does not count.
        report: once it is known to be the genuine one of a run of this repository.
        files: of the artifact with the report, by name; filled together with `report`.
        rejected_by: login of the approver who rejected.
    """

    def __init__(self, api: GitHubApi, desk: Desk, comment: Posted) -> None:
        self._api = api
        self._desk = desk
        self._posted = comment
        self.answerable = False
        self.report: Optional[Report] = None
        self.files: Mapping[str, bytes] = {}
        self.rejected_by: Optional[str] = None
        self._run: Mapping[str, Any] = {}
        self._approver: Optional[Approver] = None

    @property
    def plan(self) -> Plan:
        """The sealed plan.

        Raises:
            BadInput: there is none (RPT006).
        """
        if self.report is None or self.report.plan is None:
            raise codes.BadInput(codes.REPORT_NO_PLAN, "no plan was found")
        return self.report.plan

    @property
    def digest(self) -> str:
        """Digest of the sealed plan; empty when there is none."""
        return plan.digest(self.report.plan) if self.report and self.report.plan else ""

    def run(self, check: Check) -> IssueComment:
        """Make every check; return the comment that approves.

        Arguments:
            check: is given each check with its code, and makes it.

        Raises:
            GateRefused, BadInput: a check refuses.
        """
        repository, approvers = self._desk.run.repository, self._desk.config.approvers
        comments = self._api.comments(repository, self._posted.issue)
        comment = check(codes.COMMENT_AUTHOR, lambda: self._author(comments))
        issue = self._api.issue(repository, self._posted.issue)
        check(codes.ISSUE_UNKNOWN, lambda: issue_checks.check_issue(issue, self._posted.issue))
        branch = self._api.default_branch(repository)
        origin = check(codes.ISSUE_EDITED, lambda: issue_checks.read_origin(issue))
        check(codes.ISSUE_RUN, lambda: self._check_origin(origin, branch))
        found = check(codes.GATE_ARTIFACT, lambda: self._read(origin))
        check(codes.ISSUE_EDITED, lambda: issue_checks.check_page(issue, *render(found, origin, self._desk)))
        self.report = found
        rejection = issue_checks.rejection(comments, approvers)
        self.rejected_by = rejection[0] if rejection else None
        check(codes.PLAN_REJECTED, lambda: issue_checks.check_no_rejection(comments, approvers))
        check(codes.COMMENT_UNUSABLE, lambda: issue_checks.check_comment(comment, self._posted.text, self.digest))
        check(codes.COMMENT_AUTHOR, lambda: issue_checks.check_not_initiator(comment["user"]["login"], self.plan.run))
        check(codes.GATE_RUN, lambda: issue_checks.check_commit(self.plan, self._desk.run, branch))
        check(codes.GATE_EXPIRED, lambda: checks.check_not_expired(self.plan, now()))
        check(codes.GATE_POLICY, lambda: checks.check_policy(self.plan, load_policy(self._desk)))
        return IssueComment(
            issue=self._posted.issue,
            id=self._posted.id,
            url=str(comment.get("html_url") or ""),
            created_at=str(comment["created_at"]),
        )

    @property
    def approver(self) -> Approver:
        """The comment's author, once the checks have passed.

        Raises:
            BadInput: they have not (INP005).
        """
        if self._approver is None:
            raise codes.BadInput(codes.RUN_CONTEXT_MISSING, "nobody is known to have approved")
        return self._approver

    def _author(self, comments: List[Mapping[str, Any]]) -> Mapping[str, Any]:
        comment = issue_checks.find_comment(comments, self._posted.id)
        user = comment.get("user")
        login = user.get("login") if isinstance(user, dict) else None
        permission = self._api.permission(self._desk.run.repository, login) if isinstance(login, str) else "none"
        try:
            issue_checks.check_author(comment, self._desk.config.approvers, permission)
        except codes.GateRefused as refusal:
            self.answerable = not isinstance(refusal, issue_checks.Stranger)
            raise
        self.answerable = True
        self._approver = Approver(
            login=comment["user"]["login"], id=comment["user"]["id"], type=comment["user"]["type"]
        )
        return comment

    def _check_origin(self, origin: issue_checks.Origin, branch: str) -> None:
        repository = self._desk.run.repository
        self._run = self._api.workflow_run(repository, origin.run_id)
        artifact = self._api.artifact(repository, origin.artifact_id)
        issue_checks.check_origin(self._run, artifact, origin, repository=repository, branch=branch)

    def _read(self, origin: issue_checks.Origin) -> Report:
        """Return the report that the issue names, after it and its plan are what GitHub knows of their run."""
        archive = self._api.download_artifact(self._desk.run.repository, origin.artifact_id, MAX_ARCHIVE_BYTES)
        checks.check_artifact(archive, origin.artifact_sha256)
        files = unpack(archive)
        data = files.get(names.REPORT_NAME, b"")
        checks.check_artifact(data, origin.report_sha256)
        found = documents.decode_report(data, names.REPORT_NAME)
        if found.plan is None:
            raise codes.BadInput(codes.REPORT_NO_PLAN, f"the report's status is {found.status}")
        issue_checks.check_sealed_run(found.plan, self._run)
        if found.run != found.plan.run:
            raise codes.BadInput(codes.REPORT_OTHER_RUN, "report and plan name different runs")
        self.files = files
        return found


def render(found: Report, origin: issue_checks.Origin, desk: Desk) -> Tuple[str, str]:
    """Return title and text of the issue about a report; `ask` posts them, and everybody else compares."""
    return pages.render_issue(
        found,
        digest=plan.digest(found.plan),
        approvers=desk.config.approvers,
        origin=origin.line(),
        run_url=run_url(desk, origin.run_id),
    )


def run_url(desk: Desk, run_id: str) -> str:
    """Address of a run for people."""
    server = desk.environ.get("GITHUB_SERVER_URL") or "https://github.com"
    return f"{server}/{desk.run.repository}/actions/runs/{run_id}"


def unpack(archive: bytes) -> Dict[str, bytes]:
    """Return the files of an investigation's artifact by their names; whatever else is in it is left out.

    Raises:
        GateRefused: it is no zip file, or has too many or too large files (GATE01).
    """
    files: Dict[str, bytes] = {}
    left = MAX_ARCHIVE_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as unzipped:
            infos = unzipped.infolist()
            if len(infos) > _MAX_FILES:
                raise codes.GateRefused(codes.GATE_ARTIFACT, f"the artifact has {len(infos)} files")
            for info in infos:
                if _FILES.fullmatch(info.filename):
                    with unzipped.open(info) as stream:
                        files[info.filename] = stream.read(left + 1)
                    left -= len(files[info.filename])
                    if left < 0:
                        raise codes.GateRefused(codes.GATE_ARTIFACT, "the artifact's files are too large")
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
    ) as problem:
        raise codes.GateRefused(
            codes.GATE_ARTIFACT, f"the artifact can't be unpacked ({type(problem).__name__})"
        ) from None
    return files
