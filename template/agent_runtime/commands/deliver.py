"""Bring a copy of the trail to the audit backend (AIMGENTIX_API_URL, AIMGENTIX_API_KEY).

The bundle stays as it is, and a backend that is slow or gone fails no run: what it did not take waits in the bundle.
What the backend has already is not stored twice, so that whatever may be missing there can be delivered.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Tuple
from urllib.parse import urlsplit

from agent_runtime import codes
from agent_runtime.cli import Call, complain
from agent_runtime.commands import local_options


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("bundles", type=Path, nargs="+", metavar="bundle", help="folder with bundle.json")
    parser.add_argument(
        "--timeout",
        type=local_options.seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long to try each (%(default)g)",
    )


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.model import config  # noqa: PLC0415  each command pays for what it uses

    host = config.load(call.root).audit_host
    worst = codes.EXIT_OK
    for number, folder in enumerate(call.options.bundles, start=1):
        try:
            code, goes_on = _deliver(call, folder, host)
        except codes.BadInput as problem:
            complain(problem)
            code, goes_on = problem.exit_code, True
        worst = max(worst, code)
        waiting = len(call.options.bundles) - number
        if not goes_on and waiting:
            print(f"not tried: {waiting} more, from {call.options.bundles[number]} on")
            break
    return worst


def _deliver(call: Call, folder: Path, host: str) -> Tuple[int, bool]:
    """Deliver one bundle; return the exit code, and whether there is any use in trying another one."""
    from agent_runtime.gate import deliver  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.github import context  # noqa: PLC0415

    delivery = deliver.run_job(folder, call.environ, timeout=call.options.timeout, host=host)
    print(f"{folder}: {delivery.line()}" if len(call.options.bundles) > 1 else delivery.line())
    in_workflow = context.in_workflow(call.environ)
    if delivery.problem and (call.environ.get("AIMGENTIX_API_URL") or not in_workflow):
        # Said, and not a failure of a run: its trail is complete without the backend, whose address may be a secret.
        asked = urlsplit(call.environ.get("AIMGENTIX_API_URL", "")).hostname if delivery.addressed else None
        where = f" (asked at {asked})" if asked and not in_workflow else ""
        complain(codes.TrailIncomplete(deliver.TRAIL_UNDELIVERED, delivery.problem + where))
    goes_on = delivery.addressed and not delivery.spooled
    if in_workflow:
        return codes.EXIT_OK, goes_on
    if not delivery.addressed:
        return codes.EXIT_BAD_INPUT, goes_on  # who types this wants to know that there is nowhere to deliver to
    return codes.EXIT_OK if delivery.archived and goes_on else codes.EXIT_TRAIL_INCOMPLETE, goes_on
