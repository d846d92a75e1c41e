"""Record: collect what every job left behind, say how the run ended, and check that the trail says all of it."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

import agent_runtime
from agent_runtime import codes
from agent_runtime.gate import bundle, consistency, environment_checks, evidence
from agent_runtime.gate.bundle import Parts, RunOutcome, TrailProblem
from agent_runtime.gate.pages import record as pages
from agent_runtime.gate.pages.result import render_stop
from agent_runtime.github import archive, outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext, write_whole
from agent_runtime.job.trail import Trail
from agent_runtime.model import documents, names
from agent_runtime.model.documents import Decision, ReportStatus
from agent_runtime.text.escape import visible
from agent_runtime.text.strict_json import strict_json
from aimgentix.events import EventStatus

_GOOD_ENDS = (
    RunOutcome.ACTED,
    RunOutcome.DRY_RUN,
    RunOutcome.NOTHING_TO_DO,
    RunOutcome.DUPLICATE,
    RunOutcome.WAITING,
)

# What an answer quotes of a message at most: GitHub takes 65,536 characters, and the agent may have written it.
_MAX_MESSAGE = 1_000
# The jobs before this one: of a whole run; of one that asks in an issue; of one that a comment started.
_RUNS = (
    {"investigate", "seal", "approve", "act"},
    {"investigate", "seal", "ask"},
    {"approve", "claim", "act"},
)
# What each job uploads: the prefix of the outputs with the archive's id and digest, and its folder in the bundle.
_UPLOADS = {
    "investigate": (("investigation", "investigate"),),
    "seal": (("report", "seal"),),
    "ask": (("request", "ask"),),
    "approve": (("receipt", "approve"),),
    names.SECOND_JOB: (("receipt", names.SECOND_JOB),),
    "claim": (("claim", "claim"),),
    "act": (("authorization", names.VERIFY), ("result", "act")),
    names.AUTO_JOB: (("authorization", names.VERIFY), ("result", "act")),
}
# The outputs with the last hash of each journal that was written without team code.
_HEADS = {
    "seal": ("journal_head", "seal"),
    "ask": ("journal_head", "ask"),
    "approve": ("journal_head", "approve"),
    names.SECOND_JOB: ("journal_head", names.SECOND_JOB),
    "claim": ("journal_head", "claim"),
    "act": ("verify_head", names.VERIFY),
    names.AUTO_JOB: ("verify_head", names.VERIFY),
}


@dataclass(frozen=True)
class Job:
    """What GitHub's `needs` context says of a job: `success`, `failure`, `cancelled` or `skipped`, and its outputs."""

    result: str
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Ending:
    """The result of recording.

    Arguments:
        folder: the bundle.
        digest: SHA-256 of `bundle.json`; whoever keeps it can later see whether the bundle is still the same.
    """

    outcome: RunOutcome
    problems: Tuple[TrailProblem, ...]
    folder: Path
    digest: str
    markdown: str


def parse_needs(text: str) -> Dict[str, Job]:
    """Read `toJSON(needs)`.

    Raises:
        BadInput: it is not what GitHub writes (INP005).
    """
    try:
        value = strict_json(text.encode("utf-8"))
        if not any(jobs <= set(value) for jobs in _RUNS):
            raise ValueError(f"it names the jobs {sorted(value)}")
        return {
            name: Job(str(value[name]["result"]), {key: str(item) for key, item in value[name]["outputs"].items()})
            for name in _UPLOADS
            if name in value
        }
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise codes.BadInput(
            codes.RUN_CONTEXT_MISSING, f"NEEDS is not the needs context: {str(problem)[:80]!r}"
        ) from None


def run_job(job: JobContext, needs: Mapping[str, Job]) -> Ending:
    """Build the bundle under the output folder, and write the run's terminal event.

    Arguments:
        needs: how the other jobs ended.
    """
    api = GitHubApi.from_environment(job.environ)
    folder = job.out / names.BUNDLE_FOLDER
    problems = _collect(api, job, folder, needs)
    parts = bundle.load(folder, by_comment="seal" not in needs)
    jobs = evidence.read(api, job.run)
    said = needs["seal" if "seal" in needs else "approve"].outputs
    resource, digest = said.get("resource") or "unknown", said.get("plan_digest") or None
    number = _issue(job, needs)
    rejected_by, because = _rejection(api, job, parts, needs)
    outcome = _decide(parts, needs, jobs, rejected=rejected_by is not None)
    heads = _heads(parts, needs)
    problems += consistency.check(parts, outcome, expected_heads=heads, expected_digest=digest)
    problems = bundle.presentable(problems + _compare(parts, needs, jobs, digest or ""))
    steps = bundle.steps_of(parts, outcome)
    # By the numbers of a workflow's runs an auditor sees which bundles are missing.
    number_of_run = job.environ.get("GITHUB_RUN_NUMBER", "")
    repeated: Dict[str, Any] = {
        "release": agent_runtime.__version__,
        "run_number": int(number_of_run) if number_of_run.isdigit() else None,
        "simulated": job.environ.get(names.SIMULATED) == "true",
    }
    with Trail(job, resource) as journal:
        because = because and journal.redactor.text(visible(because, _MAX_MESSAGE))
        journal.event(
            names.STEP_TERMINAL,
            EventStatus.SUCCESS if outcome in _GOOD_ENDS and not problems else EventStatus.ERROR,
            durable=True,
            outcome=outcome.value,
            plan_digest=digest,
            steps=steps,
            approvers=parts.approvers,
            rejected_by=rejected_by,
            rejected_because=because,
            jobs={name: each.result for name, each in needs.items()},
            problems=[problem.line() for problem in problems],
            **repeated,
        )
        heads["record"] = journal.head
    shutil.copytree(str(job.journal), str(folder / "record" / names.JOURNAL_FOLDER))
    manifest = documents.encode(
        {
            "schema_version": documents.SCHEMA_VERSION,
            "trace_id": job.trace_id,
            "run": job.run,
            **repeated,
            "resource": resource,
            "outcome": outcome,
            "plan_digest": digest,
            "steps": steps,
            "approvers": parts.approvers,
            "rejected_by": rejected_by,
            "rejected_because": because,
            "issue": number,
            "reported_by_agent": [name for name in bundle.REPORTED_BY_AGENT if (folder / name).is_dir()],
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
        approvers=[receipt.approver.login for receipt in parts.receipts],
        rejected_by=rejected_by,
        rejected_because=because,
        problems=[problem.line() for problem in problems],
        bundle_digest=bundle_digest,
        issue=_issue_url(job, number) if number else None,
        automatic=parts.automatic,
        stopped=_stopped(parts, outcome),
    )
    outputs.write_summary(job.environ, markdown)
    acted = any(needs[name].result != "skipped" for name in ("act", names.AUTO_JOB) if name in needs)
    ended = {"outcome": outcome.value, "bundle_digest": bundle_digest, "acted": str(acted).lower()}
    outputs.write_outputs(job.environ, ended)
    if number and "seal" not in needs:
        _answer(api, job, number, outcome=outcome, parts=parts, needs=needs)
    return Ending(outcome, tuple(problems), folder, bundle_digest, markdown)


def _stopped(parts: Parts, outcome: RunOutcome) -> List[str]:
    """What is done and what is left of a plan that stopped, in blocks of Markdown."""
    sealed = parts.report.plan if parts.report else None
    if sealed is None or outcome not in (RunOutcome.PARTIAL, RunOutcome.ACTION_FAILED, RunOutcome.OUTCOME_UNKNOWN):
        return []
    ended = [step["status"] for step in bundle.steps_of(parts, outcome)]
    return render_stop(sealed.steps, ended, parts.result.steps if parts.result else ())


def _collect(api: GitHubApi, job: JobContext, folder: Path, needs: Mapping[str, Job]) -> List[TrailProblem]:
    """Fetch what every job uploaded, by the id and the digest in its outputs."""
    problems: List[TrailProblem] = []
    folder.mkdir(parents=True)
    for name, each in needs.items():
        for prefix, target in _UPLOADS[name]:
            artifact_id = each.outputs.get(prefix + "_id", "")
            if not artifact_id or each.result == "skipped":
                continue  # it ended before it uploaded anything; what must be there is looked for later
            try:
                files = archive.fetch(api, job.run.repository, artifact_id, each.outputs.get(prefix + "_digest", ""))
                archive.write(files, folder / target)
            except codes.AgentError as problem:
                problems.append(TrailProblem(problem.code, f"{target}: {problem.message}"))
            except OSError as problem:
                problems.append(TrailProblem(codes.TRAIL_MISSING, f"{target} can't be written: {problem.strerror}"))
    # Where a comment started the run, the report came out of the archive that the issue names.
    found = folder / "approve" / "seal"
    if "seal" not in needs and found.is_dir():
        found.rename(folder / "seal")
    return problems


def _heads(parts: Parts, needs: Mapping[str, Job]) -> Dict[str, str]:
    """The end of every journal: as its job gave it, or as it was found where only the agent could have given it."""
    heads = {name: found[-1] for name, found in parts.heads.items() if found}
    for name, (output, folder) in _HEADS.items():
        if name in needs and needs[name].result != "skipped":
            heads[folder] = needs[name].outputs.get(output, "") or heads.get(folder, "")
    return heads


def _compare(parts: Parts, needs: Mapping[str, Job], jobs: evidence.Jobs, digest: str) -> List[TrailProblem]:
    """What the run's outputs say, against what was sealed and against GitHub's own list of jobs."""
    found = [
        bundle.contradiction(line)
        for line in evidence.contradictions(jobs, {name: each.result for name, each in needs.items()}, digest)
    ]
    contradicted = evidence.of_result(jobs, parts.result.status) if parts.result else ""
    if contradicted:
        found.append(bundle.contradiction(contradicted))
    for id, (output, _) in _HEADS.items():
        if id in needs and needs[id].result == "success" and not needs[id].outputs.get(output):
            found.append(TrailProblem(codes.TRAIL_MISSING, f"{id} succeeded, and its output {output} is gone"))
    seal = needs.get("seal")
    if seal is None or parts.report is None:
        if seal is not None and seal.result == "success":
            found.append(TrailProblem(codes.TRAIL_MISSING, "seal succeeded, and its report is not there"))
        return found
    sealed = parts.report.plan
    expected = {
        "decision": str(sealed.policy.decision) if sealed else None,
        "plan_digest": parts.plan_digest or "",
        "resource": parts.report.resource,
        "action": sealed.title if sealed else "",
        "approvals": str(sealed.approvals.count) if sealed else "",
    }
    for name, value in expected.items():
        if value is not None and seal.outputs.get(name, "") != value:
            given = seal.outputs.get(name, "") or "empty"
            found.append(bundle.contradiction(f"the output {name} of seal is {given}, its report says {value}"))
    return found


def _decide(parts: Parts, needs: Mapping[str, Job], jobs: evidence.Jobs, *, rejected: bool) -> RunOutcome:
    """Say in one word how a run ended.  Pure.

    Arguments:
        rejected: whether GitHub's record has a rejection.
    """
    if "seal" not in needs:
        return _decide_comment(parts, needs, jobs)
    seal, report = needs["seal"], parts.report
    if seal.result in ("skipped", "cancelled"):
        return RunOutcome.CANCELLED
    if seal.result == "success" and "act" in needs and _acting(needs).result != "skipped":
        return RunOutcome.REJECTED if rejected else _decide_action(parts, _acting(needs), jobs)
    if seal.result != "success" or report is None:
        refused = report is not None and str(report.code).startswith(("GATE", "IGATE", "POL"))
        return RunOutcome.REFUSED if refused else RunOutcome.INVESTIGATION_FAILED
    if report.plan is None:
        ends = {ReportStatus.DENIED: RunOutcome.DENIED, ReportStatus.DUPLICATE: RunOutcome.DUPLICATE}
        return ends.get(report.status, RunOutcome.NOTHING_TO_DO)
    if "ask" in needs:
        asked = {"success": RunOutcome.WAITING, "cancelled": RunOutcome.CANCELLED}
        return asked.get(needs["ask"].result, RunOutcome.APPROVAL_FAILED)
    if rejected:
        return RunOutcome.REJECTED
    # Nobody was asked, or somebody approved: then only a cancellation kept the next job from starting.
    first, second = needs["approve"].result, needs[names.SECOND_JOB].result if names.SECOND_JOB in needs else ""
    asked_in_vain = first in ("failure", "skipped") or second == "failure"
    if report.plan.policy.decision is Decision.REVIEW and asked_in_vain:
        return RunOutcome.APPROVAL_FAILED
    return RunOutcome.CANCELLED


def _decide_comment(parts: Parts, needs: Mapping[str, Job], jobs: evidence.Jobs) -> RunOutcome:
    """The same for a run that a comment started."""
    if needs["act"].result != "skipped":
        return _decide_action(parts, needs["act"], jobs)
    if needs["approve"].result == "cancelled" or needs["claim"].result == "cancelled":
        return RunOutcome.CANCELLED
    if needs["claim"].result == "failure":
        refusal = bundle.refusal(parts, "claim")
        return bundle.outcome_of(None, refusal.get("code"))
    if needs["approve"].result == "success":
        return RunOutcome.CANCELLED
    ends = {
        codes.PLAN_REJECTED: RunOutcome.REJECTED,
        codes.GATE_EXPIRED: RunOutcome.EXPIRED,
        codes.APPROVAL_MISSING: RunOutcome.WAITING,
    }
    return ends.get(str(bundle.refusal(parts, "approve").get("code")), RunOutcome.APPROVAL_FAILED)


def _decide_action(parts: Parts, act: Job, jobs: evidence.Jobs) -> RunOutcome:
    """How a run ended whose job to act was not skipped: what Verify found, what Execute reports, what GitHub shows."""
    authorization, result = parts.authorization, parts.result
    if result is None and parts.steps("act", names.STEP_INTENT):
        return RunOutcome.OUTCOME_UNKNOWN
    if authorization is not None and not authorization.authorized:
        return bundle.outcome_of(None, authorization.code) if result is None else RunOutcome.OUTCOME_UNKNOWN
    if result is not None:
        return bundle.outcome_of_result(result)
    if evidence.of_executing(jobs):
        # It may have begun, and nobody knows how far it got: only a look at the resource can say.
        return RunOutcome.OUTCOME_UNKNOWN
    if authorization is None and act.result == "cancelled":
        return RunOutcome.CANCELLED
    return RunOutcome.NOT_STARTED


def _acting(needs: Mapping[str, Job]) -> Job:
    """The job that may have acted: `act-auto` where it was not skipped."""
    automatic = needs.get(names.AUTO_JOB)
    return needs["act"] if automatic is None or automatic.result in ("skipped", "") else automatic


def _rejection(
    api: GitHubApi, job: JobContext, parts: Parts, needs: Mapping[str, Job]
) -> Tuple[Optional[str], Optional[str]]:
    """Return login and reason of who rejected; None twice when GitHub's record has no rejection."""
    if "seal" not in needs:
        refusal = bundle.refusal(parts, "approve")
        return refusal.get("rejected_by") or None, refusal.get("rejected_because") or None
    if not any(needs[id].result == "failure" for id in ("approve", names.SECOND_JOB) if id in needs):
        return None, None
    try:
        found = environment_checks.rejections(api.approvals(job.run.repository, job.run.run_id))
    except codes.AgentError:
        # The trail must be written even when GitHub does not answer; the run then ends as a failed approval.
        return None, None
    return " or ".join(found) or None, "; ".join(filter(None, found.values())) or None


def _issue(job: JobContext, needs: Mapping[str, Job]) -> Optional[int]:
    """Number of the issue that is this run's gate, or None."""
    if "seal" not in needs:
        from agent_runtime.gate.comment import posted  # noqa: PLC0415  only a comment's run has one

        return posted(job).issue
    number = needs["ask"].outputs.get("issue", "") if "ask" in needs else ""
    return int(number) if number.isdigit() else None


def _issue_url(job: JobContext, number: int) -> str:
    return job.run_url().rpartition("/actions/")[0] + f"/issues/{number}"


def _answer(
    api: GitHubApi, job: JobContext, number: int, *, outcome: RunOutcome, parts: Parts, needs: Mapping[str, Job]
) -> None:
    """Answer on the issue, and close it when its plan is over; an unauthorized commenter gets no answer.

    Raises:
        NotAnswered: GitHub did not take it; the trail is written all the same.
    """
    if needs["approve"].result != "success" and needs["approve"].outputs.get("answer") != "yes":
        return
    code, message = bundle.why(parts)
    line = codes.AgentError(code, visible(str(message), _MAX_MESSAGE)).line() if code in codes.registered() else ""
    api.answer(job.run.repository, number, pages.render_answer(pages.sentence(outcome.value), line, job.run_url()))
    if outcome in bundle.FINAL:
        api.close_issue(job.run.repository, number, completed=outcome is RunOutcome.ACTED)
