"""The transparency log over HTTP: entries in, proofs out, and the tree as files (C2SP tlog-tiles)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api import openapi
from app.api.body import JSON, media_type, read_body
from app.api.queries import ShortText
from app.auth.guard import Guard, MayRead
from app.auth.keys import ApiKey
from app.log.checkpoint import Proof
from app.log.entries import BUNDLE, MAX_SUBJECT, Entry, is_digest
from app.log.faults import Fault
from app.log.tiles import parse_path
from app.problems import Problem
from app.settings import Settings
from app.store.base import ReadConnection
from app.store.log import find_entry, latest, prove, read_tile
from app.store.sequencer import Sequencer
from app.store.store import Store

router = APIRouter(tags=["log"])

TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
MOST_ENTRIES = 1000


class Offered(msgspec.Struct, forbid_unknown_fields=True):
    """One item of a request: the digest of a bundle, and what it belongs to."""

    digest: str
    subject: str


class Wanted(BaseModel):
    """Which entry is meant: by its index, or by what was logged."""

    model_config = ConfigDict(extra="forbid")

    index: Annotated[int | None, Field(ge=0, lt=2**62)] = None
    digest: Annotated[str | None, Field(pattern="^[0-9a-f]{64}$")] = None
    subject: ShortText | None = None


@router.post("/v1/log/entries", **openapi.POST_LOG)
async def post_entries(request: Request) -> Response:
    """Log the digests of bundles. The answer comes when they are durable and in a signed checkpoint.

    A digest that is logged already for the same subject keeps its place.
    """
    guard: Guard = request.app.state.guard
    key = await guard.require(request, "write")
    media_type(request, (JSON,))
    settings: Settings = request.app.state.settings
    entries = _entries(await read_body(request, settings.max_body_bytes, settings.body_timeout_seconds))
    _require_allowed(entries, key)
    sequencer: Sequencer = request.app.state.log
    try:
        places = await sequencer.add(entries)
    except Fault as fault:
        raise _halted(fault) from None
    answer = [{"index": one.index, "status": "logged" if one.new else "duplicate"} for one in places]
    return Response(
        msgspec.json.encode({"entries": answer}), 201 if any(one.new for one in places) else 200, None, JSON
    )


@router.get("/v1/log/proof", **openapi.GET_PROOF)
async def get_proof(request: Request, query: Annotated[Wanted, Query()], _: MayRead) -> Response:
    """Return the proof that an entry is in the log (C2SP tlog-proof), with the entry in it, to be checked offline."""
    if (query.index is None) == (query.digest is None) or (query.digest is None) != (query.subject is None):
        detail = "give index, or digest and subject"
        raise Problem(400, "invalid-parameter", "Invalid parameter", detail)

    def read(connection: ReadConnection) -> Proof | None:
        index = query.index
        if index is None:
            index = find_entry(connection, Entry(BUNDLE, query.subject, query.digest or "", 0).identity)
        return None if index is None else prove(connection, index)

    store: Store = request.app.state.store
    try:
        proof = await store.read(read)
    except Fault as fault:
        raise _halted(fault) from None
    if proof is None:
        raise Problem(404, "not-found", "Not found", "the log has no such entry")
    return Response(str(proof), media_type=TEXT)


@router.get("/log/checkpoint", **openapi.GET_CHECKPOINT)
async def get_checkpoint(request: Request) -> Response:
    """Return the newest checkpoint, with the witnesses' signatures that it has by now."""
    await _may_mirror(request)
    store: Store = request.app.state.store
    published = await store.read(latest)
    if published is None:
        raise Problem(404, "not-found", "Not found", "the log has no checkpoint yet")
    return Response(str(published.note), media_type=TEXT)


@router.get("/log/tile/{path:text}", **openapi.GET_TILE)
async def get_tile(request: Request, path: str) -> Response:
    """Return hashes of the tree, or a bundle of entries, by a path that C2SP tlog-tiles defines."""
    await _may_mirror(request)
    tile = parse_path(path)
    store: Store = request.app.state.store
    try:
        data = None if tile is None else await store.read(lambda connection: read_tile(connection, tile))
    except Fault as fault:
        raise _halted(fault) from None
    if data is None:
        raise Problem(404, "not-found", "Not found", "the log has no such tile")
    return Response(data, media_type=BYTES)


async def _may_mirror(request: Request) -> None:
    settings: Settings = request.app.state.settings
    if not settings.log_public:
        guard: Guard = request.app.state.guard
        await guard.require(request, "read")


def _entries(body: bytes) -> list[Entry]:
    try:
        offered = msgspec.json.decode(body, type=list[Offered])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _invalid(f"the body is not a JSON array of objects with digest and subject: {error}") from None
    if not 1 <= len(offered) <= MOST_ENTRIES:
        raise _invalid(f"the body has 1 to {MOST_ENTRIES} entries, not {len(offered)}")
    now = time.time_ns() // 1000
    for number, one in enumerate(offered):
        if not is_digest(one.digest):
            raise _invalid(f"entry {number}: digest is not a SHA-256 in 64 lower-case hex digits")
        if not 0 < len(one.subject) <= MAX_SUBJECT or "\0" in one.subject:
            raise _invalid(f"entry {number}: subject has 1 to {MAX_SUBJECT} characters, none of them U+0000")
    return [Entry(BUNDLE, one.subject, one.digest, now) for one in offered]


def _require_allowed(entries: Sequence[Entry], key: ApiKey | None) -> None:
    """Refuse what a bound key must not log: what a subject says of an agent nobody can see."""
    if key is None or (key.agent is None and key.repository is None):
        return
    start = f"{key.repository}/"
    if key.agent is not None or not all((entry.subject or "").startswith(start) for entry in entries):
        allowed = f"subjects that begin with {start}" if key.agent is None else "what it delivers as a bundle"
        raise Problem(403, "forbidden", "Forbidden", f"the key is bound; it logs {allowed}")


def _invalid(detail: str) -> Problem:
    return Problem(400, "invalid-entry", "Invalid entry", f"{detail}. Nothing was logged.")


def _halted(fault: Fault) -> Problem:
    error = {"field": fault.code, "detail": fault.detail}
    return Problem(503, "log-halted", "Log halted", f"the transparency log is damaged: {fault}", errors=[error])
