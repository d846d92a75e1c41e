"""Sealing: one canonical form, one digest, one plan.

The canonical form is RFC 8785 (JSON Canonicalization Scheme), so that anyone can recompute a digest in any language.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any, Dict

from agent_runtime import codes
from agent_runtime.model.documents import SCHEMA_VERSION, Plan, PolicyStamp, Run, format_time, plain
from agent_runtime.results import ProposedAction

# How many digits of the digest people read: 48 bits, enough to tell plans of one repository apart at a glance.
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


def seal(
    proposed: ProposedAction,
    *,
    resource: str,
    preconditions: Dict[str, Any],
    policy: PolicyStamp,
    run: Run,
    issued_at: datetime,
    ttl_minutes: int,
    approvals_before: int,
    dry_run: bool = False,
) -> Plan:
    """Bind a proposed action to its run, its policy decision, the state of the world and an expiry.

    Arguments:
        preconditions: what `observe()` says now.
        issued_at: aware datetime.
        ttl_minutes: minutes until the approval expires, at least 1.
        approvals_before: number of approval records that GitHub has for this run now.
        dry_run: whether the plan is only rehearsed.

    Raises:
        BadInput: a value of the action has no canonical form (RPT007).
    """
    plan = Plan(
        schema_version=SCHEMA_VERSION,
        action=proposed.action,
        resource=resource,
        parameters=plain(proposed.parameters),
        reason=proposed.reason,
        reversible=proposed.reversible,
        rollback=proposed.rollback,
        preconditions=plain(preconditions),
        risk_level=proposed.risk_level,
        policy=policy,
        run=run,
        issued_at=format_time(issued_at),
        expires_at=format_time(issued_at + timedelta(minutes=ttl_minutes)),
        approvals_before=approvals_before,
        dry_run=dry_run,
    )
    canonical(plan)
    return plan
