"""Verify makes every check in the declared order, stops at the first that refuses, and its journal says both."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from agent_runtime import codes
from agent_runtime.gate import environment, gates, verification
from agent_runtime.gate.verification import Check, Handover
from agent_runtime.local.simulate.run import pack, tampered
from agent_runtime.model import documents, names, plan
from support import examples
from support.gate_world import CONFIG, POLICY, GateWorld

ORDER = [check.code for check in environment.CHECKS]
AUTO_CONFIG = CONFIG + "auto_approval: true\n"


def checked(world: GateWorld, job: str = "act") -> list[tuple[str, str]]:
    """The checks that the journal has, with what came of each."""
    return [(event["check"], event["status"]) for event in world.events(job) if event["step"] == "gate_check"]


def ready(world: GateWorld, *steps: documents.Step) -> Handover:
    """A sealed plan that bob approved."""
    handover = world.sealed(*steps)[1]
    world.approved()
    return handover


def test_an_approved_plan_is_authorized_and_left_for_the_steps_that_follow(world: GateWorld) -> None:
    handover = ready(world, examples.step(), examples.step(action="warm_cache"))
    found = world.authorize(handover)
    assert found.authorized and found.code is None
    assert [approver.login for approver in found.approvers] == ["bob"]
    assert checked(world) == [(code, "success") for code in ORDER]
    out = world.folder("act") / names.DEFAULT_OUT
    left = documents.decode(documents.Plan, (out / names.PLAN_NAME).read_bytes(), "plan.json")
    assert plan.digest(left) == handover.plan_digest
    assert plan.canonical(left) == (out / names.PLAN_NAME).read_bytes()
    assert documents.decode(documents.Authorization, (out / names.AUTHORIZATION_NAME).read_bytes(), "a") == found
    (authorized,) = [event for event in world.events("act") if event["step"] == "authorized"]
    assert authorized["plan_digest"] == handover.plan_digest
    assert world.outputs("act") == {"verify_head": world.outputs("act")["verify_head"]}
    assert len(world.outputs("act")["verify_head"]) == 64
    assert world.page("act").startswith("# Authorized: ")


def moved(name: str, value: str) -> Callable[[GateWorld, Handover], Handover]:
    def attack(world: GateWorld, handover: Handover) -> Handover:
        world.changes[name] = value
        return handover

    return attack


def answered(login: str, state: str) -> Callable[[GateWorld, Handover], Handover]:
    def attack(world: GateWorld, handover: Handover) -> Handover:
        world.approved(login, state)
        return handover

    return attack


def swapped(world: GateWorld, handover: Handover) -> Handover:
    number = int(handover.report_id)
    run_id, name, data = world.github.archives[number]
    world.github.archives[number] = (run_id, name, tampered(data))
    return handover


def resealed(world: GateWorld, handover: Handover, change: Callable[[dict[str, Any]], None]) -> Handover:
    """Somebody uploads another report, and every digest with it: only the checks behind those of digests are left."""
    document = documents.plain(world_report(world))
    change(document)
    document["plan"] = json.loads(json.dumps(document["plan"]))
    data = json.dumps(document).encode()
    id, digest = world.upload(names.REPORT_ARTIFACT, {names.REPORT_NAME: data})
    return Handover(plan.digest(document["plan"]), id, digest)


def world_report(world: GateWorld) -> documents.Report:
    data = (world.folder("seal") / names.DEFAULT_OUT / names.REPORT_NAME).read_bytes()
    return documents.decode(documents.Report, data, "report")


def expired(document: dict[str, Any]) -> None:
    document["plan"].update(issued_at="2026-01-01T00:00:00Z", expires_at="2026-01-01T01:00:00Z")


def begun_by(app: str) -> Callable[[GateWorld, Handover], Handover]:
    def attack(world: GateWorld, handover: Handover) -> Handover:
        world.changes.update(GITHUB_ACTOR=app, GITHUB_TRIGGERING_ACTOR=app)

        def change(document: dict[str, Any]) -> None:
            for run in (document["run"], document["plan"]["run"]):
                run.update(actor=app, triggering_actor=app)

        return resealed(world, handover, change)

    return attack


def another_policy(world: GateWorld, handover: Handover) -> Handover:
    (world.root / ".github" / "agent-policies" / "checkout-restart.yml").write_text(POLICY + "# edited\n")
    return handover


def busy(world: GateWorld, handover: Handover) -> Handover:
    policy = world.root / ".github" / "agent-policies" / "checkout-restart.yml"
    policy.write_text(POLICY + "rate_limits:\n  - {type: restart_service, max: 1, per: 24h}\n")
    stamp = documents.plain(world.sealed()[0].policy)
    world.github.add_artifact("17", names.RECEIPT_ARTIFACT)
    world.github.add_job("17", "Approve plan 0123456789ab: restart_service on checkout")
    world.github.add_job("17", "Act")
    return resealed(world, handover, lambda document: document["plan"].update(policy=stamp))


def opened(world: GateWorld, handover: Handover) -> Handover:
    world.github.create_open(names.GATE_ENVIRONMENT)
    return handover


def lost(world: GateWorld, handover: Handover) -> Handover:
    world.github.people["bob"] = "none"
    return handover


def unanswered(world: GateWorld, handover: Handover) -> Handover:
    world.github.approvals.clear()
    return handover


def done_before(name: str) -> Callable[[GateWorld, Handover], Handover]:
    def attack(world: GateWorld, handover: Handover) -> Handover:
        world.github.add_artifact(world.run_id, name)
        return handover

    return attack


def stopped(world: GateWorld, handover: Handover) -> Handover:
    world.changes["AGENT_DISABLED"] = "yes"
    return handover


def overridden(world: GateWorld, handover: Handover) -> Handover:
    (world.root / ".github" / "agent-config.yml").write_text(CONFIG + "act_variables: [CLUSTER]\n")
    world.changes[names.VARIABLE + "CLUSTER"] = "another"
    return handover


def without_plan(world: GateWorld, handover: Handover) -> Handover:
    report = dataclasses.replace(world_report(world), plan=None, status=documents.ReportStatus.NOTHING_TO_DO)
    id, digest = world.upload(names.REPORT_ARTIFACT, {names.REPORT_NAME: documents.encode(report)})
    return Handover(handover.plan_digest, id, digest)


def another_runs_report(world: GateWorld, handover: Handover) -> Handover:
    return resealed(world, handover, lambda document: document["run"].update(run_id="4712"))


# Which check refuses, in the place it has in the order, and by which code where that is another one.
ATTACKS: list[tuple[str, int, str, Callable[[GateWorld, Handover], Handover]]] = [
    ("T7 the report was replaced", 0, codes.GATE_ARTIFACT, swapped),
    ("T7 the report is gone", 0, codes.GATE_API, lambda world, it: dataclasses.replace(it, report_id="99")),
    ("T7 no id", 0, codes.GATE_ARTIFACT, lambda world, it: dataclasses.replace(it, report_id="")),
    (
        "T11 the report is not one",
        0,
        codes.REPORT_NOT_JSON,
        lambda world, it: Handover(it.plan_digest, *world.upload("investigation-report", {names.REPORT_NAME: b"x"})),
    ),
    (
        "T7 the archive has no report",
        0,
        codes.REPORT_NOT_JSON,
        lambda world, it: Handover(it.plan_digest, *world.upload("investigation-report", {"other": b"x"})),
    ),
    ("T8 another plan", 1, codes.GATE_DIGEST, lambda world, it: dataclasses.replace(it, plan_digest="0" * 64)),
    ("no plan", 1, codes.REPORT_NO_PLAN, without_plan),
    ("T19 another run", 2, codes.GATE_RUN, moved("GITHUB_RUN_ID", "4712")),
    ("T17b another attempt", 2, codes.GATE_RUN, moved("GITHUB_RUN_ATTEMPT", "2")),
    ("T10 another commit", 2, codes.GATE_RUN, moved("GITHUB_SHA", "0" * 40)),
    ("T19 another workflow", 2, codes.GATE_RUN, moved("GITHUB_WORKFLOW", "Other")),
    ("report and plan of two runs", 2, codes.REPORT_OTHER_RUN, another_runs_report),
    ("T15 a workflow started it", 3, codes.GATE_INITIATOR, begun_by("github-actions[bot]")),
    ("T15 an app that nobody named started it", 3, codes.GATE_INITIATOR, begun_by("pager[bot]")),
    ("T20 expired", 4, codes.GATE_EXPIRED, lambda world, it: resealed(world, it, expired)),
    ("T10 the policy changed", 5, codes.GATE_POLICY, another_policy),
    ("T25 a rate limit is full", 6, codes.GATE_RATE, busy),
    ("T13 the gate is open", 7, codes.GATE_ENVIRONMENT, opened),
    ("T18 nobody approved", 8, codes.GATE_APPROVAL, unanswered),
    ("T15 who started it approved", 8, codes.GATE_APPROVAL, answered("alice", "approved")),
    ("who approved lost access meanwhile", 8, codes.GATE_APPROVAL, lost),
    ("somebody rejected", 8, codes.GATE_APPROVAL, answered("carol", "rejected")),
    ("T38 authorized before", 9, codes.GATE_CLAIMED, done_before(names.AUTHORIZATION_ARTIFACT)),
    ("T38 executed before", 9, codes.GATE_CLAIMED, done_before(names.RESULT_ARTIFACT)),
    ("T38 executed without asking before", 9, codes.GATE_CLAIMED, done_before(names.RESULT_ARTIFACT + names.AUTO)),
    ("T10 a variable of act is not the sealed one", 10, codes.GATE_VARIABLES, overridden),
    ("the kill switch is on", 11, codes.GATE_DISABLED, stopped),
]


@pytest.mark.threat("T7", "T8", "T10", "T11", "T13", "T15", "T17b", "T18", "T19", "T20", "T25", "T38")
@pytest.mark.parametrize(("place", "code", "attack"), [row[1:] for row in ATTACKS], ids=[row[0] for row in ATTACKS])
def test_each_check_refuses_in_its_place(
    world: GateWorld, place: int, code: str, attack: Callable[[GateWorld, Handover], Handover]
) -> None:
    handover = attack(world, ready(world))
    with pytest.raises(codes.AgentError) as refused:
        world.authorize(handover)
    assert refused.value.code == code, refused.value.line()
    assert refused.value.exit_code in (codes.EXIT_REFUSED, codes.EXIT_BAD_INPUT)
    passed = [(earlier, "success") for earlier in ORDER[:place]]
    assert checked(world) == [*passed, (ORDER[place], "denied")]
    out = world.folder("act") / names.DEFAULT_OUT
    assert not (out / names.PLAN_NAME).exists()
    found = documents.decode(documents.Authorization, (out / names.AUTHORIZATION_NAME).read_bytes(), "a")
    assert (found.authorized, found.code) == (False, code)
    assert not [event for event in world.events("act") if event["step"] == "authorized"]
    assert world.page("act").startswith("# Refused: ") and code in world.page("act")


def test_every_check_of_the_list_has_an_attack_that_it_alone_stops() -> None:
    assert {place for _, place, _, _ in ATTACKS} == set(range(len(environment.CHECKS)))


@pytest.mark.threat("T23")
def test_the_job_that_asks_nobody_looks_at_everything_but_the_approval(world: GateWorld) -> None:
    (world.root / ".github" / "agent-config.yml").write_text(AUTO_CONFIG)
    sealed, handover = world.sealed(examples.step(reversible=True))
    assert sealed.policy.decision is documents.Decision.AUTO
    found = world.authorize(handover, automatic=True)
    assert (found.authorized, found.approvers) == (True, ())
    wanted = [code for code in ORDER if code != codes.GATE_APPROVAL]
    assert [code for code, _ in checked(world, names.AUTO_JOB)] == wanted
    assert wanted == list(gates.check_codes("environment", automatic=True))


@pytest.mark.threat("T13", "T21")
@pytest.mark.parametrize("name", [names.ACT_ENVIRONMENT, names.AUTO_ENVIRONMENT])
def test_an_environment_that_holds_secrets_has_to_be_closed_too(world: GateWorld, name: str) -> None:
    (world.root / ".github" / "agent-config.yml").write_text(AUTO_CONFIG)
    handover = world.sealed(examples.step(reversible=True))[1]
    world.github.create_open(name)
    with pytest.raises(codes.GateRefused, match=f"environment {name}: every branch may use it") as refused:
        world.authorize(handover, automatic=True)
    assert refused.value.code == codes.GATE_ENVIRONMENT


@pytest.mark.threat("T23")
def test_a_plan_that_needs_a_human_is_refused_without_one(world: GateWorld) -> None:
    (world.root / ".github" / "agent-config.yml").write_text(AUTO_CONFIG)
    handover = world.sealed()[1]
    with pytest.raises(codes.GateRefused) as refused:
        world.authorize(handover, automatic=True)
    assert refused.value.code == codes.GATE_POLICY


@pytest.mark.threat("T23")
def test_where_the_answer_is_no_nothing_is_authorized_without_asking(world: GateWorld) -> None:
    (world.root / ".github" / "agent-config.yml").write_text(AUTO_CONFIG)
    handover = world.sealed(examples.step(reversible=True))[1]
    (world.root / ".github" / "agent-config.yml").write_text(CONFIG)
    with pytest.raises(codes.GateRefused) as refused:
        world.authorize(handover, automatic=True)
    assert refused.value.code == codes.GATE_POLICY
    assert "auto_approval is false" in refused.value.message


def test_the_command_refuses_in_one_line_and_leaves_no_plan(world: GateWorld) -> None:
    handover = ready(world)
    reported = {
        "APPROVED_DIGEST": handover.plan_digest,
        "REPORT_ID": handover.report_id,
        "REPORT_DIGEST": handover.report_digest,
    }
    done = world.command("act", ["authorize"], **{**reported, "APPROVED_DIGEST": "0" * 64})
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
    assert codes.GATE_DIGEST in done.stderr
    assert not (world.folder("act") / names.DEFAULT_OUT / names.PLAN_NAME).exists()
    done = world.command("again", ["authorize"], **reported)
    assert (done.returncode, done.stderr) == (0, "")
    assert (world.folder("again") / names.DEFAULT_OUT / names.PLAN_NAME).exists()


def test_github_that_does_not_answer_refuses_at_the_first_question(world: GateWorld) -> None:
    handover = ready(world)
    world.github.token = "another"
    with pytest.raises(codes.GateRefused) as refused:
        world.authorize(handover)
    assert refused.value.code == codes.GATE_API
    assert checked(world) == [(codes.GATE_ARTIFACT, "denied")]


def test_a_run_of_checks_stops_at_the_first_refusal() -> None:
    made: list[str] = []

    def passes(state: Any) -> None:
        made.append("passes")

    def refuses(state: Any) -> None:
        made.append("refuses")
        raise codes.GateRefused(codes.GATE_DISABLED, "no")

    checks = [Check("A", "", passes), Check("B", "", refuses), Check("C", "", passes)]
    with pytest.raises(codes.GateRefused):
        verification.run(checks, object())  # type: ignore[arg-type]
    assert made == ["passes", "refuses"]


def test_an_archive_of_the_report_may_bring_its_journal(world: GateWorld) -> None:
    """What `seal` uploads is a folder; only the report in it is read here."""
    handover = ready(world)
    files = {names.REPORT_NAME: documents.encode(world_report(world)), "journal/0.jsonl": b"x"}
    id, digest = world.upload(names.REPORT_ARTIFACT, pack(files))
    assert world.authorize(Handover(handover.plan_digest, id, digest)).authorized


@pytest.mark.parametrize(("lag", "approved"), [(0, True), (1, True), (2, False)])
def test_a_list_of_approvals_that_lags_behind_the_click_is_asked_once_more(
    world: GateWorld, lag: int, approved: bool
) -> None:
    _, handover = world.sealed(examples.step())
    world.approved("bob")
    world.github.lag = lag
    if approved:
        assert world.approve(handover).approver.login == "bob"
        return
    with pytest.raises(codes.GateRefused) as refused:
        world.approve(handover)
    assert refused.value.code == codes.GATE_APPROVAL
