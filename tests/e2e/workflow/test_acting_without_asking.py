"""The job that acts without asking, run for real: what the policy decided alone happens, and nothing else (T23)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.harness.engine import Run, approve_as
from support.rendering import render_workflow
from support.runs import machines, promised
from support.world import WORKFLOW, World

APPROVE = approve_as("bob")
JOBS = ("investigate", "seal", "approve", "act", "act-auto", "record")


def results(run: Run) -> dict[str, str]:
    return {id: run.jobs[id].result for id in JOBS}


def document(run: Run, artifact: str, path: str) -> Any:
    """A JSON file of an artifact."""
    return json.loads(run.artifacts.named(artifact).files()[path])


def authorization(run: Run, suffix: str = "") -> dict[str, Any]:
    """What Verify found."""
    found = document(run, "action-authorization" + suffix, "authorization.json")
    return {name: found.get(name) for name in ("authorized", "approvers", "code", "message")}


@pytest.fixture
def automatic(world: World) -> World:
    """The same repository with the answer yes, a policy that asks nobody about `example`, and a reversible plan."""
    (world.origin / WORKFLOW).write_text(
        render_workflow("manual+alert+schedule", "issues", auto_approval="yes"), encoding="utf-8"
    )
    config = world.origin / ".github" / "agent-config.yml"
    config.write_text(config.read_text().replace("auto_approval: false", "auto_approval: true"))
    policy = next((world.origin / ".github" / "agent-policies").glob("*.yml"))
    text = policy.read_text().replace("max_risk: medium\n", "max_risk: medium\n    requires_approval: false\n")
    text += "auto_approve:\n  - {type: restart_service, resources: [example], max_risk: medium}\n"
    policy.write_text(text + "rate_limits:\n  - {type: restart_service, max: 1, per: 24h}\n")
    agent = world.origin / "agent_runner.py"
    agent.write_text(agent.read_text().replace("reversible=False", "reversible=True"))
    world.commit()
    world.github.protect("agent-auto")
    token = world.repository.environment_secrets["agent-act"]["AGENT_ACT_TOKEN"]
    world.repository.environment_secrets["agent-act"] = {"AGENT_ACT_TOKEN": "of the other environment"}
    world.repository.environment_secrets["agent-auto"] = {"AGENT_ACT_TOKEN": token}
    return world


@pytest.mark.threat("T23")
def test_what_the_policy_decides_alone_is_executed_and_recorded(automatic: World) -> None:
    world, before = automatic, automatic.instance()

    run = world.start(reviewer=APPROVE)

    assert results(run) == dict.fromkeys(JOBS, "success") | {"approve": "skipped", "act": "skipped"}, run.log
    assert run.clicks == [], "nobody was asked"
    assert machines(run) == promised("without asking")
    assert world.instance() != before, "the service was restarted"
    reported = run.jobs["seal"].outputs
    assert reported["decision"] == "auto"
    job = run.jobs["act-auto"]
    assert job.name == f"Act without asking on plan {reported['plan_digest'][:12]}: restart_service on example"
    assert (job.environment, job.concurrency) == ("agent-auto", "agent-act-example")
    result = document(run, "action-result-auto", "action-result.json")
    assert (result["status"], result["plan_digest"]) == ("success", reported["plan_digest"])
    assert authorization(run, "-auto") == {"authorized": True, "approvers": [], "code": None, "message": None}
    bundle = document(run, "audit-bundle", "bundle.json")
    assert (bundle["outcome"], bundle["problems"], bundle["approvers"]) == ("acted", [], [])
    assert sorted(run.artifacts.names()) == [
        "action-authorization-auto",
        "action-record",
        "action-result-auto",
        "audit-bundle",
        "audit-trace-id",
        "investigation",
        "investigation-report",
    ]

    # That used the limit up: the next is denied before anybody could be asked.
    world.fail(0.31)
    second = world.start(reviewer=APPROVE)
    assert second.jobs["seal"].outputs["decision"] == "denied", second.log
    reasons = document(second, "investigation-report", "investigation-report.json")["policy_reasons"]
    assert "1 of 1 in the last 24h, next possible at " in reasons[-1]


@pytest.mark.threat("T23")
def test_t23_a_plan_for_a_review_never_runs_without_one(automatic: World) -> None:
    """Somebody forges the decision of investigate: the sealed plan still says review."""
    world, before = automatic, automatic.instance()
    agent = world.origin / "agent_runner.py"
    agent.write_text(agent.read_text().replace("reversible=True", "reversible=False"))
    world.commit()

    def forge(run: Run) -> None:
        assert run.jobs["seal"].outputs["decision"] == "review"
        run.jobs["seal"].outputs["decision"] = "auto"

    run = world.start(reviewer=APPROVE, hooks={"approve": forge})

    assert results(run)["act-auto"] == "failure" and results(run)["act"] == "skipped"
    assert world.instance() == before
    refused = authorization(run, "-auto")
    assert (refused["authorized"], refused["code"]) == (False, "GATE05")
    assert "this job executes auto only" in refused["message"]
    assert document(run, "audit-bundle", "bundle.json")["outcome"] == "refused"


@pytest.mark.threat("T23")
def test_t23_a_plan_without_asking_never_runs_behind_the_gate(automatic: World) -> None:
    """The other way round: an approval that was collected for it gives it neither permissions nor secrets of act."""
    world, before = automatic, automatic.instance()

    def forge(run: Run) -> None:
        run.jobs["seal"].outputs["decision"] = "review"

    run = world.start(reviewer=APPROVE, hooks={"approve": forge})

    assert results(run)["approve"] == "success" and results(run)["act-auto"] == "skipped"
    assert results(run)["act"] == "failure"
    assert world.instance() == before
    refused = authorization(run)
    assert (refused["authorized"], refused["code"]) == (False, "GATE05")
    assert "this job executes review only" in refused["message"]


@pytest.mark.threat("T13")
def test_t13_its_environment_is_checked_like_the_others(automatic: World) -> None:
    """Before the agent is asked, and again by the job itself when it changed in between."""
    world, before = automatic, automatic.instance()

    run = world.start(hooks={"act-auto": lambda run: world.github.create_open("agent-auto")})
    assert authorization(run, "-auto")["code"] == "GATE06"
    run = world.start(hooks={"investigate": lambda run: world.github.environments.pop("agent-auto")})
    assert results(run)["seal"] == "failure" and results(run)["act-auto"] == "skipped"
    assert "environment agent-auto: " in run.jobs["seal"].log
    assert world.instance() == before


@pytest.mark.threat("T25")
def test_a_limit_that_is_reached_while_a_plan_waits_refuses_it(automatic: World) -> None:
    world, before = automatic, automatic.instance()

    def others_act(run: Run) -> None:
        moment = datetime.now(UTC) - timedelta(hours=2)
        world.github.add_artifact("1", "approval-receipt", moment)
        world.github.add_job("1", "Approve plan 0123456789ab: restart_service on example", started=moment)
        world.github.add_job("1", "Act", started=moment)

    run = world.start(hooks={"act-auto": others_act})

    refused = authorization(run, "-auto")
    assert (refused["authorized"], refused["code"]) == (False, "GATE13")
    assert "1 of 1 in the last 24h, next possible at " in refused["message"]
    assert world.instance() == before
