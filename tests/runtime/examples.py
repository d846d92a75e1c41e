"""One whole set of documents of a run, for tests to vary."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from agent_runtime.model import documents, plan
from agent_runtime.model.documents import Decision, Plan, PolicyStamp, Report, ReportStatus, Run
from agent_runtime.results import Finding, ProposedAction, RiskLevel, Severity

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


def proposed(**changes: Any) -> ProposedAction:
    """A restart that the agent asks for."""
    values: dict[str, Any] = {
        "action": "restart_service",
        "parameters": {"error_rate": 0.31, "requests": 240},
        "reason": "31 % of the requests fail",
        "risk_level": RiskLevel.MEDIUM,
        "reversible": False,
        "rollback": None,
    }
    return ProposedAction(**{**values, **changes})


def sealed(**changes: Any) -> Plan:
    """A plan that expires an hour after ISSUED."""
    values: dict[str, Any] = {
        "resource": "checkout",
        "preconditions": {"started": 17},
        "policy": PolicyStamp("a" * 64, Decision.REVIEW, ("allowed_actions[0]",)),
        "run": run(),
        "issued_at": ISSUED,
        "ttl_minutes": 60,
        "approvals_before": 0,
        "dry_run": False,
    }
    return plan.seal(proposed(), **{**values, **changes})


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
