"""Looks into an alert on a key or a user, and proposes to disable and rotate keys that show signs of misuse.

Signs: a use from an address that never used the key before, an owner who is not known, many refused uses.  None:
nothing to do.  A human always decides.  Which identity service and secret store there are stands in services.yml.

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
from agent_runtime.toolkit import http, metrics, services, waiting
from agent_runtime.toolkit.errors import NO_ANSWER, NOT_DONE, NOT_IN_CATALOGUE, OutcomeUnknown, ToolError

ACTION = "disable_and_rotate"

RECENT_HOURS = 24.0  # uses since then are looked at; those from before say what is usual
REFUSED_ABOVE = 0.50  # share of recent uses
MIN_USES = 20  # fewer say nothing about a share
OLD_DAYS = 90.0  # a key should not get older

REFUSE_SECONDS = 30.0  # for a disabled key to be refused everywhere

SERVICES = Path(__file__).with_name("services.yml")

# <system>/key/<id> or <system>/user/<name>
RESOURCE = re.compile(r"([A-Za-z0-9_-]{1,64})/(key|user)/([A-Za-z0-9_-]{1,64})")
PLACE = re.compile(r"[A-Za-z0-9_-]{1,64}(?:/[A-Za-z0-9_-]{1,64}){0,4}")  # a name in the secret store


class SecurityResponseAgent(AgentRunner):
    """Proposes to disable and rotate keys, does it once approved, and checks that the old ones are refused."""

    def investigate(self, resource: str, context: Optional[Dict[str, Any]] = None) -> InvestigationResult:
        """Gather evidence on each key: who owns it, how old it is, and who uses it from where; decide."""
        system, keys = look_up(resource)
        findings: List[Finding] = []
        suspects: List[str] = []
        signs = 0
        for key in keys:
            if key["status"] != "active":
                findings.append(Finding(f"{key['id']} is {key['status']} already", Severity.INFO))
                continue
            found = signs_of_misuse(system, key)
            findings += found or [Finding(f"{key['id']} shows no sign of misuse", Severity.INFO)]
            findings += look_at_age(key)
            signs += len(found)
            suspects += [key["id"]] if found else []
        findings.sort(key=lambda finding: finding.severity is not Severity.HIGH)
        if context:
            findings.append(Finding("What the trigger said, not verified", Severity.INFO, context))

        if not suspects:
            return InvestigationResult(tuple(findings), "nothing to do: no sign of misuse", confidence=0.6)
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
        _, keys = look_up(resource)
        return {key["id"]: {name: key[name] for name in ("owner", "status", "created", "stored_as")} for key in keys}

    def act(self, resource: str, action: str, context: Optional[Dict[str, Any]] = None) -> ActionResult:
        """For each approved key: disable it, see that it is refused, make a new one and store it, see that it works."""
        changes: List[str] = []
        seen: Dict[str, Any] = {}

        def ended(status: ActionStatus, why: str) -> ActionResult:
            return ActionResult(status, tuple(changes), seen, details={"error": why})

        if action != ACTION:
            return ended(ActionStatus.FAILED, f"nothing was done: {action} is not known")
        try:
            system, keys = look_up(resource)
            known = {key["id"]: key for key in keys}
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


def signs_of_misuse(system: Dict[str, Any], key: Dict[str, Any]) -> List[Finding]:
    """Return what speaks for misuse of one key, with the evidence."""
    signs = []
    owner = http.get(f"{system['identity']}/users/{key['owner']}")
    if owner.status == 404 or not fields(owner, active=bool)["active"]:
        signs.append(Finding(f"The owner of {key['id']} is not known or not active", Severity.HIGH))

    uses = fields(http.get(f"{system['identity']}/keys/{key['id']}/uses"), uses=list)["uses"]
    return signs + look_at_uses(key["id"], uses)


def look_at_uses(key: str, uses: List[Dict[str, Any]]) -> List[Finding]:
    """Return what speaks for misuse in the uses of a key: new addresses, and refusals."""
    signs = []
    recent: List[Dict[str, Any]] = []
    usual = set()
    for use in uses:
        if not isinstance(use, dict) or not {"time", "address", "status"} <= set(use):
            raise ToolError(NO_ANSWER, f"a use of {key} has no time, address and status")
        if moment(use["time"], key) >= time.time() - RECENT_HOURS * 3600:
            recent.append(use)
        else:
            usual.add(str(use["address"]))
    new = sorted({str(use["address"]) for use in recent} - usual)
    if new:
        count = sum(str(use["address"]) in new for use in recent)
        what = f"{key} was used {count} times from addresses that never used it before"
        signs.append(Finding(what, Severity.HIGH, {"new": new[:20], "usual": sorted(usual)[:20], "uses": count}))
    refused = sum(use["status"] in (401, 403) for use in recent)
    if len(recent) >= MIN_USES and refused > REFUSED_ABOVE * len(recent):
        what = f"{refused} of {len(recent)} recent uses of {key} were refused"
        signs.append(Finding(what, Severity.HIGH, {"refused": refused, "uses": len(recent)}))
    return signs


def look_at_age(key: Dict[str, Any]) -> List[Finding]:
    """Return a finding about a key that is too old; age alone is no sign of misuse."""
    days = (time.time() - moment(key["created"], key["id"])) / 86400
    old = Finding(f"{key['id']} is {days:.0f} days old", Severity.LOW, {"days": round(days)})
    return [old] if days > OLD_DAYS else []


def moment(value: Any, key: str) -> float:
    """Return a time that the identity service told of a key, in seconds since 1970."""
    try:
        return metrics.moment(value)
    except ValueError:
        raise ToolError(NO_ANSWER, f"a time of {key} is none") from None


def replace(system: Dict[str, Any], key: Dict[str, Any], changes: List[str], seen: Dict[str, Any]) -> None:
    """Disable one key and store another in its place; note what was done in `changes`, and what was seen in `seen`.

    Raises:
        OutcomeUnknown: nobody knows whether a step took effect.
        ToolError: a step failed; `changes` has the ones before.
    """
    identity, store = system["identity"], f"{system['secrets']}/{key['stored_as']}"
    old = stored(store)
    http.send_once("POST", f"{identity}/keys/{key['id']}/disable", token=http.token("identity"))
    changes.append(f"disabled {key['id']}")
    refused = waiting.until(lambda: accepts(system, old) is False, seconds=REFUSE_SECONDS)
    seen[key["id"]] = {"old_refused": bool(refused)}
    if not refused:
        raise ToolError(
            NOT_DONE, f"{key['id']} is disabled by the service's word, and still accepted: treat it as open"
        )

    made = http.send_once("POST", f"{identity}/keys/{key['id']}/rotate", token=http.token("identity"))
    new = fields(made, id=str, value=str)
    changes.append(f"made {new['id']} in place of {key['id']}")
    http.send_once("PUT", store, value={"value": new["value"]}, token=http.token("secrets"))
    changes.append(f"stored {new['id']} as {key['stored_as']}")
    works = waiting.until(lambda: accepts(system, stored(store)), seconds=REFUSE_SECONDS)
    seen[key["id"]].update(replaced_by=new["id"], new_accepted=bool(works))
    if not works:
        raise ToolError(NOT_DONE, f"{new['id']}, stored in place of {key['id']}, is not accepted: nobody has access")


def accepts(system: Dict[str, Any], value: str) -> Optional[bool]:
    """Whether the identity service accepts a key; None where it says neither."""
    status = http.get(f"{system['identity']}/whoami", token=value).status
    return {200: True, 401: False, 403: False}.get(status)


def stored(store: str) -> str:
    """Return the value that the secret store has; never to be shown."""
    return str(fields(http.get(store, token=http.token("secrets")), value=str)["value"])


def look_up(resource: str) -> Tuple[Dict[str, Any], List[Dict[str, Any]]]:
    """Return the system that a resource belongs to, and its key or its user's keys, as the identity service has them.

    Raises:
        ToolError: the resource is none, its system is not in the catalogue, or the service does not answer.
    """
    parts = RESOURCE.fullmatch(resource)
    if not parts:
        raise ToolError(NOT_IN_CATALOGUE, f"{resource!a} is not of the form SYSTEM/key/ID or SYSTEM/user/NAME")
    system = catalogue().get(parts[1])
    ids = [parts[3]]
    if parts[2] == "user":
        ids = fields(http.get(f"{system['identity']}/users/{parts[3]}"), keys=list)["keys"]
    keys = []
    for name in ids:
        if not RESOURCE.fullmatch(f"{parts[1]}/key/{name}"):
            raise ToolError(NO_ANSWER, f"{name!a} is no id of a key")
        answer = http.get(f"{system['identity']}/keys/{name}")
        key = fields(answer, id=str, owner=str, status=str, created=str, stored_as=str)
        named = all(RESOURCE.fullmatch(f"{parts[1]}/user/{key[part]}") for part in ("id", "owner"))
        if not named or key["id"] != name or not PLACE.fullmatch(key["stored_as"]):
            raise ToolError(NO_ANSWER, f"{answer.url}: id, owner or stored_as is no plain name")
        keys.append(key)
    return system, keys


def fields(answer: http.Response, **kinds: type) -> Dict[str, Any]:
    """Return an answer's JSON object if it has these fields, each of its kind.  The message never holds a value."""
    found = answer.json() if answer.ok else None
    if not isinstance(found, dict) or not all(isinstance(found.get(name), kind) for name, kind in kinds.items()):
        raise ToolError(NO_ANSWER, f"{answer.url}: HTTP {answer.status} without {', '.join(kinds)}")
    return found


def catalogue() -> services.Catalogue[Dict[str, Any]]:
    """Read services.yml."""
    return services.read(SERVICES, services.form({"identity": services.url, "secrets": services.url}))


if __name__ == "__main__":
    raise SystemExit(SecurityResponseAgent.main())
