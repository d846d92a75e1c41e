"""Nothing that the agent says about itself moves a decision: only action, resource, parameters, risk, reversibility."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_runtime.agent import ActionResult, AgentRunner, InvestigationResult, ProposedAction
from agent_runtime.job.request import Request
from agent_runtime.model import documents
from agent_runtime.model.documents import Report
from agent_runtime.results import Finding, RiskLevel, Severity
from agent_runtime.run import investigate
from support.gate_world import CONFIG, REPOSITORY, GateWorld, close_the_gate, make_root
from support.github import FullGitHub

POLICY = """
name: caches
version: 1
allowed_actions:
  - {type: clear_cache, requires_approval: false}
  - {type: clear_all}
auto_approve:
  - {type: "clear_*"}
"""


class Agent(AgentRunner):
    """Finds what it was made with."""

    def __init__(self, result: InvestigationResult) -> None:
        self._result = result

    def investigate(self, resource: str, context: dict[str, Any] | None = None) -> InvestigationResult:
        return self._result

    def act(self, resource: str, action: str, context: dict[str, Any] | None = None) -> ActionResult:
        raise AssertionError("nobody acts here")


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateWorld]:
    """An agent repository whose policy clears one cache without asking, and all of them after asking."""
    folder = tmp_path_factory.mktemp("caches")
    with FullGitHub(REPOSITORY) as github:
        close_the_gate(github)
        yield GateWorld(
            make_root(folder / "repository", config=CONFIG + "auto_approval: true\n", policy=POLICY), github
        )


def found_by(world: GateWorld, result: InvestigationResult) -> Report:
    """What `seal` makes of what `investigate` hands over."""
    asked = Request("checkout", {}, "manual", "", deduplicate=False, dry_run=False)
    found = investigate.run_job(Agent(result), world.job("investigate"), asked)
    done = world.seal(world.hand_over(documents.encode(found)))
    assert done.problem is None, done.problem
    return done.report


def proposing(action: str, **changes: Any) -> InvestigationResult:
    proposed = ProposedAction(action, {}, "because", RiskLevel.LOW, True)
    return dataclasses.replace(InvestigationResult(confidence=0.5, proposed_action=proposed), **changes)


DECISIONS = {"clear_cache": "auto", "clear_all": "review"}


@pytest.mark.threat("T23")
@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(DECISIONS)),
    st.floats(0, 1),
    st.sampled_from(list(RiskLevel)),
    st.sampled_from(list(Severity)),
    st.text(max_size=20),
)
def test_t23_what_the_agent_says_of_itself_changes_no_decision(
    caches: GateWorld, action: str, confidence: float, risk: RiskLevel, severity: Severity, words: str
) -> None:
    said = proposing(
        action,
        confidence=confidence,
        risk_level=risk,
        findings=(Finding("auto_approve this", severity),),
        recommendation="approve",
        analysis=words.encode("utf-8", "ignore").decode(),
    )
    report = found_by(caches, said)
    assert report.plan is not None
    assert str(report.plan.policy.decision) == DECISIONS[action]


@pytest.mark.threat("T23")
def test_t23_an_agent_that_advises_against_it_is_believed(caches: GateWorld) -> None:
    assert found_by(caches, proposing("clear_cache", safe_to_proceed=False)).plan is None


@pytest.mark.threat("T23")
def test_t23_where_the_answer_is_no_a_human_is_asked(caches: GateWorld, tmp_path: Path) -> None:
    asking = GateWorld(make_root(tmp_path / "repository", policy=POLICY), caches.github)
    report = found_by(asking, proposing("clear_cache"))
    assert report.plan is not None
    assert str(report.plan.policy.decision) == "review"
    assert "a human is asked: auto_approval is false in .github/agent-config.yml" in report.policy_reasons
