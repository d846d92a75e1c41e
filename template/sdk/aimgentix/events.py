"""The audit event: what happened, to what, by whom, with which result.

The contract is `specs/audit-event.schema.json`; `specs/audit-event.vectors.json` holds cases that every
implementation must accept or refuse alike.
"""

from __future__ import annotations

import os
import re
import time
from enum import Enum
from itertools import count
from json import encoder as json_encoder
from json.encoder import JSONEncoder, encode_basestring

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` is not imported at run time: it would be a quarter of the import budget
    from datetime import datetime
    from typing import Any, Dict, Mapping, Optional, Set, Tuple, Type, TypeVar, Union

    E = TypeVar("E", bound=Enum)

MAX_ID = 255
MAX_RESOURCE = 1024


class ActorType(str, Enum):
    """Who acted."""

    AGENT = "agent"
    HUMAN = "human"
    SYSTEM = "system"


class ActionType(str, Enum):
    """What kind of action it was."""

    TOOL_CALL = "tool_call"
    HTTP_REQUEST = "http_request"
    DB_QUERY = "db_query"
    FILE_READ = "file_read"
    FILE_WRITE = "file_write"
    API_CALL = "api_call"
    POLICY_CHECK = "policy_check"


class EventStatus(str, Enum):
    """How it ended."""

    SUCCESS = "success"
    ERROR = "error"
    PENDING = "pending"
    DENIED = "denied"


class InvalidEvent(ValueError):
    """A field does not satisfy the event contract.

    Attributes:
        field: name of the field.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class AuditEvent:
    """One immutable audit event.

    Args:
        agent_instance_id: the running agent, 1 to 255 characters.
        trace_id: the run that the event belongs to, 1 to 255 characters.
        actor: who acted.
        action_type: what kind of action.
        resource: what was acted on, 1 to 1024 characters.
        status: how it ended.
        latency_ms: duration in milliseconds, finite and not negative, or None.
        metadata: JSON object with whatever else a reader should know.
        event_id: a UUID in its usual text form; default a new UUID version 7.
        timestamp: RFC 3339 text with zone, or an aware datetime; default now, in UTC, to the microsecond.

    Strings hold Unicode scalar values and no U+0000, which PostgreSQL can't store.

    Raises:
        InvalidEvent: a field breaks the contract; `field` names it.
    """

    agent_instance_id: str
    trace_id: str
    actor: ActorType
    action_type: ActionType
    resource: str
    status: EventStatus
    latency_ms: Optional[float]
    metadata: Dict[str, Any]
    event_id: str
    timestamp: str

    def __init__(
        self,
        agent_instance_id: str,
        trace_id: str,
        actor: Union[ActorType, str],
        action_type: Union[ActionType, str],
        resource: str,
        status: Union[EventStatus, str],
        latency_ms: Optional[float] = None,
        metadata: Optional[Mapping[str, Any]] = None,
        event_id: Optional[str] = None,
        timestamp: Union[str, datetime, None] = None,
    ) -> None:
        if event_id is None or timestamp is None:
            new_id, now = _stamp()
        # What is almost always so is looked at here, without a call; the functions know the rest, and what to say.
        if not (type(resource) is str and 0 < len(resource) <= MAX_RESOURCE and resource.isascii()) or "\0" in resource:
            resource = check_text("resource", resource, MAX_RESOURCE)
        _set(
            self,
            "__dict__",
            {
                "event_id": new_id if event_id is None else _uuid(event_id),
                "timestamp": now if timestamp is None else _time(timestamp),
                "agent_instance_id": agent_instance_id
                if type(agent_instance_id) is str and agent_instance_id in _good_ids
                else _check_id("agent_instance_id", agent_instance_id),
                "trace_id": trace_id
                if type(trace_id) is str and trace_id in _good_ids
                else _check_id("trace_id", trace_id),
                "actor": actor if type(actor) is ActorType else member("actor", ActorType, actor),
                "action_type": action_type
                if type(action_type) is ActionType
                else member("action_type", ActionType, action_type),
                "resource": resource,
                "status": status if type(status) is EventStatus else member("status", EventStatus, status),
                "latency_ms": latency_ms
                if latency_ms is None or (type(latency_ms) is float and 0 <= latency_ms < _INFINITY)
                else _latency(latency_ms),
                "metadata": {}
                if metadata is None
                else metadata.copy()
                if type(metadata) is dict
                else _object(metadata),
            },
        )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an audit event does not change: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"an audit event does not change: {name}")

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, AuditEvent) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.event_id)

    def __repr__(self) -> str:
        return f"AuditEvent({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"

    def __reduce__(self) -> Tuple[Any, ...]:
        return AuditEvent.from_dict, (self.to_dict(),)

    def to_dict(self) -> Dict[str, Any]:
        """Return the event as plain JSON values, in the order of the contract."""
        return {
            "event_id": self.event_id,
            "timestamp": self.timestamp,
            "agent_instance_id": self.agent_instance_id,
            "trace_id": self.trace_id,
            "actor": self.actor.value,
            "action_type": self.action_type.value,
            "resource": self.resource,
            "status": self.status.value,
            "latency_ms": self.latency_ms,
            "metadata": dict(self.metadata),
        }

    def replace(self, **changes: Any) -> AuditEvent:
        """Return the event with other values of some fields, which the caller vouches for."""
        changed = object.__new__(AuditEvent)
        _set(changed, "__dict__", {**self.__dict__, **changes})
        return changed

    @classmethod
    def from_dict(cls, value: Any) -> AuditEvent:
        """Return the event that the JSON object `value` describes; unknown members are ignored.

        Raises:
            InvalidEvent: a required member is missing or breaks the contract.
        """
        if not isinstance(value, dict):
            raise InvalidEvent("event", "must be a JSON object")
        for name in REQUIRED:
            if value.get(name) is None:
                raise InvalidEvent(name, "is required")
        if value.get("metadata", {}) is None:
            raise InvalidEvent("metadata", "must be a JSON object")
        return cls(**{name: value[name] for name in FIELDS if name in value})

    def encode(self) -> bytes:
        """Return the event as one line of UTF-8 JSON without a newline.

        Raises:
            ValueError, TypeError, RecursionError: metadata holds something that JSON can't.
        """
        quote = encode_basestring
        latency = "null" if self.latency_ms is None else repr(self.latency_ms)
        metadata = "".join(_chunks(self.metadata, False))
        return (
            f'{{"event_id":"{self.event_id}","timestamp":"{self.timestamp}"'
            f',"agent_instance_id":{quote(self.agent_instance_id)},"trace_id":{quote(self.trace_id)}'
            f',"actor":{quote(self.actor)},"action_type":{quote(self.action_type)}'
            f',"resource":{quote(self.resource)},"status":{quote(self.status)}'
            f',"latency_ms":{latency},"metadata":{metadata}}}'
        ).encode()


FIELDS = (
    "agent_instance_id",
    "trace_id",
    "actor",
    "action_type",
    "resource",
    "status",
    "latency_ms",
    "metadata",
    "event_id",
    "timestamp",
)
REQUIRED = tuple(name for name in FIELDS if name not in ("latency_ms", "metadata"))

_encoder = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_c_make_encoder = getattr(json_encoder, "c_make_encoder", None)  # absent where Python is not CPython
if _c_make_encoder is None:
    _chunks = _encoder.iterencode
else:  # what `iterencode` would make anew for each event, at the cost of a microsecond
    _chunks = _c_make_encoder(None, _encoder.default, encode_basestring, None, ":", ",", False, False, False)

_INFINITY = float("inf")
_good_ids: Set[str] = set()  # a process has one agent and few traces
_set = object.__setattr__
# Compiled when first needed, which for the events of this process is never.
_UUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_TIME = (
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,9})?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


def check_text(field: str, value: Any, limit: int) -> str:
    """Return `value` when it is text as the contract wants it, with 1 to `limit` characters.

    Raises:
        InvalidEvent: it is not; named by `field`.
    """
    if type(value) is str and 0 < len(value) <= limit and value.isascii() and "\0" not in value:
        return value  # almost always
    if not isinstance(value, str):
        raise InvalidEvent(field, "must be a string")
    if not 0 < len(value) <= limit:
        raise InvalidEvent(field, f"must have 1 to {limit} characters, has {len(value)}")
    if "\0" in value:
        raise InvalidEvent(field, "must not contain U+0000")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidEvent(field, "must not contain lone surrogates") from None
    return str(value)


def _check_id(field: str, value: Any) -> str:
    checked = check_text(field, value, MAX_ID)
    if len(_good_ids) >= 64:
        _good_ids.clear()
    _good_ids.add(checked)
    return checked


def member(field: str, kind: Type[E], value: Any) -> E:
    """Return the member of `kind` that `value` is or names.

    Raises:
        InvalidEvent: there is none; named by `field`.
    """
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(str(member.value) for member in kind)
        raise InvalidEvent(field, f"must be one of {allowed}") from None


def _latency(value: Any) -> float:
    if type(value) is not float and type(value) is not int:
        raise InvalidEvent("latency_ms", "must be a number or null")
    if not 0 <= value < _INFINITY:
        raise InvalidEvent("latency_ms", "must be finite and not negative")
    return value


def _object(value: Any) -> Dict[str, Any]:
    from collections.abc import Mapping

    if not isinstance(value, Mapping):
        raise InvalidEvent("metadata", "must be a JSON object")
    return dict(value)


def _uuid(value: Any) -> str:
    if type(value) is not str or not re.fullmatch(_UUID, value):
        raise InvalidEvent("event_id", "must be a UUID such as 0192e4a0-7b1c-7d3e-9a4b-2f6c8d1e0a57")
    return value.lower()


def _time(value: Any) -> str:
    from datetime import datetime

    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidEvent("timestamp", "must have a time zone")
        value = value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    match = re.fullmatch(_TIME, value) if type(value) is str else None
    if not match:
        raise InvalidEvent("timestamp", "must be RFC 3339 with a zone, such as 2026-11-22T11:00:00Z")
    try:
        datetime(*map(int, match.groups()))  # type: ignore[arg-type]
    except ValueError:
        raise InvalidEvent("timestamp", "is not a real date and time") from None
    return str(value)


def utc_now() -> str:
    """Return the present time as RFC 3339 text in UTC, to the microsecond."""
    return _stamp()[1]


# The last millisecond and upper part of the counter, and how texts of then begin: a time, and a UUID up to its variant.
_clock: Tuple[Tuple[int, int], str, str] = ((-1, 0), "", "")
_second = (-1, "")  # the last second, and the text of a time up to its seconds
_counter = count()
_THREE_DIGITS = [f"{number:03d}" for number in range(1000)]  # looking one up is faster than formatting it
_node = os.urandom(6).hex()


def _new_node() -> None:
    global _node  # noqa: PLW0603
    _node = os.urandom(6).hex()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_node)


def _stamp() -> Tuple[str, str]:
    """Return a new UUID version 7 and the present time of the same clock reading.

    The 74 bits after the UUID's milliseconds are a counter, whose last three digits are decimal, and a random number of
    48 bits for each process (RFC 9562, section 6.2): ids of one process ascend, and those of two do not meet.
    """
    global _clock  # noqa: PLW0603
    milliseconds, rest = divmod(time.time_ns() // 1000, 1000)
    high, low = divmod(next(_counter), 1000)
    known, text, prefix = _clock
    if known != (milliseconds, high):
        text, prefix = _texts(milliseconds, high & 0xFFF)
        _clock = ((milliseconds, high), text, prefix)
    return f"{prefix}{_THREE_DIGITS[low]}-{_node}", f"{text}{_THREE_DIGITS[rest]}Z"


def _texts(milliseconds: int, high: int) -> Tuple[str, str]:
    """Return how a time and a UUID of that millisecond begin, with the upper half of the counter."""
    global _second  # noqa: PLW0603
    second, millisecond = divmod(milliseconds, 1000)
    known, text = _second
    if known != second:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _second = (second, text)
    digits = f"{milliseconds:012x}"
    return f"{text}.{millisecond:03d}", f"{digits[:8]}-{digits[8:]}-7{high:03x}-8"
