"""Globs (`*` and `?`) for action types, resources and paths, and what counts as the same text."""

from __future__ import annotations

import unicodedata
from typing import Optional


def _compatible(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def caseless(text: str) -> str:
    """Return what many systems take for the same: Unicode's form NFKC, without regard to case and whitespace."""
    return _compatible(_compatible(text).casefold())


def glob_nearly_matches(pattern: str, text: str) -> bool:
    """Whether `text` matches `pattern` but for case, whitespace around it or compatibility characters."""
    return glob_matches(pattern, text) or glob_matches(caseless(pattern), caseless(text))


def glob_matches(pattern: str, text: str) -> bool:
    """Whether `text` as a whole matches `pattern`, in which `*` stands for any characters and `?` for one.

    Case counts, and every other character stands for itself (`[` too).
    """
    at = position = 0
    star: Optional[int] = None
    resume = 0
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[position]):
            at += 1
            position += 1
        elif star is not None:
            # Only the last star ever needs another try: what comes before it is matched already.
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return not pattern[at:].strip("*")
