"""The SDK's own tests pass on the oldest Python that it promises to run on, and on the newest."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from support.environment import REPOSITORY, newest_python, require_python, require_tool

TESTS = ("tests/unit/sdk", "tests/integration/sdk")
LOCK = REPOSITORY / "requirements" / "sdk-tests.lock"

# How a process ends may differ by Python, and each end is tried on both.  In which tenth of a second the process was
# killed does not, nor does what the backend answered meanwhile, which takes one end where urllib3 is another one too:
# the Python that runs this tries each answer with each end.
OTHER_ANSWERS = "no_end_loses_an_event and ([none- or [503- or [refuse-)"
LATER_MOMENTS = "killed_at_any_moment and not ([0] or [1])"
LEFT_OUT = {
    "oldest": (f"not ({OTHER_ANSWERS} and not -return]) and not ({LATER_MOMENTS})", 27),
    "newest": (f"not ({OTHER_ANSWERS}) and not ({LATER_MOMENTS})", 30),
}


@pytest.mark.long
@pytest.mark.parametrize("age", ["oldest", "newest"])
def test_the_sdk_passes_its_tests(age: str, tmp_path: Path) -> None:
    python = require_python("3.8") if age == "oldest" else newest_python()[1]
    tried, left_out = LEFT_OUT[age]
    uv = require_tool("uv")
    venv = tmp_path / "venv"
    inside = str(venv / "bin" / "python")
    subprocess.run([uv, "venv", "--quiet", "--python", python, str(venv)], check=True)
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", inside, "--require-hashes", "-r", str(LOCK)], check=True
    )

    done = subprocess.run(
        [
            *(inside, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "tests")),
            *("-c", "tests/support/sdk/pytest.ini", "--confcutdir", TESTS[0], *TESTS),
            *("-k", tried),
        ],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert f" {left_out} deselected" in done.stdout, "no other test has such a name"
    reported = re.search(r"(\d+) passed", done.stdout)
    assert reported and int(reported[1]) > 200, done.stdout[-2000:]
    assert "skipped" not in done.stdout.splitlines()[-1], done.stdout[-2000:]
