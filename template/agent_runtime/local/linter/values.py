"""Workflow files and composite actions as data with line numbers.

Read is only what every program reads one way: one document, without duplicate keys, tags, directives, merge keys, and
characters that some YAML parsers take for the end of a line and others don't.  Aliases are written out, as GitHub does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

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
    """A YAML value and its line (0 where it is in no file).  Exactly one of the others is not None."""

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
    """A value that is in no file, of dicts, lists and scalars."""
    if isinstance(data, dict):
        return Value(0, fields={str(key): plain(item) for key, item in data.items()})
    if isinstance(data, (list, tuple)):
        return Value(0, items=tuple(plain(item) for item in data))
    return Value(0, text=str(data))


@lru_cache(maxsize=32)  # `update` judges two trees with nearly the same files
def read(data: bytes) -> Value:
    """The mapping that a file holds; nobody changes it.

    Raises:
        Unreadable: it is not YAML, or not YAML of this kind.
    """
    if len(data) > MAX_BYTES:
        raise Unreadable(1, f"the file is larger than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(data.count(b"\n", 0, error.start) + 1, "not UTF-8") from None
    found = DECEIVING.search(text)
    if found:
        # PyYAML ends a line at U+0085, U+2028 and U+2029; GitHub continues, for example with a comment.
        line = text.count("\n", 0, found.start()) + 1
        raise Unreadable(line, f"the character {visible(found.group())} can't be seen and hides what the line says")
    try:
        return _Reader(text).root()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(mark.line + 1 if mark else 1, f"not YAML: {visible(str(error.problem), 200)}") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise Unreadable(1, f"not YAML: {type(error).__name__}") from None


class _Reader:
    """Makes values of PyYAML's nodes; its constructor would overwrite a key that appears twice, and merge mappings."""

    def __init__(self, text: str) -> None:
        self._loader: Any = yaml.SafeLoader(text)
        self._made: Dict[int, Tuple[Value, int]] = {}

    def root(self) -> Value:
        node = self._loader.get_single_node()
        if node is None or self._loader.yaml_version:
            raise Unreadable(1, "a directive changes how YAML is read: remove it" if node else "the file is empty")
        root, _ = self._value(node)
        if root.fields is None:
            raise Unreadable(root.line, "the file is not a mapping")
        return root

    def _value(self, node: Any) -> Tuple[Value, int]:
        """The value of a node, once for all its aliases, and how many values it holds."""
        if id(node) in self._made:
            return self._made[id(node)]
        line, size, plain_text = _line(node), 1, not getattr(node, "style", None)
        if node.tag != self._loader.resolve(type(node), node.value, (plain_text, not plain_text)):
            raise Unreadable(line, "a tag changes how YAML is read: remove it")
        if isinstance(node, yaml.ScalarNode):
            value = Value(line, text=str(node.value))
        elif isinstance(node, yaml.SequenceNode):
            made = [self._value(item) for item in node.value]
            value, size = Value(line, items=tuple(item for item, _ in made)), size + sum(more for _, more in made)
        else:
            fields: Dict[str, Value] = {}
            for key, item in node.value:
                name = _key(key, fields)
                below, more = self._value(item)
                fields[name] = replace(below, line=_line(key))
                size += more
            value = Value(line, fields=fields)
        if size > _MAX_VALUES:
            raise Unreadable(line, f"more than {_MAX_VALUES} values, with aliases written out")
        self._made[id(node)] = value, size
        return value, size


def _key(key: Any, before: Mapping[str, Value]) -> str:
    name = str(key.value)
    if not isinstance(key, yaml.ScalarNode) or "${{" in name or name == "<<":
        # `${{ insert }}` merges a mapping that is nowhere in the file; GitHub knows no `<<`.
        raise Unreadable(_line(key), "a key is computed: write the keys out")
    if name in before:
        raise Unreadable(_line(key), f"the key {visible(name, 60)} appears twice")
    return name


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def place(root: Value, line: int) -> str:
    """Where a line of a file is, such as `jobs.act.steps[3].uses`: the last value that begins there or before."""
    where, nearest = "", 0
    for path, value in _places("", root):
        if nearest <= value.line <= line:
            where, nearest = path, value.line
    return where


def _places(path: str, value: Value) -> Iterator[Tuple[str, Value]]:
    yield path, value
    for number, item in enumerate(value.items or (), 1):
        yield from _places(f"{path}[{number}]", item)
    for key, item in value.below().items():
        yield from _places(f"{path}.{key}" if path else key, item)


def action(step: Value) -> str:
    """The action that a step uses, in lower case and without its version; the empty text where it uses none."""
    return (step.get("uses").text or "").split("@")[0].lower()


def is_pinned(uses: str) -> bool:
    """Whether nobody else can change what `uses` names: a commit, an image's digest, a path of this repository."""
    if uses.startswith(("./", "$/")):
        return ".." not in uses.split("/")
    return bool(re.match(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}\Z|docker://[^@]+@sha256:[0-9a-f]{64}\Z", uses))


def pieces(text: str) -> List[Tuple[str, bool]]:
    """A text in its order: what is there, and the bodies of `${{ }}` (True); a `}}` in quotes does not end one."""
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
