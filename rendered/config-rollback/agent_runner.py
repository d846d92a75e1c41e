"""Looks at a service after a change of its configuration, and proposes to undo the change when it did harm.

Over 5 % of the log's lines since the service was started with the change are errors: roll back to the version before,
then restart the service, as two steps of one plan.
Otherwise, and where the newest change is not deployed yet or is a rollback itself: nothing to do.
Which services there are, and where their configuration is in git, is in services.yml; how git, log and service
are spoken to, in agent_runtime/toolkit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
from agent_runtime.toolkit.errors import NOT_DONE, OutcomeUnknown, ToolError

ROLL_BACK = "rollback_config"
RESTART = "restart_service"

ERRORS_ABOVE = 0.05  # share of the log's lines that are errors
MIN_LINES = 20  # fewer say nothing about a share
MAX_FILES = 50  # that a plan names; undoing a commit with more is nothing that a reviewer can read

MERGE_SECONDS = 600.0  # for somebody to merge the pull request, where the branch is protected
CALL_SECONDS = 30.0  # for the restart call to be answered
RESTART_SECONDS = 60.0  # for all processes to be other ones, and then to be healthy
TRAFFIC_SECONDS = 120.0  # for enough lines to judge the restarted service by

SERVICES = Path(__file__).with_name("services.yml")


class ConfigRollbackAgent(AgentRunner):
    """Proposes to undo the newest change of a configuration and to restart; does both, and checks that it helped."""

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
            undone = clone.revert(current) if failing and not obstacle else None
            files, patch = (clone.touched(undone), clone.patch(undone)) if undone else ([], [])

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
            proposed_actions=(
                ProposedAction(
                    action=ROLL_BACK,
                    parameters=dict(
                        change,
                        diff=patch,
                        files=files[:MAX_FILES],
                        file_count=len(files),
                        files_outside=len(outside),
                        error_rate=rate,
                        lines=log.lines,
                        way="pull request" if "pull_request" in service else "push",
                    ),
                    reason=reason,
                    risk_level=RiskLevel.MEDIUM,
                    reversible=True,
                    rollback="Revert the commit that the rollback makes, and restart the service.",
                    changes=("configuration",),
                ),
                ProposedAction(
                    action=RESTART,
                    parameters={
                        "version": previous.sha,
                        "error_rate": rate,
                        "lines": log.lines,
                        "errors_above": ERRORS_ABOVE,
                    },
                    reason="The service reads its configuration only when it starts.",
                    risk_level=RiskLevel.MEDIUM,
                    reversible=False,
                    rollback="A restart can't be undone. Requests in flight may fail while the service restarts.",
                ),
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
        """Do one step of the approved plan: undo the commit by a new one, or restart and see whether that helped."""
        steps = {ROLL_BACK: roll_back, RESTART: restart}
        if action not in steps:
            return ActionResult(ActionStatus.FAILED, details={"error": f"nothing was done: {action} is not known"})
        done = Done()
        try:
            steps[action](catalogue().get(resource), resource, context or {}, done)
        except OutcomeUnknown as problem:
            return done.result(ActionStatus.UNKNOWN, problem.line())
        except ToolError as problem:
            return done.result(ActionStatus.FAILED, problem.line())
        return done.result(ActionStatus.SUCCESS)


@dataclass
class Done:
    """What a step has changed and measured so far, whatever becomes of it."""

    changes: List[str] = field(default_factory=list)
    seen: Dict[str, Any] = field(default_factory=dict)
    undo: Optional[str] = None

    def result(self, status: ActionStatus, why: str = "") -> ActionResult:
        """Return it as the result of a step."""
        return ActionResult(status, tuple(self.changes), self.seen, self.undo, {"error": why} if why else {})


def roll_back(service: Dict[str, Any], resource: str, approved: Dict[str, Any], done: Done) -> None:
    """Undo exactly what was approved on the server.

    Raises:
        OutcomeUnknown: nobody knows whether a push or a merge took effect.
        ToolError: it was not undone; `done` has what was changed.
    """
    service["metrics"].started()  # what can't be measured afterwards is not begun
    where = rollback.Place(service["repository"], service["branch"], service["path"], service.get("pull_request"))
    restored = rollback.undo(
        where,
        approved["commit"],
        previous=approved["previous"],
        files=approved.get("files", []),
        why=f"{approved['error_rate']:.2%} of the log's lines of {resource} were errors.",
        changes=done.changes,
        merge_seconds=MERGE_SECONDS,
    )
    done.seen["restored_by"] = restored
    done.undo = f"Revert {restored} in {service['repository']}, and restart {resource}."


def restart(service: Dict[str, Any], resource: str, approved: Dict[str, Any], done: Done) -> None:
    """Restart with the version that was restored, wait for health, and count errors again.

    Raises:
        OutcomeUnknown: nobody knows whether the service restarts.
        ToolError: it was not restarted, or that is not known to have helped; `done` has what was changed.
    """
    done.seen["error_rate_before"] = approved.get("error_rate")
    version, token = approved["version"], http.token("git")
    done.seen["configuration"] = git.restored_by(
        service["repository"], service["branch"], service["path"], version, token=token
    )
    before = service["metrics"].started()
    http.post_once(service["restart"], token=http.token("restart"), timeout_seconds=CALL_SECONDS)
    done.changes.append(f"asked {resource} to restart")
    started, why = waiting.until_or_why(lambda: service["metrics"].restarted_since(before), seconds=RESTART_SECONDS)
    if started is None:
        raise ToolError(NOT_DONE, f"not restarted within {RESTART_SECONDS:g} s: {why}")
    done.changes[-1] = f"restarted {resource}"
    healthy = bool(waiting.until(lambda: health.check(service["health"]).healthy, seconds=RESTART_SECONDS))
    done.seen["healthy"] = healthy
    if not healthy:
        raise ToolError(NOT_DONE, f"not healthy within {RESTART_SECONDS:g} s")
    look_again(service, max(started.values()), approved.get("errors_above", ERRORS_ABOVE), done)


def look_again(service: Dict[str, Any], since: float, limit: float, done: Done) -> None:
    """Count errors since the restart.

    Raises:
        ToolError: they are not known to be fewer.
    """
    try:
        log = metrics.fresh_log(
            service["log"],
            since,
            at_least=MIN_LINES,
            wait_seconds=TRAFFIC_SECONDS,
            token=service.get("log_token", ""),
        )
    except ToolError as problem:
        raise ToolError(NOT_DONE, f"restarted and healthy; not shown that it helped: {problem.message}") from None
    rate = log.error_rate or 0.0
    done.seen.update(error_rate_after=rate, after=log.evidence())
    if rate > limit:
        still = f"restarted and healthy; still {rate:.2%} of the lines are errors: the configuration is not the cause"
        raise ToolError(NOT_DONE, still)


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
