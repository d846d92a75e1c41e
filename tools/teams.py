"""What the tools share that work on the repositories of teams."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from agent_runtime.local.update.template import Recorded

ROOT = Path(__file__).resolve().parent.parent


class Origin(Recorded):
    """Where a repository comes from, while what it records is incomplete.

    Arguments:
        source: address of the template.
        text: the answers that are known, as YAML.
    """

    def __init__(self, source: str, text: bytes = b"{}\n") -> None:
        self.text, self.known, self.commit, self.source = text, {}, "", source


def own_programs_first() -> None:
    """Let this environment's Copier be found, also where the environment is not activated."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def address() -> str:
    """The address that this checkout was cloned from, which teams can reach too; its path where it has none."""
    command = ["git", "remote", "get-url", "origin"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else str(ROOT)


def answer(text: str) -> tuple[str, str]:
    """`NAME=VALUE` of a command line.

    Raises:
        ArgumentTypeError: it is something else.
    """
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"not NAME=VALUE: {text!r}")
    return name, value
