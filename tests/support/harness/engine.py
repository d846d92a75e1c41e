"""GitHub's part of a run: triggers, the order of jobs, environments with their reviewers, outputs, attempts.

Emulated from https://docs.github.com/en/actions/reference (workflow syntax, contexts, deployments and environments,
re-running workflows).  Parsing and expressions are GitHub's own; see node.py.  The settings of environments and the
record of approvals lie in a `FullGitHub`, which answers the same API that the jobs ask.
"""

from __future__ import annotations

import itertools
import secrets as random_secrets
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from support.github import FullGitHub
from support.harness import actions
from support.harness.artifacts import ArtifactStore
from support.harness.commands import Masks
from support.harness.concurrency import ConcurrencyGroups
from support.harness.expressions import Scope, Status
from support.harness.machine import CONTAINER, HOSTED, Machine
from support.harness.model import Job, Workflow, load_workflow
from support.harness.node import ActionsService
from support.harness.results import CANCELLED, FAILURE, SKIPPED, SUCCESS, JobResult
from support.harness.runner import Runner, RunnerDied
from support.private_sigstore import Sigstore, claims

# https://docs.github.com/en/rest/repos/repos#create-a-repository-dispatch-event
MAX_PAYLOAD_PROPERTIES = 10
# The name of a job that holds an expression is cut; one that holds none is taken as it is.
MAX_NAME_CHARACTERS = 100

_run_ids = itertools.count(7_000_000_001)
_artifact_ids = itertools.count(1_000, 100)


def now() -> str:
    """The present moment as GitHub's API writes it."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


class Refused(Exception):
    """GitHub answers a request with an error; nothing was started."""


@dataclass(frozen=True)
class Click:
    """A reviewer's answer: `state` is `approved` or `rejected`."""

    login: str
    state: str = "approved"
    comment: str = "looks right"
    kind: str = "User"


@dataclass(frozen=True)
class Bypass:
    """An administrator starts the waiting job without a review; GitHub records no approval."""


@dataclass(frozen=True)
class Nobody:
    """Nobody answers; after 30 days GitHub fails the job."""


@dataclass(frozen=True)
class Cancel:
    """Somebody cancels the run while it waits."""


Answer = Click | Bypass | Nobody | Cancel


@dataclass(frozen=True)
class Waiting:
    """What a reviewer sees of a waiting job: its name, and the summaries of the jobs before."""

    job: str
    environment: str
    summary: str


Reviewer = Callable[[Waiting], Answer]


def approve_as(login: str) -> Reviewer:
    """A reviewer who approves whatever waits."""
    return lambda waiting: Click(login)


def nobody(waiting: Waiting) -> Answer:
    """A reviewer who never looks."""
    return Nobody()


@dataclass
class Repository:
    """The repository on GitHub, and its settings.

    Arguments:
        origin: a Git repository with the commit to run.
        environment_secrets, environment_variables: by environment.
        server: GitHub's address; git pushes there.
        sigstore: which signs for the repository; without one a called workflow is passed over, which saves its time.
    """

    origin: Path
    name: str
    github: FullGitHub
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    environment_secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    environment_variables: dict[str, dict[str, str]] = field(default_factory=dict)
    server: str = "https://github.com"
    sigstore: Sigstore | None = None

    def commit(self, ref: str) -> str:
        """The commit that a branch points to.

        Raises:
            Refused: there is no such branch.
        """
        command = ["git", "-C", str(self.origin), "rev-parse", "--verify", f"refs/heads/{ref}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Refused(f"No ref found for: {ref}")
        return done.stdout.strip()

    def read(self, commit: str, path: str) -> str:
        """A file of a commit."""
        command = ["git", "-C", str(self.origin), "show", f"{commit}:{path}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@dataclass
class Run:
    """One run, over its attempts.

    Arguments:
        jobs: the newest result of each job.
        hooks: called before the job of that id is looked at, for tests that change the world in between.
        cancels: by id of a job, when somebody cancels the run: the id of a step after which the job's runner died, so
            that the job hung; or an empty text for a job that waits for its runner.
        clicks: what reviewers did, and GitHub's answer where it refused.
    """

    id: str
    workflow: Workflow
    github: dict[str, Any]
    inputs: dict[str, str]
    artifacts: ArtifactStore
    folder: Path
    reviewer: Reviewer
    hooks: Mapping[str, Callable[[Run], None]]
    cancels: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 1
    jobs: dict[str, JobResult] = field(default_factory=dict)
    clicks: list[tuple[Answer, str]] = field(default_factory=list)
    cancelled: bool = False

    @property
    def result(self) -> str:
        """The conclusion of the newest attempt."""
        tolerated = {job.id for job in self.workflow.jobs if job.continue_on_error}
        ends = {id: job.result for id, job in self.jobs.items()}
        found = {result for id, result in ends.items() if id not in tolerated or result != FAILURE}
        return next((word for word in (CANCELLED, FAILURE) if word in found), SUCCESS)

    @property
    def log(self) -> str:
        """Everything that was printed, for a test that fails."""
        return "".join(f"===== {job.name} [{job.result}] {job.note}\n{job.log}" for job in self.jobs.values())


class ActionsHost:
    """Starts runs of a repository's workflow.

    Arguments:
        python: a virtual environment with the locked packages, for setup-python.
        folder: everything of the runs is below it.
        pythons: further folders that `python` needs; each job changes a copy of its own.
        reachable: folders that stand for the world outside, the same for every job.
        minute: how many seconds stand for a minute of `timeout-minutes`.

    Attributes:
        groups: the repository's concurrency groups; runs in several threads wait for each other there.
    """

    def __init__(
        self,
        service: ActionsService,
        repository: Repository,
        python: Path,
        folder: Path,
        *,
        pythons: Sequence[Path] = (),
        reachable: Sequence[Path] = (),
        minute: float = 60,
    ) -> None:
        self._service = service
        self._repository = repository
        self._python = python
        self._folder = folder
        self._pythons = (python, *pythons)
        self._reachable = reachable
        self._minute = minute
        self.groups = ConcurrencyGroups()

    def dispatch(self, path: str, inputs: Mapping[str, str], *, actor: str, ref: str = "main", **how: Any) -> Run:
        """Start a workflow by hand, as the button or the API does.

        Arguments:
            how: `reviewer`, `hooks` and `cancels`, see `Run`.

        Raises:
            Refused: the workflow has no such trigger, or the inputs don't fit.
        """
        sha = self._repository.commit(ref)
        workflow = self._load(path, sha)
        declared = (self._trigger(workflow, "workflow_dispatch") or {}).get("inputs") or {}
        given = _dispatch_inputs(declared, inputs)
        event = {"inputs": given, "ref": f"refs/heads/{ref}", "workflow": path}
        return self._start(workflow, "workflow_dispatch", event, actor, ref, sha, given, how)

    def repository_dispatch(self, path: str, type: str, payload: Mapping[str, Any], *, actor: str, **how: Any) -> Run:
        """Start a workflow by an event from outside; it runs on the default branch.

        Raises:
            Refused: the payload is too large, or the workflow does not listen to this type.
        """
        if len(payload) > MAX_PAYLOAD_PROPERTIES:
            raise Refused(f"client_payload: No more than {MAX_PAYLOAD_PROPERTIES} properties are allowed")
        ref = self._repository.github.default_branch
        sha = self._repository.commit(ref)
        workflow = self._load(path, sha)
        types = (self._trigger(workflow, "repository_dispatch") or {}).get("types")
        if types is not None and type not in ([types] if isinstance(types, str) else types):
            raise Refused(f"no workflow listens to {type}")
        event = {"action": type, "branch": ref, "client_payload": dict(payload)}
        return self._start(workflow, "repository_dispatch", event, actor, ref, sha, {}, how)

    def schedule(self, path: str, **how: Any) -> Run:
        """Start a workflow by its first cron line; it runs on the default branch.

        GitHub names whoever last changed the workflow there as the actor; alice where nobody has.

        Raises:
            Refused: the workflow has no schedule.
        """
        ref = self._repository.github.default_branch
        sha = self._repository.commit(ref)
        workflow = self._load(path, sha)
        event = {"schedule": self._trigger(workflow, "schedule")[0]["cron"]}
        actor, _ = self._repository.github.changed.get(path, ("alice", ""))
        return self._start(workflow, "schedule", event, actor, ref, sha, {}, how)

    def rerun(self, run: Run, job: str, *, triggering_actor: str, **how: Any) -> Run:
        """Run one job and those that need it again, as "Re-run job" does: same commit, outputs of the others kept."""
        again = {job}
        for each in run.workflow.in_order():
            if again & set(each.needs):
                again.add(each.id)
        run.attempt += 1
        run.github |= {"run_attempt": str(run.attempt), "triggering_actor": triggering_actor}
        run.reviewer = how.get("reviewer", run.reviewer)
        run.hooks = how.get("hooks", {})
        run.cancels = how.get("cancels", {})
        self._note_attempt(run)
        for each in run.workflow.in_order():
            if each.id in again:
                self._run_job(run, each)
        return run

    def issue_comment(self, path: str, issue: Mapping[str, Any], comment: Mapping[str, Any], **how: Any) -> Run:
        """Start a workflow by a new comment; it runs on the default branch.

        Arguments:
            issue, comment: GitHub's JSON at the moment when the comment was posted.

        Raises:
            Refused: the workflow does not listen to new comments.
        """
        ref = self._repository.github.default_branch
        sha = self._repository.commit(ref)
        workflow = self._load(path, sha)
        types = (self._trigger(workflow, "issue_comment") or {}).get("types")
        if types is not None and "created" not in types:
            raise Refused("no workflow listens to new comments")
        event = {"action": "created", "issue": dict(issue), "comment": dict(comment)}
        return self._start(workflow, "issue_comment", event, comment["user"]["login"], ref, sha, {}, how)

    def _note_attempt(self, run: Run) -> None:
        """Let the API show the run's newest attempt."""
        github = run.github
        self._repository.github.note_attempt(
            run.id,
            run.attempt,
            branch=github["ref_name"],
            sha=github["sha"],
            triggering_actor=github["triggering_actor"],
        )

    def _load(self, path: str, sha: str) -> Workflow:
        return load_workflow(
            self._service, path, self._repository.read(sha, path), lambda called: self._repository.read(sha, called)
        )

    def _trigger(self, workflow: Workflow, event: str) -> Any:
        if event not in workflow.triggers:
            raise Refused(f"Workflow does not have '{event}' trigger")
        return workflow.triggers[event]

    def _start(
        self,
        workflow: Workflow,
        event_name: str,
        event: dict[str, Any],
        actor: str,
        ref: str,
        sha: str,
        inputs: dict[str, str],
        how: Mapping[str, Any],
    ) -> Run:
        refusal = self._repository.github.refusal_to_start(workflow.path, event_name, actor)
        if refusal:
            raise Refused(refusal)
        id = str(next(_run_ids))
        name = self._repository.name
        event |= {"repository": {"full_name": name}, "sender": {"login": actor}}
        github = {
            "event_name": event_name,
            "event": event,
            "sha": sha,
            "ref": f"refs/heads/{ref}",
            "ref_name": ref,
            "ref_type": "branch",
            "base_ref": "",
            "head_ref": "",
            "repository": name,
            "repository_owner": name.split("/")[0],
            "run_id": id,
            "run_number": str(self._repository.github.next_number(Path(workflow.path).name)),
            "run_attempt": "1",
            "actor": actor,
            "triggering_actor": actor,
            "workflow": workflow.name,
            "workflow_ref": f"{name}/{workflow.path}@refs/heads/{ref}",
            "workflow_sha": sha,
            "server_url": self._repository.server,
            "api_url": self._repository.github.url,
            "graphql_url": self._repository.github.url + "/graphql",
        }
        run = Run(
            id=id,
            workflow=workflow,
            github=github,
            inputs=inputs,
            artifacts=ArtifactStore(next(_artifact_ids)),
            folder=self._folder / id,
            reviewer=how.get("reviewer", nobody),
            hooks=how.get("hooks", {}),
            cancels=how.get("cancels", {}),
        )
        scope = Scope(self._service, {"github": github, "inputs": inputs, "vars": self._variables()}, Status())
        title = scope.text(workflow.run_name).strip() or event.get("action", workflow.name)
        known = self._repository.github.add_run(
            id, title=title, event=event_name, actor=actor, file=Path(workflow.path).name, created=now()
        )
        self._note_attempt(run)
        self._repository.github.keep_artifacts(id, run.artifacts)
        for job in workflow.in_order():
            self._run_job(run, job)
        skipped = {each.result for each in run.jobs.values()} == {SKIPPED}
        known.update(status="completed", conclusion=SKIPPED if skipped else run.result, updated_at=now())
        return run

    def _variables(self) -> dict[str, str]:
        return dict(self._repository.variables)

    def _run_job(self, run: Run, job: Job) -> None:
        hook = run.hooks.get(job.id)
        if hook:
            hook(run)
        contexts = self._contexts(run, job)
        before = _ancestors(run.workflow, job)
        found = {run.jobs[id].result for id in before}
        status = Status(
            success=found <= {SUCCESS} and not run.cancelled, failure=FAILURE in found, cancelled=run.cancelled
        )
        scope = Scope(self._service, contexts, status)
        result = JobResult(job.id, _name(job, scope), run.attempt, environment=job.environment, caches=job.caches)
        run.jobs[job.id] = result
        if not scope.holds(job.condition):
            if isinstance(job.name, dict):
                result.name = self._written_name(run, job)
            self._announce(run, result, "completed", "skipped")
            return
        if job.called:
            if self._repository.sigstore is None:
                self._announce(run, result, "completed", "skipped")
                return
            contexts |= {"inputs": scope.texts(job.called.inputs), "needs": {}}
        result.labels = tuple(scope.text(label) for label in job.runs_on)
        result.image = scope.text(job.container) or None
        if job.concurrency:
            result.concurrency = scope.text(job.concurrency["group"])
        if not job.environment or self._pass_gate(run, job.environment, result):
            if job.environment and job.deploys:
                self._repository.github.deployments.append((run.id, job.environment))
            self._take_turn(run, job, contexts, result)
        self._announce(run, result, "completed", result.result)

    def _written_name(self, run: Run, job: Job) -> str:
        """The name of a job as the file has it: GitHub evaluates none of a job that it skips."""
        text = self._repository.read(run.github["sha"], run.workflow.path)
        return str(yaml.safe_load(text)["jobs"][job.id]["name"])

    def _take_turn(self, run: Run, job: Job, contexts: dict[str, Any], result: JobResult) -> None:
        """Run the job's steps when no other job of its concurrency group runs."""
        turn = self.groups.turn(result.concurrency, job.concurrency or {}) if result.concurrency else nullcontext(True)
        with turn as held:
            if not held:
                result.result, result.note = CANCELLED, "another job of the concurrency group took its place"
                return
            if run.cancels.get(job.id) == "":
                run.cancelled = True
                result.result, result.note = CANCELLED, "cancelled while it waited for a runner"
                return
            self._announce(run, result, "in_progress")
            contexts["vars"] |= self._repository.environment_variables.get(job.environment or "", {})
            self._run_steps(run, job, contexts, result)

    def _announce(self, run: Run, job: JobResult, status: str, conclusion: str | None = None) -> None:
        """Let the API know where a job stands."""
        self._repository.github.set_job(run.id, job.name, status, now(), conclusion)
        self._repository.github.label_job(run.id, job.name, job.labels)

    def _contexts(self, run: Run, job: Job) -> dict[str, Any]:
        return {
            "github": {**run.github, "job": job.id},
            "inputs": dict(run.inputs),
            "vars": self._variables(),
            "needs": {id: {"result": run.jobs[id].result, "outputs": run.jobs[id].outputs} for id in job.needs},
        }

    def _pass_gate(self, run: Run, environment: str, result: JobResult) -> bool:
        """Whether the environment lets the job start; sets the result where it does not."""
        github = self._repository.github
        if environment not in github.environments:
            github.create_open(environment)  # what GitHub does with a name that it does not know
        settings = github.environments[environment]
        if settings["deployment_branch_policy"] and not any(
            fnmatchcase(run.github["ref_name"], pattern) for pattern in github.branch_policies[environment]
        ):
            result.result, result.note = FAILURE, f"this branch is not allowed to deploy to {environment}"
            return False
        rule = next((each for each in settings["protection_rules"] if each["type"] == "required_reviewers"), None)
        if rule is None:
            return True
        summary = "".join(job.summary for job in run.jobs.values())
        self._announce(run, result, "waiting")
        answer = run.reviewer(Waiting(result.name, environment, summary))
        refused = _refusal(answer, rule, settings, run.github)
        run.clicks.append((answer, refused))
        if refused:
            answer = Nobody()
        if isinstance(answer, Click):
            github.review(run.id, answer.login, answer.state, answer.comment, answer.kind, environment=environment)
            if answer.state == "approved":
                return True
            result.result, result.note = FAILURE, "rejected"
        elif isinstance(answer, Bypass):
            return True
        elif isinstance(answer, Cancel):
            run.cancelled = True
            result.result, result.note = CANCELLED, "cancelled while waiting"
        else:
            result.result, result.note = FAILURE, "not approved within 30 days"
        return False

    def _run_steps(self, run: Run, job: Job, contexts: dict[str, Any], result: JobResult) -> None:
        github = self._repository.github
        token = "ghs_" + random_secrets.token_hex(18)
        in_environment = self._repository.environment_secrets.get(job.environment or "", {})
        values = {**self._repository.secrets, **in_environment, "GITHUB_TOKEN": token}
        contexts["secrets"] = values
        contexts["github"]["token"] = token
        permissions = run.workflow.permissions if job.permissions is None else job.permissions
        github.grants[token] = permissions
        runners_own = github.let_in_runner(run.id, run.attempt)
        identity = {}
        token_claims = {}
        if permissions.get("id-token") == "write":
            own = {**run.github, "event": run.github["event_name"]}
            signer = job.called.path if job.called else run.workflow.path
            token_claims = claims(own, signer=signer, workflow=run.workflow.path)
            github.claims[runners_own] = token_claims
            identity = {"ACTIONS_ID_TOKEN_REQUEST_URL": github.url + "/id-token?api-version=2.0"}
            identity["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = runners_own
        services = actions.Services(
            origin=self._repository.origin,
            python=self._python,
            artifacts=run.artifacts,
            attempt=run.attempt,
            github=github,
            sigstore=self._repository.sigstore,
            claims=token_claims if permissions.get("attestations") == "write" else {},
        )
        with Machine(
            run.folder / f"attempt-{run.attempt}" / job.id,
            CONTAINER if result.image else HOSTED,
            pythons=self._pythons,
            reachable=self._reachable,
            kept={"ACTIONS_RUNTIME_TOKEN": runners_own, "ACTIONS_RESULTS_URL": github.url + "/"},
        ) as machine:
            runner = Runner(
                self._service,
                machine,
                services,
                contexts,
                Masks([value for value in (*values.values(), runners_own) if value]),
                image=result.image,
                identity=identity,
                progress=lambda place, status, conclusion: github.set_step(
                    run.id, result.name, place, status=status, conclusion=conclusion, now=now()
                ),
                dies_after=run.cancels.get(job.id),
                deadline=time.monotonic() + job.timeout_minutes * self._minute,
            )
            result.workspace = runner.outside
            runner.env.update(runner.scope({}, Status()).texts(run.workflow.env))
            runner.env.update(runner.scope({}, Status()).texts(job.env))
            github.list_steps(run.id, result.name, [_step_name(runner, step.name) for step in job.steps])
            try:
                result.steps, made = runner.run_steps(job.steps)
            except RunnerDied as died:
                run.cancelled = True
                result.steps = died.steps
                result.result, result.note = CANCELLED, "its runner died, and somebody cancelled the run"
                return
            result.result = CANCELLED if runner.cancelled else FAILURE if runner.failed else SUCCESS
            for name, value in runner.scope(made, Status()).texts(job.outputs).items():
                # GitHub leaves out what is empty, and what may hold a secret.
                if value and runner.masks.hide(value) == value:
                    result.outputs[name] = value


def _name(job: Job, scope: Scope) -> str:
    name = scope.text(job.name)
    if isinstance(job.name, dict) and len(name) > MAX_NAME_CHARACTERS:
        return name[: MAX_NAME_CHARACTERS - 3] + "..."
    return name


def _step_name(runner: Runner, name: Any) -> str:
    """What GitHub calls a step that has not begun; an expression that needs earlier steps is not evaluated yet."""
    return runner.scope({}, Status()).text(name) if isinstance(name, str) else "Run"


def _ancestors(workflow: Workflow, job: Job) -> set[str]:
    by_id = {each.id: each for each in workflow.jobs}
    found = set(job.needs)
    for id in job.needs:
        found |= _ancestors(workflow, by_id[id])
    return found


def _refusal(answer: Answer, rule: Mapping[str, Any], settings: Mapping[str, Any], github: Mapping[str, Any]) -> str:
    """Why GitHub does not take the answer; empty where it does."""
    if isinstance(answer, Bypass) and not settings["can_admins_bypass"]:
        return "administrators can't bypass this environment"
    if isinstance(answer, Click):
        logins = {each["reviewer"]["login"] for each in rule["reviewers"] if each["type"] == "User"}
        if answer.login not in logins:
            return f"{answer.login} is not a reviewer"
        if rule["prevent_self_review"] and answer.login in (github["actor"], github["triggering_actor"]):
            return f"{answer.login} can't review their own run"
    return ""


def _dispatch_inputs(declared: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise Refused(f"Unexpected inputs provided: {unknown}")
    values: dict[str, str] = {}
    for name, declaration in declared.items():
        about = declaration or {}
        value = given.get(name, about.get("default"))
        if value is None:
            if about.get("required"):
                raise Refused(f"Required input '{name}' not provided")
            value = ""
        if about.get("type") == "choice" and value not in about["options"]:
            raise Refused(f"Provided value '{value}' for input '{name}' not in the list of allowed values")
        values[name] = str(value)
    return values
