"""Runs the steps of one job on this machine, in folders of their own.

Emulated from the runner's own sources (actions/runner: `StepsRunner.cs`, `ScriptHandler.cs`, `GitHubContext.cs`,
`JobExtension.cs`).  A job gets nothing of the surrounding process: its own home, its own temporary folder, an empty
workspace, and a PATH with the system's programs only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from workflow.harness import actions
from workflow.harness.actions import ActionFailure
from workflow.harness.artifacts import ArtifactError
from workflow.harness.commands import CommandFileError, LogReader, parse_pairs
from workflow.harness.expressions import Scope, Status
from workflow.harness.model import Step, Unsupported, load_action
from workflow.harness.node import ActionsError, ActionsService
from workflow.harness.results import FAILURE, SKIPPED, SUCCESS, StepResult

MAX_SUMMARY_BYTES = 1024 * 1024
# Emulated jobs do in seconds what the timeout-minutes of a workflow bound on GitHub.
_STEP_SECONDS = 120

_SHELLS = {
    None: ["bash", "-e", "{0}"],
    "bash": ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "{0}"],
    "sh": ["sh", "-e", "{0}"],
    "python": ["python", "{0}"],
}
# The parts of the github context that become GITHUB_* variables.
_EXPORTED = (
    *("action", "action_path", "actor", "api_url", "base_ref", "event_name", "event_path", "graphql_url", "head_ref"),
    *("job", "ref", "ref_name", "ref_type", "repository", "repository_owner", "run_attempt", "run_id", "run_number"),
    *("server_url", "sha", "triggering_actor", "workflow", "workflow_ref", "workflow_sha", "workspace"),
)


class RunnerDied(Exception):
    """The machine is gone, and with it every file; `steps` had ended by then."""

    def __init__(self, steps: list[StepResult]) -> None:
        super().__init__("the runner died")
        self.steps = steps


@dataclass(frozen=True)
class Surroundings:
    """What the steps of a composite action get from the step that uses it: contexts of their own, and its `env`."""

    contexts: Mapping[str, Any]
    env: Mapping[str, str]


@dataclass
class Machine:
    """The runner of one job.

    Arguments:
        folder: everything of the job lies below it.
        services: what the emulated actions need of the world outside.
        contexts: `github`, `inputs`, `vars`, `secrets`, `needs`.
        secrets: values that no log, summary or output may show.
        dies_after: id of the job's step after which this machine is gone; None for no such step.
    """

    service: ActionsService
    folder: Path
    services: actions.Services
    contexts: dict[str, Any]
    secrets: list[str]
    env: dict[str, str] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)
    failed: bool = False
    dies_after: str | None = None

    def __post_init__(self) -> None:
        repository = self.contexts["github"]["repository"].split("/")[1]
        self.workspace = self.folder / "work" / repository / repository
        self.temp = self.folder / "temp"
        self.home = self.folder / "home"
        for folder in (self.workspace, self.temp, self.home):
            folder.mkdir(parents=True)
        event = self.temp / "event.json"
        event.write_text(actions.to_json(self.contexts["github"]["event"]), encoding="utf-8")
        self.contexts["github"] |= {"workspace": str(self.workspace), "event_path": str(event)}
        self.contexts["runner"] = {
            "os": "Linux",
            "arch": "X64",
            "name": "harness",
            "environment": "github-hosted",
            "temp": str(self.temp),
            "tool_cache": str(self.folder / "tools"),
        }
        self.log = LogReader(masks=self.secrets)

    def scope(self, steps: Mapping[str, Any], status: Status, inside: Surroundings | None = None) -> Scope:
        """The contexts for an expression of a step, or of the job's outputs."""
        job = {"status": FAILURE if self.failed else SUCCESS}
        contexts = {**self.contexts, "steps": steps, "env": dict(self.env), "job": job}
        return Scope(self.service, {**contexts, **(inside.contexts if inside else {})}, status, self.workspace)

    def run_steps(
        self, steps: Iterable[Step], inside: Surroundings | None = None
    ) -> tuple[list[StepResult], dict[str, Any]]:
        """Run steps one after the other, as their conditions say; return results and the `steps` context they made."""
        results: list[StepResult] = []
        made: dict[str, Any] = {}
        failed = False
        for step in steps:
            status = Status(success=not failed, failure=failed)
            result = self._run_step(step, self.scope(made, status, inside), inside.env if inside else {})
            if result.conclusion == FAILURE:
                failed = True
                self.failed = self.failed or inside is None
            made[step.id] = {"outputs": result.outputs, "outcome": result.outcome, "conclusion": result.conclusion}
            results.append(result)
            if inside is None and step.id == self.dies_after:
                raise RunnerDied(results)
        return results, made

    def masked(self, text: str) -> str:
        """`text` without secrets."""
        for secret in sorted({line for value in self.log.masks for line in value.splitlines() if line}, key=len)[::-1]:
            text = text.replace(secret, "***")
        return text

    def _run_step(self, step: Step, scope: Scope, outer: Mapping[str, str]) -> StepResult:
        try:
            env = {**outer, **scope.texts(step.env)}
            scope = replace(scope, contexts={**scope.contexts, "env": {**self.env, **env}})
            name = scope.text(step.name)
            if not scope.holds(step.condition):
                return StepResult(step.id, name, SKIPPED, SKIPPED)
            if step.uses is not None:
                result = self._use(step, name, scope, env)
            else:
                result = self._script(step, name, scope, env)
        except (ActionsError, ActionFailure, ArtifactError) as error:
            result = StepResult(step.id, step.id, FAILURE, FAILURE, log=self.masked(f"##[error]{error}\n"))
        if result.outcome == FAILURE and step.continue_on_error:
            return replace(result, conclusion=SUCCESS)
        return result

    def _use(self, step: Step, name: str, scope: Scope, env: dict[str, str]) -> StepResult:
        assert step.uses is not None
        inputs = scope.texts(step.inputs)
        if step.uses.startswith("./"):
            return self._composite(step, name, inputs, scope, env)
        call = actions.Call(inputs, self.workspace, self.path, self.env, scope, self.services)
        action = step.uses.split("@")[0]
        if action not in actions.EMULATED:
            raise Unsupported(f"the action {action}")
        log = actions.EMULATED[action](call)
        return StepResult(step.id, name, SUCCESS, SUCCESS, log=self.masked(log), outputs=call.outputs)

    def _composite(
        self, step: Step, name: str, inputs: dict[str, str], scope: Scope, env: dict[str, str]
    ) -> StepResult:
        folder = self.workspace / str(step.uses)
        manifest = next((folder / each for each in ("action.yml", "action.yaml") if (folder / each).exists()), None)
        if manifest is None:
            raise ActionFailure(f"Can't find 'action.yml' under '{folder}'. Did you forget to run actions/checkout?")
        action = load_action(self.service, str(manifest), manifest.read_text(encoding="utf-8"))
        defaults = scope.texts({key: (given or {}).get("default") for key, given in action.inputs.items()})
        github = {**self.contexts["github"], "action_path": str(folder)}
        inside = Surroundings({"inputs": {**defaults, **inputs}, "github": github}, env)
        results, made = self.run_steps(action.steps, inside)
        outputs = self.scope(made, Status(), inside).texts(
            {key: given.get("value") for key, given in action.outputs.items()}
        )
        outcome = FAILURE if any(result.conclusion == FAILURE for result in results) else SUCCESS
        return StepResult(
            step.id,
            name,
            outcome,
            outcome,
            log="".join(f"-- {result.name} [{result.conclusion}]\n{result.log}" for result in results),
            outputs=outputs,
            summary="".join(result.summary for result in results),
            commands=tuple(command for result in results for command in result.commands),
        )

    def _script(self, step: Step, name: str, scope: Scope, env: dict[str, str]) -> StepResult:
        if step.shell not in _SHELLS:
            raise Unsupported(f"shell: {step.shell}")
        script = self.temp / f"{uuid.uuid4()}.{'py' if step.shell == 'python' else 'sh'}"
        script.write_text(scope.text(step.run), encoding="utf-8")
        files = {
            each: self.temp / f"{each}_{script.stem}" for each in ("output", "env", "path", "step_summary", "state")
        }
        for file in files.values():
            file.touch()
        variables = self._variables(env, scope.contexts["github"], files)
        program, *arguments = [part.replace("{0}", str(script)) for part in _SHELLS[step.shell]]
        found = shutil.which(program, path=variables["PATH"])
        if found is None:
            raise ActionFailure(f"{program}: command not found")
        try:
            done = subprocess.run(
                [found, *arguments],
                cwd=self.workspace,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_STEP_SECONDS,
                check=False,
            )
            said, code = done.stdout.decode("utf-8", "replace"), done.returncode
        except subprocess.TimeoutExpired as late:
            said, code = (late.stdout or b"").decode("utf-8", "replace") + "##[error]timed out\n", 1
        first = len(self.log.commands)
        # A carriage return ends a line for the runner, too.
        for line in re.split(r"\r\n|\n|\r", said):
            self.log.read(line)
        outputs, problem = self._take(files)
        if code != 0:
            problem = f"{problem}##[error]Process completed with exit code {code}.\n"
        outcome = FAILURE if problem else SUCCESS
        return StepResult(
            step.id,
            name,
            outcome,
            outcome,
            log=self.masked(said + problem),
            outputs=outputs,
            summary=self._summary(files["step_summary"]),
            commands=tuple(self.log.commands[first:]),
        )

    def _variables(
        self, env: Mapping[str, str], github: Mapping[str, Any], files: Mapping[str, Path]
    ) -> dict[str, str]:
        programs = {str(Path(found).parent) for found in map(shutil.which, ("bash", "git")) if found}
        system = os.pathsep.join([*sorted(programs), os.defpath])
        variables = {"PATH": system, "HOME": str(self.home), "LANG": "C.UTF-8", "CI": "true", **self.env, **env}
        variables["PATH"] = os.pathsep.join([*reversed(self.path), variables["PATH"]])
        # Whatever a workflow sets under these names, the runner's own values win.
        variables |= {f"GITHUB_{key.upper()}": str(github[key]) for key in _EXPORTED if key in github}
        variables |= {f"GITHUB_{key.upper()}": str(path) for key, path in files.items()}
        variables |= {f"RUNNER_{key.upper()}": value for key, value in self.contexts["runner"].items()}
        return {**variables, "GITHUB_ACTIONS": "true"}

    def _take(self, files: Mapping[str, Path]) -> tuple[dict[str, str], str]:
        problem = ""
        outputs: dict[str, str] = {}
        for each in ("env", "output"):
            try:
                pairs = parse_pairs(files[each].read_text(encoding="utf-8"))
            except CommandFileError as error:
                problem += f"##[error]Unable to process file command '{each}' successfully.\n##[error]{error}\n"
                continue
            if each == "env":
                self.env.update(pair for pair in pairs if pair[0].upper() != "NODE_OPTIONS")
            else:
                outputs.update(pairs)
        self.path += [line for line in files["path"].read_text(encoding="utf-8").splitlines() if line]
        return outputs, problem

    def _summary(self, file: Path) -> str:
        data = file.read_bytes()
        if len(data) > MAX_SUMMARY_BYTES:
            return ""
        return self.masked(data.decode("utf-8"))
