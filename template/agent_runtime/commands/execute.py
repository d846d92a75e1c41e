"""Run the agent's act() for each step of the plan that *Verify* authorized on this machine.

Reads AGENT_PLAN_FILE and APPROVED_DIGEST from the environment.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agent_runtime import codes
from agent_runtime.cli import Call, Ended, complain
from agent_runtime.commands import options
from agent_runtime.model import names


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    options.add_out(parser, names.EXECUTE_OUT)


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.model import documents, inputs  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.results import ActionStatus  # noqa: PLC0415
    from agent_runtime.run import execute  # noqa: PLC0415

    call.in_workflow()
    outcome = execute.run_job(
        call.agent(),
        call.job(call.environ.get("AGENT_JOB") or "act"),
        resource=inputs.resource(call.environ.get("TARGET_RESOURCE")),
        plan_path=Path(call.required("AGENT_PLAN_FILE")),
        approved_digest=call.required("APPROVED_DIGEST"),
    )
    result = outcome.result
    for step, status in zip(outcome.planned, documents.statuses(outcome.planned, result.steps)):
        print(f"{result.resource}: {step.action} {status.replace('_', ' ')}")
    if outcome.problem is not None:
        complain(outcome.problem)
        return codes.EXIT_REFUSED
    last = result.steps[-1]
    if result.status in (ActionStatus.FAILED, ActionStatus.PARTIAL):
        why = str(last.details.get("error") or "")
        what = "act() did a part" if result.status is ActionStatus.PARTIAL else "act() reported a failure"
        raise Ended(codes.ACTION_FAILED, what + (": " + why if why else ""), codes.EXIT_ACTION_FAILED)
    if result.status is ActionStatus.UNKNOWN:
        why = str(last.details.get("problem") or "act() reported that it does not know")
        raise Ended(
            codes.OUTCOME_UNKNOWN, f"{why}; whether {result.resource} changed is unknown", codes.EXIT_OUTCOME_UNKNOWN
        )
    return codes.EXIT_OK
