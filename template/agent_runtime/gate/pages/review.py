"""The page that a reviewer decides from, and the pages of a run that asks for nothing.

A human must be able to decide in two minutes without opening an artifact.  The plan is shown whole, in JSON with
nothing but ASCII, so that neither a look-alike letter nor a hidden one passes, and so that the block can be copied and
its digest recomputed.
"""

from __future__ import annotations

import json
import re
from typing import Callable, List, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.gate.pages.common import AGENT_WROTE, FACTS, Rows, as_json, for_people, short, time, way_out, whole
from agent_runtime.model import names, plan
from agent_runtime.model.documents import Decision, Plan, Report, ReportStatus, Step, parse_time, plain
from agent_runtime.results import Finding
from agent_runtime.text.escape import markdown_block, markdown_inline, markdown_json_block, markdown_table_cell, visible
from agent_runtime.text.markdown import indent, page, table

# GitHub takes issues and comments up to this size.
MAX_ISSUE_CHARACTERS = 65_536

_WIDE_LINE = 100
_TITLE_PART = 80
# What may be inside a link: nothing that Markdown reads as more than an address.
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.:-]+/[A-Za-z0-9-]+/[A-Za-z0-9._-]+/actions/runs/[0-9]+")
_RECOMPUTE = (
    "import hashlib, json, rfc8785; print(hashlib.sha256(rfc8785.dumps(json.load(open('plan.json')))).hexdigest())"
)
_FIRST_QUESTION = (
    "1. Does the evidence support the action, and is the plan what you would do? If not, or if you aren't sure: reject."
)
_DRY_RUN = (
    "> **Dry run:** everything is asked and checked as for an action, and then nothing is executed. The plan says "
    "`dry_run: true`; without it, it would be another plan."
)


def render_summary(report: Report, *, digest: str, decide: Sequence[str], run_url: Callable[[str], str]) -> str:
    """Return the page for the end of an investigation, in GitHub's Markdown.

    Arguments:
        digest: digest of the report's plan, empty when it has none.
        decide: how to answer at this repository's gate, in blocks of Markdown.
        run_url: gives the address of a run by its id.

    Raises:
        BadInput: the page is larger than GitHub shows (RPT002).
    """
    if report.plan is not None:
        page_of = _auto_page if _is_automatic(report.plan) else _review_page
        return whole(page_of(report, report.plan, digest, decide), lambda: sizes(report))
    if report.duplicate_of is not None:
        return whole(_duplicate_page(report, report.duplicate_of, run_url(report.duplicate_of)), lambda: sizes(report))
    return whole(_closed_page(report), lambda: sizes(report))


def sizes(report: Report) -> str:
    """Say how large the parts of a report are, for whoever must shorten one."""
    parts = {"findings": report.findings, "analysis": report.analysis, "plan": report.plan}
    return ", ".join(f"{name}: {len(json.dumps(plain(part)))} bytes" for name, part in parts.items())


def render_issue(
    report: Report, *, digest: str, approvers: Sequence[str], origin: str, run_url: str
) -> Tuple[str, str]:
    """Return title and text of the issue in which an approver decides, in GitHub's Markdown.

    The same arguments give the same issue, so that whoever reads it later can see whether somebody changed it.

    Arguments:
        digest: digest of the report's plan.
        approvers: logins that are called, checked already.
        origin: the line that says where the report is, in Markdown.
        run_url: address of the run.

    Raises:
        BadInput: there is no plan (RPT006), or the text is larger than GitHub takes (RPT002).
    """
    sealed = report.plan
    if sealed is None:
        raise codes.BadInput(codes.REPORT_NO_PLAN, f"the report's status is {report.status}")
    decide = _comment_section(sealed, digest, approvers)
    blocks = [*_review_page(report, sealed, digest, decide), "## Where this comes from", origin, run_url]
    # GitHub might take empty lines at the end away, and the text must stay what it is.
    text = page(blocks).rstrip("\n")
    if len(text) > MAX_ISSUE_CHARACTERS:
        raise codes.BadInput(
            codes.REPORT_TOO_LARGE,
            f"the issue for the approvers has {len(text)} characters, GitHub takes {MAX_ISSUE_CHARACTERS} "
            f"({sizes(report)})",
        )
    what = f"{visible(sealed.title, _TITLE_PART)} on {visible(sealed.resource, _TITLE_PART)}"
    return f"Approve plan {plan.short(digest)}: {what}?", text


def _comment_section(sealed: Plan, digest: str, approvers: Sequence[str]) -> List[str]:
    initiators = (sealed.run.actor.casefold(), sealed.run.triggering_actor.casefold())
    called = ["@" + login for login in approvers if login.casefold() not in initiators]
    return [
        "## How to decide",
        "{}, please decide.".format(", ".join(called)) if called else "",
        _FIRST_QUESTION,
        f"2. To approve, write a comment whose first line is this (the first {plan.SHORT_DIGEST_LENGTH} digits "
        "are enough):",
        markdown_block("/approve " + digest),
        "3. To reject, write a comment whose first line is {} and the reason. One rejection is enough.".format(
            markdown_inline("/reject")
        ),
        f"A comment by {_initiators(sealed)} does not approve, nor does one that was edited. After an approval "
        "the workflow checks "
        "everything again (this issue, the plan, its run, the time, the policy, who commented, the preconditions) and "
        "runs exactly this plan, once. After a rejection, or without an answer, nothing is run.",
    ]


# The reviewer's page


def _auto_page(report: Report, sealed: Plan, digest: str, _decide: Sequence[str]) -> List[str]:
    what = _what(sealed)
    return [
        f"# Without asking: {what}",
        f"The policy lets the agent run {what} without asking a human, until **{time(sealed.expires_at)}**. "
        "Nothing has been changed so far: the job `act-auto` checks everything again, then runs this plan, once. "
        "To stop it, cancel this run, or set the variable `AGENT_DISABLED`.",
        *_plan_page(report, sealed, digest),
        *_analysis_section(report),
    ]


def _review_page(report: Report, sealed: Plan, digest: str, decide: Sequence[str]) -> List[str]:
    what = _what(sealed)
    return [
        f"# Approve {what}?",
        f"The agent asks to run {what}. Nothing has been changed so far, and nothing will be unless a reviewer "
        f"approves before **{time(sealed.expires_at)}**.",
        *_plan_page(report, sealed, digest),
        *decide,
        *_analysis_section(report),
    ]


def _plan_page(report: Report, sealed: Plan, digest: str) -> List[str]:
    return [
        _DRY_RUN if sealed.dry_run else "",
        table(FACTS, _review_facts(report, sealed, digest)),
        *_agent_section(report, sealed),
        *_plan_section(sealed, digest),
        *_policy_section(report.policy_reasons, sealed),
    ]


def _what(sealed: Plan) -> str:
    actions = ", then ".join(markdown_inline(step.action) for step in sealed.steps)
    return f"{actions} on {markdown_inline(sealed.resource)}"


def _review_facts(report: Report, sealed: Plan, digest: str) -> Rows:
    minutes = int((parse_time(sealed.expires_at) - parse_time(sealed.issued_at)).total_seconds()) // 60
    watched = ", ".join(markdown_table_cell(key) for key in sorted(sealed.preconditions))
    decision = "nobody is asked" if _is_automatic(sealed) else "a human may approve"
    facts: Rows = [("Resource", markdown_table_cell(sealed.resource))]
    for number, step in enumerate(sealed.steps, 1):
        mark = f" {number}" if len(sealed.steps) > 1 else ""
        facts += [
            (f"Action{mark}", markdown_table_cell(step.action)),
            *(
                (f"{markdown_table_cell(key)}", markdown_table_cell(as_json(given)))
                for key, given in sorted(plain(step.parameters).items())
            ),
            ("Risk", f"**{step.risk_level}**, says the agent"),
            ("Can be undone", _undo(step)),
        ]
    return [
        *facts,
        ("Expires at", f"{time(sealed.expires_at)} ({minutes} minutes after sealing)"),
        ("Started by", _started_by(report)),
        ("Policy", f"{decision} ({_rules(sealed)})"),
        ("Refused if changed meanwhile", watched or "nothing: the agent named no precondition"),
        ("Measured", time(report.measured_at) if report.measured_at else "not known"),
        ("Plan", f"{short(digest)} (first {plan.SHORT_DIGEST_LENGTH} digits of its digest)"),
    ]


def _undo(step: Step) -> str:
    undo = "yes, says the agent" if step.reversible else "**no**, says the agent"
    if step.rollback is not None:
        return f"{undo}: {markdown_table_cell(step.rollback)}"
    return undo + (", without saying how" if step.reversible else "")


def _is_automatic(sealed: Plan) -> bool:
    return sealed.policy.decision is Decision.AUTO


def _rules(sealed: Plan) -> str:
    return ", ".join(markdown_table_cell(rule) for rule in sealed.policy.matched_rules)


def _started_by(report: Report) -> str:
    run = report.run
    started = f"{markdown_table_cell(run.actor)}, trigger: {markdown_table_cell(report.trigger)}"
    if run.triggering_actor.casefold() != run.actor.casefold():
        started += f"; re-run by {markdown_table_cell(run.triggering_actor)}"
    return started if run.run_attempt == 1 else f"{started} (attempt {run.run_attempt})"


def _agent_section(report: Report, sealed: Optional[Plan] = None) -> List[str]:
    said: Rows = []
    for step in sealed.steps if sealed else ():
        said.append(("Reason", markdown_table_cell(step.reason)))
    said += [
        ("Recommendation", markdown_table_cell(report.recommendation)),
        ("Risk of the situation", str(report.risk_level)),
        ("Safe to proceed", "yes" if report.safe_to_proceed else "**no**"),
        ("Confidence", f"{report.confidence:g} of 1 (not used for any decision)"),
    ]
    blocks = ["## What the agent says", AGENT_WROTE, table(("What", "In the agent's words"), said)]
    if not report.findings:
        return [*blocks, "**The agent gave no findings**, so there is no evidence to look at."]
    return [*blocks, f"### Findings ({len(report.findings)})", _findings(report.findings)]


def _findings(findings: Sequence[Finding]) -> str:
    return "\n".join(line for finding in findings for line in _finding(finding))


def _finding(finding: Finding) -> List[str]:
    lines = [f"- **{finding.severity}**: {markdown_inline(finding.message)}"]
    if not finding.evidence:
        lines.append("  - no evidence given")
    for key, value in plain(finding.evidence).items():
        if isinstance(value, str) and "\n" in value.strip("\r\n"):
            lines += [f"  - {markdown_inline(key)}:", "", indent(markdown_block(value.rstrip("\r\n")), 4), ""]
        else:
            lines.append(f"  - {markdown_inline(key)}: {markdown_inline(for_people(value))}")
    return lines


def _plan_section(sealed: Plan, digest: str) -> List[str]:
    block = markdown_json_block(plain(sealed))
    wide = any(len(line) > _WIDE_LINE for line in block.split("\n"))
    allows = "the policy allows" if _is_automatic(sealed) else "an approval allows"
    return [
        "## The plan",
        f"Exactly this, and nothing else, is what {allows}. Sealed {time(sealed.issued_at)}:",
        "**Some lines are wide: scroll to the right to read them to their end.**" if wide else "",
        block,
        f"Its identity is the SHA-256 of its canonical form (RFC 8785): {markdown_inline(digest)}",
        f'To compute it yourself, save the block as `plan.json` and run `python -c "{_RECOMPUTE}"`',
    ]


def _policy_section(reasons: Sequence[str], sealed: Plan) -> List[str]:
    return [
        "## What the policy said",
        "{}: {}. Policy file: SHA-256 {}".format(
            "Nobody has to be asked" if _is_automatic(sealed) else "A human may approve it",
            _rules(sealed),
            markdown_inline(sealed.policy.digest),
        ),
        _reasons(reasons),
    ]


def _reasons(reasons: Sequence[str]) -> str:
    return "\n".join(f"- {markdown_inline(reason)}" for reason in reasons)


def click_section(sealed: Plan, digest: str) -> List[str]:
    """How to decide behind environments."""
    return [
        "## How to decide",
        "\n".join(
            [
                _FIRST_QUESTION,
                f"2. The job that waits must be named **{names.APPROVE_JOB}{plan.short(digest)}** and then "
                "the action. That name is the runtime's; a page under another heading than *Seal* is the agent's.",
                f"3. On this page choose **Review deployments**, tick {markdown_inline(names.GATE_ENVIRONMENT)}, then "
                f"**Approve and deploy** or **Reject**. An approval by {_initiators(sealed)} does not count.",
            ]
        ),
        "After an approval, the job `act` checks everything again (this plan, this run, the time, the policy, the "
        "environments, who approved, the preconditions) and runs exactly this plan, once. After a rejection, or "
        "without an answer, nothing is run.",
    ]


def issue_section() -> List[str]:
    """How to decide where an issue is the gate."""
    return [
        "## How to decide",
        f"The job `ask` opens an issue with the label {markdown_inline(names.GATE_LABEL)} that shows this plan. The "
        "approvers answer there, with a comment; nothing waits here.",
    ]


def _initiators(sealed: Plan) -> str:
    who = [sealed.run.actor]
    if sealed.run.triggering_actor.casefold() != sealed.run.actor.casefold():
        who.append(sealed.run.triggering_actor)
    return " or ".join(markdown_inline(login) for login in who)


def _analysis_section(report: Report) -> List[str]:
    if not report.analysis.strip():
        return []
    return ["## The agent's analysis", AGENT_WROTE, _prose(report.analysis)]


def _prose(text: str) -> str:
    """Longer text: each line on a quoted line of its own, so that it wraps instead of running off the page."""
    quoted: List[str] = []
    for line in text.replace("\r\n", "\n").strip("\n").split("\n"):
        if line.strip():
            # A hard break, unless a new paragraph starts here.
            if quoted and quoted[-1] != ">":
                quoted[-1] += "\\"
            quoted.append("> " + markdown_inline(line))
        else:
            quoted.append(">")
    return "\n".join(quoted)


# Pages that ask for nothing


def _closed_page(report: Report) -> List[str]:
    resource = markdown_inline(report.resource)
    if report.status is ReportStatus.FAILED:
        return _failed_page(report)
    if report.status is ReportStatus.DENIED:
        top = [
            f"# Denied: no action on {resource}",
            "The agent proposed an action, and it was denied. Nothing was changed, no gate opens and nobody is asked.",
            table(FACTS, _closed_facts(report)),
            "## Why",
            _reasons(report.policy_reasons),
            "If the policy is wrong, change it by pull request; then start a new run.",
        ]
    else:
        top = [
            f"# Nothing to do on {resource}",
            "The agent looked and proposes no action. Nothing was changed, no gate opens and nobody is asked.",
            table(FACTS, _closed_facts(report)),
        ]
    return [*top, *_agent_section(report), *_analysis_section(report)]


def _failed_page(report: Report) -> List[str]:
    meaning = codes.registered().get(report.code or "")
    return [
        f"# Nothing is asked: {meaning.title if meaning else 'the investigation failed'}",
        f"About {markdown_inline(report.resource)}. Nothing was proposed, nothing was changed, no gate opens and "
        "nobody is asked.",
        f"**What is wrong:** {markdown_inline(report.error or '')}",
        table(FACTS, _closed_facts(report)),
    ]


def render_refusal(problem: codes.AgentError) -> str:
    """Return the page for a run whose trigger is invalid: what is wrong, where, and what to do."""
    meaning = codes.describe(problem.code)
    return whole(
        [
            "# Refused: nothing was investigated",
            "What started this run is invalid. Nothing was changed, no gate opens and nobody is asked.",
            f"**{problem.code}: {meaning.title}**",
            markdown_inline(problem.message),
            way_out(problem.code),
        ]
    )


def _duplicate_page(report: Report, run_id: str, url: str) -> List[str]:
    run = f"[run {run_id}]({url})" if _PLAIN_URL.fullmatch(url) else f"run {run_id}"
    return [
        f"# Nothing to do on {markdown_inline(report.resource)}: run {run_id} asks already",
        f"The {run} is about the same resource and the same alert, and its decision is still open. Decide there. "
        "This run did not investigate; nothing was changed and nobody is asked a second time.",
        table(FACTS, _closed_facts(report)),
    ]


def _closed_facts(report: Report) -> Rows:
    return [
        ("Resource", markdown_table_cell(report.resource)),
        ("Looked at", time(report.timestamp)),
        ("Started by", _started_by(report)),
        ("Trace", markdown_table_cell(report.trace_id)),
    ]
