"""Propose the template's newest release on GitHub: what the jobs of agent-update.yml run, one step each.

`find` says which release there is; `pull-request` pushes what `update --patch` made, after comparing it with the
release and judging it again; `issue` names it where there can be no pull request.

Exit code 0 when it is done or there is nothing to propose, 3 when something is refused, 2 when it can't begin.
"""

from __future__ import annotations

import argparse
import sys

from agent_runtime.cli import Call


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("step", choices=("find", "pull-request", "issue"), help="which of the three")
    parser.add_argument("--to", metavar="VERSION", default="", help="a release (find: its newest)")
    parser.add_argument(
        "--accept", metavar="NAMES", default="", help="differences that somebody accepted, by their names"
    )


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.local.update import proposal  # noqa: PLC0415  each command pays for what it uses

    call.in_workflow()
    step, version = call.options.step, call.options.to
    if step == "find":
        return proposal.find(call.root, version, call.environ, sys.stdout)
    if step == "issue":
        return proposal.issue(call.root, version, call.environ, sys.stdout)
    return proposal.pull_request(call.root, version, call.options.accept.split(), call.environ, sys.stdout)
