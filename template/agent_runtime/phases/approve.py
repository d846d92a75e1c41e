"""Approve: runs after the click, and writes down who clicked from GitHub's own record."""

from __future__ import annotations

from agent_runtime import codes, documents, gate, names
from agent_runtime.documents import Approver, Receipt
from agent_runtime.github import outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.phases import gatekeeper
from agent_runtime.phases.desk import Desk, now, write_whole
from agent_runtime.phases.trail import Trail
from aimgentix import ActionType, ActorType, EventStatus


def run_phase(desk: Desk, *, resource: str, plan_digest: str, approvals_before: int) -> Receipt:
    """Read GitHub's approval record and write the receipt.

    Arguments:
        plan_digest: what was shown to the reviewer, 64 hexadecimal digits.
        approvals_before: number of records that the run had when the plan was sealed.

    Raises:
        GateRefused: nobody, or nobody who may, approved (GATE07), or GitHub did not answer (GATE12).
    """
    if not documents.is_hex64(plan_digest):
        raise codes.GateRefused(codes.GATE_DIGEST, "the approved digest is not a SHA-256")
    with Trail(desk, resource) as journal:
        try:
            records = gatekeeper.approvals(GitHubApi.from_environment(desk.environ), desk.run)
            record = gate.check_approval(records, approvals_before, desk.run)
        except codes.AgentError as error:
            journal.event(
                names.STEP_ERROR,
                EventStatus.DENIED,
                action_type=ActionType.POLICY_CHECK,
                durable=True,
                code=error.code,
                message=error.message,
            )
            outputs.write_outputs(desk.environ, {"journal_head": journal.head})
            raise
        approver = approver_of(record)
        receipt = Receipt(
            schema_version=documents.SCHEMA_VERSION,
            trace_id=desk.trace_id,
            run=desk.run,
            plan_digest=plan_digest,
            approver=approver,
            comment=str(record.get("comment") or ""),
            observed_at=documents.format_time(now()),
        )
        write_whole(desk.out / names.RECEIPT_NAME, documents.encode(receipt))
        journal.event(
            names.STEP_APPROVED,
            EventStatus.SUCCESS,
            action_type=ActionType.POLICY_CHECK,
            actor=ActorType.HUMAN,
            durable=True,
            approver=documents.plain(approver),
            plan_digest=plan_digest,
        )
        outputs.write_outputs(desk.environ, {"journal_head": journal.head})
    return receipt


def approver_of(record: object) -> Approver:
    """Return who gave an approval record that `gate.check_approval()` accepted."""
    user = record["user"]  # type: ignore[index]
    return Approver(login=str(user["login"]), id=int(user["id"]), type=str(user["type"]))
