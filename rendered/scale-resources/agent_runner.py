"""Watches over the load of services and proposes to give them more or less capacity.

CPU, memory or latency over 80 % of its limit: more.  CPU and memory under 20 %: less.  Otherwise, at a limit, or soon
after the last change: nothing to do.  Which services there are, what limits them, and where their capacity is set,
is in services.yml; how load is measured and capacity set, in agent_runtime/toolkit.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

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
from agent_runtime.toolkit import http, metrics, scaling, services, usage, waiting
from agent_runtime.toolkit.errors import METRICS_UNUSABLE, OutcomeUnknown, ToolError

UP, DOWN = "scale_up", "scale_down"

UP_ABOVE = 0.80  # share of a limit
DOWN_BELOW = 0.20
FORECAST_HOURS = 6.0  # until the schedule looks again

CALL_SECONDS = 30.0  # for the trigger to be answered
SCALE_SECONDS = 300.0  # for more capacity to be online
SHRINK_SECONDS = 900.0  # for less: Kubernetes looks back over 300 s, by default, before it takes instances away

SERVICES = Path(__file__).with_name("services.yml")


class ScaleResourcesAgent(AgentRunner):
    """Proposes another capacity, sets it once approved, and checks that it is online."""

    def investigate(self, resource: str, context: Optional[Dict[str, Any]] = None) -> InvestigationResult:
        """Measure load and trend, look at what is set and online, decide."""
        service = catalogue().get(resource)
        loads = measure(service)
        setting, online = service["target"].look(), capacity(service)
        limits = {name: service[name] for name in ("minimum", "maximum", "step", "cooldown_seconds")}
        found = Finding(f"{setting.instances} instances are set, {online} are online", Severity.INFO, limits)
        forecasts = [load.finding(hours=FORECAST_HOURS, high=UP_ABOVE) for load in loads]
        findings = [*sorted(forecasts, key=lambda one: one.severity is Severity.INFO), found]
        if context:
            findings.append(Finding("What the trigger said, not verified", Severity.INFO, context))

        def nothing(why: str, confidence: float = 0.9) -> InvestigationResult:
            return InvestigationResult(tuple(findings), "nothing to do" + why, confidence=confidence)

        cpu, memory, *_ = loads
        busiest, fuller = max(loads, key=lambda load: load.now), max(cpu, memory, key=lambda load: load.now)
        rising = [load.name for load in loads if load.at_most(FORECAST_HOURS) > UP_ABOVE]
        without_forecast = [load.name for load in loads if load.has_no_forecast]
        if busiest.now > UP_ABOVE:
            action, decisive = UP, busiest
            wanted = min(max(setting.instances + service["step"], service["minimum"]), service["maximum"])
            why = f"{busiest.name}, the busiest, is at {busiest.now:.1%} of its limit, more than {UP_ABOVE:.0%}"
        elif fuller.now < DOWN_BELOW:
            action, decisive = DOWN, fuller
            wanted = max(setting.instances - service["step"], service["minimum"])
            why = f"cpu is at {cpu.now:.1%}, memory at {memory.now:.1%} of its limit, both less than {DOWN_BELOW:.0%}"
            if rising:
                return nothing(f": the forecast of {', '.join(rising)} is over {UP_ABOVE:.0%}", confidence=0.6)
            if without_forecast:
                return nothing(f": too few points for a forecast of {', '.join(without_forecast)}", confidence=0.5)
        else:
            return nothing("")

        missing = max(0, setting.instances - online)
        broken = f"{missing} of {setting.instances} instances are not online" if missing else ""
        against = look_at_change(service, setting, online)
        if broken and not against:
            what = f"{broken}, long after the last change: look at what is broken, too"
            findings.insert(0, Finding(what, Severity.HIGH, {"set": setting.instances, "online": online}))
            against = broken if action == DOWN else None
        if against:
            return nothing(f": {against}", confidence=0.5)
        if (wanted <= setting.instances) if action == UP else (wanted >= setting.instances):
            return nothing(f": the {'maximum' if action == UP else 'minimum'} is reached", confidence=0.5)
        if action == DOWN and setting.lowest < setting.instances:
            return nothing(f": the autoscaler may go down to {setting.lowest} by itself", confidence=0.5)

        return InvestigationResult(
            findings=tuple(findings),
            recommendation="scale up" if action == UP else "scale down",
            risk_level=RiskLevel.MEDIUM,
            confidence=0.8,
            proposed_action=ProposedAction(
                action=action,
                parameters={
                    "from": setting.instances,
                    "to": wanted,
                    "load": round(decisive.now, 4),
                    "busiest": decisive.name,
                    **{load.name: round(load.now, 4) for load in loads},
                },
                reason=f"{why}; {setting.instances} instances become {wanted}.{broken and f' {broken}.'}",
                risk_level=RiskLevel.LOW if action == UP else RiskLevel.MEDIUM,
                reversible=True,
                rollback=setting.undo,
            ),
        )

    def observe(self, resource: str) -> Dict[str, Any]:
        """What must not change between plan and action: what is set, and where."""
        setting: scaling.Setting = catalogue().get(resource)["target"].look()
        return setting.version

    def act(self, resource: str, action: str, context: Optional[Dict[str, Any]] = None) -> ActionResult:
        """Set the approved number, trigger, wait until that many instances are online, and say what is."""
        approved = context or {}
        changes: List[str] = []
        seen: Dict[str, Any] = {"load_before": approved.get("load")}
        undo: Optional[str] = None

        def ended(status: ActionStatus, why: str) -> ActionResult:
            return ActionResult(status, tuple(changes), seen, undo, details={"error": why})

        if action not in (UP, DOWN):
            return ended(ActionStatus.FAILED, f"nothing was done: {action} is not known")
        before, wanted = approved["from"], approved["to"]
        try:
            service = catalogue().get(resource)
            seen["online_before"] = capacity(service)
            why = f"Scale {resource} from {before} to {wanted} instances\n\nIts load was {approved['load']:.1%}."
            done, undo = service["target"].set(wanted, instead_of=before, why=why)
            changes.append(done)
            if "trigger" in service:
                http.post_once(service["trigger"], token=http.token("trigger"), timeout_seconds=CALL_SECONDS)
        except OutcomeUnknown as problem:
            return ended(ActionStatus.UNKNOWN, problem.line())
        except ToolError as problem:
            return ended(ActionStatus.FAILED, problem.line())

        def as_wanted() -> bool:
            online = seen["online_after"] = capacity(service)
            # An autoscaler may go further by itself, but what is below the minimum is not smaller: it is broken.
            return bool(online >= wanted if action == UP else min(service["minimum"], wanted) <= online <= wanted)

        seconds = SCALE_SECONDS if action == UP else SHRINK_SECONDS
        there = waiting.until(as_wanted, seconds=seconds)
        online = seen.get("online_after", "an unknown number of")
        try:
            now = service["target"].look().lowest
        except ToolError as problem:
            return ended(ActionStatus.FAILED, f"{wanted} were set; {online} are online; {problem.line()}")
        if now != wanted:
            why = f"{wanted} were set, and now it is {now}: somebody, or an operator such as KEDA, set it again"
            return ended(ActionStatus.FAILED, f"{why}; {online} are online")
        if not there:
            return ended(ActionStatus.FAILED, f"{wanted} are set; {online} are online after {seconds:g} s")
        changes.append(f"{seen['online_after']} instances of {resource} are online")
        return ActionResult(ActionStatus.SUCCESS, tuple(changes), seen, undo)


def look_at_change(service: Dict[str, Any], setting: scaling.Setting, online: int) -> Optional[str]:
    """Return why another change would come too soon, or would take no effect; None where nothing is against it."""
    if setting.off:
        return setting.off
    age = math.inf if setting.changed_at is None else time.time() - setting.changed_at
    grace = max(service["cooldown_seconds"], SCALE_SECONDS)  # what is not there after that is broken
    if setting.pending or online > setting.instances or (online < setting.instances and age < grace):
        return "the last change is not online yet"
    return "the last change is too recent" if age < service["cooldown_seconds"] else None


def measure(service: Dict[str, Any]) -> List[usage.Load]:
    """Return the load of CPU, memory and latency, in this order."""
    server, limit = service["prometheus"], service["latency_limit_seconds"]
    how = {"window_seconds": service["window_seconds"], "token": service.get("token", "")}
    return [
        usage.measure("cpu", server, service["cpu"], **how),
        usage.measure("memory", server, service["memory"], **how),
        # Without requests there is no latency: Prometheus answers NaN, and that counts as no load.
        usage.measure("latency", server, service["latency"], limit=limit, may_be_idle=True, **how),
    ]


def capacity(service: Dict[str, Any]) -> int:
    """Return how many instances are online.

    Raises:
        ToolError: no answer, or no whole number: half an instance is an average, or something else.
    """
    found = metrics.value(service["prometheus"], service["online"], token=service.get("token", ""))
    if found != int(found):
        raise ToolError(METRICS_UNUSABLE, f"{service['online']} gives {found:g}, no whole number of instances")
    return int(found)


def catalogue() -> services.Catalogue[Dict[str, Any]]:
    """Read services.yml."""
    return services.read(
        SERVICES,
        services.form(
            {
                "prometheus": services.url,
                "cpu": services.text,
                "memory": services.text,
                "latency": services.text,
                "latency_limit_seconds": services.number(0.001, 3600),
                "online": services.text,
                "window_seconds": services.number(1, 30 * 24 * 3600),
                "minimum": services.number(1, 10_000),
                "maximum": services.number(1, 10_000),
                "step": services.number(1, 1_000),
                "cooldown_seconds": services.number(0, 30 * 24 * 3600),
                "target": scaling.target,
            },
            {"trigger": services.url, "token": services.variable},
            ascending=("minimum", "maximum"),
        ),
    )


if __name__ == "__main__":
    raise SystemExit(ScaleResourcesAgent.main())
