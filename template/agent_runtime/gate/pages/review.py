"""The page that a reviewer decides from, and the pages of a run that asks for nothing.

A human must be able to decide in two minutes without opening an artifact.  The first screen has what is sealed and what
the runtime knows: the values, the change, how to undo it, what must still hold, what the policy asked, who may approve.
The agent's words come after it, bounded and labelled.  At the end the plan is shown whole, in JSON with nothing but
ASCII, so that neither a look-alike letter nor a hidden one passes, and so that the block can be copied and its digest
recomputed.

One module, because it is one page, in the order in which it is read.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.gate.pages import claims
from agent_runtime.gate.pages.common import (
    AGENT_WROTE,
    FACTS,
    Rows,
    as_json,
    bounded,
    for_people,
    left_out,
    short,
    time,
    way_out,
    whole,
)
from agent_runtime.gate.policy import NOT_LOOKED_AT
from agent_runtime.model import names, plan
from agent_runtime.model.documents import Decision, Plan, Report, ReportStatus, Step, parse_time, plain
from agent_runtime.results import Finding
from agent_runtime.text.escape import (
    markdown_block,
    markdown_inline,
    markdown_json_block,
    markdown_table_cell,
    visible,
)
from agent_runtime.text.markdown import collapsed, indent, page, table

# GitHub takes issues and comments up to this size.
MAX_ISSUE_CHARACTERS = 65_536

# A sealed parameter of this name is what will change: a text, or a list of lines, shown as a diff.
DIFF = "diff"
# As many lines of it stand before the values; more come after them.
_SHORT_CHANGES = 16
# With more parameters than this, several share a row.
_ROWS = 5
# What is shown of the agent's words: characters of a text, lines, findings, evidence of each.  The report has all.
_MAX_TEXT = 600
_MAX_LINES = 40
_MAX_FINDINGS = 15
_MAX_EVIDENCE = 15

_WIDE_LINE = 100
_TITLE_PART = 80
# What may be inside a link: nothing that Markdown reads as more than an address.
_PLAIN_URL = re.compile(r"(https?://[A-Za-z0-9.:-]+/[A-Za-z0-9-]+/[A-Za-z0-9._-]+)/actions/runs/[0-9]+")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_DOCUMENTS = (("Runbook", "docs/RUNBOOK.md"), ("How to decide", "docs/REVIEWER.md"))
_RECOMPUTE = (
    "import hashlib, json, rfc8785; print(hashlib.sha256(rfc8785.dumps(json.load(open('plan.json')))).hexdigest())"
)
_FIRST_QUESTION = (
    "1. Does the evidence support the action, and is the plan what you would do? If not, or if you aren't sure: reject."
)
_STEPS = (
    "One approval is for all steps. They run in this order, and the first that does not succeed stops the rest. Before "
    "each one the preconditions are observed again: only what the step before it changes may differ."
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
        links = _links(report.plan, run_url(report.run.run_id))
        return whole(page_of(report, report.plan, digest, decide, links), lambda: sizes(report))
    if report.duplicate_of is not None:
        return whole(_duplicate_page(report, report.duplicate_of, run_url(report.duplicate_of)), lambda: sizes(report))
    return whole(_closed_page(report), lambda: sizes(report))


def render_terminal(report: Report) -> str:
    """Return the same page for a person at a terminal, in whose repository the guides are: no word of a web page."""
    if report.plan is None:
        return whole(_closed_page(report))
    page_of = _auto_page if _is_automatic(report.plan) else _review_page
    links = ". ".join(f"{name}: {path}" for name, path in _DOCUMENTS)
    return whole(page_of(report, report.plan, plan.digest(report.plan), [], links))


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
    blocks = [
        *_review_page(report, sealed, digest, decide, _links(sealed, run_url)),
        "## Where this comes from",
        origin,
        run_url,
    ]
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
    named = {login.casefold() for login in sealed.approvals.approvers or approvers}
    called = ["@" + login for login in approvers if login.casefold() in named.difference(initiators)]
    return [
        "## How to decide",
        f"{', '.join(called)}, please decide." if called else "",
        _FIRST_QUESTION,
        f"2. To approve, write a comment whose first line is this (the first {plan.SHORT_DIGEST_LENGTH} digits "
        "are enough):",
        markdown_block("/approve " + digest),
        f"3. To reject, write a comment whose first line is {markdown_inline('/reject')} and the reason. One rejection "
        "is enough.",
        ""
        if sealed.approvals.count == 1
        else "**Two of them must approve.** After the first, the answer here says so.",
        f"A comment by {_initiators(sealed)} does not approve, nor does one that was edited. After an approval "
        "the workflow checks "
        "everything again (this issue, the plan, its run, the time, the policy, who commented, the preconditions) and "
        "runs exactly this plan, once. After a rejection, or without an answer, nothing is run.",
    ]


# The reviewer's page


def _auto_page(report: Report, sealed: Plan, digest: str, _decide: Sequence[str], links: str) -> List[str]:
    what = _what(sealed)
    return [
        f"# Without asking: {what}",
        f"The policy lets the agent do this without asking a human, until **{time(sealed.expires_at)}**. "
        "Nothing has been changed so far: the job `act-auto` checks everything again, then runs this plan, once. "
        "To stop it, cancel this run, or set the variable `AGENT_DISABLED`.",
        *_plan_page(report, sealed, digest, [], links),
    ]


def _review_page(report: Report, sealed: Plan, digest: str, decide: Sequence[str], links: str) -> List[str]:
    return [
        f"# Approve {_what(sealed)}?",
        f"Until **{time(sealed.expires_at)}**. Nothing has been changed so far. {links}".rstrip(),
        *_plan_page(report, sealed, digest, decide, ""),
    ]


def _plan_page(report: Report, sealed: Plan, digest: str, decide: Sequence[str], links: str) -> List[str]:
    changes = _changes(sealed)
    # The values stand on the first screen, whatever else there is.
    long = sum(block.count("\n") for block in changes) > _SHORT_CHANGES
    return [
        links,
        _DRY_RUN if sealed.dry_run else "",
        _STEPS if len(sealed.steps) > 1 else "",
        *_contradictions(report, sealed),
        *_unfounded(report, sealed),
        *([] if long else changes),
        table(FACTS, [*_sealed_facts(sealed), *_known_facts(report, sealed, digest)]),
        *(changes if long else []),
        *decide,
        *_agent_section(report, sealed),
        *_policy_section(report.policy_reasons, sealed),
        *_session_section(report.session_policy),
        *_plan_section(sealed, digest),
    ]


def _what(sealed: Plan) -> str:
    actions = ", then ".join(markdown_inline(step.action) for step in sealed.steps)
    return f"{actions} on {markdown_inline(sealed.resource)}"


def _links(sealed: Plan, run_url: str) -> str:
    """The guides of the repository at the plan's commit."""
    address = _PLAIN_URL.fullmatch(run_url)
    if address is None or not _COMMIT.fullmatch(sealed.run.sha):
        return ""
    return " · ".join(f"[{name}]({address.group(1)}/blob/{sealed.run.sha}/{path})" for name, path in _DOCUMENTS)


def _contradictions(report: Report, sealed: Plan) -> List[str]:
    """What the agent says with one name and two values: in its evidence, and in the plan."""
    planned = [*(plain(step.parameters) for step in sealed.steps), plain(sealed.preconditions)]
    lines: Dict[str, None] = {}
    for finding in report.findings:
        for name, measured in plain(finding.evidence).items():
            for values in planned:
                if name in values and _differ(values[name], measured):
                    lines[
                        f"> - {markdown_inline(name)} is {bounded(as_json(values[name]), _MAX_TEXT)} in the plan, and "
                        f"{bounded(as_json(measured), _MAX_TEXT)} in a finding"
                    ] = None
    if not lines:
        return []
    return ["\n".join(["> **The agent contradicts itself.** Equal names with different values:", *lines])]


def _unfounded(report: Report, sealed: Plan) -> List[str]:
    """What the reasons name and the plan does not have."""
    lines = []
    for number, step in enumerate(sealed.steps, 1):
        found = claims.unfounded(step.reason, sealed, report.policy_asked)
        if found:
            lines.append(f"> - the reason{_of_step(sealed, number)} names {', '.join(map(markdown_inline, found))}")
    if not lines:
        return []
    return [
        "\n".join(["> **Not in the plan**, nor in the policy's conditions, and perhaps not what will run:", *lines])
    ]


def _differ(one: Any, other: Any) -> bool:
    scalar = not isinstance(one, (dict, list)) and not isinstance(other, (dict, list))
    return scalar and (one != other or isinstance(one, bool) != isinstance(other, bool))


def _changes(sealed: Plan) -> List[str]:
    """What each step changes, where the plan says it."""
    blocks: List[str] = []
    for number, step in enumerate(sealed.steps, 1):
        change = _diff_of(step)
        if change is not None:
            lines = change.splitlines()
            files = sum(line.startswith("+++ ") for line in lines)
            more, less = (sum(line[:1] == sign for line in lines) - files for sign in "+-")
            count = f"{files} file{'' if files == 1 else 's'}, " if files else ""
            heading = f"**What will change{_of_step(sealed, number)}**: {count}{more} lines more, {less} less"
            blocks += [heading, markdown_block(change, diff=True)]
    return blocks


def _diff_of(step: Step) -> Optional[str]:
    change = plain(step.parameters).get(DIFF)
    if isinstance(change, list) and all(isinstance(line, str) for line in change):
        change = "\n".join(change)
    return change if isinstance(change, str) and change.strip() else None


def _of_step(sealed: Plan, number: int) -> str:
    return f" in step {number}" if len(sealed.steps) > 1 else ""


def _sealed_facts(sealed: Plan) -> Rows:
    facts: Rows = []
    for number, step in enumerate(sealed.steps, 1):
        if len(sealed.steps) > 1:
            facts.append((f"**Step {number}**", markdown_table_cell(step.action)))
        given = plain(step.parameters)
        if _diff_of(step) is not None:
            del given[DIFF]
        facts += _values(given) or [("Parameters", "none" if not step.parameters else "only what will change")]
        facts.append(("Undo", _undo(step)))
        if len(sealed.steps) > 1:
            changes = ", ".join(markdown_table_cell(key) for key in step.changes)
            facts.append(("Changes", f"{changes}, says the agent" if changes else "no precondition, says the agent"))
    kept = [f"{markdown_table_cell(key)} is still {_cell(given)}" for key, given in _sorted(sealed.preconditions)]
    facts.append(("Refused unless", ", ".join(kept) or "nothing: the agent named no precondition"))
    if sealed.variables:
        facts += [(f"Variable {markdown_table_cell(key)}", _cell(given)) for key, given in _sorted(sealed.variables)]
    facts.append(("Secrets", ", ".join(markdown_table_cell(name) for name in sealed.secrets) or "none"))
    return facts


def _values(given: Mapping[str, Any]) -> Rows:
    """Each sealed value: a row each while they are few, else several in a row."""
    if len(given) <= _ROWS:
        return [(markdown_table_cell(key), _cell(value)) for key, value in _sorted(given)]
    return [("Parameters", " · ".join(f"{markdown_table_cell(key)} {_cell(value)}" for key, value in _sorted(given)))]


def _sorted(given: Mapping[str, Any]) -> List[Tuple[str, Any]]:
    return sorted(plain(given).items())


def _cell(value: Any) -> str:
    return markdown_table_cell(as_json(value))


def _known_facts(report: Report, sealed: Plan, digest: str) -> Rows:
    model = report.model
    cut = "cut to this plan by the session policy below"
    return [
        *([("Chosen by", f"a language model, {markdown_table_cell(model.name)}, says the agent")] if model else []),
        *([("Credential", cut)] if report.session_policy else []),
        ("Policy", f"{_asked(report, sealed)}; {_policy_changed(report)}"),
        *_not_looked_at(report),
        ("Before", _before(report)),
        ("Asked by", _started_by(report)),
        ("Approve", who_may_approve(sealed) + _unseen(report)),
        ("Plan", f"{short(digest)}, sealed {time(sealed.issued_at)}"),
    ]


def who_may_approve(sealed: Plan) -> str:
    """Who may approve a plan; until when stands right under the question."""
    if _is_automatic(sealed):
        return "nobody is asked"
    named = ", ".join(markdown_table_cell(login) for login in sealed.approvals.approvers)
    count = "1 human" if sealed.approvals.count == 1 else f"{sealed.approvals.count} humans"
    return f"{count} among {named or 'the reviewers'}, not {_initiators(sealed)}"


def _unseen(report: Report) -> str:
    """Whether enough people can approve, where only a team's members decide it."""
    if not report.approvers_unseen:
        return ""
    teams = markdown_table_cell(report.approvers_unseen)
    return f"; **whether enough can is not known**: GitHub shows no job who is in {teams}"


def _before(report: Report) -> str:
    """What earlier runs did to the resource."""
    if report.earlier is None:
        return "not known: GitHub did not say what earlier runs did"
    if not report.earlier:
        return "no earlier action on this resource in the last 7 days"
    last = report.earlier[0]
    ends = Counter(each.end for each in report.earlier)
    counts = ", ".join(f"{number} {markdown_table_cell(end)}" for end, number in ends.items())
    latest = f"the last, {markdown_table_cell(last.action)}, {time(last.at)}, {markdown_table_cell(last.end)}"
    return f"in the last 7 days {counts}; {latest}"


def _undo(step: Step) -> str:
    undo = f"{'yes' if step.reversible else '**no**'}, risk **{step.risk_level}**, says the agent"
    if step.rollback is not None:
        return f"{undo}: {markdown_table_cell(step.rollback)}"
    return undo + (", without saying how" if step.reversible else "")


def _is_automatic(sealed: Plan) -> bool:
    return sealed.policy.decision is Decision.AUTO


def _rules(sealed: Plan) -> str:
    return ", ".join(markdown_table_cell(rule) for rule in sealed.policy.matched_rules)


def _asked(report: Report, sealed: Plan) -> str:
    judged = (asked.rpartition(NOT_LOOKED_AT)[0] or asked for asked in report.policy_asked)
    return "; ".join(map(markdown_table_cell, judged)) or _rules(sealed)


def _not_looked_at(report: Report) -> Rows:
    """The parameters that nobody but the reviewer judges, in a row of their own: at the end of another it is missed."""
    found = [asked.rpartition(NOT_LOOKED_AT) for asked in report.policy_asked]
    alone = len(found) == 1
    said = [
        markdown_table_cell(free if alone else f"{asked.partition(':')[0]}: {free}")
        for asked, mark, free in found
        if mark
    ]
    return [("Not judged", f"the policy takes **any value** of {'; '.join(said)}")] if said else []


def _policy_changed(report: Report) -> str:
    """When the policy last changed, and whose commit that was."""
    if report.policy_changed is None:
        return "when it last changed is not known"
    at = parse_time(report.policy_changed.at)
    return f"changed {at:%Y-%m-%d %H:%M} UTC by {markdown_table_cell(report.policy_changed.by)}"


def _started_by(report: Report) -> str:
    run = report.run
    started = f"{markdown_table_cell(run.actor)}, trigger: {markdown_table_cell(report.trigger)}"
    if run.event == "schedule":
        started += " (GitHub names whoever last changed it)"
    if run.triggering_actor.casefold() != run.actor.casefold():
        started += f"; re-run by {markdown_table_cell(run.triggering_actor)}"
    return started if run.run_attempt == 1 else f"{started} (attempt {run.run_attempt})"


def _agent_section(report: Report, sealed: Optional[Plan] = None) -> List[str]:
    measured = (
        f" It looked until {time(report.measured_at)}{_before_sealing(report, sealed)}; what it saw may be older."
        if report.measured_at
        else ""
    )
    steps = sealed.steps if sealed else ()
    said: Rows = [
        (f"Reason for step {number}" if len(steps) > 1 else "Reason", markdown_table_cell(step.reason))
        for number, step in enumerate(steps, 1)
    ]
    said += [
        ("Recommendation", bounded(report.recommendation, _MAX_TEXT, markdown_table_cell)),
        ("Risk of the situation", str(report.risk_level)),
        *([] if report.safe_to_proceed else [("Safe to proceed", "**no**")]),
        ("Confidence", f"{report.confidence:g} of 1 (not used for any decision)"),
    ]
    words = table(("What", "In the agent's words"), said)
    blocks = ["## What the agent says", AGENT_WROTE + measured, _of_model(report), words]
    if not report.findings:
        blocks.append("**The agent gave no findings**, so there is no evidence to look at.")
    else:
        moment, mark = (sealed.issued_at, "the plan was sealed") if sealed else (report.timestamp, "this report")
        blocks += [f"### Findings ({len(report.findings)})", _findings(report.findings, moment, mark)]
    if report.analysis.strip():
        blocks += ["### Analysis", _prose(report.analysis)]
    return blocks


def _of_model(report: Report) -> str:
    """What of this came from a language model, and where the whole conversation is."""
    model = report.model
    if model is None:
        return ""
    cost = "" if model.usd is None else f", {model.usd:.4f} USD"
    return (
        f"**A language model wrote this**: {markdown_inline(model.name)}, in {model.requests} answers, after "
        f"{model.tool_calls} tool calls ({model.tokens} tokens{cost}). It may have done what somebody wrote into what "
        "it read. Only what stands below a finding, behind the id of a tool call (c1), is what a tool returned. The "
        "conversation is "
        f"{markdown_inline(names.TRANSCRIPT_NAME)} in the bundle, SHA-256 {markdown_inline(model.transcript_sha256)}"
    )


def _before_sealing(report: Report, sealed: Optional[Plan]) -> str:
    if sealed is None or report.measured_at is None:
        return ""
    age = claims.age(report.measured_at, parse_time(sealed.issued_at)) or ""
    return f", {age} the plan was sealed" if age.endswith("before") else ""


def _findings(findings: Sequence[Finding], moment: str, mark: str) -> str:
    """The findings, and beside each time of their evidence its age at a moment, which is called so."""
    lines = [line for finding in findings[:_MAX_FINDINGS] for line in _finding(finding, moment, mark)]
    rest = len(findings) - _MAX_FINDINGS
    return "\n".join([*lines, *([f"- {left_out(rest, 'findings')}"] if rest > 0 else [])])


def _finding(finding: Finding, moment: str, mark: str) -> List[str]:
    lines = [f"- **{finding.severity}**: {bounded(finding.message, _MAX_TEXT)}"]
    evidence = list(plain(finding.evidence).items())
    if not evidence:
        lines.append("  - no evidence given")
    for key, value in evidence[:_MAX_EVIDENCE]:
        name = bounded(key, _MAX_TEXT)
        if isinstance(value, str) and "\n" in value.strip("\r\n"):
            kept, cut = _first_lines(value)
            lines += [f"  - {name}: {cut}".rstrip(), "", indent(markdown_block(kept), 4), ""]
        else:
            age = claims.age(value, parse_time(moment))
            lines.append(f"  - {name}: {bounded(for_people(value), _MAX_TEXT)}{f' ({age} {mark})' if age else ''}")
    rest = len(evidence) - _MAX_EVIDENCE
    return [*lines, *([f"  - {left_out(rest, 'values')}"] if rest > 0 else [])]


def _first_lines(text: str) -> Tuple[str, str]:
    """The beginning of a longer text, and how much of it is not shown."""
    lines = text.replace("\r\n", "\n").strip("\n").split("\n")
    whole_text = "\n".join(lines)
    kept = "\n".join(lines[:_MAX_LINES])[: _MAX_LINES * _WIDE_LINE].rstrip("\r\n")
    rest = len(whole_text) - len(kept)
    return kept, left_out(rest, "characters") if rest > 0 else ""


def _plan_section(sealed: Plan, digest: str) -> List[str]:
    block = markdown_json_block(plain(sealed))
    wide = any(len(line) > _WIDE_LINE for line in block.split("\n"))
    allows = "the policy allows" if _is_automatic(sealed) else "an approval allows"
    return [
        "## The plan",
        f"Exactly this, and nothing else, is what {allows}. Its identity is the SHA-256 of its canonical form "
        f"(RFC 8785): {markdown_inline(digest)}",
        collapsed(
            "The whole plan as JSON",
            "**Some lines are wide: scroll to the right to read them to their end.**" if wide else "",
            block,
            f'To compute its digest yourself, save the block as `plan.json` and run `python -c "{_RECOMPUTE}"`',
        ),
    ]


def _policy_section(reasons: Sequence[str], sealed: Plan) -> List[str]:
    return [
        "## What the policy said",
        f"{'Nobody has to be asked' if _is_automatic(sealed) else 'A human may approve it'}: {_rules(sealed)}. Policy "
        f"file: SHA-256 {markdown_inline(sealed.policy.digest)}",
        _reasons(reasons),
    ]


def _session_section(session_policy: str) -> List[str]:
    if not session_policy:
        return []
    return [
        "## What the credential may do",
        "The policy makes this session policy from the plan's values, and *Verify* makes it again for the login: the "
        "credential can do what both it and its role allow, and nothing else.",
        markdown_json_block(json.loads(session_policy)),
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
                f"the action. This page stands under the heading **{names.SEAL_JOB}** of the run's summary; what "
                f"stands under *{names.INVESTIGATE_JOB}* or another heading can be written by the agent.",
                f"3. On this page choose **Review deployments**, tick {markdown_inline(names.GATE_ENVIRONMENT)}, then "
                "**Approve and deploy** or **Reject**.",
                *_second_click(sealed, digest),
            ]
        ),
        f"**Only those whom this page names may approve.** A click by anybody else, {_initiators(sealed)} included, "
        "does not count and ends the run: nothing is executed, and somebody has to start a new one.",
        "After an approval, the job `act` checks everything again (this plan, this run, the time, the policy, the "
        "environments, who approved, the preconditions) and runs exactly this plan, once. After a rejection, or "
        "without an answer, nothing is run.",
    ]


def _second_click(sealed: Plan, digest: str) -> List[str]:
    if sealed.approvals.count == 1:
        return []
    return [
        f"4. After the first approval the job **{names.APPROVE_JOB}{plan.short(digest)}{names.SECOND_MARK}** waits, in "
        f"{markdown_inline(names.SECOND_ENVIRONMENT)}: somebody else does the same there."
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


def _prose(text: str) -> str:
    """Longer text: each line on a quoted line of its own, so that it wraps instead of running off the page."""
    quoted: List[str] = []
    kept, cut = _first_lines(text)
    for line in kept.split("\n"):
        if line.strip():
            # A hard break, unless a new paragraph starts here.
            if quoted and quoted[-1] != ">":
                quoted[-1] += "\\"
            quoted.append("> " + markdown_inline(line))
        else:
            quoted.append(">")
    return page(["\n".join(quoted), cut]).rstrip("\n")


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
    return [*top, *_agent_section(report)]


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
    if report.investigation_sha256 is None:
        why = (
            "is about the same resource and the same alert, and its decision is still open. Decide there. This run did "
        )
        why += "not investigate"
    else:
        why = "waits with the same action on the same resource. Decide there. To see this plan too, start a run with "
        why += "`ask_again`"
    return [
        f"# Nothing to do on {markdown_inline(report.resource)}: run {run_id} asks already",
        f"The {run} {why}; nothing was changed and nobody is asked a second time.",
        table(FACTS, _closed_facts(report)),
    ]


def _closed_facts(report: Report) -> Rows:
    return [
        ("Resource", markdown_table_cell(report.resource)),
        ("Looked at", time(report.timestamp)),
        ("Started by", _started_by(report)),
        ("Trace", markdown_table_cell(report.trace_id)),
    ]
