"""The pages of a first approval of two, of what *Verify* found, and of what *Execute* reports."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.gate.pages.common import AGENT_WROTE, FACTS, UNASKED_FACT, Rows, for_people, short, way_out, whole
from agent_runtime.model import names
from agent_runtime.model.documents import (
    ActionReport,
    Approvals,
    Authorization,
    Receipt,
    Step,
    StepResult,
    plain,
    statuses,
)
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
_PARTIAL = (
    "Partial",
    "The plan was executed in part: a step did not succeed as a whole, and what came after it was not run. "
    "**Somebody must finish it or go back.**",
)
_CHANGED_NOTHING = (ActionStatus.ALREADY_DONE.value, ActionStatus.DRY_RUN.value, names.NOT_RUN)


def render_first_approval(receipt: Receipt, wanted: Approvals) -> str:
    """Return the page for a click after which one more is needed.

    Raises:
        BadInput: the page is larger than GitHub shows (RPT002).
    """
    others = [login for login in wanted.approvers if login.casefold() != receipt.approver.login.casefold()]
    who = " or ".join(markdown_inline(login) for login in others) or "another reviewer"
    return whole(
        [
            f"# Approved by {markdown_inline(receipt.approver.login)}: one more approval is needed",
            f"Nothing has been executed. The next job waits in {markdown_inline(names.SECOND_ENVIRONMENT)} for {who}, "
            "who must be somebody else and neither have started nor re-run this run. **Any other click ends the run.**",
            table(FACTS, [("Plan", short(receipt.plan_digest)), ("Trace", markdown_table_cell(receipt.trace_id))]),
        ]
    )


def render_refused_click(resource: str, problem: codes.AgentError) -> str:
    """Return the page for a click that does not count.

    Raises:
        BadInput: the page is larger than GitHub shows (RPT002).
    """
    return whole(
        [
            f"# Refused: nothing is executed on {markdown_inline(resource)}",
            "What is approved here does not count, and this run is over. **Nothing was executed.**",
            *_problem(problem.code, problem.message),
        ]
    )


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


def render_result(result: ActionReport, planned: Sequence[Step] = ()) -> str:
    """Return the page for what *Execute* reports.

    Arguments:
        planned: the plan's steps, where they are known.

    Raises:
        BadInput: the page is larger than GitHub shows (RPT002).
    """
    word, sentence = _PARTIAL if result.is_partial else _STATUS_PAGES[result.status]
    stopped = result.is_partial or result.status in (ActionStatus.FAILED, ActionStatus.UNKNOWN)
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
        *(render_stop(planned, statuses(planned, result.steps), result.steps) if stopped else ()),
    ]
    for number, step in enumerate(result.steps, 1):
        blocks += _step(number, step)
    return whole(blocks)


def render_stop(planned: Sequence[Step], ended: Sequence[str], ran: Sequence[StepResult]) -> List[str]:
    """Return what is done and what is left of a plan of several steps that stopped, and what a person must do now.

    Arguments:
        ended: how each step did, or that it was not run.
    """
    if len(planned) < 2:
        return []
    rows = [
        (str(number), markdown_table_cell(step.action), f"**{status.replace('_', ' ')}**")
        for number, (step, status) in enumerate(zip(planned, ended), 1)
    ]
    back: List[str] = []
    for number, (step, status) in enumerate(zip(planned, ended), 1):
        if status in _CHANGED_NOTHING:
            continue
        doubt = "" if status == ActionStatus.SUCCESS.value else ", which may have taken effect in part or not at all"
        way = (ran[number - 1].rollback if number <= len(ran) else None) or step.rollback
        known = markdown_inline(way) if way else "**no way back is known**"
        back.insert(0, f"   - step {number}, {markdown_inline(step.action)}{doubt}: {known}")
    return [
        table(("Step", "Action", "How it ended, says the agent"), rows),
        "## What to do now",
        "\n".join(
            [
                "1. Look at the resource. Nothing else happens by itself.",
                "2. Go back, or finish by hand what was not run. To go back, undo in this order, in the agent's words:",
                *(back or ["   - nothing: nothing was changed"]),
                "3. Or start a new run: the agent looks at the resource as it is then. Running this one again executes "
                "nothing.",
            ]
        ),
    ]


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
