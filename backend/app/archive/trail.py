"""The backend's own trail: who read, exported, deleted or held what is kept, as audit events like any other."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import msgspec

from app.auth.keys import ApiKey
from app.events.decode import Limits, decode_one
from app.events.model import Status, timestamp_of
from app.store.base import Row

AGENT = "aimgentix-backend"
TRACE = "aimgentix-archive"

_LIMITS = Limits(64 * 1024, 1)
_ACTIONS = {"purged": "file_write", **dict.fromkeys(("read", "exporting", "exported"), "file_read")}

EVENTS = "events"
"""The resource of an event about events."""


def by_of(key: ApiKey | None) -> str:
    """Return how an event names who has a key; empty: somebody who is served without one."""
    return "" if key is None else key.key_id


def event_of(step: str, digest: str, by: str, **facts: Any) -> Row:
    """Return the event that says who did what to a bundle, as `event_about` does."""
    return event_about(step, f"bundle/{digest}", by, **facts)


def event_about(step: str, resource: str, by: str, *, status: Status = "success", **facts: Any) -> Row:
    """Return the event that says who did what.

    Args:
        step: read, exporting, exported, purged, held, released.
        by: the id of an API key, or the login of who ran a command.
    """
    now = time.time_ns() // 1000
    event = {
        "event_id": str(uuid4()),
        "timestamp": timestamp_of(now),
        "agent_instance_id": AGENT,
        "trace_id": TRACE,
        "actor": "human",
        "action_type": _ACTIONS.get(step, "api_call"),
        "resource": resource,
        "status": status,
        "metadata": {"step": step, "by": by, **facts},
    }
    return decode_one(msgspec.json.encode(event), now, _LIMITS)
