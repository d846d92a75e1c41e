"""GitHub signs for the bundle of a run, in a job of its own; what the agent's jobs get signed shows itself.

The agent is hijacked in both of its jobs, and both may have an identity token, as with the answers investigate_oidc and
act_permissions: it takes the token to Sigstore, and gets a certificate.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent_runtime.gate import attest
from agent_runtime.local import auditor
from agent_runtime.model import names
from support.forging import forge
from support.harness.engine import approve_as
from support.private_sigstore import Sigstore
from support.runs import ALL_SUCCEED, results
from support.world import NAME, WORKFLOW, World

TAKE = """\
name: Prepare
description: Hijacked
runs:
  using: composite
  steps:
    - name: Take the job's identity
      shell: bash
      run: |
        curl --fail --silent --show-error --noproxy '*' \\
          -H "Authorization: Bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=sigstore"
"""


def unpack(files: dict[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.threat("T36", "T40")
def test_github_signs_in_a_job_of_its_own_and_a_hijacked_agent_can_not(world: World, tmp_path: Path) -> None:
    workflow = world.origin / WORKFLOW
    text = workflow.read_text(encoding="utf-8")
    for reason in ("# does an earlier run ask already?\n", "# who approved, and is the gate still real?\n"):
        assert text.count(reason) == 1
        text = text.replace(reason, f"{reason}      id-token: write\n")
    workflow.write_text(text, encoding="utf-8")
    for name in ("prepare-investigate", "prepare-act"):
        (world.origin / f".github/actions/{name}/action.yml").write_text(TAKE, encoding="utf-8")
    world.commit()
    world.repository.sigstore = sigstore = Sigstore()

    run = world.start(reviewer=approve_as("bob"))

    assert results(run) == {**ALL_SUCCEED, "attest": "success"}, run.log
    assert run.jobs["attest"].name == "Attest / Attest"
    bundle = unpack(run.artifacts.named("audit-bundle").files(), tmp_path / "audit-bundle")
    (attestation,) = run.artifacts.named("audit-attestation").files().values()
    (tmp_path / "audit-bundle.sigstore.json").write_bytes(attestation)

    def examined(folder: Path) -> auditor.Finding:
        return auditor.examine(folder, now=datetime.now(UTC), roots=sigstore.root(), repository=NAME)

    finding = examined(bundle)
    assert finding.problems == () and finding.attested is not None
    commit = world.repository.commit("main")
    assert f"{names.ATTEST_FILE} of {NAME} signed it" in finding.authentic and commit in finding.authentic
    assert f"/actions/runs/{run.id}/attempts/1" in finding.authentic

    forged = shutil.copytree(bundle, tmp_path / "forged")
    forge(forged, bob="mallory")
    (tmp_path / "forged.sigstore.json").write_bytes(attestation)
    assert [one.code for one in examined(forged).problems] == ["TRAIL10"]
    assert "other-bundle: " in examined(forged).unattested
    data = (forged / "bundle.json").read_bytes()
    for job in ("investigate", "act"):
        (token,) = re.findall(r'"value": "[^".]+\.([^".]+)\.', run.jobs[job].log)
        claims = json.loads(base64.urlsafe_b64decode(token + "=="))
        assert claims["aud"] == "sigstore", "it is one for Sigstore"
        predicate = attest.predicate(json.loads(data))
        own = sigstore.attest(claims, hashlib.sha256(data).hexdigest(), names.PREDICATE_TYPE, predicate)
        (tmp_path / "forged.sigstore.json").write_bytes(own)
        assert [one.code for one in examined(forged).problems] == ["TRAIL10"], job
        assert f"other-signer: the workflow with the job that signed has to be https://github.com/{NAME}/" in (
            examined(forged).unattested
        )
        assert f"{WORKFLOW}@refs/heads/main" in examined(forged).unattested

    # A later attempt signs for no bundle of an earlier one, and what fails here changes nothing of the run's.
    world.actions.rerun(run, "attest", triggering_actor="alice")
    assert run.jobs["attest"].result == "failure" and run.result == "success", run.log
    assert "GATE01: " in run.jobs["attest"].log and "it is of another run" in run.jobs["attest"].log
