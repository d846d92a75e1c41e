"""List the bundles in folders: what was done, who approved it, whether each holds, and which runs left none.

Needs no network.  Every bundle is checked as `verify` checks it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agent_runtime import codes
from agent_runtime.cli import Call
from agent_runtime.commands import local_options

_SHORT = ("ended", "repository", "run", "outcome", "resource", "action", "approved by", "reason", "authenticated")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="with bundles below it")
    parser.add_argument("--resource", help="actions on this resource")
    parser.add_argument("--approver", metavar="LOGIN", help="approved by this person")
    parser.add_argument("--outcome", help="runs that ended so, for example acted or rejected")
    local_options.add_times(parser)
    parser.add_argument("--policy", type=Path, metavar="FILE", help="the log's and the witnesses' public keys")
    parser.add_argument("--trusted-root", type=Path, metavar="FILE", help="of Sigstore, for GitHub's attestations")
    parser.add_argument("--csv", action="store_true", help="every column, for a spreadsheet")


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.job.context import now  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.local import auditor, register  # noqa: PLC0415

    given = call.options
    policy = None if given.policy is None else auditor.read_policy(given.policy)
    roots = None if given.trusted_root is None else auditor.read_roots(given.trusted_root)
    folders = [folder for path in given.folders for folder in auditor.bundles_in(path)]
    findings = [auditor.examine(folder, policy, now=now(), roots=roots) for folder in folders]
    wanted = register.Wanted(given.resource, given.approver, given.outcome, given.since, given.until)
    known = sorted(((register.row(finding), finding) for finding in findings), key=lambda pair: pair[0]["ended"])
    asked = [(row, finding) for row, finding in known if wanted.in_time(row)]
    rows = [row for row, _ in asked if wanted.has(row)]
    if given.csv:
        sys.stdout.write(register.as_csv(rows))
    else:
        print("\n".join(register.as_text(row, _SHORT) for row in rows), end="\n" if rows else "")
    bad = [finding for _, finding in asked if finding.problems]
    for line in (
        f"{len(rows)} of {len(asked)} bundles in this time; {len(bad)} don't hold",
        *(f"does not hold: {finding.folder}: {finding.problems[0].line()}" for finding in bad),
        *(f"gap: {line}" for line in register.gaps([finding for _, finding in asked])),
    ):
        print(line, file=sys.stderr if given.csv else sys.stdout)
    return codes.EXIT_TRAIL_INCOMPLETE if bad else codes.EXIT_OK
