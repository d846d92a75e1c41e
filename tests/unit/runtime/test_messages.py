"""Messages keep their words: what is written goes through the redactor, and must come out as it was."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_runtime import codes
from aimgentix.redact import Redactor
from support.environment import REPOSITORY

RUNTIME = REPOSITORY / "template" / "agent_runtime"
_PLACEHOLDER = re.compile(r"\{[0-9a-z_]*\}")


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every text of a module that is not a docstring, with an ordinary name where something is filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    passed = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    passed |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in passed:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "checkout" for part in node.values]
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, _PLACEHOLDER.sub("checkout", node.value)


def test_no_message_of_the_runtime_loses_a_word_to_the_redactor() -> None:
    redactor = Redactor()
    lost = [
        f"{path.relative_to(RUNTIME)}:{line}: {redactor.text(text)}"
        for path in sorted(RUNTIME.rglob("*.py"))
        for line, text in texts(path)
        if redactor.text(text) != text
    ]
    assert lost == []


@pytest.mark.parametrize("code", sorted(codes.registered()))
def test_a_refusal_keeps_what_it_names(code: str) -> None:
    line = codes.AgentError(code, "AGENT_ACT_TOKEN of agent-act, on checkout, run 4711").line()
    assert Redactor().text(line) == line
