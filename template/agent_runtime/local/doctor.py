"""`doctor`: looks at the repository on GitHub and here, and says what is open before an agent may act.

Asks with GET only.  What a machine can't see is printed as questions, from PRODUCTION_CHECKLIST.md; ticking a line
there answers it.
"""

from __future__ import annotations

import json
import shutil
import textwrap
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, TextIO

from agent_runtime import codes
from agent_runtime.gate import policy_file
from agent_runtime.local import check
from agent_runtime.local.settings import access, checklist, checks, github_plans
from agent_runtime.local.settings.model import Local, Observed
from agent_runtime.local.settings.observe import observe
from agent_runtime.model import config
from agent_runtime.text.escape import terminal

CHECKLIST = "PRODUCTION_CHECKLIST.md"

_COLOURS = {checks.State.OK: "32", checks.State.OPEN: "31", checks.State.UNREADABLE: "33"}
_WIDEST = 120


def run(root: Path, repository: Optional[str], environ: Mapping[str, str], *, as_json: bool, out: TextIO) -> int:
    """Check the repository, print what was found, and return the exit code: 0, or 3 when something is open.

    Arguments:
        root: of the agent repository.
        repository: `owner/name`; by default the one of the configuration.

    Raises:
        BadInput: configuration, token or repository is invalid.
        GateRefused: GitHub can't be reached (SET008).
    """
    settings = config.load(root)
    name = access.repository(repository or settings.repository)
    local = _local(root, settings)
    with access.asking():
        initiators = local.policy.initiators if local.policy else ()
        approvals = local.policy.most_approvals if local.policy else 1
        seen = observe(access.transport(environ), name, settings, initiators, approvals=approvals)
    results = checks.check_all(seen, local)
    items = checklist.parse(local.checklist or "")
    if as_json:
        json.dump(_document(seen, results, items), out, indent=2, ensure_ascii=True)
        out.write("\n")
    else:
        out.write(_table(seen, results, items, colour=_is_colour(out, environ)))
    closed = all(result.state is checks.State.OK for result in results)
    return codes.EXIT_OK if closed else codes.EXIT_REFUSED


def _local(root: Path, settings: config.Config) -> Local:
    try:
        policy = policy_file.load(root, settings)
    except codes.BadInput:
        policy = None  # check.check() reports why
    return Local(
        repository=settings.repository,
        approvers=settings.approvers,
        ttl_minutes=settings.approval_ttl_minutes,
        plan_answer=settings.repository_plan,
        problems=tuple(problem.line() for problem in check.check(root)),
        policy=policy,
        codeowners=_text(root / ".github" / "CODEOWNERS"),
        checklist=_text(root / CHECKLIST),
        gate=settings.approval_gate,
        environments=settings.every_environment(policy.most_approvals if policy else 1),
        acting=settings.act_secrets,
        act_variables=settings.act_variables,
        audit_host=settings.audit_host,
        notify=settings.notify,
        triggers=settings.triggers,
        guarded=(settings.policy_path.as_posix(), *_guarded(root)),
    )


def _guarded(root: Path) -> List[str]:
    """The files of this repository that decide about actions; services.yml says where act() sends its token."""
    paths = [path for folder in (".github", "agent_runtime", "sdk") for path in (root / folder).rglob("*")]
    paths += [
        path
        for pattern in ("*.py", "requirements*.in", "requirements*.lock", "services.yml")
        for path in root.glob(pattern)
    ]
    names = (path.relative_to(root).as_posix() for path in paths if path.is_file())
    return sorted(name for name in names if "__pycache__" not in name and "_cache/" not in name)


def _text(path: Path) -> Optional[str]:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _open_questions(items: Sequence[checklist.Item]) -> List[checklist.Item]:
    return [item for item in items if not item.checks and not item.ticked]


def _document(seen: Observed, results: Sequence[checks.Result], items: Sequence[checklist.Item]) -> Dict[str, Any]:
    found = seen.gate.repository
    return {
        "schema_version": 1,
        "repository": found.full_name,
        "visibility": found.visibility,
        "plan": found.plan,
        "closed": all(result.state is checks.State.OK for result in results),
        "checks": [
            {
                "name": result.name,
                "title": result.title,
                "state": result.state.value,
                "findings": [
                    {"state": finding.state.value, "problem": finding.problem, "fix": finding.fix}
                    for finding in result.findings
                ],
            }
            for result in results
        ],
        "questions": [
            {"section": item.section, "text": item.text, "answered": item.ticked} for item in items if not item.checks
        ],
    }


def _table(seen: Observed, results: Sequence[checks.Result], items: Sequence[checklist.Item], *, colour: bool) -> str:
    width = min(_WIDEST, shutil.get_terminal_size((100, 24)).columns)
    found = seen.gate.repository
    lines = [f"{terminal(found.full_name)}: {github_plans.describe(found)}", ""]
    first = max(len(result.name) for result in results) + 2
    for result in results:
        state = f"{result.state.value:<12}"
        if colour:
            state = f"\033[{_COLOURS[result.state]}m{state}\033[0m"
        lines.append(f"{result.name:<{first}}{state}{result.title}")
        for finding in result.findings:
            sign = "note: " if finding.state is checks.State.NOTE else "- "
            lines += _wrapped(sign + finding.problem, first, width)
            # A command must stay in one piece to be copied.
            lines.append(" " * (first + 2) + terminal("fix: " + finding.fix))
    questions = _open_questions(items)
    if questions:
        lines += ["", f"Questions that no machine answers; tick them in {CHECKLIST}:"]
        section = ""
        for item in questions:
            if item.section != section:
                section = item.section
                lines += ["", "  " + terminal(section)]
            lines += _wrapped("? " + item.text, 2, width)
    opened = sum(result.state is not checks.State.OK for result in results)
    lines += [
        "",
        f"{opened} of {len(results)} checks are open, {len(questions)} questions are not answered",
    ]
    return "\n".join(lines) + "\n"


def _wrapped(text: str, indent: int, width: int) -> List[str]:
    return textwrap.wrap(
        terminal(text),
        max(width, indent + 40),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _is_colour(out: TextIO, environ: Mapping[str, str]) -> bool:
    return out.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
