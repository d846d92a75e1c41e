"""Say what GitHub is to sign of a run's bundle: its digest, and the plan, the approvers and the outcome.

Reads BUNDLE_ID and BUNDLE_DIGEST from the environment.
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
    from agent_runtime.gate import attest  # noqa: PLC0415  each command pays for what it uses

    call.in_workflow()
    bundle_id, digest = call.required("BUNDLE_ID"), call.required("BUNDLE_DIGEST")
    print(f"to be attested: bundle {attest.run_job(call.job('attest'), bundle_id=bundle_id, bundle_digest=digest)}")
    return codes.EXIT_OK
