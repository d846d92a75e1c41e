"""What every phase has on its desk: the repository, the run, a folder for its outputs, and the audit trail."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from agent_runtime import codes
from agent_runtime.gate import policy
from agent_runtime.github import context
from agent_runtime.model import config, inputs, names
from agent_runtime.model.documents import Run


def now() -> datetime:
    """The present moment, with a time zone."""
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
class Desk:
    """The surroundings of one phase.

    Arguments:
        root: the repository's root.
        out: folder for the phase's outputs.
        job: `investigate`, `approve`, `act`, `act-auto` or `record`.
        run: the workflow run, or a local one.
        trace_id: what ties the events of one run together.
        environ: the process's environment variables.
    """

    root: Path
    out: Path
    job: str
    config: config.Config
    run: Run
    trace_id: str
    environ: Mapping[str, str]

    @property
    def in_workflow(self) -> bool:
        """Whether this is a job of a workflow run, real or simulated."""
        return self.run.run_id != context.LOCAL_RUN_ID

    @property
    def journal(self) -> Path:
        """Folder of this phase's journal."""
        return self.out / names.JOURNAL_FOLDER


def set_up(root: Path, out: Path, job: str, environ: Mapping[str, str], trace_id: Optional[str] = None) -> Desk:
    """Read the configuration and the run's description; `trace_id` overrides the variable TRACE_ID.

    Raises:
        BadInput: the configuration, the run's variables or the trace id can't be used.
    """
    settings = config.load(root)
    if context.in_workflow(environ):
        run = context.current_run(environ)
        default_trace = f"{run.run_id}-{run.run_attempt}"
    else:
        run = context.local_run(root, settings.repository)
        default_trace = f"local-{now():%Y%m%dT%H%M%SZ}-{os.getpid()}"
    return Desk(
        root=root,
        out=out,
        job=job,
        config=settings,
        run=run,
        trace_id=inputs.trace_id(trace_id or environ.get("TRACE_ID"), default_trace),
        environ=environ,
    )


def gha_metadata(desk: Desk) -> Dict[str, Any]:
    """The `metadata.gha` object of this phase's events."""
    return dict(context.audit_metadata(desk.run, desk.job))


def load_policy(desk: Desk) -> policy.Policy:
    """Read the agent's policy as it is at the commit that is checked out.

    Raises:
        BadInput: there is none (POL001), or it can't be read (POL002).
    """
    name = desk.config.policy_path.as_posix()
    try:
        data = (desk.root / desk.config.policy_path).read_bytes()
    except OSError as problem:
        raise codes.BadInput(codes.POLICY_MISSING, f"{name}: {problem.strerror}") from None
    return policy.parse_policy(data, name)
