"""Runs and agents as lists, and whether what is stored of a run is what came."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api import openapi
from app.api.body import JSON
from app.api.queries import LongText, Moment, PathText, ShortText
from app.archive.reads import Reads
from app.auth.guard import MayRead
from app.events.model import timestamp_of
from app.events.run import MAX_TEXT, OTHER, OUTCOMES, PHASES, Run
from app.problems import Problem, bad_parameter
from app.store.base import ReadConnection
from app.store.runs import (
    TRAILS,
    Agent,
    RunFilter,
    count_agents,
    find_run,
    list_agents,
    list_runs,
    progress,
)
from app.store.store import Store

router = APIRouter(tags=["runs"])

MAX_LIMIT = 200
Outcome = Literal[(*PHASES, *OUTCOMES, OTHER, "not-allowed")]  # type: ignore[valid-type]
Trail = Literal[(*TRAILS, "unsound")]  # type: ignore[valid-type]


class Runs(BaseModel):
    """A page of the list of runs. A run is a trace. An unknown parameter is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[ShortText | None, Field(description="words, or beginnings of words, that all have to be there")] = (
        None
    )
    agent: ShortText | None = None
    repository: LongText | None = None
    resource: LongText | None = None
    outcome: Annotated[
        Outcome | None, Field(description="how it ended; `not-allowed`: it was refused, denied, rejected or expired")
    ] = None
    code: ShortText | None = None
    approver: ShortText | None = None
    trail: Annotated[Trail | None, Field(description="state of its trail; `unsound`: any but intact")] = None
    since: Annotated[Moment | None, Field(description="began to arrive at or after (RFC 3339)")] = None
    until: Annotated[Moment | None, Field(description="began to arrive before (RFC 3339)")] = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="most runs in one answer")] = 50
    cursor: Annotated[str | None, Field(pattern="^[0-9]{1,18}$", description="`next` of the answer before")] = None

    def filter(self) -> RunFilter:
        """Return the filter for the store."""
        return RunFilter(
            self.text, self.agent, self.repository, self.resource, self.outcome, self.code, self.approver, self.trail,
            self.since, self.until,
        )  # fmt: skip

    def page(self, connection: ReadConnection) -> tuple[list[Run], str | None]:
        """Return the runs of this page, and the cursor of the next one."""
        before = None if self.cursor is None else int(self.cursor)
        runs = list_runs(connection, self.filter(), before, self.limit + 1)
        following = str(runs[self.limit - 1].number) if len(runs) > self.limit else None
        return runs[: self.limit], following


class Agents(BaseModel):
    """A page of the list of agents."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="most agents in one answer")] = 50
    cursor: Annotated[str | None, Field(max_length=2000, description="`next` of the answer before")] = None


@router.get("/v1/runs", **openapi.GET_RUNS)
async def get_runs(request: Request, query: Annotated[Runs, Query()], key: MayRead) -> Response:
    """List runs, those that began to arrive last first.

    The list is made in the background: `waiting` says how many events are not in it yet.
    """
    store: Store = request.app.state.store
    (runs, following), known = await store.read(lambda connection: (query.page(connection), progress(connection)))
    reads: Reads = request.app.state.reads
    reads.note(key, query.filter(), len(runs))
    document = {"runs": [run_document(run) for run in runs], "next": following, "waiting": known.waiting}
    return Response(msgspec.json.encode(document), media_type=JSON)


@router.get("/v1/agents", **openapi.GET_AGENTS)
async def get_agents(request: Request, query: Annotated[Agents, Query()], _: MayRead) -> Response:
    """List agents, with how many runs and events ever came from each; the one heard of last is first."""
    store: Store = request.app.state.store
    before = None if query.cursor is None else decode_agent_cursor(query.cursor)
    agents, count = await store.read(
        lambda connection: (list_agents(connection, before, query.limit + 1), count_agents(connection))
    )
    last = agents[query.limit - 1] if len(agents) > query.limit else None
    document = {
        "agents": [_agent_document(agent) for agent in agents[: query.limit]],
        "count": count,
        "next": None if last is None else agent_cursor(last.last_received, last.agent),
    }
    return Response(msgspec.json.encode(document), media_type=JSON)


@router.get("/v1/traces/{trace_id:text}/verification", **openapi.GET_VERIFICATION)
async def get_verification(request: Request, trace_id: PathText, _: MayRead) -> Response:
    """Compare every stored event of a run's journals with its neighbours, with its hash, and with the transparency log.

    It says what the store shows, and nothing about what never reached it. Without a log, whoever may write to the store
    could have changed all of it.
    """
    # Only when somebody asks: what reads the log takes its time to load.
    from app.store.verification import verify_run

    keys = log_keys(request)

    def read(connection: ReadConnection) -> dict[str, Any] | None:
        run = find_run(connection, trace_id)
        return None if run is None else _report_document(run, verify_run(connection, run, keys))

    store: Store = request.app.state.store
    document = await store.read(read)
    if document is None:
        raise Problem(404, "not-found", "Not found", "no run with this trace id is known, or not yet")
    return Response(msgspec.json.encode(document), media_type=JSON)


def log_keys(request: Request) -> list[Any]:
    """Return the keys of the transparency log; none without one."""
    sequencer = getattr(request.app.state, "log", None)
    return [] if sequencer is None else [key.verifier for key in sequencer.guard.keys]


def run_document(run: Run) -> dict[str, Any]:
    """Return what the API says of a run."""
    return {
        "trace_id": run.trace_id,
        "agent": run.agent,
        "repository": run.repository,
        "run_id": run.run_id,
        "attempt": run.attempt,
        "resource": run.resource,
        "action": run.action,
        "plan_digest": run.plan_digest,
        "outcome": run.outcome,
        "conflicting": bool(run.conflicting),
        "code": run.code,
        "reason": run.reason,
        "approvers": run.approvers,
        "events": run.events,
        "started_at": timestamp_of(run.started_at),
        "last_at": timestamp_of(run.last_at),
        "first_received": timestamp_of(run.first_received),
        "last_received": timestamp_of(run.last_received),
        "trail": run.trail,
    }


def _agent_document(agent: Agent) -> dict[str, Any]:
    times = {name: timestamp_of(getattr(agent, name)) for name in ("first_received", "last_received")}
    return agent._asdict() | times


def _report_document(run: Run, report: Any) -> dict[str, Any]:
    return {
        "trace_id": run.trace_id,
        "trail": report.trail,
        "log": report.log,
        "cosigned": report.cosigned,
        "events_without_position": report.unplaced,
        "streams": [
            {
                "stream": one.stream,
                "events": one.events,
                "last": one.last,
                "expired_through": one.expired,
                "verbatim": one.verbatim,
                "logged": one.logged,
                "unlogged": one.unlogged,
                "entries": one.entries,
                "findings": [{"state": finding.state, "detail": finding.detail} for finding in one.findings],
                "unchecked": one.unchecked,
            }
            for one in report.streams
        ],
    }


def agent_cursor(last_received: int, agent: str) -> str:
    """Return the cursor for continuing after an agent."""
    return base64.urlsafe_b64encode(msgspec.json.encode([last_received, agent])).decode()


def decode_agent_cursor(cursor: str) -> tuple[int, str]:
    """Return the place that a cursor of the list of agents holds.

    Raises:
        Problem: it holds none.
    """
    try:
        packed = base64.b64decode(cursor, altchars=b"-_", validate=True)
        last_received, agent = msgspec.json.decode(packed, type=tuple[int, str])
    except (binascii.Error, msgspec.DecodeError, ValueError):
        last_received, agent = -1, "\0"
    if not 0 <= last_received < 2**63 or "\0" in agent or len(agent) > MAX_TEXT:
        raise bad_parameter("cursor", "is not a cursor that this backend gave out")
    return last_received, agent
