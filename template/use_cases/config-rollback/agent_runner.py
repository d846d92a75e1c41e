"""Looks at a service after a change of its configuration, and proposes to undo the change when it did harm.

Over 5 % of the log's lines since the service was started with the change are errors: roll back to the version before.
Otherwise, and where the newest change is not deployed yet or is a rollback itself: nothing to do.
Which services there are, and where their configuration is in git, is in services.yml; how git, log and service
are spoken to, in agent_runtime/toolkit.
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
from agent_runtime.toolkit import git, health, http, metrics, rollback, services, waiting
from agent_runtime.toolkit.errors import OutcomeUnknown, ToolError

ACTION = "rollback_config"

ERRORS_ABOVE = 0.05  # share of the log's lines that are errors
MIN_LINES = 20  # fewer say nothing about a share
MAX_FILES = 50  # that a plan names; undoing a commit with more is nothing that a reviewer can read

MERGE_SECONDS = 600.0  # for somebody to merge the pull request, where the branch is protected
CALL_SECONDS = 30.0  # for the restart call to be answered
RESTART_SECONDS = 60.0  # for all processes to be other ones, and then to be healthy
TRAFFIC_SECONDS = 120.0  # for enough lines to judge the restarted service by

SERVICES = Path(__file__).with_name("services.yml")


class ConfigRollbackAgent(AgentRunner):
    """Proposes to undo the newest change of a configuration, undoes it once approved, and checks that it helped."""

    def investigate(self, resource: str, context: Optional[Dict[str, Any]] = None) -> InvestigationResult:
        """Compare the two newest versions, count errors since the start, look at the feature flags, decide."""
        service = catalogue().get(resource)
        times = service["metrics"].started()
        started = max(times.values())
        log = metrics.read_log(service["log"], started, token=service.get("log_token", ""))
        rate = log.error_rate
        with git.clone(service["repository"], service["branch"], token=http.token("git")) as clone:
            versions = clone.changes(service["path"], 2)
            if len(versions) < 2:
                only = Finding("The configuration has no version to go back to", Severity.LOW, {"at": clone.head})
                return InvestigationResult((only,), "nothing to do: no previous version", confidence=0.2)
            current, previous = versions
            difference = clone.compare(previous.sha, current.sha, service["path"])
            flags = look_at_flags(clone, service.get("flags"), current)
            obstacle = look_at_deployment(clone, service["path"], current, previous, times)
            failing = rate is not None and log.lines >= MIN_LINES and rate > ERRORS_ABOVE
            files = clone.touched(clone.revert(current)) if failing and not obstacle else []

        change = {
            "commit": current.sha,
            "previous": previous.sha,
            "difference": difference.summary(),
            "subject": current.subject,
            "author": current.author,
        }
        others = [
            Finding("The newest change of the configuration", Severity.INFO, dict(change, lines=difference.lines))
        ]
        gap = f"{(started - current.time) / 60:.0f} minutes before {resource} was last started"
        if not obstacle:
            what = f"The change was committed {gap}; git does not record when it was pushed, so it may not be what runs"
            others.append(Finding(what, Severity.LOW, {"committed": metrics.shown_time(current.time)}))
        others += flags
        if not health.check(service["health"]).healthy:
            others.append(Finding("The service is not healthy", Severity.HIGH))
        if context:
            others.append(Finding("What the trigger said, not verified", Severity.INFO, context))

        if obstacle:
            why, message = obstacle
            evidence = dict(log.evidence(), changed=metrics.shown_time(current.time))
            return InvestigationResult(
                (Finding(message, Severity.MEDIUM, evidence), *others), f"nothing to do: {why}", confidence=0.5
            )

        since = f"since {resource} was last started"
        if rate is None or log.lines < MIN_LINES:
            few = Finding(f"Only {log.lines} lines {since}: too few to judge by", Severity.LOW, log.evidence())
            return InvestigationResult((few, *others), "nothing to do: too few lines", confidence=0.2)

        if rate <= ERRORS_ABOVE:
            fine = Finding(f"{rate:.2%} of the lines {since} are errors", Severity.INFO, log.evidence())
            return InvestigationResult((fine, *others), "nothing to do", confidence=0.9)

        suspects = [flag for flag in flags if flag.severity is Severity.HIGH]
        what = f"{rate:.2%} of the lines {since} are errors, more than {ERRORS_ABOVE:.0%}"
        worst = [Finding(what, Severity.HIGH, log.evidence())]
        reason = (
            f"{rate:.2%} of the log's lines {since} are errors; {current.short} was committed before that, and "
            f"undoing it restores the version of {previous.short} ({difference.summary()})."
        )
        outside = [name for name in files if not git.is_inside(name, service["path"])]
        if outside:
            what = f"Undoing the commit also changes {len(outside)} file(s) outside {service['path']}"
            worst.append(Finding(what, Severity.HIGH, {"outside": outside[:MAX_FILES]}))
            reason += f" {what}: {', '.join(outside[:5])}{', ...' if len(outside) > 5 else '.'}"
        return InvestigationResult(
            findings=(*worst, *others),
            recommendation="roll back",
            risk_level=RiskLevel.HIGH,
            confidence=0.4 if suspects else 0.7,
            analysis="The feature flags changed after the configuration: they may be the cause." if suspects else "",
            safe_to_proceed=not suspects,
            proposed_action=ProposedAction(
                action=ACTION,
                parameters=dict(
                    change,
                    files=files[:MAX_FILES],
                    file_count=len(files),
                    files_outside=len(outside),
                    error_rate=rate,
                    lines=log.lines,
                    errors_above=ERRORS_ABOVE,
                    way="pull request" if "pull_request" in service else "push",
                ),
                reason=reason,
                risk_level=RiskLevel.MEDIUM,
                reversible=True,
                rollback="Revert the commit that the rollback makes, and restart the service.",
            ),
        )

    def observe(self, resource: str) -> Dict[str, Any]:
        """What must not change between plan and action: the newest change of the configuration, and where it is."""
        service = catalogue().get(resource)
        with git.clone(service["repository"], service["branch"], token=http.token("git")) as clone:
            newest = clone.changes(service["path"], 1)
        return {
            "repository": service["repository"],
            "branch": service["branch"],
            "path": service["path"],
            "configuration": newest[0].sha if newest else None,
        }

    def act(self, resource: str, action: str, context: Optional[Dict[str, Any]] = None) -> ActionResult:
        """Undo the approved commit by a new one, restart, wait for health, count errors again, and say what is."""
        approved = context or {}
        changes: List[str] = []
        seen: Dict[str, Any] = {"error_rate_before": approved.get("error_rate")}
        undo: Optional[str] = None

        def ended(status: ActionStatus, why: str) -> ActionResult:
            return ActionResult(status, tuple(changes), seen, undo, details={"error": why})

        if action != ACTION:
            return ended(ActionStatus.FAILED, f"nothing was done: {action} is not known")
        try:
            service = catalogue().get(resource)
            service["metrics"].started()  # what can't be measured afterwards is not begun
            seen["restored_by"] = restored = roll_back(service, resource, approved, changes)
            undo = f"Revert {restored} in {service['repository']}, and restart {resource}."
            before = service["metrics"].started()  # a merge takes its time: instances come and go meanwhile
            http.post_once(service["restart"], token=http.token("restart"), timeout_seconds=CALL_SECONDS)
        except OutcomeUnknown as problem:
            return ended(ActionStatus.UNKNOWN, problem.line())
        except ToolError as problem:
            return ended(ActionStatus.FAILED, problem.line())
        changes.append(f"asked {resource} to restart")

        started, why = waiting.until_or_why(lambda: service["metrics"].restarted_since(before), seconds=RESTART_SECONDS)
        if started is None:
            return ended(ActionStatus.FAILED, f"rolled back; not restarted within {RESTART_SECONDS:g} s: {why}")
        changes[-1] = f"restarted {resource}"
        seen["healthy"] = bool(waiting.until(lambda: health.check(service["health"]).healthy, seconds=RESTART_SECONDS))
        if not seen["healthy"]:
            return ended(ActionStatus.FAILED, f"rolled back; not healthy within {RESTART_SECONDS:g} s")

        since = max(started.values())
        try:
            log = metrics.fresh_log(
                service["log"],
                since,
                at_least=MIN_LINES,
                wait_seconds=TRAFFIC_SECONDS,
                token=service.get("log_token", ""),
            )
        except ToolError as problem:
            return ended(ActionStatus.FAILED, f"rolled back and healthy; not shown that it helped: {problem.message}")
        rate, limit = log.error_rate or 0.0, approved.get("errors_above", ERRORS_ABOVE)
        seen.update(error_rate_after=rate, after=log.evidence())
        if rate > limit:
            why = (
                f"rolled back and healthy; still {rate:.2%} of the lines are errors: the configuration is not the cause"
            )
            return ended(ActionStatus.FAILED, why)
        return ActionResult(ActionStatus.SUCCESS, tuple(changes), seen, undo)


def roll_back(service: Dict[str, Any], resource: str, approved: Dict[str, Any], changes: List[str]) -> str:
    """Undo exactly what was approved on the server, note in `changes` what was changed, and return the new commit."""
    where = rollback.Place(service["repository"], service["branch"], service["path"], service.get("pull_request"))
    return rollback.undo(
        where,
        approved["commit"],
        previous=approved["previous"],
        files=approved.get("files", []),
        why=f"{approved['error_rate']:.2%} of the log's lines of {resource} were errors.",
        changes=changes,
        merge_seconds=MERGE_SECONDS,
    )


def look_at_deployment(
    clone: git.Clone, path: str, current: git.Commit, previous: git.Commit, times: metrics.Started
) -> Optional[Tuple[str, str]]:
    """Return why the newest change is not to be undone, in short and in full, or None."""
    started = max(times.values())
    if clone.restores(current, path):
        do = (
            "look for another cause"
            if started >= current.time
            else "the service was not restarted since: do it by hand"
        )
        what = f"Undoing the newest change would bring back that of {previous.short}, which was undone before: {do}"
        return "rolled back already", what
    if current.time > times.at:
        return "not known to be deployed", "The newest change is dated in the future: it is not known who runs it"
    if started < current.time:
        return "not deployed yet", "The service was not started since the newest change: not deployed yet"
    return None


def look_at_flags(clone: git.Clone, path: Optional[str], current: git.Commit) -> List[Finding]:
    """Return which feature flags are on, and whether they changed after the configuration did."""
    if path is None:
        return []
    content = clone.read(clone.head, path)
    if content is None:
        findings = [Finding(f"The file of feature flags, {path}, is not on the branch", Severity.MEDIUM)]
    else:
        flags = services.mapping_of(content, path) if content else {}
        on = sorted(name for name, value in flags.items() if value is True)
        findings = [Finding(f"{len(on)} of {len(flags)} feature flags are on", Severity.INFO, {"on": on[:50]})]
    newest = clone.changes(path, 1)
    if newest and newest[0].time > current.time and not clone.same(current.sha, clone.head, path):
        changed = {"commit": newest[0].sha, "lines": clone.compare(current.sha, clone.head, path).lines}
        findings.append(Finding("The feature flags changed after the configuration", Severity.HIGH, changed))
    return findings


def catalogue() -> services.Catalogue[Dict[str, Any]]:
    """Read services.yml."""
    github = services.form({"api": services.url, "repository": services.text})
    return services.read(
        SERVICES,
        services.form(
            {
                "repository": services.repository,
                "branch": services.text,
                "path": services.text,
                "log": services.url,
                "metrics": services.measured,
                "health": services.url,
                "restart": services.url,
            },
            {"flags": services.text, "pull_request": github, "log_token": services.variable},
        ),
    )


if __name__ == "__main__":
    raise SystemExit(ConfigRollbackAgent.main())
