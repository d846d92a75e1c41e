"""Runs the steps of a job as the runner would: processes in a folder of the job's own, with nothing but its variables.

It does not isolate machines: what a step does to this computer stays.  Whatever a job leaves running ends with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Mapping, Set

# What every program needs to start, and nothing else of the terminal's environment.
_OF_THE_MACHINE = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TZ",
    "SYSTEMROOT",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PYTHONPYCACHEPREFIX",
)
_SET_CHILD_SUBREAPER = 36


@dataclass
class Job:
    """A job that runs or has run.

    Arguments:
        folder: its working folder.
        outputs: what its steps wrote to GITHUB_OUTPUT.
        summary: what they wrote to GITHUB_STEP_SUMMARY.
        steps: the end of each step by its name, in order.
    """

    folder: Path
    outputs: Dict[str, str] = field(default_factory=dict)
    summary: str = ""
    log: str = ""
    exit_code: int = 0
    steps: Dict[str, str] = field(default_factory=dict)

    @property
    def result(self) -> str:
        """GitHub's word for how the job ended."""
        return "success" if self.exit_code == 0 else "failure"

    def run(self, name: str, command: List[str], variables: Mapping[str, str]) -> bool:
        """Run one step and return whether it succeeded.

        Arguments:
            variables: what the step gets beyond what every program needs.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        output, summary = self.folder / f"output-{name}", self.folder / f"summary-{name}"
        output.touch()
        summary.touch()
        environ = {key: os.environ[key] for key in _OF_THE_MACHINE if key in os.environ}
        environ.update(variables, GITHUB_OUTPUT=str(output), GITHUB_STEP_SUMMARY=str(summary), PYTHONUTF8="1")
        environ["PYTHONDONTWRITEBYTECODE"] = "1"
        with contextlib.suppress(OSError, AttributeError):  # Linux: orphans of the step become children of this process
            ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        before = _children()
        with (self.folder / f"log-{name}").open("wb+") as log:
            process = subprocess.Popen(  # noqa: S603  this interpreter and this repository's own files
                [sys.executable, *command],
                cwd=str(self.folder),
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait()
            finally:
                _kill(process, before)
            log.seek(0)
            self.log += log.read().decode("utf-8", "replace")
        self.steps[name] = "success" if code == 0 else "failure"
        self.exit_code = self.exit_code or code
        self.outputs.update(parse_outputs(output.read_text(encoding="utf-8")))
        self.summary += summary.read_text(encoding="utf-8")
        return code == 0


def _children() -> Set[str]:
    """The children of this process, where Linux lists them."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    return set(listed.read_text(encoding="ascii").split()) if listed.exists() else set()


def _kill(process: subprocess.Popen[bytes], before: Set[str]) -> None:
    """End a step and everything that it left running, but no child that this process had before."""
    with contextlib.suppress(OSError, AttributeError):
        os.killpg(process.pid, signal.SIGKILL)
    for _ in range(100):
        left = _children() - before
        if not left:
            return
        for number in left:
            with contextlib.suppress(OSError):
                os.kill(int(number), signal.SIGKILL)
                os.waitpid(int(number), 0)
        time.sleep(0.01)


def parse_outputs(text: str) -> Dict[str, str]:
    """Read a GITHUB_OUTPUT file as the runner does: `name<<delimiter`, lines, `delimiter`; other lines are dropped."""
    values: Dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        name, separator, delimiter = line.partition("<<")
        if not separator or not delimiter:
            continue
        block: List[str] = []
        for inner in lines:
            if inner == delimiter:
                values[name] = "\n".join(block)
                break
            block.append(inner)
    return values
