"""What a policy, an agent or a team of people can get wrong about approvals and steps: one line, a code, a refusal."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from agent_runtime import codes
from agent_runtime.local import check
from agent_runtime.local.codes import APPROVER_UNUSABLE
from agent_runtime.model import documents, names
from support import examples, settings_world
from support.gate_world import CONFIG, GateWorld

POLICY = ".github/agent-policies/checkout-restart.yml"
RULE = "name: p\nversion: 1\nallowed_actions:\n  - {type: restart_service, %s}\n"


def found(root: Path, code: str) -> list[str]:
    """The lines of `check` with a code."""
    return [problem.line() for problem in check.check(root) if problem.code == code]


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("approvals: 0", "allowed_actions[0].approvals is 0: write a whole number, 1 to 2"),
        ("approvals: 3", "allowed_actions[0].approvals is 3: write a whole number, 1 to 2"),
        ("approvals: 2, approvers: [bob]", "allowed_actions[0].approvers names 1 for 2 approvals"),
        ("approvers: [acme/sre]", "approvers[0] is 'acme/sre': write the login of one person"),
        ("approvers: ['bob smith']", "approvers[0] is 'bob smith': write the login of one person"),
        ("approvers: []", "allowed_actions[0].approvers names 0 for 1 approvals"),
        ("approvals: 2, approvers: [bob, BOB]", "approvers[1] is 'BOB', who is named already"),
    ],
)
def test_a_demand_that_makes_no_sense_is_one_line_in_check_and_refused_by_seal(
    world: GateWorld, rule: str, what: str
) -> None:
    (world.root / POLICY).write_text(RULE % rule)
    (line,) = found(world.root, codes.POLICY_INVALID)
    assert line.startswith(f"POL002: {POLICY}: line 4") or line.startswith(f"POL002: {POLICY} line 4: ")
    assert what in line and "\n" not in line
    problem = world.seal(world.hand_over(documents.encode(examples.investigation()))).problem
    assert problem is not None and problem.code == codes.POLICY_INVALID and what in problem.line()
    assert world.outputs("seal")["decision"] == "none"


def test_two_approvals_where_one_person_is_asked_is_one_line_in_check(world: GateWorld) -> None:
    (world.root / POLICY).write_text(RULE % "approvals: 2")
    (line,) = found(world.root, codes.APPROVERS_IMPOSSIBLE)
    assert line.startswith(f"GATE15: {POLICY}: a rule asks for 2 approvals, and approvers of ")
    config = world.root / ".github" / "agent-config.yml"
    for enough in ("[bob, carol]", "[acme/sre]"):
        config.write_text(CONFIG.replace("[bob]", enough))
        assert found(world.root, codes.APPROVERS_IMPOSSIBLE) == []


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        ((examples.step(), examples.step(action="drain"), examples.step()), "step 3 is step 1 again: restart_service"),
        (tuple(examples.step(action=f"drain-{n}") for n in range(1000)), "1000 steps are proposed; a plan has at most"),
        (
            (examples.step(changes=("owner",)), examples.step(action="drain")),
            "step 1 changes 'owner', which observe() does not return",
        ),
        (
            (
                examples.step(action="scale", parameters={"to": 4}, changes=("started",)),
                examples.step(action="scale", parameters={"to": 2}, changes=("started",)),
            ),
            "step 2 overrides step 1: both are scale and change 'started', and no step between them",
        ),
        (
            (
                examples.step(action="start", parameters={"started": 18}, changes=("started",)),
                examples.step(action="drain", parameters={"started": 19}),
            ),
            "step 2 needs started to be 19, and step 1 changes it to 18",
        ),
        (
            (
                examples.step(action="start", parameters={}, changes=("started",)),
                examples.step(action="drain", parameters={"started": 17}),
            ),
            "step 2 needs started to be 17, and step 1 changes it",
        ),
    ],
    ids=["the same twice", "a thousand", "what nobody observes", "overrides", "another value", "the value before"],
)
def test_steps_that_are_no_plan_are_refused_by_seal_with_their_number(
    world: GateWorld, steps: tuple[documents.Step, ...], what: str
) -> None:
    problem = world.seal(world.hand_over(documents.encode(examples.investigation(*steps)))).problem
    assert problem is not None and problem.code == codes.PLAN_STEPS and what in problem.line()
    assert world.outputs("seal")["decision"] == "none"


@pytest.mark.parametrize(
    ("proposed", "line"),
    [
        ("()", "INP009: agent_runner.py:4: proposed_actions is empty: leave it out when there is nothing to do."),
        (
            "[ProposedAction('a', {'n': N}), ProposedAction(A, {'n': 1.0})]",
            "RPT008: agent_runner.py:4: step 2 is step 1",
        ),
        (
            f"({', '.join(f'ProposedAction({name!r})' for name in map(str, range(1000)))})",
            "RPT008: agent_runner.py:4: 1000 steps are proposed; a plan has at most 10.",
        ),
        (
            "(ProposedAction('s', {'to': 4}, changes=('n',)), ProposedAction('s', {'to': 2}, changes=['n']))",
            "RPT008: agent_runner.py:4: step 2 overrides step 1: both are s and change 'n'",
        ),
        (
            "(ProposedAction('s', parameters={'n': N}, changes=('n',)), ProposedAction('t', {'n': 2}))",
            "RPT008: agent_runner.py:4: step 2 needs n to be 2, and step 1 changes it to 1.",
        ),
        ("(ProposedAction('a', {'n': x}), ProposedAction('a', {'n': x}))", ""),
        ("(*x, ProposedAction('a', **x))", ""),
        ("(ProposedAction('a', changes=('n',)), ProposedAction('b', {'n': 17}))", ""),
    ],
)
def test_steps_that_stand_in_the_code_are_one_line_in_check(world: GateWorld, proposed: str, line: str) -> None:
    code = "A = 'a'\nN = 1\ndef investigate(self, x):\n    return InvestigationResult(proposed_actions=%s)\n"
    (world.root / "agent_runner.py").write_text(code % proposed)
    said = [each.line() for each in check.check(world.root) if each.path.startswith("agent_runner.py")]
    assert [each.startswith(line) for each in said] == ([True] if line else []), said


def test_an_empty_list_of_steps_asks_nobody(world: GateWorld) -> None:
    nothing = dataclasses.replace(examples.investigation(), steps=())
    outcome = world.seal(world.hand_over(documents.encode(nothing)))
    assert (outcome.problem, outcome.report.plan) == (None, None)
    assert world.outputs("seal")["decision"] == "none"


@pytest.mark.threat("T15")
def test_the_same_human_in_other_case_is_one_human(world: GateWorld) -> None:
    (world.root / POLICY).write_text(RULE % "approvals: 2")
    world.github.protect(names.SECOND_ENVIRONMENT, reviewers=("bob", "carol"))
    _, handover = world.sealed()
    world.approved("bob")
    world.approve(handover)
    world.approved("BOB", number=2)
    for job in (lambda: world.approve(handover, 2), lambda: world.authorize(handover)):
        with pytest.raises(codes.GateRefused, match="BOB approved twice") as refused:
            job()
        assert refused.value.code == codes.GATE_APPROVAL


@pytest.mark.threat("T15")
def test_who_lost_access_between_click_and_act_does_not_count(world: GateWorld) -> None:
    _, handover = world.sealed()
    world.approved("bob")
    world.approve(handover)
    world.github.people["bob"] = "none"
    with pytest.raises(codes.GateRefused, match="bob approved, and has no access") as refused:
        world.authorize(handover)
    assert "Start a new one; who approves must be somebody whom its page names" in refused.value.line()


def test_a_team_that_lost_its_members_is_refused_by_setup_and_named_by_doctor(tmp_path: Path) -> None:
    with settings_world.fresh() as github:
        clone = settings_world.Clone(settings_world.render(tmp_path), github)
        clone.setup()
        github.members = 0
        with pytest.raises(codes.BadInput, match="has no members, so nobody can approve") as refused:
            clone.setup()
        assert refused.value.code == APPROVER_UNUSABLE
        assert any("has no members" in problem for problem in clone.doctor()["approvers"])
