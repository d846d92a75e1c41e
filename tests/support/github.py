"""GitHub on the loopback interface, whole: what simulate needs of it, and what only tests look at.

Beyond the template's own, it has what setup and doctor ask and change, tokens with permissions, the artifact service
that the runner's token opens (the protocol of actions/toolkit, packages/artifact), the steps of jobs, and identity
tokens.  Its shapes are complete; tests hold them to GitHub's own description.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import unquote

from agent_runtime.local.simulate.server import LoopbackGitHub, listed, page
from support import shapes
from support.shapes import NOT_FOUND, user

_MAX_REVIEWERS = 6
_MAX_PAYLOAD_KEYS = 10
_MAX_PAYLOAD_BYTES = 64 * 1024
_MAX_WAIT_MINUTES = 43_200
_MAX_ISSUE_CHARACTERS = 65_536
_NO_RIGHTS = {"message": "Must have admin rights to Repository.", "documentation_url": "", "status": "403"}
_NOT_GRANTED = {"message": "Resource not accessible by integration", "documentation_url": "", "status": "403"}
_TOO_MANY = {"message": "API rate limit exceeded for installation.", "documentation_url": "", "status": "403"}
_NO_JSON = {"message": "Problems parsing JSON", "documentation_url": "", "status": "400"}
_BAD_CREDENTIALS = {"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest", "status": "401"}
# By the first part of a path below the repository: the permission that a job's token needs for it.
_SCOPES = {
    "issues": "issues",
    "labels": "issues",
    "git": "contents",
    "commits": "contents",
    "actions": "actions",
    "environments": "actions",
    "pulls": "pull-requests",
}
_SERVICE = "github.actions.results.api.v1.ArtifactService"
_FORBIDDEN = {"code": "permission_denied", "msg": "the token is not one of this run"}

_Answer = tuple[int, Any]
_Query = Mapping[str, list[str]]


class Kept(Protocol):
    """One artifact of a run; `digest` is the SHA-256 of its archive."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def archive(self) -> bytes: ...
    @property
    def digest(self) -> str: ...
    @property
    def created(self) -> datetime: ...


class Store(Protocol):
    """The artifacts of a run."""

    def latest(self) -> Sequence[Kept]: ...
    def every(self) -> Sequence[Kept]: ...
    def add(self, name: str, attempt: int, archive: bytes) -> Kept: ...
    def delete(self, id: int) -> None: ...


class FullGitHub(LoopbackGitHub):
    """GitHub for tests; a context manager that serves while it is open.

    Attributes to set, beside those of `LoopbackGitHub`:
        response_full_name: what the repository's own answer calls it.
        apps: the GitHub Apps that there are, as `name[bot]`.
        app_keys: the private keys of Apps that are installed here, by client id.
        pulls: the pull requests, the newest first.
        teams: whether the owner's team can read the repository, by slug.
        members: how many people each of the owner's teams has.
        retention: how long artifacts are kept.
        owner_type: of the repository's owner; its plan is not reported where it is None.
        administrator: whether the token's user may change settings.
        token: the one that is accepted; None accepts every request.
        grants: the permissions of the tokens of jobs, by token; others may do everything.
        stores: the artifacts of runs, by the run's id.
        dispatches: bodies of the events that came from outside.
        deployments: run and environment of every deployment that GitHub noted, in order.
        identities: the audiences for which jobs asked for an identity token, in order.
        changed: who last changed a file on the default branch, and when, by its path.
        lag: how often the list of a run's approvals still lacks all of them.
        policies: the Actions policies, GitHub's JSON; None where GitHub offers none.
        budget: how many requests GitHub answers within the hour; None for any number.
        requests: method and path of everything that was asked, in order.
    """

    shapes = shapes

    def __init__(self, repository: str, default_branch: str = "main") -> None:
        super().__init__(repository, default_branch)
        self.response_full_name = repository
        self.retention = timedelta(days=90)
        self.dispatches: list[dict[str, Any]] = []
        self.owner_type = "Organization"
        self.administrator = True
        self.token: str | None = None
        self.apps: list[str] = []
        self.app_keys: dict[str, str] = {}
        self.pulls: list[dict[str, Any]] = []
        self.teams: dict[str, bool] = {}
        self.members = 2
        self.secrets: list[str] = []
        self.organization_secrets: list[str] = []
        self.environment_secrets: dict[str, list[str]] = {}
        self.variables: dict[str, str] = {}
        self.organization_variables: dict[str, str] = {}
        self.environment_variables: dict[str, dict[str, str]] = {}
        self.token_permissions: dict[str, Any] = {
            "default_workflow_permissions": "write",
            "can_approve_pull_request_reviews": True,
        }
        self.actions_permissions: dict[str, Any] = {
            "enabled": True,
            "allowed_actions": "all",
            "sha_pinning_required": False,
        }
        self.rules: list[dict[str, Any]] = []
        self.bypass_actors: list[dict[str, Any]] = []
        self.branch_protection: dict[str, Any] | None = None
        self.codeowners_errors: list[dict[str, Any]] | None = None
        self.workflows: dict[str, str] = {}
        self.grants: dict[str, Mapping[str, str]] = {}
        self.has_issues = True
        self.changed: dict[str, tuple[str, str]] = {}
        self.lag = 0
        self.policies: list[dict[str, Any]] | None = None
        self.budget: int | None = None
        self.requests: list[tuple[str, str]] = []
        self.stores: dict[str, Store] = {}
        self.deployments: list[tuple[str, str]] = []
        self.identities: list[str] = []
        self.claims: dict[str, Mapping[str, str]] = {}
        self._runners: dict[str, tuple[str, int]] = {}
        self._uploads: dict[str, bytes] = {}

    def __enter__(self) -> FullGitHub:
        super().__enter__()
        return self

    # ------------------------------------------------------------------------------------------- what an engine notes

    def keep_artifacts(self, run_id: str, artifacts: Store) -> None:
        """Answer for the artifacts of a run from now on."""
        self.stores[run_id] = artifacts

    def let_in_runner(self, run_id: str, attempt: int) -> str:
        """Return a token that opens the artifact service for a job of this run."""
        token = "runner-" + secrets.token_hex(24)
        self._runners[token] = (run_id, attempt)
        return token

    def token_of_app(self, client_id: str, key: str, permissions: Mapping[str, str]) -> str | None:
        """Return a token with these permissions for an App that is installed here; None for another key."""
        if not client_id or self.app_keys.get(client_id) != key:
            return None
        token = "ghs_app" + secrets.token_hex(18)
        self.grants[token] = permissions
        return token

    def label_job(self, run_id: str, job: str, labels: Sequence[str]) -> None:
        """Note which runner a job asked for."""
        with self._lock:
            self._own(run_id, job)["labels"] = list(labels)

    def list_steps(self, run_id: str, job: str, names: list[str]) -> None:
        """Note the steps that a job will have, behind GitHub's own first one."""
        waiting = {"status": "queued", "conclusion": None, "started_at": None, "completed_at": None}
        with self._lock:
            steps = self._own(run_id, job)["steps"]
            steps += [{"name": name, "number": 2 + place, **waiting} for place, name in enumerate(names)]

    def set_step(self, run_id: str, job: str, place: int, *, status: str, conclusion: str | None, now: str) -> None:
        """Note where a step stands; `place` counts the job's own from 0."""
        with self._lock:
            step = self._own(run_id, job)["steps"][place + 1]
            step.update(status=status, conclusion=conclusion, started_at=step["started_at"] or now)
            step["completed_at"] = now if status == "completed" else None

    def set_job(self, run_id: str, name: str, status: str, now: str, conclusion: str | None = None) -> None:
        """Note where a job stands, in the newest attempt of its run."""
        super().set_job(run_id, name, status, now, conclusion)
        with self._lock:
            self._own(run_id, name)["run_attempt"] = self._attempt(run_id)

    def _attempt(self, run_id: str) -> int:
        run = self.run(run_id)
        return run["run_attempt"] if run else 1

    def _job(self, run_id: str, name: str) -> dict[str, Any] | None:
        attempt = self._attempt(run_id)
        jobs = reversed(self.jobs.get(run_id, []))
        return next((each for each in jobs if each["name"] == name and each["run_attempt"] == attempt), None)

    def _own(self, run_id: str, name: str) -> dict[str, Any]:
        return next(each for each in reversed(self.jobs[run_id]) if each["name"] == name)

    # -------------------------------------------------------------------------------------------- what tests set up

    def add_artifact(self, run_id: str, name: str, created: datetime | None = None, *, archive: bytes = b"") -> None:
        """Note that a run uploaded an artifact, by default now."""
        self.keep_archive(shapes.number(f"{run_id}/{name}"), run_id, name, archive, created)

    def add_job(
        self,
        run_id: str,
        name: str,
        status: str = "completed",
        conclusion: str | None = "success",
        started: datetime | None = None,
    ) -> None:
        """Note a job of a run, which started at `started`, by default now; the newest of a name replaces the others."""
        with self._lock:
            self.jobs[run_id] = [job for job in self.jobs.get(run_id, []) if job["name"] != name]
        self.set_job(run_id, name, status, shapes.when(started or datetime.now(UTC)), conclusion)

    def note_attempt(self, run_id: str, attempt: int, *, branch: str, sha: str, triggering_actor: str) -> None:
        """Note what the newest attempt of a run that was added is made of."""
        with self._lock:
            run = self.run(run_id)
            if run is not None:
                run.update(run_attempt=attempt, head_branch=branch, head_sha=sha)
                run["triggering_actor"] = shapes.user(triggering_actor)

    def open_issue(self, login: str, title: str, body: str, labels: list[str], kind: str = "User") -> dict[str, Any]:
        """Open an issue as somebody, and return it."""
        with self._lock:
            return self._open_issue(shapes.user(login, kind), title, body, labels)

    # ------------------------------------------------------------------------------------ tokens, and what they open

    def answer(
        self, method: str, path: str, query: _Query, body: Any = None, authorization: str | None = None
    ) -> _Answer:
        """Return status and body for one request."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        token = (authorization or "").partition(" ")[2]
        if parts[:2] == ["twirp", _SERVICE]:
            with self._lock:
                return self._serve(parts[2], body or {}, token)
        if parts[0] == "uploads" and method == "PUT":
            self._uploads[parts[1]] = body
            return 201, None
        if parts[0] == "id-token":
            return self._identify(token, query)
        if isinstance(body, bytes):
            return 400, _NO_JSON
        self.requests.append((method, path))
        if parts[0] == "storage":
            return super().answer(method, path, query, body, authorization)
        if self.budget is not None:
            self.budget -= 1
            if self.budget < 0:
                return 403, _TOO_MANY
        if self.token is not None and token != self.token:
            return 401, _BAD_CREDENTIALS
        if not self._granted(method, parts[3:], token):
            return 403, _NOT_GRANTED
        if parts[0] != "repos":
            return self._of_accounts(parts) if method == "GET" else (404, NOT_FOUND)
        return super().answer(method, path, query, body, authorization)

    def _granted(self, method: str, rest: list[str], token: str) -> bool:
        """Whether the permissions of a job's token cover a request."""
        granted = self.grants.get(token)
        scope = _SCOPES.get(rest[0]) if rest else None
        if granted is None or scope is None:
            return True
        return granted.get(scope) in (("read", "write") if method == "GET" else ("write",))

    def _serve(self, method: str, body: Mapping[str, Any], token: str) -> _Answer:
        run_id, attempt = self._runners.get(token, ("", 0))
        if not run_id or body.get("workflow_run_backend_id", run_id) != run_id:
            return 403, _FORBIDDEN
        store = self.stores[run_id]
        named = {each.name: each for each in store.latest()}
        if method == "ListArtifacts":
            return 200, {"artifacts": [_readable(run_id, each) for each in named.values()]}
        name = body["name"]
        if method == "CreateArtifact":
            if name in named and named[name].attempt == attempt:
                return 409, {"code": "already_exists", "msg": f"an artifact with the name {name} already exists"}
            return 200, {"ok": True, "signed_upload_url": f"{self.url}/uploads/{token[-8:]}-{name}"}
        if method == "FinalizeArtifact":
            made = store.add(name, attempt, self._uploads.pop(f"{token[-8:]}-{name}"))
            return 200, {"ok": True, "artifact_id": str(made.id)}
        if name not in named:
            return 404, {"code": "not_found", "msg": "artifact not found"}
        if method == "GetSignedArtifactURL":
            return 200, {"name": name, "signed_url": f"{self.url}/storage/{named[name].id}"}
        if method == "DeleteArtifact":
            store.delete(named[name].id)
            return 200, {"ok": True, "artifact_id": str(named[name].id)}
        return 404, {"code": "bad_route", "msg": method}

    def _identify(self, token: str, query: _Query) -> _Answer:
        if token not in self._runners:
            return 401, {"message": "the token is not a runner's"}
        (audience,) = query.get("audience", [f"https://github.com/{self.repository.partition('/')[0]}"])
        self.identities.append(audience)
        issuer = "https://token.actions.githubusercontent.com"
        known = self.claims.get(token, {"run_id": self._runners[token][0]})
        claims = {"iss": issuer, **known, "aud": audience}
        parts = ({"alg": "RS256", "typ": "JWT"}, claims, "signature")
        encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
        return 200, {"count": 1, "value": ".".join(encoded)}

    # ------------------------------------------------------------------------------------------- runs and artifacts

    def _of_actions(self, rest: list[str], query: _Query) -> _Answer:
        if rest[0] == "workflows" and len(rest) == 2 and rest[1] in self.workflows:
            return 200, shapes.workflow(self.repository, rest[1], self.workflows[rest[1]])
        if rest[0] in ("runs", "artifacts", "workflows"):
            return super()._of_actions(rest, query)
        if not self.administrator:
            return 403, _NO_RIGHTS
        if rest[0] == "policies" and self.policies is not None:
            if len(rest) == 1:  # names, as in GitHub's list of rulesets
                named = [{key: value for key, value in each.items() if key != "rules"} for each in self.policies]
                return 200, listed("policies", named, query)
            return next(((200, each) for each in self.policies if str(each["id"]) == rest[1]), (404, NOT_FOUND))
        if rest == ["permissions"]:
            return 200, self.actions_permissions
        if rest == ["permissions", "workflow"]:
            return 200, self.token_permissions
        secrets = {"secrets": self.secrets, "organization-secrets": self.organization_secrets}
        if rest[0] in secrets and len(rest) == 1:
            return 200, listed("secrets", [shapes.secret(name) for name in secrets[rest[0]]], query)
        if rest[0] == "variables" and len(rest) == 2 and rest[1] in self.variables:
            return 200, shapes.variable(rest[1], self.variables[rest[1]])
        variables = {"variables": self.variables, "organization-variables": self.organization_variables}
        if rest[0] in variables and len(rest) == 1:
            return 200, listed("variables", [shapes.variable(*pair) for pair in variables[rest[0]].items()], query)
        return 404, NOT_FOUND

    def _runs_of(self, path: str, query: _Query) -> list[dict[str, Any]]:
        wanted = query.get("status", [None])[0]
        found = super()._runs_of(path, query)
        return [run for run in found if wanted in (None, run["status"], run["conclusion"])]

    def _of_run(self, run_id: str, name: str, query: _Query) -> _Answer:
        if name == "approvals" and self.lag:
            self.lag -= 1
            return 200, []
        if name == "jobs" and query.get("filter") != ["all"]:
            latest = {job["name"]: job for job in self.jobs.get(run_id, [])}
            return 200, listed("jobs", list(latest.values()), query)
        return super()._of_run(run_id, name, query)

    def _of_artifact(self, number: int, rest: list[str]) -> _Answer:
        for run_id, store in self.stores.items():
            for each in store.every():
                if each.id == number and rest in ([], ["zip"]):
                    return (302, f"{self.url}/storage/{number}") if rest else (200, self._kept(run_id, each))
        return super()._of_artifact(number, rest)

    def _artifacts(self, run_id: str | None, query: _Query) -> list[dict[str, Any]]:
        wanted = query.get("name", [None])[0]
        found = [
            self._kept(run, each)
            for run, store in self.stores.items()
            for each in store.every()
            if run_id in (None, run) and wanted in (None, each.name)
        ]
        return super()._artifacts(run_id, query) + found

    def _artifact(self, number: int) -> dict[str, Any]:
        run_id, name, archive = self.archives[number]
        answer = shapes.artifact(self.repository, name, run_id, self._made[number], self.retention)
        return dict(answer, id=number, digest="sha256:" + hashlib.sha256(archive).hexdigest())

    def _kept(self, run_id: str, kept: Kept) -> dict[str, Any]:
        answer = shapes.artifact(self.repository, kept.name, run_id, kept.created, self.retention)
        url = f"{shapes.API}/repos/{self.repository}/actions/artifacts/{kept.id}"
        own = {"url": url, "archive_download_url": url + "/zip", "digest": "sha256:" + kept.digest}
        return dict(answer, id=kept.id, size_in_bytes=len(kept.archive), **own)

    def _stored(self, number: int) -> bytes:
        stored = {each.id: each.archive for store in self.stores.values() for each in store.every()}
        return stored[number] if number in stored else super()._stored(number)

    # ---------------------------------------------------------------------------------------- settings and accounts

    def _of_accounts(self, parts: list[str]) -> _Answer:
        own = self.repository.partition("/")[0]
        known = {login.lower(): login for login in self.people}
        is_organization = self.owner_type == "Organization"
        if parts == ["user"]:
            login = "administrator" if is_organization else own
            return 200, shapes.private_user(login, None if is_organization else self.plan)
        if parts[0] == "users" and len(parts) == 2 and parts[1].lower() in known:
            return 200, shapes.public_user(known[parts[1].lower()])
        if parts[0] == "users" and len(parts) == 2 and parts[1] in self.apps:
            return 200, shapes.public_user(parts[1], "Bot")
        if parts[0] == "users" and len(parts) == 2 and parts[1].lower() == own.lower():
            return 200, shapes.public_user(own, self.owner_type)
        if parts[0] != "orgs" or not is_organization or parts[1:2] != [own]:
            return 404, NOT_FOUND
        if len(parts) == 2:
            return 200, shapes.organization(own, self.plan)
        if parts[2] == "teams" and len(parts) >= 4 and parts[3] in self.teams:
            if len(parts) == 4:
                return 200, dict(shapes.team_full(own, parts[3]), members_count=self.members)
            if parts[4] == "repos" and "/".join(parts[5:]).lower() == self.repository.lower() and self.teams[parts[3]]:
                return 204, None
        return 404, NOT_FOUND

    def _of_repository(self, rest: list[str], query: _Query) -> _Answer:
        if not rest:
            answer = shapes.repository(
                self.response_full_name,
                self.default_branch,
                self.visibility,
                self.owner_type,
                administrator=self.administrator,
            )
            return 200, dict(answer, has_issues=self.has_issues)
        if rest == ["issues"]:
            return 200, page(self._issues(query), query)
        if rest == ["pulls"]:
            wanted = query.get("state", ["open"])
            return 200, page([each for each in self.pulls if [each["state"]] == wanted], query)
        if rest == ["commits"]:
            changed = self.changed.get(query["path"][0])
            return 200, [shapes.commit(self.repository, *changed)] if changed else []
        if rest[0] == "labels" and len(rest) == 2:
            return (200, shapes.label(self.repository, rest[1])) if rest[1] in self.labels else (404, NOT_FOUND)
        if rest == ["rules", "branches", self.default_branch]:
            return 200, page(self.rules, query)
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
        return super()._of_repository(rest, query)

    def _issues(self, query: _Query) -> list[dict[str, Any]]:
        """The issues that a query asks for, the newest first."""
        state, creator = query.get("state", ["open"])[0], query.get("creator", [None])[0]
        wanted = set(filter(None, query.get("labels", [""])[0].split(",")))
        return [
            each
            for _, each in sorted(self.issues.items(), reverse=True)
            if state in ("all", each["state"])
            and creator in (None, each["user"]["login"])
            and wanted <= {label["name"] for label in each["labels"]}
        ]

    def _of_environment(self, name: str, rest: list[str], query: _Query) -> _Answer:
        if name in self.environments and rest == ["secrets"]:
            names = self.environment_secrets.get(name, [])
            return 200, listed("secrets", [shapes.secret(each) for each in names], query)
        if name in self.environments and rest == ["variables"]:
            pairs = self.environment_variables.get(name, {}).items()
            return 200, listed("variables", [shapes.variable(*pair) for pair in pairs], query)
        return super()._of_environment(name, rest, query)

    def _change(self, method: str, rest: list[str], body: Any) -> _Answer:
        if method == "DELETE" and rest[:2] == ["actions", "artifacts"] and rest[2:]:
            for store in self.stores.values():
                if int(rest[2]) in {each.id for each in store.every()}:
                    store.delete(int(rest[2]))
                    return 204, None
            return 404, NOT_FOUND
        if (method, rest) == ("POST", ["issues"]) and len(body["body"]) > _MAX_ISSUE_CHARACTERS:
            return _invalid("body is too long (maximum is 65536 characters)")
        if (method, rest) == ("POST", ["pulls"]):
            return self._open_pull(body)
        if method == "PATCH" and rest[:1] == ["pulls"]:
            (pull,) = [each for each in self.pulls if each["number"] == int(rest[1])]
            pull.update(body)
            return 200, pull
        if (method, rest) == ("POST", ["labels"]):
            if body["name"] in self.labels:
                return _invalid("already_exists")
            self.labels.append(body["name"])
            return 201, shapes.label(self.repository, body["name"])
        if method == "POST" and rest == ["dispatches"]:
            return self._dispatch(body)
        if rest[:2] == ["actions", "policies"] and self.policies is not None:
            return self._change_policy(method, rest[2:], body) if self.administrator else (403, _NO_RIGHTS)
        if len(rest) >= 2 and rest[0] == "environments":
            return self._change_environment(method, rest, body) if self.administrator else (403, _NO_RIGHTS)
        return super()._change(method, rest, body)

    def _open_pull(self, body: Any) -> _Answer:
        if len(body["body"]) > _MAX_ISSUE_CHARACTERS:
            return _invalid("body is too long (maximum is 65536 characters)")
        for each in self.pulls:
            if (each["head"]["ref"], each["state"]) == (body["head"], "open"):
                return _invalid(
                    f"A pull request already exists for {self.repository.partition('/')[0]}:{body['head']}."
                )
        self.pulls.insert(0, shapes.pull_request(self.repository, len(self.issues) + len(self.pulls) + 1, body))
        return 201, self.pulls[0]

    def _change_environment(self, method: str, rest: list[str], body: Any) -> _Answer:
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
            pattern = body["name"] if kind == "branch" else f"{kind}:{body['name']}"
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

    def _change_policy(self, method: str, rest: list[str], body: Any) -> _Answer:
        if method == "POST" and not rest:
            number = 1 + max((each["id"] for each in self.policies or ()), default=100)
            self.policies = [*(self.policies or ()), shapes.actions_policy(self.repository, number, body)]
            return 201, self.policies[-1]
        for each in self.policies or ():
            if method == "PUT" and rest == [str(each["id"])]:
                each.update(body)
                return 200, each
        return 404, NOT_FOUND

    def refusal_to_start(self, path: str, event: str, actor: str) -> str:
        """Say why GitHub's policies don't let this start a workflow; empty where they do.

        Emulated from GitHub's documentation: every active policy about the file must allow the event and the actor.
        """
        roles = {"maintain": 2, "write": 4, "admin": 5}
        kind = "Bot" if actor.endswith("[bot]") else "User"
        known = {(kind, shapes.number(actor)), ("RepositoryRole", roles.get(self.people.get(actor, ""), 0))}
        for each in self.policies or ():
            if each["enforcement"] != "active" or path not in each["conditions"]["workflow_path"]["include"]:
                continue
            for rule in each["rules"]:
                allowed = rule["parameters"]
                if event not in allowed.get("allowed_events", [event]):
                    return f"Event '{event}' is not allowed to trigger Actions workflows. Workflow file: '{path}'"
                actors = {(one["type"], one["id"]) for one in allowed.get("allowed_actors", [])}
                if "allowed_actors" in allowed and not known & actors:
                    return f"Actor '{actor}' is not allowed to trigger Actions workflows. Workflow file: '{path}'"
        return ""

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
        own = self.repository.partition("/")[0]
        known = {("User", shapes.number(login)): user(login) for login in self.people}
        known |= {("Team", shapes.team(own, slug)["id"]): shapes.team(own, slug) for slug in self.teams}
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


def _invalid(reason: str) -> _Answer:
    return 422, {"message": "Validation Failed", "errors": [reason], "documentation_url": "", "status": "422"}


def _readable(run_id: str, kept: Kept) -> dict[str, Any]:
    """An artifact as the service lists it."""
    return {
        "workflow_run_backend_id": run_id,
        "database_id": str(kept.id),
        "name": kept.name,
        "size": str(len(kept.archive)),
        "digest": {"value": "sha256:" + kept.digest},
    }
