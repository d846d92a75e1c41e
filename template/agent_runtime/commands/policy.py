"""Explain, rule by rule, what the policy says of an action.

Exit code 0 when a human may approve it or nobody has to be asked, 3 when it is denied.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agent_runtime.cli import Call


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    explain = parser.add_subparsers(metavar="check", title="command", required=True, parser_class=type(parser))
    added = explain.add_parser("check", description=__doc__, allow_abbrev=False)
    added.add_argument("--action", required=True, help="type of the action, for example restart_service")
    added.add_argument("--resource", required=True, help="what it is done to")
    added.add_argument("--parameters", metavar="JSON", help="what the action gets, as a JSON object (none)")
    added.add_argument(
        "--risk", choices=("low", "medium", "high", "critical"), default="low", help="risk of the action (%(default)s)"
    )
    added.add_argument("--reversible", action="store_true", help="the agent says that it can be undone")
    added.add_argument("--policy", type=Path, metavar="FILE", help="another file than this agent's policy")
    added.add_argument("--json", action="store_true", help="print one JSON document")


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.local import policy_check  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.results import RiskLevel  # noqa: PLC0415

    return policy_check.run(
        call.root,
        action=call.options.action,
        resource=call.options.resource,
        parameters_text=call.options.parameters,
        risk_level=RiskLevel(call.options.risk),
        reversible=call.options.reversible,
        policy_file=call.options.policy,
        as_json=call.options.json,
        out=sys.stdout,
    )
