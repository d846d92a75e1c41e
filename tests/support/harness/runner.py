"""Runs the steps of one job, on a machine of its own.

Emulated from the runner's own sources (actions/runner: `StepsRunner.cs`, `CompositeActionHandler.cs`,
`ScriptHandler.cs`, `FileCommandManager.cs`, `GitHubContext.cs`, `JobExtension.cs`).  A job gets nothing of the
surrounding process: its own home, its own temporary folder, an empty workspace, and a PATH with the system's programs
only.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from support import compiled
from support.harness import actions
from support.harness.actions import ActionFailure
from support.harness.artifacts import ArtifactError
from support.harness.commands import CommandFileError, LogReader, Masks, parse_pairs
from support.harness.expressions import Scope, Status
from support.harness.machine import Machine, MachineError
from support.harness.model import Step, Unsupported, load_action
from support.harness.node import ActionsError, ActionsService
from support.harness.results import CANCELLED, FAILURE, SKIPPED, SUCCESS, StepResult

MAX_SUMMARY_BYTES = 1024 * 1024
# Emulated jobs do in seconds what takes minutes on GitHub; a step that hangs fails its test.
_STEP_SECONDS = 120

_SHELLS = {
    "bash": ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "{0}"],
    "sh": ["sh", "-e", "{0}"],
    "python": ["python", "{0}"],
}
_DEFAULT_SHELL = ["bash", "-e", "{0}"]
# In a container the runner does not look for bash.
_DEFAULT_SHELL_IN_CONTAINER = ["sh", "-e", "{0}"]
# The parts of the github context that become GITHUB_* variables.
_EXPORTED = (
    *("action", "action_path", "actor", "api_url", "base_ref", "event_name", "event_path", "graphql_url", "head_ref"),
    *("job", "ref", "ref_name", "ref_type", "repository", "repository_owner", "run_attempt", "run_id", "run_number"),
    *("server_url", "sha", "triggering_actor", "workflow", "workflow_ref", "workflow_sha", "workspace"),
)
# By the name of the variable: how the runner names the file.
_FILES = {
    "path": "add_path_",
    "env": "set_env_",
    "step_summary": "step_summary_",
    "state": "save_state_",
    "output": "set_output_",
}
# Steps of a composite action see these contexts, and neither secrets, vars nor needs (action-v1.0.json).
_INSIDE = ("github", "inputs", "runner", "env", "job", "steps")

Progress = Callable[[int, str, str | None], None]


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
class Runner:
    """The runner of one job.

    Arguments:
        machine: where the steps run; the runner does not close it.
        services: what the emulated actions need of the world outside.
        contexts: `github`, `inputs`, `vars`, `secrets`, `needs`.
        masks: values that no log, summary or output may show.
        image: of the job's container; None for a job without one.
        identity: the variables for OIDC, where the job may have a token.
        progress: is reported of each step of the job: its place, its status and its conclusion.
        dies_after: id of the job's step after which this machine is gone; None for no such step.
        deadline: when the job has had its `timeout-minutes`, by the monotonic clock.
    """

    service: ActionsService
    machine: Machine
    services: actions.Services
    contexts: dict[str, Any]
    masks: Masks
    image: str | None = None
    identity: Mapping[str, str] = field(default_factory=dict)
    progress: Progress = lambda place, status, conclusion: None
    dies_after: str | None = None
    deadline: float = float("inf")
    env: dict[str, str] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)
    failed: bool = False
    cancelled: bool = False
    _files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        layout = self.machine.layout
        repository = self.contexts["github"]["repository"].split("/")[1]
        self.workspace = f"{layout.work}/{repository}/{repository}"
        self.temp = f"{layout.work}/_temp"
        self.outside.mkdir(parents=True)
        event = f"{self.temp}/_github_workflow/event.json"
        self.machine.write({event: actions.to_json(self.contexts["github"]["event"]).encode()})
        self.contexts["github"] |= {"workspace": self.workspace, "event_path": event}
        self.contexts["runner"] = {
            "os": "Linux",
            "arch": "X64",
            "name": "harness",
            "environment": "github-hosted",
            "temp": self.temp,
            "tool_cache": layout.tools,
        }

    @property
    def outside(self) -> Path:
        """Where the workspace is outside of the machine."""
        return self.machine.outside(self.workspace)

    def scope(self, steps: Mapping[str, Any], status: Status, inside: Surroundings | None = None) -> Scope:
        """The contexts for an expression of a step, or of the job's outputs."""
        ended = CANCELLED if self.cancelled else FAILURE if self.failed else SUCCESS
        contexts = {**self.contexts, "steps": steps, "env": dict(self.env), "job": {"status": ended}}
        if inside:
            contexts = {**{name: contexts[name] for name in _INSIDE if name in contexts}, **inside.contexts}
        return Scope(self.service, contexts, status, self.outside)

    def run_steps(
        self, steps: Iterable[Step], inside: Surroundings | None = None
    ) -> tuple[list[StepResult], dict[str, Any]]:
        """Run steps one after the other, as their conditions say; return results and the `steps` context they made."""
        results: list[StepResult] = []
        made: dict[str, Any] = {}
        failed = False
        for place, step in enumerate(steps):
            status = Status(success=not failed and not self.cancelled, failure=failed, cancelled=self.cancelled)
            announce = self.progress if inside is None else lambda place, status, conclusion: None
            announce(place, "in_progress", None)
            result = self._run_step(step, self.scope(made, status, inside), inside.env if inside else {})
            announce(place, "completed", result.conclusion)
            if result.conclusion == FAILURE:
                failed = True
                self.failed = self.failed or inside is None
            made[step.id] = {"outputs": result.outputs, "outcome": result.outcome, "conclusion": result.conclusion}
            results.append(result)
            if inside is None and step.id == self.dies_after:
                raise RunnerDied(results)
        return results, made

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
        except (ActionsError, ActionFailure, ArtifactError, MachineError) as error:
            result = StepResult(step.id, step.id, FAILURE, FAILURE, log=self.masks.hide(f"##[error]{error}\n"))
        if result.outcome == FAILURE and step.continue_on_error:
            return replace(result, conclusion=SUCCESS)
        return result

    def _use(self, step: Step, name: str, scope: Scope, env: dict[str, str]) -> StepResult:
        assert step.uses is not None
        inputs = scope.texts(step.inputs)
        if step.uses.startswith("./"):
            return self._composite(step, name, inputs, scope, env)
        call = actions.Call(inputs, self.machine, self.workspace, self.path, self.env, scope, self.services, self.masks)
        action = step.uses.split("@")[0]
        if action not in actions.EMULATED:
            raise Unsupported(f"the action {action}")
        log = actions.EMULATED[action](call)
        return StepResult(step.id, name, SUCCESS, SUCCESS, log=self.masks.hide(log), outputs=call.outputs)

    def _composite(
        self, step: Step, name: str, inputs: dict[str, str], scope: Scope, env: dict[str, str]
    ) -> StepResult:
        folder = os.path.normpath(f"{self.workspace}/{step.uses}")
        manifests = self.machine.read(f"{folder}/action.yml", f"{folder}/action.yaml")
        manifest = next((content for content in manifests if content is not None), None)
        if manifest is None:
            raise ActionFailure(f"Can't find 'action.yml' under '{folder}'. Did you forget to run actions/checkout?")
        action = load_action(self.service, f"{folder}/action.yml", manifest.decode("utf-8"))
        defaults = scope.texts({key: (given or {}).get("default") for key, given in action.inputs.items()})
        github = {**self.contexts["github"], "action_path": folder}
        inside = Surroundings({"inputs": {**defaults, **inputs}, "github": github}, env)
        results, made = self.run_steps(action.steps, inside)
        if folder.endswith("/setup-agent"):  # it removed what was compiled; what decides loads nothing compiled
            compiled.beside(self.outside / "agent_runtime", self.outside / "sdk")
        outputs = self.scope(made, Status(), inside).texts(
            {key: given.get("value") for key, given in action.outputs.items()}
        )
        conclusions = {result.conclusion for result in results}
        outcome = next((word for word in (CANCELLED, FAILURE) if word in conclusions), SUCCESS)
        return StepResult(
            step.id,
            name,
            outcome,
            outcome,
            log="".join(f"-- {result.name} [{result.conclusion}]\n{result.log}" for result in results),
            outputs=outputs,
            summary="".join(result.summary for result in results),
            commands=tuple(command for result in results for command in result.commands),
            annotations=tuple(annotation for result in results for annotation in result.annotations),
        )

    def _script(self, step: Step, name: str, scope: Scope, env: dict[str, str]) -> StepResult:
        if step.shell is not None and step.shell not in _SHELLS:
            raise Unsupported(f"shell: {step.shell}")
        script = f"{self.temp}/{uuid.uuid4()}.{'py' if step.shell == 'python' else 'sh'}"
        suffix = uuid.uuid4()
        files = {name: f"{self.temp}/_runner_file_commands/{prefix}{suffix}" for name, prefix in _FILES.items()}
        new = {script: scope.text(step.run).encode(), **dict.fromkeys(files.values(), b"")}
        self.machine.write(new, removed=self._files)
        self._files = tuple(files.values())
        variables = self._variables(env, scope.contexts["github"], files)
        default = _DEFAULT_SHELL_IN_CONTAINER if self.image else _DEFAULT_SHELL
        program, *arguments = [part.replace("{0}", script) for part in _SHELLS.get(step.shell or "", default)]
        command = [self._find(program, variables["PATH"]), *arguments]
        # After a cancellation the last steps have time of their own.
        until_the_end = float("inf") if self.cancelled else max(0.01, self.deadline - time.monotonic())
        left = min(_STEP_SECONDS, until_the_end)
        ended = self.machine.run(command, variables, self.workspace, left)
        reader = LogReader(self.masks)
        # A carriage return ends a line for the runner, too.
        lines = re.split(r"\r\n|\n|\r", ended.output.decode("utf-8", "replace").removesuffix("\n"))
        log = "".join(reader.read(line) for line in lines) if ended.output else ""
        outputs, state, problem = self._take(files)
        summary = self._summary(files["step_summary"])
        cancelled = ended.late and left == until_the_end
        if cancelled:
            self.cancelled = True
            problem += "##[error]The operation was canceled.\n"
        elif ended.code != 0:
            problem += f"##[error]Process completed with exit code {ended.code}.\n"
        outcome = CANCELLED if cancelled else FAILURE if problem or reader.failures else SUCCESS
        return StepResult(
            step.id,
            name,
            outcome,
            outcome,
            log=log + self.masks.hide(problem),
            outputs={**reader.outputs, **outputs},
            summary=summary,
            commands=tuple(reader.commands),
            annotations=tuple(reader.annotations),
            state={**reader.state, **state},
        )

    def _find(self, program: str, path: str) -> str:
        """A program of the machine, where one of PATH's folders has it."""
        for folder in path.split(os.pathsep):
            try:
                outside = self.machine.outside(folder)
            except ValueError:
                outside = Path(folder)
            if os.access(outside / program, os.X_OK):
                return f"{folder}/{program}"
        raise ActionFailure(f"{program}: command not found")

    def _variables(self, env: Mapping[str, str], github: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, str]:
        programs = {str(Path(found).parent) for found in map(shutil.which, ("bash", "git")) if found}
        system = os.pathsep.join([*sorted(programs), os.defpath])
        home = self.machine.layout.home
        variables = {"PATH": system, "HOME": home, "LANG": "C.UTF-8", "CI": "true", **self.env, **env}
        variables["PATH"] = os.pathsep.join([*reversed(self.path), variables["PATH"]])
        # Whatever a workflow sets under these names, the runner's own values win.
        variables |= {f"GITHUB_{key.upper()}": str(github[key]) for key in _EXPORTED if key in github}
        variables |= {f"GITHUB_{key.upper()}": path for key, path in files.items()}
        variables |= {f"RUNNER_{key.upper()}": value for key, value in self.contexts["runner"].items()}
        return {**variables, **self.identity, "GITHUB_ACTIONS": "true"}

    def _take(self, files: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str], str]:
        """Read what a step left in its files: outputs, state, and what was wrong with them."""
        found = dict(zip(files, self.machine.read(*files.values()), strict=True))
        problem = ""
        pairs: dict[str, dict[str, str]] = {}
        for each in ("env", "state", "output"):
            try:
                pairs[each] = dict(parse_pairs((found[each] or b"").decode("utf-8", "replace")))
            except CommandFileError as error:
                problem += f"##[error]Unable to process file command '{each}' successfully.\n##[error]{error}\n"
        self.env.update(pair for pair in pairs.get("env", {}).items() if pair[0].upper() != "NODE_OPTIONS")
        for line in (found["path"] or b"").decode("utf-8", "replace").splitlines():
            if line:
                self.path[:] = [*(each for each in self.path if each != line), line]
        return pairs.get("output", {}), pairs.get("state", {}), problem

    def _summary(self, file: str) -> str:
        (data,) = self.machine.read(file)
        if not data or len(data) > MAX_SUMMARY_BYTES:
            return ""
        # The runner masks line by line, and ends each.
        lines = re.split(r"\r\n|\n|\r", data.decode("utf-8", "replace"))
        return "".join(self.masks.hide(line) + "\n" for line in (lines if lines[-1] else lines[:-1]))
