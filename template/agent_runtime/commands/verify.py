"""Recompute every digest and hash chain of an audit bundle, and say what does not hold.  Needs no network.

With a policy that lists keys, check as well that a transparency log has the bundle, and who cosigned that.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Optional

from agent_runtime import codes
from agent_runtime.cli import Call, complain

if TYPE_CHECKING:
    from agent_runtime.local.auditor import Finding

_AS_GIVEN = "as far as you trust the place where you read the digest"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("bundle", type=Path, help="folder with bundle.json, or a folder with such folders below it")
    parser.add_argument("--digest", type=_digest, help="SHA-256 of bundle.json, as the run's summary gave it")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="the log's and the witnesses' public keys")
    parser.add_argument(
        "--proof", type=Path, metavar="FILE", help="that the log has the bundle (BUNDLE.tlog-proof beside the bundle)"
    )
    parser.add_argument("--json", action="store_true", help="say it for programs")


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.job.context import now  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.local import auditor  # noqa: PLC0415

    options = call.options
    folders = auditor.bundles_in(options.bundle)
    if len(folders) > 1 and (options.digest or options.proof):
        raise codes.BadInput(
            codes.USAGE, f"{options.bundle} has {len(folders)} bundles; --digest and --proof are of one"
        )
    policy = None if options.policy is None else auditor.read_policy(options.policy)
    findings = [auditor.examine(folder, policy, options.proof, options.digest, now()) for folder in folders]
    bad = [finding for finding in findings if finding.problems]
    if options.json:
        described = [finding.described() for finding in findings]
        print(json.dumps(described[0] if folders == [options.bundle] else {"bundles": described}, indent=2))
        return codes.EXIT_TRAIL_INCOMPLETE if bad else codes.EXIT_OK
    for finding in findings:
        if len(findings) > 1:
            print(f"{'' if finding is findings[0] else chr(10)}== {finding.folder.relative_to(options.bundle)}")
        _show(finding, given=bool(options.digest))
    if len(findings) > 1:
        print(f"\n{len(findings)} bundles: {len(findings) - len(bad)} hold, {len(bad)} don't")
    return codes.EXIT_TRAIL_INCOMPLETE if bad else codes.EXIT_OK


def _show(finding: Finding, *, given: bool) -> None:
    from agent_runtime.gate import bundle  # noqa: PLC0415
    from agent_runtime.text import escape  # noqa: PLC0415

    for problem in finding.problems:
        complain(codes.TrailIncomplete(problem.code, problem.message))
    if finding.problems:
        return
    manifest = finding.manifest
    reported = " and ".join(manifest.get("reported_by_agent") or ["nothing"])
    facts = {
        "outcome": str(manifest["outcome"]).replace("_", " "),
        "repository": manifest["run"]["repository"],
        "resource": manifest["resource"],
        "plan": manifest["plan_digest"] or "none",
        "steps": ", ".join(f"{step['action']}: {step['status']}" for step in manifest["steps"]) or "none",
        "approved by": ", ".join(each["login"] for each in manifest["approvers"]) or "nobody",
        "rejected by": ": ".join(filter(None, (manifest["rejected_by"], manifest.get("rejected_because")))) or "nobody",
        **_why(*bundle.why(finding.parts)),
        "reported by the agent": reported,
        "bundle": finding.digest,
        "verdict": "every digest and hash chain holds",
        "authentic": _AS_GIVEN if given and finding.evidence is None else finding.authentic,
    }
    for name, value in facts.items():
        print(f"{name + ':':<12} {escape.terminal(str(value))}")
    if finding.evidence is None:
        return
    for each in finding.properties:
        print(f"{each['property'] + ':':<12} {each['claim']}")
        print(f"{'':<12} unchangeable since {each['unchangeable_since']}; {'; '.join(each['would_have_to_conspire'])}")


def _why(code: Optional[str], message: str) -> Dict[str, str]:
    """What refused or failed, where something did; the report's line has the code in front already."""
    if code is None:
        return {}
    return {"reason": message if message.startswith(f"{code}: ") else f"{code}: {message}"}


def _digest(text: str) -> str:
    if not re.fullmatch("[0-9A-Fa-f]{64}", text):
        raise argparse.ArgumentTypeError(f"not 64 hexadecimal digits: {text[:80]!r}")
    return text.lower()
