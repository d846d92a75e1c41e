"""What the tools share that work on the repositories of teams."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

from agent_runtime import codes
from agent_runtime.local import answers
from agent_runtime.local.update.owners import ANSWERS_FILE
from agent_runtime.local.update.template import Recorded

ROOT = Path(__file__).resolve().parent.parent

# What is wrong with the answers of one release is right with those of another.
_OF_RELEASE = (answers.MISSING, answers.UNKNOWN)

# Ways to write the address of one repository, and what stands for them.
_WAYS = {
    r"\Agit\+": "",
    r"\Agh:": "https://github.com/",
    r"\Agl:": "https://gitlab.com/",
    r"\Assh://(?:[\w.-]+@)?([\w.-]+)/": r"https://\1/",
    r"\A[\w.-]+@([\w.-]+):": r"https://\1/",
}


class Installed(Recorded):
    """What a repository of any release records: which questions there are differs from one release to the next.

    Raises:
        BadInput: as for the newest release, but no answer is missing, and none is too many.
    """

    def __init__(self, text: bytes | None) -> None:
        try:
            super().__init__(text)
        except codes.BadInput as error:
            if error.code not in _OF_RELEASE:
                raise
            for problem in answers.validate(self.known):
                if problem.code not in _OF_RELEASE:
                    message = f"{ANSWERS_FILE}: {problem.question}: {problem.message}"
                    raise codes.BadInput(problem.code, message) from None


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


def canonical(address: str, folder: Path) -> str:
    """One text for all ways to write an address; a path, which may be relative to a folder, comes first."""
    with contextlib.suppress(OSError):  # no path is as long as this text
        local = (folder / address).resolve(strict=True)
        return str(local)
    for way, standard in _WAYS.items():
        address = re.sub(way, standard, address)
    return address.rstrip("/").removesuffix(".git")


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
