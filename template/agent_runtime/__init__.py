"""The gate runtime: investigates, asks a human, and executes exactly what the human approved.

A team imports the names below and nothing else.
"""

from __future__ import annotations

import sys as _sys
from pathlib import Path as _Path
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

# Python puts the folder of agent_runner.py first on the path, so that a file there shadows a package that verifies,
# such as rfc8785.  Last, the folder gives the team its own modules and shadows nothing.
_ROOT = _Path(__file__).resolve().parent.parent
if _sys.path and _Path(_sys.path[0]).resolve() == _ROOT:
    _sys.path.append(_sys.path.pop(0))

# The SDK is part of the repository.  It goes first on the path, so that a package of the same name installed from
# elsewhere can never take its place.
_SDK = str(_ROOT / "sdk")
if "aimgentix" not in _sys.modules and _SDK not in _sys.path:  # __main__ has loaded it already
    _sys.path.insert(0, _SDK)


def _name_the_place(kind: _Any, problem: _Any, traceback: _Any) -> None:
    """Say in one line which file of the repository is not Python, as where a merge was left unfinished."""
    path = _Path(problem.filename).resolve() if isinstance(problem, SyntaxError) and problem.filename else None
    if path is None or _ROOT not in path.parents:
        _others(kind, problem, traceback)
        return
    merge = str(problem.text).startswith(("<<<<<<<", "|||||||", "=======", ">>>>>>>"))
    code, what, fix = "CHK002", problem.msg, "Fix the named line"
    if merge:
        code, what, fix = "CHK007", "a conflict marker is left", "Resolve the conflict and remove its markers"
    _sys.stderr.write(f"error: {code}: {path.relative_to(_ROOT).as_posix()}:{problem.lineno}: {what}. {fix}\n")


_others, _sys.excepthook = _sys.excepthook, _name_the_place

from agent_runtime.results import ActionStatus, Finding, RiskLevel, Severity  # noqa: E402

if _TYPE_CHECKING:
    from agent_runtime.agent import ActionResult, AgentRunner, InvestigationResult, ProposedAction

__version__ = "0.1.0"

__all__ = [
    "ActionResult",
    "ActionStatus",
    "AgentRunner",
    "Finding",
    "InvestigationResult",
    "ProposedAction",
    "RiskLevel",
    "Severity",
]


def __getattr__(name: str) -> _Any:
    """Find what a team subclasses and returns, which a job without team code doesn't load."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from agent_runtime import agent  # noqa: PLC0415

    return getattr(agent, name)
