"""Each use case's demo ends with its world changed, by what the demo measures itself, and prints no secret."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from agent_runtime.local import answers
from support.demo import TIMEOUT_SECONDS, is_anything_left, running_demo
from tools.demo import DEFAULT_CASE
from tools.demo_cases import CASES


def test_every_use_case_has_a_demo() -> None:
    assert list(CASES) == list(answers.USE_CASES)


@pytest.mark.parametrize("use_case", [name for name in CASES if name != DEFAULT_CASE])
def test_the_world_is_another_one_afterwards(use_case: str, tmp_path: Path) -> None:
    options = ("--use-case", use_case, "--approve")
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with running_demo(tmp_path, *options, **streams) as process:
        said = process.communicate(timeout=TIMEOUT_SECONDS)[0].decode()
        assert process.returncode == 0, said
        assert not is_anything_left(process)

    summary = said[said.index("What just happened") :]
    assert re.search(r"approved by +reviewer: the demo answered, nobody was asked\n", summary)
    assert re.search(r"audit +(\d+) of \1 events at the backend", summary)
    before, after = (float(found) for found in re.findall(r"(?:before|after) +(\d+\.\d)%", summary))
    assert after < before
    assert CASES[use_case].changed in said
    assert "Traceback" not in said
