"""Check the settings on GitHub and this repository, and print what no machine can check as questions.

Changes nothing.  Reads the token from GH_TOKEN; exit code 3 when something is open.
"""

from __future__ import annotations

import argparse
import sys

from agent_runtime.cli import Call
from agent_runtime.commands import local_options


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    local_options.add_repository(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.local import doctor  # noqa: PLC0415  each command pays for what it uses

    return doctor.run(call.root, call.options.repo, call.environ, as_json=call.options.json, out=sys.stdout)
