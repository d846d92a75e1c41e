"""The event that every SDK captures: the same ten attributes, with a number that can be found again in any encoding."""

from __future__ import annotations

import re

AGENT = "restarter-1"
TRACE = "0af7651916cd43dd8448eb211c80319c"

MARK = re.compile(rb"event-(\d{6})")
"""What a sink looks for in a body: attributes are text in JSON as well as in protobuf."""


def resource(number: int) -> str:
    """Return what tells this event from all others of one process."""
    return f"service/event-{number:06d}"


def attributes(number: int) -> dict[str, str | int | float]:
    """Return the event as ten flat attributes."""
    return {
        "agent_instance_id": AGENT,
        "trace_id": TRACE,
        "actor": "agent",
        "action_type": "api_call",
        "resource": resource(number),
        "status": "success",
        "latency_ms": 12.5,
        "attempt": 1,
        "run_id": "4000000001",
        "job": "act",
    }
