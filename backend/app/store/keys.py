"""The API keys that the store holds."""

from __future__ import annotations

from typing import Any, cast

from app.auth.keys import SCOPES, ApiKey
from app.store.base import ReadConnection

_COLUMNS = "key_id, name, digest, scopes, created_at, expires_at, revoked_at, agent, repository"

INSERT_KEY = f"INSERT INTO api_keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  fixed names
REVOKE_KEY = "UPDATE api_keys SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL"


def key_parameters(key: ApiKey) -> tuple[Any, ...]:
    """Return the parameters of INSERT_KEY."""
    return (
        key.key_id,
        key.name,
        key.digest,
        ",".join(key.scopes),
        key.created_at,
        key.expires_at,
        key.revoked_at,
        key.agent,
        key.repository,
    )


def find_key(connection: ReadConnection, digest: str) -> ApiKey | None:
    """Return the key with this digest, or None."""
    rows = connection.fetch(f"SELECT {_COLUMNS} FROM api_keys WHERE digest = ?", (digest,))  # noqa: S608  fixed names
    return _key(rows[0]) if rows else None


def list_keys(connection: ReadConnection) -> list[ApiKey]:
    """Return all keys, in the order in which they were made."""
    return [_key(row) for row in connection.fetch(f"SELECT {_COLUMNS} FROM api_keys ORDER BY created_at, key_id", ())]  # noqa: S608


def any_key(connection: ReadConnection) -> bool:
    """Return whether a key was ever created. A revoked one counts: the operator wants callers to have keys."""
    return bool(connection.fetch("SELECT 1 FROM api_keys LIMIT 1", ()))


def _key(row: tuple[Any, ...]) -> ApiKey:
    key_id, name, digest, scopes, created_at, expires_at, revoked_at, agent, repository = row
    known = tuple(scope for scope in SCOPES if scope in cast("str", scopes).split(","))
    return ApiKey(key_id, name, digest, known, created_at, expires_at, revoked_at, agent, repository)
