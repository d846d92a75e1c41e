"""The simulated run where an issue is the gate: one run asks, and a comment in the loopback GitHub starts another."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

from agent_runtime import codes
from agent_runtime.local.simulate import shapes
from agent_runtime.local.simulate.jobs import Finished
from agent_runtime.local.simulate.run import INITIATOR, REVIEWER, Ended, Request, SimulatedRun
from agent_runtime.local.simulate.scenario import Scenario
from agent_runtime.local.simulate.server import LoopbackGitHub
from agent_runtime.model import config, documents, names

ADMINISTRATOR = "administrator"

_ARTIFACT = 1
_COMMENTERS = {Scenario.SELF_APPROVE: INITIATOR, Scenario.BYPASS: ADMINISTRATOR}


class SimulatedIssueRun(SimulatedRun):
    """Plays the runner's part for the run that asks, and for the one that the answer starts."""

    def __init__(self, request: Request, tell: Callable[[str], None], ask: Callable[[str], bool]) -> None:
        super().__init__(request, tell, ask)
        self._needs = {name: {"result": "skipped", "outputs": {}} for name in ("investigate", "ask")}
        people = [name for name in config.load(self._root).approvers if "/" not in name]
        self._approvers = people or [REVIEWER]
        self._changes: Dict[str, str] = {}

    def play(self) -> Ended:
        """Run all phases of both runs and return how it ended."""
        with LoopbackGitHub(self._repository) as github:
            github.visibility = "private"
            permission = "read" if self._request.scenario is Scenario.OPEN_GATE else "write"
            github.people = {INITIATOR: "write", ADMINISTRATOR: "admin", **dict.fromkeys(self._approvers, permission)}
            investigated = self._investigate(github)
            exit_code = investigated.exit_code
            waits = investigated.outputs.get("decision") == documents.Decision.REVIEW.value
            if waits:
                exit_code = self._ask_in_issue(github, investigated)
                waits = exit_code == codes.EXIT_OK
            recorded = self._record(github, "record-of-asking" if waits else None)
            if waits:
                exit_code, recorded = self._answer(github, investigated)
            folder = recorded.folder / names.DEFAULT_OUT / names.BUNDLE_FOLDER
            if os.environ.get("AIMGENTIX_API_URL") and (folder / names.MANIFEST_NAME).is_file():
                self._job(github, "deliver", [str(folder)], {}, privileged=True)
        return Ended(
            exit_code=exit_code or recorded.exit_code,
            outcome=recorded.outputs.get("outcome", "unknown"),
            bundle=folder,
        )

    def _investigate(self, github: LoopbackGitHub) -> Finished:
        told = self._runner_variables(github)
        self._add_run(github, self._run_id, told["GITHUB_EVENT_NAME"])
        return super()._investigate(github)

    def _ask_in_issue(self, github: LoopbackGitHub, investigated: Finished) -> int:
        folder = investigated.folder / names.DEFAULT_OUT
        archive = _pack(folder)
        github.keep_archive(_ARTIFACT, self._run_id, names.REPORT_ARTIFACT, archive)
        variables = {
            "APPROVED_DIGEST": investigated.outputs["plan_digest"],
            "REPORT_SHA256": investigated.outputs["report_sha256"],
            "REPORT_ARTIFACT_ID": str(_ARTIFACT),
            "REPORT_ARTIFACT_SHA256": hashlib.sha256(archive).hexdigest(),
        }
        return self._job(
            github, "ask", ["--report", str(self._download(folder / names.REPORT_NAME))], variables
        ).exit_code

    def _answer(self, github: LoopbackGitHub, investigated: Finished) -> Tuple[int, Finished]:
        scenario = self._request.scenario
        (issue,) = github.issues.values()
        if scenario is None:
            scenario = Scenario.APPROVE if self._ask(issue["body"]) else Scenario.REJECT
        digest = investigated.outputs["plan_digest"]
        text = "/reject not now" if scenario is Scenario.REJECT else "/approve " + digest
        comment = github.comment(issue["number"], _COMMENTERS.get(scenario, self._approvers[0]), text)
        self._tell("{:>11} | {}: {}".format("comment", comment["user"]["login"], text))
        self._start_by(issue, comment)
        self._attack(github, scenario, issue)
        approved = self._job(github, "approve", [], {})
        exit_code = codes.EXIT_OK
        # An attacker who gets around the approve job does not stop there, so act is started even when it failed.
        if scenario is not Scenario.REJECT:
            variables = {"APPROVED_DIGEST": digest, "TRACE_ID": approved.outputs.get("trace_id", "")}
            exit_code = self._job(github, "act", [], variables, privileged=True).exit_code
            if scenario is Scenario.EXECUTE_TWICE:
                again = self._job(github, "act", [], variables, privileged=True, folder_name="act-again")
                exit_code = again.exit_code
        return exit_code, self._record(github)

    def _start_by(self, issue: Dict[str, Any], comment: Dict[str, Any]) -> None:
        """Let the jobs from now on belong to the run that a comment starts."""
        event = self._request.folder / "event.json"
        event.write_text(json.dumps({"action": "created", "issue": issue, "comment": comment}), encoding="utf-8")
        self._run_id = str(int(self._run_id) + 1)
        self._changes = {
            "GITHUB_EVENT_NAME": "issue_comment",
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_WORKFLOW": "Agent Runtime - Act on Approval",
            "GITHUB_ACTOR": comment["user"]["login"],
            "GITHUB_TRIGGERING_ACTOR": comment["user"]["login"],
        }
        self._needs = {name: {"result": "skipped", "outputs": {}} for name in ("approve", "act")}

    def _attack(self, github: LoopbackGitHub, scenario: Scenario, issue: Dict[str, Any]) -> None:
        run_id, name, archive = github.archives[_ARTIFACT]
        if scenario is Scenario.OTHER_RUN:
            other = str(int(self._run_id) + 1)
            self._add_run(github, other, "workflow_dispatch")
            issue["body"] = issue["body"].replace(f"Run `{run_id}`", f"Run `{other}`")
        if scenario in (Scenario.TAMPER, Scenario.SWAP):
            files = _unpack(archive)
            document = json.loads(files[names.REPORT_NAME].decode("utf-8"))
            document["plan"]["parameters"]["tampered"] = True
            changed = documents.encode(document)
            swapped = _zip({**files, names.REPORT_NAME: changed})
            github.keep_archive(_ARTIFACT, run_id, name, swapped)
            if scenario is Scenario.TAMPER:
                for old, new in ((archive, swapped), (files[names.REPORT_NAME], changed)):
                    issue["body"] = issue["body"].replace(_sha256(old), _sha256(new))

    def _add_run(self, github: LoopbackGitHub, run_id: str, event: str) -> None:
        file = names.INVESTIGATE_WORKFLOW.rpartition("/")[2]
        if github.run(run_id) is None:
            github.add_run(
                run_id, title=self._request.resource, event=event, actor=INITIATOR, file=file, created=shapes.CREATED
            )
        sha = self._runner_variables(github)["GITHUB_SHA"]
        github.note_attempt(run_id, 1, branch=github.default_branch, sha=sha, triggering_actor=INITIATOR)

    def _record(self, github: LoopbackGitHub, folder_name: Any = None) -> Finished:
        inputs = self._collect("artifacts" + ("-of-asking" if folder_name else ""))
        variables = {"NEEDS": json.dumps(self._needs)}
        outputs = self._needs.get("approve", {}).get("outputs")
        if isinstance(outputs, dict) and outputs.get("trace_id"):
            variables["TRACE_ID"] = str(outputs["trace_id"])
        return self._job(github, "record", ["--inputs", str(inputs)], variables, folder_name=folder_name)

    def _runner_variables(self, github: LoopbackGitHub) -> Dict[str, str]:
        return {**super()._runner_variables(github), **self._changes}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _pack(folder: Path) -> bytes:
    """A folder as the archive that an upload makes of it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return _zip({path.relative_to(folder).as_posix(): path.read_bytes() for path in files})


def _zip(files: Dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _unpack(archive: bytes) -> Dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}
