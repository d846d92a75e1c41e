"""Judge what the job `investigate` handed over, seal the plan, and write the page that the reviewer decides from.

Reads INVESTIGATION_ID, INVESTIGATION_DIGEST and INVESTIGATE_RESULT from the environment.
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
        "--minutes-ago",
        type=options.minutes,
        default=0,
        metavar="N",
        help="date the plan N minutes back, so that it expires earlier; for trying out expiry",
    )


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.gate import seal  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.gate.pages import review  # noqa: PLC0415
    from agent_runtime.github import outputs  # noqa: PLC0415
    from agent_runtime.job import request  # noqa: PLC0415

    call.in_workflow()
    handover = seal.Handover(
        artifact_id=call.environ.get("INVESTIGATION_ID", ""),
        digest=call.environ.get("INVESTIGATION_DIGEST", ""),
        result=call.environ.get("INVESTIGATE_RESULT", ""),
    )
    try:
        asked = request.read(call.environ)
        job = call.job("seal", asked.trace_id or None)
        outcome = seal.run_job(job, asked, handover, minutes_ago=call.options.minutes_ago)
    except codes.BadInput as problem:
        outputs.write_summary(call.environ, review.render_refusal(problem))
        raise
    if outcome.problem is not None:
        raise outcome.problem
    print(f"{outcome.report.resource}: {str(outcome.report.status).replace('_', ' ')}")
    return codes.EXIT_OK
