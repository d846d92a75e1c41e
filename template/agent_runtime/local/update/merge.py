"""The three-way merge: what the template rendered then, what is here, and what it renders now.

A file that one side alone changed is that side's.  Where both did, git merges the lines, after what is resolved
mechanically is set aside: pins that Dependabot renewed (the newer one stays), the machines on which the team's jobs
run, ticks of a checklist, line endings.  Changes of neighbouring lines are merged too; in Python code only where the
team's are comments.  Of a page such as README.md, what is between two
comments is the template's, and the rest the team's.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Set, Tuple

from agent_runtime.local import locks
from agent_runtime.local.update.files import LINK, File
from agent_runtime.local.update.git import GitFailed, git
from agent_runtime.local.update.owners import ANSWERS_FILE, BOTH, CODEOWNERS, NEEDED, TEAM, TEMPLATE, is_below

ADDED, REPLACED, REMOVED, MERGED, KEPT, CONFLICT = "added", "replaced", "removed", "merged", "kept", "conflict"

_ASKED = "requirements-agent.in"
_PIN = re.compile(rb"(uses: *[\w./-]+@)([0-9a-f]{40} *#[^\r\n]*)(?=\n|\Z)")
# In a workflow: a job, and the line that says on which machine it runs.
_JOB = re.compile(rb"^  ([\w-]+):[^\n]*\n(?:(?!  [\w-])[^\n]*\n)*?(    runs-on:[^\n]*)", re.MULTILINE)
_NUMBERS = re.compile(rb"# *v?([0-9]+(?:\.[0-9]+)*)")
# The lines that stand around the template's part of a page.
_PARTS = re.compile(
    rb"\A(.*?)(^<!-- template:begin[^\n]*-->\n.*^<!-- template:end -->\n)(.*)\Z", re.MULTILINE | re.DOTALL
)
_TICKED = re.compile(rb"^( *[-*] \[)[xX](\].*)$", re.MULTILINE)


@dataclass(frozen=True)
class Change:
    """What happens to one file that the template changed.

    Arguments:
        kind: `added`, `replaced`, `removed`, `merged`, `kept` (as it is here), or `conflict`.
        note: what a person should know about it; mostly empty.
    """

    path: str
    owner: str
    kind: str
    note: str = ""


@dataclass
class Merged:
    """The outcome.

    Arguments:
        files: what becomes of each changed file; None where it is removed.
        sides: of each conflict the three sides, as git wants to know them.
    """

    files: Dict[str, Optional[File]] = field(default_factory=dict)
    changes: List[Change] = field(default_factory=list)
    sides: Dict[str, Tuple[Optional[File], Optional[File], Optional[File]]] = field(default_factory=dict)

    @property
    def conflicts(self) -> List[Change]:
        """The files that a person has to look at."""
        return [change for change in self.changes if change.kind == CONFLICT]


def merge(
    base: Mapping[str, File], ours: Mapping[str, File], theirs: Mapping[str, File], owner: Callable[[str], str]
) -> Merged:
    """Merge what the template changed, from `base` to `theirs`, into what is here."""
    merged = Merged()
    for name in sorted({*base, *theirs}):
        old, here, new = base.get(name), ours.get(name), theirs.get(name)
        if old == new:
            continue
        # A lock that nobody wrote anew follows what it is resolved with, as long as the agent asks for the same.
        follows = name == locks.AGENT_LOCK and len({side.get(_ASKED) for side in (base, ours, theirs)}) == 1
        kind, result, note = _merge(name, old, here, new, BOTH if follows and here == old else owner(name))
        merged.changes.append(Change(name, owner(name), kind, note))
        if result != here:
            merged.files[name] = result
        if kind == CONFLICT:
            merged.sides[name] = (old, here, new)
    return merged


_Result = Tuple[str, Optional[File], str]


def _merge(name: str, old: Optional[File], here: Optional[File], new: Optional[File], owner: str) -> _Result:
    if name == ANSWERS_FILE:
        return REPLACED, new, ""
    if owner == TEAM and (old is not None or here is not None):
        return KEPT, here, ""
    if owner == TEAM and not is_below(name, NEEDED):  # it is about other files of a beginning, which are the team's now
        return KEPT, None, "only a new repository begins with it"
    if here == new:
        return KEPT, here, "it is already like that here"
    if here is None:
        if old is None or owner == TEMPLATE:
            return (ADDED if old is None else REPLACED), new, "" if old is None else "it was missing here"
        return KEPT, here, "it was deleted here"
    if here == old:
        return (REMOVED if new is None else REPLACED), new, ""
    if new is None:
        return CONFLICT, here, "the template removes it, and it was edited here"
    if old is None:
        return CONFLICT, here, "the template brings a file of this name, and here is another one"
    return _both(name, old, here, new)


def _both(name: str, old: File, here: File, new: File) -> _Result:
    if LINK in (old.mode, here.mode, new.mode) or any(b"\0" in side.data for side in (old, here, new)):
        return CONFLICT, here, "it can't be merged line by line"
    mode = new.mode if here.mode == old.mode else here.mode
    text = here.data if b"\r\n" in old.data else here.data.replace(b"\r\n", b"\n")
    ticked: Set[bytes] = {b"".join((before, b" ", after)) for before, after in _TICKED.findall(text)}
    pins: Dict[bytes, bytes] = dict(_PIN.findall(text))
    text = _TICKED.sub(rb"\1 \2", text)
    text = _with_pins(text, dict(_PIN.findall(old.data)), newer=False)
    then, ours, now = (dict(_JOB.findall(side)) for side in (old.data, text, new.data))
    both = ours.keys() & then.keys() & now.keys()
    machines = {job: ours[job] for job in both if len({ours[job], then[job], now[job]}) == 3}
    text = _with_machines(text, {job: then[job] for job in machines})
    entries = _entries(old.data, text, new.data) if name == CODEOWNERS else None
    if text == old.data or entries is not None:
        clean, data = True, new.data if entries is None else entries
    else:
        clean, data = _by_parts(name, old.data, text, new.data)
    data = _with_machines(_with_pins(data, pins, newer=True), machines)
    lines = data.split(b"\n")
    data = b"\n".join(line.replace(b"[ ]", b"[x]", 1) if line in ticked else line for line in lines)
    lost = sorted(line.decode("utf-8", "replace").strip() for line in ticked - set(lines))
    note = "ticked here, and reworded in the release: " + "; ".join(lost) if lost else ""
    if machines:
        note = "runs-on stays as it is here: " + ", ".join(sorted(job.decode("utf-8", "replace") for job in machines))
    if not clean:
        return CONFLICT, File(mode, data), note or "both changed the same lines"
    return MERGED, File(mode, data), note


def _with_pins(data: bytes, pins: Mapping[bytes, bytes], *, newer: bool) -> bytes:
    """The text with these pins, action by action, instead of those that it has, or of those that are older."""

    def pinned(found: re.Match[bytes]) -> bytes:
        mine = pins.get(found.group(1))
        if mine is None or (newer and _version(mine) <= _version(found.group(2))):
            return found.group()
        return found.group(1) + mine

    return _PIN.sub(pinned, data)


def _with_machines(data: bytes, machines: Mapping[bytes, bytes]) -> bytes:
    """The text of a workflow in which these jobs run where it is said here."""
    return _JOB.sub(lambda job: job.group()[: -len(job.group(2))] + machines.get(job.group(1), job.group(2)), data)


def _entries(old: bytes, here: bytes, new: bytes) -> Optional[bytes]:
    """CODEOWNERS, in which each line is about a path of its own; None where both sides changed the same path's."""
    then, now = ({_key(line): line for line in side.splitlines(True)} for side in (old, new))
    ours = [(_key(line), line) for line in (here if here.endswith(b"\n") else here + b"\n").splitlines(True)]
    if any(key in then and now.get(key) != then[key] != line != now.get(key) for key, line in ours):
        return None
    known = {*then, *(key for key, _ in ours)}
    added = b"".join(line for key, line in now.items() if key not in known)
    lines = [now.get(key, b"") if line == then.get(key) else line for key, line in ours]
    # The last line that fits a path decides: the template's stay before those that the team wrote below them.
    last = max((at for at, (key, _) in enumerate(ours, 1) if key in then), default=0)
    return b"".join([*lines[:last], added, *lines[last:]])


def _key(line: bytes) -> bytes:
    return line if line.startswith(b"#") else line.split(b" ")[0]


def _version(pin: bytes) -> Tuple[int, ...]:
    found = _NUMBERS.search(pin)
    return tuple(int(part) for part in found.group(1).split(b".")) if found else ()


def _by_parts(name: str, old: bytes, here: bytes, new: bytes) -> Tuple[bool, bytes]:
    """Merge the template's part of a page, where it has one; around that the team's text stays."""
    found = [_PARTS.match(side) for side in (old, here, new)]
    if not all(found):
        return _neighbours(name, old, here, new)
    (top, then, end), (our_top, ours, our_end), (new_top, now, new_end) = (part.groups() for part in found if part)
    clean, data = (True, now) if ours == then else _neighbours(name, then, ours, now)
    return clean, (new_top if our_top == top else our_top) + data + (new_end if our_end == end else our_end)


def _neighbours(name: str, old: bytes, here: bytes, new: bytes) -> Tuple[bool, bytes]:
    clean, data = _lines(old, here, new)
    is_code = name.endswith(".py") and _code(here) != _code(old)
    woven = None if clean or is_code else _woven(old, here, new)
    return (clean, data) if woven is None else (True, woven)


def _code(data: bytes) -> List[bytes]:
    """The lines of a module that are more than a comment."""
    return [line for line in data.splitlines() if line.strip() and not line.lstrip().startswith(b"#")]


def _woven(old: bytes, here: bytes, new: bytes) -> Optional[bytes]:
    """The merge of changes that only touch one another, which git leaves to a person; None where they overlap."""
    then = old.splitlines(True)
    edits: Set[Tuple[int, int, Tuple[bytes, ...]]] = set()
    for side in (here.splitlines(True), new.splitlines(True)):
        for kind, start, end, first, last in SequenceMatcher(None, then, side, autojunk=False).get_opcodes():
            if kind != "equal":
                edits.add((start, end, tuple(side[first:last])))
    lines: List[bytes] = []
    done, inserted = 0, -1
    for start, end, put in sorted(edits):
        if start < done or (start == end == inserted):
            return None
        lines += [*then[done:start], *put]
        done, inserted = end, start if start == end else -1
    return b"".join([*lines, *then[done:]])


def _lines(old: bytes, here: bytes, new: bytes) -> Tuple[bool, bytes]:
    """Merge line by line; whether that worked, and the text, in which markers show where not."""
    with tempfile.TemporaryDirectory(prefix="agent-merge-") as folder:
        for name, data in (("here", here), ("then", old), ("now", new)):
            (Path(folder) / name).write_bytes(data)
        labels = [word for label in ("here", "template then", "template now") for word in ("-L", label)]
        try:
            git(Path(folder), "merge-file", *labels, "here", "then", "now")
        except GitFailed:
            return False, (Path(folder) / "here").read_bytes()
        return True, (Path(folder) / "here").read_bytes()
