"""GitHub's own OpenAPI description, cut down to what the runtime asks, and Prism, which holds traffic to it.

The packages are named and locked in `node/package-lock.json`; the first test installs them where nobody did before.
The whole description has 13 MB and Prism would take a minute to read it, so one cut is made for each state of its
sources, below `build/`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from backend.bench.servers import reserve_port
from support.environment import REPOSITORY, require_tool

PROJECT = Path(__file__).resolve().parent / "node"
BUILD = REPOSITORY / "build" / "github-description"
OLDEST_NODE = 20
START_SECONDS = 120

_REPOSITORY = "/repos/{owner}/{repo}"
_ENVIRONMENT = _REPOSITORY + "/environments/{environment_name}"
_POLICIES = _ENVIRONMENT + "/deployment-branch-policies"

# Everything that the runtime asks of GitHub; a request to anything else is an error.
OPERATIONS = {
    _REPOSITORY: ("get",),
    _ENVIRONMENT: ("get", "put"),
    _ENVIRONMENT + "/secrets": ("get",),
    _ENVIRONMENT + "/variables": ("get",),
    _POLICIES: ("get", "post"),
    _POLICIES + "/{branch_policy_id}": ("delete",),
    _REPOSITORY + "/actions/artifacts": ("get",),
    _REPOSITORY + "/actions/artifacts/{artifact_id}": ("get",),
    _REPOSITORY + "/actions/organization-secrets": ("get",),
    _REPOSITORY + "/actions/organization-variables": ("get",),
    _REPOSITORY + "/actions/permissions": ("get",),
    _REPOSITORY + "/actions/permissions/workflow": ("get",),
    _REPOSITORY + "/actions/runs/{run_id}": ("get",),
    _REPOSITORY + "/actions/runs/{run_id}/approvals": ("get",),
    _REPOSITORY + "/actions/runs/{run_id}/artifacts": ("get",),
    _REPOSITORY + "/actions/runs/{run_id}/jobs": ("get",),
    _REPOSITORY + "/actions/secrets": ("get",),
    _REPOSITORY + "/actions/variables": ("get",),
    _REPOSITORY + "/actions/variables/{name}": ("get",),
    _REPOSITORY + "/actions/workflows/{workflow_id}": ("get",),
    _REPOSITORY + "/actions/workflows/{workflow_id}/runs": ("get",),
    _REPOSITORY + "/branches/{branch}/protection": ("get",),
    _REPOSITORY + "/codeowners/errors": ("get",),
    _REPOSITORY + "/collaborators/{username}/permission": ("get",),
    _REPOSITORY + "/commits": ("get",),
    _REPOSITORY + "/dispatches": ("post",),
    _REPOSITORY + "/git/refs": ("post",),
    _REPOSITORY + "/issues": ("get", "post"),
    _REPOSITORY + "/issues/{issue_number}": ("get", "patch"),
    _REPOSITORY + "/issues/{issue_number}/comments": ("get", "post"),
    _REPOSITORY + "/labels": ("post",),
    _REPOSITORY + "/labels/{name}": ("get",),
    _REPOSITORY + "/rules/branches/{branch}": ("get",),
    _REPOSITORY + "/rulesets/{ruleset_id}": ("get",),
    "/orgs/{org}": ("get",),
    "/orgs/{org}/teams/{team_slug}": ("get",),
    "/orgs/{org}/teams/{team_slug}/repos/{owner}/{repo}": ("get",),
    "/user": ("get",),
    "/users/{username}": ("get",),
}


@cache
def modules() -> Path:
    """Install the packages if nobody did, once for all test processes, and say where they are."""
    node = require_tool("node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < OLDEST_NODE:
        raise RuntimeError(f"Node.js {OLDEST_NODE} or newer is needed, this is {version}")
    BUILD.mkdir(parents=True, exist_ok=True)
    folder = PROJECT / "node_modules"
    installed = folder / ".package-lock.json"
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < (PROJECT / "package-lock.json").stat().st_mtime:
            npm = require_tool("npm")
            subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=PROJECT, check=True)
            installed.touch()
    return folder


@cache
def whole() -> dict[str, Any]:
    """The description of api.github.com as GitHub publishes it."""
    path = modules() / "@octokit" / "openapi" / "generated" / "api.github.com.json"
    description: dict[str, Any] = json.loads(path.read_bytes())
    return description


@cache
def cut() -> Path:
    """The file with the operations above and what they refer to."""
    modules()
    sources = (Path(__file__), PROJECT / "package-lock.json")
    state = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    path = BUILD / f"api.github.com-{state}.json"
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            path.with_suffix(".new").write_text(json.dumps(_cut(whole())), encoding="utf-8")
            path.with_suffix(".new").replace(path)
    return path


def _cut(description: dict[str, Any]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for path, methods in OPERATIONS.items():
        paths[path] = {method: _operation(description["paths"][path][method]) for method in methods}
    body = paths[_ENVIRONMENT]["put"]["requestBody"]["content"]["application/json"]["schema"]
    # GitHub accepts and returns the administrators' bypass, and does not document it.
    body["properties"] = {**body["properties"], "can_admins_bypass": {"type": "boolean"}}
    runs = paths[_REPOSITORY + "/actions/workflows/{workflow_id}/runs"]["get"]
    # GitHub takes a range here, as the words of its description say, and calls its format that of one moment.
    runs["parameters"] = [
        {"name": "created", "in": "query", "schema": {"type": "string"}}
        if each.get("$ref") == "#/components/parameters/created"
        else each
        for each in runs["parameters"]
    ]
    small = {key: description[key] for key in ("openapi", "info")}
    small |= {"servers": [{"url": "http://127.0.0.1"}], "paths": paths, "components": {}}
    wanted = list(_references(paths))
    while wanted:
        kind, name = wanted.pop().removeprefix("#/components/").split("/")
        known = small["components"].setdefault(kind, {})
        if name not in known:
            known[name] = description["components"][kind][name]
            wanted += _references(known[name])
    return small


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    """One operation with the errors that every address may answer, and without example headers (no list continues).

    Its answers are also of the media type that GitHub recommends to ask for, which the description leaves out.
    """
    error = {
        "description": "Error",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/basic-error"}}},
    }
    responses = {}
    for status, response in {"401": error, "403": error, "404": error, **operation["responses"]}.items():
        responses[status] = {key: value for key, value in response.items() if key != "headers"}
        content = response.get("content", {})
        if "application/json" in content:
            responses[status]["content"] = {**content, "application/vnd.github+json": content["application/json"]}
    return {**operation, "responses": responses}


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


@contextmanager
def prism(log: Path, *arguments: str) -> Iterator[str]:
    """Run Prism with the cut description; yield its address.

    Arguments:
        log: file for what it says.
        arguments: `mock` and options, or `proxy`, options and, last, the address behind it.
    """
    keeper = reserve_port()
    port = keeper.getsockname()[1]
    mode, *rest = arguments
    program = str(modules() / "@stoplight" / "prism-cli" / "dist" / "index.js")
    upstream = [rest.pop()] if mode == "proxy" else []
    command = [require_tool("node"), program, mode, str(cut()), *upstream, *rest]
    # Some of GitHub's own examples are not as described, so only what a proxy lets through is held to it on both sides;
    # a mock refuses bad requests in any case.
    command += ["--errors"] if upstream else []
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        _wait_for(process, port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)
        keeper.close()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"Prism did not start:\n{log.read_text()[-4000:]}")
