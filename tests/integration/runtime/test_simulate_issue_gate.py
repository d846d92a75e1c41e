"""Whole simulated runs where an issue is the gate, through real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent_runtime import codes
from support.simulated import CONFIG, POLICY, Clone, clone, outcome_of

__all__ = ["clone"]


@pytest.fixture(autouse=True)
def issue_gate(clone: Clone) -> None:
    """The repository is a private one of GitHub Free."""
    text = CONFIG.replace("public", "private-free").replace("[bob]", "[carol, bob]") + "approval_gate: issue\n"
    clone.config.write_text(text)


def reported(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "bundle.json").read_text()))


@pytest.mark.parametrize("plan", ["private-free", "private-team"])
def test_a_comment_that_approves_executes_the_plan(clone: Clone, plan: str) -> None:
    clone.config.write_text(clone.config.read_text().replace("private-free", plan))
    code, said, folder = clone.simulate("--approve")
    assert code == 0, said
    assert clone.world == {"count": 2, "generation": 1, "token": "act-token"}
    assert outcome_of(folder) == "acted"
    approvers = reported(folder)["approvers"]
    assert isinstance(approvers, list) and [each["login"] for each in approvers] == ["carol"]
    asking = clone.root / "out" / "record-of-asking" / "agent-run" / "audit-bundle"
    assert outcome_of(asking) == "waiting"
    assert reported(asking)["trace_id"] == reported(folder)["trace_id"]


@pytest.mark.parametrize(
    ("scenario", "refusals", "outcome"),
    [
        ("--reject", [codes.PLAN_REJECTED], "rejected"),
        ("--expire", [codes.GATE_EXPIRED] * 2, "expired"),
        ("--tamper", [codes.ISSUE_EDITED] * 2, "refused"),
        ("--swap", [codes.GATE_ARTIFACT] * 2, "refused"),
        ("--other-run", [codes.GATE_ARTIFACT] * 2, "refused"),
        ("--self-approve", [codes.COMMENT_AUTHOR] * 2, "refused"),
        ("--bypass", [codes.COMMENT_AUTHOR] * 2, "refused"),
        ("--open-gate", [codes.ISSUE_GATE_IMPOSSIBLE], "refused"),
    ],
)
def test_what_was_not_exactly_approved_is_refused_by_approve_and_by_claim(
    clone: Clone, scenario: str, refusals: list[str], outcome: str
) -> None:
    code, said, folder = clone.simulate(scenario)
    assert code == (codes.EXIT_OK if scenario == "--reject" else codes.EXIT_REFUSED), said
    found = [line.split("error: ")[1].split(":")[0] for line in said.splitlines() if "| error: " in line]
    assert found == refusals, said
    assert "Traceback" not in said
    assert clone.world["count"] == 0
    assert reported(folder)["outcome"] == outcome
    because = ("carol", "not now") if scenario == "--reject" else (None, None)
    assert (reported(folder)["rejected_by"], reported(folder)["rejected_because"]) == because
    assert not (clone.root / "out" / "act").exists(), "nothing of the team's starts"


def test_a_second_execution_is_refused(clone: Clone) -> None:
    code, said, _ = clone.simulate("--execute-twice")
    assert code == codes.EXIT_REFUSED and codes.GATE_CLAIMED in said
    assert clone.world["count"] == 2


def test_a_team_can_not_approve_in_an_issue(clone: Clone) -> None:
    clone.config.write_text(clone.config.read_text().replace("[carol, bob]", "[acme/sre, bob]"))
    code, said, folder = clone.simulate("--approve")
    assert code == codes.EXIT_REFUSED
    assert f"{codes.ISSUE_GATE_IMPOSSIBLE}: acme/sre is not a single person" in said
    assert outcome_of(folder) == "refused"


class TestTwoApprovals:
    """A policy that asks for two of bob, carol and dave; bob, carol and erin are approvers of the repository."""

    @pytest.fixture(autouse=True)
    def policy(self, clone: Clone, issue_gate: None) -> None:
        clone.config.write_text(clone.config.read_text().replace("[carol, bob]", "[carol, bob, erin]"))
        path = clone.root / ".github" / "agent-policies" / "bumper.yml"
        path.write_text(POLICY + "    approvals: 2\n    approvers: [bob, carol, dave]\n")

    def test_two_people_comment_and_the_plan_is_executed(self, clone: Clone) -> None:
        code, said, folder = clone.simulate("--approve")
        assert (code, clone.world["count"], outcome_of(folder)) == (0, 2, "acted"), said
        approvers = reported(folder)["approvers"]
        assert isinstance(approvers, list) and [each["login"] for each in approvers] == ["bob", "carol"]
        assert {path.name for path in (folder / "approve").glob("*.json")} == {
            "approval-receipt.json",
            "first-approval-receipt.json",
        }
        first = clone.root / "out" / "record-of-first-approval" / "agent-run" / "audit-bundle"
        assert outcome_of(first) == "waiting"
        assert f"error: {codes.APPROVAL_MISSING}: bob approved, and one of the 2 approvals" in said

    @pytest.mark.parametrize(
        ("logins", "refusals"),
        [
            (["bob"], [codes.APPROVAL_MISSING] * 2),
            (["bob", "BOB"], [codes.APPROVAL_MISSING] * 3),
            (["bob", "initiator"], [codes.APPROVAL_MISSING, codes.COMMENT_AUTHOR, codes.COMMENT_AUTHOR]),
            (["erin", "bob"], [codes.COMMENT_AUTHOR, codes.APPROVAL_MISSING, codes.APPROVAL_MISSING]),
            (["bob", "erin"], [codes.APPROVAL_MISSING, codes.COMMENT_AUTHOR, codes.COMMENT_AUTHOR]),
            (["mallory", "bob"], [codes.COMMENT_AUTHOR, codes.APPROVAL_MISSING, codes.APPROVAL_MISSING]),
        ],
    )
    def test_otherwise_nothing_is_executed(self, clone: Clone, logins: list[str], refusals: list[str]) -> None:
        """By the job that reads the comment, and again by the one that claims the plan."""
        code, said, _ = clone.simulate(*(word for login in logins for word in ("--approve", login)))
        assert (code, clone.world["count"]) == (codes.EXIT_REFUSED, 0), said
        found = [line.split("error: ")[1].split(":")[0] for line in said.splitlines() if "| error: " in line]
        assert found == refusals, said

    def test_who_may_approve_must_be_able_to_comment(self, clone: Clone) -> None:
        clone.config.write_text(clone.config.read_text().replace("[carol, bob, erin]", "[carol, erin]"))
        code, said, _ = clone.simulate("--approve")
        assert code == codes.EXIT_REFUSED and clone.world["count"] == 0
        assert f"{codes.ISSUE_GATE_IMPOSSIBLE}: the policy wants 2 approvals by different people" in said
        assert "that leaves carol" in said
