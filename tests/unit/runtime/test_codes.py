"""Codes: each is explained on the page that people are sent to, and each is raised somewhere."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from agent_runtime import codes

RUNTIME = Path(__file__).resolve().parents[3] / "template" / "agent_runtime"


def test_the_page_of_codes_is_up_to_date(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "tools/codes.py", "--check"], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_code_is_registered_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        codes.register(codes.GATE_DIGEST, "again", "again")
    with pytest.raises(KeyError):
        codes.BadInput("GATE99", "no such code")


def test_every_code_is_used() -> None:
    known = codes.registered()
    constants = {name for name, value in vars(codes).items() if isinstance(value, str) and value in known}
    used: set[str] = set()
    for path in RUNTIME.rglob("*.py"):
        if path.name != "codes.py":
            used |= {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert sorted(constants - used) == []


def test_an_error_is_one_line_that_says_what_to_do() -> None:
    error = codes.GateRefused(codes.GATE_EXPIRED, "the plan expired at 2026-11-22T12:00:00Z.")
    assert error.line() == (
        "GATE04: the plan expired at 2026-11-22T12:00:00Z. "
        "Start a new run; the situation may have changed since"
    )  # fmt: skip
    assert error.exit_code == codes.EXIT_REFUSED
