"""What a simulated run tries: the two honest answers of a reviewer, and the ways around the gate."""

from __future__ import annotations

from typing import Dict

from agent_runtime.results import _StrEnum


class Scenario(_StrEnum):
    """One way through a run; the value is its option on the command line."""

    APPROVE = "approve"
    REJECT = "reject"
    EXPIRE = "expire"
    TAMPER = "tamper"
    SWAP = "swap"
    OTHER_RUN = "other-run"
    EXECUTE_TWICE = "execute-twice"
    SELF_APPROVE = "self-approve"
    BYPASS = "bypass"
    OPEN_GATE = "open-gate"
    WITHOUT_ASKING = "without-asking"
    BUSY = "busy"


HELP: Dict[Scenario, str] = {
    Scenario.REJECT: "the reviewer rejects: nothing is executed",
    Scenario.EXPIRE: "the reviewer approves too late",
    Scenario.TAMPER: "the plan is changed after the approval, and the report's checksum with it",
    Scenario.SWAP: "the uploaded report is replaced by another file",
    Scenario.OTHER_RUN: "an approved plan is carried into another run",
    Scenario.EXECUTE_TWICE: "the act job is started a second time",
    Scenario.SELF_APPROVE: "whoever started the run approves it",
    Scenario.BYPASS: "an administrator lets the run through without an approval",
    Scenario.OPEN_GATE: "the environment agent-approval has no reviewers",
    Scenario.WITHOUT_ASKING: "a plan that needs an approval is carried to the job that acts without asking",
    Scenario.BUSY: "other runs acted as often as the policy's rate limits allow, just now",
}
