"""Send a message to the addresses in AGENT_NOTIFY_URLS: a plan waits, also for its second approval, or its run ended.

Reads REPORT_ID, REPORT_DIGEST, APPROVED_DIGEST and ISSUE, or BUNDLE_ID, BUNDLE_DIGEST and TARGET_RESOURCE.
"""

from __future__ import annotations

import argparse

from agent_runtime import codes
from agent_runtime.cli import Call, Ended
from agent_runtime.commands import local_options, options
from agent_runtime.model import names


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("what", choices=("waiting", "second", "ended"), help="what to say")
    options.add_out(parser)
    parser.add_argument(
        "--timeout",
        type=local_options.seconds,
        default=30.0,
        metavar="SECONDS",
        help="for all addresses together (%(default)g)",
    )


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.gate import notify  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.gate.verification import Handover  # noqa: PLC0415
    from agent_runtime.text.escape import log_line  # noqa: PLC0415

    call.in_workflow()
    job, given = call.job("notify"), call.environ
    try:
        if call.options.what == "ended":
            kept = (given.get(name, "") for name in ("BUNDLE_ID", "BUNDLE_DIGEST", "TARGET_RESOURCE"))
            text = notify.ended(job, *kept)
        else:
            sealed = Handover(*(call.required(name) for name in ("APPROVED_DIGEST", "REPORT_ID", "REPORT_DIGEST")))
            is_first = call.options.what == "waiting"
            text = notify.waiting(job, sealed, given.get("ISSUE", "")) if is_first else notify.second(job, sealed)
        sent = notify.send(job, text, given.get(names.NOTIFY_SECRET, ""), call.options.timeout)
    except codes.AgentError as problem:
        notify.refuse(job, problem)
        raise
    print(log_line(text.title))
    for result in sent.results:
        print(log_line(result))
    if sent.failed:
        reached = f"{sent.failed} of {len(sent.results)} addresses did not accept the message"
        raise Ended(notify.NOT_SENT, reached, codes.EXIT_INTERNAL)
    return codes.EXIT_OK
