"""GitHub on the loopback interface, whole: what simulate needs of it, and what only tests look at.

Beyond the template's own, it has the artifact service that the runner's token opens (the protocol of actions/toolkit,
packages/artifact), the steps of jobs, and identity tokens.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from agent_runtime.local.simulate import shapes
from agent_runtime.local.simulate.server import LoopbackGitHub

_SERVICE = "github.actions.results.api.v1.ArtifactService"
_FORBIDDEN = {"code": "permission_denied", "msg": "the token is not one of this run"}


class Kept(Protocol):
    """One artifact of a run; `digest` is the SHA-256 of its archive."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def archive(self) -> bytes: ...
    @property
    def digest(self) -> str: ...
    @property
    def created(self) -> datetime: ...


class Store(Protocol):
    """The artifacts of a run."""

    def latest(self) -> list[Any]: ...
    def every(self) -> list[Any]: ...
    def add(self, name: str, attempt: int, archive: bytes, retention_days: int = 90) -> Any: ...
    def delete(self, id: int) -> None: ...


class FullGitHub(LoopbackGitHub):
    """GitHub for tests; a context manager that serves while it is open.

    Attributes:
        identities: the audiences for which jobs asked for an identity token, in order.
    """

    def __init__(self, repository: str, default_branch: str = "main") -> None:
        super().__init__(repository, default_branch)
        self.identities: list[str] = []
        self._stores: dict[str, Store] = {}
        self._runners: dict[str, tuple[str, int]] = {}
        self._uploads: dict[str, bytes] = {}

    # ------------------------------------------------------------------------------------------------- jobs, steps

    def let_in_runner(self, run_id: str, attempt: int, artifacts: Store) -> str:
        """Return a token that opens the artifact service for a job of this run."""
        token = "runner-" + secrets.token_hex(24)
        self._stores[run_id] = artifacts
        self._runners[token] = (run_id, attempt)
        return token

    def keep_artifacts(self, run_id: str, artifacts: Store) -> None:
        """Answer for the artifacts of a run from now on."""
        self._stores[run_id] = artifacts

    def list_steps(self, run_id: str, job: str, names: list[str]) -> None:
        """Note the steps that a job will have, behind GitHub's own first one."""
        with self._lock:
            steps = self._job(run_id, job)["steps"]
            for name in names:
                steps.append(
                    {
                        "name": name,
                        "status": "queued",
                        "conclusion": None,
                        "number": len(steps) + 1,
                        "started_at": None,
                        "completed_at": None,
                    }
                )

    def set_step(self, run_id: str, job: str, place: int, status: str, conclusion: str | None, now: str) -> None:
        """Note where a step stands; `place` counts the job's own from 0."""
        with self._lock:
            step = self._job(run_id, job)["steps"][place + 1]
            step.update(status=status, conclusion=conclusion)
            step["started_at" if status == "in_progress" else "completed_at"] = now

    def _job(self, run_id: str, name: str) -> dict[str, Any]:
        return next(job for job in self.jobs[run_id] if job["name"] == name)

    # --------------------------------------------------------------------------------------------------- the service

    def answer(
        self, method: str, path: str, query: Any, body: Any = None, authorization: str | None = None
    ) -> tuple[int, Any]:
        """Return status and body for one request."""
        parts = path.strip("/").split("/")
        token = (authorization or "").partition(" ")[2]
        if parts[:2] == ["twirp", _SERVICE]:
            with self._lock:
                return self._serve(parts[2], body, token)
        if parts[0] == "uploads" and method == "PUT":
            self._uploads[parts[1]] = body
            return 201, None
        if parts[0] == "id-token":
            return self._identify(token, query)
        return super().answer(method, path, query, body, authorization)

    def _serve(self, method: str, body: Mapping[str, Any], token: str) -> tuple[int, Any]:
        run_id, attempt = self._runners.get(token, ("", 0))
        if not run_id or body.get("workflow_run_backend_id", run_id) != run_id:
            return 403, _FORBIDDEN
        store = self._stores[run_id]
        named = {each.name: each for each in store.latest()}
        if method == "ListArtifacts":
            return 200, {"artifacts": [_told(run_id, each) for each in named.values()]}
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
            return 200, {"name": name, "signed_url": self._storage(named[name].id, named[name].archive)}
        if method == "DeleteArtifact":
            store.delete(named[name].id)
            return 200, {"ok": True, "artifact_id": str(named[name].id)}
        return 404, {"code": "bad_route", "msg": method}

    def _identify(self, token: str, query: Mapping[str, list[str]]) -> tuple[int, Any]:
        if token not in self._runners:
            return 401, {"message": "the token is not a runner's"}
        (audience,) = query.get("audience", [f"https://github.com/{self.repository.partition('/')[0]}"])
        self.identities.append(audience)
        claims = {"iss": "https://token.actions.githubusercontent.com", "aud": audience, "run_id": self._runners[token][0]}
        parts = ({"alg": "RS256", "typ": "JWT"}, claims, "signature")
        encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
        return 200, {"count": 1, "value": ".".join(encoded)}

    # ------------------------------------------------------------------------------------------------------ the API

    def _of_actions(self, rest: list[str], query: Any) -> tuple[int, Any]:
        if rest[0] == "artifacts" and len(rest) >= 2 and rest[1].isdigit():
            for run_id, store in self._stores.items():
                for each in store.every():
                    if each.id == int(rest[1]):
                        if rest[2:] == ["zip"]:
                            return 302, self._storage(each.id, each.archive)
                        return 200, self._artifact(run_id, each)
        return super()._of_actions(rest, query)

    def _change(self, method: str, rest: list[str], body: Any) -> tuple[int, Any]:
        if method == "DELETE" and rest[:2] == ["actions", "artifacts"] and rest[2:]:
            for store in self._stores.values():
                if int(rest[2]) in {each.id for each in store.every()}:
                    store.delete(int(rest[2]))
                    return 204, None
        return super()._change(method, rest, body)

    def _artifacts(self, run_ids: list[str], query: Mapping[str, list[str]]) -> list[dict[str, Any]]:
        wanted = query.get("name", [None])[0]
        stored = {run_id: self._stores[run_id] for run_id in (run_ids or self._stores) if run_id in self._stores}
        found = [
            self._artifact(run_id, each)
            for run_id, store in stored.items()
            for each in store.every()
            if wanted in (None, each.name)
        ]
        return super()._artifacts(run_ids, query) + found

    def _artifact(self, run_id: str, kept: Kept) -> dict[str, Any]:
        answer = shapes.artifact(self.repository, kept.name, run_id, kept.created, self.retention)
        url = f"{shapes.API}/repos/{self.repository}/actions/artifacts/{kept.id}"
        return dict(
            answer,
            id=kept.id,
            url=url,
            archive_download_url=url + "/zip",
            size_in_bytes=len(kept.archive),
            digest="sha256:" + kept.digest,
        )

    def _storage(self, id: int, archive: bytes) -> str:
        """An address elsewhere, for whoever has it, that answers with an archive."""
        self._archives[id] = archive
        return f"{self.url}/storage/{id}"


def _told(run_id: str, kept: Kept) -> dict[str, Any]:
    """An artifact as the service lists it."""
    return {
        "workflow_run_backend_id": run_id,
        "database_id": str(kept.id),
        "name": kept.name,
        "size": str(len(kept.archive)),
        "digest": {"value": "sha256:" + hashlib.sha256(kept.archive).hexdigest()},
    }
