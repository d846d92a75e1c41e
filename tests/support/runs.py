"""What a run of the gated workflow left, and how its jobs are expected to end."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from agent_runtime.gate.offline import verify
from support.environment import REPOSITORY
from support.harness.engine import Answer, Click, Run

ALL_SUCCEED = dict.fromkeys(("investigate", "seal", "approve", "act", "record"), "success")
# The events of a run that acted, by job and step.
STEPS = [
    *[("investigate", step) for step in ("started", "investigated", "finished")],
    *[("seal", step) for step in ("started", "gate_check", "policy_evaluated", "plan_sealed", "finished")],
    ("approve", "approved"),
    ("act", "started"),
    *[("act", "gate_check")] * 12,
    *[("act", step) for step in ("authorized", "started", "intent", "outcome")],
    ("record", "terminal"),
]
EVENTS = len(STEPS)


def ended(**otherwise: str) -> dict[str, str]:
    """How jobs end: all of them well, but for those named."""
    return {**ALL_SUCCEED, **otherwise}


def reject(waiting: Any) -> Answer:
    return Click("bob", "rejected", "not now")


def results(run: Run) -> dict[str, str]:
    """How each job ended; without the second approval and the attestation where there were none."""
    found = {id: job.result for id, job in run.jobs.items()}
    absent = (("approve-second", "skipped"), ("attest", "skipped"))
    return {id: result for id, result in found.items() if (id, result) not in absent}


def carried_out(run: Run) -> list[tuple[str, tuple[str, str]]]:
    """The commands that the runner took from what was printed, but for those that stop it from taking any."""
    found = [(id, each) for id, job in run.jobs.items() for step in job.steps for each in step.commands]
    return [(id, each) for id, each in found if each[0] != "stop-commands"]


def unfenced(run: Run) -> str:
    """The log without the words that would end a fence, which the runner masks."""
    return run.log.replace("::stop-commands::***\n", "")


def document(run: Run, artifact: str, path: str) -> Any:
    """A JSON file of an artifact."""
    return json.loads(run.artifacts.named(artifact).files()[path])


def approvers(run: Run) -> list[str]:
    """Whose approvals Verify counted."""
    found = document(run, "action-authorization", "authorization.json")
    assert found["authorized"] is True
    return [approver["login"] for approver in found["approvers"]]


def bundle(run: Run) -> Any:
    """The manifest of the run's bundle, after looking that `verify` takes it for whole exactly when the run did."""
    manifest = document(run, "audit-bundle", "bundle.json")
    with tempfile.TemporaryDirectory() as folder:
        for name, data in run.artifacts.named("audit-bundle").files().items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_bytes(data)
        problems = verify(Path(folder))[1]
    assert bool(problems) == bool(manifest["problems"]), problems
    return manifest


def machines(run: Run) -> int:
    """How many jobs got a machine, each of which costs a minute at least."""
    return sum(job.workspace is not None for job in run.jobs.values())


def promised(how: str) -> int:
    """How many minutes README.md says that a run costs which ends like this."""
    page = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return int(re.search(rf"^\| {how}(?:[,:][^|]*)? \|.* (\d+) \|$", page, flags=re.MULTILINE)[1])  # type: ignore[index]
