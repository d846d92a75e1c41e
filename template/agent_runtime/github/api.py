"""GitHub's REST API, as far as the gate asks it: settings of environments, who approved a run, issues that ask.

Every answer that the gate depends on is either there or an error: nothing is guessed, nothing is cached.
"""

from __future__ import annotations

import time
from typing import Any, Callable, List, Mapping, Optional
from urllib.parse import quote

from agent_runtime.github.transport import (
    DEFAULT_API_URL,
    HTTP_NOT_FOUND,
    HTTP_UNPROCESSABLE,
    NotAnswered,
    Transport,
    field,
    malformed,
    mapping,
)

# A filtered list of runs ends here, says GitHub.
MAX_LISTED = 1000


class GitHubApi:
    """Reads from GitHub's API with the token of the job.

    Arguments:
        api_url: base address, as GITHUB_API_URL gives it.
        token: the job's token, or None for public endpoints; never printed.
        pause: how to wait between tries, in seconds.
    """

    def __init__(self, api_url: str, token: Optional[str], pause: Callable[[float], Any] = time.sleep) -> None:
        self._http = Transport(api_url, token, pause)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> GitHubApi:
        """Build the client that the runner's variables describe."""
        return cls(environ.get("GITHUB_API_URL") or DEFAULT_API_URL, environ.get("GITHUB_TOKEN") or None)

    def default_branch(self, repository: str) -> str:
        """Return the name of the repository's default branch."""
        path = f"/repos/{repository}"
        return str(field(self._http.get(path), "default_branch", str, path))

    def environment(self, repository: str, name: str) -> Optional[Mapping[str, Any]]:
        """Return GitHub's settings of the environment, or None when it does not exist."""
        path = environment_path(repository, name)
        answer = self._http.get_or_none(path)
        return None if answer is None else mapping(answer, path)

    def deployment_branches(self, repository: str, name: str) -> List[str]:
        """Return the name patterns of the environment's deployment branch policies.

        Tag policies are returned as `tag:<pattern>`, so that they never pass for a branch.
        """
        path = environment_path(repository, name) + "/deployment-branch-policies"
        try:
            entries = self._http.pages(path, "branch_policies")
        except NotAnswered as problem:
            if problem.status == HTTP_NOT_FOUND:
                return []
            raise
        return [branch_pattern(entry, path) for entry in entries]

    def approvals(self, repository: str, run_id: str) -> List[Mapping[str, Any]]:
        """Return the run's approval records in GitHub's order.

        Source: https://docs.github.com/en/rest/actions/workflow-runs#get-the-review-history-for-a-workflow-run
        """
        path = f"/repos/{repository}/actions/runs/{quote(run_id, safe='')}/approvals"
        answer = self._http.get(path)
        if not isinstance(answer, list) or not all(isinstance(entry, dict) for entry in answer):
            raise malformed(path)
        return list(answer)

    def runs(
        self, repository: str, workflow: str, *, since: str, event: Optional[str] = None
    ) -> List[Mapping[str, Any]]:
        """Return the runs of a workflow that were created at `since` (RFC 3339) or later, at most GitHub's 1,000.

        Arguments:
            workflow: its file's name.
            event: what started them; None for any.

        Source: https://docs.github.com/en/rest/actions/workflow-runs#list-workflow-runs-for-a-workflow
        """
        path = f"/repos/{repository}/actions/workflows/{quote(workflow, safe='')}/runs"
        filters = {"created": ">=" + since, "exclude_pull_requests": "true"}
        return self._http.pages(path, "workflow_runs", filters={**filters, **({"event": event} if event else {})})

    def last_run(self, repository: str, workflow: str, *, before: str) -> List[Mapping[str, Any]]:
        """Return the newest run of a workflow that was created before a moment (RFC 3339), or nothing."""
        path = f"/repos/{repository}/actions/workflows/{quote(workflow, safe='')}/runs"
        found = field(self._http.get(f"{path}?created={quote('<' + before)}&per_page=1"), "workflow_runs", list, path)
        return [mapping(entry, path) for entry in found[:1]]

    def jobs(self, repository: str, run_id: str, *, every_attempt: bool = False) -> List[Mapping[str, Any]]:
        """Return the jobs of a run's newest attempt, or of all its attempts.

        Source: https://docs.github.com/en/rest/actions/workflow-jobs#list-jobs-for-a-workflow-run
        """
        path = f"/repos/{repository}/actions/runs/{quote(run_id, safe='')}/jobs"
        return self._http.pages(path, "jobs", filters={"filter": "all"} if every_attempt else None)

    def artifact_exists(self, repository: str, run_id: str, name: str) -> bool:
        """Return whether the run has an artifact of this name.

        Source: https://docs.github.com/en/rest/actions/artifacts#list-workflow-run-artifacts
        """
        path = f"/repos/{repository}/actions/runs/{quote(run_id, safe='')}/artifacts?name={quote(name, safe='')}"
        entries = field(self._http.get(path), "artifacts", list, path)
        # An expired artifact counts: it was there.
        return any(isinstance(entry, dict) and entry.get("name") == name for entry in entries)

    def artifacts(self, repository: str, name: str) -> List[Mapping[str, Any]]:
        """Return every artifact of this name in the repository, of whatever run and age, expired ones included.

        Source: https://docs.github.com/en/rest/actions/artifacts#list-artifacts-for-a-repository
        """
        return self._http.pages(f"/repos/{repository}/actions/artifacts?name={quote(name, safe='')}", "artifacts")

    def artifacts_of_run(self, repository: str, run_id: str) -> List[Mapping[str, Any]]:
        """Return the artifacts of a run, of all its attempts."""
        path = f"/repos/{repository}/actions/runs/{quote(run_id, safe='')}/artifacts"
        return self._http.pages(path, "artifacts")

    def download_artifact(self, repository: str, artifact_id: int, limit: int) -> bytes:
        """Return the archive of an artifact, of at most `limit` bytes.

        Source: https://docs.github.com/en/rest/actions/artifacts#download-an-artifact
        """
        return self._http.download(f"/repos/{repository}/actions/artifacts/{artifact_id}/zip", limit)

    def permission(self, repository: str, login: str) -> str:
        """Return what a person may do here: `none`, `read`, `write` or `admin`; `none` for who is nobody to GitHub.

        Source: https://docs.github.com/en/rest/collaborators/collaborators#get-repository-permissions-for-a-user
        """
        path = f"/repos/{repository}/collaborators/{quote(login, safe='')}/permission"
        answer = self._http.get_or_none(path)
        return "none" if answer is None else str(field(answer, "permission", str, path))

    def workflow_run(self, repository: str, run_id: str) -> Mapping[str, Any]:
        """Return GitHub's JSON of a run; an empty object when there is none."""
        path = f"/repos/{repository}/actions/runs/{quote(run_id, safe='')}"
        return mapping(self._http.get_or_none(path) or {}, path)

    def artifact(self, repository: str, number: int) -> Mapping[str, Any]:
        """Return GitHub's JSON of an artifact; an empty object when there is none."""
        path = f"/repos/{repository}/actions/artifacts/{number}"
        return mapping(self._http.get_or_none(path) or {}, path)

    def last_commit(self, repository: str, path: str, sha: str) -> Mapping[str, Any]:
        """Return GitHub's JSON of the newest commit up to `sha` that changed a file; an empty object without one.

        Source: https://docs.github.com/en/rest/commits/commits#list-commits
        """
        asked = f"/repos/{repository}/commits?path={quote(path)}&sha={quote(sha)}&per_page=1"
        found = self._http.get_or_none(asked)
        return mapping(found[0], asked) if isinstance(found, list) and found else {}

    def issue(self, repository: str, number: int) -> Mapping[str, Any]:
        """Return GitHub's JSON of an issue; an empty object when there is none."""
        path = f"/repos/{repository}/issues/{number}"
        return mapping(self._http.get_or_none(path) or {}, path)

    def comments(self, repository: str, number: int) -> List[Mapping[str, Any]]:
        """Return all comments of an issue, oldest first."""
        return self._http.pages(f"/repos/{repository}/issues/{number}/comments", None)

    def open_issue(self, repository: str, title: str, body: str, label: str) -> Mapping[str, Any]:
        """Open an issue and return it as GitHub has it now."""
        path = f"/repos/{repository}/issues"
        return mapping(self._http.send("POST", path, {"title": title, "body": body, "labels": [label]}), path)

    def answer(self, repository: str, number: int, body: str) -> None:
        """Comment on an issue."""
        self._http.send("POST", f"/repos/{repository}/issues/{number}/comments", {"body": body})

    def close_issue(self, repository: str, number: int, *, completed: bool) -> None:
        """Close an issue, as completed or as not planned."""
        reason = "completed" if completed else "not_planned"
        path = f"/repos/{repository}/issues/{number}"
        self._http.send("PATCH", path, {"state": "closed", "state_reason": reason})

    def claim(self, repository: str, reference: str, sha: str) -> bool:
        """Create a git reference; return whether it is new.  Of several who try, one succeeds.

        Source: https://docs.github.com/en/rest/git/refs#create-a-reference
        """
        try:
            self._http.send("POST", f"/repos/{repository}/git/refs", {"ref": reference, "sha": sha})
        except NotAnswered as problem:
            if problem.status == HTTP_UNPROCESSABLE and "already exists" in problem.said:
                return False
            raise
        return True

    def reference_exists(self, repository: str, reference: str) -> bool:
        """Return whether the repository has a git reference of this name.

        Source: https://docs.github.com/en/rest/git/refs#get-a-reference
        """
        return self._http.exists(f"/repos/{repository}/git/ref/{quote(reference.partition('refs/')[2])}")


def environment_path(repository: str, name: str) -> str:
    """Path of an environment below the API's address."""
    return f"/repos/{repository}/environments/{quote(name, safe='')}"


def branch_pattern(entry: Mapping[str, Any], path: str) -> str:
    """Return the pattern of a deployment branch policy; that of a tag as `tag:<pattern>`."""
    pattern = str(field(entry, "name", str, path))
    kind = entry.get("type") or "branch"
    return pattern if kind == "branch" else f"{kind}:{pattern}"
