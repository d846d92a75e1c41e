"""Sealing: one canonical form, one digest, one plan.

The canonical form is RFC 8785 (JSON Canonicalization Scheme), so that anyone can recompute a digest in any language.
"""

from __future__ import annotations

import hashlib
from typing import Any

from agent_runtime import codes
from agent_runtime.model.documents import plain

# How many digits of the digest people read: 48 bits, enough to distinguish the plans of one repository at a glance.
SHORT_DIGEST_LENGTH = 12


def canonical(value: Any) -> bytes:
    """Return the RFC 8785 form of a JSON value or a document.

    Raises:
        BadInput: the value has no canonical form, for example NaN, an integer beyond 2**53 or a lone surrogate.
    """
    import rfc8785  # noqa: PLC0415  only needed when something is sealed or compared

    try:
        return bytes(rfc8785.dumps(plain(value)))
    except (rfc8785.CanonicalizationError, TypeError, UnicodeError, RecursionError) as problem:
        raise codes.BadInput(codes.PLAN_NOT_CANONICAL, str(problem) or type(problem).__name__) from None


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical form as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def short(digest: str) -> str:
    """The digits of a digest that people read."""
    return digest[:SHORT_DIGEST_LENGTH]
