"""The pages of the jobs that act: what *Verify* found, and what *Execute* reports."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple

from agent_runtime import codes
from agent_runtime.gate.pages.common import AGENT_WROTE, FACTS, UNASKED_FACT, Rows, for_people, short, way_out, whole
from agent_runtime.model.documents import ActionReport, Authorization, StepResult, plain
from agent_runtime.results import ActionStatus
from agent_runtime.text.escape import markdown_inline, markdown_table_cell
from agent_runtime.text.markdown import table

_STATUS_PAGES: Dict[ActionStatus, Tuple[str, str]] = {
    ActionStatus.SUCCESS: ("Done", "The plan was executed."),
    ActionStatus.ALREADY_DONE: ("Already done", "The resource was already as the plan wants it; nothing was changed."),
    ActionStatus.FAILED: (
        "Failed",
        "The plan was started and did not succeed. Look at the resource before anything else is started.",
    ),
    ActionStatus.UNKNOWN: (
        "Outcome unknown",
        "The plan was started and nobody knows how far it got. **Somebody must look at the resource before "
        "anything else is started.**",
    ),
    ActionStatus.REFUSED: ("Refused", "A check before acting failed. **Nothing more was executed.**"),
    ActionStatus.DRY_RUN: ("Dry run", "Every check passed, and this was a dry run: **nothing was executed.**"),
}


def render_authorization(found: Authorization) -> str:
    """Return the page for what *Verify* found.

    Raises:
        BadInput: the page is larger than GitHub shows (RPT002).
    """
    resource = markdown_inline(found.resource)
    facts = [("Plan", short(found.plan_digest)), ("Trace", markdown_table_cell(found.trace_id))]
    if not found.authorized:
        return whole(
            [
                f"# Refused: nothing is executed on {resource}",
                "A check before acting failed. **Nothing was executed.**",
                *_problem(found.code, found.message),
                table(FACTS, facts),
            ]
        )
    logins = ", ".join(markdown_table_cell(approver.login) for approver in found.approvers)
    facts.append(("Approved by", logins) if logins else UNASKED_FACT)
    return whole(
        [
            f"# Authorized: the plan for {resource}",
            "Every check passed. What follows runs the team's own code, and its words are the agent's.",
            table(FACTS, facts),
        ]
    )


def render_result(result: ActionReport) -> str:
    """Return the page for what *Execute* reports.

    Raises:
        BadInput: the page is larger than GitHub shows (RPT002).
    """
    word, sentence = _STATUS_PAGES[result.status]
    blocks = [
        f"# {word}: {markdown_inline(result.resource)}",
        sentence,
        *_problem(result.code, result.message),
        table(
            FACTS,
            [
                ("Status", f"**{str(result.status).replace('_', ' ')}**, reported by the agent"),
                ("Plan", short(result.plan_digest)),
                ("Trace", markdown_table_cell(result.trace_id)),
            ],
        ),
    ]
    for number, step in enumerate(result.steps, 1):
        blocks += _step(number, step)
    return whole(blocks)


def _problem(code: Optional[str], message: Optional[str]) -> List[str]:
    if code is None:
        return []
    meaning = codes.registered().get(code)
    return [
        f"**{markdown_inline(code)}{': ' + meaning.title if meaning else ''}**",
        markdown_inline(message) if message else "",
        way_out(code) if meaning else "",
    ]


def _step(number: int, step: StepResult) -> List[str]:
    details = plain(step.details)
    problem = str(details.pop("problem", "")) if step.code is not None else ""
    blocks = [
        "**Changes**" if step.changes else "",
        "\n".join(f"- {markdown_inline(change)}" for change in step.changes),
        table(("Measured", "Value"), _pairs(plain(step.verification))),
        f"**To undo it:** {markdown_inline(step.rollback)}" if step.rollback else "",
        table(("Detail", "Value"), _pairs(details)),
    ]
    status = f"**{str(step.status).replace('_', ' ')}**"
    return [
        f"## Step {number}: {markdown_inline(step.action)}",
        status if step.status is ActionStatus.DRY_RUN else f"{status} after {step.latency_ms / 1000:.1f} s",
        *(_problem(step.code, problem) if problem else []),
        *([AGENT_WROTE, *blocks] if any(blocks) else ["The agent said nothing about what it changed or measured."]),
    ]


def _pairs(values: Mapping[str, Any]) -> Rows:
    return [(markdown_table_cell(key), markdown_table_cell(for_people(given))) for key, given in values.items()]
