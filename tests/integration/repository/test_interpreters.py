"""The helpers that find tools and interpreters never hand out something that does not work."""

from __future__ import annotations

import subprocess

import pytest

from support.environment import SUPPORTED_PYTHONS, find_python, newest_python, require_python, require_tool


def test_finds_the_interpreter_that_was_asked_for() -> None:
    path = require_python("3.8")

    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)

    assert answer.stdout.startswith("Python 3.8.")


def test_newest_is_not_older_than_any_other() -> None:
    version, path = newest_python()

    newer = SUPPORTED_PYTHONS[SUPPORTED_PYTHONS.index(version) + 1 :]
    assert find_python(version) == path
    assert not [other for other in newer if find_python(other)]


@pytest.mark.parametrize("ci, outcome", [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_what_is_missing_skips_locally_and_fails_in_ci(ci: str, outcome: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", ci)

    with pytest.raises(outcome, match="no-such-tool is not installed"):
        require_tool("no-such-tool")
    with pytest.raises(outcome, match=r"Python 3\.0 is not installed"):
        require_python("3.0")
