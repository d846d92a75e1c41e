"""One simulated run: investigate, ask, approve, act, record, exchanging only what the jobs exchange."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional

from agent_runtime import codes
from agent_runtime.gate import policy
from agent_runtime.github import context
from agent_runtime.local.simulate import jobs
from agent_runtime.local.simulate.jobs import Finished
from agent_runtime.local.simulate.scenario import Scenario
from agent_runtime.local.simulate.server import LoopbackGitHub
from agent_runtime.model import config, documents, names

INITIATOR = "initiator"
REVIEWER = "reviewer"
WORKFLOW_NAME = "Agent Runtime - Investigate & Act"

_EVENTS = {"manual": "workflow_dispatch", "alert": "repository_dispatch", "schedule": "schedule"}


@dataclass(frozen=True)
class Request:
    """What to simulate.

    Arguments:
        script: the repository's agent_runner.py.
        folder: where the run's folders go; must not exist.
        scenario: None to ask the person at the terminal.
    """

    script: Path
    folder: Path
    resource: str
    context_text: str
    trigger: str
    trace_id: str
    dry_run: bool
    scenario: Optional[Scenario]


@dataclass(frozen=True)
class Ended:
    """How a simulated run ended.

    Arguments:
        refused: the act job's or approve job's exit code where it was refused, else None.
        bundle: folder of the run's bundle.
    """

    exit_code: int
    outcome: str
    bundle: Path


class SimulatedRun:
    """Plays the runner's part for one run.

    Arguments:
        tell: shows one line to a person.
        ask: shows the reviewer's page and returns whether the person approves.
    """

    def __init__(self, request: Request, tell: Callable[[str], None], ask: Callable[[str], bool]) -> None:
        self._request = request
        self._tell = tell
        self._ask = ask
        self._root = request.script.resolve().parent
        self._run_id = str(time.time_ns() // 1_000_000)
        self._trace_id = request.trace_id
        settings = config.load(self._root)
        self._repository = settings.repository
        self._automatic = settings.auto_approval
        self._needs: Dict[str, Dict[str, object]] = {
            name: {"result": "skipped", "outputs": {}}
            for name in ("investigate", "approve", "act", *([names.AUTO_JOB] if self._automatic else []))
        }

    def play(self) -> Ended:
        """Run all phases and return how it ended."""
        with LoopbackGitHub(self._repository) as github:
            github.protect(names.GATE_ENVIRONMENT, reviewers=(REVIEWER,))
            github.protect(names.ACT_ENVIRONMENT)
            if self._automatic:
                github.protect(names.AUTO_ENVIRONMENT)
            if self._request.scenario is Scenario.OPEN_GATE:
                github.create_open(names.GATE_ENVIRONMENT)
            if self._request.scenario is Scenario.BUSY:
                self._use_up_limits(github)
            investigated = self._investigate(github)
            exit_code = investigated.exit_code
            if investigated.outputs.get("decision") == documents.Decision.REVIEW.value:
                exit_code = self._review(github, investigated)
            if investigated.outputs.get("decision") == documents.Decision.AUTO.value:
                self._tell("the policy lets it happen without asking")
                exit_code = self._act(github, investigated, self._request.scenario or Scenario.APPROVE, automatic=True)
            recorded = self._job(
                github, "record", ["--inputs", str(self._collect())], {"NEEDS": json.dumps(self._needs)}
            )
            folder = recorded.folder / names.DEFAULT_OUT / names.BUNDLE_FOLDER
            if os.environ.get("AIMGENTIX_API_URL") and (folder / names.MANIFEST_NAME).is_file():
                self._job(github, "deliver", [str(folder)], {}, privileged=True)
        return Ended(
            exit_code=exit_code or recorded.exit_code,
            outcome=recorded.outputs.get("outcome", "unknown"),
            bundle=folder,
        )

    def _use_up_limits(self, github: LoopbackGitHub) -> None:
        path = config.load(self._root).policy_path
        rules = policy.parse_policy((self._root / path).read_bytes(), path.as_posix())
        for number in range(1, 1 + max((limit.max for limit in rules.rate_limits), default=0)):
            # Nothing tells what these runs did, so they count for every limit.
            github.add_artifact(str(number), names.RECEIPT_ARTIFACT)
            github.add_job(str(number), names.ACT_JOB_NAME)

    def _investigate(self, github: LoopbackGitHub) -> Finished:
        arguments = ["--resource", self._request.resource, "--trigger", self._request.trigger]
        if self._request.scenario is Scenario.EXPIRE:
            late = config.load(self._root).approval_ttl_minutes + 1
            arguments += ["--sealed-minutes-ago", str(late)]
        if self._request.dry_run:
            arguments.append("--dry-run")
        variables = {"ACTION_CONTEXT": self._request.context_text}
        if self._request.trigger == "alert":
            variables = {"GITHUB_EVENT_PATH": str(self._write_event())}
        investigated = self._job(github, "investigate", arguments, variables)
        # As in the workflow: the later jobs take it from here, because an alert may bring its own.
        self._trace_id = investigated.outputs.get("trace_id", self._trace_id)
        return investigated

    def _write_event(self) -> Path:
        """The file in which the runner keeps what an alert sent."""
        payload = json.loads(self._request.context_text or "{}")
        payload["resource"] = self._request.resource
        if self._request.trace_id:
            payload["trace_id"] = self._request.trace_id
        path = self._request.folder / "event.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"action": "alert-triggered", "client_payload": payload}), encoding="utf-8")
        return path

    def _review(self, github: LoopbackGitHub, investigated: Finished) -> int:
        scenario = self._request.scenario
        if scenario is None:
            scenario = Scenario.APPROVE if self._ask(investigated.summary) else Scenario.REJECT
        if scenario is Scenario.WITHOUT_ASKING:
            return self._act(github, investigated, scenario, automatic=True)
        if scenario is Scenario.REJECT:
            github.review(self._run_id, REVIEWER, "rejected", "not now")
            self._needs["approve"]["result"] = "failure"
            self._tell(f"approve: rejected by {REVIEWER}; nothing is executed")
            return codes.EXIT_OK
        if scenario is not Scenario.BYPASS:
            github.review(self._run_id, INITIATOR if scenario is Scenario.SELF_APPROVE else REVIEWER, "approved", "go")
        told = investigated.outputs
        # An attacker who gets around the gate does not stop at the approve job, so act is started even when it failed.
        self._job(
            github,
            "approve",
            [],
            {"APPROVED_DIGEST": told["plan_digest"], "APPROVALS_BEFORE": told["approvals_before"]},
        )
        return self._act(github, investigated, scenario)

    def _act(
        self, github: LoopbackGitHub, investigated: Finished, scenario: Scenario, *, automatic: bool = False
    ) -> int:
        told = dict(investigated.outputs)
        report = self._download(investigated.folder / names.DEFAULT_OUT / names.REPORT_NAME)
        if scenario in (Scenario.TAMPER, Scenario.SWAP):
            _tamper(report)
        if scenario is Scenario.TAMPER:
            told["report_sha256"] = hashlib.sha256(report.read_bytes()).hexdigest()
        if scenario is Scenario.OTHER_RUN:
            self._run_id = str(int(self._run_id) + 1)
            github.review(self._run_id, REVIEWER, "approved", "go")
        variables = {"REPORT_SHA256": told["report_sha256"], "APPROVED_DIGEST": told["plan_digest"]}
        arguments = ["--report", str(report)]
        if automatic:
            arguments.append("--auto")
            variables["AGENT_ACT_TOKEN"] = os.environ.get("AGENT_AUTO_TOKEN", "")
        job = names.AUTO_JOB if automatic else "act"
        acted = self._job(github, "act", arguments, variables, privileged=True, folder_name=job)
        github.add_artifact(self._run_id, names.AUTO_RESULT_ARTIFACT if automatic else names.RESULT_ARTIFACT)
        if scenario is Scenario.EXECUTE_TWICE:
            return self._job(github, "act", arguments, variables, privileged=True, folder_name=job + "-again").exit_code
        return acted.exit_code

    def _job(
        self,
        github: LoopbackGitHub,
        phase: str,
        arguments: List[str],
        variables: Dict[str, str],
        *,
        privileged: bool = False,
        folder_name: Optional[str] = None,
    ) -> Finished:
        environ = dict(os.environ)
        environ.update(self._runner_variables(github))
        environ.update(variables)
        job = folder_name or phase
        folder = self._request.folder / job
        finished = jobs.run(self._request.script.resolve(), phase, folder, arguments, environ, privileged=privileged)
        for line in finished.log.splitlines():
            self._tell(f"{phase:>11} | {line}")
        if job in self._needs:
            self._needs[job] = {"result": finished.result, "outputs": finished.outputs}
        return finished

    def _runner_variables(self, github: LoopbackGitHub) -> Dict[str, str]:
        local = context.local_run(self._root, self._repository)
        return {
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": github.url,
            "GITHUB_REPOSITORY": self._repository,
            "GITHUB_RUN_ID": self._run_id,
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_RUN_NUMBER": "1",
            "GITHUB_SHA": local.sha,
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_ACTOR": INITIATOR,
            "GITHUB_TRIGGERING_ACTOR": INITIATOR,
            "GITHUB_WORKFLOW": WORKFLOW_NAME,
            "GITHUB_WORKFLOW_REF": f"{self._repository}/.github/workflows/{names.WORKFLOW_FILE}@refs/heads/main",
            "GITHUB_EVENT_NAME": _EVENTS[self._request.trigger],
            "GITHUB_TOKEN": "",
            "TARGET_RESOURCE": self._request.resource,
            "TRACE_ID": self._trace_id,
        }

    def _download(self, source: Path) -> Path:
        target = self._request.folder / "download" / source.name
        target.parent.mkdir(parents=True)
        shutil.copyfile(str(source), str(target))
        return target

    def _collect(self, name: str = "artifacts") -> Path:
        """Put what the jobs uploaded where the record job downloads it."""
        target = self._request.folder / name
        target.mkdir()
        for job in self._needs:
            source = self._request.folder / job / names.DEFAULT_OUT
            if source.is_dir():
                shutil.copytree(str(source), str(target / ("act" if job == names.AUTO_JOB else job)))
        return target


def _tamper(report: Path) -> None:
    """Change what the plan does, as somebody would who can replace an artifact."""
    document = json.loads(report.read_bytes().decode("utf-8"))
    document["plan"]["parameters"]["tampered"] = True
    report.write_bytes(documents.encode(document))


def is_terminal() -> bool:
    """Whether a person can answer a question."""
    return sys.stdin.isatty() and sys.stdout.isatty()
