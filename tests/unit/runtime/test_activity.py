"""What some days of an agent come to: pure sums, and the page that a team reads on Monday."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent_runtime import codes
from agent_runtime.github.api import GitHubApi
from agent_runtime.local.activity import Activity, Job, Summary, Trail, render, summarise
from agent_runtime.local.activity_reader import read
from agent_runtime.local.codes import REPOSITORY_UNKNOWN
from agent_runtime.local.terminal import as_terminal
from agent_runtime.model import names
from agent_runtime.model.config import Config
from support.github import FullGitHub

NOW = datetime(2026, 11, 23, 6, 23, tzinfo=UTC)
BEGUN = NOW - timedelta(hours=5)


def decided(seconds: float, login: str = "bob", state: str = "approved", **changes: Any) -> Activity:
    """A run whose reviewer answered after this long."""
    answered = BEGUN + timedelta(seconds=seconds)
    approved = state == "approved"
    values: dict[str, Any] = {
        "id": 4711,
        "title": "checkout [alert-9]",
        "url": "https://github.com/acme/checkout-restart/actions/runs/4711",
        "actor": "alice",
        "status": "completed",
        "created": BEGUN,
        "investigate": Job("completed", "success", BEGUN, BEGUN),
        "approve": Job("completed", "success" if approved else "failure", answered, answered),
        "act": Job("completed", "success" if approved else "skipped"),
        "approvals": ((login, state),),
        "trail": Trail("acted" if approved else "rejected"),
    }
    return Activity(**{**values, **changes})


def summary(*runs: Activity, **changes: Any) -> Summary:
    return summarise(runs, **{"days": 7, "now": NOW, "ttl_minutes": 60, **changes})


def reported(*runs: Activity, **changes: Any) -> list[str]:
    """What a human must look at."""
    return [line for _, line in summary(*runs, **changes).concerns]


def test_a_good_week_needs_nobody() -> None:
    quiet = summary(
        decided(300), decided(7200, state="rejected"), decided(0, approvals=(), act=None, trail=Trail("duplicate"))
    )
    assert quiet.concerns == () and quiet.hints == ()
    page = as_terminal(render(quiet))
    assert "Nothing needs a human's look." in page
    for line in ("acted      1", "duplicate  1", "rejected   1"):
        assert line in page


@pytest.mark.parametrize(
    ("seconds", "median", "ninety", "longest"),
    [
        ([90], "90 s", "90 s", "90 s"),
        ([100, 300], "3 min", "5 min", "5 min"),
        ([*range(60, 660, 60)], "6 min", "9 min", "10 min"),
        ([*range(60, 720, 60)], "6 min", "10 min", "11 min"),
        ([60, 36_000], "5.0 h", "10.0 h", "10.0 h"),
    ],
)
def test_decision_times(seconds: list[int], median: str, ninety: str, longest: str) -> None:
    page = as_terminal(render(summary(*(decided(each) for each in seconds))))
    rows = dict(line.rsplit("  ", 1) for line in page.splitlines() if line.startswith(("Median", "90 % ", "Longest")))
    assert {key.strip(): value for key, value in rows.items()} == {
        "Median": median,
        "90 % within": ninety,
        "Longest": longest,
    }


@pytest.mark.parametrize(
    ("run", "concern"),
    [
        (decided(300, approvals=()), "the job act ran, and GitHub has no record of an approval"),
        (decided(300, state="rejected", act=Job("completed", "failure")), "GitHub has no record of an approval"),
        (decided(300, login="alice"), "alice started it and approved it"),
        (decided(300, trail=None), "it is over and left no audit-bundle"),
        (decided(300, trail=Trail("acted", problems=("TRAIL04: x was changed",))), "does not hold: TRAIL04"),
        (decided(300, trail=Trail("outcome_unknown")), "look at the resource"),
        (decided(300, trail=Trail("action_failed")), "look at the resource"),
        (
            decided(300, trail=Trail("partial", steps=("drain: success", "restart: failed", "undrain: not run"))),
            "the plan stopped halfway: finish it or go back (drain: success; restart: failed; undrain: not run)",
        ),
        (decided(300, trail=Trail("refused")), "find out what changed"),
        (decided(300, trail=Trail("approval_failed")), "find out who tried what"),
        (decided(300, trail=Trail("investigation_failed")), "read its log"),
        (decided(300, trail=Trail("cancelled")), "cancelled before it acted"),
        (decided(300, unreadable="GET /x: HTTP 500"), "could not be read: GET /x: HTTP 500"),
        (decided(0, approvals=(), act=None, trail=None, status="waiting"), "an approval would not count any more"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_human_must_look_at(run: Activity, concern: str) -> None:
    (line,) = reported(run)
    assert concern in line


def test_what_is_under_way_concerns_nobody() -> None:
    fresh = NOW - timedelta(minutes=59)
    assert reported(decided(0, approvals=(), act=None, trail=None, status="waiting", created=fresh)) == []
    assert reported(decided(0, approvals=(), act=None, trail=None, status="in_progress")) == []
    assert reported(decided(0, approvals=(), act=Job("completed", "skipped"), trail=Trail("nothing_to_do"))) == []


def asking(**changes: Any) -> Activity:
    """A run that asked in an issue, 61 minutes ago."""
    sealed = NOW - timedelta(minutes=61)
    trail = Trail("waiting", plan_digest="ab" * 32, sealed=sealed)
    values: dict[str, Any] = {"approvals": (), "approve": None, "act": None, "trail": trail, "created": sealed}
    return decided(0, **{**values, **changes})


def answering(outcome: str, seconds: float = 90, **changes: Any) -> Activity:
    """The run of a comment, so long after the plan was sealed."""
    trail = Trail(outcome, plan_digest="ab" * 32, initiator="alice", approvers=("bob",))
    times = {"asked": BEGUN, "answered": BEGUN + timedelta(seconds=seconds)}
    return decided(0, **{"investigate": None, "trail": trail, **times, **changes})


def test_an_issue_that_nobody_answered_is_not_forgotten() -> None:
    (line,) = reported(asking())
    assert "its issue still asks, and an approval would not count any more" in line
    other = Trail("acted", plan_digest="cd" * 32)
    for answer in (answering("denied"), answering("acted", trail=other)):
        assert len(reported(answer, asking())) == 1, "that is not an answer to this plan"


def test_an_issue_that_was_answered_or_can_be_concerns_nobody() -> None:
    for outcome in ("acted", "dry_run", "rejected", "expired"):
        assert reported(answering(outcome), asking()) == []
    fresh = Trail("waiting", plan_digest="ab" * 32, sealed=NOW - timedelta(minutes=59))
    assert reported(asking(trail=fresh)) == []
    unsealed = Trail("waiting")
    assert len(reported(asking(trail=unsealed))) == 1, "a bundle without its report is as old as its run"
    assert reported(asking(trail=unsealed, created=NOW)) == []
    assert len(reported(answering("acted", trail=Trail("acted")), asking(trail=unsealed))) == 1, (
        "no digest is not a match"
    )


def test_a_comment_decides_from_the_plan_to_the_comment() -> None:
    assert summary(answering("acted")).decision_times == [90]
    assert summary(answering("acted", answered=BEGUN - timedelta(seconds=1))).decision_times == []
    assert summary(answering("acted", seconds=5)).hints == (
        "bob approved 1 of 1 plans in less than 60 s: was each read?",
    )


def test_approvals_without_times_are_no_silence() -> None:
    timeless = answering("acted", answered=None)
    known, silent = "No times are known.", "Nobody was asked, or nobody answered."
    assert known in render(summary(timeless)) and silent not in render(summary(timeless))
    assert silent in render(summary(asking())) and known not in render(summary(asking()))


def test_an_open_gate_concerns_somebody_without_any_run() -> None:
    opened = summary(gate_problems=("the environment agent-approval is not a gate now: it has no required reviewers",))
    assert len(opened.concerns) == 1
    assert "**It is open**" in render(opened) and "There was no run." in render(opened)


def test_what_was_done_without_asking_is_counted() -> None:
    alone = decided(0, approvals=(), act=Job("completed", "skipped"), trail=Trail("acted", automatic=True))
    reported = summary(alone, alone, decided(300))
    assert reported.concerns == ()
    assert "Without asking, because the policy's `auto_approve` says so: 2." in render(reported)
    assert "auto_approve" not in render(summary(decided(300)))


def test_a_bundle_that_is_none_is_reported_and_stops_nothing() -> None:
    with FullGitHub("acme/checkout-restart") as github:
        for name, reviewers in (("agent-approval", ("bob",)), ("agent-act", ())):
            github.protect(name, reviewers)
        for number in ("1", "2"):
            github.add_run(
                number,
                title="x [-]",
                event="schedule",
                actor="bob",
                file=names.WORKFLOW_FILE,
                created="2026-11-22T00:00:00Z",
            )["status"] = "completed"
        github.add_artifact("1", "audit-bundle", archive=b"no archive")
        settings = Config("x", "X", "acme/checkout-restart", ("bob",), 60, "public")
        found = read(GitHubApi(github.url, None), settings, days=7, now=NOW)
    assert [(run.id, line) for run, line in found.concerns if run] == [
        (2, "it is over and left no audit-bundle"),
        (1, "it could not be read: an artifact is invalid: it can't be unpacked (BadZipFile)"),
    ]
    assert len(found.concerns) == 2, "the gate is closed"


def busy_week(github: FullGitHub, runs: int) -> None:
    for name, reviewers in (("agent-approval", ("bob",)), ("agent-act", ())):
        github.protect(name, reviewers)
    how: dict[str, Any] = {"title": "x [-]", "event": "schedule", "actor": "bob", "file": names.WORKFLOW_FILE}
    for number in range(1, runs + 1):
        begun = github.add_run(str(number), created=f"2026-11-2{1 + number % 2}T00:00:00Z", **how)
        begun.update(status="completed", conclusion="success")


@pytest.mark.threat("T25")
def test_runs_that_somebody_deleted_are_named() -> None:
    settings = Config("x", "X", "acme/checkout-restart", ("bob",), 60, "public")
    with FullGitHub("acme/checkout-restart") as github:
        busy_week(github, 20)
        gone = {2, *range(4, 15)}
        github.runs = [run for run in github.runs if run["run_number"] not in gone]
        found = read(GitHubApi(github.url, None), settings, days=7, now=NOW)
    (line,) = [line for run, line in found.concerns if run is None]
    workflow = "of agent-investigate-act.yml"
    assert line.startswith(f"somebody deleted runs: 2 {workflow}, 4 {workflow}, 5 {workflow}, ")
    assert line.endswith(f"12 {workflow} and 2 more; find out who, and what they did")


def test_a_report_leaves_half_of_the_requests_of_an_hour_to_others() -> None:
    settings = Config("x", "X", "acme/checkout-restart", ("bob",), 60, "public")
    with FullGitHub("acme/checkout-restart") as github:
        busy_week(github, 300)
        github.budget = 500
        found = read(GitHubApi(github.url, None, pause=lambda seconds: None), settings, days=7, now=NOW)
    assert (len(found.runs), found.left_out) == (100, 200)
    assert not [line for _, line in found.concerns if "could not be read" in line]


def test_the_repository_that_runs_the_report_is_read_whatever_the_configuration_says() -> None:
    stale = Config("x", "X", "your-org/checkout-restart", ("bob",), 60, "public")
    with FullGitHub("acme/checkout-restart") as github:
        api = GitHubApi(github.url, None)
        found = read(api, stale, days=7, now=NOW, repository="acme/checkout-restart")
        assert found.runs == () and found.gate_problems
        with pytest.raises(codes.BadInput, match="GitHub knows no your-org/checkout-restart") as problem:
            read(api, stale, days=7, now=NOW)
    assert problem.value.code == REPOSITORY_UNKNOWN


def test_quick_late_and_unread_are_hints() -> None:
    hints = summary(
        decided(59), decided(60), decided(5, "carol"), decided(90, trail=Trail("expired")), left_out=3
    ).hints
    assert hints == (
        "bob approved 1 of 3 plans in less than 60 s: was each read?",
        "carol approved 1 of 1 plans in less than 60 s: was each read?",
        "approvals after the plan had expired: 1; is anybody notified when a run waits?",
        "3 older runs of these days were too many to be read",
    )


def test_refusals_are_counted_by_code_once_a_run() -> None:
    runs = [decided(300, trail=Trail("refused", ("GATE08", "GATE08"))) for _ in range(2)]
    page = as_terminal(render(summary(*runs, decided(300, trail=Trail("refused", ("GATE10",))))))
    assert "GATE08  2     the resource is not as it was when the plan was made" in page
    assert "GATE10  1     the kill switch is on" in page


def test_a_title_that_anybody_can_choose_stays_text() -> None:
    page = render(summary(decided(300, title="](http://evil.invalid) <b> @bob\n# Approved", trail=None)))
    assert "\n# Approved" not in page
    assert "`](http://evil.invalid) <b> @bob\\u{a}# Approved`" in page
