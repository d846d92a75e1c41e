"""Who may see pages: whoever signed in with a key that may read, or whom the API serves without one."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import parse_qsl, quote

from fastapi import Depends, Request
from starlette.responses import RedirectResponse, Response

from app.api.body import media_type, read_body
from app.auth.guard import Guard
from app.auth.keys import ApiKey
from app.auth.sessions import PERSON, PERSON_US, SESSION_US, close_session, form_token, is_form_token, open_session
from app.problems import Problem
from app.settings import Settings
from app.store.store import Store

COOKIE = "aimgentix_session"
FORM_COOKIE = "aimgentix_form"
"""Of somebody who isn't signed in yet: what the form for signing in is bound to."""

_OWN_PAGE = re.compile(r"/ui(?:/[a-z-]+)*(?:\?.*)?")
_FORM = "application/x-www-form-urlencoded"
_MAX_FORM_BYTES = 4096
_MAX_FORM_FIELDS = 10
_FORM_SECONDS = 3600


class SignInNeeded(Exception):
    """Nobody is signed in; the answer leads to the page for that."""

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._prefix = prefix_of(request)
        query = request.url.query
        self._path = local_path(request) + (f"?{query}" if query else "")

    def response(self) -> Response:
        """Return the answer."""
        back = f"?next={quote(self._path, safe='')}" if len(self._path) <= 1000 else ""
        return RedirectResponse(f"{self._prefix}/ui/sign-in{back}", 303)


@dataclass(frozen=True)
class Reader:
    """Who reads a page.

    Attributes:
        key: what they signed in with; None: served without one.
        form_token: for the forms of the page; empty without a key.
    """

    key: ApiKey | None
    form_token: str = ""


def prefix_of(request: Request) -> str:
    """Return the path below which a proxy serves the backend, without a slash at its end."""
    prefix: str = request.scope.get("root_path", "").rstrip("/")
    return prefix


def local_path(request: Request) -> str:
    """Return the path of a request below that prefix."""
    return request.url.path.removeprefix(prefix_of(request))


async def _reader(request: Request) -> Reader:
    guard: Guard = request.app.state.guard
    token = request.cookies.get(COOKIE, "")
    if token:
        key = await guard.session_key(token)
        if key is not None:
            return Reader(key, form_token(token))
    try:
        return Reader(await guard.require(request, "read"))
    except Problem as problem:
        if problem.status != 401 or "authorization" in request.headers:
            raise
        raise SignInNeeded(request) from None


CurrentReader = Annotated[Reader, Depends(_reader)]


async def read_form(request: Request, cookie: str) -> dict[str, str]:
    """Return the fields of a form of our own.

    Raises:
        Problem: it is another site's, too large, or not a form.
    """
    token = request.cookies.get(cookie, "")
    media_type(request, (_FORM,))
    settings: Settings = request.app.state.settings
    body = await read_body(request, _MAX_FORM_BYTES, settings.body_timeout_seconds)
    try:
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FORM_FIELDS))
    except ValueError:
        raise Problem(400, "invalid-form", "Invalid form", "the form can't be read") from None
    foreign = request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
    if foreign or not token or not is_form_token(token, fields.get("form_token", "")):
        detail = "the form is not one of this site's, or older than the session: open the page again"
        raise Problem(403, "forbidden", "Forbidden", detail)
    return fields


def offer_form(request: Request, response: Response, token: str) -> None:
    """Bind the form for signing in, which `form_token(token)` is in, to this browser."""
    set_cookie(request, response, FORM_COOKIE, token, _FORM_SECONDS)


def new_form() -> str:
    """Return a token for `offer_form`."""
    return secrets.token_urlsafe(32)


async def sign_in(request: Request, key: ApiKey, response: Response) -> None:
    """Open a session for somebody who has a key that may read. An earlier session of this browser ends.

    Somebody who came from an identity provider has to come from there again soon: it knows who left.
    """
    lasts = PERSON_US if key.digest.startswith(PERSON) else SESSION_US
    await sign_out(request, response)
    store: Store = request.app.state.store
    token = await store.write(lambda connection: open_session(connection, key, time.time_ns() // 1000, lasts))
    set_cookie(request, response, COOKIE, token, lasts // 1_000_000)


async def sign_out(request: Request, response: Response) -> None:
    """End the session of this browser."""
    token = request.cookies.get(COOKIE)
    if token:
        store: Store = request.app.state.store
        await store.write(lambda connection: close_session(connection, token))
    set_cookie(request, response, COOKIE, "", 0)


def next_path(request: Request, wanted: str) -> str:
    """Return where to go after signing in: a page of ours, whatever was asked for."""
    return prefix_of(request) + (wanted if _OWN_PAGE.fullmatch(wanted) and wanted.isprintable() else "/ui")


def set_cookie(request: Request, response: Response, name: str, value: str, seconds: int, *, lax: bool = False) -> None:
    """Set a cookie for the pages that no script can read.

    Args:
        lax: it comes also with a link from another site.
    """
    path = f"{prefix_of(request)}/ui"
    secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
    samesite: Literal["lax", "strict"] = "lax" if lax else "strict"
    response.set_cookie(name, value, max_age=seconds, path=path, httponly=True, samesite=samesite, secure=secure)
