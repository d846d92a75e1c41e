"""What every job knows: the repository, the run, a folder for its outputs, and its environment variables."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Dict, Mapping, Optional

from agent_runtime.github import context
from agent_runtime.model import config, inputs, names
from agent_runtime.model.documents import Run


def now() -> datetime:
    """The present moment, with a time zone: the one clock of the runtime."""
    return datetime.now(timezone.utc)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader finds all of it or nothing, whatever happens in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=str(path.parent), prefix="." + path.name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise


@dataclass(frozen=True)
class JobContext:
    """The surroundings of one job.

    Arguments:
        root: the repository's root.
        out: folder for the job's outputs.
        id: the job's id in the workflow; `verify` for the part of `act` that verifies.
        run: the workflow run, or what stands for it.
        trace_id: what ties the events of one run together.
        environ: the process's environment variables.
    """

    root: Path
    out: Path
    id: str
    config: config.Config
    run: Run
    trace_id: str
    environ: Mapping[str, str]

    @property
    def act_variables(self) -> Dict[str, str]:
        """What `act` reads from outside the repository, as this job sees it; empty where it is not set."""
        return {name: self.environ.get(names.VARIABLE + name, "") for name in self.config.act_variables}

    @property
    def journal(self) -> Path:
        """Folder of this job's journal."""
        return self.out / names.JOURNAL_FOLDER

    def run_url(self, run_id: Optional[str] = None) -> str:
        """Address of a run for people; by default of this one."""
        server = self.environ.get("GITHUB_SERVER_URL") or "https://github.com"
        return f"{server}/{self.run.repository}/actions/runs/{run_id or self.run.run_id}"


def set_up(
    root: Path,
    out: Path,
    id: str,
    environ: Mapping[str, str],
    trace_id: Optional[str] = None,
    *,
    run: Optional[Run] = None,
) -> JobContext:
    """Read the configuration and the run's description.

    Arguments:
        trace_id: overrides the variable TRACE_ID.
        run: what stands for the run, outside any workflow.

    Raises:
        BadInput: the configuration, the run's variables or the trace id is invalid.
    """
    settings = config.load(root)
    run = run or context.current_run(environ)
    return JobContext(
        root=root,
        out=out,
        id=id,
        config=settings,
        run=run,
        trace_id=inputs.trace_id(trace_id or environ.get("TRACE_ID"), f"{run.run_id}-{run.run_attempt}"),
        environ=environ,
    )
