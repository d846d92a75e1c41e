"""Bring a copy of the trail to the audit backend (AIMGENTIX_API_URL, AIMGENTIX_API_KEY).

The bundle stays as it is, and a backend that is slow or gone fails no run: what it did not take waits in the bundle.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from urllib.parse import urlsplit

from agent_runtime import codes
from agent_runtime.cli import Call, complain
from agent_runtime.commands import local_options


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("bundle", type=Path, help="folder with bundle.json")
    parser.add_argument(
        "--timeout", type=local_options.seconds, default=30.0, metavar="SECONDS", help="how long to try (%(default)g)"
    )


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.gate import deliver  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.github import context  # noqa: PLC0415
    from agent_runtime.model import config  # noqa: PLC0415

    host = config.load(call.root).audit_host
    delivery = deliver.run_job(call.options.bundle, call.environ, timeout=call.options.timeout, host=host)
    print(delivery.line())
    in_workflow = context.in_workflow(call.environ)
    if delivery.problem and (call.environ.get("AIMGENTIX_API_URL") or not in_workflow):
        # Said, and not a failure of a run: its trail is complete without the backend, whose address may be a secret.
        asked = urlsplit(call.environ.get("AIMGENTIX_API_URL", "")).hostname if delivery.addressed else None
        where = f" (asked at {asked})" if asked and not in_workflow else ""
        complain(codes.TrailIncomplete(deliver.TRAIL_UNDELIVERED, delivery.problem + where))
    if in_workflow:
        return codes.EXIT_OK
    if not delivery.addressed:
        return codes.EXIT_BAD_INPUT  # who types this wants to know that there is nowhere to deliver to
    return codes.EXIT_OK if delivery.archived and not delivery.spooled else codes.EXIT_TRAIL_INCOMPLETE
