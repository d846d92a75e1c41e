"""A small GitHub on the loopback interface: the endpoints that the gate asks during a run, with a state of its own.

The shapes are in `shapes`; the state's attributes are for callers to set, before or while it serves.
"""

from __future__ import annotations

import hashlib
import json
import threading
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType, TracebackType
from typing import Any, Dict, List, Mapping, Optional, Tuple, Type
from urllib.parse import parse_qs, unquote, urlsplit

from agent_runtime.local.simulate import shapes

# How long closing waits for the server to notice.
_POLL_SECONDS = 0.02

_Answer = Tuple[int, Any]
_Query = Mapping[str, List[str]]


class LoopbackGitHub:
    """GitHub as far as one repository's gate is concerned; a context manager that serves while it is open.

    Arguments:
        repository: `owner/name`.
        default_branch: its default branch.

    Attributes to set:
        environments, branch_policies: GitHub's JSON and the patterns (`tag:<pattern>` for tags), by name.
        approvals: GitHub's JSON, by the run's id.
        people: permission on the repository (`none`, `read`, `write`, `admin`) by login.
        visibility, plan: of the repository and its owner.
        archives: zip files of artifacts with the id of their run and their name, by id of the artifact.
        issues, comments: GitHub's JSON, by number of the issue.
        references: commits by full name of the git reference, besides those of branches and tags.
        runs, jobs: GitHub's JSON, newest run first; jobs by the run's id.
    """

    shapes: ModuleType = shapes

    def __init__(self, repository: str, default_branch: str = "main") -> None:
        self.repository = repository
        self.default_branch = default_branch
        self.visibility = "public"
        self.plan: Optional[str] = None
        self.environments: Dict[str, Dict[str, Any]] = {}
        self.branch_policies: Dict[str, List[str]] = {}
        self.approvals: Dict[str, List[Dict[str, Any]]] = {}
        self.people: Dict[str, str] = {}
        self.archives: Dict[int, Tuple[str, str, bytes]] = {}
        self.runs: List[Dict[str, Any]] = []
        self.jobs: Dict[str, List[Dict[str, Any]]] = {}
        self.issues: Dict[int, Dict[str, Any]] = {}
        self.comments: Dict[int, List[Dict[str, Any]]] = {}
        self.labels: List[str] = []
        self.references: Dict[str, str] = {}
        self._made: Dict[int, datetime] = {}
        self._lock = threading.Lock()
        self._server: Optional[ThreadingHTTPServer] = None
        self._thread: Optional[threading.Thread] = None

    @property
    def url(self) -> str:
        """Base address of the API, for GITHUB_API_URL.

        Raises:
            RuntimeError: the server is not open.
        """
        if self._server is None:
            raise RuntimeError("the loopback GitHub is not open")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def protect(self, name: str, reviewers: Tuple[str, ...] = ()) -> None:
        """Create an environment as docs/SETUP_GUIDE.md says; with reviewers it is a gate."""
        self.environments[name] = dict(
            self.shapes.environment(self.repository, name),
            can_admins_bypass=False,
            protection_rules=self.shapes.protection_rules(
                [{"type": "User", "reviewer": self.shapes.user(login)} for login in reviewers],
                prevent_self_review=True,
                wait_timer=0,
                branches=True,
            ),
            deployment_branch_policy={"protected_branches": False, "custom_branch_policies": True},
        )
        self.branch_policies[name] = [self.default_branch]
        for login in reviewers:  # GitHub lets nobody else review
            self.people.setdefault(login, "read")

    def create_open(self, name: str) -> None:
        """Create an environment as GitHub does when a workflow names one that is not there: without any protection."""
        self.environments[name] = self.shapes.environment(self.repository, name)
        self.branch_policies[name] = []

    def review(
        self,
        run_id: str,
        login: str,
        state: str,
        comment: str = "",
        kind: str = "User",
        *,
        environment: str = "agent-approval",
    ) -> None:
        """Add an approval record: `state` is `approved` or `rejected`."""
        summary = self.shapes.environment_summary(self.environments[environment])
        reviewer = self.shapes.user(login, kind)
        with self._lock:
            self.people.setdefault(login, "read")  # GitHub lets nobody else review
            self.approvals.setdefault(run_id, []).append(
                {"state": state, "comment": comment, "environments": [summary], "user": reviewer}
            )

    def keep_archive(
        self, number: int, run_id: str, name: str, archive: bytes, created: Optional[datetime] = None
    ) -> None:
        """Note an artifact by its id."""
        with self._lock:
            self.archives[number] = (run_id, name, archive)
            self._made[number] = created or datetime.now(timezone.utc)

    def add_run(self, run_id: str, *, title: str, event: str, actor: str, file: str, created: str) -> Dict[str, Any]:
        """Note that a run has begun, and return its JSON for the caller to change."""
        with self._lock:
            run: Dict[str, Any] = self.shapes.workflow_run(
                self.repository,
                int(run_id),
                run_number=self.next_number(file),
                title=title,
                event=event,
                file=file,
                actor=actor,
                created=created,
            )
            self.runs.insert(0, run)
            return run

    def next_number(self, file: str) -> int:
        """The number of the next run of a workflow: each has a count of its own."""
        numbers = [run["run_number"] for run in self.runs if run["path"] == ".github/workflows/" + file]
        return 1 + max(numbers, default=0)

    def set_job(self, run_id: str, name: str, status: str, now: str, conclusion: Optional[str] = None) -> None:
        """Note where a job of a run stands; one that waits has not started, one that is completed has ended."""
        with self._lock:
            job = self._job(run_id, name)
            if job is None:
                job = self.shapes.job(self.repository, int(run_id), name, status, now)
                self.jobs.setdefault(run_id, []).append(job)
            if status == "in_progress":
                job.update(self.shapes.on_a_runner(now), started_at=now)
            elif status == "completed" and job["runner_id"] is None:
                job.update(self.shapes.WITHOUT_A_RUNNER)
            job.update(status=status, conclusion=conclusion, completed_at=now if status == "completed" else None)

    def _job(self, run_id: str, name: str) -> Optional[Dict[str, Any]]:
        return next((each for each in self.jobs.get(run_id, []) if each["name"] == name), None)

    def set_steps(self, run_id: str, name: str, steps: Mapping[str, str]) -> None:
        """Note the steps of a job and how each ended."""
        with self._lock:
            job = next(each for each in self.jobs[run_id] if each["name"] == name)
            job["steps"] = [
                {
                    "name": step,
                    "status": "completed",
                    "conclusion": conclusion,
                    "number": number,
                    "started_at": None if conclusion == "skipped" else job["started_at"],
                    "completed_at": None if conclusion == "skipped" else job["completed_at"],
                }
                for number, (step, conclusion) in enumerate(steps.items(), 1)
            ]

    def run(self, run_id: str) -> Optional[Dict[str, Any]]:
        """GitHub's JSON of a run, for callers to change; None where there is none."""
        return next((run for run in self.runs if str(run["id"]) == run_id), None)

    def comment(self, number: int, login: str, body: str, kind: str = "User") -> Dict[str, Any]:
        """Comment on an issue as somebody, and return the comment."""
        with self._lock:
            return self._comment(number, self.shapes.user(login, kind), body)

    def _open_issue(self, author: Dict[str, Any], title: str, body: str, labels: List[str]) -> Dict[str, Any]:
        number = len(self.issues) + 1
        self.issues[number] = self.shapes.issue(self.repository, number, (title, body), author, labels)
        self.comments[number] = []
        self.labels += [label for label in labels if label not in self.labels]
        return self.issues[number]

    def _comment(self, number: int, author: Dict[str, Any], body: str) -> Dict[str, Any]:
        id = 10_000 + sum(len(found) for found in self.comments.values())
        comment: Dict[str, Any] = self.shapes.issue_comment(self.repository, number, id, body, author)
        comment["created_at"] = comment["updated_at"] = self.shapes.when(datetime.now(timezone.utc))
        self.comments[number].append(comment)
        return comment

    def answer(
        self, method: str, path: str, query: _Query, body: Any = None, authorization: Optional[str] = None
    ) -> _Answer:
        """Return status and body for one request."""
        with self._lock:
            parts = [unquote(part) for part in path.strip("/").split("/")]
            if parts[0] == "storage" and method == "GET" and authorization is None:
                return 200, self._stored(int(parts[1]))  # elsewhere, and without the token
            if parts[0] != "repos" or "/".join(parts[1:3]).lower() != self.repository.lower():
                return 404, shapes.NOT_FOUND
            return self._of_repository(parts[3:], query) if method == "GET" else self._change(method, parts[3:], body)

    def _of_repository(self, rest: List[str], query: _Query) -> _Answer:
        if not rest:
            return 200, self.shapes.repository(self.repository, self.default_branch, self.visibility)
        if rest[0] == "environments" and len(rest) >= 2:
            return self._of_environment(rest[1].lower(), rest[2:], query)
        if rest[0] == "actions":
            return self._of_actions(rest[1:], query)
        if rest[0] == "collaborators" and rest[2:] == ["permission"]:
            permission = {login.lower(): found for login, found in self.people.items()}.get(rest[1].lower())
            if permission is None:
                return 404, shapes.NOT_FOUND
            person = dict(self.shapes.user(rest[1]), role_name=permission)
            return 200, {"permission": permission, "role_name": permission, "user": person}
        if rest[:2] == ["git", "ref"] and "refs/" + "/".join(rest[2:]) in self.references:
            name = "refs/" + "/".join(rest[2:])
            return 200, self.shapes.git_reference(self.repository, name, self.references[name])
        if rest[0] == "issues" and len(rest) >= 2 and rest[1].isdigit() and int(rest[1]) in self.issues:
            if len(rest) == 2:
                return 200, self.issues[int(rest[1])]
            if rest[2:] == ["comments"]:
                return 200, page(self.comments[int(rest[1])], query)
        return 404, shapes.NOT_FOUND

    def _of_actions(self, rest: List[str], query: _Query) -> _Answer:
        if rest[0] == "runs" and len(rest) == 3:
            return self._of_run(rest[1], rest[2], query)
        if rest[0] == "runs" and len(rest) == 2 and self.run(rest[1]) is not None:
            return 200, self.run(rest[1])
        if rest == ["artifacts"]:
            return 200, listed("artifacts", self._artifacts(None, query), query)
        if rest[0] == "artifacts" and len(rest) >= 2 and rest[1].isdigit():
            return self._of_artifact(int(rest[1]), rest[2:])
        if rest[0] == "workflows" and rest[2:] == ["runs"]:
            return 200, listed("workflow_runs", self._runs_of(".github/workflows/" + rest[1], query), query)
        return 404, shapes.NOT_FOUND

    def _of_run(self, run_id: str, name: str, query: _Query) -> _Answer:
        if name == "approvals":
            return 200, self.approvals.get(run_id, [])
        if name == "jobs":
            return 200, listed("jobs", self.jobs.get(run_id, []), query)
        if name == "artifacts":
            return 200, listed("artifacts", self._artifacts(run_id, query), query)
        return 404, shapes.NOT_FOUND

    def _runs_of(self, path: str, query: _Query) -> List[Dict[str, Any]]:
        """The runs of a workflow that the query asks for."""
        event, since = query.get("event", [None])[0], query.get("created", [""])[0]
        runs = [run for run in self.runs if run["path"] == path and event in (None, run["event"])]
        if since.startswith("<"):
            return [run for run in runs if run["created_at"] < since[1:]]
        return [run for run in runs if ">=" + run["created_at"] >= since]

    def _artifacts(self, run_id: Optional[str], query: _Query) -> List[Dict[str, Any]]:
        """The artifacts of a run, or of all."""
        wanted = query.get("name", [None])[0]
        return [
            self._artifact(number)
            for number, (run, name, _) in self.archives.items()
            if run_id in (None, run) and wanted in (None, name)
        ]

    def _artifact(self, number: int) -> Dict[str, Any]:
        run_id, name, archive = self.archives[number]
        answer = self.shapes.artifact(self.repository, name, run_id, self._made[number])
        return dict(answer, id=number, digest="sha256:" + hashlib.sha256(archive).hexdigest())

    def _of_artifact(self, number: int, rest: List[str]) -> _Answer:
        if number in self.archives and rest in ([], ["zip"]):
            return (302, f"{self.url}/storage/{number}") if rest else (200, self._artifact(number))
        return 404, shapes.NOT_FOUND

    def _stored(self, number: int) -> bytes:
        return self.archives[number][2]

    def _of_environment(self, name: str, rest: List[str], query: _Query) -> _Answer:
        if name in self.environments and not rest:
            return 200, self.environments[name]
        if name in self.environments and rest == ["deployment-branch-policies"]:
            policies = [self.shapes.branch_policy(pattern) for pattern in self.branch_policies.get(name, [])]
            return 200, listed("branch_policies", policies, query)
        return 404, shapes.NOT_FOUND

    def _change(self, method: str, rest: List[str], body: Any) -> _Answer:
        """Carry out what jobs do: their token writes as github-actions[bot]."""
        author = self.shapes.user("github-actions[bot]", "Bot")
        if (method, rest) == ("POST", ["issues"]):
            return 201, self._open_issue(author, body["title"], body["body"], body.get("labels", []))
        if (method, rest) == ("POST", ["git", "refs"]):
            if body["ref"] in self.references:
                return 422, {"message": "Reference already exists", "documentation_url": "", "status": "422"}
            self.references[body["ref"]] = body["sha"]
            return 201, self.shapes.git_reference(self.repository, body["ref"], body["sha"])
        if rest[:1] == ["issues"] and len(rest) >= 2 and rest[1].isdigit() and int(rest[1]) in self.issues:
            if method == "POST" and rest[2:] == ["comments"]:
                return 201, self._comment(int(rest[1]), author, body["body"])
            if method == "PATCH" and len(rest) == 2:
                issue = self.issues[int(rest[1])]
                issue.update({key: body[key] for key in ("title", "body", "state", "state_reason") if key in body})
                return 200, issue
        return 404, shapes.NOT_FOUND

    def __enter__(self) -> LoopbackGitHub:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="loopback-github", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        problem: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None


def page(entries: List[Dict[str, Any]], query: _Query) -> List[Dict[str, Any]]:
    """Return the part of a list that a request asks for."""
    size = int(query.get("per_page", ["30"])[0])
    first = (int(query.get("page", ["1"])[0]) - 1) * size
    return entries[first : first + size]


def listed(key: str, entries: List[Dict[str, Any]], query: _Query) -> Dict[str, Any]:
    """Return such a part as most of GitHub's lists are given."""
    return {"total_count": len(entries), key: page(entries, query)}


def _handler(github: LoopbackGitHub) -> Type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one write: the second of two waits 40 ms for the client's delayed ACK

        def do_GET(self) -> None:
            """Answer one request."""
            target = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length) if length else b""
            try:
                body = json.loads(content) if content else None
            except ValueError:
                body = content
            token = self.headers.get("Authorization")
            self._send(*github.answer(self.command, target.path, parse_qs(target.query), body, token))

        do_PUT = do_POST = do_PATCH = do_DELETE = do_GET

        def _send(self, status: int, body: Any) -> None:
            data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode("utf-8")
            self.send_response(status)
            if status == 302:
                self.send_header("Location", body)
                data = b""
            if data:
                kind = "application/zip" if isinstance(body, bytes) else "application/json; charset=utf-8"
                self.send_header("Content-Type", kind)
            if status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Stay silent: a person at the terminal reads the run, not the requests."""

    return Handler
