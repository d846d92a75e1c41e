"""A small identity provider on loopback: OpenID Connect's code flow with PKCE, for anybody, and lies on demand."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

CLIENT = "aimgentix-pages"
SECRET = "s3cr3t-of-the-client"


class Provider(ThreadingHTTPServer):
    """Signs whoever comes in as `person`.

    Attributes:
        person: claims about who comes.
        lies: claims of the ID token that are other than they should be; None leaves one out.
        says: members of the provider's metadata that are other than they should be; None: it is out of order.
        signs_with: the key; another one than it publishes is a forgery.
        alg: how it signs: with its key, with the client's secret (HS256), or not at all (none).
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.person: dict[str, Any] = {"sub": "4711", "email": "ada@example.com", "email_verified": True}
        self.lies: dict[str, Any] = {}
        self.says: dict[str, Any] | None = {}
        self.key = self.signs_with = new_key()
        self.alg = "ES256"
        self.codes: dict[str, dict[str, str]] = {}

    def __enter__(self) -> Provider:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def metadata(self) -> dict[str, Any]:
        """What it says of itself."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
            **(self.says or {}),
        }

    def authorize(self, asked: dict[str, str]) -> str:
        """The way back from /authorize."""
        assert (asked["client_id"], asked["response_type"]) == (CLIENT, "code")
        assert asked["code_challenge_method"] == "S256" and asked["nonce"] and "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, given: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """The answer of /token."""
        expected = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if authorization != f"Basic {expected}":
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(given.get("code", ""), None)
        challenge = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        said = base64.urlsafe_b64encode(challenge).rstrip(b"=").decode()
        if asked is None or asked["code_challenge"] != said or asked["redirect_uri"] != given["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        claims = {name: value for name, value in {**claims, **self.person, **self.lies}.items() if value is not None}
        key = OctKey.import_key(SECRET) if self.alg == "HS256" else self.signs_with
        if self.alg == "none":
            parts = ({"alg": "none", "kid": self.key.kid}, claims)
            signed = ".".join(
                [base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts]
            )
            signed += "."
        else:
            signed = jwt.encode({"alg": self.alg, "kid": self.key.kid}, claims, key)
        return 200, {"access_token": "none", "token_type": "Bearer", "expires_in": 300, "id_token": signed}


def new_key() -> ECKey:
    """A key to sign with."""
    return ECKey.generate_key("P-256", {"kid": "one", "use": "sig", "alg": "ES256"})


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/authorize":
            self.send_response(302)
            self.send_header("Location", self.server.authorize(dict(parse_qsl(parts.query))))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.server.says is None:
            self._answer(503, {})
        elif parts.path == "/jwks":
            self._answer(200, {"keys": [self.server.key.as_dict(private=False)]})
        elif parts.path == "/.well-known/openid-configuration":
            self._answer(200, self.server.metadata())
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._answer(*self.server.token(dict(parse_qsl(body)), self.headers.get("Authorization", "")))

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
