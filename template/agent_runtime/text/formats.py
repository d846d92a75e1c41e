"""Named formats: what a policy can demand of a text, instead of an expression of its own.

Python's `re` backtracks, so an expression that one person writes and a value that another one writes could together
occupy the gate for years.  These expressions are fixed, bounded, and hold for the whole text.  What a format accepts it
also accepts in small letters, because policies look at texts without regard to case, too.
"""

from __future__ import annotations

import re
from typing import Mapping, NamedTuple

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"


class Format(NamedTuple):
    """An expression for the whole text, the longest text, words for people, a text that fits and one that doesn't."""

    expression: str
    longest: int
    means: str
    example: str
    counter_example: str

    def accepts(self, text: str) -> bool:
        """Whether the whole of `text` is of this format."""
        return len(text) <= self.longest and re.fullmatch(self.expression, text, re.ASCII) is not None

    def __str__(self) -> str:
        return f"{self.means}, {self.longest} characters at most"


FORMATS: Mapping[str, Format] = {
    "ascii-line": Format(
        r"[!-~](?:[ -~]*[!-~])?", 300, "printable ASCII, no space first or last", "looked at checkout", "café"
    ),
    "git-commit": Format(
        r"[0-9a-f]{40}(?:[0-9a-f]{24})?", 64, "40 or 64 lower-case hexadecimal digits", "5f2b7c0e" * 5, "5f2b7c0"
    ),
    "git-ref": Format(
        r"\w+(?:[./-]\w+)*", 200, "letters, digits and _, with single . / - between", "release/2026-11", "main..other"
    ),
    "host-name": Format(
        rf"{_LABEL}(?:\.{_LABEL})*", 253, "service names with dots between", "web-1.example.com", "web-1; reboot"
    ),
    "key-id": Format(r"\w[\w-]*", 64, "letters, digits, _ and -, no - first", "AKIA-7QZ_2", "--all"),
    "relative-path": Format(
        r"\w[\w.-]*(?:/\w[\w.-]*)*",
        400,
        "names of letters, digits, _ . - with / between, no . or - first in a name",
        "conf/checkout.yml",
        "conf/../.git/config",
    ),
    "service-name": Format(
        _LABEL, 63, "lower-case letters, digits and -, no - first or last", "checkout-api", "Checkout API"
    ),
    "version": Format(
        r"v?[0-9]+(?:\.[0-9]+){1,3}(?:[+-]\w[\w.+-]*)?",
        64,
        "2 to 4 numbers with dots between, with or without v before and a suffix after - or +",
        "v1.4.2-rc.1",
        "latest",
    ),
}
