"""The archive over HTTP: bundles in, and out again."""

from __future__ import annotations

import asyncio
from os import SEEK_END
from typing import Annotated, BinaryIO

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse

from app.api import openapi
from app.api.body import JSON, LINES, media_type, read_body
from app.api.queries import Moment, ShortText
from app.archive.archive import Archive, stream
from app.archive.attestation import MAX_BYTES, MOST
from app.archive.bundle import InvalidBundle
from app.auth.guard import Guard
from app.events.model import timestamp_of
from app.log.entries import is_digest
from app.problems import Problem, bad_parameter
from app.settings import Settings
from app.store.bundles import Kept, Wanted, select_bundles
from app.store.store import Store

router = APIRouter(tags=["archive"])

ZIP = "application/zip"
MAX_WAIT = 30.0
_STATUS = {
    "bundle-too-large": 413,
    "bundle-other-owner": 403,
    "attestation-too-large": 413,
    "attestation-too-many": 409,
}


class Waiting(BaseModel):
    """How a bundle is to be taken."""

    model_config = ConfigDict(extra="forbid")

    wait: Annotated[float, Field(ge=0, le=MAX_WAIT, description="seconds to wait for the log's witnesses")] = 0


class List(BaseModel):
    """Which bundles are wanted."""

    model_config = ConfigDict(extra="forbid")

    repository: ShortText | None = None
    agent: ShortText | None = None
    since: Annotated[Moment | None, Field(description="earliest `received_at`, inclusive (RFC 3339)")] = None
    until: Annotated[Moment | None, Field(description="latest `received_at`, exclusive (RFC 3339)")] = None
    limit: Annotated[int, Field(ge=1, le=1000, description="most bundles in one answer")] = 100
    cursor: Annotated[str | None, Field(max_length=100, description="`next` of the answer before")] = None


@router.put("/v1/bundles/{digest}", **openapi.PUT_BUNDLE)
async def put_bundle(request: Request, digest: str, query: Annotated[Waiting, Query()]) -> Response:
    """Keep a bundle: a ZIP file whose `bundle.json` has the SHA-256 `digest`. The answer comes when it is durable.

    Where there is a transparency log, the digest becomes an entry of it, and the answer has the proof.
    """
    guard: Guard = request.app.state.guard
    key = await guard.require(request, "write")
    media_type(request, (ZIP,))
    archive: Archive = request.app.state.archive
    settings: Settings = request.app.state.settings
    _require_digest(digest)
    length = request.headers.get("content-length", "")
    try:
        if length.isdecimal() and int(length) > archive.limit:
            raise InvalidBundle("bundle-too-large", f"it has more than {archive.limit} bytes")
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise InvalidBundle("bundle-not-zip", "it has a Content-Encoding; send the ZIP file as it is")
        async with asyncio.timeout(settings.body_timeout_seconds):
            kept, new = await archive.receive(request.stream(), digest, key)
    except InvalidBundle as problem:
        detail = f"{problem.detail}. Nothing was stored."
        raise Problem(_STATUS.get(problem.kind, 400), problem.kind, "Invalid bundle", detail) from None
    except TimeoutError:
        detail = f"the bundle did not arrive within {settings.body_timeout_seconds:g} seconds"
        raise Problem(408, "request-timeout", "Request timeout", detail, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise Problem(400, "incomplete-body", "Incomplete body", "the connection ended before the body") from None
    logged = await archive.log(kept.bundle, query.wait)
    answer = {
        "digest": digest,
        "status": "stored" if new else "duplicate",
        "subject": kept.bundle.subject,
        "log": logged.log,
        "witnessed": logged.witnessed,
        "proof": logged.proof,
    }
    return Response(msgspec.json.encode(answer), 201 if new else 200, None, JSON)


@router.get("/v1/bundles/{digest}", **openapi.GET_BUNDLE)
async def get_bundle(request: Request, digest: str) -> Response:
    """Return a bundle as it was delivered. An event of the trace `aimgentix-archive` records who read it."""
    guard: Guard = request.app.state.guard
    key = await guard.require(request, "read")
    _require_digest(digest)
    archive: Archive = request.app.state.archive
    file = await archive.open(digest, key)
    if file is None:
        raise _no_bundle()
    return download(file, digest)


@router.put("/v1/bundles/{digest}/attestations", **openapi.PUT_ATTESTATIONS)
async def put_attestations(request: Request, digest: str) -> Response:
    """Keep attestations of a bundle that is kept: one in JSON, as `actions/attest` writes it, or one a line.

    Each has to be of this bundle. Whether it is genuine, `verify` says to whoever has the keys that they trust.
    """
    guard: Guard = request.app.state.guard
    key = await guard.require(request, "write")
    media_type(request, (JSON, *LINES))
    _require_digest(digest)
    archive: Archive = request.app.state.archive
    settings: Settings = request.app.state.settings
    data = await read_body(request, MOST * MAX_BYTES, settings.body_timeout_seconds)
    try:
        counts = await archive.attest(digest, data, key)
    except InvalidBundle as problem:
        detail = f"{problem.detail}. Nothing was stored."
        raise Problem(_STATUS.get(problem.kind, 400), problem.kind, "Invalid attestation", detail) from None
    if counts is None:
        raise _no_bundle()
    new, duplicates = counts
    answer = {"digest": digest, "stored": new, "duplicates": duplicates}
    return Response(msgspec.json.encode(answer), 201 if new else 200, None, JSON)


@router.get("/v1/bundles/{digest}/attestations", **openapi.GET_ATTESTATIONS)
async def get_attestations(request: Request, digest: str) -> Response:
    """Return the attestations that are kept of a bundle, one a line; none is an empty answer. Who reads is recorded."""
    guard: Guard = request.app.state.guard
    key = await guard.require(request, "read")
    _require_digest(digest)
    archive: Archive = request.app.state.archive
    found = await archive.attestations(digest, key)
    if found is None:
        raise _no_bundle()
    return Response("".join(f"{one}\n" for one in found), media_type=LINES[0])


def _no_bundle() -> Problem:
    return Problem(404, "not-found", "Not found", "the archive has no such bundle")


def download(file: BinaryIO, digest: str) -> Response:
    """Return the answer that gives a bundle's file out and closes it."""
    headers = {
        "Content-Length": str(file.seek(0, SEEK_END)),
        "Content-Disposition": f'attachment; filename="{digest}.zip"',
    }
    file.seek(0)
    return StreamingResponse(stream(file), 200, headers, ZIP)


@router.get("/v1/bundles", **openapi.GET_BUNDLES)
async def get_bundles(request: Request, query: Annotated[List, Query()]) -> Response:
    """List the bundles that are kept, in the order in which they came."""
    guard: Guard = request.app.state.guard
    await guard.require(request, "read")
    after = None
    if query.cursor is not None:
        received, _, digest = query.cursor.partition("-")
        if not (received.isascii() and received.isdecimal() and len(received) < 19 and is_digest(digest)):
            raise bad_parameter("cursor", "is not one that an answer gave as `next`")
        after = (int(received), digest)
    wanted = Wanted(query.repository, query.agent, query.since, query.until)
    store: Store = request.app.state.store
    found = await store.read(lambda connection: select_bundles(connection, wanted, after, query.limit + 1))
    shown = found[: query.limit]
    following = f"{shown[-1].received_at}-{shown[-1].bundle.digest}" if len(found) > query.limit else None
    return Response(msgspec.json.encode({"bundles": list(map(_described, shown)), "next": following}), media_type=JSON)


def _described(kept: Kept) -> dict[str, object]:
    one = kept.bundle
    return {
        "digest": one.digest,
        "repository": one.repository,
        "run_id": one.run_id,
        "run_attempt": one.run_attempt,
        "agent": one.agent,
        "outcome": one.outcome,
        "resource": one.resource,
        "trace_id": one.trace_id,
        "received_at": timestamp_of(kept.received_at),
        "received_by": kept.received_by,
        "bytes": kept.bytes,
        "held_because": kept.held_because,
        "locked_until": None if kept.locked_until is None else timestamp_of(kept.locked_until),
    }


def _require_digest(digest: str) -> None:
    if not is_digest(digest):
        raise bad_parameter("digest", "is not a SHA-256 in 64 lower-case hex digits")
