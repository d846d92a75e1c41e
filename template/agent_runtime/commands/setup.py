"""Create the environments of the gate on GitHub, or correct them, until they are a gate.

Needs the token of an administrator in GH_TOKEN.  A second run changes nothing.
"""

from __future__ import annotations

import argparse
import sys

from agent_runtime.cli import Call
from agent_runtime.commands import local_options, options


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    local_options.add_repository(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the requests and change nothing")
    parser.add_argument(
        "--reviewer",
        action="append",
        default=[],
        metavar="LOGIN|ORG/TEAM",
        help="who may approve, up to six times; by default the approvers of .github/agent-config.yml",
    )
    parser.add_argument(
        "--wait-timer", type=options.minutes, metavar="MINUTES", help="pause before an approval lets the run continue"
    )
    parser.add_argument("--exact", action="store_true", help="also remove extra deployment branches")


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.local import setup  # noqa: PLC0415  each command pays for what it uses

    return setup.run(
        call.root,
        call.options.repo,
        call.environ,
        reviewers=call.options.reviewer,
        wait_minutes=call.options.wait_timer,
        exact=call.options.exact,
        dry_run=call.options.dry_run,
        out=sys.stdout,
    )
