"""Sessions of people who signed in with a key: a random token in a cookie, of which the store keeps the SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from app.auth.keys import ApiKey
from app.store.base import ReadConnection, WriteConnection
from app.store.keys import find_key

SESSION_US = 12 * 3600 * 1_000_000


def open_session(connection: WriteConnection, key: ApiKey, now: int) -> str:
    """Return the token of a new session of somebody who has `key`; sessions that are over are forgotten."""
    token = secrets.token_urlsafe(32)
    connection.begin()
    connection.execute("DELETE FROM sessions WHERE expires_at <= ?", (now,))
    connection.execute(
        "INSERT INTO sessions (digest, key_digest, created_at, expires_at) VALUES (?, ?, ?, ?)",
        (_digest(token), key.digest, now, now + SESSION_US),
    )
    connection.commit()
    return token


def close_session(connection: WriteConnection, token: str) -> None:
    """End a session."""
    connection.begin()
    connection.execute("DELETE FROM sessions WHERE digest = ?", (_digest(token),))
    connection.commit()


def find_session(connection: ReadConnection, token: str, now: int) -> ApiKey | None:
    """Return the key of a session that is not over, as the store has the key at this moment, or None."""
    rows = connection.fetch(
        "SELECT key_digest FROM sessions WHERE digest = ? AND expires_at > ?", (_digest(token), now)
    )
    key = find_key(connection, rows[0][0]) if rows else None
    return key if key is not None and key.is_valid(now) else None


def form_token(token: str) -> str:
    """Return what every form of a session has to carry: no other site can know it."""
    return hmac.new(token.encode(), b"form", hashlib.sha256).hexdigest()


def is_form_token(token: str, given: str) -> bool:
    """Return whether a form carries what it has to."""
    return hmac.compare_digest(form_token(token).encode(), given.encode())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
