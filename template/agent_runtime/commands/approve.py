"""Runs after a human's click or comment: writes down whose it was, from GitHub's own record.

Behind environments it reads APPROVED_DIGEST and TARGET_RESOURCE from the environment.
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
    from agent_runtime.gate import approve  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.model import config, inputs, plan  # noqa: PLC0415

    call.in_workflow()
    job = call.job("approve")
    if job.config.approval_gate == config.ISSUE_GATE:
        receipt = approve.run_comment_job(job)
    else:
        receipt = approve.run_job(
            job,
            resource=inputs.resource(call.environ.get("TARGET_RESOURCE")),
            plan_digest=call.required("APPROVED_DIGEST"),
        )
    print(f"approved by {receipt.approver.login}: plan {plan.short(receipt.plan_digest)}")
    return codes.EXIT_OK
