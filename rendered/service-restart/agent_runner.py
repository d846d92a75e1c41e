"""Watches over the error rate of services and proposes to restart the ones that fail.

Over 5 % of requests fail: restart.  Over 10 %: restart, and look for the cause.  Otherwise: nothing to do.  Which
services there are, and where, is in services.yml; how they are measured, in agent_runtime/toolkit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from agent_runtime import (
    ActionResult,
    ActionStatus,
    AgentRunner,
    Finding,
    InvestigationResult,
    ProposedAction,
    RiskLevel,
    Severity,
)
from agent_runtime.toolkit import health, http, services, waiting
from agent_runtime.toolkit.errors import OutcomeUnknown, ToolError

ACTION = "restart_service"

RESTART_ABOVE = 0.05  # share of requests that fail
INVESTIGATE_ABOVE = 0.10  # above this a restart may only hide the cause: somebody must look for it
MIN_REQUESTS = 20  # fewer say nothing about a rate

CALL_SECONDS = 30.0  # for the restart call to be answered
RESTART_SECONDS = 60.0  # for all processes to be other ones, and then to be healthy
TRAFFIC_SECONDS = 120.0  # for enough requests to judge the restarted service by

SERVICES = Path(__file__).with_name("services.yml")


class ServiceRestartAgent(AgentRunner):
    """Proposes a restart when too many requests fail, does it once approved, and checks that it helped."""

    def investigate(self, resource: str, context: Optional[Dict[str, Any]] = None) -> InvestigationResult:
        """Measure the error rate, ask the health endpoints, decide."""
        service = services.load(SERVICES).get(resource)
        traffic = service.metrics.recent()
        rate = traffic.error_rate
        others, broken = look_at_health(service)
        if context:
            others.append(Finding("What the trigger said, not verified", Severity.INFO, context))

        if rate is None or traffic.requests < MIN_REQUESTS:
            few = Finding(f"Only {traffic.requests:g} requests: too few to judge by", Severity.LOW, traffic.evidence())
            return InvestigationResult((few, *others), "nothing to do: too few requests", confidence=0.2)

        if rate <= RESTART_ABOVE:
            fine = Finding(f"{rate:.2%} of the requests fail", Severity.INFO, traffic.evidence())
            return InvestigationResult((fine, *others), "nothing to do", confidence=0.9)

        serious = rate > INVESTIGATE_ABOVE
        failing = Finding(
            f"{rate:.2%} of the requests fail, more than {RESTART_ABOVE:.0%}",
            Severity.HIGH if serious else Severity.MEDIUM,
            traffic.evidence(),
        )
        flag = Finding(
            f"More than {INVESTIGATE_ABOVE:.0%} fail: look for the cause, a restart may only hide it", Severity.HIGH
        )
        return InvestigationResult(
            findings=(failing, *([flag] if serious else []), *others),
            recommendation="restart and investigate" if serious else "restart",
            risk_level=RiskLevel.HIGH if serious else RiskLevel.MEDIUM,
            confidence=0.4 if broken else 0.8,
            analysis=f"A restart does not fix what {resource} depends on: {', '.join(broken)}." if broken else "",
            safe_to_proceed=not broken,
            proposed_action=ProposedAction(
                action=ACTION,
                parameters=dict(traffic.evidence(), restart_above=RESTART_ABOVE, investigate_above=INVESTIGATE_ABOVE),
                reason=f"{rate:.2%} of the requests to {resource} fail; the limit is {RESTART_ABOVE:.0%}.",
                risk_level=RiskLevel.MEDIUM,
                reversible=False,
                rollback="A restart can't be undone. Requests in flight may fail while the service restarts.",
            ),
        )

    def observe(self, resource: str) -> Dict[str, Any]:
        """What must not change between plan and action: which processes run, and which address restarts them."""
        service = services.load(SERVICES).get(resource)
        # In whole seconds: some libraries report a start time that drifts by hundredths.
        started = {name: round(time) for name, time in service.metrics.started().items()}
        return {"restart_url": service.restart, "started": started}

    def act(self, resource: str, action: str, context: Optional[Dict[str, Any]] = None) -> ActionResult:
        """Restart once, wait for health, measure again, and say what the world shows."""
        approved = context or {}
        if action != ACTION:
            return ActionResult(ActionStatus.FAILED, details={"error": f"nothing was done: {action} is not known"})
        try:
            service = services.load(SERVICES).get(resource)
            before = service.metrics.started()
            http.post_once(service.restart, token=http.token("restart"), timeout_seconds=CALL_SECONDS)
        except OutcomeUnknown as problem:
            return ActionResult(ActionStatus.UNKNOWN, details={"error": problem.line()})
        except ToolError as problem:
            return ActionResult(ActionStatus.FAILED, details={"error": problem.line()})

        changes = (f"asked {resource} to restart",)
        seen: Dict[str, Any] = {"error_rate_before": approved.get("error_rate"), "started_before": before}

        def failed(why: str) -> ActionResult:
            return ActionResult(ActionStatus.FAILED, changes, seen, details={"error": why})

        started, why = waiting.until_or_why(lambda: service.metrics.restarted_since(before), seconds=RESTART_SECONDS)
        seen["started_after"] = started
        if started is None:
            return failed(f"after {RESTART_SECONDS:g} s not every process is a new one, or none answers: {why}")
        changes = (f"restarted {resource}",)

        seen["healthy"] = bool(waiting.until(lambda: health.check(service.health).healthy, seconds=RESTART_SECONDS))
        if not seen["healthy"]:
            return failed(f"restarted, and not healthy within {RESTART_SECONDS:g} s")

        try:
            traffic = service.metrics.fresh(at_least=MIN_REQUESTS, wait_seconds=TRAFFIC_SECONDS)
        except ToolError as problem:
            return failed(f"restarted and healthy; the error rate can't be measured: {problem.line()}")
        rate, limit = traffic.error_rate, approved.get("restart_above", RESTART_ABOVE)
        seen.update(error_rate_after=rate, after=traffic.evidence())
        if rate is None or traffic.requests < MIN_REQUESTS:
            return failed(f"restarted and healthy; {traffic.requests:g} requests are too few to show that it helped")
        if rate > limit:
            return failed(f"restarted and healthy; still {rate:.2%} of the requests fail: look for the cause")
        return ActionResult(ActionStatus.SUCCESS, changes, seen)


def look_at_health(service: services.Service) -> Tuple[List[Finding], List[str]]:
    """Return findings about the service and what it depends on, and the names of dependencies that are not healthy."""
    own = health.check(service.health)
    findings = [] if own.healthy else [Finding("The service is not healthy", Severity.HIGH, {"health": own.detail})]
    broken = []
    for name, url in service.dependencies.items():
        dependency = health.check(url)
        if not dependency.healthy:
            broken.append(name)
            findings.append(Finding(f"{name} is not healthy", Severity.HIGH, {"health": dependency.detail}))
    return findings, broken


if __name__ == "__main__":
    raise SystemExit(ServiceRestartAgent.main())
