"""Codes: each is explained on the page that people are sent to; `test_every_code.py` meets each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent_runtime import codes


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


def test_an_error_is_one_line_that_says_what_to_do() -> None:
    error = codes.GateRefused(codes.GATE_EXPIRED, "the plan expired at 2026-11-22T12:00:00Z.")
    assert error.line() == (
        "GATE04: the plan expired at 2026-11-22T12:00:00Z. "
        "Start a new run; the situation may have changed since"
    )  # fmt: skip
    assert error.exit_code == codes.EXIT_REFUSED
