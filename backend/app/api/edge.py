"""What every request goes through: an id, safe headers, a clock, a log line, and an answer to the unexpected."""

from __future__ import annotations

import logging
import os
import time
import traceback
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics import Metrics
from app.problems import Problem, problem_of, unexpected

log = logging.getLogger("app.request")

HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
"""Answers are data: no browser is to run, frame, guess at or keep them."""
_NAMES = frozenset(name for name, _ in HEADERS)

MOST_PARAMETERS = 50
_PROCESS = os.urandom(4).hex()
_numbers = count()  # an id is to be found in the log, not to be kept secret: random ones cost a system call each


class Edge:
    """The outermost layer.

    Args:
        access_log: log every request, rather than those that were refused or failed.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, *, access_log: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = f"{_PROCESS}{next(_numbers):08x}"
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message["headers"])
                own = {name for name, _ in headers}  # a page has a policy of its own
                added = HEADERS if own.isdisjoint(_NAMES) else [one for one in HEADERS if one[0] not in own]
                message["headers"] = [*headers, *added, (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            if scope["query_string"].count(b"&") > MOST_PARAMETERS:
                detail = f"a request has at most {MOST_PARAMETERS} parameters"
                raise Problem(400, "invalid-parameter", "Invalid parameter", detail)
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if isinstance(error, Problem):
                await error.response()(scope, receive, send_with_headers)
                return
            # The message of an exception may hold what was sent; the place where it came from does not.
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error(
                "a request failed",
                extra={
                    "request_id": request_id,
                    "error": type(error).__name__,
                    "at": f"{place.filename}:{place.lineno}",
                },
            )
            if status:
                raise ResponseBroken from None
            await (problem_of(error) or unexpected()).response()(scope, receive, send_with_headers)
        finally:
            self._record(scope, status, time.perf_counter() - started, request_id)

    def _record(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = getattr(scope.get("route"), "path_format", "none")
        method = scope["method"] if route != "none" else "any"
        self._metrics.answered(method, route, status, seconds)
        if self._access_log or status >= 400:
            entry = {
                "request_id": request_id,
                "method": scope["method"],
                "route": route,
                "status": status,
                "milliseconds": round(seconds * 1000, 1),
            }
            log.log(logging.WARNING if status >= 500 else logging.INFO, "request", extra=entry)


class ResponseBroken(Exception):
    """The answer had begun when something failed; the server ends the connection, so that the client knows."""
