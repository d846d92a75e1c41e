"""Deciding on one request: is this caller allowed to do that."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Annotated, Literal

from fastapi import Depends, Request

from app.auth.keys import ApiKey, Scope, digest, is_wellformed
from app.auth.sessions import find_session
from app.problems import Problem
from app.store.keys import any_key, find_key
from app.store.store import Store

Mode = Literal["required", "local", "off"]

CACHE_SECONDS = 5.0
"""How long a key that was revoked may still be taken, and how long a first key may go unnoticed."""

_MOST_CACHED = 1024
_NEEDED = "an API key is needed: send `Authorization: Bearer aim_…`"
_TRIAL = "or start with AIMGENTIX_AUTH=local to try it on this machine without one"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_FORWARDING_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


@dataclass(frozen=True)
class _Cached:
    key: ApiKey | None
    until: float


class Guard:
    """Knows who may do what.

    Every caller needs a key. In the mode `local`, for a trial on one machine, callers on this machine are served
    without one as long as no key was ever made. That is never the default: a proxy on this machine that adds no header
    of its own and rewrites Host, as nginx does by default, looks exactly like a program on this machine.

    Args:
        people: whether people may come from an identity provider.
    """

    def __init__(self, store: Store, mode: Mode, *, people: bool = False) -> None:
        self._store = store
        self._mode = mode
        self._people = people
        self._cache: dict[str, _Cached] = {}
        self._keys_exist = False
        self._keys_checked = float("-inf")

    async def describe(self) -> str:
        """Return one line on who is served, for the start of the process."""
        if self._mode == "off":
            return "NOT PROTECTED: everybody who reaches this port may read and write (AIMGENTIX_AUTH=off)"
        if await self._any_key():
            return "protected: callers need an API key"
        create = "create one with `python -m app keys create --name agents --scope write`"
        if self._mode == "required":
            return f"protected: callers need an API key, but there is none yet; {create}, {_TRIAL}"
        return (
            "for a trial, not behind a proxy: callers on this machine need no API key as long as there is none, all "
            f"others are refused (AIMGENTIX_AUTH=local); {create}"
        )

    async def require(self, request: Request, scope: Scope) -> ApiKey | None:
        """Return the caller's key if the caller may use what needs `scope`; None where no key is needed.

        Raises:
            Problem: 401 or 403, saying what is missing.
        """
        if self._mode == "off":
            return None
        authorization = request.headers.get("authorization")
        if authorization is None:
            if await self._any_key():
                raise _unauthorized(_NEEDED)
            if self._mode == "local" and _is_local(request):
                return None
            raise _unauthorized(f"{_NEEDED}; there is none yet, see the log of the backend's start")
        scheme, _, credentials = authorization.partition(" ")
        credentials = credentials.strip()
        if scheme.lower() != "bearer" or not is_wellformed(credentials):
            raise _unauthorized("the Authorization header holds no API key: send `Authorization: Bearer aim_…`")
        key = await self._find(digest(credentials))
        if key is None or not key.is_valid(time.time_ns() // 1000):
            raise _unauthorized("the API key is unknown, revoked or expired")
        if scope not in key.scopes:
            raise Problem(403, "forbidden", "Forbidden", f"the API key lacks the scope {scope}")
        return key

    async def reader_key(self, credentials: str) -> ApiKey:
        """Return the key that somebody signs in with.

        Raises:
            Problem: it is not one that may read now.
        """
        key = None
        if is_wellformed(credentials):
            key = await self._store.read_keys(lambda connection: find_key(connection, digest(credentials)))
        if key is None or not key.is_valid(time.time_ns() // 1000):
            raise _unauthorized("the API key is unknown, revoked or expired")
        if "read" not in key.scopes:
            raise Problem(403, "forbidden", "Forbidden", "the API key lacks the scope read")
        return key

    async def session_key(self, token: str) -> ApiKey | None:
        """Return the key of a session, or None when it is over. Never cached: a revoked key's session ends at once."""
        now = time.time_ns() // 1000
        key = await self._store.read_keys(lambda connection: find_session(connection, token, now, people=self._people))
        return key if key is not None and "read" in key.scopes else None

    async def _find(self, key_digest: str) -> ApiKey | None:
        now = time.monotonic()
        cached = self._cache.get(key_digest)
        if cached is not None and now < cached.until:
            return cached.key
        key = await self._store.read_keys(lambda connection: find_key(connection, key_digest))
        if len(self._cache) >= _MOST_CACHED:
            self._cache.clear()
        self._cache[key_digest] = _Cached(key, now + CACHE_SECONDS)
        return key

    async def _any_key(self) -> bool:
        now = time.monotonic()
        if not self._keys_exist and now - self._keys_checked > CACHE_SECONDS:
            self._keys_exist = await self._store.read_keys(any_key)
            self._keys_checked = now
        return self._keys_exist


def _is_local(request: Request) -> bool:
    """Return whether the request was made on this machine, by a program rather than through a proxy.

    The Host header has to name this machine too: a web page elsewhere can make a browser here send requests to a name
    of its own that resolves to a loopback address.
    """
    if request.client is None or any(name in request.headers for name in _FORWARDING_HEADERS):
        return False
    host = request.headers.get("host", "").lower()
    name = host if host.endswith("]") else host.rsplit(":", 1)[0]
    return name in _LOOPBACK_NAMES and _is_loopback(request.client.host)


@lru_cache(maxsize=256)
def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _unauthorized(detail: str) -> Problem:
    return Problem(
        401, "unauthorized", "Unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="AIMgentix"'}
    )


def _require(scope: Scope) -> Callable[[Request], Awaitable[ApiKey | None]]:
    async def check(request: Request) -> ApiKey | None:
        guard: Guard = request.app.state.guard
        return await guard.require(request, scope)

    return check


MayRead = Annotated[ApiKey | None, Depends(_require("read"))]
MaySeeMetrics = Annotated[ApiKey | None, Depends(_require("metrics"))]
