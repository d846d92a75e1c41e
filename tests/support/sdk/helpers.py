"""Paths, a plain event, and child processes for the SDK's tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from aimgentix import ActionType, ActorType, AuditEvent, EventStatus

SDK = Path(__file__).resolve().parents[3] / "template" / "sdk"
SPECS = SDK.parent / "specs"


def event(**changes: Any) -> AuditEvent:
    """A valid event, with `changes`."""
    fields = {
        "agent_instance_id": "agent-1",
        "trace_id": "run-1",
        "actor": ActorType.AGENT,
        "action_type": ActionType.API_CALL,
        "resource": "service/payments",
        "status": EventStatus.SUCCESS,
    }
    return AuditEvent(**{**fields, **changes})


def child_environment(**extra: str) -> dict[str, str]:
    """The environment of a child process: this one's, the SDK on the path, and `extra`."""
    return {**os.environ, "PYTHONPATH": str(SDK), **extra}
