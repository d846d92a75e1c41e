"""The runtime's pages as plain text for terminals."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import List, Optional, Sequence, Tuple

from agent_runtime.text.escape import terminal

_FENCE = re.compile(r"( *)(`{3,})[a-z]*")
_HEADING = re.compile(r"(#{1,6}) (.*)")
_RULE = re.compile(r"\|(?: ?-+ ?\|)+")
_UNDERLINES = {1: "=", 2: "-"}
# Code spans as `escape` writes them, entities as `escape` writes them, and strong emphasis as pages write it.
_INLINE = re.compile(r"`([^`]*)`|&#(96|124);|\*\*|\[([^\]`]*)\]\((https?://[^\s()`]+)\)")
_COLLAPSED = re.compile(r"</?details>(?:<summary>(.*)</summary>)?")
# What later pieces of a wrapped line are moved by: a list's or a quotation's mark.
_MARGIN = re.compile(r" *(?:[->] |[0-9]+\. )*")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def as_terminal(markdown: str, width: Optional[int] = None) -> str:
    """Return a page of the runtime as plain text: no markup, no colour, no control character.

    Headings are underlined, tables are columns, and fenced blocks keep every line, moved to the right.

    Arguments:
        width: columns into which everything but the fenced blocks is wrapped.
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
            shown += _columns(lines[at:end], width)
            at = end
        else:
            shown += [piece for line in _line(lines[at]) for piece in _wrapped(line, width, _MARGIN.match(line))]
            at += 1
    text = "\n".join(line.rstrip(" ") for line in shown)
    return _CONTROL.sub(lambda found: terminal(found.group()), text)


def screens(text: str, columns: int, rows: int) -> List[str]:
    """Split a text so that each part and a line below it fit on the terminal, wide lines counted as it wraps them."""
    parts: List[List[str]] = [[]]
    used = 0
    for line in text.rstrip("\n").split("\n"):
        needed = max(1, -(-len(line) // columns))
        if parts[-1] and used + needed >= rows:
            parts.append([])
            used = 0
        parts[-1].append(line)
        used += needed
    return ["\n".join(part) for part in parts]


def _end_of_block(lines: Sequence[str], start: int, closing: str) -> int:
    for number in range(start + 1, len(lines)):
        if lines[number] == closing:
            return number
    return len(lines)


def _wrapped(line: str, width: Optional[int], margin: Optional[re.Match[str]]) -> List[str]:
    """A line in pieces that fit, broken at spaces where there are some; the later ones begin below the first's text."""
    start = len(margin.group()) if margin else 0
    pieces: List[str] = []
    while width is not None and len(line) > width > start:
        at = line.rfind(" ", start + 1, width + 1)
        cut, rest = (at, at + 1) if at > start else (width, width)
        pieces.append(line[:cut])
        line = " " * start + line[rest:]
    return [*pieces, line]


def _line(line: str) -> List[str]:
    opened = _COLLAPSED.fullmatch(line)
    if opened:
        return [opened.group(1) + ":"] if opened.group(1) else [""]
    heading = _HEADING.fullmatch(line)
    if heading is None:
        return [_plain(line.rstrip("\\"))]
    text = _plain(heading.group(2))
    underline = _UNDERLINES.get(len(heading.group(1)))
    return [text, underline * len(text)] if underline else [text]


def _columns(lines: Sequence[str], width: Optional[int]) -> List[str]:
    rows = [_cells(line) for line in lines if not _RULE.fullmatch(line)]
    # The last column is not padded, so that one long value does not widen every line.
    widths = [max(map(len, column)) for column in zip_longest(*(row[:-1] for row in rows), fillvalue="")]
    margin = re.compile(f".{{{sum(widths) + 2 * len(widths)}}}")
    shown = ["  ".join([*(cell.ljust(size) for cell, size in zip(row[:-1], widths)), row[-1]]) for row in rows]
    return [piece for line in shown for piece in _wrapped(line, width, margin.match(line))]


def _cells(line: str) -> Tuple[str, ...]:
    return tuple(_plain(cell.strip(" ")) for cell in line.strip("|").split("|"))


def _plain(text: str) -> str:
    return _INLINE.sub(_plain_piece, text)


def _plain_piece(found: re.Match[str]) -> str:
    code, entity, name, address = found.groups()
    if name is not None:
        return f"{name}: {address}"
    if entity is not None:
        return chr(int(entity))
    if code is None:
        return ""
    padded = code.startswith(" ") and code.endswith(" ") and code.strip(" ")
    return code[1:-1] if padded else code
