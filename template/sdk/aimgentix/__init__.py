"""AIMgentix SDK: an audit trail that survives exits, kills and dead networks.

from aimgentix import ActionType, ActorType, AuditClient, AuditEvent, EventStatus

with AuditClient(agent_instance_id="restarter-1", trace_id="run-42") as client:
    client.capture(AuditEvent("restarter-1", "run-42", ActorType.AGENT, ActionType.API_CALL, "service/payments",
                              EventStatus.SUCCESS, latency_ms=12.5, metadata={"attempt": 1}))
"""

from __future__ import annotations

from ._version import VERSION
from .events import ActionType, ActorType, AuditEvent, EventStatus, InvalidEvent
from .redact import Redactor
from .segments import JournalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .client import AuditClient, Counters

__version__ = VERSION

__all__ = [
    "ActionType",
    "ActorType",
    "AuditClient",
    "AuditEvent",
    "Counters",
    "EventStatus",
    "InvalidEvent",
    "JournalError",
    "Redactor",
]


def __getattr__(name: str) -> Any:
    """Find the client, which a program that only records need not import."""
    if name not in ("AuditClient", "Counters"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import client

    return getattr(client, name)
