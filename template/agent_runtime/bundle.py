"""What one run leaves behind, and whether its parts belong together.

A bundle is a folder: the parts that each job uploaded, the journal of every job, and `bundle.json` with a SHA-256 of
each file.  Everything here reads files only, so that an auditor can check a bundle offline, years later.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from agent_runtime import codes, documents, names, plan
from agent_runtime.documents import ActionReport, Decision, Receipt, Report
from agent_runtime.results import ActionStatus, _Word
from aimgentix.verify import read_events, verify_directory

JOBS = ("investigate", "ask", "approve", "act", "record")

_CHECKS_BEFORE_ACTING = (
    codes.GATE_ARTIFACT,
    codes.GATE_DIGEST,
    codes.GATE_RUN,
    codes.GATE_EXPIRED,
    codes.GATE_POLICY,
    codes.GATE_RATE,
    codes.GATE_ENVIRONMENT,
    codes.GATE_APPROVAL,
    codes.GATE_PRECONDITION,
    codes.GATE_CLAIMED,
    codes.GATE_DISABLED,
)
_CHECKS_OF_ISSUE_GATE = (
    codes.COMMENT_AUTHOR,
    codes.ISSUE_UNKNOWN,
    codes.ISSUE_RUN,
    codes.GATE_ARTIFACT,
    codes.ISSUE_EDITED,
    codes.PLAN_REJECTED,
    codes.COMMENT_UNUSABLE,
    codes.GATE_RUN,
    codes.GATE_EXPIRED,
    codes.GATE_POLICY,
    codes.GATE_DIGEST,
    codes.GATE_RATE,
    codes.GATE_PRECONDITION,
    codes.GATE_DISABLED,
    codes.GATE_CLAIMED,
)


class RunOutcome(_Word):
    """How a whole run ended: the terminal event's word."""

    ACTED = "acted"
    REHEARSED = "rehearsed"
    ACTION_FAILED = "action_failed"
    OUTCOME_UNKNOWN = "outcome_unknown"
    REFUSED = "refused"
    EXPIRED = "expired"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    NOTHING_TO_DO = "nothing_to_do"
    DUPLICATE = "duplicate"
    DENIED = "denied"
    INVESTIGATION_FAILED = "investigation_failed"
    APPROVAL_FAILED = "approval_failed"
    WAITING = "waiting"


@dataclass(frozen=True)
class Problem:
    """One thing that does not hold."""

    code: str
    message: str

    def line(self) -> str:
        """Code and message for a person."""
        return "{}: {}".format(self.code, self.message)


@dataclass(frozen=True)
class Parts:
    """What was found of a run.

    Arguments:
        heads: hash of the last line of every journal segment, by job.
        events: audit events in order, by job.
        problems: what could not be read.
    """

    report: Optional[Report] = None
    receipt: Optional[Receipt] = None
    result: Optional[ActionReport] = None
    heads: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    events: Mapping[str, List[Dict[str, Any]]] = field(default_factory=dict)
    problems: Tuple[Problem, ...] = ()

    @property
    def plan_digest(self) -> Optional[str]:
        """Digest of the sealed plan, computed from the report, or None."""
        return plan.digest(self.report.plan) if self.report and self.report.plan else None

    @property
    def by_comment(self) -> bool:
        """Whether a comment on an issue started the run of the last parts, as it does where an issue is the gate."""
        return any(part.run.event == "issue_comment" for part in (self.receipt, self.result) if part)

    def steps(self, job: str) -> List[Dict[str, Any]]:
        """The metadata of a job's events, each with the event's status."""
        return [dict(event["metadata"], status=event["status"]) for event in self.events.get(job, [])]

    def has_step(self, job: str, step: str) -> bool:
        """Whether a job's journal has an event of this step."""
        return any(entry.get("step") == step for entry in self.steps(job))


def load(folder: Path) -> Parts:
    """Read whatever is there of a run; what can't be read becomes a problem, never an exception."""
    problems: List[Problem] = []

    def read(job: str, name: str, decode: Any) -> Any:
        path = folder / job / name
        if not path.exists():
            return None
        try:
            return decode(path.read_bytes(), "{}/{}".format(job, name))
        except codes.AgentError as problem:
            problems.append(Problem(problem.code, problem.message))
        except OSError as problem:
            problems.append(Problem(codes.REPORT_MISSING, "{}/{}: {}".format(job, name, problem.strerror)))
        return None

    report = read("investigate", names.REPORT_NAME, documents.decode_report)
    receipt = read("approve", names.RECEIPT_NAME, documents.decode_receipt)
    result = read("act", names.RESULT_NAME, documents.decode_action_report)
    heads: Dict[str, Tuple[str, ...]] = {}
    events: Dict[str, List[Dict[str, Any]]] = {}
    for job in JOBS:
        journal = folder / job / names.JOURNAL_FOLDER
        if not journal.is_dir():
            continue
        checked = verify_directory(str(journal))
        heads[job] = tuple(segment.head for segment in checked.segments if segment.head)
        problems += [
            Problem(codes.TRAIL_BROKEN, "{}: {}: {}".format(job, one.kind, one.message)) for one in checked.problems
        ]
        events[job] = [event.to_dict() for event in read_events(str(journal))]
    return Parts(report, receipt, result, heads, events, tuple(problems))


def check(
    parts: Parts, *, acted: bool, expected_heads: Mapping[str, str], expected_digest: Optional[str]
) -> List[Problem]:
    """Return what does not hold of a run: an empty list means that its trail tells the whole story.

    Arguments:
        acted: whether the act job started, so that a whole trail of an action must be there.
        expected_heads: last journal hash that each job told outside its journal; empty text for none.
        expected_digest: plan digest that was approved, or None.
    """
    found = list(parts.problems)
    for job, head in expected_heads.items():
        if head and head not in parts.heads.get(job, ()):
            found.append(Problem(codes.TRAIL_TRUNCATED, "{}: no journal ends with {}".format(job, head[:12])))
    # A comment starts a run of its own: the report is of another one, and the plan's digest ties them together.
    own_run = (parts.receipt, parts.result) if parts.by_comment else (parts.report, parts.receipt, parts.result)
    runs = {documents.plain(part.run).__repr__() for part in own_run if part}
    if len(runs) > 1:
        found.append(Problem(codes.TRAIL_MISMATCH, "report, receipt and result name different runs"))
    digests = {
        "report": parts.plan_digest,
        "receipt": parts.receipt.plan_digest if parts.receipt else None,
        "result": parts.result.plan_digest if parts.result else None,
    }
    for name, digest in digests.items():
        if digest and expected_digest and digest != expected_digest:
            found.append(
                Problem(
                    codes.TRAIL_MISMATCH, "{} is of plan {}, not {}".format(name, digest[:12], expected_digest[:12])
                )
            )
    if acted:
        found += _check_action(parts)
    return found


def _check_action(parts: Parts) -> List[Problem]:
    found: List[Problem] = []

    def missing(what: str) -> None:
        found.append(Problem(codes.TRAIL_MISSING, what))

    if parts.report is None or parts.report.plan is None:
        missing("no report with a plan")
    if parts.result is None:
        missing("no action result")
    if parts.result is not None and parts.result.status is ActionStatus.REFUSED:
        return found
    automatic = _is_automatic(parts)
    if parts.receipt is None and not automatic:
        missing("no approval receipt")
    for job, step in (
        ("investigate", names.STEP_SEALED),
        *(() if automatic else (("approve", names.STEP_APPROVED),)),
        ("act", names.STEP_INTENT),
        ("act", names.STEP_OUTCOME),
    ):
        if not parts.has_step(job, step):
            missing("{}: no event {}".format(job, step))
    found += _check_decision(parts, automatic=automatic)
    passed = {
        entry.get("check")
        for entry in parts.steps("act")
        if entry.get("step") == names.STEP_CHECK and entry["status"] == "success"
    }
    for code in _CHECKS_OF_ISSUE_GATE if parts.by_comment else _CHECKS_BEFORE_ACTING:
        if code not in passed and not (automatic and code == codes.GATE_APPROVAL):
            missing("act: the check {} did not pass".format(code))
    for job in JOBS:
        for entry in parts.steps(job):
            digest = entry.get("plan_digest")
            if digest and parts.plan_digest and digest != parts.plan_digest:
                found.append(Problem(codes.TRAIL_MISMATCH, "{}: an event is of plan {}".format(job, str(digest)[:12])))
    return found + _check_agreement(parts)


def _check_agreement(parts: Parts) -> List[Problem]:
    found: List[Problem] = []
    rehearsed = parts.result is not None and parts.result.status is ActionStatus.REHEARSED
    if parts.report and parts.report.plan and parts.report.plan.dry_run is not rehearsed:
        found.append(Problem(codes.TRAIL_MISMATCH, "what was executed is not what a dry run is, or the other way"))
    if parts.receipt and parts.result and parts.receipt.approver != parts.result.approver:
        found.append(Problem(codes.TRAIL_MISMATCH, "receipt and result name different approvers"))
    return found


def _check_decision(parts: Parts, *, automatic: bool) -> List[Problem]:
    found: List[Problem] = []
    # Only the job without a gate may have executed what nobody was asked about, and nothing else.
    jobs = {event["metadata"].get("gha", {}).get("job") for event in parts.events.get("act", [])}
    if jobs != {names.AUTO_JOB if automatic else "act"}:
        found.append(
            Problem(
                codes.TRAIL_MISMATCH,
                "a plan that was sealed {} was executed by the job {}".format(
                    "without asking" if automatic else "for a review", " and ".join(sorted(map(str, jobs))) or "(none)"
                ),
            )
        )
    if automatic and (parts.receipt or (parts.result and parts.result.approver)):
        found.append(Problem(codes.TRAIL_MISMATCH, "somebody approved a plan that nobody was asked about"))
    return found


def _is_automatic(parts: Parts) -> bool:
    """Whether the policy alone decided: then, and only then, nothing of an approval is there."""
    sealed = parts.report.plan if parts.report else None
    return sealed is not None and sealed.policy.decision is Decision.AUTO


def file_digests(folder: Path) -> Dict[str, str]:
    """Return the SHA-256 of every file of a bundle by its relative path, except of `bundle.json` itself."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != names.MANIFEST_NAME
    }


def verify(folder: Path) -> Tuple[Dict[str, Any], List[Problem]]:
    """Check a bundle offline; return its manifest and what does not hold.

    Raises:
        BadInput: `folder` holds no readable bundle (TRAIL04 tells what is missing).
    """
    path = folder / names.MANIFEST_NAME
    try:
        manifest = documents.strict_json(path.read_bytes())
        listed = dict(manifest["files"])
        heads = {str(job): str(head) for job, head in manifest["journal_heads"].items()}
        outcome = RunOutcome(manifest["outcome"])
        digest = manifest["plan_digest"]
        told = [str(line) for line in manifest["problems"]]
    except OSError as problem:
        raise codes.BadInput(codes.TRAIL_MISMATCH, "{}: {}".format(path, problem.strerror)) from None
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise codes.BadInput(codes.TRAIL_MISMATCH, "{} is no bundle manifest: {}".format(path, problem)) from None
    found = [Problem(codes.TRAIL_MISMATCH, "recorded when the bundle was made: {}".format(line)) for line in told]
    present = file_digests(folder)
    for name in sorted(set(listed) | set(present)):
        if name not in present:
            found.append(Problem(codes.TRAIL_MISMATCH, "{} is missing".format(name)))
        elif name not in listed:
            found.append(Problem(codes.TRAIL_MISMATCH, "{} was added".format(name)))
        elif listed[name] != present[name]:
            found.append(Problem(codes.TRAIL_MISMATCH, "{} was changed".format(name)))
    parts = load(folder)
    acted = outcome in (
        RunOutcome.ACTED,
        RunOutcome.REHEARSED,
        RunOutcome.ACTION_FAILED,
        RunOutcome.OUTCOME_UNKNOWN,
    )
    found += check(parts, acted=acted, expected_heads=heads, expected_digest=digest)
    ends = [entry for entry in parts.steps("record") if entry.get("step") == names.STEP_TERMINAL]
    if len(ends) != 1 or ends[0].get("outcome") != outcome.value:
        found.append(Problem(codes.TRAIL_MISMATCH, "the record journal does not end with {}".format(outcome)))
    return manifest, found
