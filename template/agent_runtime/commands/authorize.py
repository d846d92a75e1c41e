"""The step *Verify*: make every check again, before anything of the team's starts on this machine.

Reads APPROVED_DIGEST, REPORT_ID, REPORT_DIGEST and TARGET_RESOURCE from the environment; where an issue is the gate it
finds the report by the issue.
"""

from __future__ import annotations

import argparse

from agent_runtime import codes
from agent_runtime.cli import Call
from agent_runtime.commands import options


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    options.add_out(parser)
    parser.add_argument(
        "--auto", action="store_true", help="this is the job act-auto: authorize what the policy sealed without asking"
    )


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.gate import authorize  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.gate.verification import Handover  # noqa: PLC0415
    from agent_runtime.model import config, inputs, names, plan  # noqa: PLC0415

    call.in_workflow()
    job = call.job(names.AUTO_JOB if call.options.auto else "act")
    handover = Handover(call.required("APPROVED_DIGEST"))
    if job.config.approval_gate != config.ISSUE_GATE:
        handover = Handover(handover.plan_digest, call.required("REPORT_ID"), call.required("REPORT_DIGEST"))
    resource = inputs.resource(call.environ.get("TARGET_RESOURCE"))
    authorize.run_job(job, handover, resource=resource, automatic=call.options.auto)
    print(f"authorized: plan {plan.short(handover.plan_digest)}")
    return codes.EXIT_OK
