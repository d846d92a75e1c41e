"""How a repository stands: its release, drift, what its check finds, and what nobody has answered yet.

Nothing of the repository is run. Its check is the one of its release, from the template.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from agent_runtime import codes
from agent_runtime.local.doctor import CHECKLIST
from agent_runtime.local.settings import checklist
from agent_runtime.local.update import drift, releases
from agent_runtime.local.update.owners import ANSWERS_FILE
from tools import teams
from tools.fleets.repositories import Entry, Invalid, Templates, checkout

_PROBLEM = re.compile(r"(?:error: )?([A-Z]+[0-9]+): ")
_SECONDS = 300

OK, BEHIND, OPEN, ERROR = "ok", "behind", "open", "error"


@dataclass(frozen=True)
class Status:
    """One repository.

    Arguments:
        version, newest: of the template: what is recorded, and what there is.
        behind: whether the newest is newer.
        drift: files of the template that were edited, or are missing.
        problems: codes of what the check of its release finds; whatever is among them may open the gate.
        questions: how many lines of the checklist no machine checks and nobody ticked.
        revoked: why its release is revoked.
        error: why nothing of all that is known.
    """

    name: str
    version: str = ""
    newest: str = ""
    behind: bool = False
    drift: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    questions: int = 0
    revoked: str = ""
    error: str = ""

    @property
    def state(self) -> str:
        """`error`, `open` (somebody has to look), `behind` or `ok`."""
        if self.error:
            return ERROR
        return OPEN if self.drift or self.problems or self.revoked else BEHIND if self.behind else OK

    def line(self, width: int) -> str:
        """The one line for a person."""
        if self.error:
            return f"{self.name:<{width}}  {ERROR:<6}  {self.error}"
        parts = [f"{self.version} -> {self.newest}" if self.behind else self.version]
        parts += [f"revoked: {self.revoked}"] if self.revoked else []
        parts += [f"drift: {_some(self.drift)}"] if self.drift else []
        parts += [f"check: {_some(self.problems)}"] if self.problems else []
        parts += [f"{self.questions} open questions"] if self.questions else []
        return f"{self.name:<{width}}  {self.state:<6}  " + ", ".join(parts)


def status(entry: Entry, templates: Templates) -> Status:
    """Look at one repository."""
    try:
        with checkout(entry) as root:
            return _status(entry.name, root, templates)
    except Invalid as error:
        return Status(entry.name, error=str(error))
    except codes.AgentError as error:
        return Status(entry.name, error=error.line())


def _status(name: str, root: Path, templates: Templates) -> Status:
    recorded = teams.Installed(_bytes(root / ANSWERS_FILE))
    source = templates.of(recorded, root)
    commit, newest = source.resolve(recorded.commit), source.newest()
    differences = drift.compare(root, source.render(recorded.commit, recorded))
    items = checklist.parse((_bytes(root / CHECKLIST) or b"").decode("utf-8", "replace"))
    return Status(
        name,
        version=recorded.commit,
        newest=newest,
        behind=not source.contains(newest, recorded.commit),
        drift=[each.path for each in differences if each.status != drift.RENEWED],
        problems=_check(templates.runtime(source, commit), root),
        questions=sum(1 for item in items if not item.checks and not item.ticked),
        revoked=releases.revoked(source, recorded.commit),
    )


def _check(runtime: Path, root: Path) -> list[str]:
    """The codes that the check of a release reports."""
    command = [sys.executable, "-B", "-m", "agent_runtime.local.check", str(root.resolve())]
    try:
        done = subprocess.run(command, cwd=runtime, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return [f"no answer within {_SECONDS} seconds"]
    found = [match.group(1) for match in map(_PROBLEM.match, done.stderr.splitlines()) if match]
    if done.returncode and not found:
        return [(done.stderr.splitlines() or [f"it ended with {done.returncode}"])[-1]]
    return list(dict.fromkeys(found))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return " ".join(names[:3]) + more


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
