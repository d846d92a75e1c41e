"""API keys: what they look like, what is kept of them, and what they allow."""

from __future__ import annotations

import hashlib
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Scope = Literal["write", "read", "metrics"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZabcdefghjkmnpqrstvwxyz"
_ID_LENGTH = 8
_SECRET_LENGTH = 40


@dataclass(frozen=True)
class ApiKey:
    """What the store keeps of a key. The key itself is shown once, when it is made, and can't be had again.

    Attributes:
        key_id: its public part.
        name: what it is for, in the words of who made it.
        digest: SHA-256 of the whole key, 64 hex digits. The key has 228 random bits: a slow hash would add nothing.
        created_at, expires_at, revoked_at: microseconds since 1970, or None for never.
        agent, repository: what it writes is of these, or of any where they are None.
    """

    key_id: str
    name: str
    digest: str
    scopes: tuple[Scope, ...]
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    agent: str | None = None
    repository: str | None = None

    def is_valid(self, now: int) -> bool:
        """Return whether the key opens anything at the time `now` (µs)."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def new_key(
    name: str,
    scopes: Sequence[Scope],
    now: int,
    expires_at: int | None = None,
    *,
    agent: str | None = None,
    repository: str | None = None,
) -> tuple[str, ApiKey]:
    """Return a new key and what the store is to keep of it.

    The form is `aim_<id>_<secret><checksum>`: secret scanners find it, and a mistyped one is refused without a look-up.
    """
    key_id = _random(_ID_LENGTH)
    start = f"aim_{key_id}_{_random(_SECRET_LENGTH)}"
    key = start + _checksum(start)
    return key, ApiKey(key_id, name, digest(key), tuple(scopes), now, expires_at, agent=agent, repository=repository)


def digest(key: str) -> str:
    """Return what the store knows the key by."""
    return hashlib.sha256(key.encode()).hexdigest()


def is_wellformed(key: str) -> bool:
    """Return whether the text can be a key at all."""
    return key.startswith("aim_") and key.isascii() and len(key) > 8 and _checksum(key[:-8]) == key[-8:]


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
