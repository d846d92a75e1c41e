"""Runs of a generated repository's workflow under nektos/act, without Docker: its jobs are processes of this machine.

act reads the workflow, orders the jobs, evaluates expressions and runs the steps.  GitHub's API and the artifact
service are a `FullGitHub` on the loopback interface; the actions are the stand-ins in `actions/`, found at the pinned
commits.  What this can't show is said in `tests/README.md`.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer
from typing import Any

from support.environment import REPOSITORY, missing, require_tool
from support.github import FullGitHub
from support.harness.artifacts import ArtifactStore

ACTIONS = Path(__file__).with_name("actions")
PINS = REPOSITORY / "tools" / "action-pins.json"
# GitHub's syntax that act does not know, and the job that has GitHub sign: act calls no workflow beside its own copy.
_UNKNOWN_TO_ACT = re.compile(r"^ *(?:queue: max|cache-mode: none)\n|^  attest:\n(?:    .*\n)+", re.MULTILINE)
# Generous: a run takes some ten seconds, and a loaded machine starts programs slowly.
_DEADLINE_SECONDS = 180
# Every job has the same token: act reads no `permissions`.  This is all that the jobs of a gate ask for.
_TOKEN = "ghs_" + "t" * 36
_GRANTED = {"contents": "read", "actions": "read"}
# Whatever a run leaves behind ends with the first process of its namespace.
_ALONE = ("--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")

_run_ids = itertools.count(8_000_000_001)
_artifact_ids = itertools.count(500_000, 100)


class WatchedGitHub(FullGitHub):
    """GitHub on the loopback interface, where something may happen between two jobs.

    Attributes:
        after_upload: what happens as soon as an artifact has arrived, by its name; the job that uploads it waits.
    """

    def __init__(self, repository: str) -> None:
        super().__init__(repository)
        self.after_upload: dict[str, Callable[[], None]] = {}

    def __enter__(self) -> WatchedGitHub:
        super().__enter__()
        return self

    def answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, list[str]],
        body: Any = None,
        authorization: str | None = None,
    ) -> tuple[int, Any]:
        """Return status and body for one request."""
        answer = super().answer(method, path, query, body, authorization)
        if path.endswith("/FinalizeArtifact"):
            self.after_upload.get(body["name"], lambda: None)()
        return answer


@dataclass
class Job:
    """A job as act's log shows it; `steps` has the result of each that was not skipped."""

    name: str
    result: str = ""
    steps: dict[str, str] = field(default_factory=dict)
    summary: str = ""


@dataclass
class Run:
    """One run; `jobs` has those that were not skipped, by id."""

    id: str
    event: str
    payload: Mapping[str, Any]
    actor: str
    artifacts: ArtifactStore
    jobs: dict[str, Job] = field(default_factory=dict)
    log: str = ""
    code: int | None = None

    @property
    def results(self) -> dict[str, str]:
        """How the jobs ended, by id."""
        return {id: job.result for id, job in self.jobs.items()}

    def document(self, artifact: str, path: str) -> Any:
        """A JSON file of an artifact."""
        return json.loads(self.artifacts.named(artifact).files()[path])


class Act:
    """act for one workflow of a repository.

    Arguments:
        origin: the repository, committed on the branch main.
        workflow: path of the workflow's file in it.
        python: the prepared environment with the locked packages, see `make_python`.
        folder: everything of the runs lies below it.
        secrets: what the jobs may read, all of them.
    """

    def __init__(
        self,
        origin: Path,
        workflow: str,
        github: WatchedGitHub,
        python: Path,
        folder: Path,
        secrets: Mapping[str, str],
    ) -> None:
        self._command = [require_tool("unshare"), *_ALONE, require_tool("act")]
        if subprocess.run([*self._command[:-1], "true"], capture_output=True, check=False).returncode != 0:
            missing("a run can't have a process namespace of its own")
        self._origin = origin
        self._workflow = workflow
        self._github = github
        self._folder = folder
        self._secrets = secrets
        github.grants[_TOKEN] = _GRANTED
        (folder / "cache" / "tool_cache").mkdir(parents=True)
        (folder / "cache" / "tool_cache" / "Python").symlink_to(python)
        address = f"https://github.com/{github.repository}"
        (folder / "gitconfig").write_text(f'[url "file://{origin}"]\n\tinsteadOf = {address}\n', encoding="utf-8")

    def trigger(self, event: str, payload: Mapping[str, Any], *, actor: str) -> Run:
        """Note on GitHub that something started a run; `payload` is GitHub's event."""
        run = Run(str(next(_run_ids)), event, payload, actor, ArtifactStore(next(_artifact_ids)))
        file = Path(self._workflow).name
        self._github.add_run(run.id, title=file, event=event, actor=actor, file=file, created=_now())
        command = ["git", "-C", str(self._origin), "rev-parse", "HEAD"]
        sha = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        self._github.note_attempt(run.id, 1, branch="main", sha=sha, triggering_actor=actor)
        self._github.keep_artifacts(run.id, run.artifacts)
        return run

    def finish(self, run: Run) -> None:
        """Run it to its end.

        Raises:
            AssertionError: it did not come to one in time, and was stopped.
        """
        folder = self._folder / run.id
        folder.mkdir()
        files = {
            "workflow.yml": _UNKNOWN_TO_ACT.sub("", (self._origin / self._workflow).read_text(encoding="utf-8")),
            "event.json": json.dumps(run.payload),
            "secrets": "".join(
                f"{name}={value}\n" for name, value in {"GITHUB_TOKEN": _TOKEN, **self._secrets}.items()
            ),
        }
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        # What the runner sets for the jobs, where act does not know it.
        environment = {
            "GITHUB_API_URL": self._github.url,
            "GITHUB_REPOSITORY": self._github.repository,
            "GITHUB_RUN_ID": run.id,
            "GITHUB_TRIGGERING_ACTOR": run.actor,
            "GITHUB_WORKFLOW_REF": f"{self._github.repository}/{self._workflow}@refs/heads/main",
        }
        words = [
            *(run.event, f"--directory={self._origin}", f"--actor={run.actor}", "--json"),
            *(
                f"--workflows={folder}/workflow.yml",
                f"--eventpath={folder}/event.json",
                f"--secret-file={folder}/secrets",
            ),
            *("--platform=ubuntu-latest=-self-hosted", "--container-daemon-socket=-", "--no-cache-server"),
            *(f"--action-cache-path={self._folder / 'cache'}", "--concurrent-jobs=1"),
            *(f"--local-repository=actions/{name}@{sha}={ACTIONS / name}" for name, sha in _pins().items()),
            *(f"--env={name}={value}" for name, value in environment.items()),
        ]
        with self._started(run, words, folder) as lines:
            for line in lines:
                self._note(run, line)
        assert run.code in (0, 1), f"act was stopped after {_DEADLINE_SECONDS} s, or ended with {run.code}\n{run.log}"

    @contextmanager
    def _started(self, run: Run, words: list[str], folder: Path) -> Iterator[Iterator[str]]:
        """Start act with nothing of this process's environment; yield the lines of its log."""
        programs = {str(Path(require_tool(name)).parent) for name in ("bash", "git")}
        environ = {
            "PATH": os.pathsep.join([*sorted(programs), os.defpath]),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "GIT_CONFIG_GLOBAL": str(self._folder / "gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            # act gives its own environment to every step; the runner gives these to the artifact actions alone.
            "ACTIONS_RUNTIME_TOKEN": self._github.let_in_runner(run.id, 1),
            "ACTIONS_RESULTS_URL": self._github.url + "/",
        }
        process = subprocess.Popen(
            [*self._command, *words],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        stop = Timer(_DEADLINE_SECONDS, process.kill)
        stop.start()
        try:
            assert process.stdout is not None
            yield process.stdout
            run.code = process.wait()
        finally:
            stop.cancel()
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()

    def _note(self, run: Run, line: str) -> None:
        """Read a line of act's log, and let the API know where the job stands."""
        try:
            entry = json.loads(line)
        except ValueError:
            run.log += line
            return
        id = entry.get("jobID")
        run.log += f"{id or '-'}: {entry.get('step', '')}: {entry['msg'].rstrip()}\n"
        if id is None:
            return
        if id not in run.jobs:
            run.jobs[id] = Job(entry["job"].partition("/")[2].strip())
            self._github.set_job(run.id, run.jobs[id].name, "in_progress", _now())
        job = run.jobs[id]
        if entry.get("command") == "summary":
            job.summary += entry["content"]
        # A step's own parts, those of a composite action, have longer ids.
        if "stepResult" in entry and entry.get("stage") == "Main" and len(entry["stepID"]) == 1:
            job.steps[entry["step"]] = entry["stepResult"]
        if "jobResult" in entry:
            job.result = entry["jobResult"]
            self._github.set_job(run.id, job.name, "completed", _now(), job.result)
            self._github.set_steps(run.id, job.name, job.steps)


def _now() -> str:
    """The present moment as GitHub's API writes it."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _pins() -> dict[str, str]:
    """The pinned commits of the actions that have a stand-in."""
    pins = json.loads(PINS.read_text(encoding="utf-8"))
    names = sorted(path.parent.name for path in ACTIONS.glob("*/action.yml"))
    return {name: pins[f"actions/{name}"]["sha"] for name in names}
