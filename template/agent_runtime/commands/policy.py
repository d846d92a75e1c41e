"""Explain, rule by rule, what the policy says of an action or of a plan, or try the team's cases.

Exit code 0 when a human may approve it or nobody has to be asked, 3 when it is denied; of `test` 0 when every case of
tests/policy.yml is as expected, 2 otherwise.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agent_runtime import codes
from agent_runtime.cli import Call

_OTHER_FILE = "another file than this agent's policy"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    explain = parser.add_subparsers(
        dest="what", metavar="check|test", title="command", required=True, parser_class=type(parser)
    )
    added = explain.add_parser("check", description=__doc__, allow_abbrev=False)
    added.add_argument("--action", help="type of the action, for example restart_service")
    added.add_argument("--resource", help="what it is done to")
    added.add_argument("--parameters", metavar="JSON", help="what the action gets, as a JSON object (none)")
    added.add_argument(
        "--risk", choices=("low", "medium", "high", "critical"), default="low", help="risk of the action (%(default)s)"
    )
    added.add_argument("--reversible", action="store_true", help="the agent says that it can be undone")
    added.add_argument(
        "--plan", type=Path, metavar="FILE", help="instead of an action: a plan, a report or an investigation.json"
    )
    added.add_argument("--policy", type=Path, metavar="FILE", help=_OTHER_FILE)
    added.add_argument("--json", action="store_true", help="print one JSON document")
    tried = explain.add_parser("test", description="Try the team's cases of what the policy must say.")
    tried.add_argument("--cases", type=Path, metavar="FILE", help="another file than tests/policy.yml")
    tried.add_argument("--policy", type=Path, metavar="FILE", help=_OTHER_FILE)


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.job.context import now  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.local import policy_check  # noqa: PLC0415
    from agent_runtime.results import RiskLevel  # noqa: PLC0415

    given = call.options
    if given.what == "test":
        return policy_check.run_cases(call.root, cases_file=given.cases, policy_file=given.policy, out=sys.stdout)
    of_action = (given.action, given.resource)
    if given.plan is not None and (any(of_action) or given.parameters):
        raise codes.BadInput(
            codes.USAGE, "--plan names actions and resource: leave out --action, --resource, --parameters"
        )
    if given.plan is not None:
        return policy_check.run_plan(
            call.root, plan_file=given.plan, policy_file=given.policy, as_json=given.json, out=sys.stdout
        )
    if None in of_action:
        raise codes.BadInput(codes.USAGE, "give --action and --resource, or --plan FILE")
    return policy_check.run(
        call.root,
        action=given.action,
        resource=given.resource,
        parameters_text=given.parameters,
        risk_level=RiskLevel(given.risk),
        reversible=given.reversible,
        moment=now(),
        policy_file=given.policy,
        as_json=given.json,
        out=sys.stdout,
    )
