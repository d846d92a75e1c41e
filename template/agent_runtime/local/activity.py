"""What an agent did over some days, what its reviewers did, and what a human must look at.  Pure: values in, page out.

`phases/activity.py` reads the values from GitHub.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Collection, Dict, List, Mapping, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.gate.bundle import FINAL, RunOutcome
from agent_runtime.model import names
from agent_runtime.text.escape import markdown_inline, markdown_table_cell
from agent_runtime.text.markdown import page, table

# An approval that comes faster is hardly one that was read.
QUICK_SECONDS = 60

# Outcomes after which somebody must look: at the resource, at the gate, or at the agent.
_NEED_A_HUMAN = {
    RunOutcome.ACTION_FAILED.value: "the action failed: look at the resource",
    RunOutcome.PARTIAL.value: "the plan stopped halfway: finish it or go back",
    RunOutcome.OUTCOME_UNKNOWN.value: "nobody knows whether the action took effect: look at the resource",
    RunOutcome.REFUSED.value: "a check before acting refused: find out what changed",
    RunOutcome.APPROVAL_FAILED.value: "the plan got no valid approval: find out who tried what",
    RunOutcome.INVESTIGATION_FAILED.value: "the investigation failed: read its log",
}

_SHOWN_GONE = 10

_FORGOTTEN = (
    "its issue still asks, and an approval would not count any more: answer it with /reject, and start a new run if it "
    "is still needed"
)
_ANSWERED = frozenset(outcome.value for outcome in FINAL)

_STATES = {"waiting": "waits for a decision", "completed": "without a trail"}


@dataclass(frozen=True)
class Job:
    """A job of a run: GitHub's words for where it stands, and its times, each None where GitHub gives none."""

    status: str
    conclusion: Optional[str] = None
    started: Optional[datetime] = None
    completed: Optional[datetime] = None


@dataclass(frozen=True)
class Trail:
    """What a run's bundle says.

    Arguments:
        outcome: a word of RunOutcome.
        steps: of the plan, each with how it ended, for people.
        codes: of everything that was refused or failed.
        problems: what `verify` found wrong with it, a line each.
        automatic: whether the policy decided alone, and nobody was asked.
        initiator, approvers: logins of who started the run that made the plan, and of who approved it; or empty.
        rejecter: login of who rejected it, or empty.
        plan_digest: of the plan, or empty.
        sealed: when the plan was.
        commented: when the comment was written that approved, where an issue is the gate.
    """

    outcome: str
    codes: Tuple[str, ...] = ()
    problems: Tuple[str, ...] = ()
    automatic: bool = False
    initiator: str = ""
    approvers: Tuple[str, ...] = ()
    rejecter: str = ""
    plan_digest: str = ""
    sealed: Optional[datetime] = None
    commented: Optional[datetime] = None
    steps: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Activity:
    """One run of the agent.

    Arguments:
        title: as GitHub's list of runs shows it; untrusted.
        status: GitHub's word; `completed` when it is over.
        investigate, approve, act: jobs that GitHub lists.
        approvals: login and state (`approved`, `rejected`) of each record of the gate.
        trail: None where the run left none.
        asked, answered: when an issue asked, and when a comment answered, in a run that such a comment started.
        unreadable: why the run could not be read, in one line; empty when it could.
    """

    id: int
    title: str
    url: str
    actor: str
    status: str
    created: datetime
    investigate: Optional[Job] = None
    approve: Optional[Job] = None
    act: Optional[Job] = None
    approvals: Tuple[Tuple[str, str], ...] = ()
    trail: Optional[Trail] = None
    asked: Optional[datetime] = None
    answered: Optional[datetime] = None
    unreadable: str = ""

    @property
    def outcome(self) -> str:
        """How it ended, in one word of the specification, or where it stands."""
        if self.unreadable:
            return "not read"
        if self.trail is not None:
            return self.trail.outcome
        return _STATES.get(self.status, "runs")

    @property
    def decision_seconds(self) -> Optional[float]:
        """From the end of the investigation to the reviewer's answer (with the wait for a runner); None without one.

        Where an issue is the gate: from the plan to the comment.
        """
        begun, answered = self.asked, self.answered
        if not self.approvals:
            return None
        if self.investigate is not None and self.approve is not None:
            begun = self.investigate.completed
            approved = self.approvals[-1][1] == "approved"
            answered = self.approve.started if approved else self.approve.completed
        return (answered - begun).total_seconds() if begun and answered and answered >= begun else None


@dataclass(frozen=True)
class Summary:
    """Some days of an agent.

    Arguments:
        gate_problems: what keeps the gate open now, a line each.
        left_out: how many runs were too many to be read.
        concerns: what a human must look at; the run's id, or None, and one line.
        hints: what a team may want to talk about, a line each.
    """

    days: int
    now: datetime
    runs: Tuple[Activity, ...]
    gate_problems: Tuple[str, ...]
    left_out: int
    concerns: Tuple[Tuple[Optional[Activity], str], ...]
    hints: Tuple[str, ...]

    @property
    def decision_times(self) -> List[float]:
        """Seconds of every decision, shortest first."""
        return sorted(run.decision_seconds for run in self.runs if run.decision_seconds is not None)


def summarise(
    runs: Sequence[Activity],
    *,
    days: int,
    now: datetime,
    ttl_minutes: int,
    gate_problems: Sequence[str] = (),
    left_out: int = 0,
    gone: Sequence[str] = (),
) -> Summary:
    """Sum up the runs.

    Arguments:
        runs: newest first.
        ttl_minutes: how long an approval counts.
        gone: numbers of runs that GitHub no longer lists, each with its workflow.
    """
    concerns: List[Tuple[Optional[Activity], str]] = [(None, problem) for problem in gate_problems]
    if gone:
        more = f" and {len(gone) - _SHOWN_GONE} more" if len(gone) > _SHOWN_GONE else ""
        line = f"somebody deleted runs: {', '.join(gone[:_SHOWN_GONE])}{more}; find out who, and what they did"
        concerns.append((None, line))
    ttl = timedelta(minutes=ttl_minutes)
    answered = {run.trail.plan_digest for run in runs if run.trail and run.trail.outcome in _ANSWERED} - {""}
    for run in runs:
        concerns += [(run, line) for line in _concerns(run, now, ttl)]
        if _is_forgotten(run, answered, now, ttl):
            concerns.append((run, _FORGOTTEN))
    hints = [
        f"{login} approved {quick} of {whole} plans in less than {QUICK_SECONDS} s: was each read?"
        for login, (whole, quick) in _approvers(runs).items()
        if quick
    ]
    expired = sum(run.outcome == RunOutcome.EXPIRED.value for run in runs)
    if expired:
        hints.append(f"approvals after the plan had expired: {expired}; is anybody notified when a run waits?")
    if left_out:
        hints.append(f"{left_out} older runs of these days were too many to be read")
    return Summary(days, now, tuple(runs), tuple(gate_problems), left_out, tuple(concerns), tuple(hints))


def _is_forgotten(run: Activity, answered: Collection[str], now: datetime, ttl: timedelta) -> bool:
    """Whether it asked in an issue, and nobody answered there while an answer counted, or since."""
    if run.trail is None or run.trail.outcome != RunOutcome.WAITING.value:
        return False
    return now - (run.trail.sealed or run.created) > ttl and run.trail.plan_digest not in answered


def _concerns(run: Activity, now: datetime, ttl: timedelta) -> List[str]:
    if run.unreadable:
        return [f"it could not be read: {run.unreadable}"]
    found: List[str] = []
    acted = run.act is not None and run.act.conclusion not in (None, "skipped")
    approved = [login for login, state in run.approvals if state == "approved"]
    if acted and not approved:
        found.append("the job act ran, and GitHub has no record of an approval")
    if run.actor in approved:
        found.append(f"{run.actor} started it and approved it")
    if run.status == "completed" and run.trail is None:
        found.append(f"it is over and left no {names.BUNDLE_ARTIFACT}")
    if run.status == "waiting" and now - run.created > ttl:
        found.append("it still waits, and an approval would not count any more: reject it, or start a new run")
    if run.trail is not None:
        if run.trail.outcome in _NEED_A_HUMAN:
            said = "; ".join(run.trail.steps) if len(run.trail.steps) > 1 else ""
            found.append(_NEED_A_HUMAN[run.trail.outcome] + (f" ({said})" if said else ""))
        if run.trail.outcome == RunOutcome.CANCELLED.value and approved:
            found.append(
                "it was approved and cancelled before it acted: start a new run, or inform whoever waits for it"
            )
        found += [f"its trail does not hold: {problem}" for problem in run.trail.problems]
    return found


def _approvers(runs: Sequence[Activity]) -> Dict[str, Tuple[int, int]]:
    """Approvals, and quick ones among them, by login; most approvals first."""
    whole: Counter[str] = Counter()
    quick: Counter[str] = Counter()
    for run in runs:
        for login, state in run.approvals:
            if state == "approved":
                whole[login] += 1
                seconds = run.decision_seconds
                quick[login] += seconds is not None and seconds < QUICK_SECONDS
    return {login: (count, quick[login]) for login, count in whole.most_common()}


def render(summary: Summary) -> str:
    """Return the page for the step summary, in GitHub's Markdown."""
    last = f"{summary.now - timedelta(days=summary.days):%Y-%m-%d} to {summary.now:%Y-%m-%d}"
    automatic = sum(run.trail is not None and run.trail.automatic for run in summary.runs)
    answers = any(run.approvals for run in summary.runs)
    word = f"**{len(summary.concerns)}**" if summary.concerns else "Nothing"
    return page(
        [
            f"# The agent's last {summary.days} days ({last})",
            f"{word} {'need' if len(summary.concerns) > 1 else 'needs'} a human's look.",
            "\n".join(f"- {_link(run)}{markdown_inline(line)}" for run, line in summary.concerns),
            "## Runs",
            table(("Outcome", "Runs"), _counted(Counter(run.outcome.replace("_", " ") for run in summary.runs)))
            or "There was no run.",
            "## Decisions",
            table(("Time to the reviewer's answer", "Value"), _times(summary.decision_times))
            or ("No times are known." if answers else "Nobody was asked, or nobody answered."),
            table(
                ("Who approved", "Approvals", f"In less than {QUICK_SECONDS} s"),
                [
                    (markdown_table_cell(login), str(count), str(quick))
                    for login, (count, quick) in _approvers(summary.runs).items()
                ],
            ),
            f"Without asking, because the policy's `auto_approve` says so: {automatic}." if automatic else "",
            "\n".join(f"- Hint: {markdown_inline(hint)}" for hint in summary.hints),
            "## What was refused or failed",
            table(("Code", "Runs", "Meaning"), _codes(summary.runs)) or "Nothing was.",
            "## The gate",
            "**It is open**, see above." if summary.gate_problems else "It is closed now.",
        ]
    )


def _link(run: Optional[Activity]) -> str:
    """What a concern is about.  The address is GitHub's own; the title anybody can choose."""
    return "" if run is None else f"[run {run.id}]({run.url}) {markdown_inline(run.title)}: "


def _counted(counter: Mapping[str, int]) -> List[Tuple[str, str]]:
    return [(word, str(count)) for word, count in sorted(counter.items(), key=lambda item: (-item[1], item[0]))]


def _times(seconds: Sequence[float]) -> List[Tuple[str, str]]:
    if not seconds:
        return []
    nearest = seconds[math.ceil(0.9 * len(seconds)) - 1]
    return [
        ("Decisions", str(len(seconds))),
        ("Median", _duration(statistics.median(seconds))),
        ("90 % within", _duration(nearest)),
        ("Longest", _duration(seconds[-1])),
    ]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _codes(runs: Sequence[Activity]) -> List[Tuple[str, str, str]]:
    counter: Counter[str] = Counter()
    for run in runs:
        counter.update(set(run.trail.codes) if run.trail else ())
    known = codes.registered()
    return [
        (markdown_table_cell(code), count, markdown_table_cell(known[code].title) if code in known else "")
        for code, count in _counted(counter)
    ]
