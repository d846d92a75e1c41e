"""Is somebody asked already?  Deduplicates runs in favour of the one that came first.

The run of an alert gives way only to an earlier run that an alert started, about the same resource and the same trace,
whose decision is still open.  The plan of any other run gives way to one that waits with the same action on the same
resource.  Never to a later run, so one run of a storm always asks.  Whenever GitHub does not say, or says something
else than expected, the answer is no: a second question does no harm, an alert that nobody sees does.
"""

from __future__ import annotations

import re
from typing import Any, Callable, List, Mapping, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.github.api import GitHubApi
from agent_runtime.github.context import DISPATCH_EVENT
from agent_runtime.job.context import JobContext, now
from agent_runtime.model import names
from agent_runtime.model.documents import format_time

_WORKFLOW = re.compile(r"[^@]+/\.github/workflows/([\w.-]+\.ya?ml)@.+")
# Statuses of a job that has not started, or waits for a reviewer.
_BEFORE_THE_CLICK = frozenset({"requested", "pending", "waiting"})
# At the end of the title of a run that executes nothing.
_DRY_RUN = " (dry run)"


def run_title(resource: str, trace_id: str) -> str:
    """The `run-name` of the workflow for these values; neither holds a space, so no other values give the same."""
    return f"{resource} [{trace_id}]"


def earlier_runs(runs: Sequence[Mapping[str, Any]], *, title: str, before: int) -> List[int]:
    """The ids of the runs with this title that came first and are not over, the first of them first.  Pure.

    Arguments:
        before: the present run's number; GitHub counts the runs of a workflow one by one.
    """
    return _open(
        [run for run in runs if run.get("display_title") == title and run.get("event") == DISPATCH_EVENT], before
    )


def earlier_runs_about(runs: Sequence[Mapping[str, Any]], *, resource: str, before: int) -> List[int]:
    """The same for the runs about a resource, whatever started them, that execute something.  Pure."""
    titles = [(str(run.get("display_title")), run) for run in runs]
    found = [run for title, run in titles if title.startswith(f"{resource} [") and not title.endswith(_DRY_RUN)]
    return _open(found, before)


def _open(runs: Sequence[Mapping[str, Any]], before: int) -> List[int]:
    found = [
        (run["run_number"], run["id"])
        for run in runs
        if run.get("status") != "completed"
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


def waits_with(jobs: Sequence[Mapping[str, Any]], what: str) -> bool:
    """Whether a reviewer has not answered yet about this: action and resource, as in the name of the job.  Pure."""
    second = f"(?:{re.escape(names.SECOND_MARK)})?"
    waiting = re.compile(f"{re.escape(names.APPROVE_JOB)}[0-9a-f]{{12}}{second}: {re.escape(what)}")
    return any(waiting.fullmatch(str(job.get("name"))) and job.get("status") in _BEFORE_THE_CLICK for job in jobs)


def find(api: GitHubApi, job: JobContext, resource: str) -> Tuple[Optional[str], str]:
    """Return the id of the earlier run that waits for a decision about the same alert, or None; and why nobody knows.

    Arguments:
        resource, job.trace_id: what the alert names.
    """
    title = run_title(resource, job.trace_id)
    return _find(
        api, job, DISPATCH_EVENT, lambda runs, before: earlier_runs(runs, title=title, before=before), is_decision_open
    )


def find_waiting(api: GitHubApi, job: JobContext, action: str, resource: str) -> Tuple[Optional[str], str]:
    """The same for an earlier run that waits with this action on this resource, whatever started it."""
    return _find(
        api,
        job,
        None,
        lambda runs, before: earlier_runs_about(runs, resource=resource, before=before),
        lambda jobs: waits_with(jobs, f"{action} on {resource}"),
    )


def _find(
    api: GitHubApi,
    job: JobContext,
    event: Optional[str],
    choose: Callable[[Sequence[Mapping[str, Any]], int], List[int]],
    is_open: Callable[[Sequence[Mapping[str, Any]]], bool],
) -> Tuple[Optional[str], str]:
    number = job.environ.get("GITHUB_RUN_NUMBER", "")
    workflow = _WORKFLOW.fullmatch(job.environ.get("GITHUB_WORKFLOW_REF", ""))
    if not number.isdigit() or workflow is None:
        return None, "the run's number or workflow is not known"
    # The second half of a plan's life is too short for another run to rely on it.
    since = now() - job.config.approval_ttl / 2
    try:
        runs = api.runs(job.run.repository, workflow.group(1), event=event, since=format_time(since))
        for id in choose(runs, int(number)):
            if is_open(api.jobs(job.run.repository, str(id))):
                return str(id), ""
    except codes.AgentError as problem:
        return None, problem.message
    return None, ""
