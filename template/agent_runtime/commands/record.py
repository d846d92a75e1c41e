"""Collect what the other jobs uploaded into a bundle, say how the run ended, and check that its trail is complete.

Reads NEEDS (toJSON(needs)) from the environment.
"""

from __future__ import annotations

import argparse

from agent_runtime import codes
from agent_runtime.cli import Call, complain
from agent_runtime.commands import options


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    options.add_out(parser)


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.gate import record  # noqa: PLC0415  each command pays for what it uses

    call.in_workflow()
    ending = record.run_job(call.job("record"), record.parse_needs(call.required("NEEDS")))
    print(f"run ended: {str(ending.outcome).replace('_', ' ')}; bundle {ending.digest}")
    for problem in ending.problems[1:]:
        complain(codes.TrailIncomplete(problem.code, problem.message))
    if ending.problems:
        raise codes.TrailIncomplete(ending.problems[0].code, ending.problems[0].message)
    return codes.EXIT_OK
