"""Runs before Cookiecutter asks, in its throw-away copy of this repository.

It refuses what Cookiecutter would swallow or choke on: a `key=value` on the command line that no question has, or whose
value is invalid, and a default of the user's configuration that is invalid, which would take those after it
along. It removes what tools left in the template, and repairs the door to the template where the symbolic link was
checked out as a text file.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path.cwd()
TEMPLATE = REPOSITORY / "template"
DOOR = REPOSITORY / "{{cookiecutter.agent_slug}}"
CONTEXT = REPOSITORY / "cookiecutter.json"

# What git ignores, which Copier leaves out too.
LITTER = [
    "__pycache__",
    "*.py[co]",
    ".*_cache",
    ".hypothesis",
    ".venv",
    "*.egg-info",
    "node_modules",
    "agent-run*",
    ".coverage",
    ".DS_Store",
]

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


def parse(words: list[str]) -> tuple[list[str], dict[str, str]] | None:
    """The `key=value` words of a Cookiecutter command line, which follow the template's address, and its options."""
    program = next((i for i, word in enumerate(words[:3]) if Path(word).stem == "cookiecutter"), None)
    if program is None:
        return None
    positional = []
    options = {}
    rest = iter(words[program + 1 :])
    for word in rest:
        name, _, value = word.partition("=")
        if word in OPTIONS_WITH_VALUE:
            options[word] = next(rest, "")
        elif word.startswith("-"):
            options[name] = value
        else:
            positional.append(word)
    pairs = positional[1:]
    # A word without an equals sign is a piece of an answer with spaces: nothing is sure after it.
    end = next((i for i, word in enumerate(pairs) if "=" not in word), len(pairs))
    return pairs[:end], options


def user_defaults(options: dict[str, str]) -> dict[str, Any]:
    """The answers in the user's configuration, which serves every template."""
    from cookiecutter.config import get_user_config  # type: ignore[import-untyped]  # noqa: PLC0415  a slow import

    given = options.get("--config-file")
    path = str(Path(os.environ.get("PWD", os.curdir), given)) if given else None  # Cookiecutter has left that folder
    try:
        defaults = get_user_config(config_file=path, default_config="--default-config" in options)["default_context"]
    except Exception:  # Cookiecutter has read it already; what it could not use, it has said
        return {}
    return {name: value for name, value in defaults.items() if name in answers.QUESTIONS}


def refusals(pairs: list[str], exact: bool, defaults: dict[str, Any]) -> Iterator[str]:
    for pair in pairs:
        name, _, value = pair.partition("=")
        if exact or name not in answers.QUESTIONS:
            problem = answers.check(name, value)
            if problem:
                yield problem.line()
    for name, value in defaults.items():
        problem = answers.check(name, value)
        if problem:
            yield f"{problem.line()} (default_context of your Cookiecutter configuration; --default-config ignores it)"


def take_false_for_no(defaults: dict[str, Any]) -> None:
    """Let Cookiecutter accept the false that YAML reads for an unquoted `no`."""
    context = json.loads(CONTEXT.read_text(encoding="utf-8"))
    for name, value in defaults.items():
        if value is False:
            context[name].append(False)
    CONTEXT.write_text(json.dumps(context), encoding="utf-8")


def remove_litter() -> None:
    for path in [path for pattern in LITTER for folder in (TEMPLATE, DOOR) for path in folder.rglob(pattern)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def main() -> int:
    words, exact = command_line(os.getppid())
    parsed = parse(words)
    if parsed:
        pairs, options = parsed
        defaults = user_defaults(options)
        refused = list(refusals(pairs, exact, defaults))
        if refused:
            print(*refused, sep="\n", file=sys.stderr)
            return 2
        take_false_for_no(defaults)
    if not DOOR.is_dir():
        DOOR.unlink(missing_ok=True)
        shutil.copytree(TEMPLATE, DOOR)
    remove_litter()
    return 0


raise SystemExit(main())
