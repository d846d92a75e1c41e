"""From the bytes of a request to rows that can be stored, or to all that is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Raw

from app.events import model
from app.store.base import Row

MAX_REPORTED = 20
"""Most faults that one answer lists."""

_LINE_START = b'{"v":'
_OWN = ("stream", "seq", "prev", "received_at")
"""Members of an event as it is given out that the backend adds: from the journal line, and from its own clock."""

_line = msgspec.json.Decoder(model.JournalLine)
_event = msgspec.json.Decoder(model.AuditEvent)
_members = msgspec.json.Decoder(dict[str, Raw])
_array = msgspec.json.Decoder(list[Raw])
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True)
class Fault:
    """What is wrong, and where.

    Attributes:
        detail: a sentence that follows the field's name.
        field: the member at fault; empty: the event or the body as a whole.
        index: position of the event in the batch, from 0; None: there is no batch.
        line: line of the body in which the event stands, from 1; None: the body is not made of lines.
    """

    detail: str
    field: str = ""
    index: int | None = None
    line: int | None = None


class InvalidEvents(ValueError):
    """A body that can't be stored. Nothing of it is.

    Attributes:
        faults: at least one, at most `MAX_REPORTED`.
        too_large: a limit is exceeded, rather than the event contract broken.
    """

    def __init__(self, faults: Sequence[Fault], *, too_large: bool = False) -> None:
        super().__init__(faults[0].detail)
        self.faults = tuple(faults)
        self.too_large = too_large


@dataclass(frozen=True)
class Limits:
    """How much one request may hold."""

    event_bytes: int
    batch_events: int


class _Refused(ValueError):
    def __init__(self, faults: dict[str, str], *, too_large: bool = False) -> None:
        super().__init__()
        self.faults = faults
        self.too_large = too_large


def decode_one(body: bytes, received_at: int, limits: Limits) -> Row:
    """Return the row for a body that holds one event.

    Args:
        received_at: microseconds since 1970.

    Raises:
        InvalidEvents: the body is no such thing.
    """
    _require_utf8(body)
    try:
        return _row(body, received_at, limits)
    except _Refused as refused:
        faults = [Fault(detail, field) for field, detail in refused.faults.items()]
        raise InvalidEvents(faults, too_large=refused.too_large) from None


def decode_array(body: bytes, received_at: int, limits: Limits) -> list[Row]:
    """Return the rows for a body that is a JSON array of events. Arguments and errors as for `decode_one`."""
    _require_utf8(body)
    try:
        elements = _array.decode(body)
    except RecursionError:
        raise InvalidEvents([Fault(_TOO_DEEP)]) from None
    except msgspec.ValidationError:
        raise InvalidEvents(
            [Fault("must be a JSON array of events; events on lines need application/x-ndjson")]
        ) from None
    except msgspec.DecodeError as error:
        raise InvalidEvents(_unpaired_in_array(body) or [Fault(_malformed(error))]) from None
    return _rows(((None, bytes(element)) for element in elements), len(elements), received_at, limits)


def decode_lines(body: bytes, received_at: int, limits: Limits) -> list[Row]:
    """Return the rows for a body with one event a line; empty lines don't count. Otherwise as `decode_one`."""
    _require_utf8(body)
    lines = [(number, line) for number, line in enumerate(body.split(b"\n"), 1) if line and not line.isspace()]
    return _rows(lines, len(lines), received_at, limits)


def _rows(events: Iterable[tuple[int | None, bytes]], count: int, received_at: int, limits: Limits) -> list[Row]:
    if not count:
        raise InvalidEvents([Fault("holds no event")])
    if count > limits.batch_events:
        detail = f"holds {count} events; at most {limits.batch_events} are taken at once"
        raise InvalidEvents([Fault(detail)], too_large=True)
    rows: list[Row] = []
    faults: list[Fault] = []
    too_large = False
    for index, (line, raw) in enumerate(events):
        try:
            rows.append(_row(raw, received_at, limits))
        except _Refused as refused:
            faults.extend(Fault(detail, field, index, line) for field, detail in refused.faults.items())
            too_large = too_large or refused.too_large
            if len(faults) >= MAX_REPORTED:
                break
    if faults:
        raise InvalidEvents(faults[:MAX_REPORTED], too_large=too_large)
    return rows


def _row(raw: bytes, received_at: int, limits: Limits) -> Row:
    """Return the row for an event, or for a line of a journal with the event in it."""
    if len(raw) > limits.event_bytes:
        raise _Refused({"": f"has {len(raw)} bytes; at most {limits.event_bytes} are taken"}, too_large=True)
    try:
        if raw.startswith(_LINE_START):
            return _row_of_line(raw, received_at)
        return _row_of_event(raw, received_at)
    except RecursionError:
        raise _Refused({"": _TOO_DEEP}) from None
    except ValueError as error:
        if isinstance(error, _Refused):
            raise
        if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
            raise _Refused(_unpaired_in(_loads(raw)) or {"": _malformed(error)}) from None
    return _row_at_length(raw, received_at)


def _row_at_length(raw: bytes, received_at: int) -> Row:
    """Return the row for what the quick way did not take: a line by another writer, or something with faults."""
    value = _parse(raw)
    is_line = model.is_line(value)
    faults = (model.line_faults if is_line else model.event_faults)(value)
    if faults:
        raise _Refused(faults)
    try:
        return _row_of_line(raw, received_at) if is_line else _row_of_event(raw, received_at)
    except msgspec.DecodeError:
        raise _Refused({"": "is not an audit event"}) from None


def _row_of_line(raw: bytes, received_at: int) -> Row:
    line = _line.decode(raw)
    if not model.is_place(line.stream, line.seq, line.prev):
        raise ValueError("no place in a journal")
    return _row_of_event(bytes(line.event), received_at, line, sha256(raw.strip()).hexdigest())


def _row_of_event(
    raw: bytes, received_at: int, line: model.JournalLine | None = None, line_hash: str | None = None
) -> Row:
    """Return the row for an event.

    What is stored is what was sent, less whitespace, repeated members (the last one counts, as for every common
    parser) and the members that are the backend's own to say.
    """
    event = _event.decode(raw)
    event_id = model.id_bytes(event.event_id)
    occurred_at = model.microseconds(event.timestamp)
    if b"\\u0000" in raw and "\0" in event.agent_instance_id + event.trace_id + event.resource:
        raise ValueError("U+0000")
    if raw.count(b"[") + raw.count(b"{") > model.MAX_DEPTH and model.depth(raw) > model.MAX_DEPTH:
        raise _Refused({"": _TOO_DEEP})
    members = _members.decode(raw)
    if not event.event_id.islower():
        members["event_id"] = Raw(f'"{event.event_id.lower()}"'.encode())
    for name in _OWN:
        if name in members:
            del members[name]
    body = _encoder.encode(members)
    if b"\n" in body or b"\r" in body:
        body = msgspec.json.format(body, indent=-1)
    text = body.decode()
    if line is not None:
        prev = "null" if line.prev is None else f'"{line.prev}"'
        text = f'{text[:-1]},"stream":"{line.stream}","seq":{line.seq},"prev":{prev}}}'
    return Row(
        event_id,
        occurred_at,
        received_at,
        event.agent_instance_id,
        event.trace_id,
        event.actor,
        event.action_type,
        event.resource,
        event.status,
        None if line is None else line.stream,
        None if line is None else line.seq,
        line_hash,
        text,
    )


_TOO_DEEP = f"is nested more than {model.MAX_DEPTH} levels deep"


def _parse(raw: bytes) -> Any:
    """Return the JSON value of bytes that are JSON, with numbers too large for a float as infinity."""
    try:
        return json.loads(raw)
    except RecursionError:
        raise _Refused({"": _TOO_DEEP}) from None
    except ValueError:  # an integer with more digits than Python takes
        raise _Refused({"": "holds a number that is too large"}) from None


def _loads(raw: bytes) -> Any:
    """Return the JSON value of bytes, or None when Python's parser does not take them either."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


_UNPAIRED = "holds half of a surrogate pair, which is not a character"


def _unpaired_in_array(body: bytes) -> list[Fault]:
    """Return which events of an array hold an unpaired surrogate, and in which member."""
    value = _loads(body)
    elements = value if isinstance(value, list) else []
    faults = [Fault(detail, field, n) for n, one in enumerate(elements) for field, detail in _unpaired_in(one).items()]
    return faults[:MAX_REPORTED]


def _unpaired_in(value: Any) -> dict[str, str]:
    """Return which members of an event, or of the event in a line, hold an unpaired surrogate.

    JSON can write one as an escape, and parsers report it in words of their own, if they refuse it at all.
    """
    members = value["event"] if model.is_line(value) else value
    if not isinstance(members, dict):
        return {}
    return {"" if _is_unpaired(name) else name: _UNPAIRED for name in members if _is_unpaired([name, members[name]])}


def _is_unpaired(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except RecursionError:
        return False
    return False


def _malformed(error: msgspec.DecodeError) -> str:
    what = str(error).removeprefix("JSON is malformed: ")
    return f"is malformed JSON: {'it ends too early' if what == 'Input data was truncated' else what}"


def _require_utf8(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise InvalidEvents([Fault(f"is not UTF-8 (byte {error.start})")]) from None
