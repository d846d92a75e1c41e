"""Repositories that are compared with their template, and updated from it, by their own command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from support import engines

# Where this environment's copier is.
PATH = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
# As nobody in particular, and without the machine's settings.
NOBODY = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "A Team"), ("EMAIL", "team@example.com"))
    },
}


def command(
    project: Path, *words: str, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Run `python agent_runner.py` in a repository, with Copier on PATH."""
    return engines.run(
        [sys.executable, "-B", "agent_runner.py", *words], cwd=project, environment={**PATH, **NOBODY, **environment}
    )


def committed(source: Path, destination: Path) -> Path:
    """A copy of a rendering as a git repository with one commit."""
    shutil.copytree(source, destination, symlinks=True)
    engines.commit_all(destination, "Start from the template")
    return destination
