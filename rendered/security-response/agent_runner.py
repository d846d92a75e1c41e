"""Looks into an alert on a key or a user, and proposes to disable and rotate keys that show signs of misuse.

Signs: a use from an address from which the key was never accepted before, an owner who is not known, many refused uses.
None: nothing to do.  A human always decides.  Which identity service and secret store there are is in services.yml.

No value of a key is ever shown, returned or written down here: it goes from the identity service to the secret store.
"""

from __future__ import annotations

import re
import time
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
from agent_runtime.toolkit import keys, services, waiting
from agent_runtime.toolkit.errors import NOT_DONE, NOT_IN_CATALOGUE, OutcomeUnknown, ToolError

ACTION = "disable_and_rotate"

RECENT_HOURS = 24.0  # uses since then are looked at; those from before say what is usual
REFUSED = (401, 403)  # status of a use
REFUSED_ABOVE = 0.50  # share of recent uses
MIN_USES = 20  # fewer say nothing about a share
OLD_DAYS = 90.0  # a key should not get older

REFUSE_SECONDS = 30.0  # for a disabled key to be refused everywhere

SERVICES = Path(__file__).with_name("services.yml")

# <system>/key/<id> or <system>/user/<name>
RESOURCE = re.compile(r"([A-Za-z0-9_-]{1,64})/(key|user)/([A-Za-z0-9_-]{1,64})")


class SecurityResponseAgent(AgentRunner):
    """Proposes to disable and rotate keys, does it once approved, and checks that the old ones are refused."""

    def investigate(self, resource: str, context: Optional[Dict[str, Any]] = None) -> InvestigationResult:
        """Gather evidence on each key: who owns it, how old it is, and who uses it from where; decide."""
        system, found_keys = look_up(resource)
        findings: List[Finding] = []
        suspects: List[str] = []
        signs = 0
        for key in found_keys:
            if key.status != keys.ACTIVE:
                findings.append(Finding(f"{key.id} is {key.status} already", Severity.INFO))
                continue
            found = look_at_owner(system, key) + look_at_uses(key.id, system.uses(key.id)) + look_at_age(key)
            against = sum(finding.severity is Severity.HIGH for finding in found)
            findings += found if against else [*found, Finding(f"{key.id} shows no sign of misuse", Severity.INFO)]
            signs += against
            suspects += [key.id] if against else []
        if not found_keys:
            findings.append(Finding(f"{resource} has no keys", Severity.INFO))
        findings.sort(key=lambda finding: finding.severity is not Severity.HIGH)
        if context:
            findings.append(Finding("What the trigger said, not verified", Severity.INFO, context))

        if not suspects:
            why = "no sign of misuse" if found_keys else "the user has no keys"
            return InvestigationResult(tuple(findings), f"nothing to do: {why}", confidence=0.6)
        names = ", ".join(suspects)
        return InvestigationResult(
            findings=tuple(findings),
            recommendation="disable and rotate",
            risk_level=RiskLevel.HIGH,
            confidence=0.7,
            analysis="Whoever uses these keys rightly is locked out until they take new ones from the secret store.",
            proposed_action=ProposedAction(
                action=ACTION,
                parameters={"keys": suspects, "count": len(suspects), "signs": signs},
                reason=f"{names}: {signs} sign{'s' if signs > 1 else ''} of misuse.",
                risk_level=RiskLevel.HIGH,
                reversible=False,
                rollback="The old keys can't come back. The new ones are in the secret store, under the same names.",
            ),
        )

    def observe(self, resource: str) -> Dict[str, Any]:
        """What must not change between plan and action: which keys there are, whose, and whether they are active."""
        return {
            key.id: {"owner": key.owner, "status": key.status, "created": key.created, "stored_as": key.stored_as}
            for key in look_up(resource)[1]
        }

    def act(self, resource: str, action: str, context: Optional[Dict[str, Any]] = None) -> ActionResult:
        """For each approved key: disable it, see that it is refused, make a new one and store it, see that it works."""
        changes: List[str] = []
        seen: Dict[str, Any] = {}

        def ended(status: ActionStatus, why: str) -> ActionResult:
            return ActionResult(status, tuple(changes), seen, details={"error": why})

        if action != ACTION:
            return ended(ActionStatus.FAILED, f"nothing was done: {action} is not known")
        try:
            system, found_keys = look_up(resource)
            known = {key.id: key for key in found_keys}
            approved = list((context or {}).get("keys", []))
            if not approved or not known.keys() >= set(approved):
                return ended(ActionStatus.FAILED, "nothing was done: the approved keys are not the resource's")
            for name in approved:
                replace(system, known[name], changes, seen)
        except OutcomeUnknown as problem:
            return ended(ActionStatus.UNKNOWN, problem.line())
        except ToolError as problem:
            return ended(ActionStatus.FAILED, problem.line())
        return ActionResult(ActionStatus.SUCCESS, tuple(changes), seen)


def look_at_owner(system: keys.System, key: keys.Key) -> List[Finding]:
    """Return a sign of misuse when nobody answers for a key.  What is a sign has the severity high."""
    if system.is_active(key.owner):
        return []
    return [Finding(f"The owner of {key.id} is not known or not active", Severity.HIGH)]


def look_at_uses(key: str, uses: List[keys.Use]) -> List[Finding]:
    """Return what the uses of a key say: new addresses and many refusals are signs of misuse, no history is none."""
    findings = []
    since = time.time() - RECENT_HOURS * 3600
    recent = [use for use in uses if use.time >= since]
    # An address from which the key was only refused is nobody's habit.
    usual = {use.address for use in uses if use.time < since and use.status not in REFUSED}
    new = sorted({use.address for use in recent} - usual)
    if new and not usual:
        what = f"{key} was accepted nowhere before the last {RECENT_HOURS:g} hours: it is unknown what is usual"
        findings.append(Finding(what, Severity.LOW, {"addresses": new[:20], "uses": len(recent)}))
    elif new:
        count = sum(use.address in new for use in recent)
        what = f"{key} was used {count} times from addresses where it was never accepted before"
        findings.append(Finding(what, Severity.HIGH, {"new": new[:20], "usual": sorted(usual)[:20], "uses": count}))
    refused = sum(use.status in REFUSED for use in recent)
    if len(recent) >= MIN_USES and refused > REFUSED_ABOVE * len(recent):
        what = f"{refused} of {len(recent)} recent uses of {key} were refused"
        findings.append(Finding(what, Severity.HIGH, {"refused": refused, "uses": len(recent)}))
    return findings


def look_at_age(key: keys.Key) -> List[Finding]:
    """Return a finding about a key that is too old; age alone is not a sign of misuse."""
    days = (time.time() - keys.moment(key.created, key.id)) / 86400
    old = Finding(f"{key.id} is {days:.0f} days old", Severity.LOW, {"days": round(days)})
    return [old] if days > OLD_DAYS else []


def replace(system: keys.System, key: keys.Key, changes: List[str], seen: Dict[str, Any]) -> None:
    """Disable one key and store another in its place; note what was done in `changes`, and what was seen in `seen`.

    Raises:
        OutcomeUnknown: nobody knows whether a step took effect, or what came of it.
        ToolError: a step failed, or nobody could check it; `changes` has the ones before.
    """
    old = system.stored(key.stored_as)
    doubt = system.doubt(old, key.id)  # only a key that was accepted before shows by being refused that it is disabled

    system.disable(key.id)
    changes.append(f"asked to disable {key.id}")
    active = waiting.until_answer(
        lambda: system.key(key.id).status == keys.ACTIVE, wanted=False, seconds=REFUSE_SECONDS
    )
    if active is False:
        changes[-1] = f"disabled {key.id}"
    accepted = None
    if not doubt:
        accepted = waiting.until_answer(lambda: system.ask(old).accepted, wanted=False, seconds=REFUSE_SECONDS)
        doubt = "the identity service does not say whether it still accepts it"
    seen[key.id] = {"disabled": opposite(active), "old_refused": opposite(accepted)}
    if active:
        raise ToolError(
            NOT_DONE, f"the service was asked to disable {key.id}, and says that it is active: treat it as open"
        )
    done = f"{key.id} " + ("is disabled by the service's word" if active is False else "was asked to be disabled")
    if accepted:
        raise ToolError(NOT_DONE, f"{done}, and still accepted: treat it as open")
    if accepted is None:
        raise ToolError(NOT_DONE, f"{done}; nobody could check that it is refused: {doubt}")

    answer = system.rotate(key.id)
    changes.append(f"asked for a new key in place of {key.id}")
    new = keys.made(answer)
    changes[-1] = f"made {new.id} in place of {key.id}"
    system.store(key.stored_as, new.value)
    changes.append(f"stored {new.id} as {key.stored_as}")
    works = waiting.until_answer(
        lambda: system.ask(system.stored(key.stored_as)).accepted, wanted=True, seconds=REFUSE_SECONDS
    )
    seen[key.id].update(replaced_by=new.id, new_accepted=works)
    if not works:
        why = "nobody could check that it is accepted" if works is None else "it is not accepted: nobody has access"
        raise ToolError(NOT_DONE, f"{new.id} is stored in place of {key.id}; {why}")


def opposite(answer: Optional[bool]) -> Optional[bool]:
    """Turn a yes into a no and a no into a yes; what nobody knows stays so."""
    return None if answer is None else not answer


def look_up(resource: str) -> Tuple[keys.System, List[keys.Key]]:
    """Return the system that a resource belongs to, and its key or its user's keys, as the identity service has them.

    Raises:
        ToolError: the resource is none, its system is not in the catalogue, or the service does not answer.
    """
    parts = RESOURCE.fullmatch(resource)
    if not parts:
        raise ToolError(NOT_IN_CATALOGUE, f"{resource!a} is not of the form SYSTEM/key/ID or SYSTEM/user/NAME")
    system = catalogue().get(parts[1])
    names = system.keys_of(parts[3]) if parts[2] == "user" else [parts[3]]
    return system, [system.key(name) for name in names]


def catalogue() -> services.Catalogue[keys.System]:
    """Read services.yml."""
    return services.read(SERVICES, keys.system)


if __name__ == "__main__":
    raise SystemExit(SecurityResponseAgent.main())
