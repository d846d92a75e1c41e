"""What an edit of a workflow of the gate means: one pure function over two parsed workflows.

Differences in the text alone are ignored: comments, quotes, the order of keys, of `needs` and of labels, aliases,
`${{ }}` around a condition, `$/` for `./`.  Every other one is neutral by a row of NEUTRAL, or breaks a rule and is
weaker, or is unknown, which counts as weaker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from typing import Callable, Iterator, List, Tuple

from agent_runtime.local.linter.values import NOTHING, Value, action, is_pinned
from agent_runtime.model import names
from agent_runtime.text.escape import visible

_NEUTRAL, _WEAKER, _UNKNOWN = "neutral", "weaker", "unknown"
_SHOWN = 120


@dataclass(frozen=True)
class Difference:
    """One difference.

    Arguments:
        path: where, such as `jobs.act.steps[3].env.TRACE_ID`; a step's number counts in the workflow that has it.
        kind: `neutral`, `weaker`, or `unknown`, which counts as weaker.
        code: the rule that it breaks; empty for a neutral one.
        message: one line.
        line: in the workflow that was found, from 1.
    """

    path: str
    kind: str
    code: str
    message: str
    line: int


@dataclass(frozen=True)
class _Change:
    """A value that is another one; NOTHING stands for one that is missing.  `step`: the action, or run, around it."""

    path: Tuple[str, ...]
    old: Value
    new: Value
    line: int
    step: str = ""

    def fits(self, pattern: str) -> bool:
        """Whether the path is of this form, segment by segment."""
        segments = pattern.split("/")
        return len(self.path) == len(segments) and all(map(fnmatchcase, self.path, segments))


def _are_texts(change: _Change) -> bool:
    return change.old.text is not None and change.new.text is not None


def _is_for_people(change: _Change) -> bool:
    meant = (names.VERIFY_STEP, names.EXECUTE_STEP)
    texts = (change.old.text, change.new.text)
    return _are_texts(change) and not any(text in meant or "${{" in str(text) for text in texts)


def _is_longer(change: _Change) -> bool:
    old, new = str(change.old.text), str(change.new.text)
    are_minutes = all(re.match(r"[1-9][0-9]{0,2}\Z", text) for text in (old, new))
    return are_minutes and int(old) <= int(new) <= 360 and not change.path[1].startswith("act")


def _is_other_commit(change: _Change) -> bool:
    old, new = str(change.old.text), str(change.new.text)
    return old.partition("@")[0] == new.partition("@")[0] and is_pinned(new)


# Edits that leave the gate as it is: where, what must hold, and why.
NEUTRAL: Tuple[Tuple[str, Callable[[_Change], bool], str], ...] = (
    ("on/workflow_dispatch/inputs/*/description", _are_texts, "people read it, and nothing else"),
    ("jobs/*/steps/*/name", _is_for_people, "record finds Verify and Execute by their names; others are for people"),
    ("jobs/*/timeout-minutes", _is_longer, "slow machines need more; for the jobs that act there is an answer"),
    ("jobs/*/steps/*/uses", _is_other_commit, "Dependabot renews pins; whose commit it is, a reviewer must look at"),
)

# The rule that an edit breaks, by the key that it is below: of the workflow, of a job, and of a step.  What is
# nowhere here is unknown.
_OF_WORKFLOW = {"permissions": "CON08", "on": "CON15", "concurrency": "CON21", "name": "CON36", "run-name": "CON36"}
_MACHINE = dict.fromkeys(("env", "defaults", "runs-on", "container", "services", "snapshot"), "CON17")
_OF_JOB = {
    **_MACHINE,
    "needs": "CON03",
    "environment": "CON04",
    "permissions": "CON06",
    "timeout-minutes": "CON09",
    "cache-mode": "CON16",
    "continue-on-error": "CON18",
    "concurrency": "CON21",
    "strategy": "CON22",
    "outputs": "CON34",
    "name": "CON36",
}
_OF_STEP = {"continue-on-error": "CON18", "shell": "CON17", "working-directory": "CON17"}


def compare(expected: Value, found: Value) -> List[Difference]:
    """Every difference between two workflows, in the order of the first; an action without a version stands for any
    commit of it."""
    return [_judged(change) for change in _changes((), expected, found, max(found.line, 1))]


def _changes(path: Tuple[str, ...], old: Value, new: Value, line: int, step: str = "") -> Iterator[_Change]:
    line = new.line or line
    if old.fields is not None and new.fields is not None:
        for key in [*old.fields, *(key for key in new.fields if key not in old.fields)]:
            yield from _changes((*path, key), old.get(key), new.get(key), line, step)
    elif old.items is not None and new.items is not None and path[-1:] == ("steps",):
        yield from _steps(path, old.items, new.items, line)
    elif _content(path, old) != _content(path, new):
        yield _Change(path, old, new, line, step)


def _content(path: Tuple[str, ...], value: Value) -> object:
    """What a value says, however it is written; of a mapping or list all that is in it."""
    key = path[-1] if path else ""
    if key in ("needs", "runs-on", "types") and not value.fields:
        return set(value.texts())
    if value.fields is not None:
        return {name: _content((*path, name), item) for name, item in value.fields.items()}
    if value.items is not None:
        return [_content((*path, ""), item) for item in value.items]
    text = value.text
    if text is None:
        return None
    if key == "if":
        words = " ".join(text.split())
        return words[3:-2].strip() if re.match(r"\$\{\{(?:(?!\}\}).)*\}\}\Z", words) else words
    return text.rstrip("\n") if key == "run" else text


def _steps(path: Tuple[str, ...], old: Tuple[Value, ...], new: Tuple[Value, ...], line: int) -> Iterator[_Change]:
    """Changes of steps: those with the same action or script belong together, and so do as many others between."""
    matcher = SequenceMatcher(
        None, [_identity(step) for step in old], [_identity(step) for step in new], autojunk=False
    )
    for _, start, end, begin, stop in matcher.get_opcodes():
        paired = end - start == stop - begin
        for before, after in zip(range(start, end), range(begin, stop)) if paired else ():
            step = action(old[before])
            for change in _changes((*path, str(after + 1)), old[before], new[after], line, step):
                if not _is_same_action(change):
                    yield change
        for number in range(start, end) if not paired else ():
            yield _Change((*path, str(number + 1)), old[number], NOTHING, line)
        for number in range(begin, stop) if not paired else ():
            yield _Change((*path, str(number + 1)), NOTHING, new[number], new[number].line)


def _identity(step: Value) -> str:
    return action(step).replace("$/", "./", 1) or (step.get("run").text or "").rstrip("\n")


def _is_same_action(change: _Change) -> bool:
    """Whether an action is the expected one: of this repository, or at a commit where none is named."""
    old, new = change.old.text or "", change.new.text or ""
    if change.path[-1] != "uses":
        return False
    return "@" not in old and is_pinned(new) and old == new.replace("$/", "./", 1).split("@")[0]


def _judged(change: _Change) -> Difference:
    where = change.path[0]
    for before, segment in zip(change.path, change.path[1:]):
        where += f"[{segment}]" if before == "steps" else f".{segment}"
    for pattern, holds, _ in NEUTRAL:
        if change.fits(pattern) and holds(change):
            return Difference(where, _NEUTRAL, "", _message(where, change), change.line)
    code = _code(change)
    return Difference(where, _WEAKER if code else _UNKNOWN, code or "CON37", _message(where, change), change.line)


def _code(change: _Change) -> str:
    top, job, key, inner = (*change.path, "", "", "", "")[:4]
    if top != "jobs" or not job:
        return {**_MACHINE, **_OF_WORKFLOW}.get(top, "")
    if not key:
        return "CON02" if change.new is NOTHING else "CON31"
    if key == "steps":
        return _code_of_step(change) if inner else "CON33"
    if key == "if":
        return "CON12" if job == "record" else "CON19" if job.startswith("act") else "CON20"
    return _OF_JOB.get(key, "")


def _code_of_step(change: _Change) -> str:
    key, new = "".join(change.path[4:5]), change.new.text or ""
    if key == "uses" and new and not is_pinned(new):
        return "CON10"
    if key == "run" and "${{" in new:
        return "CON11"
    if key == "env":
        return "CON17" if change.old is NOTHING else "CON34"
    if key == "with" and any("cache" in segment for segment in change.path[5:]):
        return "CON16"
    if key in ("with", "if") and change.step.startswith("actions/"):
        return "CON13" if change.step == "actions/checkout" else "CON23"
    return _OF_STEP.get(key, "CON33")


def _message(where: str, change: _Change) -> str:
    where = visible(where, _SHOWN)
    if change.old is NOTHING:
        needs = change.new.get("needs").texts()
        return f"{where} is not the template's" + (f", and needs {', '.join(needs)}" if needs else "")
    if change.new is NOTHING:
        return f"{where} is missing: {_shown(change.old)}"
    return f"{where} must be {_shown(change.old)}, and is {_shown(change.new)}"


def _shown(value: Value) -> str:
    if value.text is not None:
        return visible(value.text, _SHOWN)
    if value.items is not None:
        return "[" + ", ".join(map(_shown, value.items))[:_SHOWN] + "]"
    return _shown(value.get("name")) if value.get("name").text else "{" + ", ".join(value.below())[:_SHOWN] + "}"
