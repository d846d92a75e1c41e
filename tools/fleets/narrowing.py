"""Defaults of an organisation: bounds of answers, which only ever narrow what a repository may do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from agent_runtime.local import answers
from agent_runtime.text import strict_yaml
from tools.fleets.repositories import Invalid


def _least(here: str, bound: str) -> str:
    return str(min(int(here), int(bound)))


def _common(here: str, bound: str) -> str:
    allowed = {item.lower() for item in answers.listed(bound)}
    return ", ".join(item for item in answers.listed(here) if item.lower() in allowed)


def _somebody(here: str, bound: str) -> str | None:
    return _common(here, bound) or None


def _triggers(here: str, bound: str) -> str:
    return "+".join(part for part in here.split("+") if part in bound.split("+"))


def _no(here: str, bound: str) -> str:  # noqa: ARG001  whatever is here
    return bound


def _host(here: str, bound: str) -> str | None:
    return bound if here in ("", bound) else None


# For each answer that has a narrower one: the narrower of two, or None where neither is.
_NARROWER: dict[str, Callable[[str, str], str | None]] = {
    "approvers": _somebody,
    "triggers": _triggers,
    "approval_ttl_minutes": _least,
    "act_permissions": _common,
    "auto_approval": _no,
    "investigate_secrets": _common,
    "investigate_variables": _common,
    "investigate_oidc": _no,
    "act_secrets": _common,
    "act_variables": _common,
    "act_timeout_minutes": _least,
    "audit_host": _host,
}
_OPENS = {"auto_approval": "yes", "investigate_oidc": "yes", "audit_host": ""}


def read(file: Path) -> dict[str, str]:
    """The bounds of a file, by question.

    Raises:
        Invalid: it can't be read, or one could open something.
    """
    try:
        value = strict_yaml.values(strict_yaml.load(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise Invalid(f"{file} can't be read: {error}") from None
    except strict_yaml.StrictYamlError as error:
        raise Invalid(f"{file}:{error.line}: {error.message}") from None
    if not isinstance(value, dict) or not value:
        raise Invalid(f"{file} has no answers: write NAME: VALUE, one a line")
    bounds = {str(name): _text(each) for name, each in value.items()}
    for name, bound in bounds.items():
        if name not in answers.RULES:
            raise Invalid(f"{file}: {name}: no question has this name")
        if name not in _NARROWER:
            raise Invalid(f"{file}: {name}: no answer to it is narrower than another one; it stays with each team")
        if _OPENS.get(name) == bound:
            raise Invalid(f"{file}: {name}: {bound!r} opens something, and defaults may only narrow")
        problem = answers.check(name, bound)
        if problem:
            raise Invalid(f"{file}: {problem.line()}")
    return bounds


def narrowed(bounds: Mapping[str, str], known: Mapping[str, object]) -> dict[str, str]:
    """The answers that have to change, so that all are within the bounds.

    Arguments:
        known: the answers of a repository.

    Raises:
        Invalid: one is neither within its bound nor wider.
    """
    changed = {}
    for name, bound in bounds.items():
        if answers.asked(name, known) and name not in known:
            raise Invalid(f"{name}: its release does not ask this; update it first")
        here = _text(known[name]) if answers.asked(name, known) else answers.unasked(name, known)
        narrower = _NARROWER[name](here, bound)
        if narrower is None:
            raise Invalid(f"{name}: {here!r} here and {bound!r} in the defaults: neither is narrower")
        if answers.listed(narrower) != answers.listed(here):
            changed[name] = narrower
    if any(name in answers.ADVANCED for name in changed) and known.get("advanced") != "yes":
        changed["advanced"] = "yes"
    return changed


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
