"""Bundles as rows of a table, for an auditor who asks what was done, by whom, and what is missing."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from random import Random
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from agent_runtime.gate import bundle
from agent_runtime.local.auditor import Finding
from agent_runtime.text.escape import visible

# In the order of SOC 2 CC8.1: what was asked, who approved it, when, what ran, how it was tested, the way back.
COLUMNS = (
    "ended", "repository", "run", "outcome", "requested by", "resource", "action", "why", "approved by", "approved at",
    "comment", "what ran", "tested", "back-out", "reason", "holds", "authenticated", "bundle",
)  # fmt: skip
_MOST_TEXT = 500
_MOST_GAPS = 50
_FORMULA = ("=", "+", "-", "@")


@dataclass(frozen=True)
class Wanted:
    """Which rows are wanted; None: any.  Times are the beginning of an RFC 3339 time in UTC."""

    resource: Optional[str] = None
    approver: Optional[str] = None
    outcome: Optional[str] = None
    since: Optional[str] = None
    until: Optional[str] = None

    def in_time(self, row: Mapping[str, str]) -> bool:
        """Return whether the run ended when it is asked about."""
        ended = row["ended"]
        return (self.since is None or ended >= self.since) and (self.until is None or ended < self.until)

    def has(self, row: Mapping[str, str]) -> bool:
        """Return whether a row is wanted."""
        approvers = row["approved by"].casefold().split(", ")
        return (
            self.in_time(row)
            and self.resource in (None, row["resource"])
            and self.outcome in (None, row["outcome"])
            and (self.approver is None or self.approver.casefold() in approvers)
        )


def row(finding: Finding) -> Dict[str, str]:
    """Return what a bundle says, in one line of visible text for each column."""
    manifest, parts = finding.manifest, finding.parts
    run = manifest.get("run")
    run = run if isinstance(run, dict) else {}
    sealed = parts.report.plan if parts.report else None
    steps = sealed.steps if sealed else ()
    ran = parts.result.steps if parts.result else ()
    events = parts.events.get("record", [])
    code, message = bundle.why(parts)
    rejected = filter(None, (manifest.get("rejected_by"), manifest.get("rejected_because")))
    found = {
        "ended": events[-1]["timestamp"][:19] + "Z" if events else "",
        "repository": run.get("repository", ""),
        "run": f"{manifest.get('run_number') or run.get('run_id', '')}/{run.get('run_attempt', '')}",
        "outcome": f"{manifest.get('outcome')}{' (simulated)' if manifest.get('simulated') else ''}",
        "requested by": f"{run.get('actor', '')} ({run.get('event', '')})",
        "resource": manifest.get("resource", ""),
        "action": "; ".join(step.action for step in steps),
        "why": "; ".join(step.reason for step in steps),
        "approved by": ", ".join(receipt.approver.login for receipt in parts.receipts)
        or ("the policy" if parts.automatic else ""),
        "approved at": ", ".join(receipt.observed_at for receipt in parts.receipts),
        "comment": "; ".join(receipt.comment for receipt in parts.receipts if receipt.comment),
        "what ran": "; ".join(f"{step.action}: {step.status.value}" for step in ran),
        "tested": "; ".join(f"{name}={value}" for step in ran for name, value in step.verification.items()),
        "back-out": "; ".join(step.rollback or "none" for step in steps),
        "reason": f"{code}: {message}" if code else ": ".join(map(str, rejected)),
        "holds": "no: " + finding.problems[0].line() if finding.problems else "yes",
        "authenticated": "yes" if (finding.evidence or finding.attested) and not finding.problems else "no",
        "bundle": finding.digest,
    }
    return {name: visible(str(text), _MOST_TEXT) for name, text in found.items()}


def gaps(findings: Sequence[Finding]) -> List[str]:
    """Name the runs between the first and the last of each workflow that left no bundle here."""
    numbers: Dict[Tuple[str, str], List[int]] = {}
    for finding in findings:
        run, number = finding.manifest.get("run"), finding.manifest.get("run_number")
        if isinstance(run, dict) and type(number) is int and number > 0 and not finding.manifest.get("simulated"):
            numbers.setdefault((str(run.get("repository")), str(run.get("workflow"))), []).append(number)
    found = []
    for (repository, workflow), known in sorted(numbers.items()):
        ordered = sorted(set(known))
        for before, after in zip(ordered, ordered[1:]):
            if after > before + 1:
                missing = f"{before + 1}" if after == before + 2 else f"{before + 1} to {after - 1}"
                found.append(f"{visible(repository, 200)}: no bundle of {visible(workflow, 200)} number {missing}")
    return [*found[:_MOST_GAPS], *([f"{len(found) - _MOST_GAPS} more gaps"] if len(found) > _MOST_GAPS else [])]


def as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the rows as CSV; a text that a spreadsheet would take for a formula gets a `'` in front."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(COLUMNS)
    for one in rows:
        texts = [one[name] for name in COLUMNS]
        writer.writerow(["'" + text if text[:1] in _FORMULA else text for text in texts])
    return written.getvalue()


def as_text(one: Mapping[str, str], columns: Sequence[str] = COLUMNS) -> str:
    """Return a row as a block of lines, without what is empty."""
    return "".join(f"{name + ':':<14} {one[name]}\n" for name in columns if one[name])


def sample(rows: Sequence[Dict[str, str]], count: int, chosen: Random) -> List[Dict[str, str]]:
    """Return `count` rows, chosen by chance, in their order."""
    picked = chosen.sample(range(len(rows)), min(count, len(rows)))
    return [rows[index] for index in sorted(picked)]
