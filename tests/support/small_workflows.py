"""Small workflows, written in a test and run by the harness."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

from support.harness.engine import ActionsHost, Run

PATH = ".github/workflows/test.yml"
Host = Callable[..., ActionsHost]
UPLOAD = "actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f"
DOWNLOAD = "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c"


def workflow(jobs: str, on: str = "workflow_dispatch:") -> dict[str, str]:
    """A repository with one workflow."""
    head = f"name: Test\non:\n{textwrap.indent(textwrap.dedent(on), '  ')}\njobs:\n"
    return {PATH: head + textwrap.indent(textwrap.dedent(jobs), "  ")}


def run(host: Host, jobs: str, *, files: dict[str, str] | None = None, inputs: Any = None, **settings: Any) -> Run:
    on = settings.pop("on", "workflow_dispatch:")
    how = {key: settings.pop(key) for key in ("reviewer", "hooks") if key in settings}
    started = host(workflow(jobs, on) | (files or {}), **settings)
    return started.dispatch(PATH, inputs or {}, actor="alice", **how)
