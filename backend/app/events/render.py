"""How stored events are shown: as JSON, as JSON lines and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import msgspec
from msgspec import Raw

from app.events.model import timestamp_of
from app.store.queries import StoredEvent

CSV_COLUMNS = (
    "event_id",
    "timestamp",
    "received_at",
    "agent_instance_id",
    "trace_id",
    "actor",
    "action_type",
    "resource",
    "status",
    "latency_ms",
    "stream",
    "seq",
    "metadata",
)

_members = msgspec.json.Decoder(dict[str, Raw])
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def event_json(event: StoredEvent) -> str:
    """Return the event as it was sent, on one line, with `received_at` as last member."""
    return f'{event.body[:-1]},"received_at":"{timestamp_of(event.received_at)}"}}'


def page_json(events: Sequence[StoredEvent], following: str | None) -> bytes:
    """Return a page of a list: the events, and the cursor for the next page or null."""
    quoted = "null" if following is None else f'"{following}"'
    return f'{{"events":[{",".join(map(event_json, events))}],"next":{quoted}}}'.encode()


def lines(events: Sequence[StoredEvent]) -> bytes:
    """Return the events as JSON lines."""
    return "".join(f"{event_json(event)}\n" for event in events).encode()


def csv_header() -> bytes:
    """Return the first line of a CSV export."""
    return _csv([CSV_COLUMNS])


def csv_rows(events: Sequence[StoredEvent]) -> bytes:
    """Return the events as lines of CSV (RFC 4180).

    A text that a spreadsheet would take for a formula gets a `'` in front: agents write these texts.
    """
    return _csv([_cells(event) for event in events])


def _cells(event: StoredEvent) -> list[str]:
    members = _members.decode(event_json(event))
    return [_cell(bytes(members[name])) if name in members else "" for name in CSV_COLUMNS]


def _cell(value: bytes) -> str:
    """Return a JSON value as a cell: texts without quotes, null as nothing, all else as it was sent."""
    if value == b"null":
        return ""
    text = str(msgspec.json.decode(value)) if value.startswith(b'"') else value.decode()
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()
