"""Runs for tests, as the runtime's jobs write them: one journal a job, in the SDK's own form."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from backend_client import LINES, Client, eventually

from support.zips import pack

PLAN = {
    "expires_at": "2026-11-30T10:15:00Z",
    "resource": "checkout",
    "schema_version": 1,
    "steps": [
        {
            "action": "restart_service",
            "parameters": {"force": False, "service": "checkout"},
            "reason": "12 of 40 requests failed; a restart cleared it the last three times",
            "reversible": True,
        }
    ],
}
DIGEST = hashlib.sha256(json.dumps(PLAN, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
REASON = "the plan expired at 10:15 and was approved at 10:31"
Step = tuple[str, str, str, dict[str, Any]]
"""Job, step, status and facts of an event."""


@dataclass
class Journals:
    """Writes the journals of one run.

    Attributes:
        lines: of all jobs, in the order in which they were written.
    """

    trace_id: str
    resource: str = "checkout"
    agent: str = "checkout-restart"
    repository: str = "acme/checkout-restart"
    at: float = 0.0
    lines: list[str] = field(default_factory=list)
    _ends: dict[str, tuple[str, int, str | None]] = field(default_factory=dict)

    def write(self, job: str, step: str, status: str = "success", actor: str = "system", **facts: Any) -> None:
        """Append an event to the journal of a job."""
        self.at = (self.at or time.time()) + 1.5
        whole = time.strftime("%Y-%m-%dT%H:%M:%S.125000Z", time.gmtime(self.at))
        gha = {"run_id": self.trace_id.split("-")[0], "run_attempt": 1, "job": job, "repository": self.repository}
        gha |= {"workflow": "Agent Runtime - Investigate & Act", "sha": "3d3c42e5aac5ba805825da76410c181273ba90b1"}
        event = {
            "event_id": str(uuid4()),
            "timestamp": whole,
            "agent_instance_id": self.agent,
            "trace_id": self.trace_id,
            "actor": actor,
            "action_type": "policy_check" if step == "gate_check" else "tool_call",
            "resource": self.resource,
            "status": status,
            "latency_ms": None,
            "metadata": {"step": step, "gha": gha, **facts},
        }
        place = "verify" if (job, step) in (("act", "gate_check"), ("act", "authorized")) else job
        stream, seq, prev = self._ends.get(place, (f"20261130T004116Z-1-{uuid4().hex[:16]}", 0, None))
        line = {"v": 1, "stream": stream, "seq": seq + 1, "prev": prev, "event": event}
        self.lines.append(json.dumps(line, separators=(",", ":"), ensure_ascii=False))
        self._ends[place] = (stream, seq + 1, hashlib.sha256(self.lines[-1].encode()).hexdigest())

    def investigated(self, action: str = "restart_service") -> None:
        """Write what comes before the approval."""
        self.write("investigate", "started", "pending", trigger="alert")
        self.write("investigate", "investigated", actor="agent", findings=2)
        self.write("investigate", "finished")
        self.write("seal", "started", "pending", trigger="alert")
        self.write("seal", "gate_check", check="GATE06")
        self.write(
            "seal", "policy_evaluated", action=action, steps=1, decision="review",
            matched_rules=["allowed_actions[0]"], policy_digest="15e2ec09" * 8,
        )  # fmt: skip
        self.write("seal", "plan_sealed", "pending", action=action, plan_digest=DIGEST)

    def approved(self, login: str = "bob") -> None:
        """Write that somebody approved."""
        approver = {"login": login, "id": 1696418, "type": "User"}
        self.write("approve", "approved", actor="human", approver=approver, plan_digest=DIGEST, issue_comment=None)

    def ended(
        self, outcome: str, login: str | None = "bob", steps: Iterable[tuple[str, str]] = (), **facts: Any
    ) -> None:
        """Write how it ended."""
        good = outcome in ("acted", "nothing_to_do", "rejected")
        self.write(
            "record", "terminal", "success" if good else "error", outcome=outcome, plan_digest=DIGEST,
            steps=[{"action": action, "status": status} for action, status in steps],
            approvers=[{"login": login, "id": 1696418, "type": "User"}] if login else [],
            jobs={"investigate": "success", "seal": "success"}, problems=[], **facts,
        )  # fmt: skip


def bundle_of(run: Journals, outcome: str) -> tuple[str, bytes]:
    """Return a bundle of a run, whose report has the plan, and its digest."""
    run_id, _, attempt = run.trace_id.partition("-")
    files = {
        "seal/investigation-report.json": json.dumps({"plan": PLAN}, indent=1).encode(),
        "record/journal/1.jsonl": f"{run.lines[-1]}\n".encode(),
    }
    manifest = {
        "schema_version": 1,
        "trace_id": run.trace_id,
        "run": {"repository": run.repository, "run_id": run_id, "run_attempt": int(attempt)},
        "resource": run.resource,
        "outcome": outcome,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    files["bundle.json"] = json.dumps(manifest).encode()
    return hashlib.sha256(files["bundle.json"]).hexdigest(), pack(files)


def acted(trace_id: str, at: float = 0.0, **names: Any) -> Journals:
    """A run that was approved and acted."""
    run = Journals(trace_id, at=at, **names)
    run.investigated()
    run.approved()
    for check in ("GATE01", "GATE02", "GATE03", "GATE14", "GATE04"):
        run.write("act", "gate_check", check=check)
    run.write("act", "authorized", plan_digest=DIGEST, approvers=[{"login": "bob"}], code=None, message=None)
    run.write(
        "act", "intent", "pending", "agent", number=0, action="restart_service", plan_digest=DIGEST, dry_run=False
    )
    run.write("act", "outcome", "success", "agent", number=0, action="restart_service", outcome="success")
    run.ended("acted", steps=[("restart_service", "success")])
    return run


def refused(trace_id: str, at: float = 0.0, **names: Any) -> Journals:
    """A run whose plan had expired when it was to act."""
    run = Journals(trace_id, at=at, **names)
    run.investigated()
    run.approved("carol")
    run.write("act", "gate_check", check="GATE01")
    run.write("act", "gate_check", "denied", check="GATE05", code="GATE05", message=REASON)
    run.write("act", "error", "denied", code="GATE05", message=REASON)
    run.ended("refused", "carol", steps=[("restart_service", "not_run")])
    return run


def waiting(trace_id: str, at: float = 0.0, **names: Any) -> Journals:
    """A run whose plan waits for somebody."""
    run = Journals(trace_id, at=at, **names)
    run.investigated("scale_service")
    run.write("ask", "approval_asked", "pending", issue=17, plan_digest=DIGEST)
    return run


def send(client: Client, *runs: Journals) -> None:
    """Store the runs' journals, and wait until they are listed."""
    body = "".join(f"{line}\n" for run in runs for line in run.lines).encode()
    answer = client.ask("POST", "/v1/events/batch", body, content_type=LINES)
    assert answer.status == 201, answer
    listed(client)


def listed(client: Client) -> None:
    """Wait until everything that is stored is listed."""
    eventually(lambda: client.get("/v1/runs?limit=1").json["waiting"] == 0)
