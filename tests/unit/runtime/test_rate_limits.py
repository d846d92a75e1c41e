"""Rate limits hold across runs, are counted from GitHub's own history, and refuse when that can't be read (T25)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.gate import checks, policy
from agent_runtime.gate.history import begun
from agent_runtime.gate.policy import Happened
from agent_runtime.gate.policy_file import parse_policy
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext
from agent_runtime.model import documents, names
from agent_runtime.model.config import Config
from support import examples, shapes
from support.github import FullGitHub

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
REPOSITORY = "acme/checkout-restart"
RULES = parse_policy(
    b"""\
name: p
version: 1
allowed_actions: [{type: "*"}]
rate_limits:
  - {type: "restart*", resources: ["checkout", "cart-*"], max: 2, per: 24h, description: two a day}
  - {type: delete, max: 1, per: 30m}
""",
    "p.yml",
)


def counts(*history: Happened, action: str = "restart_service", resource: str = "checkout") -> tuple[Any, ...]:
    return policy.count(RULES, action=action, resource=resource, history=history, now=NOW)


def ago(hours: float, action: str | None = "restart_service", resource: str | None = "checkout") -> Happened:
    return Happened(NOW - hours * HOUR, action, resource)


def test_only_what_a_limit_is_about_counts_and_only_for_its_time() -> None:
    (found,) = counts(
        ago(1), ago(24), ago(25), ago(2, "restart_service", "payments"), ago(2, "delete", "checkout"), ago(3)
    )
    assert (found.rule, found.full) == ("rate_limits[0]", True)
    assert found.reason == (
        "rate_limits[0] (restart* on checkout, cart-*): 2 of 2 in the last 24h, "
        "next possible at 2026-11-25T09:00:00Z [two a day]"
    )
    assert not counts(ago(1), ago(24))[0].full
    assert counts(ago(1), ago(1, "restart", "cart-api"))[0].full, "every resource of the limit counts together"


def test_what_the_history_does_not_show_counts_for_every_limit() -> None:
    assert counts(ago(0.1, None, None), action="delete", resource="x")[0].full
    assert counts(ago(0.1, None, None), ago(0.2, "restart", None))[0].full


def test_a_limit_that_is_exceeded_shows_when_enough_is_over() -> None:
    (found,) = counts(ago(1), ago(2), ago(3), ago(4))
    assert "4 of 2 in the last 24h, next possible at 2026-11-25T10:00:00Z" in found.reason


def test_an_action_without_a_limit_has_none() -> None:
    assert counts(ago(1), ago(1), ago(1), action="scale") == ()


@given(st.lists(st.floats(-1, 30), max_size=8), st.integers(0, 7))
def test_more_history_never_leaves_more_room(hours: list[float], at: int) -> None:
    whole = [ago(each) for each in hours]
    fewer = whole[:at] + whole[at + 1 :]
    assert counts(*whole)[0].full >= counts(*fewer)[0].full


@given(st.lists(st.floats(0, 23.9), min_size=2, max_size=8))
def test_the_time_that_is_named_is_the_first_at_which_there_is_room(hours: list[float]) -> None:
    history = [ago(each) for each in hours]
    (found,) = counts(*history)
    reported = datetime.fromisoformat(found.reason.partition("next possible at ")[2].partition("Z")[0] + "+00:00")

    def full(moment: datetime) -> bool:
        return policy.count(RULES, action="restart_service", resource="checkout", history=history, now=moment)[0].full

    assert not full(reported)
    assert full(reported - timedelta(seconds=2))


@pytest.mark.threat("T25")
def test_the_gate_refuses_with_the_time() -> None:
    plan = examples.sealed()
    checks.check_rate_limits(plan, RULES, [ago(1)], NOW)
    with pytest.raises(codes.GateRefused) as refused:
        checks.check_rate_limits(plan, RULES, [ago(1), ago(2)], NOW)
    assert refused.value.code == codes.GATE_RATE
    assert "restart_service on checkout" in refused.value.message and "next possible at" in refused.value.message


# ------------------------------------------------------------------------------------------- GitHub's own history

PLAN = "plan 0123456789ab:"


def history(github: FullGitHub, *, ttl_minutes: int = 60, action: str = "restart_service") -> list[Happened]:
    """What other runs began, for a plan about the checkout."""
    settings = Config("p", "P", REPOSITORY, ("bob",), ttl_minutes, "public")
    job = JobContext(Path("/"), Path("/"), "seal", settings, examples.run(run_id="99"), "99-1", {})
    api = GitHubApi(github.url, None, pause=lambda seconds: None)
    return begun(api, job, RULES, action=action, resource="checkout", now=datetime.now(UTC))


def acted(github: FullGitHub, run_id: str, *, hours: float = 1.0, resource: str = "checkout", **job: Any) -> None:
    """A run that began an action some hours ago."""
    moment = datetime.now(UTC) - hours * HOUR
    github.add_artifact(run_id, "approval-receipt", moment)
    github.add_job(run_id, "Investigate", started=moment)
    github.add_job(run_id, f"Approve {PLAN} restart_service on {resource}", started=moment)
    github.add_job(run_id, "Act", **{"started": moment, **job})


def reported(found: list[Happened]) -> list[tuple[str | None, str | None]]:
    return sorted((each.action, each.resource) for each in found)


@pytest.mark.threat("T25")
def test_actions_of_other_runs_are_found_by_their_jobs() -> None:
    with FullGitHub(REPOSITORY) as github:
        acted(github, "1")
        acted(github, "2", resource="cart-api", conclusion="failure")
        acted(github, "3", hours=30)
        acted(github, "99")
        github.add_artifact("4", "action-authorization-auto")
        github.add_job("4", f"Act without asking on {PLAN} restart_service on checkout", "in_progress", None)
        found = history(github)
    assert reported(found) == [
        ("restart_service", "cart-api"),
        ("restart_service", "checkout"),
        ("restart_service", "checkout"),
    ]
    moments = {each.moment for each in found if each.resource == "cart-api"}
    assert all(timedelta(minutes=55) < datetime.now(UTC) - moment < timedelta(minutes=65) for moment in moments)


@pytest.mark.parametrize(
    "artifact",
    [
        "approval-receipt",
        "action-authorization",
        "action-authorization-auto",
        "action-result",
        "action-result-auto",
        "action-record",
    ],
)
def test_each_artifact_leads_to_its_run(artifact: str) -> None:
    """The two that are there before an action begins: a runner that died can't hide what it began."""
    with FullGitHub(REPOSITORY) as github:
        acted(github, "1")
        github.archives.clear()
        github.add_artifact("1", artifact)
        assert len(history(github)) == 1


@pytest.mark.parametrize(
    ("status", "conclusion", "counted"),
    [
        ("completed", "success", 1),
        ("completed", "failure", 1),
        ("completed", "cancelled", 1),
        ("completed", "timed_out", 1),
        ("in_progress", None, 1),
        ("completed", "skipped", 0),
        ("queued", None, 0),
        ("waiting", None, 0),
        ("pending", None, 0),
    ],
)
def test_an_action_counts_from_the_moment_its_job_began(status: str, conclusion: str | None, counted: int) -> None:
    with FullGitHub(REPOSITORY) as github:
        acted(github, "1", status=status, conclusion=conclusion)
        assert len(history(github)) == counted


def run(github: FullGitHub, run_id: str, *, hours: float = 1.0, conclusion: str | None = "success", **how: Any) -> None:
    """A run of the agent's workflow that began some hours ago."""
    created = shapes.when(datetime.now(UTC) - hours * HOUR)
    how = {"title": "checkout [-]", "event": "schedule", "actor": "alice", "file": names.WORKFLOW_FILE, **how}
    begun = github.add_run(run_id, created=created, **how)
    begun.update(status="completed" if conclusion else "in_progress", conclusion=conclusion)


def without_artifacts(github: FullGitHub, run_id: str) -> None:
    for number in [number for number, kept in github.archives.items() if kept[0] == run_id]:
        del github.archives[number]


@pytest.mark.threat("T25")
@pytest.mark.parametrize("conclusion", ["success", "failure", "cancelled", None])
def test_a_run_whose_own_machine_deleted_its_artifacts_counts(conclusion: str | None) -> None:
    """Whether it acts right now, or ended without a trail."""
    with FullGitHub(REPOSITORY) as github:
        run(github, "1", conclusion=conclusion)
        acted(github, "1")
        without_artifacts(github, "1")
        assert reported(history(github)) == [("restart_service", "checkout")]


@pytest.mark.threat("T25")
def test_deleting_before_the_record_helps_nobody() -> None:
    """`record` keeps bundle and mark on a machine of its own, when the one that acted is gone."""
    with FullGitHub(REPOSITORY) as github:
        run(github, "1")
        acted(github, "1")
        without_artifacts(github, "1")
        github.add_artifact("1", "audit-bundle")
        github.add_artifact("1", "action-record")
        assert reported(history(github)) == [("restart_service", "checkout")]


def test_a_run_that_closed_without_an_action_costs_no_request() -> None:
    with FullGitHub(REPOSITORY) as github:
        for number in range(1, 51):
            run(github, str(number), hours=51 - number if number > 28 else 23)
            github.add_artifact(str(number), "audit-bundle")
        run(github, "51", conclusion="skipped")
        assert history(github) == []
        assert not [path for _, path in github.requests if path.endswith("/jobs")]


@pytest.mark.threat("T25")
def test_a_run_that_is_gone_from_the_list_counts_for_every_limit() -> None:
    with FullGitHub(REPOSITORY) as github:
        for number, hours in enumerate((90.0, 3, 2, 1, 0.01, 0), 1):
            run(github, str(number), hours=hours)
            github.add_artifact(str(number), "audit-bundle")
        assert history(github) == []
        whole = github.runs
        for deleted, ago in ((2, 2), (3, 1), (5, None)):
            github.runs = [each for each in whole if each["run_number"] != deleted]
            found = history(github, ttl_minutes=1)
            assert reported(found) == [(None, None)] * (ago is not None), "a new run may not be listed at once"
            for each in found:
                assert datetime.now(UTC) - each.moment > timedelta(minutes=50) * (ago or 0)
        github.runs = [each for each in whole if each["run_number"] in (1, 6)]
        assert history(github) == [], "a run of this moment"
        github.runs = [each for each in whole if each["run_number"] in (1, 4)]
        assert len(history(github)) == 2, "the last one before what matters is still there"


def test_of_more_runs_than_github_lists_the_older_ones_are_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_runtime.gate.history.MAX_LISTED", 3)
    with FullGitHub(REPOSITORY) as github:
        for number in range(1, 7):
            run(github, str(number), hours=90 if number == 1 else 1)
            github.add_artifact(str(number), "audit-bundle")
        github.runs = [each for each in github.runs if each["run_number"] not in (2, 3)]
        assert history(github) == []


def test_an_action_that_a_comment_approved_counts() -> None:
    """Where an issue is the gate, another workflow acts, in a run of its own."""
    with FullGitHub(REPOSITORY) as github:
        github.add_artifact("1", "approval-receipt")
        github.add_job("1", "Approve by comment")
        github.add_job("1", f"Act on approval of {PLAN} restart_service on cart-api", "in_progress", None)
        assert reported(history(github)) == [("restart_service", "cart-api")]


def test_every_step_of_a_plan_counts() -> None:
    with FullGitHub(REPOSITORY) as github:
        github.add_artifact("1", "action-result")
        github.add_job("1", f"Approve {PLAN} delete+restart_service on checkout")
        github.add_job("1", "Act")
        assert reported(history(github)) == [("delete", "checkout"), ("restart_service", "checkout")]


@pytest.mark.threat("T25")
def test_a_name_that_github_may_have_cut_says_nothing_and_counts_for_everything() -> None:
    with FullGitHub(REPOSITORY) as github:
        github.add_artifact("1", "action-result")
        github.add_job("1", f"Approve {PLAN} delete+restart_service on {'x' * 100}"[:100])
        github.add_job("1", "Act")
        assert reported(history(github)) == [(None, None)] * 2, "both steps"


@pytest.mark.threat("T25")
@pytest.mark.parametrize(
    "title", ["delete+" * 20, "restart_service+" * 4 + "restart_service on checkout", "delete+" * 10 + "x on checkout"]
)
def test_a_name_that_github_may_have_cut_among_its_steps_counts_as_the_longest_plan(title: str) -> None:
    with FullGitHub(REPOSITORY) as github:
        github.add_artifact("1", "action-result")
        github.add_job("1", f"Approve {PLAN} {title}"[:97] + "...")
        github.add_job("1", "Act")
        assert reported(history(github)) == [(None, None)] * documents.MAX_STEPS


@pytest.mark.threat("T25")
def test_each_step_of_a_plan_meets_the_limits() -> None:
    plan = examples.sealed(examples.step(action="scale"), examples.step())
    with pytest.raises(codes.GateRefused) as refused:
        checks.check_rate_limits(plan, RULES, [ago(1), ago(2)], NOW)
    assert refused.value.code == codes.GATE_RATE


@pytest.mark.threat("T25")
def test_the_steps_of_a_plan_count_for_those_after_them() -> None:
    """Whoever writes an investigation may propose the same step many times."""
    checks.check_rate_limits(examples.sealed(*[examples.step()] * 2), RULES, [], NOW)
    for steps, happened in ((3, []), (2, [ago(1)])):
        with pytest.raises(codes.GateRefused) as refused:
            checks.check_rate_limits(examples.sealed(*[examples.step()] * steps), RULES, happened, NOW)
        assert refused.value.code == codes.GATE_RATE


def test_a_run_whose_jobs_do_not_show_what_they_did_counts_for_everything() -> None:
    with FullGitHub(REPOSITORY) as github:
        github.add_artifact("1", "action-result")
        github.add_job("1", "Approve plan ${{ needs.seal.outputs.plan_digest_short }}")
        github.add_job("1", "Act")
        github.add_artifact("2", "action-result")
        github.add_job("2", f"Approve {PLAN} restart_service on checkout")
        github.add_job("2", f"Approve {PLAN} delete on other")
        github.add_job("2", "Act")
        assert reported(history(github)) == [(None, None), (None, None)]


def test_a_plan_that_waited_for_its_reviewer_is_found() -> None:
    """The receipt is older than the limit looks back, the action is not."""
    with FullGitHub(REPOSITORY) as github:
        acted(github, "1", hours=24.5, started=datetime.now(UTC) - HOUR)
        assert len(history(github, ttl_minutes=60)) == 1
        assert len(history(github, ttl_minutes=1)) == 0


def test_every_page_is_read() -> None:
    with FullGitHub(REPOSITORY) as github:
        for number in range(1, 131):
            github.add_artifact(str(number), "approval-receipt", datetime.now(UTC) - HOUR)
        for number in range(130):
            github.add_job("130", f"Other {number}")
        github.add_job("130", "Act")
        assert len(history(github)) == 1


def test_without_a_limit_nothing_is_asked() -> None:
    with FullGitHub(REPOSITORY) as github:
        assert history(github, action="scale") == []
        assert github.requests == []


def test_artifacts_that_are_kept_too_short_refuse_because_nothing_can_be_counted() -> None:
    with FullGitHub(REPOSITORY) as github:
        github.retention = timedelta(days=1)
        acted(github, "1")
        with pytest.raises(codes.GateRefused) as refused:
            history(github)
    assert refused.value.code == codes.GATE_RATE
    assert "for 1 days, and a limit looks back 1.0 days" in refused.value.message


@pytest.mark.threat("T25")
def test_a_github_that_does_not_answer_refuses() -> None:
    with FullGitHub(REPOSITORY) as github:
        acted(github, "1")
        github.token = "another"
        with pytest.raises(codes.GateRefused) as refused:
            history(github)
    assert refused.value.code == codes.GATE_API


def test_a_pull_request_from_a_fork_uses_no_limit_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's workflow may upload any artifact and name its jobs as it likes; it must not stop the agent."""
    whole = FullGitHub._artifacts
    fork = {"id": 1, "repository_id": 5, "head_repository_id": 6, "head_branch": "main", "head_sha": "0" * 40}
    with FullGitHub(REPOSITORY) as github:
        acted(github, "1")
        assert len(history(github)) == 1
        monkeypatch.setattr(
            FullGitHub,
            "_artifacts",
            lambda self, run, query: [{**each, "workflow_run": fork} for each in whole(self, run, query)],
        )
        github.retention = timedelta(hours=1)
        assert history(github) == []


@pytest.mark.parametrize("broken", ["no run", "no time", "a time without a zone", "no name", "no status"])
def test_a_malformed_answer_refuses(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with FullGitHub(REPOSITORY) as github:
        acted(github, "1")
        act = github.jobs["1"][-1]
        if broken == "no run":
            whole = FullGitHub._artifacts
            monkeypatch.setattr(
                FullGitHub,
                "_artifacts",
                lambda self, runs, query: [{**each, "workflow_run": None} for each in whole(self, runs, query)],
            )
        elif broken == "no time":
            act["started_at"] = None
        elif broken == "a time without a zone":
            act["started_at"] = "2026-11-24T12:00:00"
        else:
            del act["name" if broken == "no name" else "status"]
        with pytest.raises(codes.GateRefused) as refused:
            history(github)
    assert refused.value.code == codes.GATE_API
