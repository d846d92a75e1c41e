"""What the SDK's tests share. They also run on Python 3.8, with pytest, hypothesis and urllib3 and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.sdk.helpers import child_environment
from support.sdk.sink import Sink

_PREFIXES = ("AIMGENTIX_", "GITHUB_", "ACTIONS_")
_NAMES = ("TRACE_ID", "TRACEPARENT", "AGENT_INSTANCE_ID", "RUNNER_TEMP", "XDG_STATE_HOME")
_SECRET_ENDS = ("TOKEN", "KEY", "SECRET", "PASSWORD")


def _foreign(name: str) -> bool:
    return name.startswith(_PREFIXES) or name in _NAMES or name.endswith(_SECRET_ENDS)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting or secret of the machine that runs the tests reaches a client; journals go to the test's folder."""
    for name in list(os.environ):
        if _foreign(name):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def journal_dir(tmp_path: Path) -> Path:
    """A folder for the journal, which the SDK creates."""
    return tmp_path / "journal"


@pytest.fixture
def sink():
    """A backend that stores what it is sent, on loopback."""
    with Sink() as server:
        yield server


@pytest.fixture
def run_python(tmp_path: Path):
    """Run a script in a Python process of its own, with the SDK on its path."""

    def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=child_environment(**environment),
            cwd=str(tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
