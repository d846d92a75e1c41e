"""What other runs of this repository began, from GitHub's own records: what the rate limits count."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from agent_runtime import codes
from agent_runtime.gate import policy
from agent_runtime.gate.policy import Happened, Policy
from agent_runtime.github.api import MAX_LISTED, GitHubApi
from agent_runtime.github.transport import field, malformed, mapping
from agent_runtime.job.context import JobContext
from agent_runtime.model import documents, names
from agent_runtime.model.config import ISSUE_GATE, Config
from agent_runtime.model.documents import Earlier, PolicyChange, format_time

# The names that the workflow gives to the jobs from which a person, or a count, learns what a run did.
_WHAT = re.compile(
    rf"(?:{names.APPROVE_JOB}|{names.AUTO_JOB_NAME}|{names.APPROVED_JOB_NAME})[0-9a-f]{{12}}: "
    r"([a-z][a-z0-9_.:+-]*)(?: on ([A-Za-z0-9][^\s()]*))?(.*)"
)
_NOT_SUCCESS = ("failure", "cancelled")
_ENDS = {"success": "succeeded", "cancelled": "was cancelled"}
# What a reviewer reads of the past: how far back, and of how many runs.
EARLIER = timedelta(days=7)
_MOST_RUNS = 10
_NOT_BEGUN = frozenset({"queued", "waiting", "requested", "pending"})
# A run may wait that long for its first machine, before its plan begins to expire.
_QUEUED = timedelta(days=1)
# GitHub's list may not show a run at once.
_LISTED_AFTER = timedelta(minutes=5)


def begun(
    api: GitHubApi, job: JobContext, rules: Policy, *, action: str, resource: str, now: datetime
) -> List[Happened]:
    """Return what other runs of this repository began, as far back as the limits of an action look.

    Which runs to look at, artifacts say, because they can be listed by name: the receipt of an approval and what
    *Verify* found are uploaded before anything happens.  The machine that acts can delete them again; so a run counts
    as closed only once `record` has kept its bundle, and that an action began, which no machine of the team's can
    delete.  Every other run that GitHub lists is looked at, and one that is gone from the list counts for every limit.

    When it happened, and what, the jobs say: GitHub keeps their times, and their names hold actions and resource.
    Each step of a plan counts from the moment its job began, whatever became of it; a run whose jobs don't say what
    they did counts for every limit, with as many steps as it may have had.

    Arguments:
        now: aware datetime.

    Raises:
        GateRefused: GitHub did not answer (GATE12), or keeps artifacts for less long than a limit looks back (GATE13).
    """
    limits = policy.limits_of(rules, action, resource)
    if not limits:
        return []
    # A plan may wait that long between its receipt and its beginning.
    span = max(limit.per for _, limit in limits) + job.config.approval_ttl
    repository = job.run.repository
    runs: Dict[str, None] = {}
    closed: Set[str] = set()
    for name in (*names.ACTION_ARTIFACTS, names.BUNDLE_ARTIFACT):
        for entry in api.artifacts(repository, name):
            run_id = _run_of(entry, name, now, span)
            if run_id is not None and name == names.BUNDLE_ARTIFACT:
                closed.add(run_id)
            elif run_id is not None:
                runs[run_id] = None
    happened: List[Happened] = []
    for workflow in workflows(job.config):
        listed, gone = listed_and_missing(api, repository, workflow, since=now - span - _QUEUED, now=now)
        for run in listed:
            if _may_have_acted(run, closed):
                runs[str(field(run, "id", int, "actions/runs"))] = None
        # Its plan may have waited until it expired.
        happened += [Happened(min(now, moment + job.config.approval_ttl), None, None) for _, moment in gone]
    runs.pop(job.run.run_id, None)
    return [*happened, *(each for run_id in runs for each in _begun(api, repository, run_id))]


def workflows(settings: Config) -> Tuple[str, ...]:
    """The files of the workflows in whose runs an action is prepared, or happens."""
    by_issue = settings.approval_gate == ISSUE_GATE
    return (names.WORKFLOW_FILE, names.APPROVAL_WORKFLOW_FILE) if by_issue else (names.WORKFLOW_FILE,)


def listed_and_missing(
    api: GitHubApi, repository: str, workflow: str, *, since: datetime, now: datetime
) -> Tuple[List[Mapping[str, Any]], List[Tuple[int, datetime]]]:
    """Return the runs of a workflow since a moment, and what `missing()` says of them.

    Raises:
        NotAnswered: GitHub does not give them (GATE12).
    """
    listed = api.runs(repository, workflow, since=format_time(since))
    # Of more than GitHub lists the older ones are not gone.
    whole = len(listed) < MAX_LISTED
    older = api.last_run(repository, workflow, before=format_time(since)) if whole else []
    return listed, missing([*listed, *older], now)


def missing(runs: Sequence[Mapping[str, Any]], now: datetime) -> List[Tuple[int, datetime]]:
    """The numbers of runs that somebody deleted, each with the moment at which the run after it began.  Pure.

    GitHub counts the runs of a workflow one by one.

    Arguments:
        runs: of one workflow, as GitHub lists them, and at least one that is older than what matters.
        now: aware datetime.
    """
    path = "actions/runs"
    known = sorted((int(field(run, "run_number", int, path)), _moment(run, "created_at", path)) for run in runs)
    return [
        (number, moment)
        for (before, _), (after, moment) in zip(known, known[1:])
        if moment <= now - _LISTED_AFTER
        for number in range(before + 1, after)
    ]


def _may_have_acted(run: Mapping[str, Any], closed: Set[str]) -> bool:
    """Whether only its jobs can say what a run did, where no artifact of an action leads to it."""
    if run.get("status") != "completed":
        return True
    return run.get("conclusion") != "skipped" and str(run.get("id")) not in closed


def earlier(api: GitHubApi, job: JobContext, resource: str, now: datetime) -> Optional[Tuple[Earlier, ...]]:
    """Return what runs of the last days did to a resource, the newest first; None where GitHub does not say.

    For the reviewer's page only: it decides nothing.  Runs that were approved left a receipt; one that was not ended
    badly, and its title names the resource.
    """
    runs: Set[int] = set()
    try:
        for name in (names.RECEIPT_ARTIFACT, names.AUTHORIZATION_ARTIFACT + names.AUTO):
            for entry in api.artifacts(job.run.repository, name):
                runs.add(int(_run_of(entry, name, now, EARLIER) or 0))
        for run in api.runs(job.run.repository, names.WORKFLOW_FILE, since=format_time(now - EARLIER)):
            if str(run.get("display_title")).startswith(f"{resource} [") and run.get("conclusion") in _NOT_SUCCESS:
                runs.add(field(run, "id", int, "/runs"))
        newest = sorted(runs - {0, int(job.run.run_id)}, reverse=True)[:_MOST_RUNS]
        found = [_end(api.jobs(job.run.repository, str(id)), str(id), resource) for id in newest]
    except codes.AgentError:
        return None
    return tuple(each for each in found if each is not None)


def policy_change(api: GitHubApi, job: JobContext) -> Optional[PolicyChange]:
    """Return what last changed the policy of this commit, for the page only; None where GitHub does not say."""
    try:
        path = job.config.policy_path.as_posix()
        commit = api.last_commit(job.run.repository, path, job.run.sha)
        facts, author = mapping(commit.get("commit"), path), commit.get("author")
        # Without an account there is the name that git was given.
        by = field(*((author, "login") if author else (facts.get("author"), "name")), str, path)
        return PolicyChange(field(facts.get("committer"), "date", str, path), by)
    except (codes.AgentError, ValueError):
        return None


def _end(jobs: Sequence[Mapping[str, Any]], run_id: str, resource: str) -> Optional[Earlier]:
    """How a run ended that was about this resource; None for another one, and while nobody has decided."""
    over = [job for job in jobs if job.get("conclusion") not in (None, "skipped")]
    said = [(job, _WHAT.fullmatch(str(job.get("name")))) for job in over]
    asked = [(job, what.group(1)) for job, what in said if what and what.group(2) == resource]
    if not asked:
        return None
    job, action = asked[0]
    end = "was not approved"
    for each in over:
        if acts(str(each.get("name"))):
            job, steps = each, each.get("steps")
            skipped = isinstance(steps, list) and {"name": names.EXECUTE_STEP, "conclusion": "skipped"} in [
                {key: step.get(key) for key in ("name", "conclusion")} for step in steps if isinstance(step, dict)
            ]
            end = "was refused" if skipped else _ENDS.get(str(each.get("conclusion")), "did not succeed")
    return Earlier(run_id, action, format_time(_moment(job, "started_at", "jobs")), end)


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
    said: Set[Tuple[str, str]] = set()
    steps = 1
    for job in api.jobs(repository, run_id, every_attempt=True):
        name = str(field(job, "name", str, path))
        found = _WHAT.fullmatch(name)
        title, resource, rest = found.groups() if found else ("", None, "")
        if resource and not rest and len(name) < names.MAX_JOB_NAME:
            said.add((title, resource))
        elif title:  # GitHub may have cut it, perhaps in the middle of the steps
            steps = max(steps, len(title.split("+")) if resource else documents.MAX_STEPS)
        if acts(name) and field(job, "status", str, path) not in _NOT_BEGUN and job.get("conclusion") != "skipped":
            moments.append(_moment(job, "started_at", path))
    if len(said) != 1:
        return [Happened(moment, None, None) for moment in moments for _ in range(steps)]
    title, resource = said.pop()
    return [Happened(moment, action, resource) for moment in moments for action in title.split("+")]


def acts(name: str) -> bool:
    """Whether a job of this name may act."""
    return name == names.ACT_JOB_NAME or name.startswith((names.AUTO_JOB_NAME, names.APPROVED_JOB_NAME))


def _moment(entry: Mapping[str, Any], name: str, path: str) -> datetime:
    text = str(field(entry, name, str, path))
    try:
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except ValueError:
        raise malformed(path) from None
    if moment.tzinfo is None:
        raise malformed(path)
    return moment
