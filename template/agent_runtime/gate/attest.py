"""Attest: what GitHub's signature of a bundle is to say.  The job has an identity token, and never runs team code.

The bundle is fetched by the id and the digest that `record` gave, and has to be that of this run.  The action that
signs gets the digest of `bundle.json`, and a predicate: what was planned, who approved, how it ended.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, Mapping

from agent_runtime import codes
from agent_runtime.github import archive, outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext, write_whole
from agent_runtime.model import documents, names
from agent_runtime.text.strict_json import strict_json

_REPEATED = ("outcome", "plan_digest", "approvers", "rejected_by", "resource", "run", "release")


def run_job(job: JobContext, *, bundle_id: str, bundle_digest: str) -> str:
    """Write the predicate, and return the digest of `bundle.json`.

    Arguments:
        bundle_id, bundle_digest: of the artifact, from the outputs of `record`.

    Raises:
        GateRefused: the artifact is not that one, or is of another run (GATE01), or GitHub did not answer (GATE12).
    """
    files = archive.fetch(GitHubApi.from_environment(job.environ), job.run.repository, bundle_id, bundle_digest)
    data = files.get(names.MANIFEST_NAME, b"")
    try:
        manifest = strict_json(data)
        if manifest["run"] != documents.plain(job.run):
            raise ValueError("it is of another run")
    except (ValueError, KeyError, TypeError) as problem:
        raise codes.GateRefused(codes.GATE_ARTIFACT, f"{names.MANIFEST_NAME} of the bundle: {problem}") from None
    digest = hashlib.sha256(data).hexdigest()
    write_whole(job.out / names.PREDICATE_NAME, json.dumps(predicate(manifest)).encode("utf-8"))
    outputs.write_outputs(job.environ, {"digest": digest})
    return digest


def predicate(manifest: Mapping[str, Any]) -> Dict[str, Any]:
    """Return what the attestation of a bundle with this manifest says; the subject is `bundle.json` itself."""
    return {name: manifest.get(name) for name in _REPEATED}
