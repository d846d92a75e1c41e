"""Workflow files and composite actions as data with line numbers.

Read is only what every program reads one way: one document, without duplicate keys, tags, directives, merge keys, and
characters that some YAML parsers take for the end of a line and others don't.  Aliases are written out, as GitHub does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Tuple

import yaml

from agent_runtime.text.escape import visible
from agent_runtime.text.strict_yaml import DECEIVING

MAX_BYTES = 512 * 1024
_MAX_VALUES = 100_000


class Unreadable(Exception):
    """The file can't be judged; `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(frozen=True)
class Value:
    """A YAML value and its line (0 where it stands in no file).  Exactly one of the others is not None."""

    line: int
    text: Optional[str] = None
    items: Optional[Tuple[Value, ...]] = None
    fields: Optional[Dict[str, Value]] = None

    def get(self, *keys: str) -> Value:
        """The value below `keys`; NOTHING where one of them is missing."""
        value = self
        for key in keys:
            value = (value.fields or {}).get(key, NOTHING)
        return value

    def below(self) -> Dict[str, Value]:
        """The entries of a mapping; of anything else none."""
        return self.fields or {}

    def texts(self) -> List[str]:
        """The scalar itself, or the scalars of the list."""
        return [item.text for item in (self.items or (self,)) if item.text is not None]

    def walk(self) -> Iterator[Value]:
        """This value and everything below it, in the order of the file."""
        yield self
        for value in (*(self.items or ()), *self.below().values()):
            yield from value.walk()


NOTHING = Value(0)


def plain(data: Any) -> Value:
    """A value that stands in no file, of dicts, lists and scalars."""
    if isinstance(data, dict):
        return Value(0, fields={str(key): plain(item) for key, item in data.items()})
    if isinstance(data, (list, tuple)):
        return Value(0, items=tuple(plain(item) for item in data))
    return Value(0, text=str(data))


def read(data: bytes) -> Value:
    """The mapping that a file holds.

    Raises:
        Unreadable: it is no YAML, or not YAML of this kind.
    """
    if len(data) > MAX_BYTES:
        raise Unreadable(1, f"the file is larger than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(data.count(b"\n", 0, error.start) + 1, "not UTF-8") from None
    found = DECEIVING.search(text)
    if found:
        # PyYAML ends a line at U+0085, U+2028 and U+2029; GitHub goes on, for example with a comment.
        line = text.count("\n", 0, found.start()) + 1
        raise Unreadable(line, f"the character {visible(found.group())} can't be seen and hides what the line says")
    try:
        return _Reader(text).document()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Unreadable(line, f"not YAML: {visible(str(error.problem), 200)}") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise Unreadable(1, f"not YAML: {type(error).__name__}") from None


class _Reader:
    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._anchors: Dict[str, Value] = {}
        self._count = 0

    def document(self) -> Value:
        next(self._events)  # the stream starts
        start = next(self._events)
        if not isinstance(start, yaml.DocumentStartEvent):
            raise Unreadable(1, "the file is empty")
        if start.version or start.tags:
            raise Unreadable(_line(start), "a directive changes how YAML is read: remove it")
        root = self._value(next(self._events))
        next(self._events)  # the document ends
        more = next(self._events)
        if not isinstance(more, yaml.StreamEndEvent):
            raise Unreadable(_line(more), "a second document follows")
        if root.fields is None:
            raise Unreadable(root.line, "the file is not a mapping")
        return root

    def _value(self, event: Any) -> Value:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise Unreadable(_line(event), "an alias stands inside of what it names, or before it")
            value = self._anchors[event.anchor]
            self._counted(event, sum(1 for _ in value.walk()))
            return value
        self._counted(event, 1)
        if event.tag:
            raise Unreadable(_line(event), "a tag changes how YAML is read: remove it")
        if isinstance(event, yaml.ScalarEvent):
            value = Value(_line(event), text=str(event.value))
        elif isinstance(event, yaml.SequenceStartEvent):
            items = tuple(self._value(item) for item in self._until(yaml.SequenceEndEvent))
            value = Value(_line(event), items=items)
        else:
            value = Value(_line(event), fields=self._fields())
        if event.anchor:
            self._anchors[event.anchor] = value
        return value

    def _fields(self) -> Dict[str, Value]:
        fields: Dict[str, Value] = {}
        for key in self._until(yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise Unreadable(_line(key), "a key is not plain text")
            if "${{" in key.value or key.value == "<<":
                # `${{ insert }}` merges a mapping that stands nowhere in the file; GitHub knows no `<<`.
                raise Unreadable(_line(key), f"the key {visible(key.value, 60)} is computed: write the keys out")
            if key.value in fields:
                raise Unreadable(_line(key), f"the key {visible(key.value, 60)} stands there twice")
            value = self._value(next(self._events))
            fields[key.value] = Value(_line(key), value.text, value.items, value.fields)
        return fields

    def _until(self, end: Any) -> Iterator[Any]:
        event = next(self._events)
        while not isinstance(event, end):
            yield event
            event = next(self._events)

    def _counted(self, event: Any, more: int) -> None:
        self._count += more
        if self._count > _MAX_VALUES:
            raise Unreadable(_line(event), f"more than {_MAX_VALUES} values, with aliases written out")


def _line(event: Any) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def action(step: Value) -> str:
    """The action that a step uses, in lower case and without its version; the empty text where it uses none."""
    return (step.get("uses").text or "").split("@")[0].lower()


def is_pinned(uses: str) -> bool:
    """Whether nobody else can change what `uses` names: a commit, an image's digest, a path of this repository."""
    if uses.startswith(("./", "$/")):
        return ".." not in uses.split("/")
    return bool(re.match(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}\Z|docker://[^@]+@sha256:[0-9a-f]{64}\Z", uses))


def pieces(text: str) -> List[Tuple[str, bool]]:
    """A text in its order: what stands there, and the bodies of `${{ }}` (True), which a `}}` in quotes does not end."""
    found: List[Tuple[str, bool]] = []
    end, start = 0, text.find("${{")
    while start >= 0:
        at, quoted = start + 3, False
        while at < len(text) and (quoted or not text.startswith("}}", at)):
            quoted = quoted != (text[at] == "'")
            at += 1
        found += [(text[end:start], False), (text[start + 3 : at].strip(), True)]
        end, start = at + 2, text.find("${{", at)
    return [*found, (text[end:], False)]


def expressions(text: str) -> List[str]:
    """The bodies of every `${{ }}` in a text."""
    return [body for body, computed in pieces(text) if computed]
