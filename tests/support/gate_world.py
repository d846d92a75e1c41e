"""A repository, a GitHub on the loopback interface, and the jobs of one run that never run team code."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_runtime.agent import ActionResult, AgentRunner, InvestigationResult
from agent_runtime.gate import approve, authorize, record, seal, verification
from agent_runtime.job.context import JobContext, set_up
from agent_runtime.job.request import Request
from agent_runtime.local.simulate.jobs import parse_outputs
from agent_runtime.local.simulate.run import pack
from agent_runtime.model import documents, names, plan
from agent_runtime.model.documents import Authorization, Plan, Report
from agent_runtime.results import ActionStatus
from agent_runtime.run import execute, investigate
from support import examples, interpreter
from support.environment import REPOSITORY as CHECKOUT
from support.github import FullGitHub

TEMPLATE = CHECKOUT / "template"
REPOSITORY = examples.run().repository
CONFIG = f"""
schema_version: 1
agent: checkout-restart
name: Checkout Restart
repository: {REPOSITORY}
approvers: [bob]
approval_ttl_minutes: 60
repository_plan: public
"""
POLICY = """
name: checkout-restart
version: 1
allowed_actions:
  - {type: restart_service, resources: [checkout], max_risk: medium, requires_approval: false}
  - {type: warm_cache, max_risk: medium}
auto_approve:
  - {type: restart_service, max_risk: medium}
"""
TITLE = "restart_service on checkout"


@dataclass
class GateWorld:
    """One run behind environments that `alice` started and `bob` may approve.

    Arguments:
        changes: to the variables that the runner sets.
    """

    root: Path
    github: FullGitHub
    changes: dict[str, str] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        return self.environ()["GITHUB_RUN_ID"]

    def environ(self) -> dict[str, str]:
        """What the runner sets in every job of the run of `examples.run()`."""
        run = examples.run()
        return {
            "GITHUB_API_URL": self.github.url,
            "GITHUB_REPOSITORY": run.repository,
            "GITHUB_RUN_ID": run.run_id,
            "GITHUB_RUN_ATTEMPT": str(run.run_attempt),
            "GITHUB_RUN_NUMBER": "3",
            "GITHUB_SHA": run.sha,
            "GITHUB_REF": run.ref,
            "GITHUB_ACTOR": run.actor,
            "GITHUB_TRIGGERING_ACTOR": run.triggering_actor,
            "GITHUB_WORKFLOW": run.workflow,
            "GITHUB_WORKFLOW_REF": f"{run.repository}/.github/workflows/agent-investigate-act.yml@{run.ref}",
            "GITHUB_EVENT_NAME": run.event,
            "TARGET_RESOURCE": "checkout",
            **self.changes,
        }

    def folder(self, job: str) -> Path:
        """Where a job works."""
        found = self.root.parent / "jobs" / job
        found.mkdir(parents=True, exist_ok=True)
        return found

    def job(self, id: str) -> JobContext:
        """The context of a job of this process."""
        folder = self.folder(id)
        files = {"GITHUB_OUTPUT": str(folder / "output"), "GITHUB_STEP_SUMMARY": str(folder / "summary")}
        return set_up(self.root, folder / names.DEFAULT_OUT, id, {**self.environ(), **files})

    def page(self, job: str) -> str:
        """The summary that a job wrote."""
        path = self.folder(job) / "summary"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def outputs(self, job: str) -> dict[str, str]:
        """The outputs that a job wrote."""
        path = self.folder(job) / "output"
        return parse_outputs(path.read_text(encoding="utf-8")) if path.exists() else {}

    def events(self, job: str) -> list[dict[str, Any]]:
        """The metadata of the events that a job wrote, in order, each with its status."""
        found = []
        for path in sorted((self.folder(job) / names.DEFAULT_OUT / names.JOURNAL_FOLDER).glob("*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                event = json.loads(line).get("event")
                if event:
                    found.append({**event["metadata"], "status": event["status"]})
        return found

    def upload(self, name: str, data: bytes | Mapping[str, bytes]) -> tuple[str, str]:
        """Keep an archive, or files packed as one, as an artifact of this run; return its id and its digest."""
        archive = data if isinstance(data, bytes) else pack(data)
        number = 1 + len(self.github.archives)
        self.github.keep_archive(number, self.run_id, name, archive)
        return str(number), hashlib.sha256(archive).hexdigest()

    def upload_folder(self, name: str, folder: Path) -> tuple[str, str]:
        """The same for every file below a folder."""
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        return self.upload(name, files)

    def hand_over(self, data: bytes, result: str = "success") -> seal.Handover:
        """Let the job `investigate` leave this as `investigation.json`."""
        id, digest = self.upload(names.INVESTIGATION_ARTIFACT, {names.INVESTIGATION_NAME: data})
        return seal.Handover(id, digest, result)

    def seal(self, handover: seal.Handover, *, dry_run: bool = False) -> seal.SealResult:
        """Run the job `seal` in this process."""
        asked = Request("checkout", {}, "manual", "", deduplicate=False, dry_run=dry_run)
        return seal.run_job(self.job("seal"), asked, handover)

    def sealed(self, *steps: documents.Step, **changes: Any) -> tuple[Plan, verification.Handover]:
        """Seal a plan of these steps, and say where its report is."""
        outcome = self.seal(self.hand_over(documents.encode(examples.investigation(*steps))), **changes)
        assert outcome.report.plan is not None, outcome.problem or outcome.report.policy_reasons
        id, digest = self.upload_folder(names.REPORT_ARTIFACT, self.folder("seal") / names.DEFAULT_OUT)
        return outcome.report.plan, verification.Handover(plan.digest(outcome.report.plan), id, digest)

    def approved(self, login: str = "bob", state: str = "approved", number: int = 1) -> None:
        """Let somebody answer in GitHub's record."""
        self.github.review(self.run_id, login, state, environment=names.GATE_ENVIRONMENTS[number - 1])

    def approve(self, handover: verification.Handover, number: int = 1) -> documents.Receipt:
        """Run the job `approve`, or `approve-second`, in this process."""
        job = self.job(("approve", names.SECOND_JOB)[number - 1])
        return approve.run_job(job, handover, resource="checkout", number=number)

    def authorize(self, handover: verification.Handover, *, automatic: bool = False) -> Authorization:
        """Run the step *Verify* in this process."""
        id = names.AUTO_JOB if automatic else "act"
        return authorize.run_job(self.job(id), handover, resource="checkout", automatic=automatic)

    def record(self, needs: Mapping[str, Any]) -> record.Ending:
        """Run the job `record` in this process."""
        return record.run_job(self.job("record"), record.parse_needs(json.dumps(needs)))

    def command(
        self, job: str, words: Sequence[str], *, python: Sequence[str] = (), **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of `agent_runtime/__main__.py` as the workflow does, in a process of its own."""
        folder = self.folder(job)
        machine = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        files = {"GITHUB_OUTPUT": str(folder / "output"), "GITHUB_STEP_SUMMARY": str(folder / "summary")}
        for path in files.values():
            Path(path).touch()
        return subprocess.run(
            [*(python or (interpreter.python(), "-I")), str(self.root / "agent_runtime" / "__main__.py"), *words],
            cwd=folder,
            env={**machine, **self.environ(), **files, "PYTHONUTF8": "1", **variables},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )


def make_root(root: Path, *, config: str = CONFIG, policy: str = POLICY) -> Path:
    """An agent repository without team code; its runtime is the one under test."""
    policies = root / ".github" / "agent-policies"
    policies.mkdir(parents=True)
    (policies / "checkout-restart.yml").write_text(policy)
    (root / ".github" / "agent-config.yml").write_text(config)
    for name in ("agent_runtime", "sdk"):
        (root / name).symlink_to(TEMPLATE / name)
    return root


def close_the_gate(github: FullGitHub) -> None:
    """The settings that docs/SETUP_GUIDE.md asks for."""
    github.protect(names.GATE_ENVIRONMENT, reviewers=("bob",))
    github.protect(names.ACT_ENVIRONMENT)
    github.protect(names.AUTO_ENVIRONMENT)


def report_of(world: GateWorld) -> Report:
    """The report that `seal` wrote."""
    data = (world.folder("seal") / names.DEFAULT_OUT / names.REPORT_NAME).read_bytes()
    return documents.decode(Report, data, "report")


class Agent(AgentRunner):
    """Does what its plan says, and fails where a parameter says so."""

    def investigate(self, resource: str, context: dict[str, Any] | None = None) -> InvestigationResult:
        return InvestigationResult()

    def observe(self, resource: str) -> dict[str, Any]:
        return {"started": 17}

    def act(self, resource: str, action: str, context: dict[str, Any] | None = None) -> ActionResult:
        return ActionResult(ActionStatus.FAILED if (context or {}).get("fails") else ActionStatus.SUCCESS, ("done",))


def whole_run(world: GateWorld, *steps: documents.Step, second: str = "") -> dict[str, Any]:
    """Play every job of a run that bob approves, and `second` too if named; return the `needs` that `record` gets."""
    job = world.job("investigate")
    investigate.run_job(Agent(), job, Request("checkout", {}, "manual", "", deduplicate=False, dry_run=False))
    (job.out / names.INVESTIGATION_NAME).write_bytes(documents.encode(examples.investigation(*steps)))
    investigation = world.upload_folder(names.INVESTIGATION_ARTIFACT, job.out)
    world.seal(seal.Handover(*investigation, "success"))
    report = world.upload_folder(names.REPORT_ARTIFACT, world.folder("seal") / names.DEFAULT_OUT)
    sealed = world.outputs("seal")
    digest = sealed["plan_digest"]
    world.approved()
    world.approve(verification.Handover(digest, *report))
    receipt = world.upload_folder(names.RECEIPT_ARTIFACT, world.folder("approve") / names.DEFAULT_OUT)
    again: dict[str, Any] = {"result": "skipped", "outputs": {}}
    if second:
        world.approved(second, number=2)
        world.approve(verification.Handover(digest, *report), 2)
        folder = world.folder(names.SECOND_JOB) / names.DEFAULT_OUT
        id, archived = world.upload_folder(names.RECEIPT_ARTIFACT + names.SECOND, folder)
        outputs = {**world.outputs(names.SECOND_JOB), "receipt_id": id, "receipt_digest": archived}
        again = {"result": "success", "outputs": outputs}
    world.authorize(verification.Handover(digest, *report))
    out = world.folder("act") / names.DEFAULT_OUT
    authorization = world.upload_folder(names.AUTHORIZATION_ARTIFACT, out)
    verified = world.outputs("act")
    job = dataclasses.replace(world.job("act"), out=world.folder("act") / names.EXECUTE_OUT)
    done = execute.run_job(Agent(), job, resource="checkout", plan_path=out / names.PLAN_NAME, approved_digest=digest)
    left = world.upload_folder(names.RESULT_ARTIFACT, job.out)
    ended = "success" if done.result.status is ActionStatus.SUCCESS else "failure"
    title = f"{names.APPROVE_JOB}{digest[:12]}: {sealed['action']} on checkout"
    for name, conclusion in (("Investigate", "success"), ("Seal", "success"), (title, "success"), ("Act", ended)):
        world.github.add_job(world.run_id, name, conclusion=conclusion)
    world.github.set_steps(world.run_id, "Act", {"Verify": "success", "Execute": ended})

    def needed(ending: str, outputs: Mapping[str, str], **uploads: tuple[str, str]) -> dict[str, Any]:
        named = {f"{key}_id": id for key, (id, _) in uploads.items()}
        named.update({f"{key}_digest": found for key, (_, found) in uploads.items()})
        return {"result": ending, "outputs": {**outputs, **named}}

    return {
        "investigate": needed("success", {}, investigation=investigation),
        "seal": needed("success", sealed, report=report),
        "approve": needed("success", world.outputs("approve"), receipt=receipt),
        names.SECOND_JOB: again,
        "act": needed(ended, verified, authorization=authorization, result=left),
    }
