"""Bring the template's newest release into this repository, as one commit on the branch that is checked out.

The team's files stay.  What would weaken the gate is refused, with each difference, until --accept names it
as it is printed; a conflict is refused until --apply takes it into the working tree.  It needs git and Copier.

Exit code 0 when nothing is left to do, 3 when something is refused or left to resolve, 2 when it can't begin.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Tuple

from agent_runtime.cli import Call


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--check", action="store_true", help="show what would change, and change nothing")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--to", metavar="VERSION", help="a tag or commit of the template (its newest release)")
    which.add_argument("--back", action="store_true", help="the release before the one that is here")
    parser.add_argument(
        "--set",
        type=_answer,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change an answer; without --to at the recorded version",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--branch", metavar="NAME", help="a new branch gets the commit, and nothing else changes")
    where.add_argument("--apply", action="store_true", help="into the working tree, uncommitted, conflicts too")
    where.add_argument("--patch", type=Path, metavar="FILE", help="a file gets what would change, for agent-update.yml")
    parser.add_argument(
        "--accept", action="append", default=[], metavar="NAME", help="accept the difference of this name, or these"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _answer(text: str) -> Tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"not NAME=VALUE: {text!r}")
    return name, value


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.local.update import run as update  # noqa: PLC0415  each command pays for what it uses

    options = update.Options(
        version=call.options.to,
        changed=dict(call.options.set),
        check=call.options.check,
        branch=call.options.branch,
        apply=call.options.apply,
        accepted=" ".join(call.options.accept).split(),
        patch=call.options.patch,
        back=call.options.back,
    )
    return update.run(call.root, options, as_json=call.options.json, out=sys.stdout, err=sys.stderr)
