"""One repository, updated by its own command and by plain `copier update`, and what came of both."""

from __future__ import annotations

import difflib
import json
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import yaml

from agent_runtime.local import check
from agent_runtime.local.update import problems
from agent_runtime.local.update.files import File, below
from agent_runtime.local.update.owners import ANSWERS_FILE, TEAM, Owners
from update.edits import Edit, Team
from update.history import ROOT, Done, Failed, History, attempt, commit_all, git, run

OURS, PLAIN = "update", "copier update"
_COMMAND = "agent_runtime/commands/update.py"
_COPIER = ("copier", "update", "--defaults", "--quiet")

# For a repository that is older than the command.
_BORROWED = """\
import sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/sdk"]
from agent_runtime.cli import main_without_agent
sys.exit(main_without_agent(sys.argv[2], sys.argv[3:]))
"""
_MARKER = re.compile(rb"^(?:<{7}|>{7}|\|{7})(?: |$)", re.MULTILINE)
_ONE_OWNER = re.compile(r"(uses: *[\w./-]+@)[0-9a-f]{40} *#.*|^(    runs-on:).*", re.MULTILINE)


@dataclass(frozen=True)
class Birth:
    """A repository in which nobody has worked.

    Arguments:
        accept: the names of the differences that the release itself makes.
        base, new: what the template rendered then, and renders now.
        problems: what the check says of the updated one; of the release, not of a team.
        old_problems: what it says of the one that is not updated.
    """

    folder: Path
    accept: tuple[str, ...]
    base: dict[str, File]
    new: dict[str, File]
    problems: frozenset[tuple[str, str]]
    old_problems: frozenset[tuple[str, str]]


@dataclass
class Outcome:
    """How one tool's update of one repository ended.

    Arguments:
        conflicts: files that somebody has to look at, each with its owner.
        apart: those of them in which the two sides changed no line in common.
        lost: edits that are gone.
        weakened: what opens the gate now.
        silent: files that both sides changed, in which one side is missing and nothing says so.
        broken: files that are not YAML any more.
        left: what somebody has to do, although the exit code is 0.
        refused: names of the differences that the command refused.
    """

    seconds: float
    code: int
    said: str = ""
    conflicts: dict[str, str] = field(default_factory=dict)
    apart: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    weakened: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trial:
    """One repository with its edits, and both outcomes.

    Arguments:
        edits: what was edited, and the file.
        opened: whether somebody edited by hand what keeps the gate closed.
    """

    number: int
    origin: str
    edits: list[tuple[str, str]]
    opened: bool
    outcomes: dict[str, Outcome]

    def line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, line: str) -> Trial:
        """The trial of a line."""
        known = json.loads(line)
        known["edits"] = [(what, path) for what, path in known["edits"]]
        known["outcomes"] = {tool: Outcome(**outcome) for tool, outcome in known["outcomes"].items()}
        return cls(**known)


def born(history: History, version: str, engine: str, answers: Mapping[str, str], folder: Path) -> Birth:
    """Make a repository, and learn from an untouched copy what the release brings."""
    start = history.born(version, engine, answers, folder)
    copy = copy_of(start, folder.with_name(folder.name + "-new"))
    report = _report(attempt(copy, *command(history, copy), "--json", "--check"))
    accept = tuple(each["accept"] for each in report["weaker"])
    run(copy, *command(history, copy), *accepting(accept))
    return Birth(start, accept, _files(start), _files(copy), _problems(copy), _problems(start))


def hold(history: History, birth: Birth, random: Random, folder: Path, *, number: int, origin: str) -> Trial:
    """Let a team work in a copy of the repository, then update copies of that with either tool."""
    project = copy_of(birth.folder, folder / "project")
    edits = list(Team(project, random).work())
    commit_all(project, "Do our work")
    if random.random() < 0.2:
        git(folder, "clone", "--quiet", "--config", "core.autocrlf=true", str(project), "converted")
        project, origin = folder / "converted", f"{origin}, CRLF clone"
    outcomes = {}
    for tool in random.sample((OURS, PLAIN), 2):  # neither has warm caches more often
        copy = copy_of(project, folder / tool.replace(" ", "-"))
        accepted = birth.accept
        seconds, done = _timed(copy, _words(history, copy, accepted) if tool == OURS else _COPIER)
        if tool == OURS and (_report(done).get("error") or {}).get("code") == problems.NAMELESS:
            # What the release does to an untouched repository it need not do to this one.
            there = {each["accept"] for each in _report(done)["weaker"]}
            accepted = tuple(name for name in accepted if name in there)
            seconds, done = _timed(copy, _words(history, copy, accepted))
        outcome = Outcome(seconds, done.code, (done.err.strip().splitlines() or [""])[-1])
        if tool == OURS:
            report = _report(done)
            outcome.conflicts = {change["path"]: "" for change in report["changes"] if change["kind"] == "conflict"}
            named = [each for each in report["weaker"] if each["path"] not in outcome.conflicts]
            outcome.refused = [each["accept"] for each in named if not each["accepted"]]
        _judge(outcome, birth, edits, project, copy)
        if tool == OURS and done.code and (_files(copy) != _files(project) or git(copy, "status", "--porcelain")):
            outcome.lost.append("refused, and yet changed")
        outcomes[tool] = outcome
    shutil.rmtree(folder)
    made = [(edit.what, edit.path) for edit in edits]
    return Trial(number, origin, made, any(edit.opens for edit in edits), outcomes)


def command(history: History, root: Path) -> tuple[str, ...]:
    """The words that update a repository: its own command, or where it is older than that, the newest version's."""
    python = (sys.executable, "-B", "-I")
    if (root / _COMMAND).exists():
        return (*python, "agent_runtime/__main__.py", "update")
    newest = history.folder / "template"
    lender = newest if (newest / _COMMAND).exists() else ROOT / "template"
    return (*python, "-c", _BORROWED, str(lender), str(root), "update")


def copy_of(source: Path, target: Path) -> Path:
    """Copy a repository."""
    shutil.copytree(source, target, symlinks=True)
    return target


def accepting(names: Sequence[str]) -> tuple[str, ...]:
    """The options that accept differences."""
    return tuple(word for name in names for word in ("--accept", name))


def _words(history: History, root: Path, accepted: Sequence[str]) -> tuple[str, ...]:
    return (*command(history, root), "--json", *accepting(accepted))


def _timed(folder: Path, words: Sequence[str]) -> tuple[float, Done]:
    started = time.perf_counter()
    done = attempt(folder, *words)
    return time.perf_counter() - started, done


def _report(done: Done) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(done.out)
    except ValueError:
        raise Failed(f"update printed no JSON: {done.err.strip()}") from None
    return report


def _files(root: Path) -> dict[str, File]:
    """Every file, with the line endings that git keeps."""
    found = {name: file for name, file in below(root).items() if not name.startswith(".git/")}
    return {name: File(file.mode, file.data.replace(b"\r\n", b"\n")) for name, file in found.items()}


def _problems(root: Path) -> frozenset[tuple[str, str]]:
    return frozenset((each.code, each.path.partition(":")[0]) for each in check.check(root))


def _judge(outcome: Outcome, birth: Birth, edits: list[Edit], project: Path, copy: Path) -> None:
    """Fill in what came of the update of a copy of a project."""
    before, after = _files(project), _files(copy)
    unmerged = set(filter(None, git(copy, "diff", "--name-only", "--diff-filter=U", "-z").split("\0")))
    marked = {name for name, file in after.items() if _MARKER.search(file.data) or name.endswith(".rej")}
    torn = {*outcome.conflicts, *unmerged, *marked}
    owners = Owners(birth.base)
    outcome.conflicts = {name: owners.of(name) for name in sorted(torn)}
    sides = (birth.base, before, birth.new)
    outcome.apart = [name for name in sorted(torn) if not _meet(*(_side(files, name) for files in sides))]
    outcome.lost = [f"{edit.what} in {edit.path}" for edit in edits if edit.path not in torn and edit.is_lost(copy)]
    outcome.broken = [name for name in after if _is_broken(name, after) and not _is_broken(name, before)]
    if outcome.code:
        return
    merged = sorted({*birth.base, *birth.new} - torn)
    outcome.silent = [name for name in merged if _is_silent(name, birth, before, after)]
    new = _problems(copy) - birth.problems
    outcome.weakened = sorted(f"{code} {name}" for code, name in new if code[:3] == "CON" and name not in torn)
    own = _problems(project) - birth.old_problems
    outcome.left = sorted({*torn, *(f"{code} {name}" for code, name in new - own)})


def _side(files: Mapping[str, File], name: str) -> list[str]:
    """The lines of a file, without what is resolved mechanically: pins, machines and ticks."""
    text = files[name].data.decode("utf-8", "replace") if name in files else ""
    return _ONE_OWNER.sub(r"\1\2", text).replace("- [x]", "- [ ]").split("\n")


def _meet(base: list[str], here: list[str], new: list[str]) -> bool:
    """Whether both sides changed a line of the base, or put something at the same place between two."""
    if [""] in (base, here, new):
        return True  # a file that one side brings or removes
    return bool(_touched(base, here) & _touched(base, new))


def _touched(base: list[str], side: list[str]) -> set[float]:
    found: set[float] = set()
    for kind, start, end, _, _ in difflib.SequenceMatcher(None, base, side, autojunk=False).get_opcodes():
        if kind == "insert":
            found.add(start - 0.5)
        elif kind != "equal":
            found.update(range(start, end))
    return found


def _is_broken(name: str, files: Mapping[str, File]) -> bool:
    if name not in files or not name.endswith((".yml", ".yaml")):
        return False
    try:
        yaml.safe_load(files[name].data)
    except yaml.YAMLError:
        return True
    return False


def _is_silent(name: str, birth: Birth, before: Mapping[str, File], after: Mapping[str, File]) -> bool:
    """Whether the release's change of a file is not in it, although nothing reports it."""
    base, new, result = birth.base.get(name), birth.new.get(name), after.get(name)
    if base == new or name == ANSWERS_FILE or Owners(birth.base).of(name) == TEAM or Owners(birth.new).of(name) == TEAM:
        return False
    if result is None:
        return new is not None and name in before
    old, now, lines = (set(_side(files, name)) for files in (birth.base, birth.new, after))
    return not now - old <= lines or bool((old - now) & lines)
