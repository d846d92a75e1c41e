"""Who owns a path by a CODEOWNERS file.

Source: https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import FrozenSet, List, Pattern, Tuple


def owners(text: str, path: str) -> Tuple[str, ...]:
    """Return the owners of `path`; the last pattern that matches counts, and it may name nobody.

    Arguments:
        text: of the CODEOWNERS file.
        path: of a file, relative to the repository's root, with `/`.
    """
    found: Tuple[str, ...] = ()
    for line in text.splitlines():
        words = _words(line)
        if words and _paths(words[0]).fullmatch(path):
            found = tuple(words[1:])
    return found


def everybody(text: str) -> FrozenSet[str]:
    """Return every owner that a CODEOWNERS file names."""
    return frozenset(owner for line in text.splitlines() for owner in _words(line)[1:])


def _words(line: str) -> List[str]:
    words: List[str] = []
    for word in line.split():
        if word.startswith("#"):
            break
        words.append(word)
    return words


@lru_cache(maxsize=256)  # once, not once a file
def _paths(pattern: str) -> Pattern[str]:
    """What matches the paths that a pattern takes."""
    anchored = "/" in pattern.rstrip("/")
    folder = pattern.endswith("/")
    expression = "" if anchored else "(?:.*/)?"
    rest = pattern.strip("/")
    position = 0
    while position < len(rest):
        if rest.startswith("**/", position):
            expression += "(?:.*/)?"
            position += 3
        elif rest.startswith("**", position):
            expression += ".*"
            position += 2
        else:
            letter = rest[position]
            expression += {"*": "[^/]*", "?": "[^/]"}.get(letter, re.escape(letter))
            position += 1
    # A pattern that ends with a star takes the files of one folder only; any other also what is below it.
    below = "/.*" if folder else "" if rest.endswith("/*") else "(?:/.*)?"
    return re.compile(expression + below)
