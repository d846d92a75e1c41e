"""The weekly report through the running workflow: real runs, their real bundles, and what a human must look at."""

from __future__ import annotations

import yaml

from support.environment import REPOSITORY
from support.harness.engine import Click, Run, approve_as
from support.world import World

REPORT = ".github/workflows/agent-report.yml"


def report(world: World) -> Run:
    return world.actions.schedule(REPORT)


def test_a_quiet_week_is_reported_and_ends_well(world: World) -> None:
    world.start(reviewer=approve_as("bob"))
    world.start(reviewer=lambda waiting: Click("bob", "rejected", "not now"))

    run = report(world)

    assert run.result == "success", run.log
    summary = run.jobs["report"].summary
    assert "Nothing needs a human's look." in summary
    assert "| acted | 1 |" in summary
    assert "| Decisions | " in summary and "| `bob` | 1 | 1 |" in summary
    assert "Hint: `bob approved 1 of 1 plans in less than 60 s: was each read?`" in summary
    assert "It is closed now." in summary


def test_what_needs_a_human_fails_the_run_so_that_github_shows_the_team(world: World) -> None:
    world.repository.environment_secrets["agent-act"]["AGENT_ACT_TOKEN"] = "another-token"
    failed = world.start(reviewer=approve_as("bob"))
    alone = world.start(reviewer=approve_as("bob"), inputs={"resource": "a b"})
    world.repository.variables["AGENT_DISABLED"] = "true"
    world.start()
    for artifact in alone.artifacts.every():
        alone.artifacts.delete(artifact.id)
    world.github.approvals[failed.id].clear()
    world.github.environments["agent-approval"]["can_admins_bypass"] = True

    run = report(world)

    assert run.result == "failure"
    log, summary = run.jobs["report"].log, run.jobs["report"].summary
    for concern in (
        "the environment agent-approval is not a gate now: administrators can bypass it",
        "the job act ran, and GitHub has no record of an approval",
        "the action failed: look at the resource",
        "it is over and left no audit-bundle",
        "a check before acting refused: find out what changed",
    ):
        assert concern in summary and concern in log, summary
    assert "**5** need a human's look." in summary
    assert f"[run {failed.id}](https://github.com/acme/checkout-restart/actions/runs/{failed.id})" in summary
    assert "| `GATE10` | 1 | `the kill switch is on` |" in summary
    assert "Traceback" not in run.log


def test_the_report_can_change_nothing_and_holds_no_secret() -> None:
    text = (REPOSITORY / "template" / REPORT).read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {}
    assert [job["permissions"] for job in workflow["jobs"].values()] == [{"contents": "read", "actions": "read"}]
    assert "secrets." not in text and "environment:" not in text
