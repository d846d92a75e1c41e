"""Two approvals behind environments, in the generated workflow: two people click, or nothing is executed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.harness.engine import Answer, Bypass, Cancel, Click, Nobody
from support.runs import approvers, bundle, document, ended, machines, promised, results
from support.world import World, ask_for_two_approvals

SECOND = "agent-approval-second"
BOTH = ended(**{"approve-second": "success"})


@pytest.fixture
def world(world: World) -> World:
    """A policy that wants two of bob, carol and dave, and both environments."""
    ask_for_two_approvals(world.origin)
    world.commit("Ask for two approvals")
    world.github.protect("agent-approval", reviewers=("alice", "bob", "mallory"))
    world.github.protect(SECOND, reviewers=("alice", "bob", "BOB", "carol", "Carol", "mallory"))
    return world


def answers(*given: Answer) -> tuple[Callable[[Any], Answer], list[Any]]:
    """A reviewer who gives these answers in their order, and what was waiting each time."""
    seen: list[Any] = []

    def reviewer(waiting: Any) -> Answer:
        seen.append(waiting)
        return given[len(seen) - 1]

    return reviewer, seen


@pytest.mark.threat("T15")
def test_two_people_approve_and_the_plan_is_executed(world: World) -> None:
    before = world.instance()
    reviewer, seen = answers(Click("bob"), Click("Carol", comment="go"))

    run = world.start(reviewer=reviewer)

    assert results(run) == BOTH, run.log
    assert machines(run) == promised("approved by two")
    assert world.instance() != before
    short = run.jobs["seal"].outputs["plan_digest"][:12]
    assert [(each.environment, each.job) for each in seen] == [
        ("agent-approval", f"Approve plan {short}: restart_service on example"),
        (SECOND, f"Approve plan {short} (2 of 2): restart_service on example"),
    ]
    assert "# Approved by `bob`: one more approval is needed" in seen[1].summary
    assert approvers(run) == ["bob", "Carol"]
    kept = bundle(run)
    assert (kept["outcome"], kept["problems"]) == ("acted", [])
    assert [each["login"] for each in kept["approvers"]] == ["bob", "Carol"]
    second = document(run, "audit-bundle", "approve-second/approval-receipt.json")
    assert (second["approver"]["login"], second["comment"]) == ("Carol", "go")


@pytest.mark.threat("T15", "T18")
@pytest.mark.parametrize(
    ("second", "message"),
    [
        pytest.param(Click("bob"), "bob approved twice", id="the same human twice"),
        pytest.param(Click("BOB"), "BOB approved twice", id="the same human in capitals"),
        pytest.param(Click("mallory"), "mallory approved, and the policy lets only bob, carol, dave", id="a outsider"),
        pytest.param(Click("carol", kind="Bot"), "is a Bot, not a human", id="a bot"),
        pytest.param(Bypass(), "approves in the environment agent-approval-second", id="an administrator's bypass"),
    ],
)
def test_a_second_click_that_does_not_count_ends_the_run(world: World, second: Answer, message: str) -> None:
    before = world.instance()

    def open_up(_run: Any) -> None:
        world.github.environments[SECOND]["can_admins_bypass"] = True

    run = world.start(reviewer=answers(Click("bob"), second)[0], hooks={"approve-second": open_up})

    assert results(run) == ended(**{"approve-second": "failure"}, act="skipped"), run.log
    assert message in run.jobs["approve-second"].log and "GATE07" in run.jobs["approve-second"].log
    assert world.instance() == before
    assert bundle(run)["outcome"] == "approval_failed"


@pytest.mark.threat("T15")
def test_who_started_the_run_gives_no_second_approval(world: World) -> None:
    before = world.instance()

    def allow_self_review(_run: Any) -> None:
        for rule in world.github.environments[SECOND]["protection_rules"]:
            rule.update({key: False for key in ("prevent_self_review",) if key in rule})

    run = world.start(reviewer=answers(Click("bob"), Click("alice"))[0], hooks={"approve-second": allow_self_review})
    assert "alice approved a run that alice started" in run.jobs["approve-second"].log
    assert results(run)["act"] == "skipped" and world.instance() == before


@pytest.mark.threat("T15")
def test_a_first_click_that_does_not_count_asks_nobody_else(world: World) -> None:
    before = world.instance()
    reviewer, seen = answers(Click("mallory"))
    run = world.start(reviewer=reviewer)
    assert results(run) == ended(approve="failure", act="skipped"), run.log
    assert len(seen) == 1 and world.instance() == before


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        pytest.param(Click("carol", "rejected", "not now"), "rejected", id="rejected"),
        pytest.param(Nobody(), "approval_failed", id="nobody"),
        pytest.param(Cancel(), "cancelled", id="cancelled"),
    ],
)
def test_one_approval_of_two_executes_nothing(world: World, second: Answer, outcome: str) -> None:
    before = world.instance()
    run = world.start(reviewer=answers(Click("bob"), second)[0])
    assert results(run)["act"] == "skipped" and world.instance() == before
    kept = bundle(run)
    assert (kept["outcome"], kept["problems"]) == (outcome, [])


@pytest.mark.threat("T13")
def test_without_its_second_environment_nobody_is_asked(world: World) -> None:
    """GitHub would create it open: the plan is refused before the first click."""
    del world.github.environments[SECOND]
    run = world.start(reviewer=answers()[0])
    assert results(run) == ended(seal="failure", approve="skipped", act="skipped"), run.log
    assert "environment agent-approval-second: it does not exist" in run.jobs["seal"].log
    assert SECOND not in world.github.environments


@pytest.mark.threat("T13")
def test_a_second_environment_that_vanishes_after_sealing_opens_nothing(world: World) -> None:
    before = world.instance()
    gone = {"approve-second": lambda run: world.github.environments.pop(SECOND)}
    reviewer, seen = answers(Click("bob"))
    run = world.start(reviewer=reviewer, hooks=gone)
    assert len(seen) == 1, "GitHub made it anew, and asked nobody"
    assert "GATE07" in run.jobs["approve-second"].log
    assert results(run)["act"] == "skipped" and world.instance() == before
