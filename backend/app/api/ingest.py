"""Taking events in."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api import openapi
from app.api.body import JSON, LINES, media_type, read_body
from app.archive.trail import TRACE
from app.auth.guard import Guard
from app.auth.keys import ApiKey
from app.events.decode import MAX_REPORTED, Fault, InvalidEvents, Limits, decode_array, decode_lines, decode_one
from app.metrics import Metrics
from app.problems import conflicting_events
from app.settings import Settings
from app.store.base import Conflicting, Row, Stored
from app.store.store import Store

router = APIRouter(tags=["ingest"])


@router.post("/v1/events", **openapi.POST_EVENT)
async def post_event(request: Request) -> Response:
    """Store one event. The answer comes when it is durable.

    An event that is stored already is the same event: the answer is 200 instead of 201.
    """
    key = await _may_write(request)
    media_type(request, (JSON,))
    row = (await _receive(request, key, lines=False, batch=False))[0]
    stored = await _store(request, [row], batch=False)
    event_id = _text_of(row.event_id)
    if stored.stored:
        # A prefix that a proxy takes off the path reaches the server as --root-path.
        location = f"{request.scope.get('root_path', '').rstrip('/')}/v1/events/{event_id}"
        return Answer(201, {"event_id": event_id, "status": "stored"}, (b"location", location.encode("latin-1")))
    return Answer(200, {"event_id": event_id, "status": "duplicate"})


@router.post("/v1/events/batch", **openapi.POST_BATCH)
async def post_batch(request: Request) -> Response:
    """Store many events, one a line or as a JSON array, all or none. The answer comes when they are durable.

    Events that are stored already are the same events, and counted as duplicates. If all are, the answer is 200.
    """
    key = await _may_write(request)
    lines = media_type(request, (JSON, *LINES)) != JSON
    rows = await _receive(request, key, lines=lines, batch=True)
    stored = await _store(request, rows, batch=True)
    answer = {"received": len(rows), "stored": stored.stored, "duplicates": stored.duplicates}
    return Answer(201 if stored.stored else 200, answer)


async def _may_write(request: Request) -> ApiKey | None:
    # Called, not declared: resolving one dependency takes as long as decoding ten events.
    guard: Guard = request.app.state.guard
    return await guard.require(request, "write")


async def _receive(request: Request, key: ApiKey | None, *, lines: bool, batch: bool) -> Sequence[Row]:
    settings: Settings = request.app.state.settings
    body = await read_body(request, settings.max_body_bytes, settings.body_timeout_seconds)
    limits = Limits(settings.max_event_bytes, settings.max_batch_events)
    received_at = time.time_ns() // 1000
    try:
        if not batch:
            rows = [decode_one(body, received_at, limits)]
        else:
            rows = (decode_lines if lines else decode_array)(body, received_at, limits)
        _require_allowed(rows, None if key is None else key.agent, batch=batch)
        return rows
    except InvalidEvents as error:
        metrics: Metrics = request.app.state.metrics
        metrics.refused(413 if error.too_large else 400)
        raise


def _require_allowed(rows: Sequence[Row], agent: str | None, *, batch: bool) -> None:
    """Refuse events that only the backend writes, and those of another agent than the key is for."""
    faults: list[Fault] = []
    for index, row in enumerate(rows):
        if row.trace_id == TRACE:
            faults.append(Fault("is the backend's own trace", "trace_id", index if batch else None))
        elif agent is not None and row.agent_instance_id != agent:
            faults.append(Fault(f"is not {agent}, which the key is for", "agent_instance_id", index if batch else None))
    if faults:
        raise InvalidEvents(faults[:MAX_REPORTED])


async def _store(request: Request, rows: Sequence[Row], *, batch: bool) -> Stored:
    store: Store = request.app.state.store
    outcome = await store.append(rows)
    if isinstance(outcome, Conflicting):
        event_ids = {index: _text_of(rows[index].event_id) for index in outcome.indices[:20]}
        raise conflicting_events(event_ids, batch=batch)
    return outcome


def _text_of(event_id: bytes) -> str:
    """Return an id as UUIDs are written."""
    digits = event_id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class Answer(Response):
    """A JSON document with headers that are ready to be sent; Starlette makes them in more time than an event takes."""

    def __init__(self, status: int, document: object, *headers: tuple[bytes, bytes]) -> None:
        self.status_code = status
        self.background = None
        self.body = msgspec.json.encode(document)
        self.raw_headers = [(b"content-type", _JSON), (b"content-length", b"%d" % len(self.body)), *headers]


_JSON = JSON.encode()
