"""Lets a language model look for the cause when too many requests fail, and choose one action out of a catalogue.

Over 5 % of requests fail: a model reads metrics, log, switches, changes and runbook, and proposes one of the actions
below, or nothing.  Otherwise nobody is asked, no model either.  What the policy judges by is measured here, by code.
Which services there are, and where, is in services.yml; what a model can do, in agent_runtime/toolkit/model.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from agent_runtime import (
    ActionResult,
    ActionStatus,
    AgentRunner,
    Finding,
    InvestigationResult,
    RiskLevel,
    Severity,
)
from agent_runtime.toolkit import git, http, metrics, model, services, waiting
from agent_runtime.toolkit.errors import NOT_DONE, OutcomeUnknown, ToolError

FAILING_ABOVE = 0.05  # share of requests that fail
MIN_REQUESTS = 20  # fewer say nothing about a rate

CALL_SECONDS = 30.0  # for a call that changes something to be answered
RESTART_SECONDS = 60.0  # for all processes to be other ones
TRAFFIC_SECONDS = 120.0  # for enough requests to judge the service by afterwards

SERVICES = Path(__file__).with_name("services.yml")
RUNBOOK = Path(__file__).with_name("docs") / "RUNBOOK.md"

# What one investigation may use, at most; see the class for all of them.
LIMITS = model.Limits(requests=12, tool_calls=20, tokens=200_000, usd=1.0, seconds=300.0)
MODEL: Any = None  # a test gives a model of its own; otherwise MODEL_NAME says which


@dataclass(frozen=True)
class TurnOff:
    """What the model chooses of turn_off_switch.

    Arguments:
        switch: name of the switch, as the tool `switches` shows it.
    """

    switch: str


@dataclass(frozen=True)
class Restart:
    """The model has nothing to choose."""


TURN_OFF = model.Action(
    name="turn_off_switch",
    description="Turn off a feature switch of the service. Helps where the failures began when it was turned on.",
    parameters=TurnOff,
    risk_level=RiskLevel.LOW,
    reversible=True,
    rollback="Turn the switch on again.",
)
RESTART = model.Action(
    name="restart_service",
    description="Restart the service. Helps where a process is stuck, not where code or configuration is wrong.",
    parameters=Restart,
    risk_level=RiskLevel.MEDIUM,
    rollback="A restart can't be undone. Requests in flight may fail while the service restarts.",
)
ACTIONS = (TURN_OFF, RESTART)


class IncidentResponseAgent(AgentRunner):
    """Asks a model for the cause when too many requests fail; does what was approved, and checks that it helped."""

    def investigate(self, resource: str, context: Optional[Dict[str, Any]] = None) -> InvestigationResult:
        """Measure the error rate; where it is too high, let a model look and choose."""
        service = catalogue().get(resource)
        traffic = service["metrics"].recent()
        rate = traffic.error_rate
        if rate is None or traffic.requests < MIN_REQUESTS:
            few = Finding(f"Only {traffic.requests:g} requests: too few to judge by", Severity.LOW, traffic.evidence())
            return InvestigationResult((few,), "nothing to do: too few requests", confidence=0.2)
        if rate <= FAILING_ABOVE:
            fine = Finding(f"{rate:.2%} of the requests fail", Severity.INFO, traffic.evidence())
            return InvestigationResult((fine,), "nothing to do", confidence=0.9)
        return model.ask(
            f"{rate:.2%} of the requests to {resource} fail, of {traffic.requests:g}. Find out why.",
            actions=ACTIONS,
            tools=tools_for(service, context or {}),
            measured={"error_rate": rate, "requests": traffic.requests, "failing_above": FAILING_ABOVE},
            notes=self.notes,
            limits=LIMITS,
            model=MODEL,
        )

    def observe(self, resource: str) -> Dict[str, Any]:
        """What must not change between plan and action: which processes run, and which switches are on."""
        service = catalogue().get(resource)
        started = {name: round(time) for name, time in service["metrics"].started().items()}
        return {"started": started, "switches": read_switches(service), "restart_url": service["restart"]}

    def act(self, resource: str, action: str, context: Optional[Dict[str, Any]] = None) -> ActionResult:
        """Do what was approved, and measure again."""
        approved, service = context or {}, catalogue().get(resource)
        if action not in (TURN_OFF.name, RESTART.name):
            return ActionResult(ActionStatus.FAILED, details={"error": f"nothing was done: {action} is not known"})
        changes: List[str] = []
        seen: Dict[str, Any] = {"error_rate_before": approved.get("error_rate")}
        try:
            if action == TURN_OFF.name:
                turn_off(service, resource, approved["switch"], changes)
            else:
                restart(service, resource, changes)
            traffic = service["metrics"].fresh(at_least=MIN_REQUESTS, wait_seconds=TRAFFIC_SECONDS)
        except OutcomeUnknown as problem:
            return ActionResult(ActionStatus.UNKNOWN, tuple(changes), seen, details={"error": problem.line()})
        except ToolError as problem:
            return ActionResult(ActionStatus.FAILED, tuple(changes), seen, details={"error": problem.line()})
        rate, limit = traffic.error_rate, approved.get("failing_above", FAILING_ABOVE)
        seen.update(error_rate_after=rate, after=traffic.evidence())
        if rate is None or traffic.requests < MIN_REQUESTS:
            why = f"{traffic.requests:g} requests are too few to show that it helped"
            return ActionResult(ActionStatus.FAILED, tuple(changes), seen, details={"error": why})
        if rate > limit:
            why = f"still {rate:.2%} of the requests fail: look for another cause"
            return ActionResult(ActionStatus.FAILED, tuple(changes), seen, details={"error": why})
        return ActionResult(ActionStatus.SUCCESS, tuple(changes), seen)


def tools_for(service: Dict[str, Any], context: Dict[str, Any]) -> List[Callable[..., Any]]:
    """What a model may look with.  Each reads this one service: no tool takes the name or the address of another."""

    def error_rate() -> Any:
        """How many requests there were in the last minutes, and how many failed."""
        return service["metrics"].recent().evidence()

    def log(contains: str = "", lines: int = 30) -> str:
        """The newest lines of the service's log that contain a text; an empty text takes all."""
        answer = http.get(service["log"], token=http.token_of(service.get("log_token", ""))).granted()
        found = [line for line in answer.text().splitlines() if contains in line]
        return "\n".join(found[-max(1, min(lines, 200)) :])

    def switches() -> Any:
        """The feature switches of the service, by name, and whether each is on."""
        return read_switches(service)

    def changes() -> Any:
        """The newest commits of the service's configuration: when, by whom, and what they changed."""
        with git.clone(service["repository"], service["branch"], token=http.token("git")) as clone:
            commits = clone.changes(service["path"], 6)
            return [
                {
                    "time": metrics.shown_time(newer.time),
                    "author": newer.author,
                    "subject": newer.subject,
                    "lines": list(clone.compare(older.sha, newer.sha, service["path"]).lines),
                }
                for newer, older in zip(commits, commits[1:])
            ]

    def runbook() -> str:
        """What the team wrote down about this service and these actions."""
        return RUNBOOK.read_text(encoding="utf-8")

    def trigger() -> Any:
        """What the alert or the person said that started this, not verified."""
        return context

    return [error_rate, log, switches, changes, runbook, *([trigger] if context else [])]


def read_switches(service: Dict[str, Any]) -> Dict[str, bool]:
    """The switches by name.

    Raises:
        ToolError: no answer, or one of another form.
    """
    answer = http.get(service["switches"], token=http.token_of(service.get("switches_token", ""))).granted()
    return {str(name): on is True for name, on in answer.fields(switches=dict)["switches"].items()}


def turn_off(service: Dict[str, Any], resource: str, switch: str, changes: List[str]) -> None:
    """Turn off exactly the approved switch.

    Raises:
        OutcomeUnknown: nobody knows whether it took effect.
        ToolError: it was refused, or there is no such switch that is on: nothing was changed.
    """
    if not read_switches(service).get(switch):
        raise ToolError(NOT_DONE, f"nothing was done: {resource} has no switch {json.dumps(switch)} that is on")
    address = http.under(service["switches"], f"/{switch}")
    http.send_once("PUT", address, value={"on": False}, token=http.token("switches"), timeout_seconds=CALL_SECONDS)
    changes.append(f"turned off the switch {switch} of {resource}")


def restart(service: Dict[str, Any], resource: str, changes: List[str]) -> None:
    """Restart, and wait for other processes.

    Raises:
        OutcomeUnknown: nobody knows whether it took effect.
        ToolError: it was refused, or the processes are still the same.
    """
    before = service["metrics"].started()
    http.post_once(service["restart"], token=http.token("restart"), timeout_seconds=CALL_SECONDS)
    changes.append(f"asked {resource} to restart")
    started, why = waiting.until_or_why(lambda: service["metrics"].restarted_since(before), seconds=RESTART_SECONDS)
    if started is None:
        raise ToolError(NOT_DONE, f"not restarted within {RESTART_SECONDS:g} s: {why}")
    changes[-1] = f"restarted {resource}"


def catalogue() -> services.Catalogue[Dict[str, Any]]:
    """The services of services.yml."""
    needed = {
        "metrics": services.measured,
        "log": services.url,
        "switches": services.url,
        "repository": services.repository,
        "branch": services.text,
        "path": services.text,
        "restart": services.url,
    }
    return services.read(
        SERVICES, services.form(needed, {"log_token": services.variable, "switches_token": services.variable})
    )


if __name__ == "__main__":
    raise SystemExit(IncidentResponseAgent.main())
