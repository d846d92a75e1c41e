"""A workflow in the form in which the engine runs it.

Values that may hold an expression stay as the parser gave them: plain JSON with `{"$expr": text}` where GitHub
evaluates at run time.  What the engine does not emulate is refused here, so that no test passes because a key was
overlooked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from support.harness.node import ActionsError, ActionsService


class Unsupported(Exception):
    """The workflow uses something that this harness does not emulate."""


@dataclass(frozen=True)
class Step:
    """One step; exactly one of `run` and `uses` is set."""

    id: str
    condition: str
    name: Any
    uses: str | None
    run: Any
    shell: str | None
    env: Mapping[str, Any]
    inputs: Mapping[str, Any]
    continue_on_error: bool


@dataclass(frozen=True)
class Called:
    """The workflow that a job calls; `inputs` is what it gives to it, and may hold expressions."""

    path: str
    inputs: Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """One job.

    Arguments:
        name: may hold an expression.
        runs_on: labels, as a list whose items may hold expressions.
        container: the image, which may hold an expression; None for a job without a container.
        caches: whether its `cache-mode` lets it use caches.
        deploys: whether GitHub notes a deployment to its environment.
        continue_on_error: whether the run ends well although this job fails.
        called: the workflow that it is the job of; None for the run's own.
    """

    id: str
    condition: str
    name: Any
    needs: tuple[str, ...]
    runs_on: Any
    container: Any
    caches: bool
    environment: str | None
    deploys: bool
    permissions: Mapping[str, str] | None
    concurrency: Mapping[str, Any] | None
    env: Mapping[str, Any]
    outputs: Mapping[str, Any]
    timeout_minutes: int
    steps: tuple[Step, ...]
    continue_on_error: bool
    called: Called | None = None


@dataclass(frozen=True)
class Workflow:
    """A whole workflow; `triggers` is the mapping below `on`, `run_name` may hold an expression."""

    path: str
    name: str
    run_name: Any
    triggers: Mapping[str, Any]
    env: Mapping[str, Any]
    permissions: Mapping[str, str]
    jobs: tuple[Job, ...]

    def in_order(self) -> list[Job]:
        """The jobs, each after those that it needs, else in the order of the file."""
        done: list[Job] = []
        waiting = list(self.jobs)
        while waiting:
            ready = next(job for job in waiting if set(job.needs) <= {each.id for each in done})
            waiting.remove(ready)
            done.append(ready)
        return done


@dataclass(frozen=True)
class Action:
    """A composite action."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    steps: tuple[Step, ...]


def load_workflow(
    service: ActionsService, path: str, content: str, read: Callable[[str], str] | None = None
) -> Workflow:
    """Parse a workflow with GitHub's parser.

    Arguments:
        read: gives the workflows of the same commit that its jobs call.

    Raises:
        ActionsError: GitHub would refuse the file.
        Unsupported: this harness can't run it.
    """
    parsed = service.parse_workflow(path, content)
    if parsed["errors"]:
        raise ActionsError("; ".join(parsed["errors"]))
    tree = parsed["tree"]
    _only(tree, "workflow", "name", "run-name", "on", "env", "permissions", "concurrency", "jobs")
    on = tree["on"]
    triggers = {on: None} if isinstance(on, str) else dict.fromkeys(on) if isinstance(on, list) else on
    return Workflow(
        path=path,
        name=tree.get("name", path),
        run_name=tree.get("run-name", ""),
        triggers=triggers,
        env=tree.get("env") or {},
        permissions=tree.get("permissions") or {},
        jobs=tuple(
            _called(service, tree["jobs"][job["id"]], job, read)
            if "uses" in tree["jobs"][job["id"]]
            else _job(tree["jobs"][job["id"]], job)
            for job in parsed["jobs"]
        ),
    )


def load_action(service: ActionsService, path: str, content: str) -> Action:
    """Parse the manifest of a composite action with GitHub's parser.

    Raises:
        ActionsError: GitHub would refuse the file.
        Unsupported: it is not a composite action, or this harness can't run it.
    """
    parsed = service.parse_action(path, content)
    if parsed["errors"]:
        raise ActionsError("; ".join(parsed["errors"]))
    runs = parsed["tree"]["runs"]
    if runs["using"] != "composite":
        raise Unsupported(f"{path} is not a composite action")
    _only(runs, path, "using", "steps")
    return Action(
        inputs=parsed["tree"].get("inputs") or {},
        outputs=parsed["tree"].get("outputs") or {},
        steps=_steps(runs["steps"], parsed["steps"]),
    )


def _job(tree: dict[str, Any], parsed: dict[str, Any]) -> Job:
    id = parsed["id"]
    _only(
        tree,
        f"job {id}",
        *("name", "needs", "if", "runs-on", "container", "cache-mode", "environment", "concurrency", "permissions"),
        *("env", "outputs", "timeout-minutes", "steps", "continue-on-error"),
    )
    if "steps" not in tree:
        raise Unsupported(f"job {id} without steps")
    if tree.get("cache-mode", "none") != "none":
        raise Unsupported(f"job {id}: cache-mode {tree['cache-mode']}")
    environment = tree.get("environment")
    settings: dict[str, Any] = environment if isinstance(environment, dict) else {"name": environment}
    if not set(settings) <= {"name", "deployment"} or not isinstance(settings["name"], str | None):
        raise Unsupported(f"job {id}: environment {environment}")
    container = tree.get("container")
    settings_of_container = (
        container if isinstance(container, dict) and "$expr" not in container else {"image": container}
    )
    _only(settings_of_container, f"container of job {id}", "image")
    concurrency = tree.get("concurrency")
    return Job(
        id=id,
        condition=parsed["if"],
        name=tree.get("name", id),
        needs=tuple(parsed["needs"]),
        runs_on=_labels(id, tree["runs-on"]),
        container=settings_of_container["image"],
        caches="cache-mode" not in tree,
        environment=settings["name"],
        deploys=settings.get("deployment", True),
        permissions=tree.get("permissions"),
        concurrency={"group": concurrency} if isinstance(concurrency, str) else concurrency,
        env=tree.get("env") or {},
        outputs=tree.get("outputs") or {},
        timeout_minutes=tree.get("timeout-minutes", 360),
        steps=_steps(tree["steps"], parsed["steps"]),
        continue_on_error=bool(tree.get("continue-on-error", False)),
    )


def _called(
    service: ActionsService, tree: dict[str, Any], parsed: dict[str, Any], read: Callable[[str], str] | None
) -> Job:
    """The only job of the workflow that a job calls, in the place of that job.

    Source: https://docs.github.com/en/actions/how-tos/reuse-automations/reuse-workflows
    """
    id, uses = parsed["id"], tree["uses"]
    _only(tree, f"job {id}", "name", "needs", "if", "permissions", "uses", "with")
    if read is None or not uses.startswith("./.github/workflows/"):
        raise Unsupported(f"job {id}: uses {uses}")
    path, given = uses.removeprefix("./"), tree.get("with") or {}
    workflow = load_workflow(service, path, read(path))
    if "workflow_call" not in workflow.triggers:
        raise ActionsError(f"error parsing called workflow {uses}: workflow is not reusable")
    declared = (workflow.triggers["workflow_call"] or {}).get("inputs") or {}
    required = {name for name, about in declared.items() if about.get("required")}
    if not required <= set(given) <= set(declared):
        raise ActionsError(f"error parsing called workflow {uses}: its inputs are {sorted(declared)}")
    (job,) = workflow.jobs
    if job.condition != "success()" or job.environment or job.concurrency:
        raise Unsupported(f"job {job.id} of {path} with a condition, an environment or a concurrency group")
    allowed, levels = tree.get("permissions") or {}, ("none", "read", "write")
    for scope, level in (workflow.permissions if job.permissions is None else job.permissions).items():
        if levels.index(level) > levels.index(allowed.get(scope, "none")):
            raise ActionsError(
                f"The nested job '{job.id}' is requesting '{scope}: {level}', but is only allowed "
                f"'{scope}: {allowed.get(scope, 'none')}'."
            )
    return replace(
        job,
        id=id,
        condition=parsed["if"],
        needs=tuple(parsed["needs"]),
        name=f"{tree.get('name', id)} / {job.name}",
        called=Called(path, given),
    )


def _labels(id: str, runs_on: Any) -> list[Any]:
    if isinstance(runs_on, dict) and "$expr" not in runs_on:
        _only(runs_on, f"runs-on of job {id}", "labels")
        runs_on = runs_on["labels"]
    return list(runs_on) if isinstance(runs_on, list) else [runs_on]


def _steps(trees: list[dict[str, Any]], parsed: list[dict[str, Any]]) -> tuple[Step, ...]:
    return tuple(_step(tree, given, number) for number, (tree, given) in enumerate(zip(trees, parsed, strict=True)))


def _step(tree: dict[str, Any], parsed: dict[str, Any], number: int) -> Step:
    _only(tree, "step", "id", "if", "name", "uses", "run", "shell", "env", "with", "continue-on-error")
    return Step(
        id=parsed["id"] or f"__step_{number}",
        condition=parsed["if"],
        name=tree.get("name") or _display_name(tree),
        uses=tree.get("uses"),
        run=tree.get("run"),
        shell=tree.get("shell"),
        env=tree.get("env") or {},
        inputs=tree.get("with") or {},
        continue_on_error=bool(tree.get("continue-on-error", False)),
    )


def _display_name(tree: dict[str, Any]) -> str:
    """What GitHub calls a step without a name: "Run", and the action or the first line of the script."""
    what = tree.get("uses") or tree.get("run")
    return f"Run {what.strip().splitlines()[0]}" if isinstance(what, str) else "Run"


def _only(tree: dict[str, Any], what: str, *known: str) -> None:
    unknown = sorted(set(tree) - set(known))
    if unknown:
        raise Unsupported(f"{what}: {', '.join(unknown)}")
