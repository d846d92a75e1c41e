"""Approvals by policy, through the jobs behind environments: sealed, shown, asked for, counted and recorded."""

from __future__ import annotations

from typing import Any

import pytest

from agent_runtime import codes
from agent_runtime.gate import offline
from agent_runtime.gate.bundle import RunOutcome
from agent_runtime.gate.verification import Handover
from agent_runtime.model import documents, names
from agent_runtime.model.documents import Approvals
from support import examples, shapes
from support.gate_world import GateWorld, whole_run

RULES = {
    "named": "approvers: [Bob, carol]",
    "two": "approvals: 2",
    "two of three": "approvals: 2, approvers: [bob, carol, dave]",
}


@pytest.fixture
def asking(world: GateWorld, request: pytest.FixtureRequest) -> GateWorld:
    """The world with a policy that asks for these approvals."""
    write_policy(world, RULES[request.param])
    world.github.protect(names.SECOND_ENVIRONMENT, reviewers=("bob", "carol"))
    return world


def write_policy(world: GateWorld, *rules: str) -> None:
    lines = [f"  - {{type: restart_service, {rule}}}\n" for rule in rules]
    path = world.root / ".github" / "agent-policies" / "checkout-restart.yml"
    path.write_text("name: p\nversion: 1\nallowed_actions:\n" + "".join(lines))


def refusal(code: str, job: Any, *arguments: Any) -> str:
    with pytest.raises(codes.GateRefused) as caught:
        job(*arguments)
    assert caught.value.code == code, caught.value.line()
    return caught.value.message


named = pytest.mark.parametrize("asking", ["named"], indirect=True)
two = pytest.mark.parametrize("asking", ["two"], indirect=True)
two_of_three = pytest.mark.parametrize("asking", ["two of three"], indirect=True)


# One approval, by those whom the policy names.


@named
def test_who_may_approve_is_sealed_shown_and_counted(asking: GateWorld) -> None:
    sealed, handover = asking.sealed()
    assert sealed.approvals == Approvals(1, ("Bob", "carol"))
    page = asking.page("seal")
    assert "| Approve | 1 human among `Bob`, `carol`, not `alice` |" in page
    assert "A click by anybody else, `alice` included, does not count and ends the run" in page
    assert asking.outputs("seal")["approvals"] == "1"
    asking.approved("BOB")
    assert asking.approve(handover).approver.login == "BOB"
    assert [who.login for who in asking.authorize(handover).approvers] == ["BOB"]


@pytest.mark.threat("T15")
@named
def test_the_click_of_a_reviewer_who_is_not_named_ends_the_run(asking: GateWorld) -> None:
    _, handover = asking.sealed()
    asking.approved("dave")
    message = "dave approved, and the policy lets only Bob, carol approve"
    assert refusal(codes.GATE_APPROVAL, asking.approve, handover) == message
    assert "# Refused: nothing is executed on `checkout`" in asking.page("approve") and message in asking.page(
        "approve"
    )
    asking.approved("bob")  # the right one afterwards changes nothing
    assert refusal(codes.GATE_APPROVAL, asking.approve, handover) == message
    assert refusal(codes.GATE_APPROVAL, asking.authorize, handover) == message


@pytest.mark.threat("T8", "T11")
@named
def test_approve_reads_the_plan_that_was_sealed_and_no_other(asking: GateWorld) -> None:
    _, handover = asking.sealed()
    asking.approved("bob")
    other = Handover("f" * 64, handover.report_id, handover.report_digest)
    refusal(codes.GATE_DIGEST, asking.approve, other)
    refusal(codes.GATE_ARTIFACT, asking.approve, Handover(handover.plan_digest, handover.report_id, "f" * 64))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            ["approvers: [bob]", "approvers: [carol]"],
            "allowed_actions[0], allowed_actions[1]: 1 approval is needed, and the rules that ask for them all name "
            "nobody",
        ),
        (["approvers: [ALICE]"], "1 approval is needed, and the rules that ask for them all name ALICE, of whom alice"),
        (
            ["approvals: 2, approvers: [bob, Alice]"],
            "2 approvals are needed, and the rules that ask for them all name bob, Alice, of whom alice started",
        ),
        (
            ["approvals: 2, approvers: [bob, dave]", "approvers: [bob, carol]"],
            "2 approvals are needed, and the rules that ask for them all name bob",
        ),
    ],
)
def test_a_plan_that_too_few_can_approve_is_refused_at_sealing(
    world: GateWorld, rules: list[str], message: str
) -> None:
    write_policy(world, *rules)
    world.github.protect(names.SECOND_ENVIRONMENT, reviewers=("bob", "carol"))
    outcome = world.seal(world.hand_over(documents.encode(examples.investigation())))
    assert outcome.problem is not None and outcome.problem.code == codes.APPROVERS_IMPOSSIBLE
    assert message in outcome.problem.message
    assert outcome.report.plan is None and world.outputs("seal")["decision"] == "none"


@pytest.mark.threat("T15")
def test_two_approvals_that_one_reviewer_is_left_for_are_refused_before_the_first_click(world: GateWorld) -> None:
    write_policy(world, RULES["two"])
    world.github.protect(names.SECOND_ENVIRONMENT, reviewers=("bob", "alice"))
    outcome = world.seal(world.hand_over(documents.encode(examples.investigation())))
    assert outcome.problem is not None and outcome.problem.code == codes.APPROVERS_IMPOSSIBLE
    assert outcome.problem.message.endswith("may approve: agent-approval: bob; agent-approval-second: bob")
    assert "python agent_runner.py update --set approvers=LOGIN,LOGIN" in world.page("seal")
    assert world.outputs("seal")["decision"] == "none"


@pytest.mark.threat("T15", "T18")
def test_a_reviewer_who_lost_access_is_not_asked_and_does_not_count(world: GateWorld) -> None:
    """GitHub keeps who left in the environment's list of reviewers."""
    _, handover = world.sealed()
    world.approved("bob")
    world.github.people["bob"] = "none"
    assert "bob approved, and has no access" in refusal(codes.GATE_APPROVAL, world.authorize, handover)
    outcome = world.seal(world.hand_over(documents.encode(examples.investigation())))
    assert outcome.problem is not None and outcome.problem.code == codes.APPROVERS_IMPOSSIBLE
    assert outcome.problem.message.endswith("may approve: agent-approval: nobody")


def test_the_page_says_where_only_a_teams_members_decide_whether_enough_can_approve(world: GateWorld) -> None:
    write_policy(world, RULES["two"])
    world.github.protect(names.SECOND_ENVIRONMENT, reviewers=("bob",))
    for rule in world.github.environments[names.SECOND_ENVIRONMENT]["protection_rules"]:
        if rule["type"] == "required_reviewers":
            rule["reviewers"].append({"type": "Team", "reviewer": shapes.team("acme", "sre")})
    world.sealed()
    said = "not `alice`; **whether enough can is not known**: GitHub shows no job who is in `sre` |"
    assert said in world.page("seal")
    world.github.protect(names.SECOND_ENVIRONMENT, reviewers=("bob", "carol"))
    world.sealed()
    assert "not known**: GitHub shows no job" not in world.page("seal")


# Two approvals.


@two
def test_two_people_approve_one_after_the_other(asking: GateWorld) -> None:
    sealed, handover = asking.sealed()
    assert sealed.approvals == Approvals(2, ())
    assert asking.outputs("seal")["approvals"] == "2"
    page = asking.page("seal")
    assert "| Approve | 2 humans among the reviewers, not `alice` |" in page
    assert f"**Approve plan {handover.plan_digest[:12]} (2 of 2)** waits, in `agent-approval-second`" in page
    asking.approved("bob")
    asking.approve(handover)
    assert "# Approved by `bob`: one more approval is needed" in asking.page("approve")
    refusal(codes.GATE_APPROVAL, asking.approve, handover, 2)
    asking.approved("carol", number=2)
    assert asking.approve(handover, 2).approver.login == "carol"
    assert [who.login for who in asking.authorize(handover).approvers] == ["bob", "carol"]


@pytest.mark.threat("T15", "T18")
@pytest.mark.parametrize(
    ("clicks", "message"),
    [
        (["bob"], "approves in the environment agent-approval-second"),
        (["bob", "bob"], "bob approved twice"),
        (["bob", "BOB"], "BOB approved twice"),
        (["bob", "alice"], "alice approved a run that alice started"),
        (["bob", "erin"], "erin approved, and the policy lets only bob, carol, dave approve"),
        (["erin", "bob"], "erin approved, and the policy lets only"),
    ],
)
@two_of_three
def test_what_is_no_second_approval_is_refused(asking: GateWorld, clicks: list[str], message: str) -> None:
    _, handover = asking.sealed()
    for number, login in enumerate(clicks, 1):
        asking.approved(login, number=number)
    assert message in refusal(codes.GATE_APPROVAL, asking.approve, handover, 2)
    assert message in refusal(codes.GATE_APPROVAL, asking.authorize, handover)


@pytest.mark.threat("T13", "T18")
@two
def test_the_second_environment_must_be_a_gate_when_sealing_and_when_acting(asking: GateWorld) -> None:
    _, handover = asking.sealed()
    asking.approved("bob")
    asking.approved("carol", number=2)
    asking.github.create_open(names.SECOND_ENVIRONMENT)
    assert "environment agent-approval-second: " in refusal(codes.GATE_ENVIRONMENT, asking.authorize, handover)
    del asking.github.environments[names.SECOND_ENVIRONMENT]
    outcome = asking.seal(asking.hand_over(documents.encode(examples.investigation())))
    assert outcome.problem is not None and outcome.problem.code == codes.GATE_ENVIRONMENT
    assert "environment agent-approval-second: it does not exist" in outcome.problem.message


def test_one_approval_needs_no_second_environment(world: GateWorld) -> None:
    assert names.SECOND_ENVIRONMENT not in world.github.environments
    sealed, handover = world.sealed()
    world.approved()
    assert world.authorize(handover).authorized and sealed.approvals == Approvals(1, ())


@pytest.mark.threat("T17b", "T19")
@two
def test_the_second_approval_of_another_attempt_counts_for_nothing(asking: GateWorld) -> None:
    """Somebody re-runs nothing but the job whose click did not count."""
    _, handover = asking.sealed()
    asking.approved("bob")
    asking.approve(handover)
    asking.approved("bob", number=2)
    refusal(codes.GATE_APPROVAL, asking.approve, handover, 2)
    asking.changes["GITHUB_RUN_ATTEMPT"] = "2"
    asking.approved("carol", number=2)
    for job in (lambda: asking.approve(handover, 2), lambda: asking.authorize(handover)):
        assert "run_attempt is 2" in refusal(codes.GATE_RUN, job)


# The record.


@two
def test_the_record_keeps_both_receipts_and_names_both(asking: GateWorld) -> None:
    needs = whole_run(asking, examples.step(), second="carol")
    ending = asking.record(needs)
    assert (ending.outcome, ending.problems) == (RunOutcome.ACTED, ())
    manifest, problems = offline.verify(ending.folder)
    assert problems == []
    assert [each["login"] for each in manifest["approvers"]] == ["bob", "carol"]
    assert "| Approved by | `bob, carol` |" in ending.markdown
    for folder in ("approve", names.SECOND_JOB):
        assert (ending.folder / folder / names.RECEIPT_NAME).is_file()


@pytest.mark.threat("T36")
@two
def test_a_trail_without_the_second_receipt_is_not_whole(asking: GateWorld) -> None:
    needs = whole_run(asking, examples.step(), second="carol")
    needs[names.SECOND_JOB] = {"result": "skipped", "outputs": {}}
    ending = asking.record(needs)
    lines = [problem.message for problem in ending.problems]
    assert "1 approval receipts, the plan needs 2" in lines
    assert "receipts and authorization name different approvers" in lines
