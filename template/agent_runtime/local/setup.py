"""`setup`: creates what the gate needs on GitHub (environments, or a label), and checks that it is a gate now.

It sends what `settings.planning` planned, in that order; a second run finds nothing to change.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Mapping, Optional, Sequence, TextIO

from agent_runtime import codes
from agent_runtime.gate import policy_file
from agent_runtime.github.transport import (
    HTTP_FORBIDDEN,
    HTTP_NOT_FOUND,
    HTTP_UNAUTHORISED,
    HTTP_UNPROCESSABLE,
    NotAnswered,
    Transport,
)
from agent_runtime.local.codes import GATE_STILL_OPEN, RIGHTS_MISSING, SETTING_REFUSED, TOKEN_UNUSABLE
from agent_runtime.local.settings import access, planning
from agent_runtime.local.settings.model import Gate
from agent_runtime.local.settings.observe import observe_gate
from agent_runtime.model import config
from agent_runtime.text.escape import terminal

_SEE_OTHER = 303


def run(
    root: Path,
    repository: Optional[str],
    environ: Mapping[str, str],
    *,
    reviewers: Sequence[str] = (),
    wait_minutes: Optional[int] = None,
    exact: bool = False,
    dry_run: bool = False,
    out: TextIO,
) -> int:
    """Close the gate, say what was done, and return the exit code.

    Arguments:
        root: of the agent repository.
        repository: `owner/name`; by default the one of the configuration.
        reviewers: `login` or `organisation/team`; by default the approvers of the configuration.
        wait_minutes: see `planning.Answers`, as `exact`.
        dry_run: only print the requests.

    Raises:
        BadInput: configuration, token, repository or approvers is invalid.
        GateRefused: plan, rights or GitHub stand against it, or the gate is still open after everything was sent.
    """
    settings = config.load(root)
    name = access.repository(repository or settings.repository)
    http = access.transport(environ)
    approvers = tuple(reviewers) or settings.approvers
    rules = policy_file.load_or_empty(root, settings)

    def observed() -> Gate:
        with access.asking():
            return observe_gate(http, name, settings, approvers, rules.initiators, approvals=rules.most_approvals)

    seen = observed()
    answers = planning.Answers(settings.repository_plan, wait_minutes, exact)
    by_issue = settings.approval_gate == config.ISSUE_GATE
    changes = planning.issue_gate_changes(answers, seen) if by_issue else planning.changes(answers, seen)
    more = planning.protection_changes(seen, triggers=settings.triggers, by_issue=by_issue)
    changes = planning.Changes(changes.calls + more.calls, changes.remarks + more.remarks)
    for remark in changes.remarks:
        out.write(f"note: {terminal(remark)}\n")
    if dry_run:
        for call in changes.calls:
            out.write(_described(call))
        out.write(
            f"{len(changes.calls)} requests would be sent; nothing was changed\n"
            if changes.calls
            else "nothing to change\n"
        )
        return codes.EXIT_OK
    if changes.calls and seen.repository.administrator is False and not by_issue:
        raise codes.GateRefused(
            RIGHTS_MISSING, f"this token's user is not an administrator of {seen.repository.full_name}"
        )
    for call in changes.calls:
        _send(http, seen, call)
        out.write(f"{terminal(call.reason)}: done\n")
    after = observed() if changes.calls else seen
    problems = planning.still_open(after) + (planning.issue_gate_open(after) if by_issue else ())
    if by_issue and not after.has_label:
        problems += ("GitHub did not keep the label",)
    if problems:
        raise codes.GateRefused(GATE_STILL_OPEN, "; ".join(problems))
    nothing = "" if changes.calls else "nothing to change, "
    out.write(f"{terminal(seen.repository.full_name)}: {nothing}the gate is closed\n")
    return codes.EXIT_OK


def _described(call: planning.Call) -> str:
    text = f"{call.method} {call.path}    # {call.reason}\n"
    if call.body is not None:
        text += json.dumps(call.body, indent=2, ensure_ascii=True) + "\n"
    return terminal(text)


def _send(http: Transport, seen: Gate, call: planning.Call) -> None:
    try:
        http.send(call.method, call.path, call.body)
    except NotAnswered as problem:
        if call.method == "POST" and problem.status == _SEE_OTHER:
            return  # the same branch policy is there already
        if call.method == "DELETE" and problem.status == HTTP_NOT_FOUND:
            return  # it is gone already
        raise _explained(seen, call, problem) from None


def _explained(seen: Gate, call: planning.Call, problem: NotAnswered) -> codes.AgentError:
    private = seen.repository.visibility != "public"
    if problem.status == HTTP_UNAUTHORISED:
        return codes.BadInput(TOKEN_UNUSABLE, "GitHub does not know this token: " + problem.message)
    if call.method == "PUT" and private and problem.status in (HTTP_NOT_FOUND, HTTP_UNPROCESSABLE):
        # GitHub answers 404 where a plan has no environments, 422 where it has none with reviewers.
        refusal = planning.plan_refusal(seen)
        return codes.GateRefused(refusal.code, f"{problem.message}, says GitHub; {refusal.message}")
    if problem.status in (HTTP_FORBIDDEN, HTTP_NOT_FOUND):
        needs = "; the token needs: " + problem.accepted if problem.accepted else ""
        return codes.GateRefused(RIGHTS_MISSING, problem.message + needs)
    return codes.GateRefused(SETTING_REFUSED, f"{call.reason}: {problem.message}")
