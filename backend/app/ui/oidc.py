"""Signing in through an identity provider: OpenID Connect's code flow with PKCE, state and nonce, by Authlib."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from app.auth.sessions import keep_begun, person, take_begun
from app.problems import Problem
from app.settings import InvalidSettings, Settings
from app.store.store import Store
from app.ui.access import next_path, prefix_of, set_cookie, sign_in
from app.ui.render import page
from app.ui.text import shown

router = APIRouter(include_in_schema=False)

COOKIE = "aimgentix_oidc"
"""Of a browser that left for the identity provider: what it has to come back with."""

_BEGUN_SECONDS = 600
_LEEWAY_SECONDS = 30
# Those with a key that only the provider has.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Provider:
    """An identity provider that is asked who somebody is, and who of its people may read.

    Raises:
        InvalidSettings: a setting is missing or wrong, or the packages are not installed.
    """

    def __init__(self, settings: Settings) -> None:
        self._issuer = (settings.oidc_issuer or "").rstrip("/")
        self._emails = frozenset(map(_without_case, settings.oidc_emails))
        self._groups = frozenset(settings.oidc_groups)
        self._groups_claim = settings.oidc_groups_claim
        parts = urlsplit(self._issuer)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise InvalidSettings("AIMGENTIX_OIDC_ISSUER: must be the https address of an identity provider")
        if not settings.oidc_client_id or settings.oidc_client_secret_file is None:
            raise InvalidSettings(
                "AIMGENTIX_OIDC_ISSUER: needs AIMGENTIX_OIDC_CLIENT_ID and AIMGENTIX_OIDC_CLIENT_SECRET_FILE"
            )
        if not (self._emails or self._groups):
            raise InvalidSettings(
                "AIMGENTIX_OIDC_ISSUER: needs AIMGENTIX_OIDC_EMAILS or AIMGENTIX_OIDC_GROUPS, or nobody can sign in"
            )
        self._client = _client(self._issuer, settings.oidc_client_id, _secret(settings.oidc_client_secret_file))
        # Authlib compares the audience only where it is named here.
        self._claims = {
            "iss": {"essential": True, "values": [self._issuer, f"{self._issuer}/"]},
            "aud": {"essential": True, "value": settings.oidc_client_id},
            "exp": {"essential": True},
            "nonce": {"essential": True},
        }

    async def begin(self, request: Request, callback: str) -> tuple[str, str]:
        """Return the address at which somebody says who they are, and what `finish` has to have of that.

        Raises:
            Problem: the provider does not answer as it should.
        """
        request.scope["session"] = {}  # where Authlib keeps state, nonce and PKCE's verifier
        await _ask(self._learn())
        response = await _ask(self._client.authorize_redirect(request, callback))
        return response.headers["location"], json.dumps(request.scope["session"])

    async def finish(self, request: Request, begun: str) -> str:
        """Return the name of somebody who comes back and may read.

        Raises:
            Problem: it is not who began, not from this provider or not for this backend, too late, or may not read.
        """
        request.scope["session"] = json.loads(begun)
        await _ask(self._learn())
        asked = self._client.authorize_access_token(request, claims_options=self._claims, leeway=_LEEWAY_SECONDS)
        found = (await _ask(asked)).get("userinfo")
        if not found:
            raise _refused("it has no ID token")
        return self._reader(found)

    async def _learn(self) -> None:
        """Have what the provider says of itself; it has to be the one that is meant (Discovery, 4.3)."""
        said = await self._client.load_server_metadata()
        issuer = said.get("issuer")
        if str(issuer).rstrip("/") != self._issuer:
            del said["_loaded_at"]  # it is asked again next time
            raise ValueError(f"it calls itself {issuer}, not {self._issuer}")
        offered = said.get("id_token_signing_alg_values_supported") or ["RS256"]
        said["id_token_signing_alg_values_supported"] = [name for name in offered if name in _ALGORITHMS]

    def _reader(self, found: dict[str, Any]) -> str:
        email = _without_case(str(found.get("email", "")))
        is_verified = found.get("email_verified") is True
        if email in self._emails and is_verified:
            return email
        groups = found.get(self._groups_claim)
        if isinstance(groups, list) and self._groups.intersection(map(str, groups)):
            # An address that nobody verified may be somebody else's, who would stand in the trail as the reader.
            return email if email and is_verified else str(found["sub"])
        why = "the email is not verified" if email in self._emails else "neither the email nor a group may read"
        raise Problem(403, "forbidden", "Forbidden", f"{shown(email or found['sub'], 100)} may not sign in: {why}")


def provider_of(settings: Settings) -> Provider | None:
    """Return the identity provider that is configured, if one is.

    Raises:
        InvalidSettings: as for `Provider`.
    """
    return None if settings.oidc_issuer is None else Provider(settings)


@router.get("/ui/oidc")
async def get_oidc(request: Request) -> Response:
    """Send somebody to the identity provider."""
    provider: Provider = request.app.state.oidc
    store: Store = request.app.state.store
    address, begun = await provider.begin(request, _callback(request))
    kept = json.dumps([begun, request.query_params.get("next", "")[:1000]])
    token = await store.write(lambda connection: keep_begun(connection, kept, _now(), _BEGUN_SECONDS))
    response = RedirectResponse(address, 303)
    # Not strict: the way back begins at another site.
    set_cookie(request, response, COOKIE, token, _BEGUN_SECONDS, lax=True)
    return response


@router.get("/ui/oidc/callback")
async def get_callback(request: Request) -> Response:
    """Sign in somebody whom the identity provider sent back. Each way back can be gone once."""
    provider: Provider = request.app.state.oidc
    store: Store = request.app.state.store
    token = request.cookies.get(COOKIE, "")
    kept = await store.write(lambda connection: take_begun(connection, token, _now()))
    if kept is None:
        raise _used()
    begun, following = json.loads(kept)
    name = await provider.finish(request, begun)
    # Not a redirect: that would belong to the way from the other site, and no browser would send a strict cookie.
    response = page(request, "signed-in.html", None, following=next_path(request, following), person=name)
    await sign_in(request, person(name, _now()), response)
    set_cookie(request, response, COOKIE, "", 0, lax=True)
    return response


def _callback(request: Request) -> str:
    secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
    return f"{'https' if secure else 'http'}://{request.url.netloc}{prefix_of(request)}/ui/oidc/callback"


async def _ask(asked: Awaitable[Any]) -> Any:
    """Return what Authlib returns, or raise a Problem with its reason."""
    import httpx2
    from authlib.common.errors import AuthlibBaseError
    from authlib.integrations.base_client.errors import MismatchingStateError
    from joserfc.errors import JoseError

    try:
        return await asked
    except MismatchingStateError:
        raise _used() from None
    except httpx2.HTTPError as error:
        detail = f"the identity provider does not answer as it should ({type(error).__name__}): try again later"
        raise Problem(502, "provider-unavailable", "Identity provider unavailable", detail) from None
    except (AuthlibBaseError, JoseError) as error:
        raise _refused(str(error).strip(": ")) from None
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _refused(f"{type(error).__name__}: {error}") from None


def _used() -> Problem:
    detail = "this sign-in was used already, is too old, or began in another browser: begin again"
    return Problem(400, "invalid-sign-in", "Invalid sign-in", detail)


def _refused(why: str) -> Problem:
    detail = f"the identity provider's answer was refused: {shown(why)}"
    return Problem(401, "unauthorized", "Unauthorized", detail)


def _now() -> int:
    return time.time_ns() // 1000


def _without_case(email: str) -> str:
    """Return an address as it is compared: in lower case as far as it is ASCII, where no two letters become one."""
    return email.encode(errors="replace").lower().decode()


def _secret(path: Path) -> str:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = f"{path} can't be read ({type(error).__name__})"
        raise InvalidSettings(f"AIMGENTIX_OIDC_CLIENT_SECRET_FILE: {why}") from None
    if not secret:
        raise InvalidSettings(f"AIMGENTIX_OIDC_CLIENT_SECRET_FILE: {path} is empty")
    return secret


def _client(issuer: str, client_id: str, secret: str) -> Any:
    try:
        import httpx2  # noqa: F401  which Authlib prefers to its predecessor
        from authlib.integrations.starlette_client import OAuth
    except ImportError:
        detail = "needs Authlib and httpx2: pip install -r requirements-oidc.txt"
        raise InvalidSettings(f"AIMGENTIX_OIDC_ISSUER: {detail}") from None
    return OAuth().register(
        "oidc",
        client_id=client_id,
        client_secret=secret,
        server_metadata_url=f"{issuer}/.well-known/openid-configuration",
        client_kwargs={"scope": "openid email profile", "code_challenge_method": "S256", "timeout": 10.0},
    )
