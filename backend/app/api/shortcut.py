"""The short way for the requests that come by the thousand."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from app.problems import EXPECTED
from app.ui.errors import answer


class QuickHeaders(Headers):
    """Headers that are looked up, rather than searched for one after the other. Of several with one name the first."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        super().__init__(raw=raw)
        self._by_name = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(raw)}

    def __getitem__(self, key: str) -> str:
        """Return the value of the header `key`, given in lower case."""
        return self._by_name[key]

    def __contains__(self, key: object) -> bool:
        """Return whether there is a header `key`, given in lower case."""
        return key in self._by_name

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of the header `key`, given in lower case, or `default`."""
        return self._by_name.get(key, default)


class QuickRequest(Request):
    """A request with such headers."""

    @property
    def headers(self) -> Headers:
        """The headers."""
        if not hasattr(self, "_headers"):
            self._headers = QuickHeaders(self.scope["headers"])
        return self._headers


class Shortcut:
    """Calls the endpoints of some routes directly, and leaves all else to FastAPI.

    FastAPI's layers take twice as long as receiving, checking and acknowledging an event. The routes stay registered
    there: it describes them, and answers for them when they are asked in any other way. Their endpoints take the
    request and nothing else.

    Args:
        routes: routes with a fixed path, for POST.
    """

    def __init__(self, app: FastAPI, routes: list[APIRoute]) -> None:
        self._app = app
        self._routes = {route.path: route for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI)."""
        route = None
        if scope["type"] == "http" and scope["method"] == "POST":
            route = self._routes.get(scope["path"].removeprefix(scope.get("root_path", "")))
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["app"] = self._app
        scope["route"] = route
        request = QuickRequest(scope, receive)
        try:
            response = await route.endpoint(request)
        except EXPECTED as error:
            response = await answer(request, error)
        await response(scope, receive, send)
