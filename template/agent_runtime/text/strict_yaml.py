"""YAML with one meaning: what a reviewer reads in the file is what a program reads.

A small part of YAML 1.2.  Refused, with the line: keys that appear twice, anchors, aliases and tags, several documents,
deep nesting, unquoted words that YAML versions read differently (`no`, `010`, `12:30`, dates), and characters that let
a line look like something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional

from agent_runtime.text.escape import visible

_MAX_DEPTH = 10
_MAX_INTEGER = 2**53 - 1
_SHOWN = 60

# Numbers that every version of YAML reads alike; an exponent is text to some.
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,15})")
_FRACTION = re.compile(r"-?(?:0|[1-9][0-9]{0,15})\.[0-9]+")
# What YAML 1.1 or 1.2 reads as something else than text (https://yaml.org/type/, https://yaml.org/spec/1.2.2/#103-core-schema).
_AMBIGUOUS = re.compile(
    r"""
    [-+]?0(?:b[01_]+|o?[0-7_]+|x[0-9a-f_]+)
    | [-+]?[0-9][0-9_]*(?::[0-5]?[0-9])*(?:\.[0-9_]*)?(?:e[-+]?[0-9]+)?
    | [-+]?\.(?:[0-9_]+(?:e[-+]?[0-9]+)?|inf|nan)
    | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*
    | y|n|yes|no|on|off|true|false|null|~|=|<<
    """,
    re.IGNORECASE | re.VERBOSE,
)
# Control and bidirectional characters, line endings that only some programs recognize, byte order marks within the
# text, and tags; in comments too.
DECEIVING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]|\r(?!\n)"
)


class StrictYamlError(Exception):
    """The text is not such YAML.

    Arguments:
        line: where, from 1.
        message: what is wrong and what to do about it.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(frozen=True)
class Node:
    """A value and the line on which it, or its key, stands: a dict or list of nodes, or a scalar."""

    line: int
    value: Any


def load(data: bytes) -> Node:
    """Read the one YAML document in `data`.

    Raises:
        StrictYamlError: with the line and what to do.
    """
    return _Loader(_decode(data)).document()


def values(node: Node) -> Any:
    """The value of a node without lines: dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: values(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [values(item) for item in node.value]
    return node.value


def _decode(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise StrictYamlError(_line_of(data, problem.start), "not UTF-8: save the file as UTF-8") from None
    found = DECEIVING.search(text)
    if found:
        raise StrictYamlError(
            text.count("\n", 0, found.start()) + 1,
            f"the character {visible(found.group())} can't be seen and hides what the line says: remove it",
        )
    return text


def _line_of(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1


class _Loader:
    """Builds nodes from PyYAML's events; its own constructor would resolve aliases, tags and YAML 1.1's types."""

    def __init__(self, text: str) -> None:
        import yaml  # noqa: PLC0415  imported when a file is read

        self._yaml: Any = yaml
        self._text = text
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)

    def document(self) -> Node:
        yaml = self._yaml
        try:
            return self._document()
        except yaml.MarkedYAMLError as problem:
            mark = problem.problem_mark or problem.context_mark
            said = visible(str(problem.problem or problem.context), 200)
            hint = ": write a value that starts with * in quotes" if "alias" in str(problem.context) else ""
            raise StrictYamlError(mark.line + 1 if mark else 1, f"not YAML: {said}{hint}") from None
        except yaml.reader.ReaderError as problem:
            line = self._text.count("\n", 0, problem.position) + 1
            raise StrictYamlError(line, f"not YAML: {str(problem).splitlines()[0]}: remove it") from None
        except (ValueError, OverflowError) as problem:
            # PyYAML passes an escape beyond Unicode, such as "\U99999999", on to chr().
            raise StrictYamlError(1, f"not YAML: {visible(str(problem), 200)}") from None

    def _document(self) -> Node:
        root: Optional[Node] = None
        for event in self._events:
            if isinstance(event, self._yaml.DocumentStartEvent):
                if root is not None:
                    raise StrictYamlError(event.start_mark.line + 1, "a second document: keep one in a file")
                root = self._node(next(self._events), 0)
        if root is None:
            raise StrictYamlError(1, "the file is empty")
        return root

    def _node(self, event: Any, depth: int) -> Node:
        line = event.start_mark.line + 1
        self._refuse_indirection(event, line)
        if depth > _MAX_DEPTH:
            raise StrictYamlError(line, f"nested more than {_MAX_DEPTH} deep: write it flatter")
        if isinstance(event, self._yaml.ScalarEvent):
            return Node(line, event.value if event.style is not None else _plain(line, event.value))
        if isinstance(event, self._yaml.SequenceStartEvent):
            return Node(line, self._sequence(depth))
        return Node(line, self._mapping(depth))

    def _refuse_indirection(self, event: Any, line: int) -> None:
        if isinstance(event, self._yaml.AliasEvent):
            raise StrictYamlError(
                line, f"the alias *{visible(event.anchor)} is not allowed: write the value out, or in quotes"
            )
        if event.anchor is not None:
            raise StrictYamlError(line, f"the anchor &{visible(event.anchor)} is not allowed: write the value out")
        if event.tag is not None:
            raise StrictYamlError(line, f"the tag {visible(event.tag, _SHOWN)} is not allowed: remove it")

    def _sequence(self, depth: int) -> List[Node]:
        items: List[Node] = []
        for event in self._events:
            if isinstance(event, self._yaml.SequenceEndEvent):
                break
            items.append(self._node(event, depth + 1))
        return items

    def _mapping(self, depth: int) -> Dict[str, Node]:
        mapping: Dict[str, Node] = {}
        for event in self._events:
            if isinstance(event, self._yaml.MappingEndEvent):
                break
            key = self._node(event, depth + 1)
            if not isinstance(key.value, str):
                raise StrictYamlError(key.line, "a key is not a text: write it in quotes")
            if key.value in mapping:
                raise StrictYamlError(key.line, f"the key {visible(key.value, _SHOWN)} appears twice: keep one of them")
            mapping[key.value] = Node(key.line, self._node(next(self._events), depth + 1).value)
        return mapping


def _plain(line: int, text: str) -> Any:
    """The value of a scalar without quotes."""
    if text in ("true", "false"):
        return text == "true"
    if text in ("", "null", "~"):
        return None
    if _INTEGER.fullmatch(text) and abs(int(text)) <= _MAX_INTEGER:
        return int(text)
    if _FRACTION.fullmatch(text):
        return float(text)
    if _AMBIGUOUS.fullmatch(text):
        raise StrictYamlError(
            line,
            f"{visible(text, _SHOWN)} without quotes is read differently by different programs: write it in "
            "quotes, or as true, false or a "
            "plain number below 2**53",
        )
    return text
