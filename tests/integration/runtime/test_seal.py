"""Seal believes nothing that the agent's machine hands over: one code, no gate, and a page that says why."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.gate.seal import Handover
from agent_runtime.job.context import now
from agent_runtime.local.terminal import as_terminal
from agent_runtime.model import documents, names, plan
from agent_runtime.model.documents import Decision, ReportStatus
from agent_runtime.results import Finding, RiskLevel
from support import examples
from support.gate_world import CONFIG, POLICY, TITLE, GateWorld, report_of
from support.strategies import json_values
from support.zips import pack

WHOLE = documents.plain(examples.investigation())
TOKEN = "ghp_" + "a1B2" * 9


def changed(**changes: Any) -> bytes:
    return json.dumps({**WHOLE, **changes}).encode()


def of_step(**changes: Any) -> bytes:
    return changed(steps=[{**WHOLE["steps"][0], **changes}])


def several(*changes: dict[str, Any]) -> bytes:
    return changed(steps=[{**WHOLE["steps"][0], **each} for each in changes])


def opens_no_gate(outputs: dict[str, str]) -> bool:
    """Whether the jobs after `seal` are skipped: they ask for `review`, and for a plan."""
    return (outputs["decision"], outputs["plan_digest"], outputs["action"]) == ("none", "", "")


def test_an_honest_investigation_becomes_a_plan_that_asks(world: GateWorld) -> None:
    outcome = world.seal(world.hand_over(changed()))
    assert outcome.problem is None
    assert outcome.report.plan is not None
    assert outcome.report.plan.steps == examples.investigation().steps
    assert (outcome.report.plan.resource, outcome.report.plan.run) == ("checkout", examples.run())
    outputs = world.outputs("seal")
    assert outputs["decision"] == "review"
    assert outputs["approvals"] == "1"
    assert outputs["plan_digest"] == plan.digest(outcome.report.plan)
    assert outputs["plan_digest_short"] == outputs["plan_digest"][:12]
    assert outputs["trace_id"] == "4711-1"
    assert outputs["plan_digest"] in world.page("seal")
    assert report_of(world) == outcome.report
    assert world.events("seal")[-1]["step"] == "finished"


# What a hijacked machine can leave, and the code of each.
HOSTILE: dict[str, tuple[str, bytes]] = {
    "not JSON": (codes.REPORT_NOT_JSON, b"#!/bin/sh\n"),
    "empty": (codes.REPORT_NOT_JSON, b""),
    "truncated": (codes.REPORT_NOT_JSON, changed()[:-20]),
    "not UTF-8": (codes.REPORT_NOT_JSON, changed().replace(b"checkout", b"check\xff\xfe")),
    "a byte order mark": (codes.REPORT_NOT_JSON, b"\xef\xbb\xbf" + changed()),
    "duplicate keys": (codes.REPORT_NOT_JSON, changed().replace(b'"resource"', b'"resource": "payments", "resource"')),
    "duplicate keys deep inside": (
        codes.REPORT_NOT_JSON,
        changed().replace(b'"requests": 240', b'"requests": 1, "requests": 240'),
    ),
    "NaN": (codes.REPORT_NOT_JSON, changed().replace(b"0.8", b"NaN")),
    "infinity": (codes.REPORT_NOT_JSON, changed().replace(b"0.8", b"-Infinity")),
    "nested too deeply": (codes.REPORT_NOT_JSON, b'{"a":' * 100_000),
    "too large": (codes.REPORT_TOO_LARGE, changed(analysis="x" * documents.MAX_REPORT_BYTES)),
    "a list": (codes.REPORT_SCHEMA, b"[]"),
    "null": (codes.REPORT_SCHEMA, b"null"),
    "another schema": (codes.REPORT_SCHEMA, changed(schema_version=2)),
    "a plan of its own": (codes.REPORT_SCHEMA, changed(plan=documents.plain(examples.sealed()))),
    "a decision of its own": (codes.REPORT_SCHEMA, changed(decision="auto")),
    "a policy of its own": (codes.REPORT_SCHEMA, changed(policy={"decision": "auto"})),
    "a step that says auto": (codes.REPORT_SCHEMA, of_step(decision="auto")),
    "a report instead": (codes.REPORT_SCHEMA, documents.encode(examples.report())),
    "too many findings": (codes.REPORT_SCHEMA, changed(findings=[{"message": "x"}] * 101)),
    "a million findings": (codes.REPORT_TOO_LARGE, changed(findings=[{}] * 1_000_000)),
    "a thousand steps": (codes.PLAN_STEPS, several(*({"action": f"noop-{number}"} for number in range(1000)))),
    "one step more than a page has": (codes.PLAN_STEPS, several(*({"action": f"noop-{n}"} for n in range(11)))),
    "a step that is there twice": (codes.PLAN_STEPS, several({}, {"action": "noop"}, {})),
    "a step that changes what nobody observes": (codes.PLAN_STEPS, several({"changes": ["a\u202e"]}, {"action": "x"})),
    "a step that denies what it changes": (codes.REPORT_SCHEMA, several({"changes": "started"}, {"action": "noop"})),
    "a failure that proposes": (codes.REPORT_SCHEMA, changed(error="boom", code="AGT001")),
    "another run's": (codes.REPORT_OTHER_RUN, changed(run={**WHOLE["run"], "run_id": "4712"})),
    "another attempt's": (codes.REPORT_OTHER_RUN, changed(run={**WHOLE["run"], "run_attempt": 2})),
    "another commit's": (codes.REPORT_OTHER_RUN, changed(run={**WHOLE["run"], "sha": "0" * 40})),
    "another repository's": (codes.REPORT_OTHER_RUN, changed(run={**WHOLE["run"], "repository": "acme/other"})),
    "another person's": (codes.REPORT_OTHER_RUN, changed(run={**WHOLE["run"], "actor": "bob"})),
    "another resource's": (codes.REPORT_OTHER_RUN, changed(resource="payments-db")),
    "a failure": (codes.INVESTIGATION_FAILED, changed(steps=[], error="it raised", code="AGT001")),
    "a failure by a code that nobody knows": (
        codes.INVESTIGATION_FAILED,
        changed(steps=[], error="::error::x", code="\u202e"),
    ),
    "two actions in one name": (codes.RESULT_INVALID, of_step(action="restart_service+noop")),
    "an action with more words": (codes.RESULT_INVALID, of_step(action="restart_service on staging")),
    "an action of two lines": (codes.RESULT_INVALID, of_step(action="restart\nx")),
    "an action without an end": (codes.RESULT_INVALID, of_step(action="a" * 300)),
    "a number without an end": (codes.REPORT_NOT_JSON, changed().replace(b"0.8", b"1e999")),
    "a token in a parameter": (codes.SECRET_IN_PLAN, of_step(parameters={"note": TOKEN})),
    "a password in a parameter": (codes.SECRET_IN_PLAN, of_step(parameters={"deep": [{"password": "hunter2x"}]})),
    "a token in what observe() said": (codes.SECRET_IN_PLAN, changed(preconditions={"header": TOKEN})),
    "an integer without a canonical form": (codes.PLAN_NOT_CANONICAL, of_step(parameters={"n": 2**53})),
    "a float that its canonical form changes": (codes.PLAN_NOT_CANONICAL, of_step(parameters={"n": 2.0**53})),
}


def test_a_plan_of_several_steps_is_one_plan_on_one_page(world: GateWorld) -> None:
    second = {"action": "warm_cache", "parameters": {"pages": 7}, "reversible": True, "rollback": "clear it"}
    outcome = world.seal(world.hand_over(several({"changes": ["started"]}, second)))
    assert outcome.report.plan is not None, outcome.problem
    assert [step.action for step in outcome.report.plan.steps] == ["restart_service", "warm_cache"]
    assert world.outputs("seal")["action"] == "restart_service+warm_cache"
    assert world.outputs("seal")["decision"] == "review", "for the second step alone nobody may act without asking"
    page = re.sub(" {2,}", "  ", as_terminal(world.page("seal")))
    first, second_part = page.index("Step 1  restart_service"), page.index("Step 2  warm_cache")
    assert page.startswith("Approve restart_service, then warm_cache on checkout?")
    assert first < page.index("started, says the agent") < second_part
    assert second_part < page.index("pages  7") < page.index("says the agent: clear it")


def test_one_denied_step_denies_the_plan(world: GateWorld) -> None:
    outcome = world.seal(world.hand_over(several({}, {"action": "delete_service"})))
    assert (outcome.report.status, outcome.report.plan) == (ReportStatus.DENIED, None)
    assert world.outputs("seal")["decision"] == "denied"
    assert any("step 2" in reason and "delete_service" in reason for reason in outcome.report.policy_reasons)


@pytest.mark.threat("T1", "T8", "T11", "T23", "T33")
@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_hijacked_machine_leaves_ends_in_one_code(world: GateWorld, name: str) -> None:
    code, data = HOSTILE[name]
    outcome = world.seal(world.hand_over(data))
    assert outcome.problem is not None
    assert (outcome.problem.code, outcome.report.code) == (code, code), outcome.problem.line()
    assert outcome.problem.exit_code != 0
    assert outcome.report.status is ReportStatus.FAILED
    assert outcome.report.plan is None
    assert opens_no_gate(world.outputs("seal"))
    page = world.page("seal")
    assert page.startswith("# Nothing is asked: " + codes.describe(code).title) and code in page
    assert TOKEN not in page and "hunter2x" not in page
    assert [event["code"] for event in world.events("seal") if event["step"] == "error"] == [code]
    assert not any(event["step"] == "plan_sealed" and event["status"] == "success" for event in world.events("seal"))
    # What was written can be read by record, and says the same.
    assert report_of(world) == outcome.report


ARCHIVES: dict[str, tuple[str, Callable[[GateWorld], Handover]]] = {
    "none": (codes.REPORT_MISSING, lambda world: Handover("", "", "failure")),
    "none, and cancelled": (codes.REPORT_MISSING, lambda world: Handover("", "", "cancelled")),
    "without the file": (
        codes.REPORT_MISSING,
        lambda world: Handover(*world.upload("investigation", {"other.json": b"{}"}), "success"),
    ),
    "with the file elsewhere": (
        codes.REPORT_MISSING,
        lambda world: Handover(*world.upload("investigation", {"a/investigation.json": changed()}), "success"),
    ),
    "not a zip file": (
        codes.GATE_ARTIFACT,
        lambda world: Handover(*world.upload("investigation", changed()), "success"),
    ),
    "truncated": (
        codes.GATE_ARTIFACT,
        lambda world: Handover(
            *world.upload("investigation", pack({"investigation.json": changed()}, zipfile.ZIP_STORED)[:-30]), "success"
        ),
    ),
    "a bomb": (
        codes.GATE_ARTIFACT,
        lambda world: Handover(
            *world.upload("investigation", pack({"investigation.json": bytes(100 << 20)})),
            "success",
        ),
    ),
    "of 100 MB": (
        codes.GATE_API,
        lambda world: Handover(
            *world.upload("investigation", pack({"investigation.json": bytes(100 << 20)}, zipfile.ZIP_STORED)),
            "success",
        ),
    ),
    "replaced after its upload": (
        codes.GATE_ARTIFACT,
        lambda world: Handover(world.hand_over(changed()).artifact_id, "0" * 64, "success"),
    ),
    "deleted": (codes.GATE_API, lambda world: Handover("99", "0" * 64, "success")),
    "without a digest": (
        codes.GATE_ARTIFACT,
        lambda world: Handover(world.hand_over(changed()).artifact_id, "", "success"),
    ),
    "with an id that is a path": (codes.GATE_ARTIFACT, lambda world: Handover("1/../../secrets", "0" * 64, "success")),
    "of a job that failed afterwards": (
        codes.INVESTIGATION_FAILED,
        lambda world: world.hand_over(changed(), "failure"),
    ),
    "of a job that was cancelled": (codes.INVESTIGATION_FAILED, lambda world: world.hand_over(changed(), "cancelled")),
    "of a job that GitHub names otherwise": (codes.INVESTIGATION_FAILED, lambda world: world.hand_over(changed(), "")),
}


@pytest.mark.threat("T1", "T7")
@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_is_not_what_the_job_uploaded_ends_in_one_code(world: GateWorld, name: str) -> None:
    code, prepare = ARCHIVES[name]
    outcome = world.seal(prepare(world))
    assert outcome.problem is not None
    assert outcome.problem.code == code, outcome.problem.line()
    assert opens_no_gate(world.outputs("seal"))
    assert code in world.page("seal")


@pytest.mark.threat("T1", "T8")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.data())
def test_whatever_value_stands_anywhere_a_plan_is_of_this_run_and_within_the_policy(
    world: GateWorld, data: st.DataObject
) -> None:
    document = json.loads(json.dumps(WHOLE))
    place = data.draw(st.sampled_from([document, document["run"], document["steps"][0], document["findings"][0]]))
    place[data.draw(st.sampled_from([*place, "plan"]))] = data.draw(json_values)
    outcome = world.seal(world.hand_over(json.dumps(document).encode()))
    outputs = world.outputs("seal")
    if outcome.report.plan is None:
        assert outputs["decision"] in ("none", "denied") and outputs["plan_digest"] == ""
        return
    sealed = outcome.report.plan
    assert (sealed.resource, sealed.run, str(sealed.policy.decision)) == ("checkout", examples.run(), "review")
    assert [step.action for step in sealed.steps] == ["restart_service"]
    assert sealed.approvals == documents.Approvals(1, ())


PROCESSES = {
    "not JSON": (HOSTILE["not JSON"][1], 2, codes.REPORT_NOT_JSON),
    "a plan of its own": (HOSTILE["a plan of its own"][1], 2, codes.REPORT_SCHEMA),
    "another run's": (HOSTILE["another run's"][1], 2, codes.REPORT_OTHER_RUN),
    "a token in a parameter": (HOSTILE["a token in a parameter"][1], 2, codes.SECRET_IN_PLAN),
    "honest": (changed(), 0, ""),
}


@pytest.mark.threat("T1", "T11", "T33")
@pytest.mark.parametrize("name", PROCESSES)
def test_the_command_says_it_in_one_line_and_fails(world: GateWorld, name: str) -> None:
    data, exit_code, code = PROCESSES[name]
    handover = world.hand_over(data)
    done = world.command(
        "seal",
        ["seal"],
        INVESTIGATION_ID=handover.artifact_id,
        INVESTIGATION_DIGEST=handover.digest,
        INVESTIGATE_RESULT="success",
    )
    assert done.returncode == exit_code, done.stderr
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == ([code] if code else [])
    assert TOKEN not in done.stdout + done.stderr + world.page("seal")
    assert world.outputs("seal")["decision"] == ("none" if code else "review")
    assert code in world.page("seal")


@pytest.mark.threat("T14")
def test_a_page_that_github_would_not_show_is_refused_on_a_page_that_it_shows(world: GateWorld) -> None:
    handover = world.hand_over(of_step(reason="`a" * 250_000))
    done = world.command(
        "seal",
        ["seal"],
        INVESTIGATION_ID=handover.artifact_id,
        INVESTIGATION_DIGEST=handover.digest,
        INVESTIGATE_RESULT="success",
    )
    assert done.returncode == codes.EXIT_BAD_INPUT
    assert codes.REPORT_TOO_LARGE in world.page("seal") and re.search("plan: 50[0-9]{4} bytes", done.stderr)
    assert world.outputs("seal") == {}


@pytest.mark.threat("T2")
def test_resource_and_trigger_come_from_the_run_and_not_from_the_agent(world: GateWorld) -> None:
    world.changes["TARGET_RESOURCE"] = "payments-db"
    handover = world.hand_over(changed())
    done = world.command(
        "seal",
        ["seal"],
        INVESTIGATION_ID=handover.artifact_id,
        INVESTIGATION_DIGEST=handover.digest,
        INVESTIGATE_RESULT="success",
    )
    assert (done.returncode, world.outputs("seal")["resource"]) == (2, "payments-db")
    assert codes.REPORT_OTHER_RUN in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [("TARGET_RESOURCE", "", codes.RESOURCE_MISSING), ("DRY_RUN", "maybe", codes.SWITCH_INVALID)],
)
def test_a_run_that_can_not_be_read_says_so_on_the_page(world: GateWorld, variable: str, value: str, code: str) -> None:
    world.changes[variable] = value
    done = world.command("seal", ["seal"], INVESTIGATE_RESULT="success")
    assert done.returncode == 2
    assert code in world.page("seal") and code in done.stderr


# What is refused before anything is read.


@pytest.mark.threat("T8", "T13", "T15", "T17b", "T19")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"AGENT_DISABLED": "1"}, codes.GATE_DISABLED),
        ({"GITHUB_RUN_ATTEMPT": "2"}, codes.GATE_RUN),
        ({"GITHUB_ACTOR": "github-actions[bot]"}, codes.GATE_INITIATOR),
        ({"GITHUB_TRIGGERING_ACTOR": "github-actions[bot]"}, codes.GATE_INITIATOR),
        ({"GITHUB_ACTOR": "pager[bot]", "GITHUB_TRIGGERING_ACTOR": "pager[bot]"}, codes.GATE_INITIATOR),
        ({"GITHUB_ACTOR": "bob", "GITHUB_TRIGGERING_ACTOR": "bob"}, codes.GATE_ENVIRONMENT),
    ],
)
def test_seal_decides_again_what_the_first_step_looked_at(world: GateWorld, changes: dict[str, str], code: str) -> None:
    world.changes.update(changes)
    outcome = world.seal(world.hand_over(changed()))
    assert outcome.problem is not None and outcome.problem.code == code
    assert opens_no_gate(world.outputs("seal"))
    assert code in world.page("seal")


@pytest.mark.parametrize("server", ["https://github.example.com", "https://evilghe.com", "http://["])
def test_on_github_enterprise_server_a_run_says_that_it_is_not_supported(world: GateWorld, server: str) -> None:
    world.changes["GITHUB_SERVER_URL"] = server
    started = world.command("investigate", ["start"], GITHUB_TOKEN="t")
    assert started.returncode == 2 and "RUN007: " in started.stderr, started.stderr
    outcome = world.seal(world.hand_over(changed()))
    assert outcome.problem is not None and outcome.problem.code == codes.SERVER_UNSUPPORTED
    assert "GitHub Enterprise Server is not supported" in world.page("seal")
    assert opens_no_gate(world.outputs("seal"))


def test_on_ghe_com_a_run_is_like_any_other_and_its_links_stay_there(world: GateWorld) -> None:
    world.changes.update(GITHUB_SERVER_URL="https://acme.ghe.com", GITHUB_RUN_NUMBER="2")
    assert world.command("investigate", ["start"], GITHUB_TOKEN="t").returncode == 0
    how = {"title": "checkout [-]", "event": "schedule", "actor": "alice", "file": names.WORKFLOW_FILE}
    world.github.add_run("17", created=documents.format_time(now()), **how)
    world.github.add_job("17", "Approve plan 0123456789ab: warm_cache on checkout", "waiting", None)
    assert world.seal(world.hand_over(changed())).report.plan is not None
    world.github.add_job("17", f"Approve plan 0123456789ab: {TITLE}", "waiting", None)
    assert world.seal(world.hand_over(changed())).report.duplicate_of == "17"
    assert "(https://acme.ghe.com/acme/checkout-restart/actions/runs/17)" in world.page("seal")


@pytest.mark.threat("T13")
@pytest.mark.parametrize("name", [names.GATE_ENVIRONMENT, names.ACT_ENVIRONMENT])
def test_an_open_environment_asks_nobody(world: GateWorld, name: str) -> None:
    world.github.create_open(name)
    outcome = world.seal(world.hand_over(changed()))
    assert outcome.problem is not None and outcome.problem.code == codes.GATE_ENVIRONMENT
    assert opens_no_gate(world.outputs("seal"))


# What the policy says.


@pytest.mark.threat("T23")
@pytest.mark.parametrize(
    ("steps", "auto", "decision"),
    [
        ([examples.step(reversible=True)], True, "auto"),
        ([examples.step(reversible=True)], False, "review"),
        ([examples.step()], True, "review"),
        ([examples.step(reversible=True), examples.step(reversible=False, parameters={})], True, "review"),
        ([examples.step(reversible=True), examples.step(action="warm_cache", reversible=True)], True, "review"),
        ([examples.step(), examples.step(action="delete_all")], True, "denied"),
        ([examples.step(action="delete_all"), examples.step()], True, "denied"),
        ([examples.step(risk_level=RiskLevel.HIGH)], True, "denied"),
    ],
)
def test_the_strictest_step_decides(world: GateWorld, steps: list[documents.Step], auto: bool, decision: str) -> None:
    (world.root / ".github" / "agent-config.yml").write_text(CONFIG + ("auto_approval: true\n" if auto else ""))
    outcome = world.seal(world.hand_over(documents.encode(examples.investigation(*steps))))
    assert outcome.problem is None
    assert world.outputs("seal")["decision"] == decision
    assert (outcome.report.plan is None) == (decision == "denied")


@pytest.mark.threat("T25")
def test_the_steps_of_one_plan_use_the_rate_limit_up(world: GateWorld) -> None:
    policy = world.root / ".github" / "agent-policies" / "checkout-restart.yml"
    policy.write_text(POLICY + "rate_limits:\n  - {type: restart_service, max: 2, per: 24h}\n")
    for count, decision in ((2, "review"), (3, "denied")):
        steps = [examples.step(parameters={"zone": number}) for number in range(count)]
        world.seal(world.hand_over(documents.encode(examples.investigation(*steps))))
        assert world.outputs("seal")["decision"] == decision


def test_an_agent_that_finds_nothing_or_advises_against_it_asks_nobody(world: GateWorld) -> None:
    for data, status in (
        (changed(steps=[]), ReportStatus.NOTHING_TO_DO),
        (changed(safe_to_proceed=False), ReportStatus.DENIED),
    ):
        outcome = world.seal(world.hand_over(data))
        assert (outcome.problem, outcome.report.status) == (None, status)
        assert world.outputs("seal")["decision"] == ("denied" if status is ReportStatus.DENIED else "none")


# What is kept and shown.


@pytest.mark.threat("T33")
def test_secrets_in_the_agents_words_are_redacted_by_form(world: GateWorld) -> None:
    """The agent's machine redacts the values that it knows; this one knows none, and goes by their form."""
    found = examples.investigation(
        examples.step(reason=f"with {TOKEN}", rollback=f"curl -H 'Authorization: Bearer {TOKEN}'"),
        findings=(Finding(f"log says {TOKEN}", evidence={"password": "hunter2x", "log": [f"key={TOKEN}"]}),),
        recommendation=TOKEN,
        analysis=f"a\n{TOKEN}\nb",
    )
    outcome = world.seal(world.hand_over(documents.encode(found)))
    assert outcome.report.plan is not None
    kept = [path for path in (world.folder("seal")).rglob("*") if path.is_file()]
    assert len(kept) >= 5
    for path in kept:
        text = path.read_text(encoding="utf-8")
        assert TOKEN not in text and "hunter2x" not in text, path.name


@pytest.mark.threat("T5")
def test_outputs_are_words_digests_and_identifiers(world: GateWorld) -> None:
    steps = [examples.step(action="warm_cache"), examples.step()]
    world.seal(world.hand_over(documents.encode(examples.investigation(*steps, analysis="::set-output name=x::y"))))
    raw = (world.folder("seal") / "output").read_text()
    outputs = world.outputs("seal")
    assert set(outputs) == {
        *("decision", "approvals", "action", "resource", "plan_digest"),
        *("plan_digest_short", "trace_id", "journal_head"),
    }
    assert outputs["action"] == "warm_cache+restart_service"
    assert outputs["decision"] in {str(word) for word in Decision}
    assert "::" not in raw


@pytest.mark.threat("T8")
def test_what_the_reviewer_reads_is_what_execute_will_read(world: GateWorld) -> None:
    outcome = world.seal(world.hand_over(of_step(parameters={"rate": 2.0, "small": 1e-7, "text": "\u0430"})))
    sealed = outcome.report.plan
    assert sealed is not None
    again = documents.decode(documents.Plan, plan.canonical(sealed), "plan.json")
    assert again == sealed
    assert [type(value) for value in again.steps[0].parameters.values()] == [
        type(value) for value in sealed.steps[0].parameters.values()
    ]


def test_a_dry_run_is_another_plan(world: GateWorld) -> None:
    handover = world.hand_over(changed())
    dry = world.seal(handover, dry_run=True).report.plan
    wet = world.seal(handover).report.plan
    assert dry is not None and wet is not None
    assert (dry.dry_run, wet.dry_run) == (True, False)
    assert plan.digest(dry) != plan.digest(wet)


@pytest.mark.threat("T14")
@pytest.mark.parametrize(
    ("by", "at", "shown"),
    [
        ("carol", "2026-11-19T10:00:00Z", "; changed 2026-11-19 10:00 UTC by `carol` |"),
        ("carol", "the day before yesterday", "; when it last changed is not known |"),
        ("", "", "; when it last changed is not known |"),
    ],
)
def test_the_page_says_when_and_by_whom_the_policy_last_changed(world: GateWorld, by: str, at: str, shown: str) -> None:
    if by:
        world.github.changed[".github/agent-policies/checkout-restart.yml"] = (by, at)
    assert world.seal(world.hand_over(changed())).report.plan is not None
    (row,) = [line for line in world.page("seal").splitlines() if line.startswith("| Policy |")]
    assert row.endswith(shown)
