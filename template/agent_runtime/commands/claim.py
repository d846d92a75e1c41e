"""Where an issue is the gate: make every check of *Verify*, then claim the plan for this run.

Reads APPROVED_DIGEST and TARGET_RESOURCE from the environment.
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
    from agent_runtime.gate import claim  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.model import inputs, plan  # noqa: PLC0415

    call.in_workflow()
    digest = call.required("APPROVED_DIGEST")
    claim.run_job(call.job("claim"), resource=inputs.resource(call.environ.get("TARGET_RESOURCE")), plan_digest=digest)
    print(f"claimed: plan {plan.short(digest)}")
    return codes.EXIT_OK
