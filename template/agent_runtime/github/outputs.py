"""What a job tells the runner: outputs and the step summary.

Outputs are written in the multi-line form with a random delimiter, so that no value can end its own block and start
another (threat T5).  Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Mapping

# GitHub refuses a step summary above this size.
MAX_SUMMARY_BYTES = 1024 * 1024


def format_outputs(values: Mapping[str, str]) -> str:
    """Return the text that sets `values`, each with a delimiter that nobody could have guessed.

    Raises:
        ValueError: a name or value has a character that no output of this runtime needs.
    """
    lines = []
    for name, value in values.items():
        if not name.isidentifier():
            raise ValueError("{!r} can't be the name of an output".format(name))
        if any(ord(character) < 0x20 or ord(character) > 0x7E for character in value):
            raise ValueError("the output {} is not printable ASCII".format(name))
        delimiter = "ghadelimiter_" + secrets.token_hex(16)
        lines += ["{}<<{}".format(name, delimiter), value, delimiter]
    return "\n".join(lines) + "\n" if lines else ""


def write_outputs(environ: Mapping[str, str], values: Mapping[str, str]) -> None:
    """Set job outputs where the runner asked for them; does nothing outside a workflow."""
    target = environ.get("GITHUB_OUTPUT")
    if target:
        with Path(target).open("a", encoding="utf-8") as stream:
            stream.write(format_outputs(values))


def write_summary(environ: Mapping[str, str], markdown: str) -> None:
    """Append Markdown to the step summary; does nothing outside a workflow."""
    target = environ.get("GITHUB_STEP_SUMMARY")
    if target:
        with Path(target).open("a", encoding="utf-8") as stream:
            stream.write(markdown)
