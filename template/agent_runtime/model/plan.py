"""Sealing: one canonical form, one digest, one plan.

The canonical form is RFC 8785 (JSON Canonicalization Scheme), so that anyone can recompute a digest in any language.
"""

from __future__ import annotations

import hashlib
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

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


def check_steps(steps: Sequence[Step], preconditions: Optional[Mapping[str, Any]]) -> None:
    """Refuse steps that can't be one plan.

    Two steps contradict each other where what they declare does: `changes` names what of the preconditions a step
    changes, and a parameter of the same name says to what; in a step that does not change it, what it is by then.  Of
    two steps in a row of the same action that change the same, the second overrides the first before anything could use
    it.  With a step between them, as for drain, restart and drain again, they may.

    Arguments:
        preconditions: what `observe()` returned; None where it is not known.

    Raises:
        BadInput: they are too many, one is there twice, one changes what nobody observes, or two contradict each other
            (RPT008).
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
            if preconditions is not None and key not in preconditions:
                what = f"step {number} changes '{visible(key, _SHOWN)}', which observe() does not return"
                raise codes.BadInput(codes.PLAN_STEPS, what)
    _check_agree(steps, preconditions or {})


def _check_agree(steps: Sequence[Step], preconditions: Mapping[str, Any]) -> None:
    # Which step changed a precondition last, and in canonical form from what to what; None where nothing says it.
    changed: Dict[str, Tuple[int, Optional[bytes], Optional[bytes]]] = {}
    for number, step in enumerate(steps, 1):
        before = steps[number - 2] if number > 1 else None
        again = set(step.changes).intersection(before.changes if before and before.action == step.action else ())
        if again:
            raise codes.BadInput(
                codes.PLAN_STEPS,
                f"step {number} overrides step {number - 1}: both are {step.action} and change "
                f"'{visible(min(again), _SHOWN)}', and no step between them needs what the first one does",
            )
        for key in sorted(set(step.parameters).intersection(changed).difference(step.changes)):
            named, (earlier, was, value) = canonical(step.parameters[key]), changed[key]
            if value not in (None, named) or (value is None and was == named):
                to = f" to {visible(value.decode(), _SHOWN)}" if value is not None else ""
                raise codes.BadInput(
                    codes.PLAN_STEPS,
                    f"step {number} needs {visible(key, _SHOWN)} to be {visible(named.decode(), _SHOWN)}, and step "
                    f"{earlier} changes it{to}",
                )
            changed[key] = earlier, was, named
        for key in step.changes:
            was = canonical(preconditions[key]) if key in preconditions else None
            was = changed[key][2] if key in changed else was
            changed[key] = number, was, canonical(step.parameters[key]) if key in step.parameters else None
