"""One simulated run: the jobs of the workflow, exchanging only what those jobs exchange.

One module, because it is one workflow: a method for each job, in their order.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.gate import policy_file
from agent_runtime.gate.pages import review
from agent_runtime.github import archive
from agent_runtime.job.trail import OPENED
from agent_runtime.local.simulate.jobs import Job
from agent_runtime.local.simulate.scenario import Scenario
from agent_runtime.local.simulate.server import LoopbackGitHub
from agent_runtime.local.terminal import as_terminal
from agent_runtime.model import config, documents, names, plan
from agent_runtime.model.documents import Approvals, Plan, Report, ReportStatus
from agent_runtime.run import local

# What lets team code find an example on this machine instead of production; no runner on GitHub has these.
_OF_THE_EXAMPLE = ("SERVICES_FILE", "NO_PROXY", "no_proxy")
INITIATOR = "initiator"
REVIEWER = "reviewer"
SECOND_REVIEWER = "second-reviewer"
# The reviewer's page as a terminal shows it, in the run's folder.
PAGE_NAME = "page.txt"
WORKFLOW_NAME = "Agent Runtime - Investigate & Act"

_EVENTS = {"manual": "workflow_dispatch", "alert": "repository_dispatch", "schedule": "schedule"}
_KINDS = {
    "investigate": (names.INVESTIGATE_ENVIRONMENT, "investigate_secrets"),
    "act": (names.ACT_ENVIRONMENT, "act_secrets"),
    names.AUTO_JOB: (names.AUTO_ENVIRONMENT, "act_secrets"),
}


@dataclass(frozen=True)
class Request:
    """What to simulate.

    Arguments:
        root: the repository.
        folder: where the run's folders go; must not exist.
        scenario: None to ask the person at the terminal.
        approvers: logins of who approves, in this order; by default as many as the plan needs.
        secrets: further variables of this terminal that team code gets, as pairs of a job and a name.
    """

    root: Path
    folder: Path
    resource: str
    context_text: str
    trigger: str
    trace_id: str
    dry_run: bool
    scenario: Optional[Scenario]
    secrets: Sequence[Tuple[str, str]] = ()
    approvers: Sequence[str] = ()


@dataclass(frozen=True)
class Ended:
    """How a simulated run ended.

    Arguments:
        bundle: folder of the run's bundle.
        page: the reviewer's page, or that of the job that refused or failed.
        why: what was denied, refused or failed, and what to do next; empty where nothing was.
    """

    exit_code: int
    outcome: str
    bundle: Path
    page: Path
    why: Sequence[str]


class SimulatedRun:
    """Plays the runner's part for one run behind environments.

    Arguments:
        show: shows one line to a person.
        ask: shows the reviewer's page, asks the question under it, and returns whether the person approves.
    """

    def __init__(self, request: Request, show: Callable[[str], None], ask: Callable[[str, str], bool]) -> None:
        self.request = request
        self.show = show
        self.ask = ask
        self.config = config.load(request.root)
        self.run_id = str(time.time_ns() // 1_000_000)
        self.trace_id = request.trace_id
        self.changes: Dict[str, str] = {}
        self.needs: Dict[str, Dict[str, object]] = {}
        self.archives: Dict[str, Tuple[str, bytes]] = {}
        self._stopped: Optional[Tuple[Path, List[str]]] = None
        self._opened = False  # every job says that it opened its journal; one line of it is enough here

    def play(self) -> Ended:
        """Run all jobs and return how it ended.

        Raises:
            BadInput: the scenario tries nothing here (INP006).
        """
        if self.request.scenario is Scenario.BUSY and not policy_file.load(self.request.root, self.config).rate_limits:
            raise codes.BadInput(codes.USAGE, "the policy has no rate_limits, so --busy would try nothing")
        with LoopbackGitHub(self.config.repository) as github:
            self.prepare(github)
            if self.request.scenario is Scenario.BUSY:
                self._make_busy(github)
            sealed = self.investigate_and_seal(github)
            exit_code, recorded = self.decide(github, sealed)
            folder = recorded.folder / names.DEFAULT_OUT / names.BUNDLE_FOLDER
            if os.environ.get("AIMGENTIX_API_URL") and (folder / names.MANIFEST_NAME).is_file():
                delivering = {name: os.environ.get(name, "") for name in ("AIMGENTIX_API_URL", "AIMGENTIX_API_KEY")}
                self.step(github, recorded, "deliver", ["deliver", str(folder)], delivering)
        page, why = self._stopped or (self.request.folder / "seal" / "summary-seal", self._denied())
        return Ended(exit_code or recorded.exit_code, recorded.outputs.get("outcome", "unknown"), folder, page, why)

    def _denied(self) -> List[str]:
        """Why the policy denied what the agent proposed; nothing where it did not."""
        path = self.request.folder / "seal" / names.DEFAULT_OUT / names.REPORT_NAME
        report = documents.decode(Report, path.read_bytes(), path.name) if path.is_file() else None
        if report is None or report.status is not ReportStatus.DENIED:
            return []
        policy = self.config.policy_path.as_posix()
        hint = (
            f"If the policy is wrong, change {policy}; python agent_runner.py policy check shows what it would decide"
        )
        return [*report.policy_reasons, hint]

    def prepare(self, github: LoopbackGitHub) -> None:
        """Give the repository the settings that docs/SETUP_GUIDE.md asks for, or those of an attack."""
        jobs = ["investigate", "seal", "approve", names.SECOND_JOB, "act"]
        self.expect(*jobs, *([names.AUTO_JOB] if self.config.auto_approval else []))
        policy = policy_file.load_or_empty(self.request.root, self.config)
        named = [login for rule in policy.allowed_actions for login in rule.approvers or ()]
        people = tuple(dict.fromkeys((REVIEWER, SECOND_REVIEWER, *named)))
        for name in self.config.environments(policy.most_approvals):
            github.protect(name, reviewers=people if name in names.GATE_ENVIRONMENTS else ())
        if self.request.scenario is Scenario.OPEN_GATE:
            github.create_open(names.GATE_ENVIRONMENT)

    def _make_busy(self, github: LoopbackGitHub) -> None:
        """Let other runs have acted as often as the policy's rate limits allow."""
        limits = policy_file.load(self.request.root, self.config).rate_limits
        for number in range(1, 1 + max((limit.max for limit in limits), default=0)):
            # Nothing says what these runs did, so they count for every limit.
            github.keep_archive(-number, str(number), names.RECEIPT_ARTIFACT, b"")
            github.set_job(str(number), names.ACT_JOB_NAME, "completed", _now(), "success")

    def expect(self, *jobs: str) -> None:
        """Let the run have these jobs before `record`, none of which has run."""
        self.needs = {name: {"result": "skipped", "outputs": {}} for name in jobs}

    def investigate_and_seal(self, github: LoopbackGitHub) -> Job:
        """Run the jobs up to the decision."""
        asked = {
            "TARGET_RESOURCE": self.request.resource,
            "ACTION_CONTEXT": self.request.context_text,
            "TRIGGER_SOURCE": self.request.trigger,
            "TRACE_ID": self.request.trace_id,
            "DRY_RUN": "true" if self.request.dry_run else "false",
        }
        if self.request.trigger == "alert":
            self.changes["GITHUB_EVENT_PATH"] = str(self._write_event())
        given = self.team_variables("investigate")
        investigate = Job(self.request.folder / "investigate")
        started = self.step(github, investigate, "Start", ["start"], asked)
        if started and investigate.outputs.pop("state", "") == "go":
            self.step(github, investigate, "Investigate", ["investigate"], {**asked, **given}, team=True)
        self.upload(github, investigate, "investigation", names.INVESTIGATION_ARTIFACT)
        self.close(github, "investigate", names.INVESTIGATE_JOB, investigate)
        seal = Job(self.request.folder / "seal")
        words = ["seal"]
        if self.request.scenario is Scenario.EXPIRE:
            words += ["--minutes-ago", str(self.config.approval_ttl_minutes + 1)]
        handed_over = {
            "INVESTIGATE_RESULT": investigate.result,
            "INVESTIGATION_ID": investigate.outputs.get("investigation_id", ""),
            "INVESTIGATION_DIGEST": investigate.outputs.get("investigation_digest", ""),
        }
        self.step(github, seal, "seal", words, {**asked, **handed_over})
        self.upload(github, seal, "report", names.REPORT_ARTIFACT)
        self.close(github, "seal", names.SEAL_JOB, seal)
        self.trace_id = seal.outputs.get("trace_id", self.trace_id)
        report = seal.folder / names.DEFAULT_OUT / names.REPORT_NAME
        if report.is_file():
            found = documents.decode(Report, report.read_bytes(), report.name)
            page = as_terminal(review.render_terminal(found), shutil.get_terminal_size().columns)
            (self.request.folder / PAGE_NAME).write_text(page, encoding="utf-8")
        return seal

    def decide(self, github: LoopbackGitHub, sealed: Job) -> Tuple[int, Job]:
        """Run the jobs from the decision on; return the exit code of what was decisive, and the job `record`."""
        exit_code = sealed.exit_code
        decision = sealed.outputs.get("decision")
        if decision == documents.Decision.REVIEW.value:
            exit_code = self._review(github, sealed)
        if decision == documents.Decision.AUTO.value:
            self.show("the policy lets it happen without asking")
            exit_code = self._act(github, sealed, self.request.scenario or Scenario.APPROVE, names.AUTO_JOB)
        return exit_code, self.record(github, "record")

    def answer(self, sealed: Job) -> Scenario:
        """Ask the person at the terminal about the plan that was sealed."""
        given = sealed.outputs
        question = f"{given['action']} on {given['resource']}, plan {given['plan_digest_short']}"
        page = (self.request.folder / PAGE_NAME).read_text(encoding="utf-8")
        return Scenario.APPROVE if self.ask(page, question) else Scenario.REJECT

    def _review(self, github: LoopbackGitHub, sealed: Job) -> int:
        scenario = self.request.scenario
        if scenario is None:
            scenario = self.answer(sealed)
        if scenario is Scenario.WITHOUT_ASKING:
            return self._act(github, sealed, scenario, names.AUTO_JOB)
        wanted = sealed_plan(self.request.folder).approvals
        people = list(self.request.approvers or approvers(wanted))
        for number in range(wanted.count):
            id, environment = ("approve", names.SECOND_JOB)[number], names.GATE_ENVIRONMENTS[number]
            login = INITIATOR if scenario is Scenario.SELF_APPROVE else people.pop(0) if people else ""
            if scenario is Scenario.REJECT:
                github.review(self.run_id, login, "rejected", "not now", environment=environment)
                self.needs[id]["result"] = "failure"
                self.show(f"{id}: rejected by {login}; nothing is executed")
                return codes.EXIT_OK
            if not login:
                self.needs[id]["result"] = "failure"
                self.show(f"{id}: nobody approved; nothing is executed")
                return codes.EXIT_REFUSED
            if scenario is not Scenario.BYPASS:
                github.review(self.run_id, login, "approved", "go", environment=environment)
            approve = self._approve(github, sealed, id)
            # An attacker who gets around the gate does not stop at this job, so act is started even when it fails.
            if approve.exit_code and scenario is Scenario.APPROVE:
                return approve.exit_code
        return self._act(github, sealed, scenario, "act")

    def _approve(self, github: LoopbackGitHub, sealed: Job, id: str) -> Job:
        """Run a job that writes down who approved."""
        approve = Job(self.request.folder / id)
        suffix, mark = (names.SECOND, names.SECOND_MARK) if id == names.SECOND_JOB else ("", "")
        given = {
            "APPROVED_DIGEST": sealed.outputs["plan_digest"],
            "REPORT_ID": sealed.outputs["report_id"],
            "REPORT_DIGEST": sealed.outputs["report_digest"],
        }
        self.step(github, approve, "approve", ["approve", *(["--second"] if suffix else [])], given)
        self.upload(github, approve, "receipt", names.RECEIPT_ARTIFACT + suffix)
        self.close(github, id, self._title(names.APPROVE_JOB, sealed, mark), approve)
        return approve

    def _act(self, github: LoopbackGitHub, sealed: Job, scenario: Scenario, id: str) -> int:
        given = dict(sealed.outputs)
        if scenario in (Scenario.TAMPER, Scenario.SWAP):
            data = tampered(self.archives[names.REPORT_ARTIFACT][1])
            github.keep_archive(int(given["report_id"]), self.run_id, names.REPORT_ARTIFACT, data)
            if scenario is Scenario.TAMPER:
                given["report_digest"] = hashlib.sha256(data).hexdigest()
        if scenario is Scenario.OTHER_RUN:
            self.run_id = str(int(self.run_id) + 1)
            github.review(self.run_id, REVIEWER, "approved", "go")
        variables = {
            "APPROVED_DIGEST": given["plan_digest"],
            "REPORT_ID": given["report_id"],
            "REPORT_DIGEST": given["report_digest"],
        }
        suffix = names.AUTO if id == names.AUTO_JOB else ""
        title = self._title(names.AUTO_JOB_NAME, sealed) if suffix else names.ACT_JOB_NAME
        act = self.act(github, id, variables, title, suffix)
        if scenario is Scenario.EXECUTE_TWICE:
            return self.act(github, id, variables, title, suffix, folder=id + "-again").exit_code
        return act.exit_code

    def act(
        self,
        github: LoopbackGitHub,
        id: str,
        variables: Mapping[str, str],
        title: str,
        suffix: str,
        *,
        folder: str = "",
    ) -> Job:
        """Run the job that acts: Verify, then Execute."""
        job = Job(self.request.folder / (folder or id))
        given = self.team_variables(id)
        verified = self.step(github, job, names.VERIFY_STEP, ["authorize", *(["--auto"] if suffix else [])], variables)
        self.upload(github, job, "authorization", names.AUTHORIZATION_ARTIFACT + suffix)
        job.steps[names.EXECUTE_STEP] = "skipped"
        if verified:
            executing = {
                **given,
                "APPROVED_DIGEST": variables["APPROVED_DIGEST"],
                "AGENT_JOB": id,
                "AGENT_PLAN_FILE": str(job.folder / names.DEFAULT_OUT / names.PLAN_NAME),
                "AGENT_SESSION_POLICY_FILE": str(job.folder / names.DEFAULT_OUT / names.SESSION_POLICY_NAME),
            }
            self.step(github, job, names.EXECUTE_STEP, ["execute"], executing, team=True)
            self.upload(github, job, "result", names.RESULT_ARTIFACT + suffix, names.EXECUTE_OUT)
        if not folder:
            self.close(github, id, title, job)
        return job

    def record(self, github: LoopbackGitHub, folder: str) -> Job:
        """Run the job that closes the trail."""
        job = Job(self.request.folder / folder)
        given = {"NEEDS": json.dumps(self.needs), names.SIMULATED: "true"}
        self.step(github, job, "record", ["record"], given)
        return job

    def step(
        self,
        github: LoopbackGitHub,
        job: Job,
        name: str,
        words: List[str],
        variables: Mapping[str, str],
        *,
        team: bool = False,
    ) -> bool:
        """Run one step, show what it prints, and return whether it succeeded."""
        root = self.request.root
        start = [str(root / "agent_runner.py")] if team else ["-I", str(root / "agent_runtime" / "__main__.py")]
        before = len(job.log)
        # Variables of the repository: the kill switch, and those that are sealed.
        given: Dict[str, str] = {}
        if not team:
            given = {names.VARIABLE + each: os.environ.get(each, "") for each in self.config.act_variables}
            given["AGENT_DISABLED"] = os.environ.get("AGENT_DISABLED", "")
        done = job.run(name, [*start, *words], {**self.runner_variables(github), **given, **variables})
        for line in job.log[before:].splitlines():
            if line != OPENED or not self._opened:
                self.show(f"{words[0]:>11} | {line}")
            self._opened = self._opened or line == OPENED
        # What stops the job investigate stops seal too, which writes the page about it.
        page = job.folder / f"summary-{name}"
        if not done and self._stopped is None and job.folder.name != "investigate" and page.stat().st_size:
            errors = [line for line in job.log[before:].splitlines() if line.startswith("error: ")]
            self._stopped = (page, [line[len("error: ") :] for line in errors])
        return done

    def close(self, github: LoopbackGitHub, id: str, title: str, job: Job) -> None:
        """Let GitHub and the later jobs know how a job ended."""
        self.needs[id] = {"result": job.result, "outputs": job.outputs}
        github.set_job(self.run_id, title, "in_progress", _now())
        github.set_job(self.run_id, title, "completed", _now(), job.result)
        github.set_steps(self.run_id, title, job.steps)

    def upload(self, github: LoopbackGitHub, job: Job, output: str, name: str, folder: str = names.DEFAULT_OUT) -> None:
        """Keep what a step left as an artifact, with its id and digest in the job's outputs."""
        files = sorted(path for path in (job.folder / folder).rglob("*") if path.is_file())
        if not files:
            return
        data = pack({path.relative_to(job.folder / folder).as_posix(): path.read_bytes() for path in files})
        number = 1 + len(github.archives)
        github.keep_archive(number, self.run_id, name, data)
        self.archives[name] = (str(number), data)
        job.outputs[output + "_id"] = str(number)
        job.outputs[output + "_digest"] = hashlib.sha256(data).hexdigest()

    def team_variables(self, id: str) -> Dict[str, str]:
        """What team code gets in a job: what the answers name, and what --secret-env names, from this terminal."""
        environment, answer = _KINDS[id]
        kind = "investigate" if id == "investigate" else "act"
        named = [*getattr(self.config, f"{kind}_secrets"), *getattr(self.config, f"{kind}_variables")]
        place, option = f"environment {environment}", f" --env {environment}"
        if self.config.repository_plan == config.PLAN_WITHOUT_ENVIRONMENTS:
            place, option = "repository's secrets", ""
        for job, name in self.request.secrets:
            if job == kind and name not in named:
                self.show(
                    f"{name} goes to {kind} here. On GitHub: add it to the answer {answer}, and store it in the "
                    f"{place} (docs/SETUP_GUIDE.md)"
                )
                named.append(name)
        for name in self.config.investigate_secrets if id == "investigate" else ():
            if not os.environ.get(name):
                self.show(
                    f"{name} is not set in this terminal, so investigate runs without it. On GitHub it is in the "
                    f"{place}: gh secret set {name}{option}"
                )
        return {name: os.environ[name] for name in (*named, *_OF_THE_EXAMPLE) if name in os.environ}

    def runner_variables(self, github: LoopbackGitHub) -> Dict[str, str]:
        """What the runner sets in every job of this run."""
        return {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": github.url,
            "GITHUB_REPOSITORY": self.config.repository,
            "GITHUB_RUN_ID": self.run_id,
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_RUN_NUMBER": "1",
            "GITHUB_SHA": local.commit(self.request.root),
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_ACTOR": INITIATOR,
            "GITHUB_TRIGGERING_ACTOR": INITIATOR,
            "GITHUB_WORKFLOW": WORKFLOW_NAME,
            "GITHUB_WORKFLOW_REF": f"{self.config.repository}/{names.INVESTIGATE_WORKFLOW}@refs/heads/main",
            "GITHUB_EVENT_NAME": _EVENTS[self.request.trigger],
            "TARGET_RESOURCE": self.request.resource,
            "TRACE_ID": self.trace_id,
            **self.changes,
        }

    def _write_event(self) -> Path:
        """The file in which the runner keeps what an alert sent."""
        payload = json.loads(self.request.context_text or "{}")
        payload["resource"] = self.request.resource
        if self.request.trace_id:
            payload["trace_id"] = self.request.trace_id
        path = self.request.folder / "event.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"action": "alert-triggered", "client_payload": payload}), encoding="utf-8")
        return path

    def _title(self, prefix: str, sealed: Job, mark: str = "") -> str:
        given = sealed.outputs
        return f"{prefix}{plan.short(given['plan_digest'])}{mark}: {given['action']} on {given['resource']}"


def sealed_plan(folder: Path) -> Plan:
    """The plan in the report of a simulated run that sealed one."""
    path = folder / "seal" / names.DEFAULT_OUT / names.REPORT_NAME
    report = documents.decode(Report, path.read_bytes(), path.name)
    if report.plan is None:
        raise codes.BadInput(codes.REPORT_NO_PLAN, f"the report's status is {report.status}")
    return report.plan


def approvers(wanted: Approvals, known: Sequence[str] = (REVIEWER, SECOND_REVIEWER)) -> List[str]:
    """As many people as a plan needs, of those whom it names, or of those who are known."""
    return list(wanted.approvers or known)[: wanted.count]


def tampered(data: bytes) -> bytes:
    """Change what the plan does, as somebody would who can replace an artifact."""
    files = archive.unpack(data)
    document = json.loads(files[names.REPORT_NAME].decode("utf-8"))
    document["plan"]["steps"][0]["parameters"]["tampered"] = True
    return pack({**files, names.REPORT_NAME: documents.encode(document)})


def pack(files: Mapping[str, bytes]) -> bytes:
    """Files as the archive that an upload makes of them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, data in files.items():
            made.writestr(name, data)
    return buffer.getvalue()


def is_terminal() -> bool:
    """Whether a person can answer a question."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
