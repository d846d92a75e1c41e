"""Runs after a human's click or comment: records whose it was, from GitHub's own record.

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
    from agent_runtime.model import config, inputs, plan  # noqa: PLC0415  each command pays for what it uses

    call.in_workflow()
    job = call.job("approve")
    if job.config.approval_gate == config.ISSUE_GATE:
        from agent_runtime.gate import approve_comment  # noqa: PLC0415

        receipt = approve_comment.run_job(job)
    else:
        from agent_runtime.gate import approve  # noqa: PLC0415

        receipt = approve.run_job(
            job,
            resource=inputs.resource(call.environ.get("TARGET_RESOURCE")),
            plan_digest=call.required("APPROVED_DIGEST"),
        )
    print(f"approved by {receipt.approver.login}: plan {plan.short(receipt.plan_digest)}")
    return codes.EXIT_OK
