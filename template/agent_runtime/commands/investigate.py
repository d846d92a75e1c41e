"""Run the agent's investigate() and observe(), and hand over what they found as data for `seal`.  Changes nothing."""

from __future__ import annotations

import argparse
import os

from agent_runtime import codes
from agent_runtime.cli import Call
from agent_runtime.commands import local_options, options


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    local_options.add_target(parser)
    options.add_out(parser)


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.github import context  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.job import request  # noqa: PLC0415
    from agent_runtime.job.context import now  # noqa: PLC0415
    from agent_runtime.model import config  # noqa: PLC0415
    from agent_runtime.run import investigate, local  # noqa: PLC0415
    from agent_runtime.text import escape  # noqa: PLC0415

    os.environ.setdefault("AGENT_JOB", "investigate")  # the toolkit names the job in its messages
    asked = request.read(call.environ, call.options)
    if context.in_workflow(call.environ):
        job = call.job("investigate", asked.trace_id or None)
    else:
        here = local.described(call.root, config.load(call.root).repository)
        job = call.job("investigate", asked.trace_id or f"local-{now():%Y%m%dT%H%M%SZ}-{os.getpid()}", here)
    found = investigate.run_job(call.agent(), job, asked)
    proposed = " then ".join(step.action for step in found.steps)
    print(escape.log_line(f"{found.resource}: {'proposes ' + proposed if proposed else 'nothing to do'}"))
    for finding in found.findings:
        print(escape.log_line(f"  {finding.severity}: {finding.message}"))
    if not context.in_workflow(call.environ):
        print("To see the page and to decide: python agent_runner.py simulate")
    return codes.EXIT_OK
