"""Say which files of the template are not as it renders them for the recorded version and answers.

It needs git and Copier.  Exit code 0 when none differs, 3 when one does.  Pins that Dependabot renewed are listed and
don't count.
"""

from __future__ import annotations

import argparse
import sys

from agent_runtime.cli import Call


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--explain", metavar="FILE", help="show how this file differs, and whose it is")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.local.update import drift  # noqa: PLC0415  each command pays for what it uses

    return drift.run(call.root, explain=call.options.explain, as_json=call.options.json, out=sys.stdout, err=sys.stderr)
