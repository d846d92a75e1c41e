"""The pages. Each asks the store what the API asks it."""

from __future__ import annotations

import asyncio
import re
import string
import time
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import FileResponse, RedirectResponse, Response

from app.api.queries import export_events
from app.api.runs import Runs, agent_cursor, decode_agent_cursor, log_keys
from app.archive.reads import Reads
from app.auth.guard import Guard
from app.auth.sessions import form_token
from app.events.model import MAX_ID
from app.events.run import OTHER, OUTCOMES, PHASES, Run
from app.log.entries import is_digest
from app.metrics import Metrics
from app.problems import Problem, bad_parameter
from app.store.base import ReadConnection
from app.store.bundles import bundles_of
from app.store.queries import Filter, Place, select_page
from app.store.runs import (
    REFUSED,
    TRAILS,
    RunFilter,
    count_agents,
    count_outcomes,
    count_trails,
    find_run,
    list_agents,
    list_late,
    list_runs,
    progress,
)
from app.store.store import Store
from app.ui.access import (
    COOKIE,
    FORM_COOKIE,
    CurrentReader,
    Reader,
    new_form,
    next_path,
    offer_form,
    read_form,
    sign_in,
    sign_out,
)
from app.ui.bundles import read_plan
from app.ui.render import HERE, page
from app.ui.view import properties_of, view_of

if TYPE_CHECKING:
    from app.archive.archive import Archive

router = APIRouter(include_in_schema=False)

_PLACE = re.compile(r"(-?[0-9]{1,18})\.([0-9]{1,18})")
_FILE_NAME = frozenset(string.ascii_letters + string.digits + "._")

RUNS_SHOWN = 50
BUNDLES_SHOWN = 10
VERIFIED_AT_ONCE = 2000
"""A run with more events is verified when somebody asks for that."""
EVENTS_SHOWN = 500
HOUR_US = 3600 * 1_000_000
LATE_US = 2 * HOUR_US
"""A run that did not end, and from which nothing came for so long, is late."""
WEEK_US = 7 * 24 * HOUR_US


@router.get("/ui/style.css")
async def get_style() -> Response:
    """Return the one style sheet."""
    return FileResponse(HERE / "style.css", headers={"Cache-Control": "max-age=300"})


@router.get("/ui/sign-in")
async def get_sign_in(request: Request) -> Response:
    """Show the form for signing in."""
    return _sign_in_page(request, request.query_params.get("next", ""))


def _sign_in_page(request: Request, following: str, problem: str = "", status: int = 200) -> Response:
    token = new_form()
    response = page(
        request, "sign-in.html", None, status, token=form_token(token), following=following[:1000], problem=problem
    )
    offer_form(request, response, token)
    return response


@router.post("/ui/sign-in")
async def post_sign_in(request: Request) -> Response:
    """Sign somebody in who has a key that may read."""
    fields = await read_form(request, FORM_COOKIE)
    guard: Guard = request.app.state.guard
    following = fields.get("next", "")
    try:
        key = await guard.reader_key(fields.get("key", "").strip())
    except Problem as problem:
        return _sign_in_page(request, following, problem.detail, problem.status)
    response = RedirectResponse(next_path(request, following), 303)
    await sign_in(request, key, response)
    return response


@router.post("/ui/sign-out")
async def post_sign_out(request: Request) -> Response:
    """End the session."""
    await read_form(request, COOKIE)
    response = RedirectResponse(next_path(request, "/ui/sign-in"), 303)
    await sign_out(request, response)
    return response


@router.get("/ui")
@router.get("/ui/runs")
async def get_runs(request: Request, reader: CurrentReader) -> Response:
    """Show runs: what waits, how they ended of late, and those that are searched for."""
    given = _parameters(request)
    wanted = _wanted(given)
    store: Store = request.app.state.store
    now = _now()

    def read(connection: ReadConnection) -> dict[str, Any]:
        runs, following = wanted.page(connection)
        return {
            "runs": runs,
            "following": following,
            "waiting": list_runs(connection, RunFilter(outcome="waiting"), None, 10) if not given else [],
            "outcomes": count_outcomes(connection, now - WEEK_US),
            "behind": progress(connection).waiting,
        }

    values = await store.read(read)
    _note(request, reader, wanted.filter(), len(values["runs"]))
    names = ("not-allowed", *PHASES[1:], *OUTCOMES, OTHER)
    return page(request, "runs.html", reader, given=given, names=names, trails=TRAILS, refused=REFUSED, **values)


@router.get("/ui/run")
async def get_run(request: Request, reader: CurrentReader) -> Response:
    """Show one run: what was asked, approved, checked and done, and what the trail of it is worth."""
    # Only when somebody asks: what reads the log takes its time to load.
    from app.store.verification import verify_run

    given = _parameters(request, "trace", "after", "verify", "plan")
    after = _after(given.get("after"))
    keys = log_keys(request)
    has_archive = hasattr(request.app.state, "archive")

    def read(connection: ReadConnection) -> dict[str, Any]:
        run = _find(connection, given.get("trace", ""))
        events, more = select_page(connection, Filter(trace_id=run.trace_id), "asc", after, EVENTS_SHOWN)
        verified = run.events <= VERIFIED_AT_ONCE or "verify" in given
        report = verify_run(connection, run, keys) if verified else None
        return {
            "run": run,
            "view": view_of(events),
            "more": None if more is None else f"{more.occurred_at}.{more.position}",
            "report": report,
            "bundles": bundles_of(connection, run.trace_id, BUNDLES_SHOWN) if has_archive else [],
            "properties": None if report is None else properties_of(report),
        }

    store: Store = request.app.state.store
    values = await store.read(read)
    _note(request, reader, Filter(trace_id=values["run"].trace_id), values["run"].events)
    plan = None
    if "plan" in given and values["run"].plan_digest:
        file = await _open_bundle(request, given["plan"], reader)
        plan = await asyncio.to_thread(read_plan, file, values["run"].plan_digest)
    return page(
        request, "run.html", reader, refused=REFUSED, now=_now(), is_continued=after is not None, plan=plan,
        wants_plan="plan" in given, **values,
    )  # fmt: skip


@router.get("/ui/bundle")
async def get_bundle(request: Request, reader: CurrentReader) -> Response:
    """Download a bundle as it was delivered."""
    digest = _parameters(request, "digest").get("digest", "")
    file = await _open_bundle(request, digest, reader)
    from app.api.archive import download

    return download(file, digest)


async def _open_bundle(request: Request, digest: str, reader: Reader) -> BinaryIO:
    """Open a bundle; the archive records who reads it."""
    archive: Archive | None = getattr(request.app.state, "archive", None)
    file = await archive.open(digest, reader.key) if archive is not None and is_digest(digest) else None
    if file is None:
        raise _not_found("the archive has no such bundle")
    return file


@router.get("/ui/run/events")
async def get_run_events(request: Request, reader: CurrentReader) -> Response:
    """Download all events of a run as they were sent, one a line."""
    trace_id = _parameters(request, "trace").get("trace", "")
    store: Store = request.app.state.store
    run = await store.read(lambda connection: _find(connection, trace_id))
    name = "".join(character if character in _FILE_NAME else "-" for character in trace_id[:80])
    return await export_events(request, reader.key, Filter(trace_id=run.trace_id), f"events-{name}.ndjson")


@router.get("/ui/agents")
async def get_agents(request: Request, reader: CurrentReader) -> Response:
    """Show agents, the one heard of last first."""
    cursor = _parameters(request, "cursor").get("cursor")
    before = None if cursor is None else decode_agent_cursor(cursor)
    store: Store = request.app.state.store
    agents, count = await store.read(
        lambda connection: (list_agents(connection, before, RUNS_SHOWN + 1), count_agents(connection))
    )
    last = agents[RUNS_SHOWN - 1] if len(agents) > RUNS_SHOWN else None
    following = None if last is None else agent_cursor(last.last_received, last.agent)
    return page(request, "agents.html", reader, agents=agents[:RUNS_SHOWN], count=count, following=following)


@router.get("/ui/trails")
async def get_trails(request: Request, reader: CurrentReader) -> Response:
    """Show whether the trails are whole: gaps, forks, what is late, and what was refused."""
    _parameters(request)
    store: Store = request.app.state.store
    now = _now()

    def read(connection: ReadConnection) -> dict[str, Any]:
        return {
            "counts": count_trails(connection),
            "unsound": list_runs(connection, RunFilter(trail="unsound"), None, RUNS_SHOWN),
            "late": list_late(connection, now - LATE_US, RUNS_SHOWN),
            "progress": progress(connection),
        }

    metrics: Metrics = request.app.state.metrics
    values = await store.read(read)
    _note(request, reader, RunFilter(trail="unsound"), len(values["unsound"]))
    return page(
        request, "trails.html", reader, trails=TRAILS[1:], refusals=metrics.refusals(), late_hours=LATE_US // HOUR_US,
        **values,
    )  # fmt: skip


@router.get("/ui/log")
async def get_log(request: Request, reader: CurrentReader) -> Response:
    """Show the transparency log: what was signed last, and who else signed it."""
    _parameters(request)
    if not hasattr(request.app.state, "log"):
        return page(request, "log.html", reader, log=None)
    from app.ui.log import log_view

    store: Store = request.app.state.store
    sequencer = request.app.state.log
    return page(request, "log.html", reader, log=await store.read(partial(log_view, sequencer=sequencer)))


@router.get("/ui/log/proof")
async def get_proof(request: Request, _: CurrentReader) -> Response:
    """Download the proof that an entry is in the log."""
    index = _parameters(request, "index").get("index", "")
    if not hasattr(request.app.state, "log") or not (index.isascii() and index.isdecimal() and len(index) < 19):
        raise _not_found("the log has no such entry")
    from app.store.log import prove

    store: Store = request.app.state.store
    proof = await store.read(lambda connection: prove(connection, int(index)))
    if proof is None:
        raise _not_found("the log has no such entry")
    name = f"entry-{index}.tlog-proof"
    return Response(str(proof), 200, {"Content-Disposition": f'attachment; filename="{name}"'}, "text/plain")


@router.get("/ui/{path:text}")
async def get_nothing(_: CurrentReader) -> Response:
    """Say that there is no such page."""
    raise _not_found("there is no such page")


def _note(request: Request, reader: Reader, wanted: Filter | RunFilter, items: int) -> None:
    reads: Reads = request.app.state.reads
    reads.note(reader.key, wanted, items)


def _find(connection: ReadConnection, trace_id: str) -> Run:
    run = find_run(connection, trace_id) if 0 < len(trace_id) <= MAX_ID and "\0" not in trace_id else None
    if run is None:
        raise _not_found("no run with this id is known here; one that came just now takes a moment")
    return run


def _not_found(detail: str) -> Problem:
    return Problem(404, "not-found", "Not found", detail)


def _parameters(request: Request, *known: str) -> dict[str, str]:
    """Return the parameters of a page; a field that was left empty in a form is none.

    Raises:
        Problem: one is given twice, or, where the page has known ones, is not one of them.
    """
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise bad_parameter(name[:40], "is given twice")
        if known and name not in known:
            raise bad_parameter(name[:40], "is not a parameter of this page")
        given[name] = value
    return {name: value.strip() for name, value in given.items() if value.strip()}


def _wanted(given: dict[str, str]) -> Runs:
    """Return which runs are wanted. A date is a whole day, in UTC."""
    words = dict(given)
    for name, time_of_day in (("since", "T00:00:00Z"), ("until", "T23:59:59.999999Z")):
        if len(words.get(name, "")) == len("2026-11-30"):
            words[name] += time_of_day
    try:
        return Runs.model_validate({"limit": RUNS_SHOWN} | words)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        detail = (
            "is not a filter here" if fault["type"] == "extra_forbidden" else fault["msg"].removeprefix("Value error, ")
        )
        raise bad_parameter(str(fault["loc"][0])[:40], detail) from None


def _after(text: str | None) -> Place | None:
    if text is None:
        return None
    place = _PLACE.fullmatch(text)
    if place is None:
        raise bad_parameter("after", "is not a place in this run")
    return Place(int(place[1]), int(place[2]))


def _now() -> int:
    return time.time_ns() // 1000
