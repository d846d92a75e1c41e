"""Stored events as OCSF has them: the class API Activity of version 1.8.0, for whoever collects security events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from app.events.model import microseconds
from app.store.queries import StoredEvent

VERSION = "1.8.0"

_CLASS_UID = 6003
_CLASS = {
    "category_uid": 6,
    "category_name": "Application Activity",
    "class_uid": _CLASS_UID,
    "class_name": "API Activity",
}
_PRODUCT = {"name": "AIMgentix", "vendor_name": "AIMgentix"}
# What the kind of an action says of reading or changing. A tool, a request or a call may do either.
_ACTIVITIES = {"file_read": (2, "Read"), "file_write": (3, "Update")}
_OTHER = 99
_STATUSES = {"success": (1, "Success"), "error": (2, "Failure"), "denied": (2, "Failure")}
_INFORMATIONAL = {"severity_id": 1, "severity": "Informational"}
_MOST_MILLISECONDS = 2**53
_MAPPED = (
    "event_id",
    "timestamp",
    "agent_instance_id",
    "trace_id",
    "action_type",
    "resource",
    "status",
    "stream",
    "seq",
)

_members = msgspec.json.Decoder(dict[str, Raw])
_encoder = msgspec.json.Encoder()


def ocsf_lines(events: Sequence[StoredEvent]) -> bytes:
    """Return the events as JSON lines, each an event of OCSF.

    Members that OCSF has no place for are in `unmapped` as they were sent, so that nothing is lost.
    """
    return b"".join(_encoder.encode(_event(event)) + b"\n" for event in events)


def _event(event: StoredEvent) -> dict[str, Any]:
    members = _members.decode(event.body)
    sent = {name: msgspec.json.decode(members[name]) for name in (*_MAPPED, "latency_ms") if name in members}
    action, status = sent["action_type"], sent["status"]
    activity, activity_name = _ACTIVITIES.get(action, (_OTHER, action))
    status_id, status_name = _STATUSES.get(status, (_OTHER, status))
    metadata = {
        "version": VERSION,
        "product": _PRODUCT,
        "uid": sent["event_id"],
        "original_event_uid": sent["event_id"],
        "correlation_uid": sent["trace_id"],
        "original_time": sent["timestamp"],
        "logged_time": event.received_at // 1000,
    }
    if sent.get("stream") is not None:
        metadata |= {"log_name": sent["stream"], "sequence": sent["seq"]}
    made = {
        **_CLASS,
        **_INFORMATIONAL,
        "activity_id": activity,
        "activity_name": activity_name,
        "type_uid": _CLASS_UID * 100 + activity,
        "time": microseconds(sent["timestamp"]) // 1000,
        "status_id": status_id,
        "status": status_name,
        "status_code": status,
        "actor": {"app_uid": sent["agent_instance_id"]},
        "src_endpoint": {"svc_name": sent["agent_instance_id"]},
        "api": {"operation": action},
        "resources": [{"name": sent["resource"]}],
        "metadata": metadata,
        "unmapped": {name: value for name, value in members.items() if name not in _MAPPED},
    }
    latency = sent.get("latency_ms")
    if latency is not None and latency < _MOST_MILLISECONDS:  # `unmapped` has it as it was sent
        made["duration"] = round(latency)
    return made
