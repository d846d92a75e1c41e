"""Record: collect what every job left behind, say how the run ended, and check that the trail tells all of it."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from agent_runtime import codes
from agent_runtime.gate import bundle, comment, gatekeeper, pages
from agent_runtime.gate.bundle import Parts, Problem, RunOutcome
from agent_runtime.github import outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.run_context import Desk, write_whole
from agent_runtime.job.trail import Trail
from agent_runtime.model import documents, names
from agent_runtime.model.documents import Decision, ReportStatus
from aimgentix import EventStatus

_GOOD_ENDS = (
    RunOutcome.ACTED,
    RunOutcome.REHEARSED,
    RunOutcome.NOTHING_TO_DO,
    RunOutcome.DUPLICATE,
    RunOutcome.WAITING,
)

# The jobs before this one: of a whole run; of one that asks in an issue; of one that a comment started.
_RUNS = ({"investigate", "approve", "act"}, {"investigate", "ask"}, {"approve", "act"})


@dataclass(frozen=True)
class Job:
    """What GitHub's `needs` context says of a job: `success`, `failure`, `cancelled` or `skipped`, and its outputs."""

    result: str
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Ending:
    """What recording came to.

    Arguments:
        folder: the bundle.
        digest: SHA-256 of `bundle.json`; whoever keeps it can later tell whether the bundle is still the same.
    """

    outcome: RunOutcome
    problems: Tuple[Problem, ...]
    folder: Path
    digest: str
    markdown: str


def parse_needs(text: str) -> Dict[str, Job]:
    """Read `toJSON(needs)`.

    Raises:
        BadInput: it is not what GitHub writes (INP005).
    """
    try:
        value = documents.strict_json(text.encode("utf-8"))
        jobs = next(jobs for jobs in _RUNS if jobs <= set(value))
        return {
            name: Job(str(value[name]["result"]), {key: str(item) for key, item in value[name]["outputs"].items()})
            for name in (*bundle.JOBS, names.AUTO_JOB)
            if name in jobs or (name == names.AUTO_JOB and name in value)
        }
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as problem:
        raise codes.BadInput(
            codes.RUN_CONTEXT_MISSING, f"NEEDS is not the needs context: {str(problem)[:80]!r}"
        ) from None


def run_phase(desk: Desk, *, inputs_folder: Path, needs: Mapping[str, Job]) -> Ending:
    """Build the bundle under the output folder, and write the run's terminal event.

    Arguments:
        inputs_folder: has a folder for each job whose artifacts were downloaded.
        needs: how the other jobs ended.
    """
    folder = desk.out / names.BUNDLE_FOLDER
    commented = "investigate" not in needs
    _collect(inputs_folder, folder, needs)
    parts = bundle.load(folder)
    told = needs["approve" if commented else "investigate"].outputs
    resource = told.get("resource") or "unknown"
    digest = told.get("plan_digest") or None
    issue = _issue(desk, needs)
    sign = _sign_of_acting(desk, parts, needs)
    if commented:
        rejected_by = _refusal(parts).get("rejected_by")
        outcome = decide_comment(parts, needs, began=bool(sign))
    else:
        rejected_by = _rejection(desk, parts) if _was_stopped_at_gate(needs) else None
        outcome = decide(parts, needs, rejected=rejected_by is not None, began=bool(sign))
    acting = _acting(needs)
    acted = acting.result not in ("skipped", "") and outcome is not RunOutcome.CANCELLED
    heads = {name: job.outputs.get("journal_head", "") for name, job in needs.items() if name != names.AUTO_JOB}
    if "act" in needs:
        heads["act"] = acting.outputs.get("journal_head", "")
    if commented:
        # What was refused before its report was found has none to show.
        acted = acted and (parts.report is not None or outcome is not RunOutcome.REFUSED)
        # That run's outputs are not told here; its journal came out of an archive with a known digest.
        heads["investigate"] = (parts.heads.get("investigate") or ("",))[-1]
    problems = bundle.check(parts, acted=acted, expected_heads=heads, expected_digest=digest)
    if sign:
        problems.append(Problem(codes.TRAIL_MISSING, "act was cancelled and left nothing, and " + sign))
    approver = documents.plain(parts.receipt.approver) if parts.receipt else None
    with Trail(desk, resource) as journal:
        journal.event(
            names.STEP_TERMINAL,
            EventStatus.SUCCESS if outcome in _GOOD_ENDS and not problems else EventStatus.ERROR,
            durable=True,
            outcome=outcome.value,
            plan_digest=digest,
            approver=approver,
            rejected_by=rejected_by,
            jobs={name: job.result for name, job in needs.items()},
            problems=[problem.line() for problem in problems],
        )
        heads["record"] = journal.head
    shutil.copytree(str(desk.journal), str(folder / "record" / names.JOURNAL_FOLDER))
    manifest = documents.encode(
        {
            "schema_version": documents.SCHEMA_VERSION,
            "trace_id": desk.trace_id,
            "run": desk.run,
            "resource": resource,
            "outcome": outcome,
            "plan_digest": digest,
            "approver": approver,
            "rejected_by": rejected_by,
            "issue": issue,
            "journal_heads": heads,
            "problems": [problem.line() for problem in problems],
            "files": bundle.file_digests(folder),
        }
    )
    write_whole(folder / names.MANIFEST_NAME, manifest)
    bundle_digest = hashlib.sha256(manifest).hexdigest()
    markdown = pages.render_record(
        outcome=outcome.value,
        resource=resource,
        plan_digest=digest,
        approver=parts.receipt.approver.login if parts.receipt else None,
        rejected_by=rejected_by,
        problems=[problem.line() for problem in problems],
        bundle_digest=bundle_digest,
        issue=_issue_url(desk, issue) if issue else None,
        automatic=told.get("decision") == Decision.AUTO.value,
    )
    outputs.write_summary(desk.environ, markdown)
    outputs.write_outputs(desk.environ, {"outcome": outcome.value, "bundle_digest": bundle_digest})
    if commented and issue:
        _tell(desk, issue, outcome, parts, needs)
    return Ending(outcome, tuple(problems), folder, bundle_digest, markdown)


def decide(parts: Parts, needs: Mapping[str, Job], *, rejected: bool, began: bool) -> RunOutcome:
    """Say in one word how a run ended.  Pure.

    Arguments:
        rejected: whether GitHub's record has a rejection.
        began: whether a job that was cancelled and left nothing may have begun to act.
    """
    investigate, act = needs["investigate"], _acting(needs)
    if investigate.result == "cancelled":
        return RunOutcome.CANCELLED
    if investigate.result != "success":
        return RunOutcome.INVESTIGATION_FAILED
    decision = investigate.outputs.get("decision")
    if decision == Decision.DENIED.value:
        return RunOutcome.DENIED
    if decision not in (Decision.REVIEW.value, Decision.AUTO.value):
        folded = parts.report is not None and parts.report.status is ReportStatus.DUPLICATE
        return RunOutcome.DUPLICATE if folded else RunOutcome.NOTHING_TO_DO
    if "ask" in needs:
        ends = {"success": RunOutcome.WAITING, "cancelled": RunOutcome.CANCELLED}
        return ends.get(needs["ask"].result, RunOutcome.APPROVAL_FAILED)
    approve = needs["approve"]
    if rejected:
        return RunOutcome.REJECTED
    if act.result == "skipped":
        unasked = decision == Decision.AUTO.value
        return RunOutcome.CANCELLED if unasked or approve.result == "cancelled" else RunOutcome.APPROVAL_FAILED
    return _decide_action(parts, act, began=began)


def decide_comment(parts: Parts, needs: Mapping[str, Job], *, began: bool) -> RunOutcome:
    """Say in one word how a run ended that a comment started.  Pure.

    Arguments:
        began: as `decide()`.
    """
    approve, act = needs["approve"], needs["act"]
    if act.result != "skipped":
        return _decide_action(parts, act, began=began)
    if approve.result in ("success", "cancelled"):
        return RunOutcome.CANCELLED
    ends = {codes.PLAN_REJECTED: RunOutcome.REJECTED, codes.GATE_EXPIRED: RunOutcome.EXPIRED}
    return ends.get(str(_refusal(parts).get("code")), RunOutcome.APPROVAL_FAILED)


def _refusal(parts: Parts) -> Mapping[str, Any]:
    """What the job that examined the comment wrote down about why it approves nothing."""
    found = [entry for entry in parts.steps("approve") if entry.get("step") == names.STEP_ERROR]
    return found[-1] if found else {}


def _issue(desk: Desk, needs: Mapping[str, Job]) -> Optional[int]:
    """Number of the issue that is this run's gate, or None."""
    if "investigate" not in needs:
        return comment.posted(desk).issue
    number = needs["ask"].outputs.get("issue", "") if "ask" in needs else ""
    return int(number) if number.isdigit() else None


def _issue_url(desk: Desk, number: int) -> str:
    server = desk.environ.get("GITHUB_SERVER_URL") or "https://github.com"
    return f"{server}/{desk.run.repository}/issues/{number}"


def _tell(desk: Desk, issue: int, outcome: RunOutcome, parts: Parts, needs: Mapping[str, Job]) -> None:
    """Answer on the issue, and close it when its plan is over; a stranger's comment gets no answer.

    Raises:
        NotAnswered: GitHub did not take it; the trail is written all the same.
    """
    if needs["approve"].result != "success" and needs["approve"].outputs.get("answer") != "yes":
        return
    api = GitHubApi.from_environment(desk.environ)
    refusal = _refusal(parts)
    problem = (str(refusal.get("code") or ""), str(refusal.get("message") or ""))
    if parts.result is not None and parts.result.code:
        problem = (parts.result.code, str(parts.result.details.get("refused") or parts.result.details.get("problem")))
    line = codes.AgentError(*problem).line() if problem[0] in codes.registered() else ""
    api.answer(
        desk.run.repository,
        issue,
        pages.render_answer(pages.sentence(outcome.value), line, comment.run_url(desk, desk.run.run_id)),
    )
    if outcome in bundle.FINAL:
        api.close_issue(desk.run.repository, issue, completed=outcome is RunOutcome.ACTED)


def _acting(needs: Mapping[str, Job]) -> Job:
    """The job that may have acted: `act-auto` where it was not skipped, whose parts then stand for those of `act`."""
    automatic = needs.get(names.AUTO_JOB)
    if automatic is None or automatic.result in ("skipped", ""):
        return needs.get("act", Job("skipped", {}))
    return automatic


def _sign_of_acting(desk: Desk, parts: Parts, needs: Mapping[str, Job]) -> str:
    """Why a cancelled job that left nothing may have acted; empty where it can't have, or where the trail tells.

    A runner can die in the middle of the effect, with everything that was on its disk; then somebody cancels the run
    that hangs.  `needs` tells this and a job that never left the queue with the same word.
    """
    act = _acting(needs)
    if act.result != "cancelled" or parts.result is not None or parts.steps("act"):
        return ""  # its journal has the intent if there was one
    if act is needs.get("act") and needs["approve"].result != "success":
        return ""  # it starts after a successful approve only
    return gatekeeper.sign_of_acting(GitHubApi.from_environment(desk.environ), desk.run)


def _decide_action(parts: Parts, act: Job, *, began: bool) -> RunOutcome:
    if parts.result is None:
        if began or parts.has_step("act", names.STEP_INTENT) or act.result != "cancelled":
            # It meant to act, or nobody knows how far it came: only a look at the resource can tell.
            return RunOutcome.OUTCOME_UNKNOWN
        return RunOutcome.CANCELLED
    return bundle.outcome_of(parts.result)


def _was_stopped_at_gate(needs: Mapping[str, Job]) -> bool:
    decision = needs["investigate"].outputs.get("decision")
    if "approve" not in needs:
        return False
    return decision == Decision.REVIEW.value and needs["approve"].result not in ("success", "cancelled")


def _rejection(desk: Desk, parts: Parts) -> Optional[str]:
    """Return the login of who rejected, or None when GitHub's record tells of no rejection."""
    before = parts.report.plan.approvals_before if parts.report and parts.report.plan else 0
    try:
        records = gatekeeper.approvals(GitHubApi.from_environment(desk.environ), desk.run)
    except codes.AgentError:
        # The trail must be written even when GitHub does not answer; the run is then told as a failed approval.
        return None
    # GitHub does not say in which order its records stand, so both readings of "the new ones" count.
    added = max(0, len(records) - before)
    logins = {
        str(record["user"].get("login"))
        for record in [*records[before:], *records[:added]]
        if record.get("state") == "rejected" and isinstance(record.get("user"), dict)
    }
    return " or ".join(sorted(logins)) or None


def _collect(source: Path, target: Path, needs: Mapping[str, Job]) -> None:
    for job in needs:
        if (source / job).is_dir():
            shutil.copytree(str(source / job), str(target / job))
        else:
            (target / job).mkdir(parents=True)
    found = target / "approve" / names.INVESTIGATION_FOLDER
    if "investigate" not in needs and found.is_dir():
        found.rename(target / "investigate")
