"""Sessions of people who signed in with a key: a random token in a cookie, of which the store keeps the SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from app.auth.keys import ApiKey
from app.store.base import ReadConnection, WriteConnection
from app.store.keys import find_key

SESSION_US = 12 * 3600 * 1_000_000
PERSON_US = 3600 * 1_000_000
"""How long a session of somebody lasts who came from an identity provider."""
PERSON = "oidc:"
"""What such a session has in place of a key's digest begins with this; the name follows."""
_BEGUN = "begun:"
MOST_BEGUN = 1000
"""How many people may be on their way through an identity provider; of more, who began first has to begin again."""


def person(name: str, since: int) -> ApiKey:
    """Return what stands for the key of somebody who came from an identity provider."""
    return ApiKey(PERSON + name, name, PERSON + name, ("read",), since)


def open_session(connection: WriteConnection, key: ApiKey, now: int, lasts: int) -> str:
    """Return the token of a new session of somebody who has `key`; sessions that are over are forgotten."""
    return _open(connection, key.digest, now, lasts)


def keep_begun(connection: WriteConnection, begun: str, now: int, seconds: int) -> str:
    """Keep what a sign-in elsewhere has to end with; return the token of it."""
    return _open(connection, _BEGUN + begun, now, seconds * 1_000_000)


def take_begun(connection: WriteConnection, token: str, now: int) -> str | None:
    """Return what was kept, or None when it was taken already or is too old. Of two who ask one gets it."""
    sql = "DELETE FROM sessions WHERE digest = ? AND expires_at > ? AND key_digest LIKE ? RETURNING key_digest"
    connection.begin()
    rows = connection.fetch(sql, (_digest(token), now, f"{_BEGUN}%"))
    connection.commit()
    return str(rows[0][0]).removeprefix(_BEGUN) if rows else None


def _open(connection: WriteConnection, whose: str, now: int, lasts: int) -> str:
    token = secrets.token_urlsafe(32)
    connection.begin()
    connection.execute("DELETE FROM sessions WHERE expires_at <= ?", (now,))
    # Anybody can begin, again and again.
    connection.execute(
        "DELETE FROM sessions WHERE key_digest LIKE ? AND created_at <= (SELECT created_at FROM sessions"
        " WHERE key_digest LIKE ? ORDER BY created_at DESC LIMIT 1 OFFSET ?)",
        (f"{_BEGUN}%", f"{_BEGUN}%", MOST_BEGUN - 1),
    )
    connection.execute(
        "INSERT INTO sessions (digest, key_digest, created_at, expires_at) VALUES (?, ?, ?, ?)",
        (_digest(token), whose, now, now + lasts),
    )
    connection.commit()
    return token


def close_session(connection: WriteConnection, token: str) -> None:
    """End a session."""
    connection.begin()
    connection.execute("DELETE FROM sessions WHERE digest = ?", (_digest(token),))
    connection.commit()


def find_session(connection: ReadConnection, token: str, now: int, *, people: bool) -> ApiKey | None:
    """Return the key of a session that is not over, as the store has the key at this moment, or None.

    Args:
        people: whether people may come from an identity provider.
    """
    rows = connection.fetch(
        "SELECT key_digest, created_at FROM sessions WHERE digest = ? AND expires_at > ?", (_digest(token), now)
    )
    if not rows:
        return None
    whose, since = rows[0]
    if whose.startswith(PERSON):
        return person(whose.removeprefix(PERSON), since) if people else None
    key = find_key(connection, whose)
    return key if key is not None and key.is_valid(now) else None


def form_token(token: str) -> str:
    """Return what every form of a session has to carry: no other site can know it."""
    return hmac.new(token.encode(), b"form", hashlib.sha256).hexdigest()


def is_form_token(token: str, given: str) -> bool:
    """Return whether a form carries what it has to."""
    return hmac.compare_digest(form_token(token).encode(), given.encode())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
