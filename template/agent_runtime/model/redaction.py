"""Keeps secrets out of what is kept: the report, the result, the logs of a job.

The audit events go through the SDK's redactor anyway; this takes the same redactor to everything else that a run leaves
behind, because artifacts and summaries are read by many and kept for months (threat T33).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Iterator, Mapping, Tuple

from agent_runtime import codes
from agent_runtime.model.documents import Investigation, StepResult
from aimgentix.redact import REDACTED, Redactor

_ENDS_IN_ID = re.compile(r"(?:^|[^A-Za-z])(?:id|Id|ID)$|[a-z0-9]I[dD]$")


def of_investigation(redactor: Redactor, found: Investigation) -> Investigation:
    """Return `found` with every secret in the agent's own words replaced; parameters are for `refuse_secrets()`."""
    return replace(
        found,
        findings=tuple(
            replace(each, message=redactor.text(each.message), evidence=of_json(redactor, each.evidence))
            for each in found.findings
        ),
        recommendation=redactor.text(found.recommendation),
        analysis=redactor.text(found.analysis),
        steps=tuple(
            replace(
                step,
                reason=redactor.text(step.reason),
                rollback=None if step.rollback is None else redactor.text(step.rollback),
            )
            for step in found.steps
        ),
    )


def of_result(redactor: Redactor, found: StepResult) -> StepResult:
    """Return `found` with every secret in the agent's own words replaced."""
    return replace(
        found,
        changes=tuple(redactor.text(change) for change in found.changes),
        verification=of_json(redactor, found.verification),
        rollback=None if found.rollback is None else redactor.text(found.rollback),
        details=of_json(redactor, found.details),
    )


def refuse_secrets_in_plan(redactor: Redactor, found: Investigation) -> None:
    """Refuse an investigation whose plan would show and keep a secret.

    Raises:
        BadInput: AGT004, with the place.
    """
    refuse_secrets(redactor, found.preconditions, "observe()")
    for number, step in enumerate(found.steps):
        name = f"proposed_actions[{number}]" if len(found.steps) > 1 else "proposed_action"
        refuse_secrets(redactor, step.parameters, name + ".parameters")


def of_json(redactor: Redactor, value: Any, *, secret: bool = False) -> Any:
    """Return a JSON value with every secret in it replaced: texts that look like one, and whatever is under such a key.

    Arguments:
        secret: whether it is under such a key itself: then every text and number in it is replaced.
    """
    if isinstance(value, str):
        return REDACTED if secret and value else redactor.text(value)
    if isinstance(value, (list, tuple)):
        return [
            of_json(redactor, item, secret=secret or redactor.hides_next(before, item))
            for before, item in zip([None, *value], value)
        ]
    if isinstance(value, Mapping):
        return {
            redactor.text(key): of_json(redactor, item, secret=secret or _hides(redactor, key, item, value))
            for key, item in value.items()
        }
    return REDACTED if secret and _is_number(value) else value


def _hides(redactor: Redactor, key: str, item: Any, among: Mapping[str, Any]) -> bool:
    """Whether what is under a key is secret; a number under `tokens` or `pass` counts tokens or tests."""
    counts = _is_number(item) and ("token" in key.lower() or key.lower() == "pass")
    paired = key in ("value", "Value") and redactor.hides_value(among)
    return paired or (redactor.is_secret_key(key) and not counts)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def refuse_secrets(redactor: Redactor, value: Mapping[str, Any], what: str) -> None:
    """Refuse values that a plan would keep and show, and that can't be replaced because they are what gets executed.

    Raises:
        BadInput: one looks like a secret (AGT004); the message names where it stands, never the value.
    """
    for path, text, secret in _leaves(redactor, value, (what,)):
        if secret or redactor.text(text) != text:
            raise codes.BadInput(codes.SECRET_IN_PLAN, f"{redactor.text('.'.join(path))} looks like a secret")


def _leaves(
    redactor: Redactor, value: Any, path: Tuple[str, ...], *, secret: bool = False
) -> Iterator[Tuple[Tuple[str, ...], str, bool]]:
    """Every text and number in a JSON value, keys included: the names that lead to it, and whether these hide it."""
    if _is_number(value) or isinstance(value, str):
        yield path, str(value), secret and value != ""
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield path, str(key), False
            # An id names a secret and is none; `valid` and `paid` are other words.
            hidden = _hides(redactor, str(key), item, value) and not _ENDS_IN_ID.search(str(key))
            yield from _leaves(redactor, item, (*path, str(key)), secret=secret or hidden)
    elif isinstance(value, (list, tuple)):
        for before, item in zip([None, *value], value):
            yield from _leaves(redactor, item, path, secret=secret or redactor.hides_next(before, item))
