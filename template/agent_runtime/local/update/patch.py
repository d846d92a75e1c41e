"""An update as a patch, which one machine makes and another one applies.

Making it runs code of the release: its check judges the result.  So the machine that applies a patch runs what is
installed, and believes nothing of it.  It compares each file with the release itself, in a clone of its own.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.local import locks
from agent_runtime.local.settings import codeowners
from agent_runtime.local.update import merge, problems
from agent_runtime.local.update.files import EXECUTABLE, REGULAR, File
from agent_runtime.local.update.git import GitFailed, git, line
from agent_runtime.local.update.owners import ANSWERS_FILE, BOTH, CODEOWNERS, TEAM, Owners
from agent_runtime.local.update.repository import Repository
from agent_runtime.local.update.template import Recorded, Template
from agent_runtime.text.escape import visible

# Who commits where nobody is at the keyboard.
BOT = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (
        ("NAME", "github-actions[bot]"),
        ("EMAIL", "41898282+github-actions[bot]@users.noreply.github.com"),
    )
}
# What a changed file is, compared with the release.
RELEASED, MERGED, RENDERED = "as in the release", "merged with an edit", "rendered for your answers"

_FOLDER = "template"
# What Jinja replaces in a template, and the texts in it.
_PLACE = re.compile(r"\{[{%#].*?[}%#]\}", re.DOTALL)
_TEXT = re.compile(r'"([^"\n]*)"')
_ABSENT = "000000"


@dataclass(frozen=True)
class Touched:
    """A file that the patch changes.

    Arguments:
        kind: `added`, `changed` or `removed`.
        origin: RELEASED, MERGED or RENDERED.
    """

    path: str
    kind: str
    origin: str


class _Entry(NamedTuple):
    """A file of the template in one version; no blob where it is rendered."""

    mode: str
    blob: str


def write(repository: Repository, commit: str, path: Path) -> None:
    """Write what a commit changes into a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    words = ("diff-tree", "-r", "-p", "--binary", "--full-index", "--no-renames", repository.head, commit)
    path.write_bytes(git(repository.top, *words))


def apply(repository: Repository, data: bytes, message: str, work: Path) -> str:
    """Make a commit of a patch, on top of the last one; neither a branch nor a file of the checkout changes.

    The same patch makes the same commit, so that a second try pushes nothing new.

    Raises:
        GateRefused: it does not apply, or names what no repository may contain, such as `../` or `.git/`.
    """
    index = {"GIT_INDEX_FILE": str(work / "patched")}
    git(repository.top, "read-tree", repository.head, more=index)
    try:
        git(repository.top, "apply", "--cached", "--whitespace=nowarn", "-", data=data, more=index)
    except GitFailed as error:
        raise _refused(error.message) from None
    tree = line(repository.top, "write-tree", more=index)
    moment = line(repository.top, "show", "--no-patch", "--format=%cI", repository.head)
    author = {**BOT, "GIT_AUTHOR_DATE": moment, "GIT_COMMITTER_DATE": moment}
    command = ("commit-tree", "-p", repository.head, "-F", "-", tree)
    return line(repository.top, *command, data=message.encode("utf-8"), more=author)


def examine(repository: Repository, commit: str, source: Template, version: str) -> List[Touched]:
    """Every file that a commit changes, after comparing it with the template.

    Raises:
        GateRefused: an update to this version would not change it, or not so.
    """
    ours = repository.committed()
    recorded = Recorded(ours[ANSWERS_FILE].data if ANSWERS_FILE in ours else None)
    versions = (recorded.commit, version)
    then, now = (_entries(source, each, str(recorded.known.get("use_case"))) for each in versions)
    owners = Owners(ours)
    found = []
    for name, old, new in _changes(repository, commit):
        before, after = then.get(name), now.get(name)
        if before is None and after is None:
            raise _refused(f"{visible(name, 200)} is not a file of the template's")
        follows = name == locks.AGENT_LOCK and old == before  # nobody wrote the agent's lock anew
        if owners.of(name) == TEAM and (old.blob or before) and not follows:
            raise _refused(f"{name} is the team's")
        if (after is None) == bool(new.blob):
            raise _refused(f"{name} is {'not ' if after is None else ''}in the release")
        if {old.mode, new.mode} - {REGULAR, EXECUTABLE, _ABSENT}:
            raise _refused(f"{name} is not a regular file")
        if any(side and not side.blob for side in (before, after)):
            origin = RENDERED
            if name == CODEOWNERS:
                _require_owners(_file(repository.top, old), _file(repository.top, new), [*ours])
            elif name != ANSWERS_FILE and not name.startswith(".github/"):
                here, there = (_lines(_file(repository.top, side)) for side in (old, new))
                templates = [_template(source, each, name) for each in versions]
                _require_rendered(name, here, there, templates, recorded.known)
        elif old == before or not old.blob:
            origin = RELEASED
            if after and new != after:
                raise _refused(f"{name} is not as the release has it")
        else:
            origin = MERGED
            sides = [_file(source.clone, before), _file(repository.top, old), _file(source.clone, after)]
            if _merged(name, *sides) != _file(repository.top, new):
                raise _refused(f"{name} is not the release's merged with the edit that is here")
        found.append(Touched(name, "removed" if not new.blob else "changed" if old.blob else "added", origin))
    _require_same_answers(recorded, repository, commit, source, version)
    return found


def _merged(name: str, *sides: Optional[File]) -> Optional[File]:
    """What an update makes of a file that was edited here; as it is here where that is a conflict."""
    then, here, now = ({name: side} if side else {} for side in sides)
    return merge.merge(then, here, now, lambda _: BOTH).files.get(name, here[name])


def _require_owners(old: Optional[File], new: Optional[File], names: Sequence[str]) -> None:
    """Refuse owners that nobody here named, and a file without the owners that it had; a release names neither."""
    before, after = (side.data.decode("utf-8", "replace") if side else "" for side in (old, new))
    for name in names if old else ():
        owners = codeowners.owners(after, name)
        if not codeowners.everybody(before).issuperset(owners) or bool(owners) < bool(codeowners.owners(before, name)):
            raise _refused(f"{CODEOWNERS} gives {name} to {' '.join(owners) or 'nobody'}")


def _require_rendered(
    name: str, before: List[str], after: List[str], templates: Sequence[str], known: Mapping[str, Any]
) -> None:
    """Refuse a line more that is not the release's, and a line less that is the team's; order is left to a reviewer."""
    for those, others, text, said in (
        (after, before, templates[1], "has a line that is neither here nor the release's"),
        (before, after, templates[0], "lacks a line that somebody wrote here"),
    ):
        for each in unrendered([each for each in those if each not in others], text, known):
            raise _refused(f"{name} {said}: {visible(each, 100)}")


def unrendered(lines: Iterable[str], template: str, known: Mapping[str, Any]) -> Iterator[str]:
    """The lines that no rendering has: one is made of the template's own text and of the answers.

    Without evaluating the template, which is a release's code.
    """
    places = "".join(_PLACE.findall(template))
    values = [str(value) for value in known.values()]
    owners = [value.partition("/")[0] for value in values]
    pieces = {*_PLACE.sub("\n", template).splitlines(), *_TEXT.findall(places), *values, *owners} - {""}
    for each in lines:
        reached = {0}
        for at in range(len(each)):
            if at in reached:
                reached.update(at + len(piece) for piece in pieces if each.startswith(piece, at))
        if len(each) not in reached:
            yield each


def _template(source: Template, version: str, name: str) -> str:
    """What a file is rendered from in a version; empty where that has none."""
    try:
        return source.ask("show", f"{source.resolve(version)}:{_FOLDER}/{name}.jinja")
    except GitFailed:
        return ""


def _lines(file: Optional[File]) -> List[str]:
    return file.data.decode("utf-8", "replace").splitlines() if file else []


def _file(repository: Path, entry: Optional[_Entry]) -> Optional[File]:
    return File(entry.mode, git(repository, "cat-file", "blob", entry.blob)) if entry and entry.blob else None


def _require_same_answers(
    recorded: Recorded, repository: Repository, commit: str, source: Template, version: str
) -> None:
    try:
        new = Recorded(git(repository.top, "cat-file", "blob", f"{commit}:{ANSWERS_FILE}"))
        if new.source != recorded.source or source.resolve(new.commit) != source.resolve(version):
            raise _refused(f"{ANSWERS_FILE} names another release or another template")
    except codes.BadInput as problem:
        raise _refused(problem.message) from None
    for name in sorted({*recorded.known} & {*new.known} - {"_commit"}):
        if recorded.known[name] != new.known[name]:
            raise _refused(f"the answer {name} is another one")


def _entries(source: Template, version: str, use_case: str) -> Dict[str, _Entry]:
    """The files of the template in a version, by the path that they have in a repository."""
    found = {}
    for each in source.ask("ls-tree", "-r", "-z", f"{source.resolve(version)}:{_FOLDER}").split("\0"):
        about, _, name = each.partition("\t")
        if name:
            mode, _, blob = about.split(" ")
            is_rendered = name.endswith(".jinja")
            found[name[: -len(".jinja")] if is_rendered else name] = _Entry(mode, "" if is_rendered else blob)
    lock = found.get(f"use_cases/{use_case}/{locks.AGENT_LOCK}")  # rendered as it is
    return {**found, **({locks.AGENT_LOCK: lock} if lock else {})}


def _changes(repository: Repository, commit: str) -> Iterator[Tuple[str, _Entry, _Entry]]:
    """Each file that a commit changes: its path, and how it was and is; without a blob where it is not there."""
    listed = git(repository.top, "diff-tree", "-r", "-z", "--raw", "--no-renames", repository.head, commit)
    words = listed.split(b"\0")[:-1]
    for about, name in zip(words[::2], words[1::2]):
        old_mode, new_mode, old, new, _ = about.decode().lstrip(":").split(" ")
        sides = [_Entry(mode, "" if mode == _ABSENT else blob) for mode, blob in ((old_mode, old), (new_mode, new))]
        yield os.fsdecode(name), sides[0], sides[1]


def _refused(message: str) -> codes.GateRefused:
    return codes.GateRefused(problems.NOT_AN_UPDATE, message)
