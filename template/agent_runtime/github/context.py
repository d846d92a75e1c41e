"""What the runner gives to a job in environment variables.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/variables
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping
from urllib.parse import urlsplit

from agent_runtime import codes
from agent_runtime.model.documents import Run
from agent_runtime.text.escape import visible
from agent_runtime.text.strict_json import strict_json

_VARIABLES = {
    "repository": "GITHUB_REPOSITORY",
    "run_id": "GITHUB_RUN_ID",
    "run_attempt": "GITHUB_RUN_ATTEMPT",
    "sha": "GITHUB_SHA",
    "ref": "GITHUB_REF",
    "actor": "GITHUB_ACTOR",
    "triggering_actor": "GITHUB_TRIGGERING_ACTOR",
    "workflow": "GITHUB_WORKFLOW",
    "event": "GITHUB_EVENT_NAME",
}


# The event by which something outside GitHub starts a run, and the size up to which its file is read.
DISPATCH_EVENT = "repository_dispatch"
MAX_EVENT_BYTES = 4 * 1024 * 1024


def in_workflow(environ: Mapping[str, str]) -> bool:
    """Whether a workflow run is described by the environment."""
    return bool(environ.get("GITHUB_RUN_ID"))


def check_server(address: str) -> None:
    """Refuse a server whose artifacts the gate can't rest on.

    Arguments:
        address: of the server or of its API; empty for github.com.

    Raises:
        BadInput: it is neither github.com nor GHE.com (RUN007).
    """
    try:
        host = (urlsplit(address).hostname or "github.com").casefold()
    except ValueError:
        host = address
    local = host in ("127.0.0.1", "localhost")  # a GitHub of tests and of simulate
    if not local and host not in ("github.com", "api.github.com") and not host.endswith(".ghe.com"):
        raise codes.BadInput(codes.SERVER_UNSUPPORTED, f"this is on {visible(host, 80)}")


def current_run(environ: Mapping[str, str]) -> Run:
    """Return the run that this process belongs to.

    Raises:
        BadInput: a variable that GitHub always sets is missing or malformed (INP005).
    """
    values = {}
    for name, variable in _VARIABLES.items():
        value = environ.get(variable, "")
        if not value:
            raise codes.BadInput(codes.RUN_CONTEXT_MISSING, f"{variable} is not set")
        values[name] = value
    if not values["run_attempt"].isdigit():
        raise codes.BadInput(codes.RUN_CONTEXT_MISSING, "GITHUB_RUN_ATTEMPT is not a number")
    attempt = int(values.pop("run_attempt"))
    return Run(run_attempt=attempt, **values)


def client_payload(environ: Mapping[str, str]) -> Any:
    """Return what an alert sent, untrusted, from the file in which GitHub keeps the event.

    The file, and no variable: a variable would pass through an expression, and the kernel bounds its size.

    Raises:
        BadInput: there is no such file, or it is not a JSON object (INP005).
    """
    path = environ.get("GITHUB_EVENT_PATH", "")
    try:
        with Path(path).open("rb") as stream:
            event = strict_json(stream.read(MAX_EVENT_BYTES))
    except (OSError, ValueError) as problem:
        raise codes.BadInput(
            codes.RUN_CONTEXT_MISSING, f"GITHUB_EVENT_PATH leads to no event: {type(problem).__name__}"
        ) from None
    return event.get("client_payload") if isinstance(event, dict) else None


def audit_metadata(run: Run, job: str) -> Mapping[str, object]:
    """Return the `metadata.gha` object that every audit event of a run carries."""
    return {
        "run_id": run.run_id,
        "run_attempt": run.run_attempt,
        "workflow": run.workflow,
        "job": job,
        "repository": run.repository,
        "sha": run.sha,
        "ref": run.ref,
    }
