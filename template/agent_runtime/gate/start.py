"""Start: the first step of a run, before any team code, so that a run that can't count costs nobody anything.

Nothing rests on it: `seal` asks all of this again, on a machine that never ran team code.
"""

from __future__ import annotations

from typing import Optional, Tuple

from agent_runtime.gate import checks, duplicates, policy_file
from agent_runtime.github import context, outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext
from agent_runtime.job.request import Request
from agent_runtime.text import escape

GO, DUPLICATE = "go", "duplicate"


def run_job(job: JobContext, request: Request) -> str:
    """Return what the run is to do, `go` or `duplicate`, and set the output `state`.

    Raises:
        BadInput: this is GitHub Enterprise Server (RUN007).
        GateRefused: the kill switch is on (GATE10), this is a re-run (GATE03), or who started it may not (GATE14).
    """
    state, _ = may_start(GitHubApi.from_environment(job.environ), job, request)
    outputs.write_outputs(job.environ, {"state": state})
    return state


def may_start(api: GitHubApi, job: JobContext, request: Request) -> Tuple[str, Optional[str]]:
    """Return `go`, or `duplicate` and the id of the run that asks already.

    Raises: as `run_job()`.
    """
    context.check_server(job.environ.get("GITHUB_SERVER_URL", ""))
    checks.check_enabled(job.environ.get("AGENT_DISABLED"))
    checks.check_first_attempt(job.run)
    # Where a person started it, only seal needs the policy.
    rules = policy_file.load(job.root, job.config) if checks.is_app(job.run.actor) else None
    checks.check_initiator(job.run, rules.initiators if rules else ())
    if not request.deduplicate:
        return GO, None
    earlier, unknown = duplicates.find(api, job, request.resource)
    if unknown:
        print(escape.log_line(f"whether an earlier run asks already is not known, so this one asks: {unknown}"))
    return (DUPLICATE, earlier) if earlier else (GO, None)
