"""Is somebody asked about this alert already?  Deduplicates the runs of one alert in favour of the one that came first.

A run gives way only to an earlier run that an alert started, about the same resource and the same trace, whose decision
is still open: never into a later one, so one run of a storm always asks.  Whenever GitHub does not say, or says
something else than expected, the answer is no: a second question does no harm, an alert that nobody sees does.
"""

from __future__ import annotations

import re
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.github.api import GitHubApi
from agent_runtime.github.context import DISPATCH_EVENT
from agent_runtime.job.context import JobContext, now
from agent_runtime.model import names
from agent_runtime.model.documents import format_time

_WORKFLOW = re.compile(r"[^@]+/\.github/workflows/([\w.-]+\.ya?ml)@.+")
# Statuses of a job that has not started, or waits for a reviewer.
_BEFORE_THE_CLICK = frozenset({"requested", "pending", "waiting"})


def run_title(resource: str, trace_id: str) -> str:
    """The `run-name` of the workflow for these values; neither holds a space, so no other values give the same."""
    return f"{resource} [{trace_id}]"


def earlier_runs(runs: Sequence[Mapping[str, Any]], *, title: str, before: int) -> List[int]:
    """The ids of the runs with this title that came first and are not over, the first of them first.  Pure.

    Arguments:
        before: the present run's number; GitHub counts the runs of a workflow one by one.
    """
    found = [
        (run["run_number"], run["id"])
        for run in runs
        if run.get("display_title") == title
        and run.get("event") == DISPATCH_EVENT
        and run.get("status") != "completed"
        and isinstance(run.get("run_number"), int)
        and isinstance(run.get("id"), int)
        and run["run_number"] < before
    ]
    return [id for _, id in sorted(found)]


def is_decision_open(jobs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a run still investigates, or its reviewer has not answered yet.  Pure."""
    for job in jobs:
        name, status = str(job.get("name")), job.get("status")
        if name in (names.INVESTIGATE_JOB, names.SEAL_JOB) and status != "completed":
            return True
        if name.startswith(names.APPROVE_JOB) and status in _BEFORE_THE_CLICK:
            return True
    return False


def find(api: GitHubApi, job: JobContext, resource: str) -> Tuple[Optional[str], str]:
    """Return the id of the earlier run that waits for a decision about the same alert, or None; and why nobody knows.

    Arguments:
        resource, job.trace_id: what the alert names.
    """
    number = job.environ.get("GITHUB_RUN_NUMBER", "")
    workflow = _WORKFLOW.fullmatch(job.environ.get("GITHUB_WORKFLOW_REF", ""))
    if not number.isdigit() or workflow is None:
        return None, "the run's number or workflow is not known"
    # The second half of a plan's life is too short for another alert to rely on it.
    since = now() - job.config.approval_ttl / 2
    try:
        runs = api.runs(job.run.repository, workflow.group(1), event=DISPATCH_EVENT, since=format_time(since))
        for id in earlier_runs(runs, title=run_title(resource, job.trace_id), before=int(number)):
            if is_decision_open(api.jobs(job.run.repository, str(id))):
                return str(id), ""
    except codes.AgentError as problem:
        return None, problem.message
    return None, ""
