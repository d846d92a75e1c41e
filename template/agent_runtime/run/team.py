"""Calls the team's code, fenced, and turns whatever it does into an answer or a coded error.

Before it started this process, the step let the runner take no command from what it or a child of it prints.
From the first call on, nothing names the files by which a step speaks to the runner (threats T3, T4, T5).  Whatever
that code does to this machine all the same decides nothing: what comes from here is data for `seal`, or a report for
`record`.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#stopping-and-starting-workflow-commands
"""

from __future__ import annotations

import sys
import traceback
from contextlib import contextmanager
from functools import partial
from typing import Any, Dict, Iterator, Mapping, Tuple

from agent_runtime import codes
from agent_runtime.agent import ActionResult, AgentRunner, InvestigationResult, ProposedAction
from agent_runtime.github import outputs
from agent_runtime.model import inputs
from agent_runtime.results import ActionStatus, RiskLevel
from agent_runtime.text import escape
from aimgentix.recorder import Recorder
from aimgentix.redact import Redactor

# What writes the trail of a job with team code, which may start threads and processes, and remove files.
RECORDER = partial(Recorder, strict=True)


@contextmanager
def _fenced(environ: Mapping[str, str]) -> Iterator[None]:
    """Let the block say nothing to the runner."""
    outputs.hide_from_children()
    try:
        yield
    finally:
        outputs.discard(environ)


def investigate(
    agent: AgentRunner, resource: str, context: Dict[str, Any], redactor: Redactor, *, environ: Mapping[str, str]
) -> InvestigationResult:
    """Return what `investigate()` found.

    Arguments:
        environ: the job's own environment, here and below; that of the process loses what speaks to the runner.

    Raises:
        BadInput: it raised (AGT001), or returned something invalid (INP009).
    """
    try:
        with _fenced(environ):
            result: Any = agent.investigate(resource, context)
    except codes.AgentError as error:
        raise type(error)(error.code, redactor.text(error.message)) from None
    except (Exception, SystemExit) as error:
        _print_traceback(redactor)
        raise codes.BadInput(codes.INVESTIGATION_FAILED, _describe("investigate()", error, redactor)) from None
    if not isinstance(result, InvestigationResult):
        raise _unusable(f"investigate() returned {type(result).__name__}, not InvestigationResult")
    _check_proposed(result)
    return result


def _check_proposed(result: InvestigationResult) -> None:
    several: Any = result.proposed_actions
    if several is None:
        named = [("proposed_action", result.proposed_action)] if result.proposed_action is not None else []
    elif not isinstance(several, (list, tuple)):
        raise _unusable(f"proposed_actions is {type(several).__name__}, not a tuple of ProposedAction")
    elif result.proposed_action is not None:
        raise _unusable("both proposed_action and proposed_actions are given: name every action in proposed_actions")
    elif not several:
        raise _unusable("proposed_actions is empty: leave it out when there is nothing to do")
    else:
        named = [(f"proposed_actions[{number}]", each) for number, each in enumerate(several)]
    for name, proposed in named:
        if not isinstance(proposed, ProposedAction):
            raise _unusable(f"{name} is {type(proposed).__name__}, not ProposedAction")
        inputs.action(proposed.action)
        if not isinstance(proposed.risk_level, RiskLevel):
            raise _unusable(f"{name}.risk_level is not a RiskLevel")
        if not isinstance(proposed.changes, (list, tuple)):
            raise _unusable(f"{name}.changes is {type(proposed.changes).__name__}, not a tuple of texts")


def observe(agent: AgentRunner, resource: str, redactor: Redactor, *, environ: Mapping[str, str]) -> Dict[str, Any]:
    """Return what `observe()` says.

    Raises:
        BadInput: it raised, or returned something else than a mapping (AGT001).
    """
    try:
        with _fenced(environ):
            return dict(agent.observe(resource))
    except codes.AgentError as error:
        raise type(error)(error.code, redactor.text(error.message)) from None
    except (Exception, SystemExit) as error:
        _print_traceback(redactor)
        raise codes.BadInput(codes.INVESTIGATION_FAILED, _describe("observe()", error, redactor)) from None


def act(
    agent: AgentRunner,
    resource: str,
    action: str,
    parameters: Dict[str, Any],
    redactor: Redactor,
    *,
    environ: Mapping[str, str],
) -> Tuple[Any, str]:
    """Return what `act()` returned, and an empty text; or None and what went wrong.

    Never raises: once `act()` was called the effect may have happened, whatever it said afterwards.
    """
    try:
        with _fenced(environ):
            answer: Any = agent.act(resource, action, parameters)
    except (Exception, SystemExit) as error:
        _print_traceback(redactor)
        return None, _describe("act()", error, redactor)
    if not isinstance(answer, ActionResult):
        return None, f"act() returned {type(answer).__name__}, not ActionResult"
    if answer.status in (ActionStatus.REFUSED, ActionStatus.DRY_RUN):
        return None, f"act() says {answer.status}, which only the runtime can say"
    return answer, ""


def _describe(what: str, error: BaseException, redactor: Redactor) -> str:
    said = " ".join(redactor.text(str(error)).split())
    hint = "; the credentials may not do this, see docs/TROUBLESHOOTING.md" if _is_refused(error) else ""
    return f"{what} raised {type(error).__name__}{': ' + said if said else ''}{hint}"


def _is_refused(error: BaseException) -> bool:
    """Whether somebody refused for lack of rights: the system, or an answer 401 or 403 as HTTP libraries report it."""
    holders = (error, getattr(error, "response", None))
    said = [getattr(holder, name, None) for holder in holders for name in ("code", "status", "status_code")]
    return isinstance(error, PermissionError) or 401 in said or 403 in said


def _unusable(message: str) -> codes.BadInput:
    return codes.BadInput(codes.RESULT_INVALID, message)


def _print_traceback(redactor: Redactor) -> None:
    """Show a team where its code failed, in a form that no workflow command can hide in."""
    for line in redactor.text(traceback.format_exc()).splitlines():
        print(escape.log_line(line), file=sys.stderr)
