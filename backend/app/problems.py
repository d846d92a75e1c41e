"""Answers that say what is wrong (RFC 9457, `application/problem+json`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route

from app.events.decode import Fault, InvalidEvents
from app.store.base import QueryTimeout, StoreUnavailable

MEDIA_TYPE = "application/problem+json"
PREFIX = "urn:aimgentix:problem:"


class Problem(Exception):
    """An answer other than success.

    Attributes:
        kind: what is wrong, stable; the answer's `type` is `urn:aimgentix:problem:` and this.
        errors: members of the answer's `errors`, one for each fault.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        title: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.title = title
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Return the problem as an answer."""
        document: dict[str, Any] = {
            "type": PREFIX + self.kind,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = list(self.errors)
        return Response(msgspec.json.encode(document), self.status, self.headers, MEDIA_TYPE)


def too_large(detail: str, errors: Sequence[Mapping[str, Any]] = ()) -> Problem:
    """Return the problem of a request that exceeds a limit."""
    return Problem(413, "too-large", "Too large", detail, errors=errors)


def bad_parameter(name: str, detail: str) -> Problem:
    """Return the problem of a query parameter that is invalid."""
    error = {"field": name, "detail": detail}
    return Problem(400, "invalid-parameter", "Invalid parameter", f"{name} {detail}", errors=[error])


def invalid_events(error: InvalidEvents) -> Problem:
    """Return the problem of a body that holds no events that can be stored."""
    first = error.faults[0]
    detail = f"{_where(first)} {first.detail}. Nothing was stored."
    errors = [_fault(fault) for fault in error.faults]
    if error.too_large:
        return too_large(detail, errors)
    return Problem(400, "invalid-event", "Invalid event", detail, errors=errors)


def conflicting_events(event_ids: Mapping[int, str], *, batch: bool) -> Problem:
    """Return the problem of events whose ids belong to other events.

    Args:
        event_ids: the ids, by position in the batch.
    """
    detail = "is the id of another event with other content"
    errors = [
        {"field": "event_id", "detail": detail, "event_id": event_id} | ({"index": index} if batch else {})
        for index, event_id in event_ids.items()
    ]
    first = next(iter(event_ids.values()))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Problem(409, "event-conflict", "Conflict", f"{first}{more} {detail}. Nothing was stored.", errors=errors)


def _where(fault: Fault) -> str:
    subject = fault.field or ("the body" if fault.index is None else "it")
    return subject if fault.index is None else f"event {fault.index}: {subject}"


def _fault(fault: Fault) -> dict[str, Any]:
    members: dict[str, Any] = {"field": fault.field} if fault.field else {}
    members["detail"] = fault.detail
    if fault.index is not None:
        members["index"] = fault.index
    if fault.line is not None:
        members["line"] = fault.line
    return members


def _unavailable(error: StoreUnavailable) -> Problem:
    return Problem(
        503,
        "store-unavailable",
        "Store unavailable",
        f"{error.reason}; the same request may be sent again",
        headers={"Retry-After": str(error.retry_after)},
    )


def problem_of(error: Exception) -> Problem | None:
    """Return the problem that an exception stands for, or None when nobody expected it."""
    match error:
        case Problem():
            return error
        case InvalidEvents():
            return invalid_events(error)
        case StoreUnavailable():
            return _unavailable(error)
        case QueryTimeout():
            detail = "the query looks at too many events; narrow it by agent, trace, since or until"
            return Problem(503, "query-timeout", "Query timeout", detail, headers={"Retry-After": "5"})
        case RequestValidationError():
            return _invalid_parameters(error)
        case HTTPException():
            title = HTTPStatus(error.status_code).phrase
            kind = title.lower().replace(" ", "-")
            return Problem(error.status_code, kind, title, str(error.detail), headers=error.headers)
        case _:
            return None


def _invalid_parameters(error: RequestValidationError) -> Problem:
    errors = [
        {
            "field": str(fault["loc"][-1]),
            "detail": _REWORDED.get(fault["type"], fault["msg"].removeprefix("Value error, ")),
        }
        for fault in error.errors()
    ]
    detail = f"{errors[0]['field']}: {errors[0]['detail']}"
    return Problem(400, "invalid-parameter", "Invalid parameter", detail, errors=errors)


_REWORDED = {"extra_forbidden": "is not a parameter of this request"}


def unexpected() -> Problem:
    """Return the problem that says no more than that the backend is at fault."""
    return Problem(
        500, "internal-error", "Internal error", "the backend failed; its log has more under this request's id"
    )


async def answer(request: Request, error: Exception) -> Response:
    """Turn an expected exception into its answer; FastAPI calls this."""
    problem = problem_of(error) or unexpected()
    if problem.status == 405:
        problem.headers["Allow"] = ", ".join(sorted(_methods(request)))
    return problem.response()


def _methods(request: Request) -> set[str]:
    """Return the methods that the request's path takes; Starlette knows those of one route only."""
    return {
        method
        for route in request.app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] != Match.NONE
        for method in route.methods or ()
    }


EXPECTED: tuple[type[Exception], ...] = (
    Problem,
    InvalidEvents,
    StoreUnavailable,
    QueryTimeout,
    RequestValidationError,
    HTTPException,
)
"""The exceptions that `answer` is for."""
