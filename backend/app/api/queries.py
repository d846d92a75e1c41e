"""Giving events out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response, StreamingResponse

from app.api import openapi
from app.api.body import JSON
from app.archive.reads import Exporting, Reads
from app.auth.guard import MayRead
from app.auth.keys import ApiKey
from app.events import model, render
from app.events.cursor import InvalidCursor, decode_cursor, encode_cursor
from app.events.gaps import StreamGaps, stream_gaps
from app.events.ocsf import ocsf_lines
from app.problems import Problem, bad_parameter
from app.store.base import ReadConnection
from app.store.queries import (
    Filter,
    Order,
    Page,
    Place,
    StoredEvent,
    count_without_stream,
    select_broken,
    select_event,
    select_forks,
    select_holes,
    select_page,
    select_streams,
)
from app.store.store import Store


class TextConvertor(Convertor[str]):
    """Any text in a path, slashes and line breaks too: ids may hold every character."""

    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        """Return the text itself."""
        return value

    def to_string(self, value: str) -> str:
        """Return the text itself."""
        return value


register_url_convertor("text", TextConvertor())

router = APIRouter(tags=["query"])


class _Belonging(msgspec.Struct):
    """What of an event's body says which run it belongs to."""

    trace_id: str


_belonging = msgspec.json.Decoder(_Belonging)

MAX_LIMIT = 1000
_EXPORT_PAGE = 1000
_MAX_STREAMS = 200
_MAX_RANGES = 100


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain U+0000")
    return text


def _instant(value: object) -> object:
    """Return the instant of a query parameter; a `+` that was not escaped arrives as a space."""
    if not isinstance(value, str):
        return value
    try:
        return model.microseconds(value.replace(" ", "+"))
    except ValueError:
        raise ValueError(model.RULES["timestamp"]) from None


ShortText = Annotated[str, Field(min_length=1, max_length=model.MAX_ID), AfterValidator(_without_nul)]
LongText = Annotated[str, Field(min_length=1, max_length=model.MAX_RESOURCE), AfterValidator(_without_nul)]
Moment = Annotated[int, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]
PathText = Annotated[ShortText, Path()]


class Narrowing(BaseModel):
    """Which events of those that the path names are wanted. An unknown parameter is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")

    actor: model.Actor | None = None
    action_type: model.ActionType | None = None
    resource: LongText | None = None
    status: model.Status | None = None
    since: Annotated[Moment | None, Field(description="earliest `timestamp`, inclusive (RFC 3339)")] = None
    until: Annotated[Moment | None, Field(description="latest `timestamp`, exclusive (RFC 3339)")] = None

    def filter(self, *, agent: str | None = None, trace: str | None = None) -> Filter:
        """Return the filter for the store."""
        return Filter(
            agent, trace, self.actor, self.action_type, self.resource, self.status, self.since, self.until
        )  # fmt: skip


class Newest(Narrowing):
    """A page of a list, the newest events first unless said otherwise."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="most events in one answer")] = 100
    cursor: Annotated[str | None, Field(max_length=100, description="`next` of the answer before")] = None
    order: Order = "desc"


class Oldest(Newest):
    """A page of a list, the oldest events first unless said otherwise."""

    order: Order = "asc"


class Everything(Newest):
    """A page of the list of all events."""

    agent_instance_id: ShortText | None = None
    trace_id: ShortText | None = None


class Export(Narrowing):
    """All events, oldest first."""

    agent_instance_id: ShortText | None = None
    trace_id: ShortText | None = None
    format: Annotated[Literal["ndjson", "csv", "ocsf"], Field(description="`ocsf`: JSON lines, too")] = "ndjson"
    after: Annotated[
        UUID | None, Field(description="`event_id` of the last whole event that came: go on behind it, without a head")
    ] = None


@router.get("/v1/events", **openapi.GET_EVENTS)
async def get_events(request: Request, query: Annotated[Everything, Query()], key: MayRead) -> Response:
    """List events by time, newest first."""
    wanted = _indexed(query.filter(agent=query.agent_instance_id, trace=query.trace_id))
    return await _page(request, query, wanted, key)


@router.get("/v1/agents/{agent_instance_id:text}/events", **openapi.GET_EVENTS)
async def get_agent_events(
    request: Request, agent_instance_id: PathText, query: Annotated[Newest, Query()], key: MayRead
) -> Response:
    """List what one agent did, newest first."""
    return await _page(request, query, query.filter(agent=agent_instance_id), key)


@router.get("/v1/traces/{trace_id:text}/events", **openapi.GET_EVENTS)
async def get_trace_events(
    request: Request, trace_id: PathText, query: Annotated[Oldest, Query()], key: MayRead
) -> Response:
    """List what happened in one trace, from the beginning."""
    return await _page(request, query, query.filter(trace=trace_id), key)


@router.get("/v1/events/{event_id:uuid}", **openapi.GET_EVENT)
async def get_event(request: Request, event_id: UUID, key: MayRead) -> Response:
    """Return one event."""
    store: Store = request.app.state.store
    wanted = store.encode_id(event_id.bytes)
    event = await store.read(lambda connection: select_event(connection, wanted))
    if event is None:
        raise Problem(404, "not-found", "Not found", "there is no event with this id")
    reads: Reads = request.app.state.reads
    reads.note(key, Filter(trace_id=_belonging.decode(event.body).trace_id), 1)
    return Response(render.event_json(event), media_type=JSON)


@router.get("/v1/traces/{trace_id:text}/gaps", **openapi.GET_GAPS)
async def get_trace_gaps(request: Request, trace_id: PathText, _: MayRead) -> Response:
    """Return which sequence numbers are missing, for every journal stream that the trace's events came by.

    A stream is looked at as a whole, with its events of other traces. What is missing after a stream's last event can't
    be known from here: the journal itself, or a trace's terminal event, shows it.
    """
    store: Store = request.app.state.store

    def read(connection: ReadConnection) -> tuple[int, int, list[StreamGaps]]:
        events, unplaced = count_without_stream(connection, trace_id)
        streams = []
        for summary in select_streams(connection, trace_id, _MAX_STREAMS):
            holes = select_holes(connection, summary.stream, summary.expired_through, _MAX_RANGES)
            forks = select_forks(connection, summary.stream, _MAX_RANGES)
            broken = select_broken(connection, summary.stream, summary.expired_through, _MAX_RANGES)
            streams.append(stream_gaps(summary, holes, forks, broken))
        return events, unplaced, streams

    events, unplaced, streams = await store.read(read)
    document = {
        "trace_id": trace_id,
        "events": events,
        "events_without_position": unplaced,
        "missing": sum(stream.missing_count for stream in streams),
        "streams": [
            {
                "stream": stream.stream,
                "last": stream.last,
                "received": stream.received,
                "expired_through": stream.expired_through,
                "missing_count": stream.missing_count,
                "missing": [{"first": first, "last": last} for first, last in stream.missing],
                "forked": stream.forked,
                "broken": stream.broken,
            }
            for stream in streams
        ],
    }
    return Response(msgspec.json.encode(document), media_type=JSON)


@router.get("/v1/export", **openapi.GET_EXPORT)
async def export(request: Request, query: Annotated[Export, Query()], key: MayRead) -> Response:
    """Return all events that the filters select, oldest first, as a download.

    Events that arrive meanwhile may be in it or not. A download that breaks off is marked as incomplete by HTTP; with
    the same filters and `after`, it goes on where it ended.
    """
    wanted = _indexed(query.filter(agent=query.agent_instance_id, trace=query.trace_id))
    after = None
    if query.after is not None:
        store: Store = request.app.state.store
        last = store.encode_id(query.after.bytes)
        found = await store.read(lambda connection: select_event(connection, last))
        if found is None:
            detail = "is not the id of an event that is kept here; begin again with the timestamp of yours as since"
            raise bad_parameter("after", detail)
        after = found.place
    facts = {} if query.after is None else {"behind": str(query.after)}
    return await export_events(request, key, wanted, f"events.{query.format}", form=query.format, after=after, **facts)


@dataclass(frozen=True)
class Format:
    """How exported events are written.

    Attributes:
        head: what comes before the first of them.
    """

    media_type: str
    write: Callable[[Sequence[StoredEvent]], bytes]
    head: bytes = b""


FORMATS = {
    "ndjson": Format("application/x-ndjson", render.lines),
    "csv": Format("text/csv; charset=utf-8", render.csv_rows, render.csv_header()),
    "ocsf": Format("application/x-ndjson", ocsf_lines),
}


async def export_events(
    request: Request,
    key: ApiKey | None,
    wanted: Filter,
    name: str,
    *,
    form: str = "ndjson",
    after: Place | None = None,
    **facts: str,
) -> Response:
    """Return all events that a filter selects, or those behind a place, as a download with this name.

    Args:
        key: who exports them; that they do is recorded before they get any.
        facts: what else is to be recorded.
    """
    store: Store = request.app.state.store
    reads: Reads = request.app.state.reads
    first = await store.read(lambda connection: select_page(connection, wanted, "asc", after, _EXPORT_PAGE))
    begun = await reads.begin(key, wanted, format=form, **facts)
    return StreamingResponse(
        _export(store, wanted, first, FORMATS[form], begun, has_head=after is None),
        media_type=FORMATS[form].media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _indexed(wanted: Filter) -> Filter:
    """Return a filter that an index answers.

    Raises:
        Problem: all events would have to be looked at to find few.
    """
    narrowing = (wanted.agent_instance_id, wanted.trace_id, wanted.since)
    if all(value is None for value in narrowing) and wanted.status in (None, "success"):
        for name in ("resource", "actor", "action_type", "status"):
            if getattr(wanted, name) is not None:
                raise bad_parameter(
                    name, "is not enough for this many events: add agent_instance_id, trace_id or since"
                )
    return wanted


async def _export(
    store: Store,
    wanted: Filter,
    first: Page,
    form: Format,
    begun: Exporting,
    *,
    has_head: bool,
) -> AsyncIterator[bytes]:
    ended = "broken off"  # by who reads it
    try:
        yield form.head if has_head else b""
        page = first
        while True:
            begun.items += len(page.events)
            yield form.write(page.events)
            if page.following is None:
                break
            page = await store.read(
                partial(select_page, wanted=wanted, order="asc", after=page.following, limit=_EXPORT_PAGE)
            )
        ended = "complete"
    except Exception:
        ended = "failed"
        raise
    finally:
        begun.end(ended)


async def _page(request: Request, query: Newest, wanted: Filter, key: ApiKey | None) -> Response:
    after: Place | None = None
    if query.cursor is not None:
        try:
            after = decode_cursor(query.cursor, query.order)
        except InvalidCursor as error:
            raise bad_parameter("cursor", str(error)) from None
    store: Store = request.app.state.store
    page = await store.read(lambda connection: select_page(connection, wanted, query.order, after, query.limit))
    following = None if page.following is None else encode_cursor(page.following, query.order)
    reads: Reads = request.app.state.reads
    reads.note(key, wanted, len(page.events))
    return Response(render.page_json(page.events, following), media_type=JSON)
