"""Check whether this run may start: kill switch, re-run, another workflow, duplicate.  `seal` asks all of it again."""

from __future__ import annotations

import argparse

from agent_runtime import codes
from agent_runtime.cli import Call
from agent_runtime.commands import options


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    options.add_out(parser)


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.gate import start  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.job import request  # noqa: PLC0415

    call.in_workflow()
    asked = request.read(call.environ)
    state = start.run_job(call.job("investigate", asked.trace_id or None), asked)
    print("an earlier run asks already" if state == start.DUPLICATE else "this run may start")
    return codes.EXIT_OK
