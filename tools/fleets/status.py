"""How a repository stands: its release, drift, what its check finds, and what nobody has answered yet.

Nothing of the repository is run. Its check and its doctor are those of its release, from the template.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
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
_GITHUB = re.compile(r"https://github\.com/([^/]+/[^/]+)\Z")
# Of a release whose folder is the first argument.
_DOCTOR = """\
import sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/sdk"]
from agent_runtime.cli import main_without_agent
sys.exit(main_without_agent(sys.argv[2], ["doctor", "--json", *sys.argv[3:]]))
"""

OK, BEHIND, OPEN, ERROR = "ok", "behind", "open", "error"


@dataclass(frozen=True)
class Status:
    """One repository.

    Arguments:
        version, newest: of the template: what is recorded, and what there is.
        behind: whether the newest is newer.
        drift: files of the template that were edited, or are missing.
        problems: codes of what the check of its release finds; whatever is among them may open the gate.
        settings: doctor's checks that are not in order on GitHub, with a question mark where the token can't see it;
            None where nobody asked.
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
    settings: list[str] | None = None
    questions: int = 0
    revoked: str = ""
    error: str = ""

    @property
    def state(self) -> str:
        """`error`, `open` (somebody has to look), `behind` or `ok`."""
        if self.error:
            return ERROR
        return OPEN if self.drift or self.problems or self.settings or self.revoked else BEHIND if self.behind else OK

    def line(self, width: int) -> str:
        """The one line for a person."""
        if self.error:
            return f"{self.name:<{width}}  {ERROR:<6}  {self.error}"
        parts = [f"{self.version} -> {self.newest}" if self.behind else self.version]
        parts += [f"revoked: {self.revoked}"] if self.revoked else []
        parts += [f"drift: {_some(self.drift)}"] if self.drift else []
        parts += [f"check: {_some(self.problems)}"] if self.problems else []
        parts += [f"doctor: {_some(self.settings)}"] if self.settings else []
        parts += [f"{self.questions} open questions"] if self.questions else []
        return f"{self.name:<{width}}  {self.state:<6}  " + ", ".join(parts)


def status(entry: Entry, templates: Templates, *, github: bool) -> Status:
    """Look at one repository.

    Arguments:
        github: also at its settings there.
    """
    try:
        with checkout(entry) as root:
            return _status(entry.name, root, templates, github=github)
    except Invalid as error:
        return Status(entry.name, error=str(error))
    except codes.AgentError as error:
        return Status(entry.name, error=error.line())


def _status(name: str, root: Path, templates: Templates, *, github: bool) -> Status:
    recorded = teams.Installed(_bytes(root / ANSWERS_FILE))
    source = templates.of(recorded, root)
    commit, newest = source.resolve(recorded.commit), source.newest()
    differences = drift.compare(root, source.render(recorded.commit, recorded))
    runtime = templates.runtime(source, commit)
    items = checklist.parse((_bytes(root / CHECKLIST) or b"").decode("utf-8", "replace"))
    return Status(
        name,
        version=recorded.commit,
        newest=newest,
        behind=not source.contains(newest, recorded.commit),
        drift=[each.path for each in differences if each.status != drift.RENEWED],
        problems=_check(runtime, root),
        settings=_settings(runtime, root, repository_of(name)) if github else None,
        questions=sum(1 for item in items if not item.checks and not item.ticked),
        revoked=releases.revoked(source, recorded.commit),
    )


def repository_of(name: str) -> str:
    """`owner/name` of an address at GitHub; empty for anything else."""
    found = _GITHUB.match(teams.canonical(name, Path.cwd()))
    return found.group(1) if found else ""


def _check(runtime: Path, root: Path) -> list[str]:
    """The codes that the check of a release reports."""
    done = _ask(runtime, "-m", "agent_runtime.local.check", str(root.resolve()))
    return _codes(done) if done.returncode else []


def _settings(runtime: Path, root: Path, repository: str) -> list[str]:
    """What the doctor of a release finds on GitHub; what it says of the files, the check has said."""
    named = ("--repo", repository) if repository else ()
    done = _ask(runtime, "-I", "-c", _DOCTOR, str(runtime), str(root.resolve()), *named)
    if not done.stdout:
        return _codes(done)
    found = [(each["name"], each["state"]) for each in json.loads(done.stdout)["checks"]]
    return [
        name + ("?" if state == "unreadable" else "")
        for name, state in found
        if state != "ok" and name != "repository-check"
    ]


def _ask(runtime: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", *words]
    try:
        return subprocess.run(command, cwd=runtime, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {_SECONDS} seconds")


def _codes(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The codes of what a program reports, or its last line."""
    lines = done.stderr.splitlines()
    found = [match.group(1) for match in map(_PROBLEM.match, lines) if match]
    return list(dict.fromkeys(found)) or [(lines or [f"it ended with {done.returncode}"])[-1]]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return " ".join(names[:3]) + more


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
