"""The pages say everything that a decision needs, and nothing that somebody else put into the agent's mouth."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.gate import environment
from agent_runtime.gate.bundle import RunOutcome
from agent_runtime.gate.pages import claims
from agent_runtime.gate.pages.record import render_answer, render_record
from agent_runtime.gate.pages.result import render_authorization, render_result
from agent_runtime.gate.pages.review import render_issue, render_refusal, render_summary, render_terminal
from agent_runtime.local.terminal import as_terminal
from agent_runtime.model import documents, inputs, names, plan
from agent_runtime.model.documents import (
    ActionReport,
    Approver,
    Earlier,
    PolicyChange,
    Report,
    ReportStatus,
    StepResult,
)
from agent_runtime.results import ActionStatus, Finding, ModelUse, Severity
from agent_runtime.text import escape
from support import examples
from support.gfm import Page, gfm
from support.strategies import hostile_text, json_objects, json_text

# What a page may be made of.  No image, rule, task list, footnote or other HTML; the links are the runtime's.
TAGS = {
    *["a", "details", "summary"],
    *["h1", "h2", "h3", "p", "strong", "code", "pre", "br", "blockquote", "ul", "ol", "li"],
    *["table", "thead", "tbody", "tr", "th", "td"],
}
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def address(run_id: str) -> str:
    return f"https://github.com/acme/checkout-restart/actions/runs/{run_id}"


def summary(found: Report) -> str:
    """The page that `seal` shows behind environments."""
    if found.plan is None:
        return render_summary(found, digest="", decide=[], run_url=address)
    digest = plan.digest(found.plan)
    decide = environment.EnvironmentGate().how_to_decide(found.plan, digest)
    return render_summary(found, digest=digest, decide=decide, run_url=address)


def issue(found: Report) -> tuple[str, str]:
    """Title and text of the issue about the same report."""
    assert found.plan is not None
    digest = plan.digest(found.plan)
    return render_issue(found, digest=digest, approvers=["bob"], origin="the report", run_url=address("4711"))


def short(found: Report) -> str:
    assert found.plan is not None
    return plan.short(plan.digest(found.plan))


def proposing(**changes: Any) -> Report:
    """A report that proposes one step, `examples.step()` with these changes."""
    return examples.report(plan=examples.sealed(examples.step(**changes)))


def hostile_report(text: str, evidence: dict[str, Any], **changes: Any) -> Report:
    """A report in which every word of the agent is `text`."""
    step = examples.step(parameters={"note": text}, reason=text, reversible=True, rollback=text)
    values: dict[str, Any] = {
        "plan": examples.sealed(step, preconditions={"started": text}),
        "findings": (Finding(text, Severity.HIGH, evidence), Finding("second", Severity.LOW, {"key": 1})),
        "recommendation": text,
        "analysis": "x" + text,
        "policy_reasons": ("allowed_actions[0] (" + text + "): matches",),
        **changes,
    }
    return examples.report(**values)


def skeleton(page: Page) -> str:
    """What the page says outside of code, without what separates pieces of code."""
    return re.sub(r"[`|\s]|\(empty\)", "", page.outside)


# The reviewer's page


JUDGED = "allowed_actions[0]: error_rate 0.31 > 0.05, requests 240 ≥ 20; risk medium, at most high"
ASKED = (JUDGED + "; not looked at: connections, pre_command",)
EARLIER = (
    Earlier("4709", "restart_service", "2026-11-21T10:00:00Z", "did not succeed"),
    Earlier("4705", "restart_service", "2026-11-20T10:00:00Z", "succeeded"),
    Earlier("4701", "restart_service", "2026-11-19T10:00:00Z", "succeeded"),
)


def complete() -> Report:
    """A report of which every part is there."""
    change = ["--- a/app.json", "+++ b/app.json", "@@ -3 +3 @@", '-  "connections": 6,', '+  "connections": 10,']
    step = examples.step(parameters={"diff": change, "error_rate": 0.31}, reversible=True, rollback="revert it")
    return examples.report(
        plan=examples.sealed(step),
        policy_asked=ASKED,
        policy_changed=PolicyChange("2026-11-19T10:00:00Z", "dave"),
        policy_reasons=("allowed_actions[0] (x on y): matches",),
        earlier=EARLIER,
        measured_at="2026-11-22T10:59:58Z",
        findings=(Finding("31 % of the requests fail", Severity.HIGH, {"error_rate": 0.021}),),
        analysis="the pool is too small",
    )


FIRST_SCREEN = [
    "Approve restart_service on checkout?",
    "Until 2026-11-22 12:00:00 UTC. Nothing has been changed so far.",
    "The agent contradicts itself.",
    "error_rate is 0.31 in the plan, and 0.021 in a finding",
    "What will change",
    '    -  "connections": 6,\n    +  "connections": 10,\n',
    "error_rate      0.31",
    "Undo            yes, risk medium, says the agent: revert it",
    "Refused unless  started is still 17",
    "Policy          " + JUDGED + "; changed 2026-11-19 10:00 UTC by dave",
    "Not judged      the policy takes any value of connections, pre_command",
    "Before          in the last 7 days 1 did not succeed, 2 succeeded; the last, restart_service, 2026-11-21 10:00:00",
    "Asked by        alice, trigger: manual",
    "Approve         1 human among the reviewers, not alice",
    "Plan            ",
]


@pytest.mark.threat("T14")
def test_t14_the_page_has_what_a_decision_needs_in_this_order() -> None:
    found = complete()
    assert found.plan is not None
    digest = plan.digest(found.plan)
    expected = [
        *FIRST_SCREEN,
        digest[:12] + ", sealed 2026-11-22 11:00:00 UTC",
        "How to decide",
        "The job that waits must be named Approve plan " + digest[:12] + " and then the action",
        "This page stands under the heading Seal of the run's summary",
        "agent-approval",
        "A click by anybody else, alice included, does not count",
        "Written by the agent",
        "It looked until 2026-11-22 10:59:58 UTC, 2 seconds before the plan was sealed; what it saw may be older.",
        "Reason                 31 % of the requests fail",
        "Confidence             0.8 of 1 (not used for any decision)",
        "- high: 31 % of the requests fail\n  - error_rate: 0.021",
        "> the pool is too small",
        "What the policy said",
        "- allowed_actions[0] (x on y): matches",
        "The plan",
        digest,
        "The whole plan as JSON",
        '    "action": "restart_service"',
    ]
    text = as_terminal(summary(found))
    places: list[int] = []
    for piece in expected:
        places.append(text.find(piece, places[-1] if places else 0))
    assert -1 not in places, expected[places.index(-1)]
    commit = examples.run().sha
    for name in ("RUNBOOK", "REVIEWER"):
        assert f"https://github.com/acme/checkout-restart/blob/{commit}/docs/{name}.md" in text


@pytest.mark.threat("T14")
def test_the_first_screen_of_a_terminal_has_it_all_and_no_word_of_a_web_page() -> None:
    page = as_terminal(render_terminal(complete()), 80)
    lines = page.split("\n")
    first = " ".join(" ".join(lines[:30]).split())
    for piece in FIRST_SCREEN:
        assert " ".join(piece.split()) in first, piece
    plain = as_terminal(render_terminal(examples.report(policy_asked=ASKED, earlier=EARLIER[:1])), 80).split("\n")
    assert any(line.startswith("Plan  ") for line in plain[:24]), "without a change it fits into 24 lines"
    assert max(map(len, lines[:40])) <= 80
    for word in ("Review deployments", "On this page", "scroll", "https://", "tick", "<details>"):
        assert word not in page
    assert "Runbook: docs/RUNBOOK.md" in first and "How to decide: docs/REVIEWER.md" in first


def test_the_name_of_the_waiting_job_keeps_digest_and_action_whatever_github_cuts() -> None:
    longest = inputs.action("a" * 64)
    with pytest.raises(codes.BadInput):
        inputs.action("a" * 65)
    name = f"{names.APPROVE_JOB}{short(proposing(action=longest))}: {longest} on {'r' * 256}"
    assert longest in name[: names.MAX_JOB_NAME] and short(proposing(action=longest)) in name[: names.MAX_JOB_NAME]
    page = summary(proposing(action=longest))
    assert f"must be named **{name[:25]}** and then the action" in page


def first_screen(**changes: Any) -> str:
    """The first 24 lines at 80 columns of a plan about a resource that needs ten of something, with these changes."""
    step = {"parameters": {"to": 4}, **changes.pop("step", {})}
    values = {"policy_asked": ASKED, "earlier": (), "findings": (Finding("slow", Severity.HIGH, {"to": 4}),), **changes}
    found = examples.report(plan=examples.sealed(examples.step(**step)), **values)
    return "\n".join(as_terminal(render_terminal(found), 80).split("\n")[:24])


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"step": {"parameters": {"to": 40}}}, ("to is 40 in the plan, and 4 in a finding", "to              40")),
        (
            {"policy_asked": ("allowed_actions[0]: error_rate 0.06 > 0.0001; risk low, at most critical",)},
            ("> 0.0001",),
        ),
        (
            {"policy_asked": ("allowed_actions[0]: no condition on the parameters; risk low, at most low",)},
            ("no cond",),
        ),
        ({"step": {"parameters": {"diff": "-old\n+new"}}}, ("    -old\n    +new",)),
        ({"step": {"parameters": {"files": ["a"] * 3, "file_count": 39}}}, ("file_count      39",)),
        ({"step": {"action": "purge_cache"}}, ("Approve purge_cache",)),
        ({"earlier": EARLIER}, ("1 did not succeed",)),
    ],
)
def test_what_makes_a_plan_a_bad_one_stands_on_the_first_screen(changes: dict[str, Any], seen: tuple[str, ...]) -> None:
    screen, good = first_screen(**changes), first_screen()
    for piece in seen:
        assert piece in screen and piece not in good


def test_what_a_model_wrote_is_labelled_on_the_first_screen_and_above_its_words() -> None:
    used = ModelUse("openai:`small|`", "a" * 64, 3, 4, 1200, 0.0123)
    page = gfm(summary(examples.report(model=used))).text
    assert page.index("Chosen by") < page.index("What the agent says") < page.index("A language model wrote this")
    assert page.index("A language model wrote this") < page.index("In the agent's words")
    for shown in ("in 3 answers, after 4 tool calls (1200 tokens, 0.0123 USD)", names.TRANSCRIPT_NAME, "a" * 64):
        assert shown in page
    assert "language model" not in gfm(summary(examples.report())).text


def test_a_long_change_says_how_much_it_is_and_stands_below_the_values() -> None:
    files = [f"--- a/{n}.json\n+++ b/{n}.json\n@@ -1 +1,2 @@\n-1\n+2\n+3" for n in range(39)]
    long, short_one = (summary(proposing(parameters={"diff": "\n".join(each)})) for each in (files, files[:1]))
    assert "**What will change**: 39 files, 78 lines more, 39 less" in long
    assert long.index("| What | Value |") < long.index("**What will change**") < long.index("Written by the agent")
    assert "**What will change**: 1 file, 2 lines more, 1 less" in short_one
    assert short_one.index("**What will change**") < short_one.index("| What | Value |")


def test_a_terminal_wraps_and_loses_nothing() -> None:
    value = "word " * 40 + "x" * 200
    page = as_terminal(render_terminal(proposing(parameters={"note": value})), 80)
    start = page.index("note ")
    assert re.sub(r"\s", "", value) in re.sub(r"\s", "", page[start : start + 1000])


@pytest.mark.parametrize(
    ("planned", "measured", "flagged"),
    [
        (0.3, 0.021, True),
        (4, 40, True),
        ("a", "b", True),
        (1, True, True),
        (1, 1.0, False),
        (4, 4, False),
        (4, [4], False),
    ],
)
def test_equal_names_with_different_values_are_flagged(planned: object, measured: object, flagged: bool) -> None:
    step = examples.step(parameters={"to": planned})
    findings = (Finding("look", Severity.HIGH, {"to": measured, "other": 1}),)
    for sealed in (examples.sealed(step), examples.sealed(preconditions={"to": planned})):
        page = summary(examples.report(plan=sealed, findings=findings))
        assert ("The agent contradicts itself" in page) is flagged


@pytest.mark.threat("T3")
@pytest.mark.parametrize(
    ("reason", "found"),
    [
        ("2 instances become 4", ["4"]),
        ("2 instances become 40; cpu is at 91.0% of its limit, more than 80 %", []),
        ("cpu is at 92.0% of its limit", ["92.0%"]),
        ("cpu is at 91%, which 0.91 is; 1,250 requests, all of 3 nodes", []),
        ("1,251 requests", ["1,251"]),
        ("see ticket OPS-4711, v1.2.3, 10:59:58, 2026-11-22, https://x.example/4, checkout-eu#7", []),
        ("checkout-us is slow", ["checkout-us"]),
        ("restart-service and scale are other things than restart_service on Checkout-EU.", []),
        ("stop_service would do", ["stop_service"]),
        ("the pool checkout.db of checkout-eu", []),
        ("the old-commit is 1234567", []),
        ("cpu is at 91", ["91"]),
        ("the load is 0.9", []),
        ("the load is 0.95", ["0.95"]),
        ("57 hours ago, with a limit of 77", []),
        ("as in checkout-ap, unlike Checkout-US and payments-eu", ["Checkout-US"]),
        ("2 " * 200 + "pods become 4, and then 4", ["4"]),
        ("a restart helped on 12 November, on May 3rd, 2026 and on 1 Sept 2025, each time within 6 minutes", []),
        ("6.5 s a request, 300 ms before, for 3 weeks", []),
        ("6 minor faults in 5 hosts of 4 Marvins, 12 Novemberish, 7 secondary ones", ["6", "5", "4", "12", "7"]),
    ],
)
def test_what_a_reason_names_and_the_plan_does_not_have_is_flagged(reason: str, found: list[str]) -> None:
    parameters = {"from": 2, "to": 40, "cpu": 0.91, "note": "1250 requests", "nodes": ["a", "b", "c"]}
    parameters["commit"] = "1234567890" * 4
    step = examples.step(action="restart_service", parameters=parameters, reason=reason)
    known = {"preconditions": {"hours": 57}, "variables": {"LIMIT": "77"}}
    sealed = examples.sealed(step, resource="checkout-eu", **known)
    asked = ("allowed_actions[0]: cpu 0.91 > 0.8; on checkout-ap, too; risk medium, at most high",)
    page = summary(examples.report(plan=sealed, policy_asked=asked))
    line = f"\n> - the reason names {', '.join(f'`{each}`' for each in found)}\n"
    assert (line in page, "**Not in the plan**" in page) == (bool(found), bool(found))
    assert not found or page.index(line) < page.index("| What | Value |"), "on the first screen"


@pytest.mark.threat("T10", "T26")
def test_each_variable_with_its_value_and_each_secret_by_name_stand_in_the_table() -> None:
    sealed = examples.sealed(variables={"REGION": "eu-1", "CLUSTER": ""}, secrets=("AGENT_ACT_TOKEN", "VAULT"))
    table = [line for line in summary(examples.report(plan=sealed)).splitlines() if line.startswith("| ")]
    for row in (
        '| Variable `CLUSTER` | `""` |',
        '| Variable `REGION` | `"eu-1"` |',
        "| Secrets | `AGENT_ACT_TOKEN`, `VAULT` |",
    ):
        assert row in table, table
    assert "| Secrets | none |" in summary(examples.report(plan=examples.sealed(secrets=())))


def test_what_the_policy_looks_at_of_no_step_stands_in_a_row_of_its_own() -> None:
    asked = (
        "allowed_actions[0] of step 1: a 1 > 0; risk low, at most low; not looked at: b",
        "allowed_actions[1] of step 2: c",
    )
    page = summary(examples.report(policy_asked=asked))
    assert "| Not judged | the policy takes **any value** of `allowed_actions[0] of step 1: b` |" in page
    assert "at most low`; `allowed_actions[1] of step 2: c`" in page and "not looked at" not in page
    assert "Not judged" not in summary(examples.report(policy_asked=asked[1:]))


def test_a_yes_is_not_the_number_one() -> None:
    sealed = examples.sealed(examples.step(parameters={"drain": True}))
    assert claims.unfounded("17 hours ago 1 pod went down", sealed, ()) == ["1"]


@given(hostile_text, st.integers(0, 100))
def test_no_reason_keeps_its_page_from_being_written(text: str, number: int) -> None:
    said = claims.unfounded(f"{text} {number}", examples.sealed(examples.step(parameters={"n": number})), (text,))
    assert len(said) <= 10 and str(number) not in said[-1:]


def test_a_long_reason_takes_no_time() -> None:
    sealed = examples.sealed(examples.step(parameters={"n": list(range(20_000))}))
    started = time.process_time()
    for text in ("a" * 300_000, "1" * 300_000, "checkout-" * 30_000, "_" * 300_000, "1,111" * 60_000, "7 % " * 90_000):
        assert len(claims.unfounded(text, sealed, ())) <= 10
    assert time.process_time() - started < 5


def test_times_in_the_evidence_have_an_age() -> None:
    evidence = {
        "since": "2026-11-19T11:00:00Z",
        "at": "2026-11-22T12:59:57+02:00",
        "next": "2026-11-22 11:02:00Z",
        "no time": "2026-13-22T11:02:00Z",
        "other": "at 2026-11-22T10:00:00Z",
    }
    found = (Finding("look", Severity.HIGH, evidence),)
    page = summary(examples.report(findings=found))
    for line in (
        "since`: `2026-11-19T11:00:00Z` (3 days before the plan was sealed)\n",
        "at`: `2026-11-22T12:59:57+02:00` (3 seconds before the plan was sealed)\n",
        "next`: `2026-11-22 11:02:00Z` (2 minutes after the plan was sealed)\n",
        "no time`: `2026-13-22T11:02:00Z`\n",
        "other`: `at 2026-11-22T10:00:00Z`\n",
    ):
        assert line in page
    nothing = summary(examples.report(plan=None, status=ReportStatus.NOTHING_TO_DO, findings=found))
    assert "(3 days before this report)" in nothing


@pytest.mark.threat("T4")
def test_names_that_git_and_github_give_are_text() -> None:
    named = "x` | <img src=x> [y](https://evil.example)\n\n* [ ] z"
    shown, plain = (
        gfm(summary(examples.report(policy_changed=PolicyChange("2026-11-20T10:00:00Z", name), approvers_unseen=name)))
        for name in (named, "bob")
    )
    assert [tag for tag in shown.tags if tag != "code"] == [tag for tag in plain.tags if tag != "code"]
    assert "evil" not in shown.outside and "is not known" in shown.outside


def test_a_measurement_after_the_sealing_has_no_age() -> None:
    assert "2 seconds before the plan was sealed" in summary(examples.report(measured_at="2026-11-22T10:59:58Z"))
    assert "the plan was sealed" not in summary(examples.report(measured_at="2026-11-22T11:00:02Z", findings=()))


def test_what_earlier_runs_did_is_there_or_said_to_be_unknown() -> None:
    assert "no earlier action on this resource" in summary(examples.report(earlier=()))
    assert "not known: GitHub did not say" in summary(examples.report(earlier=None))


def test_many_values_share_a_row_and_every_one_is_shown() -> None:
    many = {f"key{number}": number * 1000 for number in range(20)}
    page = as_terminal(summary(proposing(parameters=many)))
    (row,) = [line for line in page.split("\n") if line.startswith("Parameters")]
    assert all(f"{key} {value}" in row for key, value in many.items())


def test_the_page_of_a_rerun_names_both_people_and_the_attempt() -> None:
    run = examples.run(run_attempt=2, triggering_actor="carol")
    text = as_terminal(summary(examples.report(run=run, plan=examples.sealed(run=run))))
    assert "alice, trigger: manual; re-run by carol (attempt 2)" in text
    assert "A click by anybody else, alice or carol included, does not count" in text


def test_what_the_agent_left_out_is_reported() -> None:
    bare = examples.report(findings=(), plan=examples.sealed(preconditions={}))
    assert "The agent gave no findings" in summary(bare)
    assert "nothing: the agent named no precondition" in summary(bare)
    assert "no evidence given" in summary(examples.report(findings=(Finding("trust me"),)))
    assert "yes, risk **medium**, says the agent, without saying how" in summary(proposing(reversible=True))
    assert "**no**, risk **medium**, says the agent: `restart by hand`" in summary(
        proposing(rollback="restart by hand")
    )
    assert "It looked until" not in summary(examples.report())


@pytest.mark.threat("T14")
def test_a_plan_of_several_steps_shows_each_with_its_own_facts_in_order() -> None:
    steps = [
        examples.step(action="drain", parameters={"node": 1}, reason="it is full", reversible=True, rollback="undrain"),
        examples.step(action="restart_service", parameters={"wait": 5}, reason="it leaks", changes=("started",)),
    ]
    found = examples.report(plan=examples.sealed(*steps))
    page = as_terminal(summary(found))
    assert page.startswith("Approve drain, then restart_service on checkout?\n===")
    columns = re.sub(" {2,}", "  ", page)
    places = [
        columns.index(piece)
        for piece in (
            *(
                "Step 1  drain",
                "node  1",
                "yes, risk medium, says the agent: undrain",
                "no precondition, says the agent",
            ),
            *("Step 2  restart_service", "wait  5", "no, risk medium, says the agent", "started, says the agent"),
            *("Reason for step 1  it is full", "Reason for step 2  it leaks"),
        )
    ]
    assert places == sorted(places)
    title, text = issue(found)
    assert title.endswith(": drain+restart_service on checkout?")
    assert text.startswith("# Approve `drain`, then `restart_service` on `checkout`?\n")


def test_a_dry_run_says_so_before_anything_else_about_the_plan() -> None:
    page = summary(examples.report(plan=examples.sealed(dry_run=True)))
    assert page.index("> **Dry run:**") < page.index("| What | Value |")
    assert "Dry run" not in summary(examples.report())


@pytest.mark.threat("T14", "T23")
def test_the_page_of_a_plan_that_nobody_is_asked_about_asks_nobody() -> None:
    stamp = documents.PolicyStamp("a" * 64, documents.Decision.AUTO, ("auto_approve[0]",))
    page = summary(examples.report(plan=examples.sealed(policy=stamp)))
    assert page.startswith("# Without asking: `restart_service` on `checkout`\n")
    assert "| Policy | `auto_approve[0]`; when it last changed is not known |" in page and "nobody is asked" in page
    assert "## How to decide" not in page and "# Approve" not in page


def test_evidence_of_several_lines_keeps_them() -> None:
    log = "ERROR pool exhausted\nERROR pool exhausted again\n"
    page = gfm(summary(examples.report(findings=(Finding("the log is full", Severity.HIGH, {"log": log, "n": 2}),))))
    assert log in page.codes
    assert "2" in page.codes


@pytest.mark.threat("T8", "T14")
@given(json_text, json_objects)
@example("`" * 300, {})
@example("\\u{202e} \x7f", {})
def test_t8_the_block_is_exactly_the_sealed_plan(text: str, evidence: dict[str, Any]) -> None:
    found = hostile_report(text, evidence)
    assert found.plan is not None
    for markdown in (summary(found), issue(found)[1]):
        page = gfm(markdown)
        (shown,) = [json.loads(code) for code in page.codes if code.startswith('{\n  "approvals"')]
        assert shown == documents.plain(found.plan)
        assert plan.digest(shown) == plan.digest(found.plan)
        assert plan.digest(found.plan) in page.codes


@pytest.mark.threat("T6")
def test_t6_the_block_shows_look_alike_letters_as_what_they_are() -> None:
    page = summary(proposing(parameters={"host": "\u0430pi", "note": "\u202e"}))
    assert '"host": "\\u0430pi"' in page
    assert '"note": "\\u202e"' in page
    assert '`"\\u{202e}"`' in page, "the table of parameters shows it too"


def test_the_command_on_the_page_computes_the_digest_on_the_page(tmp_path: Path) -> None:
    page = gfm(summary(examples.report()))
    (block,) = [code for code in page.codes if code.startswith("{\n")]
    (command,) = [code for code in page.codes if code.startswith("python -c")]
    (tmp_path / "plan.json").write_text(block, encoding="utf-8")
    arguments = [sys.executable, *shlex.split(command)[1:]]
    answer = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == plan.digest(examples.sealed())
    assert answer.stdout.strip() in page.codes


def test_wide_lines_are_announced_and_can_be_read_in_the_table() -> None:
    long = "word " * 60
    wide = summary(proposing(parameters={"note": long}))
    assert "Some lines are wide" in wide
    assert "Some lines are wide" not in summary(examples.report())
    assert json.dumps(long) in gfm(wide).codes


@pytest.mark.threat("T3", "T4")
@given(json_text, json_objects)
def test_t3_t4_the_agents_words_change_nothing_outside_of_code(text: str, evidence: dict[str, Any]) -> None:
    """Whatever the agent writes, the runtime's own words on the page stay the same, letter for letter."""
    plain_evidence = dict.fromkeys(map(str, range(len(evidence))), 0)
    hostile, harmless = hostile_report(text, evidence), hostile_report("x", plain_evidence)
    for show in (summary, lambda found: issue(found)[1]):
        said, expected = gfm(show(hostile)), gfm(show(harmless))
        words = (
            skeleton(said)
            .replace(short(hostile), short(harmless))
            .replace("Somelinesarewide:scrolltotherighttoreadthemtotheirend.", "")
        )
        words = re.sub(r"\(cuthere:\d+more\w+areinthereport\)", "", words)
        # Evidence of several lines is in a block below its name, with a colon of its own.
        assert words.replace("::", ":") == skeleton(expected).replace("::", ":")
        assert set(said.tags) <= TAGS | set(expected.tags)


@pytest.mark.threat("T3", "T4", "T14")
@given(hostile_text)
def test_t3_the_title_of_an_issue_is_one_line_that_names_the_plan_first(text: str) -> None:
    found = examples.report(plan=examples.sealed(examples.step(action=text), resource=text))
    assert found.plan is not None
    title, _ = issue(dataclasses.replace(found, plan=examples.sealed(resource=text.encode("utf-8", "ignore").decode())))
    assert title.startswith("Approve plan ") and title.endswith("?")
    assert not CONTROL.search(title) and "\n" not in title
    assert len(title) < 256 + 80 * 9


@pytest.mark.threat("T14")
def test_the_issue_calls_everybody_who_may_decide_and_nobody_else() -> None:
    found = examples.report()
    assert found.plan is not None
    options = {"digest": plan.digest(found.plan), "origin": "x", "run_url": address("4711")}
    _, text = render_issue(found, approvers=["Alice", "bob", "carol"], **options)
    assert "@bob, @carol, please decide." in text
    assert "@Alice" not in text and "A comment by `alice` does not approve" in text
    assert "/approve " + plan.digest(found.plan) in gfm(text).text
    assert "@" not in render_issue(found, approvers=["alice"], **options)[1]


def test_an_issue_that_github_would_not_take_is_refused_and_never_cut() -> None:
    assert len(issue(proposing(parameters={"note": "x" * 25_000}))[1]) > 50_000
    with pytest.raises(codes.BadInput) as caught:
        issue(proposing(parameters={"note": "x" * 35_000}))
    assert caught.value.code == codes.REPORT_TOO_LARGE
    with pytest.raises(codes.BadInput) as caught:
        render_issue(
            examples.report(plan=None, status=ReportStatus.DENIED), digest="", approvers=[], origin="", run_url=""
        )
    assert caught.value.code == codes.REPORT_NO_PLAN


@pytest.mark.threat("T3", "T4")
@given(hostile_text, st.sampled_from([ReportStatus.DENIED, ReportStatus.FAILED, ReportStatus.NOTHING_TO_DO]))
def test_t3_t4_the_other_pages_hold_no_markup_of_the_agent(text: str, status: ReportStatus) -> None:
    found = hostile_report("x", {text: text}, plan=None, status=status)
    found = dataclasses.replace(found, analysis=text, recommendation=text, policy_reasons=(text,), error=text)
    page = gfm(summary(found))
    assert set(page.tags) <= TAGS
    assert page.tags.count("h1") == 1


@pytest.mark.threat("T3")
@given(hostile_text)
def test_what_the_agent_says_is_shown_as_it_is_while_it_is_short(text: str) -> None:
    safe = text.encode("utf-8", "ignore").decode()[:500]
    page = gfm(summary(hostile_report(safe, {"key": safe})))
    shown = escape.visible(safe) or "(empty)"
    # Reason, recommendation, rollback, first finding.
    assert page.text.count(shown) >= 4
    for line in safe.replace("\r\n", "\n").strip("\n").split("\n"):
        assert escape.visible(line).strip() in page.text


def test_the_agents_words_are_bounded_and_the_page_says_where() -> None:
    """A flood of words must not hide what is sealed, and what is sealed is never cut."""
    evidence = {f"key{number}": "e" * 5_000 for number in range(50)} | {"log": "line\n" * 5_000}
    findings = tuple(Finding("m" * 5_000, Severity.LOW, dict(reversed(evidence.items()))) for _ in range(100))
    found = proposing(parameters={"note": "p" * 9_000})
    page = summary(dataclasses.replace(found, findings=findings, analysis="a\n" * 50_000, recommendation="r" * 5_000))
    assert len(page) < 250_000
    for cut in (
        "`" + "m" * 600 + "` **(cut here: 4400 more characters are in the report)**",
        "`" + "e" * 600 + "` **(cut here: 4400 more characters are in the report)**",
        "  - **(cut here: 36 more values are in the report)**",
        "- **(cut here: 85 more findings are in the report)**",
        "`" + "r" * 600 + "` **(cut here: 4400 more characters are in the report)**",
    ):
        assert cut in page, cut
    assert page.count("> `a`") == 40
    assert gfm(page).text.count("p" * 9_000) == 2, "what is sealed: in the table, and in the JSON"
    faked = "x **(cut here: 7 more findings are in the report)**"
    assert "cut here" not in gfm(summary(examples.report(recommendation=faked))).outside


@given(json_text, json_objects)
def test_the_same_report_gives_the_same_page(text: str, evidence: dict[str, Any]) -> None:
    found = hostile_report(text, evidence)
    reread = documents.decode(Report, documents.encode(found), "report")
    assert summary(found) == summary(found) == summary(reread)


@pytest.mark.threat("T14")
def test_a_page_that_github_would_not_show_is_refused_and_never_cut() -> None:
    assert "x" * 400_000 in summary(proposing(parameters={"note": "x" * 400_000}))
    for too_large in (
        proposing(parameters={"note": "x" * 600_000}),
        proposing(parameters={"note": "\u202e" * 150_000}),
        proposing(reason="`" * 700_000),
        proposing(parameters={"note": "é" * 200_000}),
    ):
        with pytest.raises(codes.BadInput) as caught:
            summary(too_large)
        assert caught.value.code == codes.REPORT_TOO_LARGE
        sizes = re.findall(r"(findings|analysis|plan): ([0-9]+) bytes", caught.value.message)
        largest = max(sizes, key=lambda part: int(part[1]))[0]
        assert int(dict(sizes)[largest]) > 150_000, caught.value.message


# The other pages of an investigation


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (ReportStatus.NOTHING_TO_DO, "# Nothing to do on `checkout`"),
        (ReportStatus.DENIED, "# Denied: no action on `checkout`"),
        (ReportStatus.FAILED, "# Nothing is asked: " + codes.describe(codes.RESULT_INVALID).title),
    ],
)
def test_a_run_that_asks_for_nothing_says_so_first(status: ReportStatus, title: str) -> None:
    failed = {"code": codes.RESULT_INVALID, "error": "AGT003: no JSON"} if status is ReportStatus.FAILED else {}
    page = summary(examples.report(plan=None, status=status, policy_reasons=("because",), **failed))
    assert page.startswith(title + "\n")
    assert "nobody is asked" in page.split("\n\n")[1]
    assert ("`because`" in page) == (status is ReportStatus.DENIED)
    assert ("`AGT003: no JSON`" in page) == (status is ReportStatus.FAILED)
    assert "Approve" not in page and "How to decide" not in page
    assert render_terminal(examples.report(plan=None, status=status, policy_reasons=("because",), **failed)) == page


@pytest.mark.threat("T3", "T4")
@given(hostile_text, st.none() | hostile_text.filter(lambda code: code not in codes.registered()))
def test_t4_a_failed_investigation_says_why_in_the_agents_words_and_nothing_else(text: str, code: str | None) -> None:
    """The code and the message can come from the machine that ran team code."""
    found = examples.report(plan=None, status=ReportStatus.FAILED, code=code, error=text)
    page = gfm(summary(found))
    assert set(page.tags) <= TAGS and page.tags.count("h1") == 1
    assert page.text.startswith("Nothing is asked: the investigation failed")
    assert (escape.visible(text) or "(empty)") in page.text


def test_a_duplicate_leads_to_the_run_that_asks() -> None:
    found = examples.report(plan=None, status=ReportStatus.DUPLICATE, duplicate_of="4700")
    page = summary(found)
    assert page.startswith("# Nothing to do on `checkout`: run 4700 asks already\n")
    assert f"[run 4700]({address('4700')})" in page
    odd = render_summary(found, digest="", decide=[], run_url=lambda run: f"https://x/a/b/actions/runs/{run})[y](z")
    assert "](" not in odd and "The run 4700 is about" in odd


@pytest.mark.threat("T4")
@given(hostile_text, st.sampled_from(sorted(codes.registered())))
def test_t4_a_refused_trigger_is_reported_with_its_way_out(text: str, code: str) -> None:
    page = gfm(render_refusal(codes.BadInput(code, text)))
    assert set(page.tags) <= TAGS and page.tags.count("h1") == 1
    assert page.text.startswith("Refused: nothing was investigated")
    meaning = codes.describe(code)
    assert f"{code}: {meaning.title}" in page.outside
    assert f"What to do: {meaning.fix}" in page.text, "whatever it holds, for example <agent> or 2**53"


@pytest.mark.parametrize("code", sorted(codes.registered()))
def test_the_way_out_of_a_refusal_is_shown_letter_by_letter(code: str) -> None:
    meaning = codes.describe(code)
    verified = examples.authorization(authorized=False, approvers=(), code=code, message="m")
    executed = examples.result(examples.step_result(code=code), status=ActionStatus.REFUSED, code=code)
    for markdown in (
        render_refusal(codes.BadInput(code, "m")),
        render_authorization(verified),
        render_result(executed),
    ):
        page = gfm(markdown)
        assert f"{code}: {meaning.title}" in page.text
        assert f"What to do: {meaning.fix}" in page.text
        assert f"What to do: {meaning.fix}" in as_terminal(markdown)


# The pages of the jobs that act


def test_the_page_of_an_authorization_says_who_approved() -> None:
    page = as_terminal(render_authorization(examples.authorization()))
    assert page.startswith("Authorized: the plan for checkout\n")
    assert "Approved by  bob" in page
    unasked = as_terminal(render_authorization(examples.authorization(approvers=())))
    assert "Approved by  nobody: the policy lets it happen without asking" in unasked


def test_a_refusal_before_acting_shows_code_reason_and_way_out() -> None:
    refused = examples.authorization(
        authorized=False, approvers=(), code=codes.GATE_EXPIRED, message="expired 14 minutes ago"
    )
    text = as_terminal(render_authorization(refused))
    assert text.startswith("Refused: nothing is executed on checkout\n")
    for piece in (
        "GATE04: " + codes.describe(codes.GATE_EXPIRED).title,
        "expired 14 minutes ago",
        "What to do: Start a new run",
    ):
        assert piece in text
    assert "Approved by" not in text


STEP = examples.step_result(
    latency_ms=5234.5,
    changes=("restarted checkout",),
    verification={"error_rate_before": 0.31, "error_rate_after": 0.0},
    rollback="start version 16",
    details={"flagged": True},
)


def test_the_page_of_a_result_shows_what_changed_and_who_says_so() -> None:
    text = as_terminal(render_result(examples.result(STEP)))
    assert text.startswith("Done: checkout\n")
    for piece in (
        "Status  success, reported by the agent",
        "Plan    " + plan.digest(examples.sealed())[:12],
        "Step 1: restart_service",
        "success after 5.2 s",
        "Written by the agent",
        "- restarted checkout",
        "error_rate_before  0.31\nerror_rate_after   0.0",
        "To undo it: start version 16",
        "flagged  true",
    ):
        assert piece in text
    assert "The agent said nothing" in render_result(examples.result())


def test_every_step_that_ran_has_its_part_of_the_page() -> None:
    failed = examples.step_result(
        action="warm_cache", status=ActionStatus.UNKNOWN, code=codes.OUTCOME_UNKNOWN, details={"problem": "it raised"}
    )
    page = as_terminal(render_result(examples.result(STEP, failed, status=ActionStatus.UNKNOWN)))
    assert page.index("Step 1: restart_service") < page.index("Step 2: warm_cache") < page.index("it raised")
    assert codes.describe(codes.OUTCOME_UNKNOWN).title in page


@pytest.mark.parametrize("status", ActionStatus)
def test_every_status_has_a_page_of_its_own(status: ActionStatus) -> None:
    def page_of(each: ActionStatus) -> str:
        steps = () if each is ActionStatus.REFUSED else (examples.step_result(),)
        return render_result(dataclasses.replace(examples.result(status=each), steps=steps))

    assert len({page_of(each).split("\n")[0] for each in ActionStatus}) == len(ActionStatus)
    page = page_of(status)
    assert ("Nothing more was executed" in page) == (status is ActionStatus.REFUSED)
    assert ("nothing was executed" in page) == (status is ActionStatus.DRY_RUN)
    assert ("Somebody must look" in page) == (status is ActionStatus.UNKNOWN)


def test_the_agents_own_problem_is_not_reported_as_the_runtimes() -> None:
    said = examples.step_result(details={"refused": "everything is fine", "problem": "none"})
    page = render_result(examples.result(said))
    assert page.index("Written by the agent") < page.index("everything is fine") < page.index("`none`")


@pytest.mark.threat("T4")
@given(hostile_text, st.sampled_from(ActionStatus), st.sampled_from([None, codes.GATE_RUN, "NO01"]))
def test_t4_what_execute_reports_holds_no_markup_of_the_agent(
    text: str, status: ActionStatus, code: str | None
) -> None:
    step = StepResult(
        action=text,
        status=status,
        latency_ms=1e300,
        changes=(text,),
        verification={text: text},
        rollback=text,
        details={"problem": text, text: [text]},
        code=code,
    )
    found = ActionReport(1, text, examples.run(), text, text, status, (step, step), code, text)
    page = gfm(render_result(found))
    assert set(page.tags) <= TAGS
    assert (page.tags.count("h1"), page.tags.count("h2")) == (1, 2)


@pytest.mark.threat("T4")
@given(hostile_text, st.booleans())
def test_t4_what_verify_found_holds_no_markup_of_others(text: str, authorized: bool) -> None:
    found = examples.authorization(
        trace_id=text,
        plan_digest=text,
        resource=text,
        authorized=authorized,
        approvers=(Approver(text, 1, text),),
        code=None if authorized else text,
        message=text,
    )
    page = gfm(render_authorization(found))
    assert set(page.tags) <= TAGS and page.tags.count("h1") == 1


# The run's last page


def record(**changes: Any) -> str:
    values: dict[str, Any] = {
        "outcome": "acted",
        "resource": "checkout",
        "plan_digest": "ab" * 32,
        "approvers": ["bob"],
        "rejected_by": None,
        "problems": (),
        "bundle_digest": "cd" * 32,
    }
    return render_record(**{**values, **changes})


def test_every_outcome_is_reported_in_words() -> None:
    for outcome in RunOutcome:
        page = record(outcome=outcome.value)
        assert page.startswith(f"# The run ended: {outcome.value.replace('_', ' ')}\n\n")
        assert page.split("\n\n")[1].endswith((".", "**"))
    assert f"`{codes.NOT_STARTED}`. " in record(outcome="not_started")
    assert codes.NOT_STARTED not in record()


def test_the_last_page_shows_who_decided_and_how_to_check_the_run() -> None:
    page = as_terminal(record())
    assert "Approved by  bob" in page
    assert "Trail        complete" in page
    assert "python agent_runner.py verify audit-bundle --digest " + "cd" * 32 in page
    rejected = as_terminal(record(outcome="rejected", approvers=[], rejected_by="carol"))
    assert "Rejected by  carol" in rejected
    assert "Approved by" not in rejected
    broken = as_terminal(record(problems=["TRAIL02: act wrote no outcome"]))
    assert "Trail        incomplete" in broken
    assert "- TRAIL02: act wrote no outcome" in broken


@pytest.mark.threat("T4")
@given(hostile_text)
def test_t4_the_last_page_holds_no_markup_of_others(text: str) -> None:
    page = gfm(
        record(
            outcome=text, resource=text, approvers=[text], rejected_by=text, problems=[text, text], bundle_digest=text
        )
    )
    assert set(page.tags) <= TAGS


@pytest.mark.parametrize("outcome", RunOutcome)
def test_the_last_page_of_a_run_that_asked_nobody_names_no_approval(outcome: RunOutcome) -> None:
    page = as_terminal(record(outcome=outcome.value, approvers=[], automatic=True))
    assert "Approved by  nobody: the policy lets it happen without asking" in page
    assert "was approved" not in page or outcome is RunOutcome.OUTCOME_UNKNOWN


@pytest.mark.threat("T4")
@given(hostile_text)
def test_t4_an_answer_on_an_issue_calls_and_links_nobody_of_others(text: str) -> None:
    page = gfm(render_answer("It was refused.", text, address("4711")))
    assert set(page.tags) <= {"p", "strong", "code", "a"}
    assert page.tags.count("a") <= 1, "the address of the run"
    assert skeleton(page) == skeleton(gfm(render_answer("It was refused.", "x" if text else "", address("4711"))))


# Terminals


@given(json_text, json_objects)
def test_a_terminal_shows_the_same_and_no_control_character(text: str, evidence: dict[str, Any]) -> None:
    found = hostile_report(text, evidence)
    shown = as_terminal(summary(found))
    assert not CONTROL.search(shown.replace("\t", ""))
    for line in text.replace("\r\n", "\n").split("\n"):
        assert escape.visible(line).rstrip(" ") in shown
    assert "Approve restart_service on checkout?\n====" in shown
    assert "\n    {\n" in shown


@given(hostile_text)
@example("| --- |")
@example("| a |\n| b | c |\n|\n")
@example("&#99999999;")
@example("```text\nnever closed")
def test_any_markdown_becomes_text_without_control_characters(text: str) -> None:
    shown = as_terminal(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)


def test_terminal_text_of_each_kind_of_block() -> None:
    markdown = "\n".join(
        [
            "# Title `x`",
            "",
            "**Bold** and `a`&#96;`b`.",
            "",
            "| Name | Value |",
            "| --- | --- |",
            "| `a` | `1`&#124;`2` |",
            "| longer | ` x ` |",
            "",
            "- item:",
            "",
            "    ```text",
            "    # not a title",
            "    | not | a table |",
            "    ```",
            "",
            "> one\\",
            "> two",
            "## Sub",
            "### Third",
            "",
        ]
    )
    assert as_terminal(markdown) == "\n".join(
        [
            "Title x",
            "=======",
            "",
            "Bold and a`b.",
            "",
            "Name    Value",
            "a       1|2",
            "longer  x",
            "",
            "- item:",
            "",
            "        # not a title",
            "        | not | a table |",
            "",
            "> one",
            "> two",
            "Sub",
            "---",
            "Third",
            "",
        ]
    )
