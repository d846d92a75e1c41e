"""What one run leaves behind, and reading it.

A bundle is a folder: what each job uploaded, the journal of every job, and `bundle.json` with a SHA-256 of each file.
Everything here reads files only.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type, TypeVar

from agent_runtime import codes
from agent_runtime.model import documents, names, plan
from agent_runtime.model.documents import ActionReport, Authorization, Decision, Receipt, Report
from agent_runtime.results import ActionStatus, _StrEnum
from agent_runtime.text.escape import visible
from aimgentix.verify import read_events, verify_directory

# The folders of a bundle, in the order of a run.  What the agent's own machines wrote is its report, and no more.
FOLDERS = ("investigate", "seal", "ask", "approve", names.SECOND_JOB, "claim", names.VERIFY, "act", "record")
REPORTED_BY_AGENT = ("investigate", "act")

_MAX_PROBLEMS = 50
_MAX_MESSAGE = 500

_Document = TypeVar("_Document")


class RunOutcome(_StrEnum):
    """How a whole run ended: the terminal event's word."""

    ACTED = "acted"
    DRY_RUN = "dry_run"
    ACTION_FAILED = "action_failed"
    PARTIAL = "partial"
    OUTCOME_UNKNOWN = "outcome_unknown"
    NOT_STARTED = "not_started"
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


# What a result that is not a refusal says of the run, and which runs must have one that says that something was tried.
_OUTCOMES = {
    ActionStatus.SUCCESS: RunOutcome.ACTED,
    ActionStatus.ALREADY_DONE: RunOutcome.ACTED,
    ActionStatus.DRY_RUN: RunOutcome.DRY_RUN,
    ActionStatus.FAILED: RunOutcome.ACTION_FAILED,
    ActionStatus.PARTIAL: RunOutcome.PARTIAL,
    ActionStatus.UNKNOWN: RunOutcome.OUTCOME_UNKNOWN,
}
ACTED = frozenset(_OUTCOMES.values())
# After these nobody can approve the plan any more, and its issue is closed; after a refusal somebody still can.
FINAL = ACTED | {RunOutcome.REJECTED, RunOutcome.EXPIRED, RunOutcome.NOT_STARTED}


@dataclass(frozen=True)
class TrailProblem:
    """One thing that does not hold."""

    code: str
    message: str

    def line(self) -> str:
        """Code and message for a person."""
        return f"{self.code}: {self.message}"


def contradiction(message: str) -> TrailProblem:
    """A problem of parts that do not belong together."""
    return TrailProblem(codes.TRAIL_MISMATCH, message)


def presentable(problems: Sequence[TrailProblem]) -> List[TrailProblem]:
    """The problems of a run as they are kept and shown: each on one visible line, and no more than a person reads.

    What a hijacked machine writes into its own journal can be of any length: it comes last, so that it hides nothing.
    """
    own = tuple(f"{folder}: " for folder in REPORTED_BY_AGENT)
    ordered = sorted(problems, key=lambda problem: problem.message.startswith(own))
    shown = [TrailProblem(problem.code, visible(problem.message, _MAX_MESSAGE)) for problem in ordered[:_MAX_PROBLEMS]]
    if len(ordered) > len(shown):
        shown.append(contradiction(f"{len(ordered) - len(shown)} more problems are not listed"))
    return shown


@dataclass(frozen=True)
class Parts:
    """What was found of a run.

    Arguments:
        by_comment: whether a comment on an issue started the run, as it does where an issue is the gate.
        receipts: of the approvals, in their order.
        investigation_sha256: of the file that the team's machine left.
        transcript_sha256: of the conversation with a language model that it left.
        policy_sha256: of the policy file that `seal` left; None too where an older release sealed.
        heads: hash of the last line of every journal segment, by folder.
        events: audit events in order, by folder.
        problems: what could not be read.
    """

    by_comment: bool = False
    investigation: Optional[documents.Investigation] = None
    investigation_sha256: Optional[str] = None
    transcript_sha256: Optional[str] = None
    policy_sha256: Optional[str] = None
    report: Optional[Report] = None
    receipts: Tuple[Receipt, ...] = ()
    authorization: Optional[Authorization] = None
    result: Optional[ActionReport] = None
    heads: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    events: Mapping[str, List[Dict[str, Any]]] = field(default_factory=dict)
    problems: Tuple[TrailProblem, ...] = ()

    @property
    def plan_digest(self) -> Optional[str]:
        """Digest of the sealed plan, computed from the report, or None."""
        return plan.digest(self.report.plan) if self.report and self.report.plan else None

    @property
    def automatic(self) -> bool:
        """Whether the policy alone decided: then, and only then, nothing of an approval is there."""
        sealed = self.report.plan if self.report else None
        return sealed is not None and sealed.policy.decision is Decision.AUTO

    @property
    def approvers(self) -> List[Dict[str, Any]]:
        """Who approved, as the manifest names them."""
        return [documents.plain(receipt.approver) for receipt in self.receipts]

    def steps(self, folder: str, step: Optional[str] = None) -> List[Dict[str, Any]]:
        """The metadata of a folder's events, each with the event's status; those of one step, or all of them."""
        found = [dict(event["metadata"], status=event["status"]) for event in self.events.get(folder, [])]
        return [entry for entry in found if step is None or entry.get("step") == step]


def load(folder: Path, *, by_comment: bool) -> Parts:
    """Read whatever is there of a run; what can't be read becomes a problem, never an exception."""
    problems: List[TrailProblem] = []

    def read(job: str, name: str, kind: Type[_Document]) -> Optional[_Document]:
        path = folder / job / name
        if not path.exists():
            return None
        try:
            return documents.decode(kind, path.read_bytes(), f"{job}/{name}")
        except codes.AgentError as problem:
            problems.append(TrailProblem(problem.code, problem.message))
        except OSError as problem:
            problems.append(TrailProblem(codes.REPORT_MISSING, f"{job}/{name}: {problem.strerror}"))
        return None

    left = folder / "investigate" / names.INVESTIGATION_NAME
    investigation = None
    with contextlib.suppress(codes.AgentError, OSError):  # seal judged it; here only its digest and its steps count
        investigation = documents.decode(documents.Investigation, left.read_bytes(), names.INVESTIGATION_NAME)
    heads: Dict[str, Tuple[str, ...]] = {}
    events: Dict[str, List[Dict[str, Any]]] = {}
    for job in FOLDERS:
        journal = folder / job / names.JOURNAL_FOLDER
        if not journal.is_dir():
            continue
        checked = verify_directory(str(journal))
        heads[job] = tuple(segment.head for segment in checked.segments if segment.head)
        problems += [TrailProblem(codes.TRAIL_BROKEN, f"{job}: {one.kind}: {one.message}") for one in checked.problems]
        events[job] = [event.to_dict() for event in read_events(str(journal))]
    receipts = (
        read("approve", names.FIRST_RECEIPT_NAME, Receipt),
        read("approve", names.RECEIPT_NAME, Receipt),
        read(names.SECOND_JOB, names.RECEIPT_NAME, Receipt),
    )
    return Parts(
        by_comment=by_comment,
        investigation=investigation,
        investigation_sha256=_sha256(left),
        transcript_sha256=_sha256(left.with_name(names.TRANSCRIPT_NAME)),
        policy_sha256=_sha256(folder / "seal" / names.POLICY_NAME),
        report=read("seal", names.REPORT_NAME, Report),
        receipts=tuple(receipt for receipt in receipts if receipt),
        authorization=read(names.VERIFY, names.AUTHORIZATION_NAME, Authorization),
        result=read("act", names.RESULT_NAME, ActionReport),
        heads=heads,
        events=events,
        problems=tuple(problems),
    )


def _sha256(path: Path) -> Optional[str]:
    """Of a file, or None where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def outcome_of(status: Optional[ActionStatus], code: Optional[str]) -> RunOutcome:
    """How a run ended whose result, or whose authorization, has this status and this code."""
    refused = RunOutcome.EXPIRED if code == codes.GATE_EXPIRED else RunOutcome.REFUSED
    return refused if status is None else _OUTCOMES.get(status, refused)


def outcome_of_result(result: ActionReport) -> RunOutcome:
    """How a run ended with this result."""
    return RunOutcome.PARTIAL if result.is_partial else outcome_of(result.status, result.code)


def steps_of(parts: Parts, outcome: RunOutcome) -> List[Dict[str, str]]:
    """The plan's steps in their order, and how each ended, as the agent reports it; none where nothing was sealed.

    Where the result is lost and the outcome unknown, so is each step; else one that is not in the result did not run.
    """
    planned = parts.report.plan.steps if parts.report and parts.report.plan else ()
    ran = parts.result.steps if parts.result else ()
    lost = parts.result is None and outcome is RunOutcome.OUTCOME_UNKNOWN
    ended = documents.statuses(planned, ran, rest=ActionStatus.UNKNOWN.value if lost else names.NOT_RUN)
    return [{"action": step.action, "status": status} for step, status in zip(planned, ended)]


def refusal(parts: Parts, folder: str) -> Mapping[str, Any]:
    """What a job that refuses wrote down about why."""
    found = parts.steps(folder, names.STEP_ERROR)
    return found[-1] if found else {}


def why(parts: Parts) -> Tuple[Optional[str], str]:
    """Return code and reason of what refused or failed in a run, of several the latest; None where nothing did."""
    code, message = (parts.report.code, parts.report.error) if parts.report else (None, None)
    for folder in ("approve", "claim"):
        found = refusal(parts, folder)
        code, message = found.get("code") or code, found.get("message") or message
    for part in (parts.authorization, parts.result):
        if part is not None and part.code:
            code, message = part.code, part.message
    return code, str(message or "")


def file_digests(folder: Path) -> Dict[str, str]:
    """Return the SHA-256 of every file of a bundle by its relative path, except of `bundle.json` itself."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / names.MANIFEST_NAME
    }
