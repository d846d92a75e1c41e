"""The page for the end of a run, and the answer on an issue."""

from __future__ import annotations

from typing import Dict, Optional, Sequence

from agent_runtime import codes
from agent_runtime.gate.pages.common import FACTS, UNASKED_FACT, Rows, way_out, whole
from agent_runtime.text.escape import markdown_inline, markdown_table_cell
from agent_runtime.text.markdown import page, table

# The end of the run

_OUTCOMES: Dict[str, str] = {
    "acted": "The plan was approved and executed.",
    "dry_run": "A dry run: everything was asked and checked, and nothing was executed.",
    "action_failed": "The plan was approved and executed, and did not succeed. Look at the resource.",
    "partial": "The plan was executed in part: a step did not succeed as a whole, and what came after it was not run. "
    "**Somebody must finish it or go back.**",
    "outcome_unknown": "The plan was started and nobody knows how far it got. **Somebody must look at the resource.**",
    "not_started": "The plan was authorized, and a step before its execution failed. Nothing was executed.",
    "refused": "A check failed. Nothing was executed.",
    "expired": "The approval came too late. Nothing was executed.",
    "rejected": "A reviewer rejected the plan. Nothing was executed.",
    "cancelled": "The run was cancelled. Nothing was executed.",
    "nothing_to_do": "The agent found nothing to do. Nobody was asked.",
    "duplicate": "An earlier run already waits for a decision about the same. Nobody was asked a second time.",
    "denied": "The policy denied what the agent proposed. Nobody was asked.",
    "investigation_failed": "The investigation failed. Nothing was proposed.",
    "approval_failed": "The plan got no valid approval. Nothing was executed.",
    "waiting": "The plan waits for an approver's comment in an issue. Nothing has been executed so far.",
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
    approvers: Sequence[str],
    rejected_by: Optional[str],
    rejected_because: Optional[str] = None,
    problems: Sequence[str],
    bundle_digest: str,
    issue: Optional[str] = None,
    automatic: bool = False,
    stopped: Sequence[str] = (),
) -> str:
    """Return the page for the end of a run.

    Arguments:
        outcome: how it ended, in one of the words of specs/github-actions-agent-runtime.md.
        rejected_because: the reviewer's own words.
        problems: what does not hold of the run's trail, a line each.
        bundle_digest: SHA-256 of `bundle.json`.
        issue: address of the issue that is the gate, where one is.
        automatic: whether the policy decided alone.
        stopped: what is done and what is left of a plan that stopped, in blocks of Markdown.

    Raises:
        BadInput: the page is larger than GitHub shows (RPT002).
    """
    facts: Rows = [("Resource", markdown_table_cell(resource))]
    approved_by = ", ".join(approvers)
    for label, value in (("Plan", plan_digest), ("Approved by", approved_by), ("Rejected by", rejected_by)):
        if value:
            facts.append((label, markdown_table_cell(value)))
    if rejected_because:
        facts.append(("In the reviewer's words", markdown_table_cell(rejected_because)))
    if issue:
        facts.append(("Issue", issue))
    if automatic:
        facts.append(UNASKED_FACT)
    trail = "**incomplete**" if problems else "complete"
    facts += [("Trail", trail), ("Bundle", markdown_table_cell(bundle_digest))]
    return whole(
        [
            f"# The run ended: {outcome.replace('_', ' ') if outcome in _OUTCOMES else markdown_inline(outcome)}",
            (_UNASKED_OUTCOMES if automatic else {}).get(outcome, _OUTCOMES.get(outcome, "")),
            f"`{codes.NOT_STARTED}`. {way_out(codes.NOT_STARTED)}" if outcome == "not_started" else "",
            table(FACTS, facts),
            "**What is wrong with the trail**" if problems else "",
            "\n".join(f"- {markdown_inline(problem)}" for problem in problems),
            "To check this run later, download the artifact `audit-bundle` and run "
            + markdown_inline(f"python agent_runner.py verify audit-bundle --digest {bundle_digest}"),
            *stopped,
        ]
    )


def render_answer(sentence: str, problem: str, run_url: str) -> str:
    """Return the comment that says on an issue how its plan ended, or why a comment did not count.

    Arguments:
        sentence: what happened, in the runtime's own words.
        problem: code, reason and way out in one line; may quote what others wrote; empty for none.
        run_url: address of the run.
    """
    return page([f"**{sentence}**", markdown_inline(problem) if problem else "", run_url]).rstrip("\n")
