"""Reads what the agent did over some days from GitHub: runs, jobs, approvals, and the bundle of each run."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, List, Mapping, Optional, Tuple

from agent_runtime import codes
from agent_runtime.gate import bundle, gates, history, offline
from agent_runtime.github import archive
from agent_runtime.github.api import GitHubApi
from agent_runtime.github.transport import HTTP_NOT_FOUND, NotAnswered, field
from agent_runtime.local.activity import Activity, Job, Summary, Trail, summarise
from agent_runtime.local.codes import REPOSITORY_UNKNOWN
from agent_runtime.model import config, names

# Four requests a run at most: the job's token has 1,000 an hour, which all workflows of the repository share.
MAX_RUNS = 100


def read(
    api: GitHubApi,
    settings: config.Config,
    *,
    days: int,
    now: datetime,
    approvals: int = 1,
    repository: Optional[str] = None,
) -> Summary:
    """Read the last days and sum them up.

    Arguments:
        api: asks with a token that may read actions and contents.
        approvals: the most that the policy asks for.
        repository: `owner/name`, as a workflow knows it (GITHUB_REPOSITORY); by default the one of the configuration.

    Raises:
        BadInput: there is no such repository, or the token may not see it (SET002).
        NotAnswered: GitHub does not give the list of runs or the settings of the gate.
    """
    repository = repository or settings.repository
    _check_known(api, repository)
    runs: List[Mapping[str, Any]] = []
    gone: List[str] = []
    for workflow in history.workflows(settings):
        since = now - timedelta(days=days)
        listed, missing = history.listed_and_missing(api, repository, workflow, since=since, now=now)
        # A comment that is not an answer starts a run in which every job is skipped.
        runs += [run for run in listed if run.get("conclusion") != "skipped"]
        gone += [f"{number} of {workflow}" for number, _ in missing]
    runs.sort(key=lambda run: str(run.get("created_at")), reverse=True)
    return summarise(
        [_activity(api, repository, run) for run in runs[:MAX_RUNS]],
        days=days,
        now=now,
        ttl_minutes=settings.approval_ttl_minutes,
        gate_problems=gates.of(settings).problems(api, repository, settings, approvals),
        left_out=max(0, len(runs) - MAX_RUNS),
        gone=gone,
    )


def _check_known(api: GitHubApi, repository: str) -> None:
    try:
        api.default_branch(repository)
    except NotAnswered as problem:
        if problem.status != HTTP_NOT_FOUND:
            raise
        raise codes.BadInput(
            REPOSITORY_UNKNOWN, f"GitHub knows no {repository}, or this token may not see it"
        ) from None


def _activity(api: GitHubApi, repository: str, run: Mapping[str, Any]) -> Activity:
    path = "/actions/runs"
    actor = run.get("actor")
    known = {
        "id": field(run, "id", int, path),
        "title": str(run.get("display_title") or ""),
        "url": str(field(run, "html_url", str, path)),
        "actor": str(actor.get("login")) if isinstance(actor, dict) else "",
        "status": str(run.get("status") or ""),
        "created": _time(run.get("created_at")) or datetime.now(timezone.utc),
    }
    run_id = str(known["id"])
    try:
        jobs = {str(job.get("name")): _job(job) for job in api.jobs(repository, run_id)}
        records = api.approvals(repository, run_id)
        trail = _trail(api, repository, run_id)
    except (codes.AgentError, OSError, ValueError) as problem:
        why = problem.message if isinstance(problem, codes.AgentError) else type(problem).__name__
        return Activity(**known, unreadable=why)
    approvals = _records_of_the_gate(records)
    if run.get("event") == "issue_comment" and trail is not None:
        # Whoever commented is the actor of such a run; who asked, and who approved, is in the bundle.
        known["actor"] = trail.initiator
        approvals = [(login, "approved") for login in trail.approvers]
        known.update(asked=trail.sealed, answered=trail.commented)
        if trail.rejecter and not trail.approvers:
            # Its bundle does not keep the comment's time; GitHub made this run from the comment at once.
            approvals = [(trail.rejecter, "rejected")]
            known["answered"] = known["created"]
    return Activity(
        **known,
        investigate=jobs.get(names.INVESTIGATE_JOB),
        approve=next((job for name, job in jobs.items() if name.startswith(names.APPROVE_JOB)), None),
        act=next((job for name, job in jobs.items() if _is_act(name)), None),
        approvals=tuple(approvals),
        trail=trail,
    )


def _is_act(name: str) -> bool:
    return name == names.ACT_JOB_NAME or name.startswith(names.APPROVED_JOB_NAME)


def _records_of_the_gate(records: List[Mapping[str, Any]]) -> List[Tuple[str, str]]:
    """Login and state of the records that are about the gate, oldest first as far as GitHub keeps an order."""
    found = []
    for record in records:
        user, environments = record.get("user"), record.get("environments")
        of_the_gate = isinstance(environments, list) and any(
            isinstance(each, dict) and str(each.get("name")).casefold() in names.GATE_ENVIRONMENTS
            for each in environments
        )
        if of_the_gate and isinstance(user, dict):
            found.append((str(user.get("login")), str(record.get("state"))))
    return found


def _job(job: Mapping[str, Any]) -> Job:
    conclusion = job.get("conclusion")
    return Job(
        str(job.get("status")),
        None if conclusion is None else str(conclusion),
        _time(job.get("started_at")),
        _time(job.get("completed_at")),
    )


def _time(text: Any) -> Optional[datetime]:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return None
    return moment.replace(tzinfo=timezone.utc)


def _trail(api: GitHubApi, repository: str, run_id: str) -> Optional[Trail]:
    """What the newest bundle of a run says, checked as `verify` does; None where there is none."""
    found = [each for each in api.artifacts_of_run(repository, run_id) if each.get("name") == names.BUNDLE_ARTIFACT]
    if not found:
        return None
    newest = max(found, key=lambda each: int(field(each, "id", int, "/artifacts")))
    data = api.download_artifact(repository, newest["id"], archive.MAX_ARCHIVE_BYTES)
    with tempfile.TemporaryDirectory() as folder:
        archive.write(archive.unpack(data), Path(folder))
        manifest, problems = offline.verify(Path(folder))
        parts = bundle.load(Path(folder), by_comment=manifest["run"].get("event") == "issue_comment")
        sealed = parts.report.plan if parts.report else None
        comments = [receipt.issue_comment for receipt in parts.receipts if receipt.issue_comment]
        return Trail(
            outcome=str(manifest["outcome"]),
            codes=tuple(_codes(parts)),
            problems=tuple(problem.line() for problem in problems),
            initiator=sealed.run.actor if sealed else "",
            approvers=tuple(receipt.approver.login for receipt in parts.receipts),
            rejecter=str(manifest.get("rejected_by") or ""),
            plan_digest=parts.plan_digest or "",
            sealed=_time(sealed.issued_at) if sealed else None,
            commented=_time(comments[-1].created_at) if comments else None,
            automatic=parts.automatic,
            steps=tuple(
                f"{step['action']}: {step['status'].replace('_', ' ')}"
                for step in bundle.steps_of(parts, bundle.RunOutcome(manifest["outcome"]))
            ),
        )


def _codes(parts: bundle.Parts) -> List[str]:
    return sorted({str(entry["code"]) for job in bundle.FOLDERS for entry in parts.steps(job) if entry.get("code")})
