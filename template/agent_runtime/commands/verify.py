"""Recompute every digest and hash chain of an audit bundle, and say what does not hold.  Needs no network."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Dict, Optional

from agent_runtime import codes
from agent_runtime.cli import Call, complain

# A chain without a signature shows that the parts belong together, and whoever makes all of them can do that too.
_UNKNOWN = "NOT AUTHENTICATED: whoever wrote all of it could write it anew; give --digest as the run's summary shows it"
_AS_GIVEN = "as far as you trust the place where you read the digest"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("bundle", type=Path, help="folder with bundle.json")
    parser.add_argument("--digest", type=_digest, help="SHA-256 of bundle.json, as the run's summary gave it")


def run(call: Call) -> int:
    """Run it."""
    import hashlib  # noqa: PLC0415  each command pays for what it uses

    from agent_runtime.gate import bundle, offline  # noqa: PLC0415
    from agent_runtime.model import names  # noqa: PLC0415
    from agent_runtime.text import escape  # noqa: PLC0415

    manifest, problems = offline.verify(call.options.bundle)
    digest = hashlib.sha256((call.options.bundle / names.MANIFEST_NAME).read_bytes()).hexdigest()
    if call.options.digest and call.options.digest != digest:
        problems.insert(0, bundle.contradiction("bundle.json is not the one with this digest"))
    for problem in problems:
        complain(codes.TrailIncomplete(problem.code, problem.message))
    if problems:
        return codes.EXIT_TRAIL_INCOMPLETE
    reported = " and ".join(manifest.get("reported_by_agent") or ["nothing"])
    facts = {
        "outcome": str(manifest["outcome"]).replace("_", " "),
        "repository": manifest["run"]["repository"],
        "resource": manifest["resource"],
        "plan": manifest["plan_digest"] or "none",
        "steps": ", ".join(f"{step['action']}: {step['status']}" for step in manifest["steps"]) or "none",
        "approved by": ", ".join(each["login"] for each in manifest["approvers"]) or "nobody",
        "rejected by": ": ".join(filter(None, (manifest["rejected_by"], manifest.get("rejected_because")))) or "nobody",
        **_why(*bundle.why(bundle.load(call.options.bundle, by_comment=False))),
        "reported by the agent": reported,
        "bundle": digest,
        "verdict": "every digest and hash chain holds",
        "authentic": _AS_GIVEN if call.options.digest else _UNKNOWN,
    }
    for name, value in facts.items():
        print(f"{name + ':':<12} {escape.terminal(str(value))}")
    return codes.EXIT_OK


def _why(code: Optional[str], message: str) -> Dict[str, str]:
    """What refused or failed, where something did; the report's line has the code in front already."""
    if code is None:
        return {}
    return {"reason": message if message.startswith(f"{code}: ") else f"{code}: {message}"}


def _digest(text: str) -> str:
    if not re.fullmatch("[0-9A-Fa-f]{64}", text):
        raise argparse.ArgumentTypeError(f"not 64 hexadecimal digits: {text[:80]!r}")
    return text.lower()
