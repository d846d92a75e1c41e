"""The pages that people read in a run's summary: what is asked, what was done, how the run ended.

The reviewer's page must let a human decide in two minutes without opening an artifact, and it must not be possible to
persuade that human with text that only looks like the runtime's (threats T3, T4, T14).  Therefore:

* The runtime states the facts from typed fields; the agent's words stand in code spans and blocks, escaped, under a
  line that says who wrote them.
* The plan is shown whole, in JSON with nothing but ASCII, so that neither a look-alike letter nor a hidden one passes,
  and so that the block can be copied and its digest recomputed.
* Nothing is ever cut.  A page that GitHub would not show refuses the run instead.

Pure, and the same input gives the same page.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.model import names, plan
from agent_runtime.model.documents import ActionReport, Decision, Plan, Report, ReportStatus, parse_time, plain
from agent_runtime.results import ActionStatus, Finding
from agent_runtime.text.escape import markdown_block, markdown_inline, markdown_json_block, markdown_table_cell, visible
from agent_runtime.text.markdown import as_terminal, indent, page, table

# GitHub drops a step's summary above this size.
MAX_PAGE_BYTES = 1024 * 1024
# GitHub takes issues and comments up to this size.
MAX_ISSUE_CHARACTERS = 65_536

__all__ = [
    "MAX_ISSUE_CHARACTERS",
    "MAX_PAGE_BYTES",
    "as_terminal",
    "render_answer",
    "render_issue",
    "render_record",
    "render_refusal",
    "render_result",
    "render_summary",
    "sentence",
]

_WIDE_LINE = 100
_TITLE_PART = 80
# What may stand inside a link: nothing that Markdown reads as more than an address.
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.:-]+/?")
_PLAIN_REPOSITORY = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")
_FACTS = ("What", "Value")
_RECOMPUTE = (
    "import hashlib, json, rfc8785; print(hashlib.sha256(rfc8785.dumps(json.load(open('plan.json')))).hexdigest())"
)
_FIRST_QUESTION = (
    "1. Does the evidence support the action, and is the plan what you would do? If not, or if you can't tell: reject."
)
_AGENT_WROTE = (
    "Written by the agent; only secrets were taken out. "
    "It may be wrong, or repeat what somebody put into a log or an alert."
)

_DRY_RUN = (
    "> **Dry run:** everything is asked and checked as for an action, and then nothing is executed. The plan says "
    "`dry_run: true`; without it, it would be another plan."
)

_Rows = List[Tuple[str, str]]


def render_summary(
    report: Report,
    *,
    digest: Optional[str],
    gate_note: Optional[str] = None,
    server_url: str = "https://github.com",
    in_issue: bool = False,
) -> str:
    """Return the page for the end of an investigation, in GitHub's Markdown.

    Arguments:
        digest: digest of the report's plan, None when it has none.
        gate_note: what else the reader must know about the gate, one sentence.
        server_url: where GitHub's pages are, as GITHUB_SERVER_URL gives it.
        in_issue: whether an issue is the gate.

    Raises:
        BadInput: the page is larger than GitHub shows (RPT002).
        ValueError: `digest` is not that of the report's plan.
    """
    note = f"> **Note:** {markdown_inline(gate_note)}" if gate_note else ""
    if report.plan is not None:
        if digest != plan.digest(report.plan):
            raise ValueError("the digest is not that of the plan")
        if _is_automatic(report.plan):
            return _whole(_auto_page(report, report.plan, digest, note))
        decide = _issue_section() if in_issue else _decide_section(report.plan, digest)
        return _whole(_review_page(report, report.plan, digest, note, decide))
    if digest is not None:
        raise ValueError("a digest without a plan")
    if report.duplicate_of is not None:
        return _whole(_duplicate_page(report, report.duplicate_of, server_url))
    return _whole(_closed_page(report, note))


def render_issue(
    report: Report, *, digest: str, approvers: Sequence[str], origin: str, run_url: str
) -> Tuple[str, str]:
    """Return title and text of the issue in which an approver decides, in GitHub's Markdown.

    The same arguments give the same issue, so that whoever reads it later can tell whether somebody changed it.

    Arguments:
        digest: digest of the report's plan.
        approvers: logins that are called, checked already.
        origin: the line that says where the report lies, in Markdown.
        run_url: address of the run.

    Raises:
        BadInput: there is no plan (RPT006), or the text is larger than GitHub takes (RPT002).
        ValueError: `digest` is not that of the report's plan.
    """
    sealed = report.plan
    if sealed is None:
        raise codes.BadInput(codes.REPORT_NO_PLAN, f"the report's status is {report.status}")
    if digest != plan.digest(sealed):
        raise ValueError("the digest is not that of the plan")
    decide = _comment_section(sealed, digest, approvers)
    blocks = [*_review_page(report, sealed, digest, "", decide), "## Where this comes from", origin, run_url]
    # GitHub might take empty lines at the end away, and the text must stay what it is.
    text = page(blocks).rstrip("\n")
    if len(text) > MAX_ISSUE_CHARACTERS:
        raise codes.BadInput(
            codes.REPORT_TOO_LARGE,
            f"the issue for the approvers has {len(text)} characters, GitHub takes {MAX_ISSUE_CHARACTERS}",
        )
    title = (
        f"Approve {visible(sealed.action, _TITLE_PART)} on {visible(sealed.resource, _TITLE_PART)}? (plan "
        f"{digest[: plan.SHORT_DIGEST_LENGTH]})"
    )
    return title, text


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


def render_answer(sentence: str, problem: str, run_url: str) -> str:
    """Return the comment that tells on an issue how its plan ended, or why a comment did not count.

    Arguments:
        sentence: what happened, in the runtime's own words.
        problem: code, reason and way out in one line; may quote what others wrote; empty for none.
        run_url: address of the run.
    """
    return page([f"**{sentence}**", markdown_inline(problem) if problem else "", run_url]).rstrip("\n")


def render_refusal(problem: codes.AgentError) -> str:
    """Return the page for a run whose trigger can't be used: what is wrong, where, and what to do."""
    meaning = codes.describe(problem.code)
    return _whole(
        [
            "# Refused: nothing was investigated",
            "What started this run can't be used. Nothing was changed, no gate opens and nobody is asked.",
            f"**{problem.code}: {meaning.title}**",
            markdown_inline(problem.message),
            "What to do: {}.".format(meaning.mend.rstrip(".")),
        ]
    )


def _whole(blocks: Sequence[str]) -> str:
    text = page(blocks)
    size = len(text.encode("utf-8"))
    if size > MAX_PAGE_BYTES:
        raise codes.BadInput(
            codes.REPORT_TOO_LARGE,
            f"the page for the run's summary has {size} bytes, GitHub shows {MAX_PAGE_BYTES}",
        )
    return text


# The reviewer's page


def _auto_page(report: Report, sealed: Plan, digest: str, note: str) -> List[str]:
    action, resource = markdown_inline(sealed.action), markdown_inline(sealed.resource)
    return [
        f"# Without asking: {action} on {resource}",
        f"The policy lets the agent run {action} on {resource} without asking a human, until "
        f"**{_time(sealed.expires_at)}**. Nothing was changed so far: the "
        "job `act-auto` checks everything again and then runs exactly this plan, once. To stop it, cancel this run, or "
        "set the variable `AGENT_DISABLED`.",
        _DRY_RUN if sealed.dry_run else "",
        note,
        table(_FACTS, _review_facts(report, sealed, digest)),
        *_agent_section(report, sealed),
        *_plan_section(sealed, digest),
        *_policy_section(report.policy_reasons, sealed),
        *_analysis_section(report),
    ]


def _review_page(report: Report, sealed: Plan, digest: str, note: str, decide: Sequence[str]) -> List[str]:
    action, resource = markdown_inline(sealed.action), markdown_inline(sealed.resource)
    return [
        f"# Approve {action} on {resource}?",
        f"The agent asks to run {action} on {resource}. Nothing was changed so far, and nothing will be unless "
        "a reviewer approves "
        f"before **{_time(sealed.expires_at)}**.",
        _DRY_RUN if sealed.dry_run else "",
        note,
        table(_FACTS, _review_facts(report, sealed, digest)),
        *_agent_section(report, sealed),
        *_plan_section(sealed, digest),
        *_policy_section(report.policy_reasons, sealed),
        *decide,
        *_analysis_section(report),
    ]


def _review_facts(report: Report, sealed: Plan, digest: str) -> _Rows:
    minutes = int((parse_time(sealed.expires_at) - parse_time(sealed.issued_at)).total_seconds()) // 60
    undo = "**no**, says the agent"
    if sealed.reversible:
        undo = "yes, says the agent"
    if sealed.rollback is not None:
        undo += f": {markdown_table_cell(sealed.rollback)}"
    elif sealed.reversible:
        undo += ", without saying how"
    watched = ", ".join(markdown_table_cell(key) for key in sorted(sealed.preconditions))
    return [
        ("Action", markdown_table_cell(sealed.action)),
        ("Resource", markdown_table_cell(sealed.resource)),
        ("Risk", f"**{sealed.risk_level}**, says the agent"),
        ("Can be undone", undo),
        ("Plan counts until", f"{_time(sealed.expires_at)} ({minutes} minutes after sealing)")
        if _is_automatic(sealed)
        else ("Approval counts until", f"{_time(sealed.expires_at)} ({minutes} minutes after sealing)"),
        ("Started by", _started_by(report)),
        (
            "Policy",
            "{} ({})".format("nobody is asked" if _is_automatic(sealed) else "a human may approve", _rules(sealed)),
        ),
        ("Refused if changed meanwhile", watched or "nothing: the agent named no precondition"),
        ("Plan", f"{_short(digest)} (first {plan.SHORT_DIGEST_LENGTH} digits of its digest)"),
    ]


def _is_automatic(sealed: Plan) -> bool:
    return sealed.policy.decision is Decision.AUTO


def _rules(sealed: Plan) -> str:
    return ", ".join(markdown_table_cell(rule) for rule in sealed.policy.matched_rules)


def _short(digest: str) -> str:
    return markdown_table_cell(digest[: plan.SHORT_DIGEST_LENGTH])


def _time(text: str) -> str:
    return f"{parse_time(text):%Y-%m-%d %H:%M:%S} UTC"


def _started_by(report: Report) -> str:
    run = report.run
    started = f"{markdown_table_cell(run.actor)}, trigger: {markdown_table_cell(report.trigger)}"
    if run.triggering_actor.casefold() != run.actor.casefold():
        started += f"; re-run by {markdown_table_cell(run.triggering_actor)}"
    return started if run.run_attempt == 1 else f"{started} (attempt {run.run_attempt})"


def _agent_section(report: Report, sealed: Optional[Plan] = None) -> List[str]:
    said: _Rows = []
    if sealed is not None:
        said.append(("Reason", markdown_table_cell(sealed.reason)))
    said += [
        ("Recommendation", markdown_table_cell(report.recommendation)),
        ("Risk of the situation", str(report.risk_level)),
        ("Safe to proceed", "yes" if report.safe_to_proceed else "**no**"),
        ("Confidence", f"{report.confidence:g} of 1 (nothing is decided by it)"),
    ]
    blocks = ["## What the agent says", _AGENT_WROTE, table(("What", "In the agent's words"), said)]
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
            lines.append(f"  - {markdown_inline(key)}: {markdown_inline(_value(value))}")
    return lines


def _value(value: Any) -> str:
    """A JSON value for people: text without quotes, everything else as JSON."""
    return value.strip("\r\n") if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _plan_section(sealed: Plan, digest: str) -> List[str]:
    block = markdown_json_block(plain(sealed))
    parameters = [
        (markdown_table_cell(key), markdown_table_cell(_json(value)))
        for key, value in sorted(plain(sealed.parameters).items())
    ]
    wide = any(len(line) > _WIDE_LINE for line in block.split("\n"))
    return [
        "## The plan",
        "This, all of this and nothing else is what the policy allows."
        if _is_automatic(sealed)
        else "This, all of this and nothing else is what an approval allows.",
        table(("Parameter", "Value that the action gets"), parameters) or "The action gets no parameters.",
        f"The complete plan, sealed {_time(sealed.issued_at)}:",
        "**Some lines are wide: scroll to the right to read them to their end.**" if wide else "",
        block,
        f"Its identity is the SHA-256 of its canonical form (RFC 8785): {markdown_inline(digest)}",
        f'To compute it yourself, save the block as `plan.json` and run `python -c "{_RECOMPUTE}"`',
    ]


def _policy_section(reasons: Sequence[str], sealed: Plan) -> List[str]:
    return [
        "## What the policy said",
        "{}: {}. Policy file: SHA-256 {}".format(
            "Nobody need be asked" if _is_automatic(sealed) else "A human may approve it",
            _rules(sealed),
            markdown_inline(sealed.policy.digest),
        ),
        _reasons(reasons),
    ]


def _reasons(reasons: Sequence[str]) -> str:
    return "\n".join(f"- {markdown_inline(reason)}" for reason in reasons)


def _decide_section(sealed: Plan, digest: str) -> List[str]:
    return [
        "## How to decide",
        "\n".join(
            [
                _FIRST_QUESTION,
                f"2. The job that waits must be named **Approve {markdown_inline(sealed.action)} on "
                f"{markdown_inline(sealed.resource)} (plan {_short(digest)})**.",
                f"3. On this page choose **Review deployments**, tick "
                f"{markdown_inline(names.GATE_ENVIRONMENT)}, then **Approve and deploy** or **Reject**. An "
                f"approval by {_initiators(sealed)} does not count.",
            ]
        ),
        "After an approval, the job `act` checks everything again (this plan, this run, the time, the policy, both "
        "environments, who approved, the preconditions) and runs exactly this plan, once. After a rejection, or "
        "without an answer, nothing is run.",
    ]


def _issue_section() -> List[str]:
    return [
        "## How to decide",
        f"The job `ask` opens an issue with the label {markdown_inline(names.GATE_LABEL)} that shows this plan. "
        "The approvers answer there, with a "
        "comment; nothing waits here.",
    ]


def _initiators(sealed: Plan) -> str:
    who = [sealed.run.actor]
    if sealed.run.triggering_actor.casefold() != sealed.run.actor.casefold():
        who.append(sealed.run.triggering_actor)
    return " or ".join(markdown_inline(login) for login in who)


def _analysis_section(report: Report) -> List[str]:
    if not report.analysis.strip():
        return []
    return ["## The agent's analysis", _AGENT_WROTE, _prose(report.analysis)]


def _prose(text: str) -> str:
    """Longer text: each line on a quoted line of its own, so that it wraps instead of hiding to the right."""
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


def _closed_page(report: Report, note: str) -> List[str]:
    resource = markdown_inline(report.resource)
    if report.status is ReportStatus.DENIED:
        top = [
            f"# Denied: no action on {resource}",
            "The agent proposed an action, and it was denied. Nothing was changed, no gate opens and nobody is asked.",
        ]
        bottom = [
            "## Why",
            _reasons(report.policy_reasons),
            "If the policy is wrong, change it by pull request; then start a new run.",
        ]
    elif report.status is ReportStatus.FAILED:
        top = [
            f"# Failed: {resource} was not investigated",
            "The investigation stopped with an error. Nothing was proposed, nothing was changed, and nobody is asked.",
            "**What went wrong:** {}".format(markdown_inline(report.error or "")),
            "The log of this job has the details. Mend it, then start a new run.",
        ]
        return [*top, note, table(_FACTS, _closed_facts(report))]
    else:
        top = [
            f"# Nothing to do on {resource}",
            "The agent looked and proposes no action. Nothing was changed, no gate opens and nobody is asked.",
        ]
        bottom = []
    return [
        *top,
        note,
        table(_FACTS, _closed_facts(report)),
        *bottom,
        *_agent_section(report),
        *_analysis_section(report),
    ]


def _duplicate_page(report: Report, run_id: str, server_url: str) -> List[str]:
    run = "run " + run_id
    if _PLAIN_URL.fullmatch(server_url) and _PLAIN_REPOSITORY.fullmatch(report.run.repository):
        run = "[{}]({}/{}/actions/runs/{})".format(run, server_url.rstrip("/"), report.run.repository, run_id)
    return [
        "# Nothing to do on {}: {} asks already".format(markdown_inline(report.resource), "run " + run_id),
        f"The {run} is about the same resource and the same alert, and its decision is still open. Decide "
        "there. This run "
        "did not investigate; nothing was changed and nobody is asked a second time.",
        table(_FACTS, _closed_facts(report)),
    ]


def _closed_facts(report: Report) -> _Rows:
    return [
        ("Resource", markdown_table_cell(report.resource)),
        ("Looked at", _time(report.timestamp)),
        ("Started by", _started_by(report)),
        ("Trace", markdown_table_cell(report.trace_id)),
    ]


# After acting

_UNASKED_FACT = ("Approved by", "nobody: the policy lets it happen without asking")

# Where the runtime puts what went wrong, in the details of an action report that has a code.
_PROBLEM_KEYS = ("refused", "problem")

_STATUS_PAGES: Dict[ActionStatus, Tuple[str, str]] = {
    ActionStatus.SUCCESS: ("Done", "The {} was executed."),
    ActionStatus.ALREADY_DONE: ("Already done", "The resource was already as the plan wants it; nothing was changed."),
    ActionStatus.FAILED: (
        "Failed",
        "The {} was started and did not succeed. Look at the resource before anything else is started.",
    ),
    ActionStatus.UNKNOWN: (
        "Outcome unknown",
        "The {} was started and nobody knows how far it came. **Somebody must look at the resource before "
        "anything else is started.**",
    ),
    ActionStatus.REFUSED: ("Refused", "A check before acting failed. **Nothing was executed.**"),
    ActionStatus.REHEARSED: ("Rehearsed", "Every check passed, and this was a dry run: **nothing was executed.**"),
}


def render_result(result: ActionReport) -> str:
    """Return the page for the end of the act job.

    Raises:
        BadInput: the page is larger than GitHub shows (RPT002).
    """
    word, sentence = _STATUS_PAGES[result.status]
    what = "{} on {}".format(
        markdown_inline(result.action) if result.action else "no action", markdown_inline(result.resource)
    )
    sentence = sentence.format("approved plan" if result.approver else "plan")
    blocks = [f"# {word}: {what}", sentence, *_problem(result), table(_FACTS, _result_facts(result))]
    if result.status not in (ActionStatus.REFUSED, ActionStatus.REHEARSED):
        blocks += _result_details(result)
    return _whole(blocks)


def _problem(result: ActionReport) -> List[str]:
    if result.code is None:
        return []
    meaning = codes.registered().get(result.code)
    told = next((str(result.details[key]) for key in _PROBLEM_KEYS if key in result.details), "")
    return [
        "**{}{}**".format(markdown_inline(result.code), ": " + meaning.title if meaning else ""),
        markdown_inline(told) if told else "",
        f"What to do: {meaning.mend}." if meaning else "",
    ]


def _result_facts(result: ActionReport) -> _Rows:
    facts = [
        ("Resource", markdown_table_cell(result.resource)),
        ("Status", "**{}**".format(str(result.status).replace("_", " "))),
        ("Plan", _short(result.plan_digest)),
        ("Trace", markdown_table_cell(result.trace_id)),
    ]
    if result.action:
        facts.insert(0, ("Action", markdown_table_cell(result.action)))
    if result.approver is not None:
        facts.append(("Approved by", markdown_table_cell(result.approver.login)))
    elif result.status is not ActionStatus.REFUSED:
        facts.append(_UNASKED_FACT)
    if result.status not in (ActionStatus.REFUSED, ActionStatus.REHEARSED):
        facts.append(("Took", f"{result.latency_ms / 1000:.1f} s"))
    return facts


def _result_details(result: ActionReport) -> List[str]:
    details = plain(result.details)
    if result.code is not None:
        details = {key: value for key, value in details.items() if key not in _PROBLEM_KEYS}
    blocks = [
        "**Changes**" if result.changes else "",
        "\n".join(f"- {markdown_inline(change)}" for change in result.changes),
        table(("Measured", "Value"), _pairs(plain(result.verification))),
        f"**To undo it:** {markdown_inline(result.rollback)}" if result.rollback else "",
        table(("Detail", "Value"), _pairs(details)),
    ]
    if not any(blocks):
        return ["The agent said nothing about what it changed or measured."]
    return ["## What the agent says", _AGENT_WROTE, *blocks]


def _pairs(values: Mapping[str, Any]) -> _Rows:
    return [(markdown_table_cell(key), markdown_table_cell(_value(value))) for key, value in values.items()]


# The end of the run

_OUTCOMES: Dict[str, str] = {
    "acted": "The plan was approved and executed.",
    "rehearsed": "A dry run: everything was asked and checked, and nothing was executed.",
    "action_failed": "The plan was approved and executed, and did not succeed. Look at the resource.",
    "outcome_unknown": "The plan was started and nobody knows how far it came. **Somebody must look at the resource.**",
    "refused": "A check before acting failed. Nothing was executed.",
    "expired": "The approval came too late. Nothing was executed.",
    "rejected": "A reviewer rejected the plan. Nothing was executed.",
    "cancelled": "The run was cancelled. Nothing was executed.",
    "nothing_to_do": "The agent found nothing to do. Nobody was asked.",
    "duplicate": "An earlier run already waits for a decision about the same alert. Nobody was asked a second time.",
    "denied": "The policy denied what the agent proposed. Nobody was asked.",
    "investigation_failed": "The investigation failed. Nothing was proposed.",
    "approval_failed": "The plan got no valid approval. Nothing was executed.",
    "waiting": "The plan waits for an approver's comment in an issue. Nothing was executed so far.",
}
_UNASKED_OUTCOMES: Dict[str, str] = {
    "acted": "The plan was executed. The policy let it happen without asking.",
    "action_failed": "The plan was executed without asking, and did not succeed. Look at the resource.",
    "expired": "The plan was too old when its job began. Nothing was executed.",
}


def sentence(outcome: str) -> str:
    """Return what an outcome means, in words; empty for one that is not known."""
    return _OUTCOMES.get(outcome, "").replace("*", "")


def render_record(
    *,
    outcome: str,
    resource: str,
    plan_digest: Optional[str],
    approver: Optional[str],
    rejected_by: Optional[str],
    problems: Sequence[str],
    bundle_digest: str,
    issue: Optional[str] = None,
    automatic: bool = False,
) -> str:
    """Return the page for the end of a run.

    Arguments:
        outcome: how it ended, in one of the words of specs/github-actions-agent-runtime.md.
        problems: what does not hold of the run's trail, a line each.
        bundle_digest: SHA-256 of `bundle.json`.
        issue: address of the issue that is the gate, where one is.
        automatic: whether the policy decided alone.

    Raises:
        BadInput: the page is larger than GitHub shows (RPT002).
    """
    facts: _Rows = [("Resource", markdown_table_cell(resource))]
    for label, value in (("Plan", plan_digest), ("Approved by", approver), ("Rejected by", rejected_by)):
        if value:
            facts.append((label, markdown_table_cell(value)))
    if issue:
        facts.append(("Issue", issue))
    if automatic:
        facts.append(_UNASKED_FACT)
    trail = "**not whole**" if problems else "whole"
    facts += [("Trail", trail), ("Bundle", markdown_table_cell(bundle_digest))]
    return _whole(
        [
            "# The run ended: {}".format(
                outcome.replace("_", " ") if outcome in _OUTCOMES else markdown_inline(outcome)
            ),
            (_UNASKED_OUTCOMES if automatic else {}).get(outcome, _OUTCOMES.get(outcome, "")),
            table(_FACTS, facts),
            "**What is wrong with the trail**" if problems else "",
            "\n".join(f"- {markdown_inline(problem)}" for problem in problems),
            "To check this run later, download the artifact `audit-bundle` and run {}".format(
                markdown_inline("python agent_runner.py verify audit-bundle --digest " + bundle_digest)
            ),
        ]
    )
