"""Runs one phase as the runner would run its job: a process and a folder of its own, and nothing but its inputs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping

# Only some steps of the workflow get these; the others must work without them.
_SECRETS = ("AGENT_ACT_TOKEN", "AGENT_AUTO_TOKEN", "AIMGENTIX_API_KEY", "AIMGENTIX_API_URL")


@dataclass(frozen=True)
class Finished:
    """A job that ended.

    Arguments:
        exit_code: of its process.
        outputs: what it wrote to GITHUB_OUTPUT.
        summary: what it wrote to GITHUB_STEP_SUMMARY.
        folder: its working folder; the phase's files lie below `agent-run` in it.
    """

    exit_code: int
    outputs: Dict[str, str]
    summary: str
    log: str
    folder: Path

    @property
    def result(self) -> str:
        """GitHub's word for how the job ended."""
        return "success" if self.exit_code == 0 else "failure"


def run(
    script: Path,
    phase: str,
    folder: Path,
    arguments: List[str],
    environ: Mapping[str, str],
    *,
    privileged: bool = False,
) -> Finished:
    """Run `script phase arguments` in `folder` and return what it left behind.

    Arguments:
        script: the repository's agent_runner.py.
        folder: must not exist; the job's working folder.
        environ: what the runner would set.
        privileged: whether the job gets secrets and the audit backend's address.
    """
    folder.mkdir(parents=True)
    output, summary = folder / "github-output", folder / "github-step-summary"
    output.touch()
    summary.touch()
    variables = {key: value for key, value in environ.items() if privileged or key not in _SECRETS}
    variables.update(GITHUB_OUTPUT=str(output), GITHUB_STEP_SUMMARY=str(summary), PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(  # noqa: S603  this interpreter and this repository's own script
        [sys.executable, str(script), phase, *arguments],
        cwd=str(folder),
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    log = done.stdout.decode("utf-8", "replace")
    (folder / "log.txt").write_text(log, encoding="utf-8")
    return Finished(
        exit_code=done.returncode,
        outputs=parse_outputs(output.read_text(encoding="utf-8")),
        summary=summary.read_text(encoding="utf-8"),
        log=log,
        folder=folder,
    )


def parse_outputs(text: str) -> Dict[str, str]:
    """Read a GITHUB_OUTPUT file as the runner does: `name<<delimiter`, lines, `delimiter`.

    Raises:
        ValueError: a block has no end, or a line has no such form; the runtime never writes the short form.
    """
    values: Dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        name, separator, delimiter = line.partition("<<")
        if not separator or not delimiter:
            raise ValueError(f"not an output: {line[:80]!r}")
        block: List[str] = []
        for inner in lines:
            if inner == delimiter:
                break
            block.append(inner)
        else:
            raise ValueError(f"the output {name} has no end")
        values[name] = "\n".join(block)
    return values
