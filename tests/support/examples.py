"""One whole set of documents of a run, for tests to vary."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from agent_runtime.model import documents, plan
from agent_runtime.model.documents import (
    ActionReport,
    Approvals,
    Approver,
    Authorization,
    Decision,
    Investigation,
    Plan,
    PolicyStamp,
    Receipt,
    Report,
    ReportStatus,
    Run,
    RuntimeStamp,
    Step,
    StepResult,
)
from agent_runtime.results import ActionStatus, Finding, RiskLevel, Severity

ISSUED = datetime(2026, 11, 22, 11, 0, 0, tzinfo=UTC)
SHA = "3d3c42e5aac5ba805825da76410c181273ba90b1"


def run(**changes: Any) -> Run:
    """A workflow run that `alice` started."""
    values: dict[str, Any] = {
        "repository": "acme/checkout-restart",
        "run_id": "4711",
        "run_attempt": 1,
        "sha": SHA,
        "ref": "refs/heads/main",
        "actor": "alice",
        "triggering_actor": "alice",
        "workflow": "Agent Runtime - Investigate & Act",
        "event": "workflow_dispatch",
    }
    return Run(**{**values, **changes})


def step(**changes: Any) -> Step:
    """A restart that the agent asks for."""
    values: dict[str, Any] = {
        "action": "restart_service",
        "parameters": {"error_rate": 0.31, "requests": 240},
        "reason": "31 % of the requests fail",
        "reversible": False,
        "rollback": None,
        "risk_level": RiskLevel.MEDIUM,
        "changes": (),
    }
    return Step(**{**values, **changes})


def sealed(*steps: Step, **changes: Any) -> Plan:
    """A plan of these steps, by default of `step()`, that expires an hour after ISSUED."""
    values: dict[str, Any] = {
        "schema_version": 1,
        "resource": "checkout",
        "steps": steps or (step(),),
        "preconditions": {"started": 17},
        "policy": PolicyStamp("a" * 64, Decision.REVIEW, ("allowed_actions[0]",)),
        "approvals": Approvals(count=1, approvers=()),
        "variables": {},
        "secrets": ("AGENT_ACT_TOKEN",),
        "run": run(),
        "runtime": RuntimeStamp("0.1.0", "b" * 64),
        "issued_at": documents.format_time(ISSUED),
        "expires_at": documents.format_time(ISSUED + timedelta(minutes=60)),
        "dry_run": False,
    }
    return Plan(**{**values, **changes})


def investigation(*steps: Step, **changes: Any) -> Investigation:
    """What the agent's machine hands over when it proposes these steps, by default `step()`."""
    values: dict[str, Any] = {
        "schema_version": 1,
        "run": run(),
        "resource": "checkout",
        "measured_at": documents.format_time(ISSUED),
        "risk_level": RiskLevel.MEDIUM,
        "confidence": 0.8,
        "findings": (Finding("31 % of the requests fail", Severity.HIGH, {"error_rate": 0.31}),),
        "recommendation": "restart",
        "safe_to_proceed": True,
        "analysis": "",
        "steps": steps or (step(),),
        "preconditions": {"started": 17},
    }
    return Investigation(**{**values, **changes})


def report(**changes: Any) -> Report:
    """A report that proposes the plan of `sealed()`."""
    values: dict[str, Any] = {
        "schema_version": 1,
        "trace_id": "4711-1",
        "run": run(),
        "timestamp": documents.format_time(ISSUED),
        "resource": "checkout",
        "trigger": "manual",
        "status": ReportStatus.ACTION_PROPOSED,
        "risk_level": RiskLevel.MEDIUM,
        "confidence": 0.8,
        "findings": (Finding("31 % of the requests fail", Severity.HIGH, {"error_rate": 0.31}),),
        "recommendation": "restart",
        "safe_to_proceed": True,
        "analysis": "",
        "plan": sealed(),
    }
    return Report(**{**values, **changes})


BOB = Approver("bob", 7, "User")


def receipt(**changes: Any) -> Receipt:
    """The receipt of bob's approval of the plan of `sealed()`."""
    values: dict[str, Any] = {
        "schema_version": 1,
        "trace_id": "4711-1",
        "run": run(),
        "plan_digest": plan.digest(sealed()),
        "approver": BOB,
        "comment": "go",
        "observed_at": documents.format_time(ISSUED),
    }
    return Receipt(**{**values, **changes})


def authorization(**changes: Any) -> Authorization:
    """What *Verify* says when every check passed."""
    values: dict[str, Any] = {
        "schema_version": 1,
        "trace_id": "4711-1",
        "run": run(),
        "plan_digest": plan.digest(sealed()),
        "resource": "checkout",
        "authorized": True,
        "approvers": (BOB,),
    }
    return Authorization(**{**values, **changes})


def step_result(**changes: Any) -> StepResult:
    """The result of a restart that worked."""
    values: dict[str, Any] = {"action": "restart_service", "status": ActionStatus.SUCCESS, "latency_ms": 12.5}
    return StepResult(**{**values, **changes})


def result(*steps: StepResult, **changes: Any) -> ActionReport:
    """What *Execute* reports after these steps, by default one that worked."""
    values: dict[str, Any] = {
        "schema_version": 1,
        "trace_id": "4711-1",
        "run": run(),
        "plan_digest": plan.digest(sealed()),
        "resource": "checkout",
        "status": ActionStatus.SUCCESS,
        "steps": steps or (step_result(),),
    }
    return ActionReport(**{**values, **changes})
