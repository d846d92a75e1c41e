"""What other runs of this repository began, from GitHub's own records: what the rate limits count."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, Dict, List, Mapping, Optional, Set, Tuple

from agent_runtime import codes
from agent_runtime.gate import policy
from agent_runtime.gate.policy import Happened, Policy
from agent_runtime.github.api import GitHubApi
from agent_runtime.github.transport import field, malformed
from agent_runtime.job.context import JobContext
from agent_runtime.model import names

# The names that the workflow gives to the jobs from which a person, or a count, learns what a run did.
_WHAT = re.compile(
    rf"(?:{names.APPROVE_JOB}|{names.AUTO_JOB_NAME}|{names.APPROVED_JOB_NAME})[0-9a-f]{{12}}: "
    r"([a-z][a-z0-9_.:+-]*) on ([A-Za-z0-9][^\s()]*)"
)
_NOT_BEGUN = frozenset({"queued", "waiting", "requested", "pending"})


def begun(
    api: GitHubApi, job: JobContext, rules: Policy, *, action: str, resource: str, now: datetime
) -> List[Happened]:
    """Return what other runs of this repository began, as far back as the limits of an action look.

    Artifacts show which runs to look at, because they can be listed by name: the receipt of an approval and what
    *Verify* found are uploaded before anything happens, the result after it, so that a job that died with its runner
    counts too.  When it happened, and what, the jobs say: GitHub keeps their times, and their names hold action and
    resource.  An action counts from the moment its job began, whatever became of it; a run whose jobs don't say what
    they did counts for every limit.

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
    runs: Dict[str, None] = {}
    for name in names.ACTION_ARTIFACTS:
        for entry in api.artifacts(job.run.repository, name):
            run_id = _run_of(entry, name, now, span)
            if run_id is not None and run_id != job.run.run_id:
                runs[run_id] = None
    return [each for run_id in runs for each in _begun(api, job.run.repository, run_id)]


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
    for job in api.jobs(repository, run_id, every_attempt=True):
        name = str(field(job, "name", str, path))
        found = _WHAT.fullmatch(name)
        if found and len(name) < names.MAX_JOB_NAME:  # GitHub may have cut a longer one
            said.add((found.group(1), found.group(2)))
        if acts(name) and field(job, "status", str, path) not in _NOT_BEGUN and job.get("conclusion") != "skipped":
            moments.append(_moment(job, "started_at", path))
    if len(said) != 1:
        return [Happened(moment, None, None) for moment in moments]
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
