"""What the page of one run shows, made of its events. Pure; everything in metadata is whatever an agent sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from app.store.queries import StoredEvent

if TYPE_CHECKING:
    from app.store.verification import RunReport

MAX_FACTS = 12
MAX_ITEMS = 50

TEAM_JOBS = ("investigate", "act")
"""Jobs in which a team's code runs: what their events say, the agent reports. The step Verify is part of `act`."""
VERIFY_STEPS = ("started", "gate_check", "authorized", "error")

STEPS = {
    "started": "Job started",
    "duplicate": "Duplicate of an earlier run",
    "investigated": "Agent investigated",
    "policy_evaluated": "Policy decided",
    "plan_sealed": "Plan sealed",
    "approval_asked": "Approval asked",
    "approved": "Approved",
    "plan_claimed": "Plan claimed",
    "gate_check": "Check",
    "authorized": "Authorized to act",
    "intent": "Step begins",
    "outcome": "Step ended",
    "finished": "Job finished",
    "error": "Refused or failed",
    "terminal": "Run ended",
}


@dataclass(frozen=True)
class Shown:
    """One event.

    Attributes:
        facts: what else it says, each a name and a value.
        reported: the agent says so, nobody else.
        whole: all of it, as JSON.
    """

    event_id: str
    at: int
    job: str
    step: str
    title: str
    status: str
    actor: str
    resource: str
    facts: Sequence[tuple[str, str]]
    reported: bool
    whole: str
    stream: str
    seq: int | None
    received_at: int


@dataclass
class RunView:
    """What is shown of a run beside its events, one by one.

    Attributes:
        checks: code, job, status and message of each check.
        steps: of the plan, each with number, action and what became of it.
        approvals: who approved, when, and by which comment.
    """

    events: list[Shown] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    approvals: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    decision: str = ""
    rules: list[str] = field(default_factory=list)
    policy_digest: str = ""
    sha: str = ""
    trigger: str = ""
    rejected_by: str = ""
    rejected_because: str = ""
    is_simulated: bool = False


def view_of(events: Sequence[StoredEvent]) -> RunView:
    """Return what is shown of a run with these events."""
    view = RunView()
    steps: dict[str, dict[str, Any]] = {}
    for stored in events:
        body = msgspec.json.decode(stored.body)
        metadata = body.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        shown = _shown(stored, body, metadata)
        view.events.append(shown)
        _take(view, steps, shown, metadata)
    view.steps = view.steps or list(steps.values())
    del view.checks[MAX_ITEMS:], view.steps[MAX_ITEMS:], view.problems[MAX_ITEMS:]
    return view


def _shown(stored: StoredEvent, body: dict[str, Any], metadata: dict[str, Any]) -> Shown:
    gha = metadata.get("gha")
    job = text(gha.get("job")) if isinstance(gha, dict) else ""
    step = text(metadata.get("step"))
    title = STEPS.get(step) or step or body["action_type"].replace("_", " ")
    if step == "gate_check":
        title = f"{title} {text(metadata.get('check'))}"
    facts = [(name, _value(value)) for name, value in metadata.items() if name not in ("step", "gha", "check")]
    return Shown(
        body["event_id"], stored.place.occurred_at, job, step, title, body["status"], body["actor"], body["resource"],
        [fact for fact in facts if fact[1]][:MAX_FACTS],
        body["actor"] == "agent" or (job in TEAM_JOBS and step not in VERIFY_STEPS),
        msgspec.json.format(stored.body, indent=2), text(body.get("stream")), body.get("seq"), stored.received_at,
    )  # fmt: skip


def _take(view: RunView, steps: dict[str, dict[str, Any]], shown: Shown, metadata: dict[str, Any]) -> None:
    match shown.step:
        case "started":
            view.trigger = view.trigger or text(metadata.get("trigger"))
            gha = metadata.get("gha")
            view.sha = view.sha or (text(gha.get("sha")) if isinstance(gha, dict) else "")
        case "policy_evaluated":
            view.decision, view.policy_digest = text(metadata.get("decision")), text(metadata.get("policy_digest"))
            view.rules = [text(rule) for rule in _items(metadata.get("matched_rules"))]
        case "gate_check":
            message = text(metadata.get("message"))
            view.checks.append(
                {"code": text(metadata.get("check")), "job": shown.job, "status": shown.status, "message": message}
            )
        case "approved":
            view.approvals.append({"login": login_of(metadata.get("approver")), "at": shown.at, "job": shown.job})
        case "intent" | "outcome":
            number = text(metadata.get("number"))
            step = steps.setdefault(number, {"number": number, "action": "", "status": "started", "code": ""})
            step["action"] = text(metadata.get("action")) or step["action"]
            if shown.step == "outcome":
                step["status"], step["code"] = text(metadata.get("outcome")), text(metadata.get("code"))
        case "terminal":
            view.steps = [
                {
                    "number": str(number),
                    "action": text(step.get("action")),
                    "status": text(step.get("status")),
                    "code": text(step.get("code")),
                }
                for number, step in enumerate(_items(metadata.get("steps")))
                if isinstance(step, dict)
            ]
            view.problems += [text(problem) for problem in _items(metadata.get("problems"))]
            view.rejected_by = login_of(metadata.get("rejected_by"))
            view.rejected_because = text(metadata.get("rejected_because"))
            view.is_simulated = metadata.get("simulated") is True


def login_of(person: object) -> str:
    """Return the login of a person in an event."""
    return text(person.get("login")) if isinstance(person, dict) else text(person)


def text(value: object) -> str:
    """Return a value that should be a text or a number, as a text; nothing else is one."""
    return "" if value is None or isinstance(value, bool | dict | list) else str(value)


def _items(value: object) -> list[Any]:
    return value[:MAX_ITEMS] if isinstance(value, list) else []


def _value(value: object) -> str:
    """Return a value of metadata for people: names and texts side by side, anything deeper as JSON."""
    if value is None or value in ("", [], {}):
        return ""
    if isinstance(value, dict) and "login" in value:
        return login_of(value)
    if isinstance(value, list) and all(isinstance(one, str | int) for one in value):
        return ", ".join(map(str, value))
    if isinstance(value, list) and all(isinstance(one, dict) and one for one in value):
        return "; ".join(_value(one) for one in value)
    if isinstance(value, dict) and all(isinstance(one, str | int) for one in value.values()):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


@dataclass(frozen=True)
class Property:
    """Something that a trail should have.

    Attributes:
        holds: None: that can't be said.
    """

    name: str
    holds: bool | None
    detail: str


def properties_of(report: RunReport) -> list[Property]:
    """Return what was checked about a run's trail, and whether it holds."""
    streams = report.streams
    if not streams:
        return [
            Property(
                "Journal", None, "its events came without a place in a journal: nothing shows whether one is missing"
            )
        ]
    states = {finding.state for finding in report.findings}
    events = sum(stream.events for stream in streams)
    unplaced = f"; {report.unplaced} further events have no number" if report.unplaced else ""
    return [
        Property(
            "Nothing is missing", not states & {"missing", "truncated"},
            f"{events} events in {len(streams)} journals, numbered without a gap{unplaced}"
            if not states & {"missing", "truncated"} else _details(report, "missing", "truncated"),
        ),
        Property(
            "No number is claimed twice", "forked" not in states,
            "each number is one event" if "forked" not in states else _details(report, "forked"),
        ),
        Property(
            "Each line follows the one before", "wrong-prev" not in states,
            "every line has the hash of the line before it"
            if "wrong-prev" not in states else _details(report, "wrong-prev"),
        ),
        _content(report),
        _logged(report),
        _witnessed(report),
    ]  # fmt: skip


def _content(report: RunReport) -> Property:
    name = "What is stored is what came"
    if any(finding.state == "edited" for finding in report.findings):
        return Property(name, False, _details(report, "edited"))
    if any(stream.verbatim is None for stream in report.streams):
        detail = "the lines can't be made again from what is stored: their writer is not the SDK"
        return Property(name, None, detail)
    return Property(name, True, "every event still has the hash that its line had when it came")


def _logged(report: RunReport) -> Property:
    name = "It is in the transparency log"
    if not report.log:
        detail = "there is no log: whoever may write to the store could have changed all of this, hashes too"
        return Property(name, None, detail)
    unchecked = next((why for stream in report.streams for why in stream.unchecked), "")
    if unchecked:
        return Property(name, None, unchecked)
    unlogged = sum(stream.unlogged for stream in report.streams)
    if unlogged:
        return Property(name, None, f"{unlogged} events came since the log took its last digests")
    logged = sum(stream.logged for stream in report.streams)
    events = sum(stream.events for stream in report.streams)
    if logged < events:
        return Property(name, False, f"{logged} of {events} events are as they were when the log took their digest")
    return Property(name, True, f"all {events} events are as they were when the log took their digest")


def _witnessed(report: RunReport) -> Property:
    name = "A witness signed that log"
    if not report.log:
        return Property(name, None, "there is no log")
    if report.cosigned:
        return Property(name, True, "the newest checkpoint has the signatures that the log's policy wants")
    return Property(
        name, None, "the newest checkpoint has no witness's signature: the log's operator could show others another log"
    )


def _details(report: RunReport, *states: str) -> str:
    found = [
        f"{one.stream}: {finding.detail}"
        for one in report.streams
        for finding in one.findings
        if finding.state in states
    ]
    return "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
