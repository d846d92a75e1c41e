"""PRODUCTION_CHECKLIST.md: which of its lines a machine checks, and which are questions to people."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import List, Tuple

_SECTION = re.compile(r"##\s+(.+?)\s*")
_LINE = re.compile(r"\s*[-*]\s+\[([ xX])\]\s+(.+?)\s*")
_MARK = re.compile(r"\s*<!--\s*doctor:\s*([a-z0-9 ,-]+?)\s*-->\s*$")
_OWNER = re.compile(r"\*\*(.+?)\*\*\s+")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True)
class Item:
    """One line of the checklist.

    Arguments:
        text: without Markdown's links and marks.
        ticked: whether a person ticked it.
        checks: names of the checks that look at it; empty for a question.
        owner: `checked by doctor` or `yours`, as the line says; empty where it does not.
    """

    section: str
    text: str
    ticked: bool
    checks: Tuple[str, ...]
    owner: str = ""


def parse(text: str) -> List[Item]:
    """Return the checklist's lines in their order; whatever is no `- [ ]` line is passed over."""
    section = ""
    items: List[Item] = []
    for line in text.splitlines():
        heading = _SECTION.fullmatch(line)
        if heading:
            section = heading.group(1)
        entry = _LINE.fullmatch(line)
        if not entry:
            continue
        owned = _OWNER.match(entry.group(2))
        words = entry.group(2)[owned.end() :] if owned else entry.group(2)
        mark = _MARK.search(words)
        checks = tuple(name for name in re.split(r"[ ,]+", mark.group(1)) if name) if mark else ()
        words = _LINK.sub(r"\1", _MARK.sub("", words)).replace("`", "")
        items.append(Item(section, words, entry.group(1) != " ", checks, owned.group(1) if owned else ""))
    return items
