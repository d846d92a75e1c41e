"""Health endpoints: an address that answers 200 to 299 when its service can work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from agent_runtime.toolkit import http
from agent_runtime.toolkit.errors import ToolError

_MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class Health:
    """What a health endpoint said.

    Arguments:
        healthy: whether it answered with success.
        detail: `HTTP 200`, or why there was no answer.
        status: HTTP status code, None without an answer.
    """

    healthy: bool
    detail: str
    status: Optional[int] = None


def check(url: str, *, timeout_seconds: float = 5.0) -> Health:
    """Ask a health endpoint once.  No answer is an answer too: nothing is raised.

    Arguments:
        timeout_seconds: for the whole request.
    """
    try:
        response = http.get(url, timeout_seconds=timeout_seconds, max_bytes=_MAX_BYTES)
    except ToolError as problem:
        return Health(False, problem.message)
    return Health(response.ok, f"HTTP {response.status}", response.status)
