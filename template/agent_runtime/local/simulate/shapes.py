"""JSON as GitHub's API gives it, https://docs.github.com/en/rest: the fields that the gate reads."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Dict, List, Tuple

CREATED = "2026-01-01T00:00:00Z"
NOT_FOUND = {"message": "Not Found", "documentation_url": "https://docs.github.com/rest", "status": "404"}


def number(text: str) -> int:
    """Return an id that follows from a name, so that it stays the same while other things come and go."""
    return (
        1 + sum(ord(letter) * pow(131, place, 100_000_000) for place, letter in enumerate(text.lower())) % 100_000_000
    )


def when(moment: datetime) -> str:
    """Return an aware datetime as GitHub writes it."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def user(login: str, kind: str = "User") -> Dict[str, Any]:
    """Return a user; the id follows from the login."""
    return {"login": login, "id": number(login), "type": kind}


def repository(full_name: str, default_branch: str, visibility: str) -> Dict[str, Any]:
    """Return a repository."""
    return {"full_name": full_name, "visibility": visibility, "default_branch": default_branch}


def environment(_repository: str, name: str) -> Dict[str, Any]:
    """Return an environment as GitHub creates it when a workflow names one that is not there: without protection."""
    return {
        "id": number(name),
        "name": name,
        "can_admins_bypass": True,
        "protection_rules": [],
        "deployment_branch_policy": None,
    }


def environment_summary(settings: Dict[str, Any]) -> Dict[str, Any]:
    """Return an environment as an approval record names it."""
    return {key: settings[key] for key in ("id", "name")}


def protection_rules(
    reviewers: List[Dict[str, Any]], *, prevent_self_review: bool, wait_timer: int, branches: bool
) -> List[Dict[str, Any]]:
    """Return the rules of an environment; GitHub leaves out what is not set."""
    rules: List[Dict[str, Any]] = [{"type": "branch_policy"}] if branches else []
    if reviewers:
        rule = {"type": "required_reviewers", "prevent_self_review": prevent_self_review, "reviewers": reviewers}
        rules.append(rule)
    if wait_timer:
        rules.append({"type": "wait_timer", "wait_timer": wait_timer})
    return rules


def branch_policy(pattern: str) -> Dict[str, Any]:
    """Return a deployment branch policy; `tag:<pattern>` is that of a tag."""
    kind, colon, name = pattern.partition(":")
    return {"id": number(pattern), "name": name if colon else pattern, "type": kind if colon else "branch"}


def artifact(
    repository_name: str, name: str, run_id: str, created: datetime, kept: timedelta = timedelta(days=90)
) -> Dict[str, Any]:
    """Return an artifact of a run, made at `created` and kept for `kept`; its id follows from run and name."""
    return {
        "id": number(f"{run_id}/{name}"),
        "name": name,
        "expired": False,
        "created_at": when(created),
        "expires_at": when(created + kept),
        "workflow_run": {"id": int(run_id), "repository_id": number(repository_name), "head_branch": "main"},
    }


def workflow_run(
    repository_name: str, run_id: int, *, run_number: int, title: str, event: str, file: str, actor: str, created: str
) -> Dict[str, Any]:
    """Return a run that has just begun."""
    return {
        "id": run_id,
        "display_title": title,
        "head_branch": "main",
        "head_sha": "0" * 40,
        "path": ".github/workflows/" + file,
        "run_number": run_number,
        "run_attempt": 1,
        "event": event,
        "status": "in_progress",
        "conclusion": None,
        "html_url": f"https://github.com/{repository_name}/actions/runs/{run_id}",
        "created_at": created,
        "updated_at": created,
        "run_started_at": created,
        "actor": user(actor),
        "triggering_actor": user(actor),
        "repository": {"full_name": repository_name},
        "head_repository": {"full_name": repository_name},
    }


def job(_repository: str, run_id: int, name: str, status: str, created: str) -> Dict[str, Any]:
    """Return a job of a run that has not ended."""
    return {
        "id": number(f"{run_id}/{name}"),
        "run_id": run_id,
        "run_attempt": 1,
        "status": status,
        "conclusion": None,
        "created_at": created,
        "started_at": created,
        "completed_at": None,
        "name": name,
        "steps": [],
        "runner_id": None,
        "runner_name": None,
    }


# What a job that ended says of its runner when it never had one: skipped, or cancelled while it waited.
WITHOUT_A_RUNNER = {"runner_id": 0, "runner_name": ""}


def on_a_runner(started: str) -> Dict[str, Any]:
    """Return what a job says from the moment at which a runner took it."""
    first = {"name": "Set up job", "status": "completed", "conclusion": "success", "number": 1}
    return {
        "runner_id": 21,
        "runner_name": "GitHub Actions 21",
        "steps": [{**first, "started_at": started, "completed_at": started}],
    }


def issue(
    repository_name: str, position: int, text: Tuple[str, str], author: Dict[str, Any], labels: List[str]
) -> Dict[str, Any]:
    """Return an issue that is open; `text` is its title and its body."""
    title, body = text
    return {
        "html_url": f"https://github.com/{repository_name}/issues/{position}",
        "number": position,
        "state": "open",
        "state_reason": None,
        "title": title,
        "body": body,
        "user": author,
        "labels": [{"name": name} for name in labels],
        "created_at": CREATED,
        "updated_at": CREATED,
    }


def issue_comment(repository_name: str, position: int, id: int, body: str, author: Dict[str, Any]) -> Dict[str, Any]:
    """Return a comment on an issue."""
    url = f"https://github.com/{repository_name}/issues/{position}#issuecomment-{id}"
    return {"id": id, "html_url": url, "body": body, "user": author, "created_at": CREATED, "updated_at": CREATED}


def git_reference(_repository: str, reference: str, sha: str) -> Dict[str, Any]:
    """Return a git reference to a commit."""
    return {"ref": reference, "object": {"type": "commit", "sha": sha}}
