"""Recompute every digest and hash chain of an audit bundle, and say what does not hold.  Needs no network.

With a policy that lists keys, check as well that a transparency log has the bundle, and who cosigned that; with a
trusted root of Sigstore, that GitHub attested it.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional

from agent_runtime import codes
from agent_runtime.cli import Call, complain
from agent_runtime.commands import local_options

if TYPE_CHECKING:
    from agent_runtime.local.auditor import Finding

_MOST_SAMPLES = 10_000
_AS_GIVEN = "as far as you trust the place where you read the digest"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("bundle", type=Path, help="folder with bundle.json, or a folder with such folders below it")
    parser.add_argument("--digest", type=_digest, help="SHA-256 of bundle.json, as the run's summary gave it")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="the log's and the witnesses' public keys")
    parser.add_argument(
        "--proof", type=Path, metavar="FILE", help="that the log has the bundle (BUNDLE.tlog-proof beside the bundle)"
    )
    parser.add_argument(
        "--trusted-root", type=Path, metavar="FILE", help="of Sigstore, as gh attestation trusted-root writes it"
    )
    parser.add_argument(
        "--attestation",
        type=Path,
        metavar="FILE",
        help="GitHub's, of the bundle (BUNDLE.sigstore.json beside the bundle)",
    )
    parser.add_argument(
        "--repo", default="", metavar="OWNER/NAME", help="which repository has to have attested it (the bundle's)"
    )
    parser.add_argument("--json", action="store_true", help="say it for programs")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write a page to print, too (HTML)")
    parser.add_argument(
        "--sample", type=_count, metavar="N", help="of the runs that acted, show N by chance: the table for SOC 2 CC8.1"
    )
    local_options.add_times(parser)


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.job.context import now  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.local import auditor, printed, register  # noqa: PLC0415

    given = call.options
    folders = auditor.bundles_in(given.bundle)
    if len(folders) > 1 and (given.digest or given.proof or given.attestation):
        one = "--digest, --proof and --attestation are of one"
        raise codes.BadInput(codes.USAGE, f"{given.bundle} has {len(folders)} bundles; {one}")
    if (given.attestation or given.repo) and not given.trusted_root:
        raise codes.BadInput(codes.USAGE, "--attestation and --repo need --trusted-root: whose signature would count?")
    policy = None if given.policy is None else auditor.read_policy(given.policy)
    roots = None if given.trusted_root is None else auditor.read_roots(given.trusted_root)
    evidence = {"proof": given.proof, "digest": given.digest, "roots": roots, "signed": given.attestation}
    findings = [auditor.examine(folder, policy, now=now(), repository=given.repo, **evidence) for folder in folders]
    if given.since or given.until:
        wanted = register.Wanted(since=given.since, until=given.until)
        findings = [finding for finding in findings if wanted.in_time(register.row(finding))]
    if given.page:
        given.page.write_text(printed.page(findings, now()), encoding="utf-8")
    if given.sample:
        return _sample(findings, given.sample)
    bad = [finding for finding in findings if finding.problems]
    if given.json:
        described = [finding.described() for finding in findings]
        whole = {"bundles": described, "gaps": register.gaps(findings)}
        print(json.dumps(described[0] if folders == [given.bundle] and described else whole, indent=2))
        return codes.EXIT_TRAIL_INCOMPLETE if bad else codes.EXIT_OK
    for finding in findings:
        if len(folders) > 1:
            print(f"== {finding.folder.relative_to(given.bundle)}")
        _show(finding, given=bool(given.digest))
        if len(folders) > 1:
            print()
    if len(folders) > 1:
        print(f"{len(findings)} bundles: {len(findings) - len(bad)} hold, {len(bad)} don't")
        for line in register.gaps(findings):
            print(f"gap: {line}")
    return codes.EXIT_TRAIL_INCOMPLETE if bad else codes.EXIT_OK


def _sample(findings: List[Finding], count: int) -> int:
    """Print what an auditor asks of each change, for some of them; which, nobody can know before."""
    from random import SystemRandom  # noqa: PLC0415

    from agent_runtime.gate import bundle  # noqa: PLC0415
    from agent_runtime.local import register  # noqa: PLC0415

    acted = [finding for finding in findings if finding.manifest.get("outcome") in bundle.ACTED]
    rows = sorted(map(register.row, acted), key=lambda row: row["ended"])
    chosen = register.sample(rows, count, SystemRandom())
    for number, row in enumerate(chosen, 1):
        print(f"== sample {number} of {len(chosen)}\n{register.as_text(row)}")
    print(f"population: {len(findings)} runs, of which {len(acted)} acted")
    for line in register.gaps(findings):
        print(f"gap: {line}")
    bad = [row for row in chosen if row["holds"] != "yes"]
    for row in bad:
        print(f"does not hold: {row['bundle']}")
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
        "repository": manifest["run"]["repository"] + (" (simulated)" if manifest.get("simulated") else ""),
        "resource": manifest["resource"],
        "plan": manifest["plan_digest"] or "none",
        "policy": finding.policy,
        "steps": ", ".join(f"{step['action']}: {step['status']}" for step in manifest["steps"]) or "none",
        "approved by": ", ".join(each["login"] for each in manifest["approvers"]) or "nobody",
        "rejected by": ": ".join(filter(None, (manifest["rejected_by"], manifest.get("rejected_because")))) or "nobody",
        **_why(*bundle.why(finding.parts)),
        "reported by the agent": reported,
        "bundle": finding.digest,
        "verdict": "every digest and hash chain holds",
        "authentic": _AS_GIVEN if given and not (finding.evidence or finding.attested) else finding.authentic,
        "github": finding.github,
    }
    for name, value in facts.items():
        print(f"{name + ':':<12} {escape.terminal(str(value))}")
    if not (finding.evidence or finding.attested):
        return
    for each in finding.properties:
        print(f"{each['property'] + ':':<12} {each['claim']}")
        print(f"{'':<12} unchangeable since {each['unchangeable_since']}; {'; '.join(each['would_have_to_conspire'])}")


def _why(code: Optional[str], message: str) -> Dict[str, str]:
    """What refused or failed, where something did; the report's line has the code in front already."""
    if code is None:
        return {}
    return {"reason": message if message.startswith(f"{code}: ") else f"{code}: {message}"}


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= _MOST_SAMPLES:
        raise argparse.ArgumentTypeError(f"not a number from 1 to {_MOST_SAMPLES}: {text[:80]!r}")
    return int(text)


def _digest(text: str) -> str:
    if not re.fullmatch("[0-9A-Fa-f]{64}", text):
        raise argparse.ArgumentTypeError(f"not 64 hexadecimal digits: {text[:80]!r}")
    return text.lower()
