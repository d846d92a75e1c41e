"""What every page is made of: blocks with escaped words, tables, times, and the bounds that GitHub sets.

It must not be possible to persuade a reader with text that only looks like the runtime's (threats T3, T4, T14): the
runtime states facts from typed fields; the words of others are in code spans and blocks, under a line that says whose
they are.  Nothing sealed is ever cut: a page that GitHub would not show refuses the run instead.  The agent's own words
are bounded, and the page says where.

Pure, and the same input gives the same page.
"""

from __future__ import annotations

import json
from typing import Any, Callable, List, Sequence, Tuple

from agent_runtime import codes
from agent_runtime.model import plan
from agent_runtime.model.documents import parse_time
from agent_runtime.text.escape import markdown_inline, markdown_table_cell
from agent_runtime.text.markdown import page

# GitHub drops a step's summary above this size.
MAX_PAGE_BYTES = 1024 * 1024

FACTS = ("What", "Value")
AGENT_WROTE = (
    "Written by the agent; only secrets were redacted. "
    "It may be wrong, or repeat what somebody put into a log or an alert."
)

UNASKED_FACT = ("Approved by", "nobody: the policy lets it happen without asking")

Rows = List[Tuple[str, str]]


def whole(blocks: Sequence[str], sizes: Callable[[], str] = str) -> str:
    """Join blocks into a page.

    Arguments:
        sizes: says for the error how large the parts of it are.

    Raises:
        BadInput: it is larger than GitHub shows (RPT002).
    """
    text = page(blocks)
    size = len(text.encode("utf-8"))
    if size > MAX_PAGE_BYTES:
        problem = f"the page for the run's summary has {size} bytes, GitHub shows {MAX_PAGE_BYTES}"
        parts = sizes()
        raise codes.BadInput(codes.REPORT_TOO_LARGE, f"{problem} ({parts})" if parts else problem)
    return text


def for_people(given: Any) -> str:
    """A JSON value for people: text without quotes, everything else as JSON."""
    return given.strip("\r\n") if isinstance(given, str) else as_json(given)


def as_json(given: Any) -> str:
    """A JSON value on one line."""
    return json.dumps(given, ensure_ascii=False, sort_keys=True)


def bounded(text: str, limit: int, show: Callable[[str], str] = markdown_inline) -> str:
    """The agent's words on one line, at most so many characters; how many are left out stands outside of code."""
    rest = len(text) - limit
    return show(text[:limit]) + (f" {left_out(rest, 'characters')}" if rest > 0 else "")


def left_out(number: int, what: str) -> str:
    """Where something of the agent's is not shown, and how much."""
    return f"**(cut here: {number} more {what} are in the report)**"


def way_out(code: str) -> str:
    """What to do about a registered code; its text is in code, because it may hold `<agent>` or `2**53`."""
    return f"What to do: {markdown_inline(codes.describe(code).fix)}"


def short(digest: str) -> str:
    """The digits of a digest that people read, for a table."""
    return markdown_table_cell(plan.short(digest))


def time(text: str) -> str:
    """A time of a document, for people."""
    return f"{parse_time(text):%Y-%m-%d %H:%M:%S} UTC"
