"""The audit event, as specified by `audit-event.schema.json`, and what is wrong with one that breaks the contract."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

Actor = Literal["agent", "human", "system"]
ActionType = Literal["tool_call", "http_request", "db_query", "file_read", "file_write", "api_call", "policy_check"]
Status = Literal["success", "error", "pending", "denied"]

MAX_ID = 255
MAX_RESOURCE = 1024
MAX_SEQ = 2**63 - 1
MAX_DEPTH = 100

ShortText = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]


class AuditEvent(msgspec.Struct, frozen=True):
    """One event. Unknown members mean nothing.

    What the types leave open is checked by `id_bytes` and `microseconds`: patterns inside msgspec's types cost as much
    as all the rest.
    """

    event_id: str
    timestamp: str
    agent_instance_id: ShortText
    trace_id: ShortText
    actor: Actor
    action_type: ActionType
    resource: Annotated[str, Meta(min_length=1, max_length=MAX_RESOURCE)]
    status: Status
    latency_ms: Annotated[float, Meta(ge=0)] | None = None
    metadata: dict[str, Raw] | UnsetType = UNSET


class JournalLine(msgspec.Struct, frozen=True):
    """One line of a journal, as the template's `specs/journal.md` has it: an event, and its place in a stream.

    `is_place` checks what the types leave open.
    """

    v: Literal[1]
    stream: str
    seq: Annotated[int, Meta(ge=1, le=MAX_SEQ)]
    event: Raw
    prev: str | None = None


RULES = {
    "event_id": "must be a UUID in its usual text form, such as 0192e4a0-7b1c-7d3e-9a4b-2f6c8d1e0a57",
    "timestamp": "must be a real time in RFC 3339 with a zone, such as 2026-11-22T11:00:00Z",
    "agent_instance_id": f"must be a string of 1 to {MAX_ID} characters without U+0000",
    "trace_id": f"must be a string of 1 to {MAX_ID} characters without U+0000",
    "actor": "must be one of: agent, human, system",
    "action_type": "must be one of: tool_call, http_request, db_query, file_read, file_write, api_call, policy_check",
    "resource": f"must be a string of 1 to {MAX_RESOURCE} characters without U+0000",
    "status": "must be one of: success, error, pending, denied",
    "latency_ms": "must be null or a finite number that is not negative",
    "metadata": "must be a JSON object",
    "v": "must be 1, the version of the journal format that this backend knows",
    "stream": "must be the name of a journal stream: 1 to 128 of 0-9 A-Z a-z . _ -, a letter or digit first",
    "seq": "must be a whole number from 1 on",
    "prev": "must be null for seq 1, else the 64 hex digits of the line before",
    "event": "must be an event",
}
"""What each member must be, in words that follow its name."""

_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_STREAM = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def id_bytes(event_id: str) -> bytes:
    """Return the 16 bytes of a UUID in its usual text form.

    Raises:
        ValueError: the text is not a UUID.
    """
    value = bytes.fromhex(event_id.replace("-", ""))
    if (
        len(value) != 16
        or len(event_id) != 36
        or not event_id[8] == event_id[13] == event_id[18] == event_id[23] == "-"
    ):
        raise ValueError("no UUID")
    return value


def is_place(stream: str, seq: int, prev: str | None) -> bool:
    """Return whether a line can be there, with that hash of the line before."""
    return _is_stream(stream) and (prev is None if seq == 1 else prev is not None and _is_hash(prev))


@lru_cache(maxsize=4096)
def _is_stream(text: str) -> bool:
    return _STREAM.fullmatch(text) is not None


def _is_hash(text: str) -> bool:
    return len(text) == 64 and text.isascii() and not text.strip("0123456789abcdef")


def microseconds(timestamp: str) -> int:
    """Return the instant that an RFC 3339 timestamp names, in microseconds since 1970; finer digits are cut off.

    Raises:
        ValueError: the text is no such timestamp, or there is no such day or time.
    """
    if not _TIMESTAMP.fullmatch(timestamp):
        raise ValueError("no RFC 3339 timestamp")
    return (datetime.fromisoformat(timestamp) - _EPOCH) // _MICROSECOND


def timestamp_of(instant: int) -> str:
    """Return the RFC 3339 text, in UTC, of an instant in microseconds since 1970."""
    return f"{(_EPOCH + instant * _MICROSECOND).isoformat(timespec='microseconds')[:-6]}Z"


def event_faults(value: Any) -> dict[str, str]:
    """Return what is wrong with the JSON value `value` as an event: a sentence for each member at fault.

    The key is empty when the value is not an object at all. Slow and thorough: for events that were refused already.
    """
    return _faults(value, AuditEvent)


def line_faults(value: Any) -> dict[str, str]:
    """Return what is wrong with the JSON value `value` as a line of a journal, in the form of `event_faults`."""
    return _faults(value, JournalLine) or event_faults(value["event"])


def is_line(value: Any) -> bool:
    """Return whether a JSON value is meant as a line of a journal, rather than as an event."""
    return isinstance(value, dict) and "event" in value and "event_id" not in value


def _faults(value: Any, kind: type[msgspec.Struct]) -> dict[str, str]:
    if not isinstance(value, dict):
        return {"": "must be a JSON object"}
    found = {}
    for field in msgspec.structs.fields(kind):
        if field.name not in value:
            if field.required:
                found[field.name] = "is required"
        elif not _fits(field.name, value[field.name], field.type):
            found[field.name] = RULES[field.name]
    if kind is JournalLine and not found and not is_place(value["stream"], value["seq"], value.get("prev")):
        name = "prev" if _is_stream(value["stream"]) else "stream"
        found[name] = RULES[name]
    return found


def _fits(name: str, value: Any, kind: Any) -> bool:
    if name in ("metadata", "event"):
        return isinstance(value, dict)
    try:
        msgspec.convert(value, kind)
        if name == "event_id":
            id_bytes(value)
        elif name == "timestamp":
            microseconds(value)
    except ValueError:
        return False
    if isinstance(value, str):
        return "\0" not in value
    return not isinstance(value, float) or math.isfinite(value)


def depth(document: bytes) -> int:
    """Return how deep the arrays and objects of a JSON document are nested."""
    deepest = level = 0
    for bracket in re.findall(rb"[][{}]", re.sub(rb'"(?:[^"\\]|\\.)*"', b"", document)):
        if bracket in b"[{":
            level += 1
            deepest = max(deepest, level)
        else:
            level -= 1
    return deepest
