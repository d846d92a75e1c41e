"""A bundle checked offline: its files, journals and documents against the manifest, and against one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Tuple

from agent_runtime import codes
from agent_runtime.gate.bundle import (
    ACTED,
    REPORTED_BY_AGENT,
    Parts,
    RunOutcome,
    TrailProblem,
    contradiction,
    file_digests,
    load,
    presentable,
    steps_of,
)
from agent_runtime.gate.consistency import check, contradicts, shown
from agent_runtime.model import documents, names
from agent_runtime.text.strict_json import strict_json

# Where the journal of a job lies whose folder has another name.
_JOURNALS = {"act": names.VERIFY, names.AUTO_JOB: names.VERIFY}
# What only the record journal says as well.
_REPEATED = ("release", "run_number", "simulated")
# What stays the same of a run when one of its jobs is started again.
_OF_EVERY_ATTEMPT = ("repository", "run_id", "sha", "ref", "actor", "workflow", "event")


def verify(folder: Path) -> Tuple[Dict[str, Any], List[TrailProblem]]:
    """Check a bundle offline; return its manifest and what does not hold.

    Raises:
        BadInput: there is no bundle in `folder` (TRAIL07), or its manifest is not one (TRAIL04).
    """
    path = folder / names.MANIFEST_NAME
    try:
        manifest = strict_json(path.read_bytes())
        listed = {str(name): digest for name, digest in manifest["files"].items()}
        heads = {str(job): str(head) for job, head in manifest["journal_heads"].items()}
        outcome = RunOutcome(manifest["outcome"])
        digest = manifest["plan_digest"]
        noted = [str(line) for line in manifest["problems"]]
        if manifest["schema_version"] != documents.SCHEMA_VERSION:
            raise ValueError(f"its schema_version is not {documents.SCHEMA_VERSION}")
        if digest is not None and not documents.is_hex64(digest):
            raise ValueError("its plan_digest is not a SHA-256")
    except OSError as problem:
        raise codes.BadInput(codes.BUNDLE_MISSING, f"{path}: {problem.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise codes.BadInput(codes.TRAIL_MISMATCH, f"{path} is not a bundle's manifest: {problem}") from None
    found = [contradiction(f"recorded when the bundle was made: {line}") for line in noted]
    present = file_digests(folder)
    for name in sorted(set(listed) | set(present)):
        if name not in present:
            found.append(contradiction(f"{name} is missing"))
        elif name not in listed:
            found.append(contradiction(f"{name} was added"))
        elif listed[name] != present[name]:
            found.append(contradiction(f"{name} was changed"))
    run = manifest.get("run")
    parts = load(folder, by_comment=isinstance(run, dict) and run.get("event") == "issue_comment")
    found += check(parts, outcome, expected_heads=heads, expected_digest=digest)
    found += _check_manifest(manifest, heads, outcome, parts)
    return manifest, presentable(found)


def _check_manifest(
    manifest: Mapping[str, Any], heads: Mapping[str, str], outcome: RunOutcome, parts: Parts
) -> List[TrailProblem]:
    """What the manifest says of the run, against the documents and journals that it lists."""
    found = [
        contradiction(f"bundle.json names no end of the journal of {folder}")
        for folder in (*parts.heads, "record")
        if not heads.get(folder)
    ]
    if outcome in ACTED and manifest["plan_digest"] is None:
        found.append(contradiction("bundle.json names no plan, and one was executed"))
    for name, value in _facts(manifest, heads, outcome, parts).items():
        if manifest.get(name) != value:
            found.append(
                contradiction(f"bundle.json says {name} {shown(manifest.get(name))}, its parts say {shown(value)}")
            )
    found += _check_run(manifest.get("run"), parts)
    if parts.by_comment and any(receipt.issue_comment is None for receipt in parts.receipts):
        found.append(contradiction("the receipt names no comment, and a comment started the run"))
    return found + _check_end(manifest, outcome, parts)


def _facts(manifest: Mapping[str, Any], heads: Mapping[str, str], outcome: RunOutcome, parts: Parts) -> Dict[str, Any]:
    """What the documents know of the run, by the manifest's names."""
    run = manifest.get("run")
    commented = isinstance(run, dict) and run.get("event") == "issue_comment"
    known: Dict[str, Any] = {
        "approvers": parts.approvers,
        "steps": steps_of(parts, outcome),
        "reported_by_agent": [
            folder for folder in REPORTED_BY_AGENT if any(name.startswith(folder + "/") for name in manifest["files"])
        ],
    }
    if not heads.get("approve" if commented else "seal"):
        # The job that says all of it ended before it could.
        known.update(resource="unknown", plan_digest=None)
    elif parts.report:
        known.update(resource=parts.report.resource, plan_digest=parts.plan_digest, trace_id=parts.report.trace_id)
    noted = [entry.get("issue") for folder in ("ask", "approve") for entry in parts.steps(folder)]
    issues = {number for number in noted if isinstance(number, int)}
    issues |= {receipt.issue_comment.issue for receipt in parts.receipts if receipt.issue_comment}
    if len(issues) == 1 and (commented or heads.get("ask")):
        known["issue"] = issues.pop()
    elif issues or not commented:
        known["issue"] = None
    return known


def _check_run(run: Any, parts: Parts) -> List[TrailProblem]:
    """The manifest's run against the documents: an attempt may have been started after theirs."""
    if not isinstance(run, dict) or not isinstance(run.get("run_attempt"), int):
        return [contradiction("bundle.json names no run")]
    found: List[TrailProblem] = []
    listed = (
        ("report", parts.report),
        *(("receipt", receipt) for receipt in parts.receipts),
        ("authorization", parts.authorization),
        ("result", parts.result),
    )
    for name, part in listed:
        if part is None:
            continue
        said = documents.plain(part.run)
        fields: Iterable[str] = said if said["run_attempt"] == run["run_attempt"] else _OF_EVERY_ATTEMPT
        if part is parts.report and run.get("event") == "issue_comment":
            fields = ("repository",)  # it is of the run that asked
        elif said["run_attempt"] > run["run_attempt"]:
            found.append(contradiction(f"the {name} is of a later attempt than bundle.json"))
        found += [
            contradiction(f"the {field} of the run is {run.get(field)} in bundle.json and {said[field]} in the {name}")
            for field in fields
            if run.get(field) != said[field]
        ]
        if parts.report and part.trace_id != parts.report.trace_id:
            found.append(contradiction(f"report and {name} have different trace ids"))
    return found


def _check_end(manifest: Mapping[str, Any], outcome: RunOutcome, parts: Parts) -> List[TrailProblem]:
    """The record journal's last word against the manifest."""
    ends = [event for event in parts.events.get("record", []) if event["metadata"].get("step") == names.STEP_TERMINAL]
    if len(ends) != 1 or ends[0]["metadata"].get("outcome") != outcome.value:
        return [contradiction(f"the record journal does not end with {outcome}")]
    (end,) = ends
    said = end["metadata"]
    facts = [
        (name, said.get(name), manifest.get(name))
        for name in (*_REPEATED, "plan_digest", "steps", "approvers", "rejected_by", "rejected_because", "problems")
    ]
    facts += [(name, end[name], manifest.get(name)) for name in ("resource", "trace_id")]
    jobs = said.get("jobs")
    for job, result in jobs.items() if isinstance(jobs, dict) else ():
        folder = _JOURNALS.get(job, job)
        # Of a duplicate the agent never started; where it did, `_check_investigation` looks for its journal.
        if result == "success" and job != "investigate" and not manifest["journal_heads"].get(folder):
            return [contradiction(f"bundle.json names no end of the journal of {folder}, and {job} succeeded")]
    run, gha = manifest.get("run"), said.get("gha")
    if isinstance(run, dict) and isinstance(gha, dict):
        facts += [(name, gha.get(name), run.get(name)) for name in sorted(set(run) & set(gha))]
    return [
        contradiction(f"bundle.json says {name} {shown(wanted)}, the record journal {shown(found)}")
        for name, found, wanted in facts
        if contradicts(found, wanted)
    ]
