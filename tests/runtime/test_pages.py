"""The pages say everything that a decision needs, and nothing that somebody else put into the agent's mouth."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.gate.bundle import RunOutcome
from agent_runtime.gate.pages import record as record_pages
from agent_runtime.gate.pages import result as result_pages
from agent_runtime.gate.pages import review
from agent_runtime.model import documents, plan
from agent_runtime.model.documents import ActionReport, Decision, PolicyStamp, Report, ReportStatus
from agent_runtime.results import ActionStatus, Finding, Severity
from agent_runtime.text import escape
from agent_runtime.text.markdown import as_terminal
from runtime import examples
from runtime.gfm import Page, gfm
from runtime.strategies import hostile_text, json_objects, json_text

# What a page may be made of.  No link, image, rule, task list, footnote or raw HTML.
TAGS = {
    *["h1", "h2", "h3", "p", "strong", "code", "pre", "br", "blockquote", "ul", "ol", "li"],
    *["table", "thead", "tbody", "tr", "th", "td"],
}
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def summary(found: Report) -> str:
    """The page that `seal` writes behind environments."""
    digest = plan.digest(found.plan) if found.plan else ""
    decide = review.click_section(found.plan, digest) if found.plan else []
    return review.render_summary(
        found, digest=digest, decide=decide, run_url=lambda id: f"https://x.example/a/b/actions/runs/{id}"
    )


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


@pytest.mark.threat("T14")
def test_t14_the_page_has_what_a_decision_needs_in_this_order() -> None:
    text = as_terminal(summary(examples.report(policy_reasons=("allowed_actions[0] (x on y): matches",))))
    digest = plan.digest(examples.sealed())
    expected = [
        "Approve restart_service on checkout?",
        "The agent asks to run restart_service on checkout.",
        "before 2026-11-22 12:00:00 UTC",
        "Resource                      checkout",
        "Action                        restart_service",
        "error_rate                    0.31\nrequests                      240",
        "Risk                          medium, says the agent",
        "Can be undone                 no, says the agent",
        "Expires at                    2026-11-22 12:00:00 UTC (60 minutes after sealing)",
        "Started by                    alice, trigger: manual",
        "Policy                        a human may approve (allowed_actions[0])",
        "Refused if changed meanwhile  started",
        "Plan                          " + digest[:12] + " ",
        "Written by the agent",
        "Reason                 31 % of the requests fail",
        "Confidence             0.8 of 1 (nothing is decided by it)",
        "- high: 31 % of the requests fail\n  - error_rate: 0.31",
        "The plan",
        '    "action": "restart_service"',
        digest,
        "What the policy said",
        "- allowed_actions[0] (x on y): matches",
        "How to decide",
        "Approve plan " + digest[:12],
        "agent-approval",
        "An approval by alice does not count",
    ]
    places = [text.find(piece) for piece in expected]
    assert -1 not in places, expected[places.index(-1)]
    assert places == sorted(places)


def test_the_page_of_a_rerun_names_both_people_and_the_attempt() -> None:
    run = examples.run(run_attempt=2, triggering_actor="carol")
    text = as_terminal(summary(examples.report(run=run, plan=examples.sealed(run=run))))
    assert "alice, trigger: manual; re-run by carol (attempt 2)" in text
    assert "An approval by alice or carol does not count" in text


def test_what_the_agent_left_out_is_told() -> None:
    bare = examples.report(findings=(), plan=examples.sealed(preconditions={}))
    assert "The agent gave no findings" in summary(bare)
    assert "nothing: the agent named no precondition" in summary(bare)
    assert "no evidence given" in summary(examples.report(findings=(Finding("trust me"),)))
    undoable = examples.sealed(examples.step(reversible=True))
    assert "yes, says the agent, without saying how" in summary(examples.report(plan=undoable))


@pytest.mark.threat("T8", "T14")
def test_t14_every_step_stands_on_the_page_in_its_order() -> None:
    steps = [examples.step(action="drain", parameters={"zone": "a"}), examples.step(), examples.step(action="undrain")]
    page = summary(examples.report(plan=examples.sealed(*steps)))
    assert page.startswith("# Approve `drain`, then `restart_service`, then `undrain` on `checkout`?\n")
    text = as_terminal(page)
    places = [
        text.find(piece) for piece in ("Action 1 ", "zone ", "Action 2 ", "error_rate ", "Action 3 ", "Expires at")
    ]
    assert -1 not in places and places == sorted(places)
    shown = json.loads(next(code for code in gfm(page).codes if code.startswith("{\n")))
    assert [step["action"] for step in shown["steps"]] == ["drain", "restart_service", "undrain"]


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
    page = gfm(summary(found))
    assert found.plan is not None
    shown = json.loads(next(code for code in page.codes if code.startswith('{\n  "')))
    assert plan.digest(shown) == plan.digest(found.plan)
    assert plan.digest(found.plan) in page.codes


@pytest.mark.threat("T6")
def test_t6_the_block_shows_look_alike_letters_as_what_they_are() -> None:
    cyrillic = examples.sealed(examples.step(parameters={"host": "\u0430pi", "note": "\u202e"}))
    page = summary(examples.report(plan=cyrillic))
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
    wide = summary(examples.report(plan=examples.sealed(examples.step(parameters={"note": long}))))
    assert "Some lines are wide" in wide
    assert "Some lines are wide" not in summary(examples.report())
    assert json.dumps(long) in gfm(wide).codes


def without_digest(found: Report) -> str:
    """The page, where the digits that name the waiting job are those of no plan."""
    return summary(found).replace(f"plan {plan.digest(found.plan)[:12]}", "plan 0123456789ab")


@pytest.mark.threat("T3", "T4")
@given(json_text, json_objects)
def test_t3_t4_the_agents_words_change_nothing_outside_of_code(text: str, evidence: dict[str, Any]) -> None:
    """Whatever the agent writes, the runtime's own words on the page stay the same, letter for letter."""
    plain_evidence = dict.fromkeys(map(str, range(len(evidence))), 0)
    hostile, harmless = (
        gfm(without_digest(hostile_report(*words))) for words in ((text, evidence), ("x", plain_evidence))
    )
    said = skeleton(hostile).replace("Somelinesarewide:scrolltotherighttoreadthemtotheirend.", "")
    # Evidence of several lines stands in a block below its name, with a colon of its own.
    assert said.replace("::", ":") == skeleton(harmless).replace("::", ":")
    # The runtime's own page names one other page.
    assert hostile.tags.count("em") == harmless.tags.count("em") == 1
    assert set(hostile.tags) <= TAGS | {"em"}


@given(hostile_text, st.sampled_from([ReportStatus.DENIED, ReportStatus.FAILED, ReportStatus.NOTHING_TO_DO]))
def test_t3_t4_the_other_pages_hold_no_markup_of_the_agent(text: str, status: ReportStatus) -> None:
    found = hostile_report("x", {text: text}, plan=None, status=status)
    found = dataclasses.replace(found, analysis=text, recommendation=text, policy_reasons=(text,), error=text)
    page = gfm(summary(found))
    assert set(page.tags) <= TAGS
    assert page.tags.count("h1") == 1


@pytest.mark.threat("T3")
@given(hostile_text)
def test_nothing_that_the_agent_says_is_cut(text: str) -> None:
    safe = text.encode("utf-8", "ignore").decode()
    page = gfm(summary(hostile_report(safe, {"key": safe})))
    shown = escape.visible(safe) or "(empty)"
    # Reason, recommendation, rollback, first finding.
    assert page.text.count(shown) >= 4
    for line in safe.replace("\r\n", "\n").split("\n"):
        assert escape.visible(line).strip() in page.text


@given(json_text, json_objects)
def test_the_same_report_gives_the_same_page(text: str, evidence: dict[str, Any]) -> None:
    found = hostile_report(text, evidence)
    reread = documents.decode(Report, documents.encode(found), "report")
    assert summary(found) == summary(found) == summary(reread)


@pytest.mark.threat("T14")
def test_a_page_that_github_would_not_show_is_refused_and_never_cut() -> None:
    fits = examples.report(analysis="x" * 900_000)
    assert "x" * 900_000 in summary(fits)
    for too_large in (
        examples.report(analysis="x" * (1024 * 1024)),
        examples.report(analysis="\u202e" * 150_000),
        examples.report(findings=(Finding("x", Severity.LOW, {"log": "`" * 700_000}),)),
        examples.report(plan=examples.sealed(examples.step(parameters={"note": "é" * 200_000}))),
    ):
        with pytest.raises(codes.BadInput) as caught:
            summary(too_large)
        assert caught.value.code == codes.REPORT_TOO_LARGE


# The other pages of an investigation


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (ReportStatus.NOTHING_TO_DO, "# Nothing to do on `checkout`"),
        (ReportStatus.DENIED, "# Denied: no action on `checkout`"),
        (ReportStatus.FAILED, "# Nothing is asked: what the job hands over is not whole JSON"),
    ],
)
def test_a_run_that_asks_for_nothing_says_so_first(status: ReportStatus, title: str) -> None:
    error = {"code": codes.REPORT_NOT_JSON, "error": "RPT003: no JSON"}
    page = summary(examples.report(plan=None, status=status, policy_reasons=("because",), **error))
    assert page.startswith(title + "\n")
    assert "nobody is asked" in page.split("\n\n")[1].lower()
    assert ("`because`" in page) == (status is ReportStatus.DENIED)
    assert ("`RPT003: no JSON`" in page) == (status is ReportStatus.FAILED)
    assert "Approve" not in page


def test_a_duplicate_leads_to_the_run_that_asks() -> None:
    page = summary(examples.report(plan=None, status=ReportStatus.DUPLICATE, duplicate_of="17"))
    assert page.startswith("# Nothing to do on `checkout`: run 17 asks already\n")
    assert "[run 17](https://x.example/a/b/actions/runs/17)" in page


@pytest.mark.threat("T23")
def test_t23_a_page_about_which_nobody_is_asked_says_so() -> None:
    stamp = PolicyStamp("a" * 64, Decision.AUTO, ("allowed_actions[0]", "auto_approve[0]"))
    page = summary(examples.report(plan=examples.sealed(policy=stamp)))
    assert page.startswith("# Without asking: `restart_service` on `checkout`\n")
    assert "AGENT_DISABLED" in page and "Review deployments" not in page


@given(hostile_text)
def test_t4_the_page_of_a_refused_trigger_holds_no_markup_of_others(text: str) -> None:
    page = gfm(review.render_refusal(codes.BadInput(codes.RESOURCE_INVALID, text)))
    assert set(page.tags) <= TAGS
    assert page.tags.count("h1") == 1


# The pages of the job that acts


def action_report(*steps: documents.StepResult, **changes: Any) -> ActionReport:
    return examples.result(*(steps or (done(),)), **changes)


def done(**changes: Any) -> documents.StepResult:
    values: dict[str, Any] = {
        "latency_ms": 5234.5,
        "changes": ("restarted checkout",),
        "verification": {"error_rate_before": 0.31, "error_rate_after": 0.0},
        "rollback": "start version 16",
        "details": {"flagged": True},
    }
    return examples.step_result(**{**values, **changes})


def test_the_page_of_verify_says_who_approved() -> None:
    text = as_terminal(result_pages.render_authorization(examples.authorization()))
    assert text.startswith("Authorized: the plan for checkout\n")
    assert "Approved by  bob" in text
    assert "nobody: the policy lets it happen" in result_pages.render_authorization(
        examples.authorization(approvers=())
    )


def test_the_page_of_a_refusal_says_code_reason_and_way_out() -> None:
    refused = examples.authorization(authorized=False, code=codes.GATE_EXPIRED, message="14 minutes ago", approvers=())
    text = as_terminal(result_pages.render_authorization(refused))
    assert text.startswith("Refused: nothing is executed on checkout\n")
    for piece in ("GATE04: the approval came too late", "14 minutes ago", "What to do: Start a new run"):
        assert piece in text
    assert "Approved by" not in text


def test_the_page_of_an_action_says_what_changed_and_that_the_agent_says_so() -> None:
    text = as_terminal(result_pages.render_result(action_report()))
    assert text.startswith("Done: checkout\n")
    for piece in (
        "success, reported by the agent",
        "Step 1: restart_service",
        "success after 5.2 s",
        "Plan    " + plan.digest(examples.sealed())[:12],
        "- restarted checkout",
        "error_rate_before  0.31\nerror_rate_after   0.0",
        "To undo it: start version 16",
        "flagged  true",
    ):
        assert piece in text
    assert "The agent said nothing" in result_pages.render_result(action_report(examples.step_result()))


def test_every_step_has_its_part_of_the_page() -> None:
    failed = done(action="warm_cache", status=ActionStatus.FAILED, changes=("half of it",))
    text = as_terminal(result_pages.render_result(action_report(done(), failed, status=ActionStatus.FAILED)))
    places = [text.find(piece) for piece in ("Failed: ", "Step 1: restart", "restarted", "Step 2: warm_cache", "half")]
    assert -1 not in places and places == sorted(places)


@pytest.mark.parametrize("status", ActionStatus)
def test_every_status_has_a_page_of_its_own(status: ActionStatus) -> None:
    titles = {result_pages.render_result(action_report(status=each)).split("\n")[0] for each in ActionStatus}
    assert len(titles) == len(ActionStatus)
    page = result_pages.render_result(action_report(status=status))
    assert ("Nothing more was executed" in page) == (status is ActionStatus.REFUSED)
    assert ("Somebody must look" in page) == (status is ActionStatus.UNKNOWN)


def test_the_agents_own_problem_is_not_told_as_the_runtimes() -> None:
    page = result_pages.render_result(action_report(done(details={"refused": "all is fine", "problem": "none"})))
    assert page.index("Written by the agent") < page.index("all is fine")


@pytest.mark.threat("T4")
@given(hostile_text, st.sampled_from(ActionStatus), st.sampled_from([None, codes.GATE_RUN, "NO01"]))
def test_t4_an_action_report_holds_no_markup_of_the_agent(text: str, status: ActionStatus, code: str | None) -> None:
    step = done(
        status=status,
        code=code,
        action=text,
        changes=(text,),
        verification={text: text},
        rollback=text,
        details={"refused": text, "problem": text, text: [text]},
    )
    found = action_report(step, step, status=status, code=code, message=text, resource=text, trace_id=text)
    page = gfm(result_pages.render_result(found))
    assert set(page.tags) <= TAGS
    assert page.tags.count("h1") == 1


@pytest.mark.threat("T4")
@given(hostile_text, st.sampled_from([codes.GATE_RUN, "NO01"]))
def test_t4_the_page_of_verify_holds_no_markup_of_others(text: str, code: str) -> None:
    approver = documents.Approver(text, 1, text)
    for found in (
        examples.authorization(resource=text, trace_id=text, approvers=(approver, approver)),
        examples.authorization(authorized=False, resource=text, trace_id=text, code=code, message=text),
    ):
        page = gfm(result_pages.render_authorization(found))
        assert set(page.tags) <= TAGS
        assert page.tags.count("h1") == 1


# The run's last page


def record(**changes: Any) -> str:
    values: dict[str, Any] = {
        "outcome": "acted",
        "resource": "checkout",
        "plan_digest": "ab" * 32,
        "approver": "bob",
        "rejected_by": None,
        "problems": (),
        "bundle_digest": "cd" * 32,
    }
    return record_pages.render_record(**{**values, **changes})


def test_every_outcome_is_told_in_words() -> None:
    for outcome in RunOutcome:
        page = record(outcome=outcome.value)
        assert page.startswith("# The run ended: {}\n\n".format(outcome.value.replace("_", " ")))
        assert page.split("\n\n")[1].endswith((".", "**"))


def test_the_last_page_tells_who_decided_and_how_to_check_the_run() -> None:
    page = as_terminal(record())
    assert "Approved by  bob" in page
    assert "Trail        complete" in page
    assert "python agent_runner.py verify audit-bundle --digest " + "cd" * 32 in page
    rejected = as_terminal(record(outcome="rejected", approver=None, rejected_by="carol"))
    assert "Rejected by  carol" in rejected
    assert "Approved by" not in rejected
    broken = as_terminal(record(problems=["TRAIL02: act wrote no outcome"]))
    assert "Trail        incomplete" in broken
    assert "- TRAIL02: act wrote no outcome" in broken


@given(hostile_text)
def test_t4_the_last_page_holds_no_markup_of_others(text: str) -> None:
    page = gfm(
        record(outcome=text, resource=text, approver=text, rejected_by=text, problems=[text, text], bundle_digest=text)
    )
    assert set(page.tags) <= TAGS


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
