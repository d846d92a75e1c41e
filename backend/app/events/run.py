"""What a run's events say of the run as a whole. Pure functions; what an agent may have written is cut and cleaned."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec

RUNNING, WAITING, APPROVED = "running", "waiting", "approved"
PHASES = ("none", RUNNING, WAITING, APPROVED)
"""What a run is called before its terminal event; a later one replaces an earlier one."""
OUTCOMES = (
    "acted",
    "dry_run",
    "action_failed",
    "partial",
    "outcome_unknown",
    "not_started",
    "refused",
    "expired",
    "rejected",
    "cancelled",
    "nothing_to_do",
    "duplicate",
    "denied",
    "investigation_failed",
    "approval_failed",
)
"""What the runtime's terminal event may say."""
OTHER = "other"
"""An outcome that the runtime doesn't have."""

MAX_TEXT = 500
"""Characters kept of a text: PostgreSQL's indexes take no more than 2,704 bytes."""
MAX_APPROVERS = 20
_MAX_WORDS = 300
_MAX_WORD = 64

_WORD = re.compile(r"[^\W_]+")
STEPS = (
    "started", "duplicate", "investigated", "policy_evaluated", "plan_sealed", "approval_asked", "approved",
    "plan_claimed", "gate_check", "authorized", "intent", "outcome", "finished", "error", "terminal",
)  # fmt: skip
"""The steps that the runtime's events have. Other programs have others, and their runs are not gated."""
_PHASE_OF_STEP = {"plan_sealed": WAITING, "approval_asked": WAITING, "approved": APPROVED, "authorized": APPROVED}
_PLACE = re.compile(r',"stream":"[^"]*","seq":\d+,"prev":(?:null|"[0-9a-f]{64}")}$')


class _Body(msgspec.Struct):
    metadata: dict[str, Any] | None = None


_body = msgspec.json.Decoder(_Body)


@dataclass
class Run:
    """One run: the events of one trace.

    Attributes:
        number: the runs in the order in which they began to arrive.
        outcome: one of `PHASES`, of `OUTCOMES`, or `OTHER`.
        conflicting: several terminal events say different things.
        code, reason: of the first refusal or failure.
        words: what a search finds it by.
        trail: `intact`, or the worst of what is wrong with it.
        checked_at: when all of it was verified last; µs since 1970, 0: never.
        finding: the worst of what only that can find, or None.
    """

    number: int
    trace_id: str
    agent: str
    repository: str | None
    run_id: str | None
    attempt: int | None
    resource: str
    action: str | None
    plan_digest: str | None
    outcome: str
    conflicting: int
    code: str | None
    reason: str | None
    approvers: list[str]
    started_at: int
    last_at: int
    first_received: int
    last_received: int
    last_position: int
    events: int
    words: str
    trail: str = "intact"
    checked_at: int = 0
    finding: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether its terminal event has come."""
        return self.outcome not in PHASES

    @property
    def is_gated(self) -> bool:
        """Whether it is one of the runtime's, rather than the trace of another program."""
        return self.outcome != "none"


def new_run(number: int, event: Event) -> Run:
    """Return the run that begins with an event."""
    at, received = event.occurred_at, event.received_at
    run = Run(
        number, event.trace_id, clean(event.agent) or "", None, None, None, clean(event.resource) or "", None, None,
        "none", 0, None, None, [], at, at, received, received, event.position, 0, "",
    )  # fmt: skip
    add_words(run, event.trace_id, event.agent, event.resource)
    return run


@dataclass(frozen=True)
class Event:
    """What of an event matters here."""

    position: int
    occurred_at: int
    received_at: int
    agent: str
    trace_id: str
    resource: str
    status: str
    body: str


def clean(value: object, length: int = MAX_TEXT) -> str | None:
    """Return a text that an agent wrote as it is kept: cut, and without U+0000. Numbers become texts, all else None."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value)[:length].replace("\0", "\ufffd") or None


def metadata_of(body: str) -> dict[str, Any]:
    """Return an event's metadata; nothing when it can't be read."""
    try:
        return _body.decode(body).metadata or {}
    except (msgspec.DecodeError, RecursionError):
        return {}


def take(run: Run, event: Event) -> None:
    """Add an event to what is known of its run."""
    run.events += 1
    run.started_at = min(run.started_at, event.occurred_at)
    run.last_at = max(run.last_at, event.occurred_at)
    run.last_received = max(run.last_received, event.received_at)
    run.last_position = max(run.last_position, event.position)
    if '"gha"' not in event.body and '"step"' not in event.body:
        return
    facts = metadata_of(event.body)
    gha = facts.get("gha")
    if run.repository is None and isinstance(gha, dict):
        run.repository, run.run_id = clean(gha.get("repository")), clean(gha.get("run_id"), 40)
        attempt = gha.get("run_attempt")
        run.attempt = attempt if type(attempt) is int and 0 <= attempt < 2**31 else None
        add_words(run, run.repository, run.run_id)
    step = facts.get("step")
    if isinstance(step, str) and step in STEPS:
        _take_step(run, step, facts, event)


def _take_step(run: Run, step: str, facts: dict[str, Any], event: Event) -> None:
    _advance(run, _PHASE_OF_STEP.get(step, RUNNING))
    if step == "plan_sealed":
        run.action, run.plan_digest = clean(facts.get("action")), clean(facts.get("plan_digest"), 64)
        run.resource = clean(event.resource) or run.resource
    if step in ("approved", "authorized", "terminal"):
        several = facts.get("approvers")
        people = several if isinstance(several, list) else [facts.get("approver")]
        for person in people[:MAX_APPROVERS]:
            login = clean(person.get("login"), 100) if isinstance(person, dict) else None
            if login and login not in run.approvers and len(run.approvers) < MAX_APPROVERS:
                run.approvers.append(login)
    if step == "error" or event.status == "denied":
        _take_reason(run, facts.get("code") or facts.get("check"), facts.get("message"))
    if step == "terminal":
        _take_end(run, facts)
    problem = facts.get("code") if isinstance(facts.get("code"), str) else None
    add_words(run, facts.get("action"), problem, facts.get("message"), run.plan_digest, *run.approvers)


def _take_end(run: Run, facts: dict[str, Any]) -> None:
    outcome = facts.get("outcome")
    if outcome in PHASES:  # an issue was opened and the run is over: another one goes on
        _advance(run, str(outcome))
        return
    outcome = outcome if outcome in OUTCOMES else OTHER
    if run.is_over and run.outcome != outcome:
        run.conflicting = 1
        return
    run.outcome = outcome
    rejected = facts.get("rejected_by")
    login = clean(rejected.get("login"), 100) if isinstance(rejected, dict) else clean(rejected, 100)
    if login:
        because = clean(facts.get("rejected_because"))
        _take_reason(run, None, f"rejected by {login}{f': {because}' if because else ''}")
        add_words(run, login, because)
    add_words(run, outcome)


def _advance(run: Run, phase: str) -> None:
    if not run.is_over and PHASES.index(phase) > PHASES.index(run.outcome):
        run.outcome = phase


def _take_reason(run: Run, code: object, message: object) -> None:
    if run.code is None and run.reason is None:
        run.code, run.reason = clean(code, 40), clean(message)
    elif run.reason is None and clean(code, 40) == run.code:
        run.reason = clean(message)


def words_of(text: str) -> list[str]:
    """Return the words of a text as a search compares them: letters and digits in lower case."""
    return [word[:_MAX_WORD] for word in _WORD.findall(text.casefold())]


def add_words(run: Run, *texts: object) -> None:
    """Let a search find the run by these texts, up to a bound."""
    found = dict.fromkeys(run.words.split())
    for text in texts:
        found.update(dict.fromkeys(words_of(clean(text) or "")))
    run.words = " ".join(list(found)[:_MAX_WORDS])


def line_hash_of(stream: str, seq: int, body: str) -> str:
    """Return the hash that the line of a journal has which an event came in, if the SDK wrote it.

    What is stored is the event as it was sent, and its place behind it; only whitespace between members may be lost.
    """
    found = _PLACE.search(body)
    if found is None:
        return ""
    prev = found.group().rpartition(":")[2][:-1]
    line = f'{{"v":1,"stream":"{stream}","seq":{seq},"prev":{prev},"event":{body[: found.start()]}}}}}'
    return sha256(line.encode()).hexdigest()
