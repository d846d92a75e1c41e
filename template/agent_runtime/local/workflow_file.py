"""Workflow files and composite actions as data with line numbers, for the gate-contract linter.

Only what every program reads one way is read at all: one document, without duplicate keys, anchors, tags, directives,
and characters that some YAML parsers take for the end of a line and others don't.  Needs PyYAML only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Dict, Iterator, List, Optional, Tuple, Type

import yaml

from agent_runtime.model import names
from agent_runtime.text.escape import visible
from agent_runtime.text.strict_yaml import DECEIVING

MAX_BYTES = 512 * 1024

# The kinds of file.
AGENT, OTHER, ACTION = "agent workflow", "other workflow", "composite action"

# The gates that a repository can choose in .github/agent-config.yml.
ENVIRONMENT_GATE, ISSUE_GATE = "environment", "issue"

# The shapes of an agent workflow: one run behind environments; where an issue is the gate, one that asks in it and one
# that a comment starts.
WHOLE, ASKING, ACTING = "environment gate", "issue gate (asks)", "issue gate (acts)"


class Unreadable(Exception):
    """The file is not a workflow that can be judged; `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(frozen=True)
class Value:
    """A YAML value and its line.  Exactly one of `text`, `items` and `fields` is not None."""

    line: int
    text: Optional[str] = None
    items: Optional[Tuple[Value, ...]] = None
    fields: Optional[Dict[str, Value]] = None

    def get(self, *keys: str) -> Optional[Value]:
        """The value below `keys`, or None where one of them is missing."""
        value: Optional[Value] = self
        for key in keys:
            value = (value.fields or {}).get(key) if value else None
        return value

    def texts(self) -> List[str]:
        """The scalar itself, or the scalars of the list."""
        if self.text is not None:
            return [self.text]
        return [item.text for item in self.items or () if item.text is not None]

    def walk(self) -> Iterator[Value]:
        """This value and everything below it, in the order of the file."""
        yield self
        for value in (self.items or ()) + tuple((self.fields or {}).values()):
            yield from value.walk()


def _value(event: yaml.Event, events: Iterator[yaml.Event]) -> Value:
    line = _line(event)
    if getattr(event, "anchor", None):
        # Lines must say what they do where they stand; GitHub and linters also differ on anchors.
        raise Unreadable(line, "anchors and aliases are not read")
    if getattr(event, "tag", None):
        raise Unreadable(line, "the tag {} is not read: remove it".format(visible(str(getattr(event, "tag", ""))[:60])))
    if isinstance(event, yaml.ScalarEvent):
        return Value(line, text=str(event.value))
    if isinstance(event, yaml.SequenceStartEvent):
        return Value(line, items=tuple(_value(item, events) for item in _until(yaml.SequenceEndEvent, events)))
    fields: Dict[str, Value] = {}
    for key in _until(yaml.MappingEndEvent, events):
        if not isinstance(key, yaml.ScalarEvent):
            raise Unreadable(_line(key), "a key is not plain text")
        if "${{" in key.value:
            # `${{ insert }}` merges a mapping that stands nowhere in the file.
            raise Unreadable(_line(key), f"the key {key.value!r} is an expression: write the keys out")
        if key.value in fields:
            raise Unreadable(_line(key), f"the key {key.value!r} stands there twice")
        fields[key.value] = _value(next(events), events)
    return Value(line, fields=fields)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _until(end: Type[yaml.Event], events: Iterator[yaml.Event]) -> Iterator[yaml.Event]:
    event = next(events)
    while not isinstance(event, end):
        yield event
        event = next(events)


def _root(text: str) -> Value:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise Unreadable(1, f"the file is larger than {MAX_BYTES} bytes")
    text = text[1:] if text.startswith("\ufeff") else text
    found = DECEIVING.search(text)
    if found:
        # PyYAML ends a line at U+0085, U+2028 and U+2029; GitHub goes on, for example with a comment.
        raise Unreadable(
            text.count("\n", 0, found.start()) + 1,
            f"the character {visible(found.group())} can't be seen and hides what the line says: remove it",
        )
    try:
        events = yaml.parse(text, Loader=yaml.SafeLoader)
        next(events)  # the stream starts
        start = next(events)
        if not isinstance(start, yaml.DocumentStartEvent):
            raise Unreadable(1, "the file is empty")
        if start.version or start.tags:
            raise Unreadable(_line(start), "a directive changes how YAML is read: remove it")
        root = _value(next(events), events)
        if root.fields is None:
            raise Unreadable(root.line, "the file is not a mapping")
        next(events)  # the document ends
        more = next(events)
        if not isinstance(more, yaml.StreamEndEvent):
            raise Unreadable(_line(more), "a second document follows")
        return root
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Unreadable(line, f"not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(1, f"not YAML: {type(error).__name__}") from error


def read(text: str, path: str, gate: str = ENVIRONMENT_GATE) -> File:
    """Read a file.

    Arguments:
        path: its name; a base name that starts with `agent-` makes it an agent workflow.
        gate: which one its repository has chosen.

    Raises:
        Unreadable: it is no YAML, or not YAML of this kind.
    """
    root = _root(text)
    return File(path, _kind(root, path), root, gate)


@dataclass(frozen=True)
class Job:
    """One job: its id, its line, and its mapping."""

    id: str
    line: int
    value: Value

    def steps(self) -> Tuple[Value, ...]:
        """The job's steps, or nothing where it has none."""
        steps = self.value.get("steps")
        return (steps.items if steps else None) or ()


@dataclass(frozen=True)
class File:
    """A parsed file, its kind, and the gate that its repository has chosen."""

    path: str
    kind: str
    root: Value
    gate: str = ENVIRONMENT_GATE

    def jobs(self) -> List[Job]:
        """The jobs in the order of the file."""
        jobs = self.root.get("jobs")
        return [Job(id, value.line, value) for id, value in ((jobs.fields if jobs else None) or {}).items()]

    def job(self, id: str) -> Optional[Job]:
        """The job `id`, or None."""
        return next((job for job in self.jobs() if job.id == id), None)

    @property
    def triggers(self) -> Tuple[str, ...]:
        """The events that start the workflow."""
        on = self.root.get("on")
        if not on:
            return ()
        return tuple(on.fields) if on.fields is not None else tuple(on.texts())

    @property
    def shape(self) -> str:
        """Which part of which gate the workflow's text claims to be; whether it may is for its repository to say."""
        if "issue_comment" in self.triggers:
            return ACTING
        return ASKING if self.job("ask") else WHOLE

    def steps(self) -> List[Value]:
        """Every step of every job, or of the composite action."""
        if self.kind == ACTION:
            steps = self.root.get("runs", "steps")
            return list((steps.items if steps else None) or ())
        return [step for job in self.jobs() for step in job.steps()]

    def uses(self, name: str) -> List[Value]:
        """The steps that use the action `name`, for example `actions/checkout`, whatever the version."""
        return [step for step in self.steps() if action(step) == name]


def action(step: Value) -> str:
    """The action that a step uses, in lower case and without its version; the empty text where it uses none."""
    uses = step.get("uses")
    return (uses.text or "").split("@")[0].lower() if uses else ""


def _kind(root: Value, path: str) -> str:
    if root.get("runs") and not root.get("jobs"):
        return ACTION
    name = root.get("name")
    jobs = root.get("jobs")
    ids = set((jobs.fields if jobs else None) or {})
    named = bool(name and (name.text or "").startswith("Agent Runtime")) or is_agent_file(path)
    return AGENT if named or {"approve", "act"} <= ids else OTHER


def is_agent_file(path: str) -> bool:
    """Whether a file's name is that of an agent workflow; the report beside it reads and holds nothing."""
    name = PurePath(path).name
    return name.startswith("agent-") and name != names.REPORT_FILE


def condition(value: Optional[Value]) -> str:
    """An `if` without its `${{ }}` and with single spaces; the empty text where there is none."""
    text = " ".join((value.text or "").split()) if value else ""
    whole = re.match(r"^\$\{\{(.*)\}\}$", text)
    return whole.group(1).strip() if whole else text


def expressions(text: str) -> List[str]:
    """The bodies of every `${{ }}`, as GitHub finds them: a `}}` within quotes ends nothing."""
    found: List[str] = []
    start = text.find("${{")
    while start >= 0:
        at, quoted = start + 3, False
        while at < len(text) and (quoted or not text.startswith("}}", at)):
            quoted = quoted != (text[at] == "'")
            at += 1
        found.append(text[start + 3 : at])
        start = text.find("${{", at)
    return found


def expression(value: Value) -> Optional[str]:
    """The body of a value that is one expression and nothing else, with single spaces; None for any other value."""
    text = (value.text or "").strip()
    bodies = expressions(text)
    whole = len(bodies) == 1 and text == "${{" + bodies[0] + "}}"
    return " ".join(bodies[0].split()) if whole else None


def local_actions(file: File) -> List[str]:
    """The paths, from the repository's root, of the actions and workflows that a file uses from its own repository."""
    used = [value.get("uses") for value in file.root.walk()]
    texts = [uses.text for uses in used if uses and uses.text]
    return sorted({text[2:] for text in texts if text.startswith(("./", "$/"))})
