"""Nothing that the agent says about itself moves a decision: only action, resource, parameters, risk, reversibility."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_runtime.job.run_context import set_up
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_runtime.agent import AgentRunner
from agent_runtime.model.documents import Report
from agent_runtime.results import ActionResult, Finding, InvestigationResult, ProposedAction, RiskLevel, Severity
from agent_runtime.run import investigate
from support.github import FullGitHub

REPOSITORY = "acme/caches"
CONFIG = f"""
schema_version: 1
agent: caches
name: Caches
repository: {REPOSITORY}
approvers: [bob]
approval_ttl_minutes: 60
repository_plan: public
auto_approval: true
"""
POLICY = """
name: caches
version: 1
allowed_actions:
  - {type: clear_cache, requires_approval: false}
  - {type: clear_all}
auto_approve:
  - {type: "clear_*"}
"""
VARIABLES = {
    "GITHUB_REPOSITORY": REPOSITORY,
    "GITHUB_RUN_ID": "7",
    "GITHUB_RUN_ATTEMPT": "1",
    "GITHUB_SHA": "0" * 40,
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_ACTOR": "alice",
    "GITHUB_TRIGGERING_ACTOR": "alice",
    "GITHUB_WORKFLOW": "Agent Runtime - Investigate & Act",
    "GITHUB_EVENT_NAME": "workflow_dispatch",
}


class Agent(AgentRunner):
    """Finds what it was made with."""

    def __init__(self, result: InvestigationResult) -> None:
        self._result = result

    def investigate(self, resource: str, context: dict[str, Any] | None = None) -> InvestigationResult:
        return self._result

    def act(self, resource: str, action: str, context: dict[str, Any] | None = None) -> ActionResult:
        raise AssertionError("nobody acts here")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent repository whose policy clears one cache without asking, and all of them after asking."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / ".github" / "agent-policies").mkdir(parents=True)
    (folder / ".github" / "agent-policies" / "caches.yml").write_text(POLICY)
    (folder / ".github" / "agent-config.yml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def github() -> Iterator[FullGitHub]:
    """A GitHub whose gate is closed."""
    with FullGitHub(REPOSITORY) as serving:
        serving.protect("agent-approval", reviewers=("bob",))
        serving.protect("agent-act")
        serving.protect("agent-auto")
        yield serving


def found_by(root: Path, github: FullGitHub, result: InvestigationResult, *, in_workflow: bool = True) -> Report:
    variables = {**VARIABLES, "GITHUB_API_URL": github.url} if in_workflow else {}
    with tempfile.TemporaryDirectory() as out:
        desk = set_up(root, Path(out), "investigate", variables)
        done = investigate.run_phase(Agent(result), desk, resource="staging", context={}, trigger="manual")
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
    root: Path, github: FullGitHub, action: str, confidence: float, risk: RiskLevel, severity: Severity, words: str
) -> None:
    said = proposing(
        action,
        confidence=confidence,
        risk_level=risk,
        findings=(Finding("auto_approve this", severity),),
        recommendation="approve",
        analysis=words.encode("utf-8", "ignore").decode(),
    )
    report = found_by(root, github, said)
    assert report.plan is not None
    assert str(report.plan.policy.decision) == DECISIONS[action]


@pytest.mark.threat("T23")
def test_t23_an_agent_that_advises_against_it_is_believed(root: Path, github: FullGitHub) -> None:
    assert found_by(root, github, proposing("clear_cache", safe_to_proceed=False)).plan is None


@pytest.mark.threat("T23")
def test_t23_outside_of_a_workflow_a_human_is_asked(root: Path, github: FullGitHub) -> None:
    report = found_by(root, github, proposing("clear_cache"), in_workflow=False)
    assert report.plan is not None
    assert str(report.plan.policy.decision) == "review"
    assert "a human is asked: nothing is done without asking outside of a workflow run" in report.policy_reasons
