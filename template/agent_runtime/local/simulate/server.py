"""A small GitHub on the loopback interface: the endpoints that gate, setup and doctor ask, with a state of its own.

The shapes are in `shapes`; the state's attributes are for callers to set, before or while it serves.
"""

from __future__ import annotations

import hashlib
import json
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Tuple, Type
from urllib.parse import parse_qs, unquote, urlsplit

from agent_runtime.local.simulate import shapes
from agent_runtime.local.simulate.shapes import NOT_FOUND, user

# How long closing waits for the server to notice.
_POLL_SECONDS = 0.02
_MAX_REVIEWERS = 6
_MAX_PAYLOAD_KEYS = 10
_MAX_PAYLOAD_BYTES = 64 * 1024
_MAX_WAIT_MINUTES = 43_200
_MAX_ISSUE_CHARACTERS = 65_536
_NO_RIGHTS = {"message": "Must have admin rights to Repository.", "documentation_url": "", "status": "403"}
_NOT_GRANTED = {"message": "Resource not accessible by integration", "documentation_url": "", "status": "403"}
_BAD_CREDENTIALS = {"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest", "status": "401"}

_Answer = Tuple[int, Any]
_Query = Mapping[str, List[str]]


class LoopbackGitHub:
    """GitHub as far as one repository's gate is concerned; a context manager that serves while it is open.

    Arguments:
        repository: `owner/name`.
        default_branch: its default branch.

    Attributes to set:
        told_name: what the repository's own answer calls it.
        environments, branch_policies: GitHub's JSON and the patterns (`tag:<pattern>` for tags), by name.
        people: permission on the repository (`none`, `read`, `write`, `admin`) by login.
        teams: whether the owner's team can read the repository, by slug.
        retention: how long artifacts are kept.
        visibility, owner_type, plan: of the repository and its owner; a plan of None is not told.
        administrator: whether the token's user may change settings.
        token: the one that is accepted; None accepts every request.
        grants: what the tokens of jobs may do with issues, contents and actions, by token; others may do everything.
        issues, comments: GitHub's JSON, by number of the issue.
        archives: zip files of artifacts with the id of their run and their name, by id of the artifact.
        references: commits by full name of the git reference, besides those of branches and tags.
        runs, jobs: GitHub's JSON, newest run first; jobs by the run's id.
        dispatches: bodies of the events that came from outside.
        requests: method and path of everything that was asked, in order.
    """

    def __init__(self, repository: str, default_branch: str = "main") -> None:
        self.repository = repository
        self.told_name = repository
        self.default_branch = default_branch
        self.environments: Dict[str, Dict[str, Any]] = {}
        self.branch_policies: Dict[str, List[str]] = {}
        self.approvals: Dict[str, List[Dict[str, Any]]] = {}
        self.artifacts: Dict[str, List[Tuple[str, datetime]]] = {}
        self.retention = timedelta(days=90)
        self.waiting: Dict[str, List[str]] = {}
        self.dispatches: List[Dict[str, Any]] = []
        self.runs: List[Dict[str, Any]] = []
        self.jobs: Dict[str, List[Dict[str, Any]]] = {}
        self.visibility = "public"
        self.owner_type = "Organization"
        self.plan: Optional[str] = None
        self.administrator = True
        self.token: Optional[str] = None
        self.people: Dict[str, str] = {}
        self.teams: Dict[str, bool] = {}
        self.secrets: List[str] = []
        self.organization_secrets: List[str] = []
        self.environment_secrets: Dict[str, List[str]] = {}
        self.variables: Dict[str, str] = {}
        self.organization_variables: Dict[str, str] = {}
        self.environment_variables: Dict[str, Dict[str, str]] = {}
        self.token_permissions: Dict[str, Any] = {
            "default_workflow_permissions": "write",
            "can_approve_pull_request_reviews": True,
        }
        self.actions_permissions: Dict[str, Any] = {
            "enabled": True,
            "allowed_actions": "all",
            "sha_pinning_required": False,
        }
        self.rules: List[Dict[str, Any]] = []
        self.bypass_actors: List[Dict[str, Any]] = []
        self.branch_protection: Optional[Dict[str, Any]] = None
        self.codeowners_errors: Optional[List[Dict[str, Any]]] = None
        self.workflows: Dict[str, str] = {}
        self.grants: Dict[str, Mapping[str, str]] = {}
        self.issues: Dict[int, Dict[str, Any]] = {}
        self.comments: Dict[int, List[Dict[str, Any]]] = {}
        self.labels: List[str] = []
        self.has_issues = True
        self.archives: Dict[int, Tuple[str, str, bytes]] = {}
        self.references: Dict[str, str] = {}
        self.requests: List[Tuple[str, str]] = []
        self._archives: Dict[int, bytes] = {}
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
            shapes.environment(self.repository, name),
            can_admins_bypass=False,
            protection_rules=shapes.protection_rules(
                [{"type": "User", "reviewer": user(login)} for login in reviewers],
                prevent_self_review=True,
                wait_timer=0,
                branches=True,
            ),
            deployment_branch_policy={"protected_branches": False, "custom_branch_policies": True},
        )
        self.branch_policies[name] = [self.default_branch]

    def create_open(self, name: str) -> None:
        """Create an environment as GitHub does when a workflow names one that is not there: without any protection."""
        self.environments[name] = shapes.environment(self.repository, name)
        self.branch_policies[name] = []

    def review(self, run_id: str, login: str, state: str, comment: str = "", kind: str = "User") -> None:
        """Add an approval record: `state` is `approved` or `rejected`."""
        summary = shapes.environment_summary(self.environments["agent-approval"])
        with self._lock:
            self.approvals.setdefault(run_id, []).append(
                {"state": state, "comment": comment, "environments": [summary], "user": user(login, kind)}
            )

    def add_artifact(self, run_id: str, name: str, created: Optional[datetime] = None, *, archive: bytes = b"") -> None:
        """Note that a run uploaded an artifact, by default now."""
        made = created or datetime.now(timezone.utc)
        with self._lock:
            self.artifacts.setdefault(run_id, []).append((name, made))
            self._archives[shapes.artifact(self.repository, name, run_id, made)["id"]] = archive

    def add_job(
        self,
        run_id: str,
        name: str,
        status: str = "completed",
        conclusion: Optional[str] = "success",
        started: Optional[datetime] = None,
    ) -> None:
        """Note a job of a run, which started at `started`, by default now; the newest of a name replaces the others."""
        with self._lock:
            self.jobs[run_id] = [job for job in self.jobs.get(run_id, []) if job["name"] != name]
        self.set_job(run_id, name, status, shapes.when(started or datetime.now(timezone.utc)), conclusion)

    def add_run(self, run_id: str, *, title: str, event: str, actor: str, file: str, created: str) -> Dict[str, Any]:
        """Note that a run has begun, and return its JSON for the caller to change."""
        with self._lock:
            run = shapes.workflow_run(
                self.repository,
                int(run_id),
                run_number=len(self.runs) + 1,
                title=title,
                event=event,
                file=file,
                actor=actor,
                created=created,
            )
            self.runs.insert(0, run)
            return run

    def set_job(self, run_id: str, name: str, status: str, now: str, conclusion: Optional[str] = None) -> None:
        """Note where a job of a run stands; one that waits has not started, one that is completed has ended."""
        with self._lock:
            jobs = self.jobs.setdefault(run_id, [])
            job = next((each for each in jobs if each["name"] == name), None)
            if job is None:
                job = shapes.job(self.repository, int(run_id), name, status, now)
                jobs.append(job)
            if status == "in_progress":
                job.update(shapes.on_a_runner(now), started_at=now)
            elif status == "completed" and job["runner_id"] is None:
                job.update(shapes.WITHOUT_A_RUNNER)
            job.update(status=status, conclusion=conclusion, completed_at=now if status == "completed" else None)

    def run(self, run_id: str) -> Optional[Dict[str, Any]]:
        """GitHub's JSON of a run, for callers to change; None where there is none."""
        return next((run for run in self.runs if str(run["id"]) == run_id), None)

    def note_attempt(self, run_id: str, attempt: int, *, branch: str, sha: str, triggering_actor: str) -> None:
        """Note what the newest attempt of a run that was added is made of."""
        with self._lock:
            run = self.run(run_id)
            if run is not None:
                run.update(run_attempt=attempt, head_branch=branch, head_sha=sha)
                run["triggering_actor"] = user(triggering_actor)

    def keep_archive(self, number: int, run_id: str, name: str, archive: bytes) -> None:
        """Note the archive of an artifact."""
        with self._lock:
            self.archives[number] = (run_id, name, archive)

    def open_issue(self, login: str, title: str, body: str, labels: List[str], kind: str = "User") -> Dict[str, Any]:
        """Open an issue as somebody, and return it."""
        with self._lock:
            return self._open_issue(user(login, kind), title, body, labels)

    def comment(self, number: int, login: str, body: str, kind: str = "User") -> Dict[str, Any]:
        """Comment on an issue as somebody, and return the comment."""
        with self._lock:
            return self._comment(number, user(login, kind), body)

    def _open_issue(self, author: Dict[str, Any], title: str, body: str, labels: List[str]) -> Dict[str, Any]:
        number = len(self.issues) + 1
        self.issues[number] = shapes.issue(self.repository, number, (title, body), author, labels)
        self.comments[number] = []
        self.labels += [label for label in labels if label not in self.labels]
        return self.issues[number]

    def _comment(self, number: int, author: Dict[str, Any], body: str) -> Dict[str, Any]:
        id = 10_000 + sum(len(found) for found in self.comments.values())
        comment = shapes.issue_comment(self.repository, number, id, body, author)
        comment["created_at"] = comment["updated_at"] = shapes.when(datetime.now(timezone.utc))
        self.comments[number].append(comment)
        return comment

    def answer(
        self, method: str, path: str, query: _Query, body: Any = None, authorization: Optional[str] = None
    ) -> _Answer:
        """Return status and body for one request."""
        with self._lock:
            self.requests.append((method, path))
            parts = [unquote(part) for part in path.strip("/").split("/")]
            if parts[0] == "storage" and method == "GET" and authorization is None:
                return 200, self._archives[int(parts[1])]  # elsewhere, and without the token
            if self.token is not None and authorization != "Bearer " + self.token:
                return 401, _BAD_CREDENTIALS
            if not self._granted(method, path, authorization):
                return 403, _NOT_GRANTED
            if parts[0] == "repos" and "/".join(parts[1:3]).lower() == self.repository.lower():
                if method == "GET":
                    return self._of_repository(parts[3:], query)
                return self._change(method, parts[3:], body)
            return self._of_accounts(parts) if method == "GET" else (404, NOT_FOUND)

    def _granted(self, method: str, path: str, authorization: Optional[str]) -> bool:
        """Whether the permissions of a job's token cover a request about issues, git references, runs or artifacts."""
        granted = self.grants.get((authorization or "").partition(" ")[2])
        parts = path.strip("/").split("/")[3:]
        scopes = {"issues": "issues", "labels": "issues", "git": "contents", "actions": "actions"}
        scope = scopes.get(parts[0]) if parts else None
        if granted is None or scope is None:
            return True
        return granted.get(scope) in (("read", "write") if method == "GET" else ("write",))

    @property
    def _owner(self) -> str:
        return self.repository.partition("/")[0]

    def _of_accounts(self, parts: List[str]) -> _Answer:
        owner = self._owner.lower()
        known = {login.lower(): login for login in self.people}
        is_organization = self.owner_type == "Organization"
        if parts == ["user"]:
            login = "administrator" if is_organization else self._owner
            return 200, shapes.private_user(login, None if is_organization else self.plan)
        if parts[0] == "users" and len(parts) == 2 and parts[1].lower() in known:
            return 200, shapes.public_user(known[parts[1].lower()])
        if parts[0] == "users" and len(parts) == 2 and parts[1].lower() == owner:
            return 200, shapes.public_user(self._owner, self.owner_type)
        if parts[0] != "orgs" or not is_organization or parts[1:2] != [self._owner]:
            return 404, NOT_FOUND
        if len(parts) == 2:
            return 200, shapes.organization(self._owner, self.plan)
        if parts[2] == "teams" and len(parts) >= 4 and parts[3] in self.teams:
            if len(parts) == 4:
                return 200, shapes.team_full(self._owner, parts[3])
            if parts[4] == "repos" and "/".join(parts[5:]).lower() == self.repository.lower() and self.teams[parts[3]]:
                return 204, None
        return 404, NOT_FOUND

    def _repository(self) -> Dict[str, Any]:
        answer = shapes.repository(
            self.told_name,
            self.default_branch,
            self.visibility,
            self.owner_type,
            administrator=self.administrator,
        )
        return dict(answer, has_issues=self.has_issues)

    def _of_repository(self, rest: List[str], query: _Query) -> _Answer:
        if not rest:
            return 200, self._repository()
        if rest[0] == "environments" and len(rest) >= 2:
            return self._of_environment(rest[1].lower(), rest[2:], query)
        if rest[0] == "actions":
            return self._of_actions(rest[1:], query)
        if rest[0] == "collaborators" and rest[2:] == ["permission"]:
            permission = {login.lower(): found for login, found in self.people.items()}.get(rest[1].lower())
            if permission is None:
                return 404, NOT_FOUND
            person = dict(user(rest[1]), role_name=permission)
            return 200, {"permission": permission, "role_name": permission, "user": person}
        if rest[0] in ("issues", "labels") and len(rest) >= 2:
            return self._of_issues(rest, query)
        if rest == ["rules", "branches", self.default_branch]:
            return 200, _page(self.rules, query)
        if rest[0] == "rulesets" and any(rule.get("ruleset_id") == int(rest[1]) for rule in self.rules):
            return 200, {
                "id": int(rest[1]),
                "name": "default branch",
                "target": "branch",
                "source_type": "Repository",
                "source": self.repository,
                "enforcement": "active",
                "bypass_actors": self.bypass_actors,
            }
        if rest == ["branches", self.default_branch, "protection"]:
            if not self.administrator:
                return 403, _NO_RIGHTS
            if self.branch_protection is None:
                return 404, dict(NOT_FOUND, message="Branch not protected")
            return 200, self.branch_protection
        if rest == ["codeowners", "errors"] and self.codeowners_errors is not None:
            return 200, {"errors": self.codeowners_errors}
        return 404, NOT_FOUND

    def _of_issues(self, rest: List[str], query: _Query) -> _Answer:
        if rest[0] == "labels":
            return (200, shapes.label(self.repository, rest[1])) if rest[1] in self.labels else (404, NOT_FOUND)
        number = int(rest[1]) if rest[1].isdigit() else 0
        if number in self.issues and len(rest) == 2:
            return 200, self.issues[number]
        if number in self.issues and rest[2:] == ["comments"]:
            return 200, _page(self.comments[number], query)
        return 404, NOT_FOUND

    def _of_actions(self, rest: List[str], query: _Query) -> _Answer:
        if rest[0] == "runs" and len(rest) == 3:
            return self._of_run(rest[1], rest[2], query)
        if rest[0] == "runs" and len(rest) == 2 and self.run(rest[1]) is not None:
            return 200, self.run(rest[1])
        if rest[0] == "artifacts" and len(rest) >= 2 and rest[1].isdigit() and int(rest[1]) in self.archives:
            return self._of_archive(int(rest[1]), rest[2:])
        if rest == ["artifacts"]:
            return 200, _list("artifacts", self._artifacts([], query), query)
        if rest[0] == "artifacts" and rest[2:] == ["zip"] and int(rest[1]) in self._archives:
            return 302, f"{self.url}/storage/{rest[1]}"
        if rest[0] == "workflows" and rest[2:] == ["runs"]:
            return 200, _list("workflow_runs", self._runs_of(".github/workflows/" + rest[1], query), query)
        if rest[0] == "workflows" and len(rest) == 2 and rest[1] in self.workflows:
            return 200, shapes.workflow(self.repository, rest[1], self.workflows[rest[1]])
        if not self.administrator:
            return 403, _NO_RIGHTS
        if rest == ["permissions"]:
            return 200, self.actions_permissions
        if rest == ["permissions", "workflow"]:
            return 200, self.token_permissions
        secrets = {"secrets": self.secrets, "organization-secrets": self.organization_secrets}
        if rest[0] in secrets and len(rest) == 1:
            return 200, _list("secrets", [shapes.secret(name) for name in secrets[rest[0]]], query)
        variables = {"variables": self.variables, "organization-variables": self.organization_variables}
        if rest[0] in variables and len(rest) == 1:
            return 200, _list("variables", [shapes.variable(*pair) for pair in variables[rest[0]].items()], query)
        return 404, NOT_FOUND

    def _runs_of(self, path: str, query: _Query) -> List[Dict[str, Any]]:
        """The runs of a workflow that the query asks for."""
        since = query.get("created", [""])[0]
        wanted = {key: query[key][0] for key in ("event", "status") if key in query}
        return [
            run
            for run in self.runs
            if run["path"] == path
            and ">=" + run["created_at"] >= since
            and all(
                value in (run[key], run["conclusion"] if key == "status" else None) for key, value in wanted.items()
            )
        ]

    def _of_run(self, run_id: str, name: str, query: _Query) -> _Answer:
        if name == "approvals":
            return 200, self.approvals.get(run_id, [])
        if name == "pending_deployments":
            return 200, [self._waiting_for(environment) for environment in self.waiting.get(run_id, [])]
        if name == "jobs":
            return 200, _list("jobs", self.jobs.get(run_id, []), query)
        if name == "artifacts":
            return 200, _list("artifacts", self._artifacts([run_id], query), query)
        return 404, NOT_FOUND

    def _artifacts(self, run_ids: List[str], query: _Query) -> List[Dict[str, Any]]:
        wanted = query.get("name", [None])[0]
        found = [
            (run_id, name, created)
            for run_id in run_ids or self.artifacts
            for name, created in self.artifacts.get(run_id, [])
            if wanted in (None, name)
        ]
        return [
            shapes.artifact(self.repository, name, run_id, created, self.retention) for run_id, name, created in found
        ]

    def _waiting_for(self, name: str) -> Dict[str, Any]:
        settings = self.environments[name]
        rules = [rule for rule in settings["protection_rules"] if rule["type"] == "required_reviewers"]
        summary = shapes.environment_summary(settings)
        return {
            "environment": {key: summary[key] for key in ("id", "node_id", "name", "url", "html_url")},
            "wait_timer": 0,
            "wait_timer_started_at": None,
            "current_user_can_approve": False,
            "reviewers": [reviewer for rule in rules for reviewer in rule["reviewers"]],
        }

    def _of_environment(self, name: str, rest: List[str], query: _Query) -> _Answer:
        if name not in self.environments:
            return 404, NOT_FOUND
        if not rest:
            return 200, self.environments[name]
        if rest == ["deployment-branch-policies"]:
            policies = [shapes.branch_policy(pattern) for pattern in self.branch_policies.get(name, [])]
            return 200, _list("branch_policies", policies, query)
        if rest == ["secrets"]:
            return 200, _list(
                "secrets", [shapes.secret(each) for each in self.environment_secrets.get(name, [])], query
            )
        if rest == ["variables"]:
            pairs = self.environment_variables.get(name, {}).items()
            return 200, _list("variables", [shapes.variable(*pair) for pair in pairs], query)
        return 404, NOT_FOUND

    def _of_archive(self, number: int, rest: List[str]) -> _Answer:
        run_id, name, archive = self.archives[number]
        if rest == ["zip"]:
            self._archives[number] = archive
            return 302, f"{self.url}/storage/{number}"
        answer = shapes.artifact(self.repository, name, run_id, datetime.now(timezone.utc), self.retention)
        return 200, dict(answer, id=number, digest="sha256:" + hashlib.sha256(archive).hexdigest())

    def _change_issues(self, method: str, rest: List[str], body: Any) -> Optional[_Answer]:
        """Carry out what jobs do: their token writes as github-actions[bot].  None for anything else."""
        author = user("github-actions[bot]", "Bot")
        if (method, rest) == ("POST", ["issues"]):
            if len(body["body"]) > _MAX_ISSUE_CHARACTERS:
                return _invalid("body is too long (maximum is 65536 characters)")
            return 201, self._open_issue(author, body["title"], body["body"], body.get("labels", []))
        if (method, rest) == ("POST", ["labels"]):
            if body["name"] in self.labels:
                return _invalid("already_exists")
            self.labels.append(body["name"])
            return 201, shapes.label(self.repository, body["name"])
        if (method, rest) == ("POST", ["git", "refs"]):
            if body["ref"] in self.references:
                return 422, {"message": "Reference already exists", "documentation_url": "", "status": "422"}
            self.references[body["ref"]] = body["sha"]
            return 201, shapes.git_reference(self.repository, body["ref"], body["sha"])
        if rest[0] == "issues" and len(rest) >= 2 and rest[1].isdigit() and int(rest[1]) in self.issues:
            if method == "POST" and rest[2:] == ["comments"]:
                return 201, self._comment(int(rest[1]), author, body["body"])
            if method == "PATCH" and len(rest) == 2:
                issue = self.issues[int(rest[1])]
                issue.update({key: body[key] for key in ("title", "body", "state", "state_reason") if key in body})
                return 200, issue
        return None

    def _change(self, method: str, rest: List[str], body: Any) -> _Answer:
        done = self._change_issues(method, rest, body) if rest else None
        if done is not None:
            return done
        if method == "POST" and rest == ["dispatches"]:
            return self._dispatch(body)
        if len(rest) < 2 or rest[0] != "environments":
            return 404, NOT_FOUND
        if not self.administrator:
            return 403, _NO_RIGHTS
        name = rest[1].lower()
        if method == "PUT" and len(rest) == 2:
            return self._put_environment(name, rest[1], body)
        if name not in self.environments or rest[2:3] != ["deployment-branch-policies"]:
            return 404, NOT_FOUND
        patterns = self.branch_policies.setdefault(name, [])
        if method == "POST" and len(rest) == 3:
            branches = self.environments[name]["deployment_branch_policy"]
            if not branches or not branches["custom_branch_policies"]:
                return 404, NOT_FOUND
            kind = body.get("type", "branch")
            pattern = body["name"] if kind == "branch" else "{}:{}".format(kind, body["name"])
            if pattern in patterns:
                return 303, None
            patterns.append(pattern)
            return 200, shapes.branch_policy(pattern)
        if method == "DELETE" and len(rest) == 4:
            for pattern in patterns:
                if str(shapes.branch_policy(pattern)["id"]) == rest[3]:
                    patterns.remove(pattern)
                    return 204, None
        return 404, NOT_FOUND

    def _dispatch(self, body: Any) -> _Answer:
        """Take an event from outside; starting what listens to it is the caller's business."""
        payload = body.get("client_payload") or {}
        if len(payload) > _MAX_PAYLOAD_KEYS or len(json.dumps(payload)) >= _MAX_PAYLOAD_BYTES:
            return _invalid("No more than 10 properties are allowed; and less than 64 KB")
        self.dispatches.append(body)
        return 204, None

    def _put_environment(self, name: str, given_name: str, body: Any) -> _Answer:
        """Replace an environment's settings: what the request leaves out is reset, as GitHub does."""
        body = body if isinstance(body, dict) else {}
        if self.visibility == "private" and self.plan == "free":
            return 404, NOT_FOUND
        reviewers = body.get("reviewers") or []
        minutes = body.get("wait_timer") or 0
        if self.visibility == "private" and self.plan in ("pro", "team") and ({"reviewers", "wait_timer"} & set(body)):
            return _invalid(
                "Failed to create the environment protection rule. Please ensure the billing plan supports it"
            )
        if len(reviewers) > _MAX_REVIEWERS or not 0 <= minutes <= _MAX_WAIT_MINUTES:
            return _invalid("too many reviewers, or a wait timer out of range")
        branches = body.get("deployment_branch_policy")
        if branches and branches["protected_branches"] == branches["custom_branch_policies"]:
            return _invalid("protected_branches and custom_branch_policies cannot have the same value")
        known = {("User", shapes.number(login)): user(login) for login in self.people}
        known.update(
            {("Team", shapes.team(self._owner, slug)["id"]): shapes.team(self._owner, slug) for slug in self.teams}
        )
        found = [(each.get("type"), each.get("id")) for each in reviewers]
        if not set(found) <= set(known):
            return _invalid("Could not find all reviewers")
        settings = self.environments.get(name) or shapes.environment(self.repository, given_name)
        settings.update(
            can_admins_bypass=body.get("can_admins_bypass", True) is not False,
            deployment_branch_policy=branches,
            protection_rules=shapes.protection_rules(
                [{"type": key[0], "reviewer": known[key]} for key in found],
                prevent_self_review=body.get("prevent_self_review") is True,
                wait_timer=minutes,
                branches=bool(branches),
            ),
        )
        self.environments[name] = settings
        if not branches or not branches["custom_branch_policies"]:
            self.branch_policies[name] = []
        return 200, settings

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


def _invalid(reason: str) -> _Answer:
    return 422, {"message": "Validation Failed", "errors": [reason], "documentation_url": "", "status": "422"}


def _page(entries: List[Dict[str, Any]], query: _Query) -> List[Dict[str, Any]]:
    size = int(query.get("per_page", ["30"])[0])
    first = (int(query.get("page", ["1"])[0]) - 1) * size
    return entries[first : first + size]


def _list(key: str, entries: List[Dict[str, Any]], query: _Query) -> Dict[str, Any]:
    return {"total_count": len(entries), key: _page(entries, query)}


def _handler(github: LoopbackGitHub) -> Type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer one request."""
            target = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length) if length else b""
            try:
                body = content if target.path.startswith("/uploads/") else json.loads(content) if content else None
            except ValueError:
                self._send(400, {"message": "Problems parsing JSON", "documentation_url": "", "status": "400"})
                return
            self._send(
                *github.answer(
                    self.command, target.path, parse_qs(target.query), body, self.headers.get("Authorization")
                )
            )

        do_PUT = do_POST = do_PATCH = do_DELETE = do_GET

        def _send(self, status: int, body: Any) -> None:
            data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode("utf-8")
            self.send_response(status)
            if status == 302:
                self.send_header("Location", body)
                data = b""
            if data:
                self.send_header("Content-Type", "application/json; charset=utf-8")
            if status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Stay silent: a person at the terminal reads the run, not the requests."""

    return Handler
