"""Alerts through the running workflow: what they may send, and a storm of them that asks one question."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.harness.engine import Answer, Click, Run, approve_as
from support.runs import bundle, ended, results
from support.world import WORKFLOW, World, wait_for

APPROVE = approve_as("bob")
DUPLICATE = ended(approve="skipped", act="skipped")
ALERT = {"resource": "example", "alert_severity": "critical", "trace_id": "alert-9"}


def alert(world: World, payload: Any = None, **how: Any) -> Run:
    return world.actions.repository_dispatch(
        WORKFLOW, "alert-triggered", ALERT if payload is None else payload, actor="monitoring", **how
    )


# ------------------------------------------------------------------------------------------------- who may send them


@pytest.mark.threat("T15")
def test_an_app_sends_alerts_once_the_policy_names_it(world: World) -> None:
    """A person's token needs no entry; an app's does, and the refusal says which."""
    before = world.instance()
    how: dict[str, Any] = {"actor": "monitoring[bot]", "reviewer": APPROVE}

    refused = world.actions.repository_dispatch(WORKFLOW, "alert-triggered", ALERT, **how)

    assert results(refused) == ended(investigate="failure", seal="failure", approve="skipped", act="skipped")
    line = 'initiators: ["monitoring[bot]"]'
    assert line in refused.log and "GATE14" in refused.jobs["seal"].summary and refused.clicks == []
    policy = world.origin / ".github" / "agent-policies" / "checkout-restart.yml"
    policy.write_text(f"{policy.read_text(encoding='utf-8')}{line}\n", encoding="utf-8")
    world.commit("Let the monitoring start runs")

    run = world.actions.repository_dispatch(WORKFLOW, "alert-triggered", ALERT, **how)

    assert (bundle(run)["outcome"], bundle(run)["problems"]) == ("acted", []), run.log
    assert world.instance() != before


# ------------------------------------------------------------------------------------------------- what they may send


@pytest.mark.threat("T1")
@pytest.mark.parametrize(
    ("payload", "code", "where"),
    [
        ({"alert_severity": "critical"}, "INP010", "client_payload"),
        ({**ALERT, "labels": {"instance": "a\u0000b"}}, "INP010", "client_payload.labels.instance"),
        ({**ALERT, "text": ["x" * 8000] * 20}, "INP010", "client_payload"),
    ],
    ids=["no resource", "a control character", "more than 64 KiB"],
)
def test_a_refused_payload_says_in_the_summary_what_is_wrong_and_asks_nobody(
    world: World, payload: dict[str, Any], code: str, where: str
) -> None:
    # An alert without a resource must not fall on what the schedule looks at.
    world.repository.variables["TARGET_RESOURCE"] = "example"

    run = alert(world, payload, reviewer=APPROVE)

    assert results(run) == ended(investigate="failure", seal="failure", approve="skipped", act="skipped")
    assert run.clicks == []
    summary = run.jobs["seal"].summary
    assert summary.startswith("# Refused: nothing was investigated\n")
    assert f"**{code}: " in summary and where in summary and "What to do: " in summary
    assert "Traceback" not in run.log
    assert bundle(run)["outcome"] == "investigation_failed"


def test_what_an_alert_sends_reaches_the_agent_whole(world: World) -> None:
    """Also what would not fit into an environment variable once GitHub has indented it."""
    numbers = {f"n{row}": [[[0] * 100] * 20] for row in range(7)}

    run = alert(world, {**ALERT, **numbers}, reviewer=APPROVE)

    assert results(run)["act"] == "success", run.log
    assert '"n6"' in run.artifacts.named("investigation-report").files()["investigation-report.json"].decode()


# ------------------------------------------------------------------------------------------------------------- storms


@pytest.mark.threat("T25")
def test_five_alerts_about_the_same_ask_once(world: World) -> None:
    later: list[Run] = []

    def bob(waiting: Any) -> Answer:
        later.extend(alert(world, reviewer=APPROVE) for _ in range(4))
        return Click("bob")

    first = alert(world, reviewer=bob)

    assert results(first) == ended(), first.log
    for run in later:
        assert results(run) == DUPLICATE, run.log
        assert run.clicks == []
        assert (bundle(run)["outcome"], bundle(run)["problems"]) == ("duplicate", [])
        summary = run.jobs["seal"].summary
        assert f"run {first.id} asks already" in summary.splitlines()[0]
        assert f"(https://github.com/acme/checkout-restart/actions/runs/{first.id})" in summary
    assert len(later) == 4


@pytest.mark.threat("T24")
def test_actions_on_one_resource_queue_and_none_is_dropped(world: World) -> None:
    """Another action runs on the resource while three alerts are approved: each gets its turn, and one still fits."""
    before = world.instance()
    with ThreadPoolExecutor(3) as pool:
        with world.actions.groups.turn("agent-act-example", {}):
            payloads = [{**ALERT, "trace_id": f"alert-{number}"} for number in range(3)]
            started = [pool.submit(alert, world, payload, reviewer=APPROVE) for payload in payloads]
            wait_for("the approvals", lambda: world.actions.groups.arrived("agent-act-example") == 4)
            assert world.instance() == before
        runs = [run.result(60) for run in started]

    assert sorted(results(run)["act"] for run in runs) == ["failure", "failure", "success"], [run.log for run in runs]
    assert sorted(bundle(run)["outcome"] for run in runs) == ["acted", "refused", "refused"]
    assert [bundle(run)["problems"] for run in runs] == [[], [], []]
    for run in runs:
        assert bundle(run)["outcome"] == "acted" or "GATE08" in run.jobs["act"].log
    assert world.instance() != before


def during(world: World, payload: Any = None, change: Any = None, **how: Any) -> tuple[Run, Run]:
    """A first alert that waits, and what comes while it does."""
    second: list[Run] = []

    def bob(waiting: Any) -> Answer:
        if change is not None:
            change()
        second.append(alert(world, payload, reviewer=lambda waiting: Click("bob", "rejected")))
        return Click("bob", "rejected")

    return alert(world, reviewer=bob, **how), second[0]


def test_what_is_not_the_same_alert_or_is_no_longer_open_asks_for_itself(world: World) -> None:
    """One run waits; each of those that come meanwhile has a reason not to be a duplicate of it."""
    asked: list[tuple[str, Run]] = []

    def no(waiting: Any) -> Answer:
        return Click("bob", "rejected")

    def bob(waiting: Any) -> Answer:
        (first,) = world.github.runs
        asked.append(("another alert", alert(world, {**ALERT, "trace_id": "alert-10"}, reviewer=no)))
        by_hand = {"trace_id": "alert-9", "trigger_source": "alert", "ask_again": "true"}
        asked.append(("a person", world.start(inputs=by_hand, reviewer=no)))
        begun = first["created_at"]
        first["created_at"] = "2020-01-01T00:00:00Z"
        asked.append(("half of the plan's time is over", alert(world, reviewer=no)))
        first["created_at"] = begun
        world.github.jobs[str(first["id"])].clear()
        asked.append(("GitHub does not say where it stands", alert(world, reviewer=no)))
        return Click("bob", "rejected")

    alert(world, reviewer=bob)

    assert [name for name, run in asked if len(run.clicks) != 1] == []
    assert len(asked) == 4


def test_after_the_decision_an_alert_with_the_same_fingerprint_asks_again(world: World) -> None:
    payload = {"resource": "example", "fingerprint": "1a30ba71cca2921f"}
    first, again = (alert(world, payload, reviewer=lambda waiting: Click("bob", "rejected")) for _ in range(2))

    assert first.jobs["seal"].outputs["trace_id"] == "1a30ba71cca2921f"
    assert world.github.runs[0]["display_title"] == "example [1a30ba71cca2921f]"
    assert len(again.clicks) == 1


@pytest.mark.threat("T25")
def test_a_plan_that_waits_is_not_asked_for_again_unless_somebody_wants_it(world: World) -> None:
    """Four starts by hand were four questions: the same action on the same resource waits once."""
    world.repository.variables["TARGET_RESOURCE"] = "example"
    meanwhile: dict[str, Run] = {}
    before = world.instance()

    def no(waiting: Any) -> Answer:
        return Click("bob", "rejected")

    def bob(waiting: Any) -> Answer:
        meanwhile["again"] = world.start(reviewer=APPROVE)
        meanwhile["scheduled"] = world.actions.schedule(WORKFLOW, reviewer=APPROVE)
        meanwhile["wanted"] = world.start(inputs={"ask_again": "true"}, reviewer=no)
        meanwhile["dry"] = world.start(inputs={"dry_run": "true"}, reviewer=no)
        return Click("bob", "rejected")

    first = world.start(reviewer=bob)

    for name in ("again", "scheduled"):
        run = meanwhile[name]
        assert results(run) == DUPLICATE and run.clicks == [], run.log
        assert (bundle(run)["outcome"], bundle(run)["problems"]) == ("duplicate", [])
        summary = run.jobs["seal"].summary
        assert f"run {first.id} asks already" in summary.splitlines()[0] and "start a run with `ask_again`" in summary
    for name in ("wanted", "dry"):
        answers = [getattr(answer, "state", None) for answer, _ in meanwhile[name].clicks]
        assert answers == ["rejected"], meanwhile[name].log
    assert world.instance() == before

    # A dry run holds nobody back.
    asked: list[Run] = []

    def wait(waiting: Any) -> Answer:
        asked.append(world.start(reviewer=no))
        return Click("bob", "rejected")

    world.start(inputs={"dry_run": "true"}, reviewer=wait)
    assert [len(run.clicks) for run in asked] == [1], asked[0].log
