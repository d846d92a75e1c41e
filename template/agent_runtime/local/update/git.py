"""Runs git as a program, without questions and without the repository's hooks."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Dict, Mapping, Optional

from agent_runtime import codes
from agent_runtime.local.update import problems

# What a hook, or a person, leads git elsewhere with; `git rev-parse --local-env-vars` has them all.
_ELSEWHERE = ("GIT_DIR", "GIT_WORK", "GIT_IND", "GIT_OBJ", "GIT_ALT", "GIT_COMMON", "GIT_PREFIX", "GIT_NAMESPACE")
# A template that does not answer ends a command; git alone would wait for ever.
_SECONDS = 600


class GitFailed(codes.AgentError):
    """git ended with an error; its last line is the message."""

    def __init__(self, said: str) -> None:
        lines = [line for line in said.splitlines() if line.strip()]
        super().__init__(problems.NO_GIT_PROGRAM, "git: " + (lines[-1].strip() if lines else "it printed no reason"))


def environment(more: Mapping[str, str] = {}) -> Dict[str, str]:
    """The variables of a process: those of this one, without what leads git elsewhere, and nothing that asks."""
    taken = {name: value for name, value in os.environ.items() if not name.startswith(_ELSEWHERE)}
    taken.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
    return {**taken, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8", **more}


def git(folder: Path, *words: str, data: Optional[bytes] = None, more: Mapping[str, str] = {}) -> bytes:
    """Run git in `folder` and return what it printed.

    Raises:
        GitFailed: it ended with an error, or took too long, or is not there.
    """
    command = ["git", "-c", "core.quotePath=off", "-c", f"core.hooksPath={os.devnull}", *words]
    try:
        done = subprocess.run(  # noqa: S603  an argument list without a shell
            command,
            cwd=str(folder),
            input=data,
            stdin=None if data is not None else subprocess.DEVNULL,
            capture_output=True,
            env=environment(more),
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitFailed(str(error)) from None
    if done.returncode:
        raise GitFailed((done.stderr or done.stdout).decode("utf-8", "replace"))
    return done.stdout


def line(folder: Path, *words: str, data: Optional[bytes] = None, more: Mapping[str, str] = {}) -> str:
    """The same for what prints one line."""
    return git(folder, *words, data=data, more=more).decode("utf-8", "replace").strip()
