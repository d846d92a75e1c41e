"""Where an issue is the gate: open the issue in which an approver reads the plan and answers with a comment.

Reads REPORT_ID, REPORT_DIGEST and APPROVED_DIGEST from the environment.
"""

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
    from agent_runtime.gate import ask  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.gate.verification import Handover  # noqa: PLC0415

    call.in_workflow()
    handover = Handover(call.required("APPROVED_DIGEST"), call.required("REPORT_ID"), call.required("REPORT_DIGEST"))
    print(f"waiting for an approval in issue #{ask.run_job(call.job('ask'), handover)}")
    return codes.EXIT_OK
