"""Runs before Cookiecutter asks, in its throw-away copy of this repository.

It refuses what Cookiecutter would swallow or choke on: a `key=value` on the command line that no question has, or whose
value can't be used. And it repairs the door to the template where the symbolic link was checked out as a text file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path.cwd()
TEMPLATE = REPOSITORY / "template"
DOOR = REPOSITORY / "{{cookiecutter.agent_slug}}"

sys.dont_write_bytecode = True
sys.path.insert(0, str(TEMPLATE))

try:
    from agent_runtime.local import answers
except Exception as error:
    raise SystemExit(f"This template is broken: {type(error).__name__}: {error}") from None

OPTIONS_WITH_VALUE = {
    "-c",
    "--accept-hooks",
    "--checkout",
    "--config-file",
    "--debug-file",
    "--directory",
    "-o",
    "--output-dir",
    "--replay-file",
}


def command_line(pid: int) -> tuple[list[str], bool]:
    """The words with which process `pid` was started, and whether their boundaries are known."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1], True
    except OSError:
        pass
    try:
        command = ["ps", "-o", "args=", "-p", str(pid)]
        listed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  fixed words
    except OSError:
        return [], False
    return listed.stdout.split(), False


def given(words: list[str]) -> list[str]:
    """The `key=value` words of a Cookiecutter command line: what follows the template's address."""
    program = next((i for i, word in enumerate(words[:3]) if Path(word).stem == "cookiecutter"), None)
    if program is None:
        return []
    positional = []
    rest = iter(words[program + 1 :])
    for word in rest:
        if word in OPTIONS_WITH_VALUE:
            next(rest, None)
        elif not word.startswith("-"):
            positional.append(word)
    pairs = positional[1:]
    # A word without an equals sign is a piece of an answer with spaces: nothing is sure after it.
    end = next((i for i, word in enumerate(pairs) if "=" not in word), len(pairs))
    return pairs[:end]


def main() -> int:
    words, exact = command_line(os.getppid())
    refused = False
    for pair in given(words):
        name, _, value = pair.partition("=")
        if exact or name not in answers.QUESTIONS:
            problem = answers.check(name, value)
            if problem:
                print(problem.line(), file=sys.stderr)
                refused = True
    if refused:
        return 2
    if not DOOR.is_dir():
        DOOR.unlink(missing_ok=True)
        shutil.copytree(TEMPLATE, DOOR)
    return 0


raise SystemExit(main())
