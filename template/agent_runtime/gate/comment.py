"""The comment that started a run: which issue, which comment, and what it said; nothing else of the event counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent_runtime import codes
from agent_runtime.job.context import JobContext
from agent_runtime.model import config
from agent_runtime.text.strict_json import strict_json


@dataclass(frozen=True)
class Posted:
    """The comment that started this run, as GitHub handed it to the runner.

    Arguments:
        issue: its number; `id` is the comment's.
        text: what it said when it was posted.
    """

    issue: int
    id: int
    text: str


def posted(job: JobContext) -> Posted:
    """Read the event that started this run.

    Raises:
        BadInput: no comment started it (INP005).
        GateRefused: the gate of this repository is not an issue (IGATE01).
    """
    if job.config.approval_gate != config.ISSUE_GATE:
        raise codes.GateRefused(codes.ISSUE_GATE_IMPOSSIBLE, "the approval gate here is the environment agent-approval")
    try:
        event = strict_json(Path(job.environ["GITHUB_EVENT_PATH"]).read_bytes())
        issue, comment = event["issue"]["number"], event["comment"]
        found = Posted(issue, comment["id"], comment["body"])
    except (KeyError, TypeError, ValueError, OSError) as problem:
        raise codes.BadInput(
            codes.RUN_CONTEXT_MISSING, f"no comment on an issue started this run ({type(problem).__name__})"
        ) from None
    if not all(type(number) is int and number > 0 for number in (found.issue, found.id)) or type(found.text) is not str:
        raise codes.BadInput(codes.RUN_CONTEXT_MISSING, "the event names neither an issue nor a comment")
    return found
