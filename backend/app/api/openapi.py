"""The part of the API's description that FastAPI can't see: bodies are read raw and answers written raw, for speed."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.body import JSON, LINES
from app.problems import MEDIA_TYPE
from app.settings import PACKAGE

Route = dict[str, Any]

SCHEMA_FILE = PACKAGE / "events" / "audit-event.schema.json"
"""The contract of the event, a copy of the template's `specs/audit-event.schema.json`."""

_EVENT = {"$ref": "#/components/schemas/AuditEvent"}

_REASONS = {
    400: "Not as it has to be; `errors` says what is wrong with which field.",
    401: "No API key, or none that is valid.",
    403: "The API key lacks the scope.",
    404: "There is no such thing.",
    408: "The body did not arrive in time.",
    409: "An event's id belongs to another event. Nothing was stored.",
    413: "Larger than the limit that `detail` names. Nothing was stored.",
    415: "The body's type or encoding is not taken.",
    503: "Not now; the same request may be sent again after `Retry-After` seconds.",
}


def _problems(*statuses: int) -> dict[int, dict[str, Any]]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": _REASONS[status], "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses
    }


def _answer(description: str, schema: dict[str, Any], media_type: str = JSON) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _object(**members: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": members, "required": list(members)}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_SEQ = {"type": "integer", "minimum": 1}

_ONE = _object(event_id={"type": "string", "format": "uuid"}, status={"enum": ["stored", "duplicate"]})
_MANY = _object(received=_COUNT, stored=_COUNT, duplicates=_COUNT)
_PAGE = _object(
    events={"type": "array", "items": {"$ref": "#/components/schemas/StoredEvent"}},
    next={"type": ["string", "null"], "description": "what to send as `cursor` for the next page; null: there is none"},
)
_GAPS = _object(
    trace_id=_TEXT,
    events=_COUNT,
    events_without_position=_COUNT,
    missing=_COUNT,
    streams={
        "type": "array",
        "items": _object(
            stream=_TEXT,
            last=_SEQ,
            received=_COUNT,
            expired_through=_COUNT,
            missing_count=_COUNT,
            missing={"type": "array", "items": _object(first=_SEQ, last=_SEQ)},
            forked={"type": "array", "items": _SEQ},
            broken={"type": "array", "items": _SEQ},
        ),
    },
)

_INGEST = _problems(400, 401, 403, 408, 409, 413, 415, 503)
_LINES_SCHEMA = {"type": "string", "description": "one event as JSON a line"}

POST_EVENT: Route = {
    "status_code": 201,
    "responses": {201: _answer("Stored.", _ONE), 200: _answer("Stored already.", _ONE), **_INGEST},
    "openapi_extra": _body({JSON: {"schema": _EVENT}}),
}
POST_BATCH: Route = {
    "status_code": 201,
    "responses": {201: _answer("Stored.", _MANY), 200: _answer("All stored already.", _MANY), **_INGEST},
    "openapi_extra": _body(
        {JSON: {"schema": {"type": "array", "items": _EVENT, "minItems": 1}}}
        | {lines: {"schema": _LINES_SCHEMA} for lines in LINES}
    ),
}
GET_EVENTS: Route = {"responses": {200: _answer("A page of events.", _PAGE), **_problems(400, 401, 403, 503)}}
GET_EVENT: Route = {
    "responses": {
        200: _answer("The event.", {"$ref": "#/components/schemas/StoredEvent"}),
        **_problems(400, 401, 403, 404, 503),
    }
}
GET_GAPS: Route = {"responses": {200: _answer("What is missing.", _GAPS), **_problems(400, 401, 403, 503)}}
GET_EXPORT: Route = {
    "responses": {
        200: {
            "description": "The events.",
            "content": {"application/x-ndjson": {"schema": _TEXT}, "text/csv": {"schema": _TEXT}},
        },
        **_problems(400, 401, 403, 503),
    }
}
_MAYBE = {"type": ["string", "null"]}
_NEXT = _PAGE["properties"]["next"]
_RUN = _object(
    trace_id=_TEXT,
    agent=_TEXT,
    repository=_MAYBE,
    run_id=_MAYBE,
    attempt={"type": ["integer", "null"]},
    resource=_TEXT,
    action=_MAYBE,
    plan_digest=_MAYBE,
    outcome={"type": "string", "description": "how it ended, or what it waits for"},
    conflicting={"type": "boolean", "description": "several events say how it ended, and not the same"},
    code=_MAYBE,
    reason=_MAYBE,
    approvers={"type": "array", "items": _TEXT},
    events=_COUNT,
    started_at=_TEXT,
    last_at=_TEXT,
    first_received=_TEXT,
    last_received=_TEXT,
    trail={"type": "string", "description": "intact, or the worst of what is wrong with it"},
)
GET_RUNS: Route = {
    "responses": {
        200: _answer("A page of runs.", _object(runs={"type": "array", "items": _RUN}, next=_NEXT, waiting=_COUNT)),
        **_problems(400, 401, 403, 503),
    }
}
_AGENT = _object(agent=_TEXT, repository=_MAYBE, first_received=_TEXT, last_received=_TEXT, runs=_COUNT, events=_COUNT)
GET_AGENTS: Route = {
    "responses": {
        200: _answer("A page of agents.", _object(agents={"type": "array", "items": _AGENT}, count=_COUNT, next=_NEXT)),
        **_problems(400, 401, 403, 503),
    }
}
_CHECKED = _object(
    stream=_TEXT,
    events=_COUNT,
    last=_COUNT,
    expired_through=_COUNT,
    verbatim={"type": ["boolean", "null"], "description": "what is stored has the hashes of the lines that came"},
    logged=_COUNT,
    unlogged=_COUNT,
    entries={"type": "array", "items": _COUNT},
    findings={"type": "array", "items": _object(state=_TEXT, detail=_TEXT)},
    unchecked={"type": "array", "items": _TEXT},
)
_VERIFICATION = _object(
    trace_id=_TEXT,
    trail=_TEXT,
    log={"type": "boolean"},
    cosigned={"type": "boolean"},
    events_without_position=_COUNT,
    streams={"type": "array", "items": _CHECKED},
)
GET_VERIFICATION: Route = {
    "responses": {200: _answer("What was found.", _VERIFICATION), **_problems(400, 401, 403, 404, 503)}
}
_LOGGED = _object(entries={"type": "array", "items": _object(index=_COUNT, status={"enum": ["logged", "duplicate"]})})
_OFFERED = _object(digest={"type": "string", "pattern": "^[0-9a-f]{64}$"}, subject=_TEXT)
POST_LOG: Route = {
    "status_code": 201,
    "responses": {201: _answer("Logged.", _LOGGED), 200: _answer("Logged already.", _LOGGED), **_INGEST},
    "openapi_extra": _body({JSON: {"schema": {"type": "array", "items": _OFFERED, "minItems": 1}}}),
}
_FILE = {"type": "string", "format": "binary"}
GET_PROOF: Route = {
    "responses": {200: _answer("The proof.", _TEXT, "text/plain"), **_problems(400, 401, 403, 404, 503)}
}
GET_CHECKPOINT: Route = {
    "responses": {200: _answer("The checkpoint.", _TEXT, "text/plain"), **_problems(401, 403, 404, 503)}
}
GET_TILE: Route = {
    "responses": {200: _answer("The tile.", _FILE, "application/octet-stream"), **_problems(401, 403, 404, 503)}
}
_BUNDLE_PUT = _object(
    digest=_TEXT,
    status={"enum": ["stored", "duplicate"]},
    subject={"type": "string", "description": "what the digest belongs to, in the log"},
    log={"enum": ["none", "logged", "halted", "unavailable"]},
    witnessed={"type": "boolean"},
    proof={"type": ["string", "null"], "description": "C2SP tlog-proof, to be kept beside the bundle"},
)
PUT_BUNDLE: Route = {
    "status_code": 201,
    "responses": {
        201: _answer("Kept.", _BUNDLE_PUT),
        200: _answer("Kept already.", _BUNDLE_PUT),
        **_problems(400, 401, 403, 408, 413, 415, 503),
    },
    "openapi_extra": _body({"application/zip": {"schema": _FILE}}),
}
GET_BUNDLE: Route = {
    "responses": {200: _answer("The bundle.", _FILE, "application/zip"), **_problems(400, 401, 403, 404, 503)}
}
PUT_ATTESTATIONS: Route = {
    "status_code": 201,
    "responses": {
        status: _answer(said, _object(digest=_TEXT, stored=_COUNT, duplicates=_COUNT))
        for status, said in ((201, "Kept."), (200, "Kept already."))
    }
    | _problems(400, 401, 403, 404, 408, 409, 413, 415, 503),
    "openapi_extra": _body({kind: {"schema": {}} for kind in ("application/json", "application/x-ndjson")}),
}
GET_ATTESTATIONS: Route = {
    "responses": {
        200: _answer("Attestations, one a line.", _TEXT, "application/x-ndjson"),
        **_problems(400, 401, 403, 404, 503),
    }
}
_BUNDLE = _object(
    digest=_TEXT,
    repository=_TEXT,
    run_id=_COUNT,
    run_attempt=_COUNT,
    agent=_TEXT,
    outcome=_TEXT,
    resource=_TEXT,
    trace_id=_TEXT,
    received_at={"type": "string", "format": "date-time"},
    received_by={"type": "string", "description": "the id of the key that sent it"},
    bytes=_COUNT,
    held_because={"type": ["string", "null"], "description": "why it must not be deleted"},
    locked_until={"type": ["string", "null"], "description": "until when the archive's store lets nobody delete it"},
)
GET_BUNDLES: Route = {
    "responses": {
        200: _answer(
            "A page of bundles.",
            _object(
                bundles={"type": "array", "items": _BUNDLE},
                next={"type": ["string", "null"], "description": "what to send as `cursor` for the next page"},
            ),
        ),
        **_problems(400, 401, 403, 503),
    }
}
GET_ROOT: Route = {"responses": {200: _answer("What this is.", _object(name=_TEXT, status=_TEXT, version=_TEXT))}}
GET_HEALTH: Route = {"responses": {200: _answer("Alive.", _object(status=_TEXT))}}
_ARCHIVE = {"type": "string", "description": "`ready`, or why bundles can't be kept; events are stored all the same"}
GET_READY: Route = {
    "responses": {
        200: _answer("Ready.", _object(status=_TEXT) | {"properties": {"status": _TEXT, "archive": _ARCHIVE}}),
        **_problems(503),
    }
}
GET_METRICS: Route = {
    "responses": {200: _answer("Metrics.", _TEXT, "text/plain"), **_problems(401, 403, 503)},
}

_PROBLEM = {
    "type": "object",
    "description": "What is wrong (RFC 9457).",
    "properties": {
        "type": {"type": "string", "description": "what kind of problem, stable"},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "for people"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "field": {"type": "string", "description": "the member or parameter at fault"},
                    "detail": _TEXT,
                    "index": {"type": "integer", "description": "position of the event in the batch, from 0"},
                    "line": {"type": "integer", "description": "line of the body, from 1"},
                    "event_id": _TEXT,
                },
                "required": ["detail"],
            },
        },
    },
    "required": ["type", "title", "status", "detail"],
}


@cache
def _event_schema() -> dict[str, Any]:
    text = SCHEMA_FILE.read_text(encoding="utf-8").replace('"#/$defs/', '"#/components/schemas/AuditEvent/$defs/')
    schema: dict[str, Any] = json.loads(text)
    return {name: value for name, value in schema.items() if name not in ("$schema", "$id")}


def _stored_event_schema() -> dict[str, Any]:
    schema = _event_schema()
    received = {"type": "string", "format": "date-time", "description": "when the backend got it, by its own clock"}
    return schema | {
        "properties": schema["properties"] | {"received_at": received},
        "required": [*schema["required"], "received_at"],
    }


def document_of(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return a function that describes the API, for FastAPI to serve."""

    @cache
    def document() -> dict[str, Any]:
        whole = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        schemas = whole["components"]["schemas"]
        for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form of errors is not used here
            schemas.pop(unused, None)
        schemas |= {"AuditEvent": _event_schema(), "StoredEvent": _stored_event_schema(), "Problem": _PROBLEM}
        whole["components"]["securitySchemes"] = {"ApiKey": {"type": "http", "scheme": "bearer"}}
        for path, operations in whole["paths"].items():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                if path.startswith(("/v1", "/log")) or path == "/metrics":
                    operation["security"] = [{"ApiKey": []}]
        return whole

    return document
