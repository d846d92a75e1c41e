"""Turns values of a workflow into what GitHub would see: evaluates their expressions in a given place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.harness.node import ActionsService


@dataclass(frozen=True)
class Status:
    """What the status functions answer in one place."""

    success: bool = True
    failure: bool = False
    cancelled: bool = False


@dataclass(frozen=True)
class Scope:
    """One place of a workflow: the contexts that exist there, and what the status functions answer."""

    service: ActionsService
    contexts: Mapping[str, Any]
    status: Status = Status()
    workspace: Path | None = None

    def text(self, value: Any) -> str:
        """The value as a string, as an environment variable or an action's input gets it."""
        if isinstance(value, dict) and set(value) == {"$expr"}:
            return str(self._evaluate(value["$expr"])["text"])
        if isinstance(value, bool):
            return "true" if value else "false"
        return "" if value is None else str(value)

    def texts(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Every value of a mapping as a string."""
        return {name: self.text(value) for name, value in values.items()}

    def holds(self, condition: str) -> bool:
        """Whether an `if` holds; the parser has added `success()` where it was missing."""
        return bool(self._evaluate(condition)["truthy"])

    def _evaluate(self, expression: str) -> dict[str, Any]:
        # The others are only known: most expressions name one, and all of them are long.
        named = expression.lower()
        contexts = {name: value if name.lower() in named else {} for name, value in self.contexts.items()}
        return self.service.evaluate(expression, contexts, vars(self.status), self.workspace)
