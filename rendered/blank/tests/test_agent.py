"""What the agent proposes and does, and that its policy lets a reviewer decide on it.  Change it with the agent."""

from __future__ import annotations

from pathlib import Path

import pytest

import agent_runner
from agent_runner import BlankAgent
from agent_runtime import ActionStatus
from agent_runtime.testing import evaluate, parse_policy

POLICIES = Path(agent_runner.__file__).resolve().parent / ".github" / "agent-policies"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_writes_what_was_approved_and_then_has_nothing_to_do() -> None:
    agent = BlankAgent()
    before = agent.observe("example")
    proposed = agent.investigate("example").proposed_action
    assert proposed is not None
    result = agent.act("example", proposed.action, proposed.parameters)
    assert result.status is ActionStatus.SUCCESS
    assert agent_runner.NOTES.read_text(encoding="utf-8") == "looked at example\n"
    assert agent.investigate("example").proposed_action is None
    assert agent.observe("example") != before


def test_other_actions_are_not_done() -> None:
    assert BlankAgent().act("example", "delete_note", {"line": "x"}).status is ActionStatus.FAILED
    assert not agent_runner.NOTES.exists()


def test_the_policy_lets_a_reviewer_decide_on_what_the_agent_proposes() -> None:
    (file,) = POLICIES.glob("*.yml")
    policy = parse_policy(file.read_bytes(), file.name)
    proposed = BlankAgent().investigate("example").proposed_action
    assert proposed is not None
    verdict = evaluate(
        policy,
        action=proposed.action,
        resource="example",
        parameters=proposed.parameters,
        risk_level=proposed.risk_level,
    )
    assert verdict.decision == "review"
