"""What simulate's GitHub answers is part of what GitHub answers: the shapes that tests hold to its description."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import Any

import pytest

from agent_runtime.local.simulate import shapes as simulated
from support import shapes as whole

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RULES: dict[str, Any] = {"prevent_self_review": True, "wait_timer": 5, "branches": True}
RUN: dict[str, Any] = {"run_number": 3, "title": "x", "event": "schedule", "file": "a.yml", "actor": "bob"}
CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "user": (("bob", "Bot"), {}),
    "environment": (("acme/x", "agent-act"), {}),
    "protection_rules": (([{"type": "User", "reviewer": {}}],), RULES),
    "branch_policy": (("tag:v*",), {}),
    "artifact": (("acme/x", "report", "7", MOMENT), {}),
    "workflow_run": (("acme/x", 7), {**RUN, "created": "2026-01-01T00:00:00Z"}),
    "job": (("acme/x", 7, "Act", "waiting", "2026-01-01T00:00:00Z"), {}),
    "on_a_runner": (("2026-01-01T00:00:00Z",), {}),
    "issue": (("acme/x", 2, ("title", "body"), {"login": "bob"}, ["label"]), {}),
    "issue_comment": (("acme/x", 2, 9, "body", {"login": "bob"}), {}),
    "git_reference": (("acme/x", "refs/heads/main", "a" * 40), {}),
    "number": (("acme/x",), {}),
    "when": ((MOMENT,), {}),
}


def missing(part: Any, known: Any, path: str = "") -> list[str]:
    """Where `part` says something that `known` does not."""
    if isinstance(part, dict) and isinstance(known, dict):
        return [
            problem
            for key, value in part.items()
            for problem in (missing(value, known[key], f"{path}.{key}") if key in known else [f"{path}.{key}"])
        ]
    if isinstance(part, list) and isinstance(known, list) and len(part) == len(known):
        return [problem for pair in zip(part, known, strict=True) for problem in missing(*pair, path + "[]")]
    return [] if part == known else [f"{path}: {part!r}, not {known!r}"]


@pytest.mark.parametrize("name", CALLS)
def test_each_shape_is_part_of_the_whole_one(name: str) -> None:
    words, named = CALLS[name]
    assert missing(getattr(simulated, name)(*words, **named), getattr(whole, name)(*words, **named)) == []


def test_a_repository_is_part_of_the_whole_one() -> None:
    known = whole.repository("acme/x", "main", "private", "Organization", administrator=True)
    assert missing(simulated.repository("acme/x", "main", "private"), known) == []


def test_no_shape_is_forgotten() -> None:
    functions = {name for name, value in vars(simulated).items() if inspect.isfunction(value)}
    assert functions == {*CALLS, "repository", "environment_summary"}
