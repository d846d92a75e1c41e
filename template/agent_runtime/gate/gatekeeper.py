"""Asks GitHub what the gate's pure checks decide on."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.gate import checks, issue_checks, policy
from agent_runtime.gate.policy import Happened, Policy
from agent_runtime.github.api import GitHubApi
from agent_runtime.github.transport import field, malformed
from agent_runtime.job.run_context import Desk
from agent_runtime.model import config, names
from agent_runtime.model.documents import Run
from agent_runtime.text.escape import visible

# The names that the workflow gives to the jobs from which a person, or a count, learns what a run did.
_WHAT = re.compile(
    rf"(?:Approve|{names.AUTO_JOB_NAME}:|{names.APPROVED_JOB_NAME}:) ([a-z][a-z0-9_.:-]{{0,63}}) on "
    r"([A-Za-z0-9][^\s()]{0,255}) \(plan [0-9a-f]{12}\)"
)
_SHOWN = 80
_NOT_BEGUN = frozenset({"queued", "waiting", "requested", "pending"})


def check_gate(api: GitHubApi, desk: Desk) -> str:
    """Refuse unless the gate of this repository can be closed; return the code of the check that was made.

    Raises:
        GateRefused: a setting of an environment is missing (GATE06); nobody else could approve in an issue (IGATE01),
            or none would be looked at (IGATE04); or GitHub did not answer (GATE12).
    """
    if desk.config.approval_gate != config.ISSUE_GATE:
        check_environments(api, desk.run, automatic=desk.config.auto_approval)
        return codes.GATE_ENVIRONMENT
    branch = api.default_branch(desk.run.repository)
    if desk.run.ref != "refs/heads/" + branch:
        raise codes.GateRefused(codes.ISSUE_RUN, f"this run is on {desk.run.ref}, not on the default branch")
    issue_checks.check_possible(permissions(api, desk.run.repository, desk.config.approvers), desk.run)
    return codes.ISSUE_GATE_IMPOSSIBLE


def permissions(api: GitHubApi, repository: str, approvers: Sequence[str]) -> Dict[str, str]:
    """Return what each approver may do in the repository; a team may do nothing, because it can't comment."""
    return {name: "none" if "/" in name else api.permission(repository, name) for name in approvers}


def check_environments(api: GitHubApi, run: Run, *, automatic: bool = False) -> None:
    """Refuse unless the environments exist and are protected (threat T13: a missing one is created open).

    Arguments:
        automatic: whether this repository has the environment of the job that acts without asking, too.

    Raises:
        GateRefused: a setting is missing (GATE06), or GitHub did not answer (GATE12).
    """
    branch = api.default_branch(run.repository)
    wanted = [(names.GATE_ENVIRONMENT, True), (names.ACT_ENVIRONMENT, False)]
    if automatic:
        wanted.append((names.AUTO_ENVIRONMENT, False))
    for name, reviewers_required in wanted:
        settings = api.environment(run.repository, name)
        branches = api.deployment_branches(run.repository, name) if settings is not None else []
        checks.check_environment(
            name,
            settings,
            branches,
            branch,
            reviewers_required=reviewers_required,
            initiator=run.actor,
        )


def approvals(api: GitHubApi, run: Run) -> List[Mapping[str, Any]]:
    """Return the approval records of this run."""
    return api.approvals(run.repository, run.run_id)


def history(
    api: GitHubApi, run: Run, rules: Policy, *, action: str, resource: str, now: datetime, ttl: timedelta
) -> List[Happened]:
    """Return what other runs of this repository began, as far back as the limits of an action look.

    The source is GitHub's own history of runs.  Artifacts tell which runs to look at, because they can be listed by
    name: the receipt of an approval and the claim of `act-auto` are uploaded before anything happens, the result after
    it, so that a job that died with its runner counts too.  When it happened, and what, the jobs tell: GitHub keeps
    their times, and their names hold action and resource.  An action counts from the moment its job began, whatever
    became of it; a run whose jobs don't tell what they did counts for every limit.

    Arguments:
        ttl: for how long a plan may wait, and so lie between its receipt and its beginning.

    Raises:
        GateRefused: GitHub did not answer (GATE12), or keeps artifacts for less long than a limit looks back (GATE13).
    """
    limits = policy.limits_of(rules, action, resource)
    if not limits:
        return []
    span = max(limit.per for _, limit in limits) + ttl
    runs: Dict[str, None] = {}
    for name in names.ACTION_ARTIFACTS:
        for entry in api.artifacts(run.repository, name):
            run_id = _run_of(entry, name, now, span)
            if run_id is not None and run_id != run.run_id:
                runs[run_id] = None
    return [each for run_id in runs for each in _begun(api, run.repository, run_id)]


def _run_of(entry: Mapping[str, Any], name: str, now: datetime, span: timedelta) -> Optional[str]:
    """The run that uploaded an artifact, or None where that was longer ago than `span`, or in a fork."""
    path = f"actions/artifacts?name={name}"
    created = _moment(entry, "created_at", path)
    if created <= now - span:
        return None
    uploader = field(entry, "workflow_run", dict, path)
    here, there = uploader.get("repository_id"), uploader.get("head_repository_id")
    if isinstance(here, int) and isinstance(there, int) and here != there:
        return None  # a pull request from a fork names jobs and keeps artifacts as it likes, and can't act
    if entry.get("expires_at") is not None:
        kept = _moment(entry, "expires_at", path) - created
        if kept < span:
            raise codes.GateRefused(
                codes.GATE_RATE,
                f"GitHub keeps artifacts of this repository for {kept.days} days, and a limit looks back "
                f"{_days(span)}: what happened can't "
                "be counted",
            )
    return str(field(uploader, "id", int, path))


def _days(span: timedelta) -> str:
    return f"{span.total_seconds() / 86400:.1f} days"


def _begun(api: GitHubApi, repository: str, run_id: str) -> List[Happened]:
    path = f"actions/runs/{run_id}/jobs"
    moments: List[datetime] = []
    told = set()
    for job in api.jobs(repository, run_id, every_attempt=True):
        name = str(field(job, "name", str, path))
        found = _WHAT.fullmatch(name)
        if found:
            told.add((found.group(1), found.group(2)))
        if _acts(name) and field(job, "status", str, path) not in _NOT_BEGUN and job.get("conclusion") != "skipped":
            moments.append(_moment(job, "started_at", path))
    what: Tuple[Optional[str], Optional[str]] = told.pop() if len(told) == 1 else (None, None)
    return [Happened(moment, *what) for moment in moments]


def _acts(name: str) -> bool:
    """Whether a job of this name may act."""
    return name == names.ACT_JOB_NAME or name.startswith((names.AUTO_JOB_NAME, names.APPROVED_JOB_NAME))


def sign_of_acting(api: GitHubApi, run: Run) -> str:
    """Return why a job of this run that may act may have begun; empty when GitHub says that none ever did.

    A job that ended before it had a runner has no steps, and no runner or one with the number 0.  Its times don't tell:
    `started_at` is set either way.  What can't be read, and a list without such a job, don't say that it did not begin.

    Source: https://docs.github.com/en/rest/actions/workflow-jobs#list-jobs-for-a-workflow-run, and for jobs that were
    cancelled in the queue https://github.com/actions/runner/issues/4684
    """
    path = f"actions/runs/{run.run_id}/jobs"
    try:
        jobs = api.jobs(run.repository, run.run_id, every_attempt=True)
        acting = [job for job in jobs if _acts(str(field(job, "name", str, path)))]
    except codes.AgentError as problem:
        return f"GitHub does not tell whether it began ({problem.message})"
    if not acting:
        return "GitHub lists no job of this run that acts"
    for job in acting:
        runner = job.get("runner_name")
        if job.get("steps") != [] or runner not in (None, "") or job.get("runner_id") not in (None, 0):
            return f"it began on the runner '{visible(str(runner), _SHOWN)}'"
        if job.get("status") != "completed":
            return "GitHub says that it is {}".format(visible(str(job.get("status")), _SHOWN))
    return ""


def _moment(entry: Mapping[str, Any], name: str, path: str) -> datetime:
    text = str(field(entry, name, str, path))
    try:
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except ValueError:
        raise malformed(path) from None
    if moment.tzinfo is None:
        raise malformed(path)
    return moment
