"""Options that commands of jobs share, and the type of a value."""

from __future__ import annotations

import argparse
from pathlib import Path

from agent_runtime.model import names


def add_out(parser: argparse.ArgumentParser, default: str = names.DEFAULT_OUT) -> None:
    """Where a job writes."""
    parser.add_argument("--out", type=Path, default=Path(default), help="folder for what the job writes (%(default)s)")


def minutes(text: str) -> int:
    """A number of minutes."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"not a number of minutes: {text!r}")
    return int(text)
