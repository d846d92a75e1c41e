"""Record says in one word how a run ended, from what GitHub and the jobs without team code know, and finds gaps."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import agent_runtime
from agent_runtime import codes
from agent_runtime.gate import offline, record, seal
from agent_runtime.gate.bundle import Parts, RunOutcome
from agent_runtime.gate.evidence import Jobs
from agent_runtime.gate.record import Job
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import now
from agent_runtime.job.request import Request
from agent_runtime.model import documents, names, plan
from agent_runtime.model.documents import Decision, PolicyStamp, Report, ReportStatus
from agent_runtime.results import ActionStatus
from support import examples
from support.gate_world import GateWorld, whole_run
from support.sdk.sink import Sink
from support.strategies import json_values

AUTO_PLAN = examples.sealed(policy=PolicyStamp("a" * 64, Decision.AUTO, ("allowed_actions[0]", "auto_approve[0]")))
REFUSED = examples.authorization(authorized=False, code=codes.GATE_APPROVAL, message="nobody", approvers=())
EXPIRED = examples.authorization(authorized=False, code=codes.GATE_EXPIRED, message="late", approvers=())
GOOD = {"investigate": "success", "seal": "success", "approve": "success", "act": "success"}
ASKED = {"investigate": "success", "seal": "success", "ask": "success"}
NEVER = {"name": "Act", "status": "completed", "runner_id": 0, "runner_name": "", "steps": []}


def acting(execute: str | None, *, started: bool = True, status: str = "completed") -> Jobs:
    """GitHub's list where the job that acts began, and its step Execute ended so."""
    step = {"name": "Execute", "conclusion": execute, "started_at": "2026-11-22T11:00:00Z" if started else None}
    job = {"name": "Act", "status": status, "runner_id": 21, "runner_name": "GitHub Actions 21", "steps": [step]}
    return Jobs([job])


def closed(status: ReportStatus, **changes: Any) -> Report:
    """A report without a plan."""
    return examples.report(plan=None, status=status, **changes)


def result(status: ActionStatus, **changes: Any) -> documents.ActionReport:
    steps = () if status is ActionStatus.REFUSED else (examples.step_result(status=status),)
    return examples.result(**{"status": status, "steps": steps, **changes})


def decide(
    results: Mapping[str, str],
    *,
    report: Report | None = None,
    authorization: documents.Authorization | None = None,
    result: documents.ActionReport | None = None,
    intents: int = 0,
    errors: Mapping[str, str] | None = None,
    jobs: Jobs | None = None,
    rejected: bool = False,
) -> str:
    """What `_decide` says; a run has a report with a plan unless changed."""
    event = {"metadata": {"step": "intent"}, "status": "pending"}
    events: dict[str, list[dict[str, Any]]] = {"act": [event] * intents}
    for folder, code in (errors or {}).items():
        events[folder] = [{"metadata": {"step": "error", "code": code}, "status": "denied"}]
    parts = Parts(report=report, authorization=authorization, result=result, events=events)
    needs = {name: Job(each, {}) for name, each in results.items()}
    return str(record._decide(parts, needs, jobs or Jobs([NEVER]), rejected=rejected))


def but(**changes: str) -> dict[str, str]:
    return {**GOOD, **changes}


SEALED, ALLOWED = examples.report(), examples.authorization()
NOT_ASKED = but(approve="skipped", act="skipped")
OUTCOMES: list[tuple[str, str, dict[str, str], dict[str, Any]]] = [
    # Before anybody is asked.
    ("seal never began", "cancelled", but(seal="skipped", approve="skipped", act="skipped"), {}),
    ("seal was cancelled", "cancelled", but(seal="cancelled", approve="skipped", act="skipped"), {"report": SEALED}),
    ("seal failed and left nothing", "investigation_failed", but(seal="failure", approve="skipped", act="skipped"), {}),
    (
        "the agent failed",
        "investigation_failed",
        but(investigate="failure", seal="failure", approve="skipped", act="skipped"),
        {"report": closed(ReportStatus.FAILED, code=codes.INVESTIGATION_FAILED)},
    ),
    (
        "the policy can't be read",
        "refused",
        but(seal="failure", approve="skipped", act="skipped"),
        {"report": closed(ReportStatus.FAILED, code=codes.POLICY_INVALID)},
    ),
    (
        "what it handed over was invalid",
        "investigation_failed",
        but(seal="failure", approve="skipped", act="skipped"),
        {"report": closed(ReportStatus.FAILED, code=codes.REPORT_NOT_JSON)},
    ),
    (
        "the gate was open",
        "refused",
        but(seal="failure", approve="skipped", act="skipped"),
        {"report": closed(ReportStatus.FAILED, code=codes.GATE_ENVIRONMENT)},
    ),
    (
        "no issue could be a gate",
        "refused",
        {**ASKED, "seal": "failure", "ask": "skipped"},
        {"report": closed(ReportStatus.FAILED, code=codes.ISSUE_GATE_IMPOSSIBLE)},
    ),
    (
        "nobody gave the second approval",
        "approval_failed",
        but(**{names.SECOND_JOB: "failure"}, act="skipped"),
        {"report": SEALED},
    ),
    (
        "the second was rejected",
        "rejected",
        but(**{names.SECOND_JOB: "failure"}, act="skipped"),
        {"report": SEALED, "rejected": True},
    ),
    (
        "cancelled between the two approvals",
        "cancelled",
        but(**{names.SECOND_JOB: "skipped"}, act="skipped"),
        {"report": SEALED},
    ),
    ("nothing to do", "nothing_to_do", NOT_ASKED, {"report": closed(ReportStatus.NOTHING_TO_DO)}),
    ("denied", "denied", NOT_ASKED, {"report": closed(ReportStatus.DENIED)}),
    (
        "a duplicate",
        "duplicate",
        but(investigate="success", approve="skipped", act="skipped"),
        {"report": closed(ReportStatus.DUPLICATE, duplicate_of="17")},
    ),
    ("its report is gone", "investigation_failed", NOT_ASKED, {}),
    # The answer.
    ("rejected", "rejected", but(approve="failure", act="skipped"), {"report": SEALED, "rejected": True}),
    (
        "rejected, and act ran all the same",
        "rejected",
        GOOD,
        {"report": SEALED, "rejected": True, "jobs": acting("success")},
    ),
    ("nobody who may approve did", "approval_failed", but(approve="failure", act="skipped"), {"report": SEALED}),
    ("cancelled while it waited", "cancelled", but(approve="cancelled", act="skipped"), {"report": SEALED}),
    ("cancelled after the approval", "cancelled", but(act="skipped"), {"report": SEALED}),
    ("the gate never opened", "approval_failed", NOT_ASKED, {"report": SEALED}),
    # What Verify found.
    ("refused by Verify", "refused", but(act="failure"), {"report": SEALED, "authorization": REFUSED}),
    ("expired", "expired", but(act="failure"), {"report": SEALED, "authorization": EXPIRED}),
    (
        "refused, and something ran all the same",
        "outcome_unknown",
        but(act="failure"),
        {"report": SEALED, "authorization": REFUSED, "result": result(ActionStatus.SUCCESS)},
    ),
    (
        "refused, and something was about to run",
        "outcome_unknown",
        but(act="failure"),
        {"report": SEALED, "authorization": REFUSED, "intents": 1},
    ),
    # What Execute reports.
    ("acted", "acted", GOOD, {"report": SEALED, "authorization": ALLOWED, "result": result(ActionStatus.SUCCESS)}),
    (
        "done before",
        "acted",
        GOOD,
        {"authorization": ALLOWED, "report": SEALED, "result": result(ActionStatus.ALREADY_DONE)},
    ),
    (
        "a dry run",
        "dry_run",
        GOOD,
        {"report": SEALED, "authorization": ALLOWED, "result": result(ActionStatus.DRY_RUN)},
    ),
    (
        "the action failed",
        "action_failed",
        but(act="failure"),
        {"report": SEALED, "authorization": ALLOWED, "result": result(ActionStatus.FAILED)},
    ),
    (
        "the agent does not know",
        "outcome_unknown",
        but(act="failure"),
        {"report": SEALED, "authorization": ALLOWED, "result": result(ActionStatus.UNKNOWN)},
    ),
    (
        "the world had changed",
        "refused",
        but(act="failure"),
        {
            "report": SEALED,
            "authorization": ALLOWED,
            "result": result(ActionStatus.REFUSED, code=codes.GATE_PRECONDITION),
        },
    ),
    (
        "it expired while the team's steps ran",
        "expired",
        but(act="failure"),
        {"report": SEALED, "authorization": ALLOWED, "result": result(ActionStatus.REFUSED, code=codes.GATE_EXPIRED)},
    ),
    (
        "it expired after the first of its steps",
        "partial",
        but(act="failure"),
        {
            "report": SEALED,
            "authorization": ALLOWED,
            "result": result(ActionStatus.REFUSED, code=codes.GATE_EXPIRED, steps=(examples.step_result(),)),
        },
    ),
    # Authorized, and no result.
    (
        "a step before it failed",
        "not_started",
        but(act="failure"),
        {"report": SEALED, "authorization": ALLOWED, "jobs": acting("skipped", started=False)},
    ),
    (
        "cancelled before it",
        "not_started",
        but(act="cancelled"),
        {"report": SEALED, "authorization": ALLOWED, "jobs": acting("cancelled", started=False)},
    ),
    (
        "its runner died",
        "outcome_unknown",
        but(act="failure"),
        {"report": SEALED, "authorization": ALLOWED, "jobs": acting("failure")},
    ),
    (
        "cancelled in the middle of it",
        "outcome_unknown",
        but(act="cancelled"),
        {"report": SEALED, "authorization": ALLOWED, "jobs": acting("cancelled")},
    ),
    (
        "it wrote an intent, whatever GitHub shows",
        "outcome_unknown",
        but(act="failure"),
        {"report": SEALED, "authorization": ALLOWED, "intents": 1, "jobs": acting("skipped", started=False)},
    ),
    (
        "GitHub does not answer",
        "outcome_unknown",
        but(act="failure"),
        {"report": SEALED, "authorization": ALLOWED, "jobs": Jobs(unknown="GitHub is away")},
    ),
    (
        "GitHub lists no job",
        "outcome_unknown",
        but(act="failure"),
        {"report": SEALED, "authorization": ALLOWED, "jobs": Jobs()},
    ),
    (
        "GitHub says that it succeeded, and the result is gone",
        "outcome_unknown",
        GOOD,
        {"report": SEALED, "authorization": ALLOWED, "jobs": acting("success")},
    ),
    # Not even an authorization.
    ("cancelled in the queue", "cancelled", but(act="cancelled"), {"report": SEALED}),
    ("its runner never started", "not_started", but(act="failure"), {"report": SEALED}),
    (
        "everything that it left is gone",
        "outcome_unknown",
        but(act="cancelled"),
        {"report": SEALED, "jobs": acting("success")},
    ),
    ("even the report is gone", "outcome_unknown", GOOD, {"jobs": acting("success")}),
    # Without asking.
    (
        "acted without asking",
        "acted",
        {**NOT_ASKED, "act-auto": "success"},
        {"report": examples.report(plan=AUTO_PLAN), "authorization": ALLOWED, "result": result(ActionStatus.SUCCESS)},
    ),
    (
        "cancelled before the job that asks nobody",
        "cancelled",
        {**NOT_ASKED, "act-auto": "skipped"},
        {"report": examples.report(plan=AUTO_PLAN)},
    ),
    ("the other job was asked for", "approval_failed", {**NOT_ASKED, "act-auto": "skipped"}, {"report": SEALED}),
    # In an issue.
    ("asked in an issue", "waiting", ASKED, {"report": SEALED}),
    ("the issue was not taken", "approval_failed", {**ASKED, "ask": "failure"}, {"report": SEALED}),
    ("cancelled before it asked", "cancelled", {**ASKED, "ask": "cancelled"}, {"report": SEALED}),
]
COMMENTED = {"approve": "success", "claim": "success", "act": "success"}
COMMENTS: list[tuple[str, str, dict[str, str], dict[str, Any]]] = [
    ("acted", "acted", COMMENTED, {"authorization": ALLOWED, "result": result(ActionStatus.SUCCESS)}),
    (
        "rejected",
        "rejected",
        {"approve": "failure", "claim": "skipped", "act": "skipped"},
        {"errors": {"approve": codes.PLAN_REJECTED}},
    ),
    (
        "expired",
        "expired",
        {"approve": "failure", "claim": "skipped", "act": "skipped"},
        {"errors": {"approve": codes.GATE_EXPIRED}},
    ),
    (
        "no approval",
        "approval_failed",
        {"approve": "failure", "claim": "skipped", "act": "skipped"},
        {"errors": {"approve": codes.COMMENT_AUTHOR}},
    ),
    (
        "the first of two approvals",
        "waiting",
        {"approve": "failure", "claim": "skipped", "act": "skipped"},
        {"errors": {"approve": codes.APPROVAL_MISSING}},
    ),
    ("no reason left", "approval_failed", {"approve": "failure", "claim": "skipped", "act": "skipped"}, {}),
    ("cancelled", "cancelled", {"approve": "cancelled", "claim": "skipped", "act": "skipped"}, {}),
    (
        "claimed before",
        "refused",
        {"approve": "success", "claim": "failure", "act": "skipped"},
        {"errors": {"claim": codes.GATE_CLAIMED}},
    ),
    (
        "expired at the claim",
        "expired",
        {"approve": "success", "claim": "failure", "act": "skipped"},
        {"errors": {"claim": codes.GATE_EXPIRED}},
    ),
    ("cancelled at the claim", "cancelled", {"approve": "success", "claim": "cancelled", "act": "skipped"}, {}),
    ("cancelled after the claim", "cancelled", {**COMMENTED, "act": "skipped"}, {}),
    ("refused by Verify", "refused", {**COMMENTED, "act": "failure"}, {"authorization": REFUSED}),
    ("never started", "not_started", {**COMMENTED, "act": "failure"}, {"authorization": ALLOWED}),
    ("died", "outcome_unknown", {**COMMENTED, "act": "failure"}, {"authorization": ALLOWED, "jobs": acting("failure")}),
]


@pytest.mark.threat("T35", "T37", "T39")
@pytest.mark.parametrize(
    ("outcome", "results", "found"),
    [row[1:] for row in OUTCOMES + COMMENTS],
    ids=[row[0] for row in OUTCOMES + COMMENTS],
)
def test_a_run_ends_in_one_word(outcome: str, results: dict[str, str], found: dict[str, Any]) -> None:
    assert decide(results, **found) == outcome


def test_every_outcome_can_come_about() -> None:
    assert {row[1] for row in OUTCOMES + COMMENTS} == {str(outcome) for outcome in RunOutcome}


_ends = st.sampled_from(["success", "failure", "cancelled", "skipped"])
_jobs = st.sampled_from([Jobs([NEVER]), Jobs(), Jobs(unknown="x"), acting("success"), acting("skipped", started=False)])
_results = st.sampled_from([None, *[result(status) for status in ActionStatus]])


@pytest.mark.threat("T37", "T39")
@given(
    st.fixed_dictionaries(dict.fromkeys(GOOD, _ends)),
    st.sampled_from([None, ALLOWED, REFUSED, EXPIRED]),
    _results,
    st.integers(0, 2),
    _jobs,
)
def test_nothing_was_executed_is_only_said_where_nothing_can_have_been(
    results: dict[str, str],
    authorization: documents.Authorization | None,
    found: documents.ActionReport | None,
    intents: int,
    jobs: Jobs,
) -> None:
    outcome = decide(results, report=SEALED, authorization=authorization, result=found, intents=intents, jobs=jobs)
    assert outcome in {str(each) for each in RunOutcome}
    began = jobs not in (Jobs([NEVER]), acting("skipped", started=False))
    if results["seal"] == "success" and results["act"] != "skipped" and found is None:
        assert not (intents or (authorization is ALLOWED and began)) or outcome == "outcome_unknown"
    if outcome == "acted":
        assert found is not None and found.status in (ActionStatus.SUCCESS, ActionStatus.ALREADY_DONE)


# Whole runs.


STEPS = (examples.step(), examples.step(action="warm_cache"))


@pytest.mark.threat("T35", "T36")
def test_a_whole_run_of_two_steps_is_recorded_and_can_be_verified(world: GateWorld) -> None:
    ending = world.record(whole_run(world, *STEPS))
    assert (str(ending.outcome), ending.problems) == ("acted", ())
    manifest, problems = offline.verify(ending.folder)
    assert problems == []
    assert manifest["reported_by_agent"] == ["investigate", "act"]
    sealed = json.loads((ending.folder / "seal" / names.REPORT_NAME).read_bytes())["plan"]
    assert (manifest["release"], sealed["runtime"]["release"]) == (agent_runtime.__version__,) * 2
    assert world.outputs("record") == {"outcome": "acted", "bundle_digest": ending.digest, "acted": "true"}
    terminal = world.events("record")[-1]
    assert (terminal["outcome"], terminal["problems"], terminal["status"]) == ("acted", [], "success")


def test_a_step_that_fails_stops_the_rest_and_the_trail_is_whole(world: GateWorld) -> None:
    last = examples.step(parameters={"error_rate": 0.1})
    ending = world.record(
        whole_run(world, *STEPS[:1], examples.step(action="warm_cache", parameters={"fails": True}), last)
    )
    assert (str(ending.outcome), ending.problems) == ("partial", ())
    assert offline.verify(ending.folder)[1] == []


VANISHED = [
    ("seal", "decision"),
    ("seal", "plan_digest"),
    ("seal", "action"),
    ("seal", "resource"),
    ("seal", "journal_head"),
    ("seal", "report_id"),
    ("seal", "report_digest"),
    ("approve", "journal_head"),
    ("approve", "receipt_id"),
    ("act", "verify_head"),
    ("act", "authorization_id"),
    ("act", "result_id"),
    ("investigate", "investigation_id"),
    ("investigate", "investigation_digest"),
]


@pytest.mark.threat("T35", "T36")
@pytest.mark.parametrize(("job", "output"), VANISHED, ids=str)
def test_an_output_that_vanished_is_a_problem_of_the_trail(world: GateWorld, job: str, output: str) -> None:
    """GitHub drops an output that holds what somebody masked."""
    needs = whole_run(world)
    del needs[job]["outputs"][output]
    ending = world.record(needs)
    assert ending.problems
    assert str(ending.outcome) in ("acted", "outcome_unknown", "investigation_failed")
    assert world.events("record")[-1]["status"] == "error"
    # The bundle says the same forever.
    assert offline.verify(ending.folder)[1]


@pytest.mark.threat("T8", "T35", "T36")
@pytest.mark.parametrize(
    ("job", "output", "value"),
    [
        ("seal", "decision", "auto"),
        ("seal", "plan_digest", "f" * 64),
        ("seal", "action", "delete_all"),
        ("seal", "resource", "payments-db"),
        ("seal", "journal_head", "f" * 64),
        ("approve", "journal_head", "f" * 64),
        ("act", "verify_head", "f" * 64),
        ("act", "authorization_digest", "f" * 64),
        ("seal", "report_digest", "f" * 64),
    ],
)
def test_an_output_that_says_something_else_is_a_problem_of_the_trail(
    world: GateWorld, job: str, output: str, value: str
) -> None:
    needs = whole_run(world)
    needs[job]["outputs"][output] = value
    assert world.record(needs).problems


@pytest.mark.threat("T37")
@pytest.mark.parametrize("conclusion", ["failure", "cancelled"])
def test_a_result_that_githubs_end_of_execute_contradicts_is_a_problem(world: GateWorld, conclusion: str) -> None:
    needs = whole_run(world)
    world.github.set_steps(world.run_id, "Act", {"Verify": "success", "Execute": conclusion})
    (problem,) = world.record(needs).problems
    assert f"the result says success, and GitHub says of the step Execute: {conclusion}" in problem.message


@pytest.mark.threat("T37")
def test_a_name_that_no_disk_takes_costs_a_part_and_no_record(world: GateWorld) -> None:
    needs = whole_run(world)
    id, digest = world.upload("agent-result", {"a" * 300: b"x"})
    needs["act"]["outputs"].update(result_id=id, result_digest=digest)
    ending = world.record(needs)
    assert ending.outcome is RunOutcome.OUTCOME_UNKNOWN
    assert any("by no plain name" in problem.message for problem in ending.problems)


@pytest.mark.threat("T8", "T14", "T36")
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("Approve plan ffffffffffff: restart_service on checkout", {}),
        ("Act without asking on plan ffffffffffff: restart_service on checkout", {}),
        ("Seal", {"conclusion": "failure"}),
        ("Act", {"conclusion": "failure"}),
        ("Investigate", {"conclusion": "cancelled"}),
    ],
)
def test_what_github_lists_otherwise_is_a_problem_of_the_trail(
    world: GateWorld, name: str, changes: dict[str, str]
) -> None:
    needs = whole_run(world)
    world.github.add_job(world.run_id, name, **changes)  # type: ignore[arg-type]
    (problem,) = world.record(needs).problems
    assert problem.code == codes.TRAIL_MISMATCH


@pytest.mark.threat("T35")
def test_an_investigation_without_its_journal_is_found_at_once_and_later(world: GateWorld) -> None:
    needs = whole_run(world)
    handed = documents.encode(examples.investigation())
    repack(world, needs, "investigate", "investigation", {names.INVESTIGATION_NAME: handed})
    ending = world.record(needs)
    assert [problem.message for problem in ending.problems] == ["the job investigate left no journal"]
    assert any("left no journal" in problem.message for problem in offline.verify(ending.folder)[1])


def test_a_run_that_an_earlier_one_makes_needless_leaves_a_trail_that_holds(world: GateWorld) -> None:
    """Its agent never started, so that there is nothing of it."""
    asked = Request("checkout", {}, "alert", "alert-9", deduplicate=True, dry_run=False)
    world.changes.update(GITHUB_EVENT_NAME="repository_dispatch", TRACE_ID="alert-9", GITHUB_RUN_NUMBER="2")
    file = names.WORKFLOW_FILE
    created = documents.format_time(now())
    world.github.add_run(
        "17", title="checkout [alert-9]", event="repository_dispatch", actor="x", file=file, created=created
    )
    world.github.add_job("17", "Investigate", "in_progress", None)
    seal.run_job(world.job("seal"), asked, seal.Handover("", "", "success"))
    report = world.upload_folder(names.REPORT_ARTIFACT, world.folder("seal") / names.DEFAULT_OUT)
    outputs = {**world.outputs("seal"), "report_id": report[0], "report_digest": report[1]}
    skipped = {"result": "skipped", "outputs": {}}
    ending = world.record(
        {
            "investigate": {"result": "success", "outputs": {}},
            "seal": {"result": "success", "outputs": outputs},
            "approve": skipped,
            "act": skipped,
        }
    )
    assert (str(ending.outcome), ending.problems) == ("duplicate", ())
    assert offline.verify(ending.folder)[1] == []


@pytest.mark.threat("T36")
def test_an_investigation_that_was_replaced_after_it_was_sealed_is_found(world: GateWorld) -> None:
    """Its outputs belong to the agent's machine, so that it could name another archive."""
    needs = whole_run(world)
    other = documents.encode(examples.investigation(examples.step(action="warm_cache")))
    journal = {name: data for name, data in left(world, "investigate").items() if name.startswith("journal/")}
    repack(world, needs, "investigate", "investigation", {**journal, names.INVESTIGATION_NAME: other})
    (problem,) = world.record(needs).problems
    assert problem.message == "what the job investigate left is not what was sealed"


def repack(world: GateWorld, needs: dict[str, Any], job: str, output: str, files: Mapping[str, bytes]) -> None:
    id, digest = world.upload("again", files)
    needs[job]["outputs"].update({output + "_id": id, output + "_digest": digest})


def left(world: GateWorld, job: str, folder: str = names.DEFAULT_OUT) -> dict[str, bytes]:
    """The files that a job left."""
    out = world.folder(job) / folder
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def result_of(world: GateWorld) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What Execute left, for a hijacked machine to change."""
    files = left(world, "act", names.EXECUTE_OUT)
    return json.loads(files[names.RESULT_NAME]), files


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "one of two steps ran, and all is well": ({"steps": 1}, "1 of 2 steps ran"),
    "no step ran, and all is well": ({"steps": 0}, "its last step something else"),
    "a step failed, and all is well": ({"last": {"status": "failed"}}, "its last step something else"),
    "another action": ({"last": {"action": "delete_all"}}, "the agent reports the actions"),
    "a dry run": ({"status": "dry_run", "last": {"status": "dry_run"}}, "the event outcome says outcome success"),
    "another plan's": ({"plan_digest": "f" * 64}, "result is of plan ffffffffffff"),
    "another run's": ({"run": documents.plain(examples.run(run_id="1"))}, "name different runs"),
    "another resource's": ({"resource": "payments-db"}, "the result's resource is payments-db"),
}


@pytest.mark.threat("T36")
@pytest.mark.parametrize("name", LIES)
def test_a_result_that_contradicts_the_plan_or_itself_is_found(world: GateWorld, name: str) -> None:
    changes, said = LIES[name]
    needs = whole_run(world, *STEPS)
    document, files = result_of(world)
    changes = dict(changes)
    document["steps"] = document["steps"][: changes.pop("steps", 2)]
    document["steps"][-1:] = [{**each, **changes.get("last", {})} for each in document["steps"][-1:]]
    changes.pop("last", None)
    document.update(changes)
    repack(world, needs, "act", "result", {**files, names.RESULT_NAME: json.dumps(document).encode()})
    found = [problem.message for problem in world.record(needs).problems]
    assert any(said in line for line in found), found


@pytest.mark.threat("T4", "T36")
@pytest.mark.parametrize("job", ["investigate", "act"])
@pytest.mark.parametrize(
    "data", [b"", b"\x00" * 100, b"{}\n", b"[]\n" * 50, b'{"event": 1}\n', b'{"event": {"metadata": []}}\n', b"\xff\n"]
)
def test_a_journal_that_is_none_stops_no_record(world: GateWorld, job: str, data: bytes) -> None:
    needs = whole_run(world)
    output = {"investigate": "investigation", "act": "result"}[job]
    files = {names.INVESTIGATION_NAME: documents.encode(examples.investigation())}
    if job == "act":
        files = result_of(world)[1]
    kept = {name: content for name, content in files.items() if not name.startswith("journal/")}
    repack(world, needs, job, output, {**kept, "journal/0001-0001.jsonl": data})
    ending = world.record(needs)
    assert (ending.folder / names.MANIFEST_NAME).exists()
    assert json.loads((ending.folder / names.MANIFEST_NAME).read_text())["outcome"] == str(ending.outcome)
    offline.verify(ending.folder)


@pytest.mark.threat("T4", "T36")
def test_whatever_the_agents_journal_says_the_run_is_recorded(world: GateWorld) -> None:
    needs = whole_run(world)
    files = result_of(world)[1]
    (name,) = [each for each in files if each.endswith(".jsonl")]
    whole = [json.loads(line) for line in files[name].decode().splitlines()]

    @settings(max_examples=40)
    @given(st.data())
    def change(data: st.DataObject) -> None:
        entries = copy.deepcopy(whole)
        entry = data.draw(st.sampled_from([each for each in entries if "event" in each]))
        place = data.draw(st.sampled_from([entry, entry["event"], entry["event"]["metadata"]]))
        place[data.draw(st.sampled_from(sorted(place)))] = data.draw(json_values)
        changed = "\n".join(json.dumps(each) for each in entries) + "\n"
        repack(world, needs, "act", "result", {**files, name: changed.encode()})
        shutil.rmtree(world.folder("record"))
        ending = world.record(needs)
        assert str(ending.outcome) in ("acted", "outcome_unknown")
        offline.verify(ending.folder)

    change()


@pytest.mark.parametrize(
    "needs",
    [
        "",
        "[]",
        "{}",
        '{"seal": {}}',
        json.dumps({name: {"result": "success"} for name in GOOD}),
        json.dumps({name: {"result": "success", "outputs": []} for name in GOOD}),
        json.dumps({name: {"result": "success", "outputs": {}} for name in GOOD})[:-1] + ', "act": 1}',
    ],
)
def test_what_is_not_the_needs_context_is_refused(needs: str) -> None:
    with pytest.raises(codes.BadInput) as refused:
        record.parse_needs(needs)
    assert refused.value.code == codes.RUN_CONTEXT_MISSING


def test_digests_are_the_plans(world: GateWorld) -> None:
    needs = whole_run(world)
    report = documents.decode(Report, (world.folder("seal") / names.DEFAULT_OUT / names.REPORT_NAME).read_bytes(), "r")
    assert plan.digest(report.plan) == needs["seal"]["outputs"]["plan_digest"]


@pytest.mark.threat("T4", "T37")
def test_whatever_the_agent_says_of_an_end_fits_into_an_answer(world: GateWorld) -> None:
    issue = world.github.open_issue("github-actions[bot]", "Approve", "plan", ["agent-approval"], "Bot")
    said = examples.result(status=ActionStatus.UNKNOWN, code=codes.INVESTIGATION_FAILED, message="\u202e" * 70_000)
    record._answer(
        GitHubApi(world.github.url, None),
        world.job("record"),
        issue["number"],
        outcome=RunOutcome.OUTCOME_UNKNOWN,
        parts=Parts(result=said),
        needs={"approve": Job("success", {})},
    )
    (comment,) = world.github.comments[issue["number"]]
    assert len(comment["body"]) < 20_000
    assert "69000 more characters" in comment["body"]


@pytest.mark.threat("T35")
@pytest.mark.parametrize("allowed", ["", "that of the backend", "audit.example.com", "127.0.0.1"])
def test_the_key_of_the_audit_backend_goes_to_the_host_of_the_configuration_only(
    world: GateWorld, allowed: str
) -> None:
    """Whoever may change the variable AIMGENTIX_API_URL would get the key otherwise."""
    folder = world.record(whole_run(world)).folder
    with Sink() as sink:
        host = sink.url.partition("//")[2] if allowed.startswith("that") else allowed
        config = world.root / ".github" / "agent-config.yml"
        config.write_text(config.read_text() + f"audit_host: '{host}'\n")
        variables = {"AIMGENTIX_API_URL": sink.url, "AIMGENTIX_API_KEY": "k3y"}
        done = world.command("record", ["deliver", str(folder)], **variables)
        assert done.returncode == 0, done.stderr
        keys = {request.headers.get("authorization") for request in sink.requests}
    if host == allowed and host:
        assert keys == set()
        assert f"AIMGENTIX_API_URL is not at {host}, the audit_host of .github/agent-config.yml" in done.stdout
        assert "TRAIL06" in done.stderr and "audit_host" in world.page("record")
    else:
        assert keys == {"Bearer k3y"} and "spooled 0" in done.stdout
