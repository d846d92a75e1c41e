"""What GitHub's own record of a run's jobs says: how each ended, and whether anything of the agent's began to act."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Mapping, Sequence

from agent_runtime import codes
from agent_runtime.gate.history import acts
from agent_runtime.github.api import GitHubApi
from agent_runtime.github.transport import field
from agent_runtime.model import names
from agent_runtime.model.documents import Run
from agent_runtime.results import ActionStatus
from agent_runtime.text.escape import visible

_SHOWN = 80
# With these *Execute* exits with 0.
_GOOD_ENDS = (ActionStatus.SUCCESS, ActionStatus.ALREADY_DONE, ActionStatus.DRY_RUN)
# The jobs whose names say which plan they are about.
_NAME_A_PLAN = (names.APPROVE_JOB, names.AUTO_JOB_NAME, names.APPROVED_JOB_NAME)


@dataclass(frozen=True)
class Jobs:
    """The jobs of a run as GitHub lists them; `unknown` says why they are not known, and is empty where they are."""

    listed: Sequence[Mapping[str, Any]] = ()
    unknown: str = ""


def read(api: GitHubApi, run: Run) -> Jobs:
    """Ask GitHub for the run's jobs; an answer that does not come, or has another form, is not an error here."""
    path = f"actions/runs/{run.run_id}/jobs"
    try:
        listed = api.jobs(run.repository, run.run_id, every_attempt=True)
        for job in listed:
            field(job, "name", str, path)
    except codes.AgentError as problem:
        return Jobs(unknown=f"GitHub does not say whether it began ({problem.message})")
    return Jobs(listed)


def of_acting(jobs: Jobs) -> str:
    """Return why a job of this run that acts may have begun; empty when GitHub says that none ever did.

    A job that ended before it had a runner has no steps, and no runner or one with the number 0.  Its times don't say:
    `started_at` is set either way.  What can't be read, and a list without such a job, don't say that it did not begin.

    Source: https://docs.github.com/en/rest/actions/workflow-jobs#list-jobs-for-a-workflow-run, and for jobs that were
    cancelled in the queue https://github.com/actions/runner/issues/4684
    """
    if jobs.unknown:
        return jobs.unknown
    acting = [job for job in jobs.listed if acts(job["name"])]
    if not acting:
        return "GitHub lists no job of this run that acts"
    for job in acting:
        runner = job.get("runner_name")
        if job.get("steps") != [] or runner not in (None, "") or job.get("runner_id") not in (None, 0):
            return f"it began on the runner '{visible(str(runner), _SHOWN)}'"
        if job.get("status") != "completed":
            return f"GitHub says that it is {visible(str(job.get('status')), _SHOWN)}"
    return ""


def of_executing(jobs: Jobs) -> str:
    """Return why *Execute* may have begun; empty when GitHub shows that the step never did in any job that acts.

    A step that was passed over is `skipped`; one that its job never reached is `queued` or `pending`, or not listed
    in a job that ended.  Anything else counts as begun.
    """
    began = of_acting(jobs)
    acting = [job for job in jobs.listed if acts(job["name"])]
    if not began or not acting:
        return began
    for job in acting:
        if job.get("status") != "completed":
            return f"GitHub says that its job is {visible(str(job.get('status')), _SHOWN)}"
        steps = job.get("steps")
        if not isinstance(steps, list) or not all(isinstance(step, Mapping) for step in steps):
            return "GitHub's list of the steps of its job can't be read"
        for step in steps:
            never = step.get("conclusion") == "skipped" or (
                step.get("conclusion") in (None, "cancelled") and not step.get("started_at")
            )
            if step.get("name") == names.EXECUTE_STEP and not never:
                return f"GitHub says of its step {names.EXECUTE_STEP}: {visible(str(step.get('conclusion')), _SHOWN)}"
    return ""


def of_result(jobs: Jobs, status: ActionStatus) -> str:
    """Return where GitHub's end of the step *Execute* contradicts the status that the step itself reported."""
    ends = {
        str(step.get("conclusion"))
        for job in jobs.listed
        if acts(job["name"]) and isinstance(job.get("steps"), list)
        for step in job["steps"]
        if isinstance(step, Mapping) and step.get("name") == names.EXECUTE_STEP
    } & {"success", "failure", "cancelled"}
    if not ends or ("success" in ends) == (status in _GOOD_ENDS):
        return ""
    return f"the result says {status}, and GitHub says of the step {names.EXECUTE_STEP}: {' and '.join(sorted(ends))}"


def _attempt(job: Mapping[str, Any]) -> int:
    attempt = job.get("run_attempt")
    return attempt if isinstance(attempt, int) else 1


def contradictions(jobs: Jobs, results: Mapping[str, str], digest: str) -> List[str]:
    """Return where GitHub's list of jobs says something else than the run's `needs` and its plan.

    Arguments:
        results: by id of a job, as the `needs` context has it.
        digest: of the sealed plan; empty where there is none.
    """
    if jobs.unknown:
        return []
    found: List[str] = []
    known = {"investigate": names.INVESTIGATE_JOB, "seal": names.SEAL_JOB, "act": names.ACT_JOB_NAME}
    for id, name in known.items():
        ends = {str(job.get("conclusion")) for job in jobs.listed if job["name"] == name and job.get("conclusion")}
        if results.get(id) and ends and results[id] not in ends:
            found.append(f"GitHub lists {name} as {' and '.join(sorted(ends))}, and the run says {results[id]}")
    sealed_in = max((_attempt(job) for job in jobs.listed if job["name"] == names.SEAL_JOB), default=1)
    for job in jobs.listed:
        name = str(job["name"])
        # What waited in an attempt before, waited for another plan.
        gated = name.startswith(_NAME_A_PLAN) and job.get("conclusion") != "skipped" and _attempt(job) >= sealed_in
        if gated and not (digest and digest[:12] in name):
            found.append(f"the job '{visible(name, _SHOWN)}' names another plan than the sealed one")
    return found
