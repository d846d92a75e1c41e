"""What a run leaves behind for a test to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SUCCESS, FAILURE, CANCELLED, SKIPPED = "success", "failure", "cancelled", "skipped"


@dataclass(frozen=True)
class Annotation:
    """What a step reported by `::notice::`, `::warning::` or `::error::`; `kind` is one of these words."""

    kind: str
    message: str
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StepResult:
    """One step that ran or was skipped.

    Arguments:
        outcome: before `continue-on-error`; `conclusion`: after it.
        log: what it printed, secrets masked.
        summary: what it added to the step summary, secrets masked.
        commands: the workflow commands that its log carried out.
        state: what it saved for a later part of the same action.
    """

    id: str
    name: str
    outcome: str
    conclusion: str
    log: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    commands: tuple[tuple[str, str], ...] = ()
    annotations: tuple[Annotation, ...] = ()
    state: dict[str, str] = field(default_factory=dict)


@dataclass
class JobResult:
    """One job of one attempt.

    Arguments:
        result: GitHub's word; `note` says why where no step does.
        workspace: its checkout, left as the job left it; None where it never started.
        concurrency: the evaluated group, or None.
        labels: of the runner that it asked for.
        image: of its `container:`, or None.
        caches: whether its steps may use caches.
    """

    id: str
    name: str
    attempt: int
    result: str = SKIPPED
    outputs: dict[str, str] = field(default_factory=dict)
    steps: list[StepResult] = field(default_factory=list)
    environment: str | None = None
    concurrency: str | None = None
    labels: tuple[str, ...] = ()
    image: str | None = None
    caches: bool = True
    workspace: Path | None = None
    note: str = ""

    @property
    def log(self) -> str:
        """The log of all steps, each under its name."""
        return "".join(f"--- {step.name} [{step.conclusion}]\n{step.log}" for step in self.steps)

    @property
    def summary(self) -> str:
        """The Markdown that the job's steps wrote for people."""
        return "".join(step.summary for step in self.steps)

    @property
    def annotations(self) -> list[Annotation]:
        """What its steps reported beside the log."""
        return [annotation for step in self.steps for annotation in step.annotations]

    def step(self, id: str) -> StepResult:
        """The step of that id.

        Raises:
            KeyError: it has none.
        """
        return {step.id: step for step in self.steps}[id]
