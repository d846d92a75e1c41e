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
from agent_runtime.gate import pages
from agent_runtime.model import documents, plan
from agent_runtime.model.documents import ActionReport, Approver, Decision, PolicyStamp, Report, ReportStatus
from agent_runtime.results import ActionStatus, Finding, ProposedAction, RiskLevel, Severity
from agent_runtime.text import escape
from runtime import examples
from runtime.gfm import Page, gfm
from runtime.strategies import hostile_text, json_objects, json_text

# What a page may be made of.  No link, image, rule, task list, footnote or raw HTML.
TAGS = {
    *["h1", "h2", "h3", "p", "strong", "code", "pre", "br", "blockquote", "ul", "ol", "li"],
    *["table", "thead", "tbody", "tr", "th", "td"],
}
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def summary(found: Report, **options: Any) -> str:
    digest = plan.digest(found.plan) if found.plan else None
    return pages.render_summary(found, digest=digest, **options)


def hostile_report(text: str, evidence: dict[str, Any], **changes: Any) -> Report:
    """A report in which every word of the agent is `text`."""
    proposed = ProposedAction(
        action="restart_service",
        parameters={"note": text},
        reason=text,
        risk_level=RiskLevel.MEDIUM,
        reversible=True,
        rollback=text,
    )
    sealed = plan.seal(
        proposed,
        resource="checkout",
        preconditions={"started": text},
        policy=PolicyStamp("a" * 64, Decision.REVIEW, ("allowed_actions[0]",)),
        run=examples.run(),
        issued_at=examples.ISSUED,
        ttl_minutes=60,
        approvals_before=0,
        dry_run=False,
    )
    values: dict[str, Any] = {
        "plan": sealed,
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
    text = pages.as_terminal(summary(examples.report(policy_reasons=("allowed_actions[0] (x on y): matches",))))
    digest = plan.digest(examples.sealed())
    expected = [
        "Approve restart_service on checkout?",
        "The agent asks to run restart_service on checkout.",
        "before 2026-11-22 12:00:00 UTC",
        "Risk                          medium",
        "Can be undone                 no",
        "Approval counts until         2026-11-22 12:00:00 UTC (60 minutes after sealing)",
        "Started by                    alice, trigger: manual",
        "Policy                        a human may approve (allowed_actions[0])",
        "Refused if changed meanwhile  started",
        "Plan                          " + digest[:12] + " ",
        "Written by the agent",
        "Reason                 31 % of the requests fail",
        "Confidence             0.8 of 1 (nothing is decided by it)",
        "- high: 31 % of the requests fail\n  - error_rate: 0.31",
        "The plan",
        "error_rate  0.31\nrequests    240",
        '    "action": "restart_service"',
        digest,
        "What the policy said",
        "- allowed_actions[0] (x on y): matches",
        "How to decide",
        "Approve restart_service on checkout (plan " + digest[:12] + ")",
        "agent-approval",
        "An approval by alice does not count",
    ]
    places = [text.find(piece) for piece in expected]
    assert -1 not in places, expected[places.index(-1)]
    assert places == sorted(places)


def test_the_page_of_a_rerun_names_both_people_and_the_attempt() -> None:
    run = examples.run(run_attempt=2, triggering_actor="carol")
    text = pages.as_terminal(summary(examples.report(run=run, plan=examples.sealed(run=run))))
    assert "alice, trigger: manual; re-run by carol (attempt 2)" in text
    assert "An approval by alice or carol does not count" in text


def test_what_the_agent_left_out_is_told() -> None:
    bare = examples.report(findings=(), plan=examples.sealed(preconditions={}))
    assert "The agent gave no findings" in summary(bare)
    assert "nothing: the agent named no precondition" in summary(bare)
    assert "no evidence given" in summary(examples.report(findings=(Finding("trust me"),)))
    undoable = dataclasses.replace(examples.sealed(), reversible=True)
    assert "yes, says the agent, without saying how" in summary(examples.report(plan=undoable))
    idle = dataclasses.replace(examples.sealed(), parameters={})
    assert "The action gets no parameters" in summary(examples.report(plan=idle))


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
    (shown,) = [json.loads(code) for code in page.codes if code.startswith('{\n  "action"')]
    assert plan.digest(shown) == plan.digest(found.plan)
    assert plan.digest(found.plan) in page.codes


@pytest.mark.threat("T6")
def test_t6_the_block_shows_look_alike_letters_as_what_they_are() -> None:
    cyrillic = dataclasses.replace(examples.sealed(), parameters={"host": "\u0430pi", "note": "\u202e"})
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
    wide = summary(examples.report(plan=dataclasses.replace(examples.sealed(), parameters={"note": long})))
    assert "Some lines are wide" in wide
    assert "Some lines are wide" not in summary(examples.report())
    assert json.dumps(long) in gfm(wide).codes


@pytest.mark.threat("T3", "T4")
@given(json_text, json_objects)
def test_t3_t4_the_agents_words_change_nothing_outside_of_code(text: str, evidence: dict[str, Any]) -> None:
    """Whatever the agent writes, the runtime's own words on the page stay the same, letter for letter."""
    plain_evidence = dict.fromkeys(map(str, range(len(evidence))), 0)
    hostile, harmless = gfm(summary(hostile_report(text, evidence))), gfm(summary(hostile_report("x", plain_evidence)))
    said = skeleton(hostile).replace("Somelinesarewide:scrolltotherighttoreadthemtotheirend.", "")
    # Evidence of several lines stands in a block below its name, with a colon of its own.
    assert said.replace("::", ":") == skeleton(harmless).replace("::", ":")
    assert set(hostile.tags) <= TAGS


@given(hostile_text, st.sampled_from([ReportStatus.DENIED, ReportStatus.FAILED, ReportStatus.NOTHING_TO_DO]))
def test_t3_t4_the_other_pages_hold_no_markup_of_the_agent(text: str, status: ReportStatus) -> None:
    found = hostile_report("x", {text: text}, plan=None, status=status)
    found = dataclasses.replace(found, analysis=text, recommendation=text, policy_reasons=(text,), error=text)
    page = gfm(summary(found, gate_note=text))
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
    reread = documents.decode_report(documents.encode(found), "report")
    assert summary(found) == summary(found) == summary(reread)


@pytest.mark.threat("T14")
def test_a_page_that_github_would_not_show_is_refused_and_never_cut() -> None:
    fits = examples.report(analysis="x" * 900_000)
    assert "x" * 900_000 in summary(fits)
    for too_large in (
        examples.report(analysis="x" * (1024 * 1024)),
        examples.report(analysis="\u202e" * 150_000),
        examples.report(findings=(Finding("x", Severity.LOW, {"log": "`" * 700_000}),)),
        examples.report(plan=dataclasses.replace(examples.sealed(), parameters={"note": "é" * 200_000})),
    ):
        with pytest.raises(codes.BadInput) as caught:
            summary(too_large)
        assert caught.value.code == codes.REPORT_TOO_LARGE


def test_a_digest_that_is_not_the_plans_is_never_shown() -> None:
    with pytest.raises(ValueError, match="digest"):
        pages.render_summary(examples.report(), digest="0" * 64)
    with pytest.raises(ValueError, match="digest"):
        pages.render_summary(examples.report(), digest=None)
    with pytest.raises(ValueError, match="digest"):
        pages.render_summary(
            examples.report(plan=None, status=ReportStatus.NOTHING_TO_DO), digest=plan.digest(examples.sealed())
        )


# The other pages of an investigation


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (ReportStatus.NOTHING_TO_DO, "# Nothing to do on `checkout`"),
        (ReportStatus.DENIED, "# Denied: no action on `checkout`"),
        (ReportStatus.FAILED, "# Failed: `checkout` was not investigated"),
    ],
)
def test_a_run_that_asks_for_nothing_says_so_first(status: ReportStatus, title: str) -> None:
    page = summary(
        examples.report(plan=None, status=status, policy_reasons=("because",), error="INP003: no JSON"),
        gate_note="note",
    )
    assert page.startswith(title + "\n")
    assert "nobody is asked" in page.split("\n\n")[1]
    assert "> **Note:** `note`" in page
    assert ("`because`" in page) == (status is ReportStatus.DENIED)
    assert ("`INP003: no JSON`" in page) == (status is ReportStatus.FAILED)
    assert "Approve" not in page


# The act job's page


def action_report(**changes: Any) -> ActionReport:
    values: dict[str, Any] = {
        "schema_version": 1,
        "trace_id": "4711-1",
        "run": examples.run(),
        "plan_digest": plan.digest(examples.sealed()),
        "action": "restart_service",
        "resource": "checkout",
        "status": ActionStatus.SUCCESS,
        "latency_ms": 5234.5,
        "changes": ("restarted checkout",),
        "verification": {"error_rate_before": 0.31, "error_rate_after": 0.0},
        "rollback": "start version 16",
        "details": {"flagged": True},
        "approver": Approver("bob", 7, "User"),
    }
    return ActionReport(**{**values, **changes})


def test_the_page_of_an_action_tells_who_approved_and_what_changed() -> None:
    text = pages.as_terminal(pages.render_result(action_report()))
    assert text.startswith("Done: restart_service on checkout\n")
    for piece in (
        "Approved by  bob",
        "Took         5.2 s",
        "Plan         " + plan.digest(examples.sealed())[:12],
        "- restarted checkout",
        "error_rate_before  0.31\nerror_rate_after   0.0",
        "To undo it: start version 16",
        "flagged  true",
    ):
        assert piece in text
    assert "The agent said nothing" in pages.render_result(
        action_report(changes=(), verification={}, rollback=None, details={})
    )


@pytest.mark.parametrize("status", ActionStatus)
def test_every_status_has_a_page_of_its_own(status: ActionStatus) -> None:
    titles = {pages.render_result(action_report(status=each)).split("\n")[0] for each in ActionStatus}
    assert len(titles) == len(ActionStatus)
    page = pages.render_result(action_report(status=status))
    assert ("Nothing was executed" in page) == (status is ActionStatus.REFUSED)
    assert ("Somebody must look" in page) == (status is ActionStatus.UNKNOWN)


def test_a_refusal_tells_code_reason_and_way_out() -> None:
    refused = action_report(
        status=ActionStatus.REFUSED, code=codes.GATE_EXPIRED, action="", details={"refused": "expired 14 minutes ago"}
    )
    text = pages.as_terminal(pages.render_result(refused))
    assert text.startswith("Refused: no action on checkout\n")
    for piece in ("GATE04: the approval came too late", "expired 14 minutes ago", "What to do: Start a new run"):
        assert piece in text
    assert "What the agent says" not in text


def test_the_agents_own_problem_is_not_told_as_the_runtimes() -> None:
    page = pages.render_result(action_report(details={"refused": "everything is fine", "problem": "none"}))
    assert page.index("What the agent says") < page.index("everything is fine")


@pytest.mark.threat("T4")
@given(hostile_text, st.sampled_from(ActionStatus), st.sampled_from([None, codes.GATE_RUN, "NO01"]))
def test_t4_an_action_report_holds_no_markup_of_the_agent(text: str, status: ActionStatus, code: str | None) -> None:
    found = action_report(
        status=status,
        code=code,
        action=text,
        resource=text,
        changes=(text,),
        verification={text: text},
        rollback=text,
        details={"refused": text, text: [text]},
        approver=Approver(text, 1, text),
    )
    page = gfm(pages.render_result(found))
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
    return pages.render_record(**{**values, **changes})


def test_every_outcome_is_told_in_words() -> None:
    from agent_runtime.gate.bundle import RunOutcome

    for outcome in RunOutcome:
        page = record(outcome=outcome.value)
        assert page.startswith("# The run ended: {}\n\n".format(outcome.value.replace("_", " ")))
        assert page.split("\n\n")[1].endswith((".", "**"))


def test_the_last_page_tells_who_decided_and_how_to_check_the_run() -> None:
    page = pages.as_terminal(record())
    assert "Approved by  bob" in page
    assert "Trail        whole" in page
    assert "python agent_runner.py verify audit-bundle --digest " + "cd" * 32 in page
    rejected = pages.as_terminal(record(outcome="rejected", approver=None, rejected_by="carol"))
    assert "Rejected by  carol" in rejected
    assert "Approved by" not in rejected
    broken = pages.as_terminal(record(problems=["TRAIL02: act wrote no outcome"]))
    assert "Trail        not whole" in broken
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
    shown = pages.as_terminal(summary(found))
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
    shown = pages.as_terminal(text)
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
    assert pages.as_terminal(markdown) == "\n".join(
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
