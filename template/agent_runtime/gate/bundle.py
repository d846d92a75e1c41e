"""What one run leaves behind, and whether its parts belong together.

A bundle is a folder: the parts that each job uploaded, the journal of every job, and `bundle.json` with a SHA-256 of
each file.  Everything here reads files only, so that an auditor can check a bundle offline, years later.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from agent_runtime import codes
from agent_runtime.model import documents, names, plan
from agent_runtime.model.documents import ActionReport, Decision, Receipt, Report
from agent_runtime.results import ActionStatus, _Word
from aimgentix.redact import REDACTED, TRUNCATED
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


# What a result that is no refusal says of the run, and which runs must have one that says that something was tried.
_OUTCOMES = {
    ActionStatus.SUCCESS: RunOutcome.ACTED,
    ActionStatus.ALREADY_DONE: RunOutcome.ACTED,
    ActionStatus.REHEARSED: RunOutcome.REHEARSED,
    ActionStatus.FAILED: RunOutcome.ACTION_FAILED,
    ActionStatus.UNKNOWN: RunOutcome.OUTCOME_UNKNOWN,
}
_ACTED = frozenset(_OUTCOMES.values())
# After these nobody can approve the plan any more, and its issue is closed; after a refusal somebody still can.
FINAL = _ACTED | {RunOutcome.REJECTED, RunOutcome.EXPIRED}

# What stays the same of a run when one of its jobs is started again.
_OF_EVERY_ATTEMPT = ("repository", "run_id", "sha", "ref", "actor", "workflow", "event")


@dataclass(frozen=True)
class Problem:
    """One thing that does not hold."""

    code: str
    message: str

    def line(self) -> str:
        """Code and message for a person."""
        return f"{self.code}: {self.message}"


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
            return decode(path.read_bytes(), f"{job}/{name}")
        except codes.AgentError as problem:
            problems.append(Problem(problem.code, problem.message))
        except OSError as problem:
            problems.append(Problem(codes.REPORT_MISSING, f"{job}/{name}: {problem.strerror}"))
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
        problems += [Problem(codes.TRAIL_BROKEN, f"{job}: {one.kind}: {one.message}") for one in checked.problems]
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
            found.append(Problem(codes.TRAIL_TRUNCATED, f"{job}: no journal ends with {head[:12]}"))
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
            found.append(Problem(codes.TRAIL_MISMATCH, f"{name} is of plan {digest[:12]}, not {expected_digest[:12]}"))
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
            missing(f"{job}: no event {step}")
    found += _check_decision(parts, automatic=automatic)
    passed = {
        entry.get("check")
        for entry in parts.steps("act")
        if entry.get("step") == names.STEP_CHECK and entry["status"] == "success"
    }
    for code in _CHECKS_OF_ISSUE_GATE if parts.by_comment else _CHECKS_BEFORE_ACTING:
        if code not in passed and not (automatic and code == codes.GATE_APPROVAL):
            missing(f"act: the check {code} did not pass")
    for job in JOBS:
        for entry in parts.steps(job):
            digest = entry.get("plan_digest")
            if digest and parts.plan_digest and digest != parts.plan_digest:
                found.append(Problem(codes.TRAIL_MISMATCH, f"{job}: an event is of plan {str(digest)[:12]}"))
    return found + _check_agreement(parts)


def _check_agreement(parts: Parts) -> List[Problem]:
    found: List[Problem] = []
    sealed = parts.report.plan if parts.report else None
    result, receipt = parts.result, parts.receipt
    rehearsed = result is not None and result.status is ActionStatus.REHEARSED
    if sealed and sealed.dry_run is not rehearsed:
        found.append(_contradiction("what was executed is not what a dry run is, or the other way"))
    if receipt and result and receipt.approver != result.approver:
        found.append(_contradiction("receipt and result name different approvers"))
    if sealed and result:
        for name, told, planned in (
            ("action", result.action, sealed.action),
            ("resource", result.resource, sealed.resource),
        ):
            if told != planned:
                found.append(_contradiction(f"the result's {name} is {told}, the plan's {planned}"))
    facts: Dict[str, Dict[str, Any]] = {}
    if sealed:
        facts[names.STEP_INTENT] = {"action": sealed.action, "dry_run": sealed.dry_run}
    if result:
        facts.setdefault(names.STEP_INTENT, {})["approver"] = documents.plain(result.approver)
        facts[names.STEP_OUTCOME] = {"outcome": result.status.value, "code": result.code}
    for step, known in facts.items():
        found += _compare_events(parts, "act", step, known)
    if receipt:
        found += _compare_events(parts, "approve", names.STEP_APPROVED, {"approver": documents.plain(receipt.approver)})
    return found + _check_time(parts)


def _check_time(parts: Parts) -> List[Problem]:
    """An action that began after its plan had expired was not the one that was approved."""
    sealed = parts.report.plan if parts.report else None
    if sealed is None:
        return []
    expires = documents.parse_time(sealed.expires_at)
    return [
        _contradiction("the intent is of {}, and the plan expired at {}".format(event["timestamp"], sealed.expires_at))
        for event in parts.events.get("act", [])
        if event["metadata"].get("step") == names.STEP_INTENT and _moment(event["timestamp"]) > expires
    ]


def _moment(timestamp: str) -> datetime:
    """The moment of an event, to the second."""
    zone = timedelta()
    if timestamp[-6:-5] in ("+", "-"):
        zone = timedelta(hours=int(timestamp[-5:-3]), minutes=int(timestamp[-2:]))
        zone = -zone if timestamp[-6] == "-" else zone
    moment = datetime.strptime(timestamp[:19].upper(), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return moment - zone


def _compare_events(parts: Parts, job: str, step: str, known: Mapping[str, Any]) -> List[Problem]:
    """What the events of one step say against what is known."""
    return [
        _contradiction(f"{job}: the event {step} says {name} {_said(entry.get(name))}")
        for entry in parts.steps(job)
        if entry.get("step") == step
        for name, value in known.items()
        if _contradicts(entry.get(name), value)
    ]


def _contradicts(told: Any, known: Any) -> bool:
    """Whether an event says something else; what was blacked out or cut in it says nothing."""
    return bool(told != known) and not any(mark in str(told) for mark in (REDACTED, TRUNCATED))


def _contradiction(message: str) -> Problem:
    return Problem(codes.TRAIL_MISMATCH, message)


def _said(value: Any) -> str:
    login = value.get("login") if isinstance(value, dict) else None
    return str(value if login is None else login)


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
        if path.is_file() and path != folder / names.MANIFEST_NAME
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
        if manifest["schema_version"] != documents.SCHEMA_VERSION:
            raise ValueError(f"its schema_version is not {documents.SCHEMA_VERSION}")
        if digest is not None and not documents.is_hex64(digest):
            raise ValueError("its plan_digest is not a SHA-256")
    except OSError as problem:
        raise codes.BadInput(codes.TRAIL_MISMATCH, f"{path}: {problem.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise codes.BadInput(codes.TRAIL_MISMATCH, f"{path} is no bundle manifest: {problem}") from None
    found = [Problem(codes.TRAIL_MISMATCH, f"recorded when the bundle was made: {line}") for line in told]
    present = file_digests(folder)
    for name in sorted(set(listed) | set(present)):
        if name not in present:
            found.append(Problem(codes.TRAIL_MISMATCH, f"{name} is missing"))
        elif name not in listed:
            found.append(Problem(codes.TRAIL_MISMATCH, f"{name} was added"))
        elif listed[name] != present[name]:
            found.append(Problem(codes.TRAIL_MISMATCH, f"{name} was changed"))
    parts = load(folder)
    found += check(parts, acted=outcome in _ACTED, expected_heads=heads, expected_digest=digest)
    found += _check_manifest(manifest, heads, outcome, parts)
    return manifest, found


def _check_manifest(
    manifest: Mapping[str, Any], heads: Mapping[str, str], outcome: RunOutcome, parts: Parts
) -> List[Problem]:
    """What the manifest says of the run, against the documents and journals that it lists."""
    found = _check_outcome(outcome, parts)
    for job in parts.heads:
        if job not in heads:
            found.append(_contradiction(f"bundle.json tells no end of the journal of {job}"))
    if not heads.get("record"):
        found.append(_contradiction("bundle.json tells no end of the journal of record"))
    if outcome in _ACTED and manifest["plan_digest"] is None:
        found.append(_contradiction("bundle.json names no plan, and one was executed"))
    known = _facts(manifest, heads, parts)
    for name, value in known.items():
        if manifest.get(name) != value:
            found.append(
                _contradiction(f"bundle.json says {name} {_said(manifest.get(name))}, its parts say {_said(value)}")
            )
    found += _check_run(manifest.get("run"), parts)
    if parts.by_comment and parts.receipt and parts.receipt.issue_comment is None:
        found.append(_contradiction("the receipt names no comment, and a comment started the run"))
    return found + _check_end(manifest, outcome, parts)


def _facts(manifest: Mapping[str, Any], heads: Mapping[str, str], parts: Parts) -> Dict[str, Any]:
    """What the documents know of the run, by the manifest's names."""
    run = manifest.get("run")
    commented = isinstance(run, dict) and run.get("event") == "issue_comment"
    known: Dict[str, Any] = {"approver": documents.plain(parts.receipt.approver) if parts.receipt else None}
    if not heads.get("approve" if commented else "investigate"):
        # The job that tells all of it ended before it could.
        known.update(resource="unknown", plan_digest=None)
    elif parts.report:
        known.update(resource=parts.report.resource, plan_digest=parts.plan_digest, trace_id=parts.report.trace_id)
    told = [entry.get("issue") for job in ("ask", "approve") for entry in parts.steps(job)]
    issues = {issue for issue in told if isinstance(issue, int)}
    if parts.receipt and parts.receipt.issue_comment:
        issues.add(parts.receipt.issue_comment.issue)
    if len(issues) == 1 and (commented or heads.get("ask")):
        known["issue"] = issues.pop()
    elif issues or not commented:
        known["issue"] = None
    return known


def outcome_of(result: ActionReport) -> RunOutcome:
    """How a run ended that has this result."""
    refused = RunOutcome.EXPIRED if result.code == codes.GATE_EXPIRED else RunOutcome.REFUSED
    return _OUTCOMES.get(result.status, refused)


def _check_outcome(outcome: RunOutcome, parts: Parts) -> List[Problem]:
    """The outcome against the result, or against an intent without one."""
    result = parts.result
    if result is None:
        if outcome is RunOutcome.REFUSED:
            return [_contradiction("the outcome is refused, and no result says by which check")]
        if parts.has_step("act", names.STEP_INTENT) and outcome is not RunOutcome.OUTCOME_UNKNOWN:
            return [_contradiction(f"the outcome is {outcome}, and act told that it was about to act")]
        return []
    if outcome_of(result) is not outcome:
        return [_contradiction(f"the outcome is {outcome}, and the result says {result.status}")]
    if outcome not in _ACTED and result.code != codes.GATE_INTENT and parts.has_step("act", names.STEP_INTENT):
        return [_contradiction("the result says refused, and act told that it was about to act")]
    return []


def _check_run(run: Any, parts: Parts) -> List[Problem]:
    """The manifest's run against the documents and the journals: an attempt may have been started after theirs."""
    if not isinstance(run, dict) or not isinstance(run.get("run_attempt"), int):
        return [_contradiction("bundle.json names no run")]
    found: List[Problem] = []
    for name, part in (("report", parts.report), ("receipt", parts.receipt), ("result", parts.result)):
        if part is None:
            continue
        told = documents.plain(part.run)
        fields: Iterable[str] = told if told["run_attempt"] == run["run_attempt"] else _OF_EVERY_ATTEMPT
        if part is parts.report and run.get("event") == "issue_comment":
            fields = ("repository",)  # it is of the run that asked
        elif told["run_attempt"] > run["run_attempt"]:
            found.append(_contradiction(f"the {name} is of a later attempt than bundle.json"))
        found += [
            _contradiction(f"the {field} of the run is {run.get(field)} in bundle.json and {told[field]} in the {name}")
            for field in fields
            if run.get(field) != told[field]
        ]
    if parts.report and parts.result and parts.report.trace_id != parts.result.trace_id:
        found.append(_contradiction("report and result have different trace ids"))
    if parts.report and parts.receipt and parts.report.trace_id != parts.receipt.trace_id:
        found.append(_contradiction("report and receipt have different trace ids"))
    return found


def _check_end(manifest: Mapping[str, Any], outcome: RunOutcome, parts: Parts) -> List[Problem]:
    """The record journal's last word against the manifest."""
    ends = [event for event in parts.events.get("record", []) if event["metadata"].get("step") == names.STEP_TERMINAL]
    if len(ends) != 1 or ends[0]["metadata"].get("outcome") != outcome.value:
        return [_contradiction(f"the record journal does not end with {outcome}")]
    (end,) = ends
    told = end["metadata"]
    facts = [
        (name, told.get(name), manifest.get(name)) for name in ("plan_digest", "approver", "rejected_by", "problems")
    ]
    facts += [(name, end[name], manifest.get(name)) for name in ("resource", "trace_id")]
    jobs = told.get("jobs")
    for job, result in jobs.items() if isinstance(jobs, dict) else ():
        journal = "act" if job == names.AUTO_JOB else job
        if result == "success" and not manifest["journal_heads"].get(journal):
            return [_contradiction(f"bundle.json tells no end of the journal of {job}, and it succeeded")]
    run, gha = manifest.get("run"), told.get("gha")
    if isinstance(run, dict) and isinstance(gha, dict):
        facts += [(name, gha.get(name), run.get(name)) for name in sorted(set(run) & set(gha))]
    return [
        _contradiction(f"bundle.json says {name} {_said(wanted)}, the record journal {_said(said)}")
        for name, said, wanted in facts
        if _contradicts(said, wanted)
    ]
