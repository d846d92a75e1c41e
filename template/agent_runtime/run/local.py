"""An investigation at a terminal, outside any workflow.  Nothing of it can be acted on."""

from __future__ import annotations

import subprocess
from pathlib import Path

from agent_runtime.model.documents import Run


def commit(root: Path) -> str:
    """Return the commit that is checked out; `0` * 40 where none is."""
    found = subprocess.run(  # noqa: S603  fixed arguments
        ["git", "-C", str(root), "rev-parse", "HEAD"],  # noqa: S607  git is found as the user's shell finds it
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return found.stdout.decode("ascii", "replace").strip() if found.returncode == 0 else "0" * 40


def described(root: Path, repository: str) -> Run:
    """Return what stands for its run."""
    return Run(
        repository=repository,
        run_id="local",
        run_attempt=1,
        sha=commit(root),
        ref="local",
        actor="local",
        triggering_actor="local",
        workflow="local",
        event="local",
    )
