"""The actions that the generated workflows use, as far as they use them.

Each follows the documentation of its action at the pinned version: actions/checkout v7, actions/setup-python v7,
actions/upload-artifact v7, actions/download-artifact v8, actions/create-github-app-token v3 and actions/attest v4.  An
input that is not emulated is refused.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from support import compiled
from support.github import FullGitHub
from support.harness.artifacts import Artifact, ArtifactStore
from support.harness.commands import Masks
from support.harness.expressions import Scope
from support.harness.machine import Machine
from support.harness.model import Unsupported
from support.private_sigstore import Sigstore


class ActionFailure(Exception):
    """An action ended with an error; the message is what it says."""


@dataclass(frozen=True)
class Services:
    """What actions reach outside their runner.

    Arguments:
        origin: the repository that checkout clones.
        python: a virtual environment with the locked packages, that setup-python offers.
        artifacts: the run's artifacts.
        github: gives tokens to GitHub Apps.
        sigstore: signs for jobs that may have an identity token and keep attestations; `claims` is in that token.
    """

    origin: Path
    python: Path
    artifacts: ArtifactStore
    attempt: int
    github: FullGitHub
    sigstore: Sigstore | None = None
    claims: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Call:
    """One use of an action: its inputs, the machine it is used on, what it may change, and where its outputs go."""

    inputs: dict[str, str]
    machine: Machine
    workspace: str
    path: list[str]
    env: dict[str, str]
    scope: Scope
    services: Services
    masks: Masks
    outputs: dict[str, str] = field(default_factory=dict)

    def known(self, **defaults: str) -> dict[str, str]:
        """The inputs with defaults; an unknown one is refused."""
        unknown = sorted(set(self.inputs) - {name.replace("_", "-") for name in defaults})
        if unknown:
            raise Unsupported(f"inputs {', '.join(unknown)}")
        # An empty input is an input that was not given.
        return {name: self.inputs.get(name.replace("_", "-")) or default for name, default in defaults.items()}


def to_json(value: Any) -> str:
    """A payload as GitHub writes it to a file."""
    return json.dumps(value, indent=2)


def checkout(call: Call) -> str:
    """actions/checkout: a fresh clone at the ref, into a workspace in which nothing has run yet."""
    given = call.known(ref="", persist_credentials="true", fetch_depth="1")
    workspace = call.machine.outside(call.workspace)
    if workspace.resolve() != workspace.absolute() or any(workspace.iterdir()):
        raise Unsupported("a checkout into a workspace that is not empty")
    github = call.scope.contexts["github"]
    ref = given["ref"] or github["sha"]
    # A clone without links to the origin's objects: what a job does to its checkout stays there.
    _git(workspace, "clone", "--quiet", "--no-checkout", "--no-hardlinks", str(call.services.origin), ".")
    if not re.fullmatch(r"[0-9a-f]{40}", ref):
        ref = f"origin/{ref.removeprefix('refs/heads/')}"
    _git(workspace, "checkout", "--quiet", "--detach", ref)
    if given["persist_credentials"] == "true":
        header = f"AUTHORIZATION: basic {github['token']}"
        _git(workspace, "config", "http.https://github.com/.extraheader", header)
    _git(workspace, "remote", "set-url", "origin", f"{github['server_url']}/{github['repository']}")
    commit = ref if re.fullmatch(r"[0-9a-f]{40}", ref) else _git(workspace, "rev-parse", "HEAD").strip()
    compiled.keep(workspace / "agent_runtime", workspace / "sdk")
    call.outputs.update(ref=ref, commit=commit)
    return f"HEAD is now at {commit}\n"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ActionFailure(f"The process 'git' failed with exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def setup_python(call: Call) -> str:
    """actions/setup-python: an interpreter in front of PATH, here a prepared one with the locked packages in it."""
    given = call.known(python_version="")
    if not given["python_version"]:
        raise ActionFailure("there is no python-version and no .python-version file")
    programs = call.services.python / "bin"
    call.path.append(str(programs))
    call.env["pythonLocation"] = str(call.services.python)
    call.outputs.update({"python-version": given["python_version"], "python-path": str(programs / "python")})
    return f"Successfully set up CPython ({given['python_version']})\n"


def upload_artifact(call: Call) -> str:
    """actions/upload-artifact: an immutable archive of a file or folder."""
    given = call.known(name="artifact", path="", if_no_files_found="warn", retention_days="0")
    if any(sign in given["path"] for sign in "*?[\n"):
        raise Unsupported(f"upload of the pattern {given['path']!r}")
    files = call.machine.collect(str(PurePosixPath(call.workspace, given["path"])))
    if not files:
        message = f"No files were found with the provided path: {given['path']}. No artifacts will be uploaded."
        if given["if_no_files_found"] == "error":
            raise ActionFailure(message)
        return f"##[{given['if_no_files_found']}]{message}\n"
    artifact = call.services.artifacts.upload(
        given["name"], call.services.attempt, files, int(given["retention_days"]) or 90
    )
    github = call.scope.contexts["github"]
    url = f"{github['server_url']}/{github['repository']}/actions/runs/{github['run_id']}/artifacts/{artifact.id}"
    call.outputs.update({"artifact-id": str(artifact.id), "artifact-digest": artifact.digest, "artifact-url": url})
    return f"Artifact {artifact.name} has been successfully uploaded! Artifact ID is {artifact.id}\n"


def download_artifact(call: Call) -> str:
    """actions/download-artifact: archives of this run by name, by ids, or all; digests compared with the service's."""
    given = call.known(name="", artifact_ids="", path=".", digest_mismatch="error", merge_multiple="false")
    target = str(PurePosixPath(call.workspace, given["path"]))
    if given["name"] and given["artifact_ids"]:
        raise ActionFailure("Inputs 'name' and 'artifact-ids' cannot be used together. Please specify only one.")
    artifacts = _wanted(call.services.artifacts.latest(), given["name"], given["artifact_ids"])
    direct = bool(given["name"]) or given["merge_multiple"] == "true" or len(artifacts) == 1
    for artifact in artifacts:
        for name, data in artifact.files().items():
            file = os.path.normpath(f"{target}/{name if direct else f'{artifact.name}/{name}'}")
            if not file.startswith(os.path.normpath(target) + "/"):
                raise ActionFailure(f"Malformed archive: {name}")
            call.machine.write({file: data})
    changed = [artifact.name for artifact in artifacts if not artifact.intact]
    if changed and given["digest_mismatch"] == "error":
        raise ActionFailure(f"Digest validation failed for artifact(s): {', '.join(changed)}.")
    call.outputs["download-path"] = target
    return f"Total of {len(artifacts)} artifact(s) downloaded\n"


def create_github_app_token(call: Call) -> str:
    """actions/create-github-app-token: a token of an App for this repository, with the permissions named."""
    asked = {name: value for name, value in call.inputs.items() if name.startswith("permission-")}
    given = call.known(client_id="", private_key="", **{name.replace("-", "_"): "" for name in asked})
    permissions = {name.removeprefix("permission-"): value for name, value in asked.items()}
    token = call.services.github.token_of_app(given["client_id"], given["private_key"], permissions)
    if token is None:
        raise ActionFailure("A JSON web token could not be decoded - https://docs.github.com/rest")
    call.masks.add(token)
    call.outputs["token"] = token
    return f"Inputs 'owner' and 'repositories' are not set. Creating token for this repository.\n::add-mask::{token}\n"


def _wanted(artifacts: list[Artifact], name: str, ids: str) -> list[Artifact]:
    if name:
        found = [artifact for artifact in artifacts if artifact.name == name]
        if not found:
            raise ActionFailure(f"Artifact '{name}' not found")
        return found
    if not ids:
        return artifacts
    # As JavaScript's parseInt: leading digits count, whatever follows.
    numbers = [re.match(r"\s*[+-]?\d+", each) for each in ids.split(",") if each.strip()]
    if not numbers or not all(numbers):
        raise ActionFailure(f"Invalid artifact ID: '{ids}'. Must be a number.")
    wanted = {int(number.group()) for number in numbers if number}
    found = [artifact for artifact in artifacts if artifact.id in wanted]
    if not found:
        raise ActionFailure("None of the provided artifact IDs were found")
    return found


def attest(call: Call) -> str:
    """actions/attest: a statement about a digest, with a predicate from a file, signed and written as JSON."""
    given = call.known(subject_name="", subject_digest="", predicate_type="", predicate_path="", show_summary="true")
    if not call.services.claims:
        raise ActionFailure(
            'missing "id-token" permission. Please add "permissions: id-token: write" to your workflow.'
        )
    if call.services.sigstore is None:
        raise ActionFailure("Failed to persist attestation: Feature not available for the repository")
    (predicate,) = call.machine.read(str(PurePosixPath(call.workspace, given["predicate_path"])))
    digest = re.fullmatch(r"sha256:([0-9a-f]{64})", given["subject_digest"])
    if not digest or not given["subject_name"] or predicate is None:
        raise ActionFailure('subject-digest must be in the format "sha256:<hex-digest>"')
    made = call.services.sigstore.attest(
        call.services.claims, digest[1], given["predicate_type"], json.loads(predicate), name=given["subject_name"]
    )
    path = f"{call.machine.layout.work}/_temp/attestation/attestation.json"
    call.machine.write({path: made})
    call.outputs["bundle-path"] = path
    return f"Attestation created for {given['subject_name']}@{given['subject_digest']}\n"


EMULATED: dict[str, Callable[[Call], str]] = {
    "actions/checkout": checkout,
    "actions/setup-python": setup_python,
    "actions/upload-artifact": upload_artifact,
    "actions/download-artifact": download_artifact,
    "actions/create-github-app-token": create_github_app_token,
    "actions/attest": attest,
}
