"""What a job reports to the runner: outputs and the step summary.

Outputs are written in the multi-line form with a random delimiter, so that no value can end its own block and start
another (threat T5).  Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Mapping

# Files by which a step speaks to the runner, and what the runner's own actions use to keep artifacts and caches.
_COMMAND_FILES = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STATE")
_RUNNERS_OWN = ("ACTIONS_RUNTIME_TOKEN", "ACTIONS_RUNTIME_URL", "ACTIONS_RESULTS_URL", "ACTIONS_CACHE_URL")


def hide_from_children() -> None:
    """Take what speaks to the runner out of this process's environment, so that no program started later inherits it.

    The runtime keeps its own copy of the environment; `discard()` and the functions below take that one.
    """
    for name in (*_COMMAND_FILES, *_RUNNERS_OWN):
        os.environ.pop(name, None)


def discard(environ: Mapping[str, str]) -> None:
    """Empty the files by which this step speaks to the runner: whatever is in them is not the runtime's."""
    for name in _COMMAND_FILES:
        target = environ.get(name)
        if target and Path(target).exists():
            with Path(target).open("w", encoding="utf-8"):
                pass


def format_outputs(values: Mapping[str, str]) -> str:
    """Return the text that sets `values`, each with a delimiter that nobody could have guessed.

    Raises:
        ValueError: a name or value has a character that no output of this runtime needs.
    """
    lines = []
    for name, value in values.items():
        if not name.isidentifier():
            raise ValueError(f"{name!r} can't be the name of an output")
        if any(ord(character) < 0x20 or ord(character) > 0x7E for character in value):
            raise ValueError(f"the output {name} is not printable ASCII")
        delimiter = "ghadelimiter_" + secrets.token_hex(16)
        lines += [f"{name}<<{delimiter}", value, delimiter]
    return "\n".join(lines) + "\n" if lines else ""


def write_outputs(environ: Mapping[str, str], values: Mapping[str, str]) -> None:
    """Set job outputs where the runner asked for them, these and no others; does nothing outside a workflow."""
    target = environ.get("GITHUB_OUTPUT")
    if target:
        with Path(target).open("w", encoding="utf-8") as stream:
            stream.write(format_outputs(values))


def write_summary(environ: Mapping[str, str], markdown: str) -> None:
    """Make Markdown the whole step summary; does nothing outside a workflow."""
    target = environ.get("GITHUB_STEP_SUMMARY")
    if target:
        with Path(target).open("w", encoding="utf-8") as stream:
            stream.write(markdown)
