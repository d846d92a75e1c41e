"""The tests' own rooms: shared code is in `support/`, and fast tests start nothing that is slow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.environment import REPOSITORY

TESTS = REPOSITORY / "tests"
MODULES = sorted(path for path in TESTS.rglob("*.py") if "node_modules" not in path.parts)


def imported(path: Path) -> Iterator[str]:
    """The modules that a file names in its imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(TESTS)))
def test_what_tests_share_is_in_support(path: Path) -> None:
    shared = [name for name in imported(path) if name.split(".")[-1].startswith(("test_", "conftest"))]
    assert shared == []


@pytest.mark.parametrize("path", sorted((TESTS / "unit").rglob("test_*.py")), ids=lambda path: path.stem)
def test_a_unit_test_starts_no_workflow_no_engine_and_no_server_of_others(path: Path) -> None:
    slow = (
        "support.harness",
        "support.act",
        "support.engines",
        "support.world",
        "support.simulated",
        "support.gitserver",
    )
    assert [name for name in imported(path) if name.startswith(slow)] == []
