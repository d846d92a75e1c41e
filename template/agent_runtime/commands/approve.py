"""Runs after a human's click or comment: records whose it was, from GitHub's own record.

Behind environments it reads APPROVED_DIGEST, REPORT_ID, REPORT_DIGEST and TARGET_RESOURCE from the environment.
"""

from __future__ import annotations

import argparse

from agent_runtime import codes
from agent_runtime.cli import Call
from agent_runtime.commands import options
from agent_runtime.model import names


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    options.add_out(parser)
    parser.add_argument("--second", action="store_true", help="the job that waits for the second of two approvals")


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.model import config, inputs, plan  # noqa: PLC0415  each command pays for what it uses

    call.in_workflow()
    job = call.job(names.SECOND_JOB if call.options.second else "approve")
    if job.config.approval_gate == config.ISSUE_GATE:
        from agent_runtime.gate import approve_comment  # noqa: PLC0415

        receipt = approve_comment.run_job(job)
    else:
        from agent_runtime.gate import approve  # noqa: PLC0415
        from agent_runtime.gate.verification import Handover  # noqa: PLC0415

        receipt = approve.run_job(
            job,
            Handover(*(call.required(name) for name in ("APPROVED_DIGEST", "REPORT_ID", "REPORT_DIGEST"))),
            resource=inputs.resource(call.environ.get("TARGET_RESOURCE")),
            number=2 if call.options.second else 1,
        )
    print(f"approved by {receipt.approver.login}: plan {plan.short(receipt.plan_digest)}")
    return codes.EXIT_OK
