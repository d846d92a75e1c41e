"""Sealing: one canonical form, one digest, one plan.

The canonical form is RFC 8785 (JSON Canonicalization Scheme), so that anyone can recompute a digest in any language.
"""

from __future__ import annotations

import hashlib
from typing import Any, Collection, Dict, Sequence

from agent_runtime import codes
from agent_runtime.model.documents import MAX_STEPS, Step, plain
from agent_runtime.text.escape import visible

# How many digits of the digest people read: 48 bits, enough to distinguish the plans of one repository at a glance.
SHORT_DIGEST_LENGTH = 12

_SHOWN = 80


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


def check_steps(steps: Sequence[Step], preconditions: Collection[str]) -> None:
    """Refuse steps that can't be one plan.

    Arguments:
        preconditions: the keys of what `observe()` returned.

    Raises:
        BadInput: they are too many, one is there twice, or one changes what nobody observes (RPT008).
    """
    if len(steps) > MAX_STEPS:
        raise codes.BadInput(codes.PLAN_STEPS, f"{len(steps)} steps are proposed; a plan has at most {MAX_STEPS}")
    seen: Dict[bytes, int] = {}
    for number, step in enumerate(steps, 1):
        first = seen.setdefault(canonical([step.action, step.parameters]), number)
        if first != number:
            raise codes.BadInput(
                codes.PLAN_STEPS, f"step {number} is step {first} again: {step.action} with the same parameters"
            )
        for key in step.changes:
            if key not in preconditions:
                what = f"step {number} changes '{visible(key, _SHOWN)}', which observe() does not return"
                raise codes.BadInput(codes.PLAN_STEPS, what)
