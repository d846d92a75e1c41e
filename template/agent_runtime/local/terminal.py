"""The runtime's pages as plain text for terminals."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import List, Sequence, Tuple

from agent_runtime.text.escape import terminal

_FENCE = re.compile(r"( *)(`{3,})[a-z]*")
_HEADING = re.compile(r"(#{1,6}) (.*)")
_RULE = re.compile(r"\|(?: ?-+ ?\|)+")
_UNDERLINES = {1: "=", 2: "-"}
# Code spans as `escape` writes them, entities as `escape` writes them, and strong emphasis as pages write it.
_INLINE = re.compile(r"`([^`]*)`|&#(96|124);|\*\*")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def as_terminal(markdown: str) -> str:
    """Return a page of the runtime as plain text: no markup, no colour, no control character.

    Headings are underlined, tables are columns, and fenced blocks keep every line, moved to the right.
    """
    lines = markdown.split("\n")
    shown: List[str] = []
    at = 0
    while at < len(lines):
        fence = _FENCE.fullmatch(lines[at])
        if fence:
            end = _end_of_block(lines, at, fence.group(1) + fence.group(2))
            shown += ["    " + line for line in lines[at + 1 : end]]
            at = end + 1
        elif lines[at].startswith("|"):
            end = at
            while end < len(lines) and lines[end].startswith("|"):
                end += 1
            shown += _columns(lines[at:end])
            at = end
        else:
            shown += _line(lines[at])
            at += 1
    text = "\n".join(line.rstrip(" ") for line in shown)
    return _CONTROL.sub(lambda found: terminal(found.group()), text)


def _end_of_block(lines: Sequence[str], start: int, closing: str) -> int:
    for number in range(start + 1, len(lines)):
        if lines[number] == closing:
            return number
    return len(lines)


def _line(line: str) -> List[str]:
    heading = _HEADING.fullmatch(line)
    if heading is None:
        return [_plain(line.rstrip("\\"))]
    text = _plain(heading.group(2))
    underline = _UNDERLINES.get(len(heading.group(1)))
    return [text, underline * len(text)] if underline else [text]


def _columns(lines: Sequence[str]) -> List[str]:
    rows = [_cells(line) for line in lines if not _RULE.fullmatch(line)]
    # The last column is not padded, so that one long value does not widen every line.
    widths = [max(map(len, column)) for column in zip_longest(*(row[:-1] for row in rows), fillvalue="")]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths)), row[-1]]) for row in rows]


def _cells(line: str) -> Tuple[str, ...]:
    return tuple(_plain(cell.strip(" ")) for cell in line.strip("|").split("|"))


def _plain(text: str) -> str:
    return _INLINE.sub(_plain_piece, text)


def _plain_piece(found: re.Match[str]) -> str:
    code, entity = found.group(1), found.group(2)
    if entity is not None:
        return chr(int(entity))
    if code is None:
        return ""
    padded = code.startswith(" ") and code.endswith(" ") and code.strip(" ")
    return code[1:-1] if padded else code
