"""The event that every SDK captures: the same ten attributes, with a number that can be found again in any encoding.

The large one has an eleventh, 4 KB of `key=value` text, as a tool prints it. No two are the same.
"""

from __future__ import annotations

import re

AGENT = "restarter-1"
TRACE = "0af7651916cd43dd8448eb211c80319c"

MARK = re.compile(rb"event-(\d{6})")
"""What a sink looks for in a body: attributes are text in JSON as well as in protobuf."""


def resource(number: int) -> str:
    """Return what distinguishes this event from all others of one process."""
    return f"service/event-{number:06d}"


OUTPUTS: list[str] = []
"""What tools printed, when the event is the large one."""


def make_large() -> None:
    """Let events be large from now on."""
    OUTPUTS.extend(
        " ".join(f"key{line}=value{line}" for line in range(turn, turn + 400))[:4096] for turn in range(10_000, 18_192)
    )


def extra(number: int) -> dict[str, str | int | float]:
    """Return what is an attribute for every SDK and has no member of its own in our event."""
    more: dict[str, str | int | float] = {"attempt": 1, "run_id": "4000000001", "job": "act"}
    if OUTPUTS:
        more["output"] = OUTPUTS[number % len(OUTPUTS)]
    return more


def attributes(number: int) -> dict[str, str | int | float]:
    """Return the event as flat attributes."""
    return {
        "agent_instance_id": AGENT,
        "trace_id": TRACE,
        "actor": "agent",
        "action_type": "api_call",
        "resource": resource(number),
        "status": "success",
        "latency_ms": 12.5,
        **extra(number),
    }
