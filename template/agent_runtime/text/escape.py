"""Untrusted text, one function for each place where it is shown.

Findings, evidence, reasons, alert payloads and model output are written by programs, or by people through them.  They
must never start a workflow command, move a cursor, or look like a part of the page that the runtime wrote (threats T3,
T4, T6).  Two ideas carry all of it:

* What can't be seen is shown: control, bidirectional, zero-width and unassigned characters appear as `\\u{202e}`.
  Text that already holds `\\u{` is escaped too, so that no two texts look alike.
* In Markdown, untrusted text is in code spans and fenced blocks only.  GitHub renders no link, mention, reference,
  image, HTML, emoji or formula inside code, and the reader sees where the agent's words begin and end.

The limits of GitHub's parser are respected, because beyond them code stops being code: cmark-gfm ignores code spans
with fences longer than 80 backticks, and closes a block whose fence is longer than 255 at the 255th.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any, FrozenSet, List, Optional

# Letters, marks and symbols by category that have no ink of their own.
_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(chr(code) for code in range(0xFE00, 0xFE10))
    + "".join(chr(code) for code in range(0xE0100, 0xE01F0))
)
# Control, format, surrogate, private use, unassigned; line and paragraph separators; spaces other than the plain one.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_COMBINING_CATEGORIES = frozenset({"Mn", "Me"})
# Marks stacked higher than in any living script cover the lines around them.
_MAX_COMBINING = 4

_PLAIN_LINE = re.compile(r"[ -\[\]-~]*")
_ONE_LINE: FrozenSet[str] = frozenset()
_MANY_LINES = frozenset("\n\t")

# What is not plain in every service that shows messages: all but these, underscores outside of words, the second slash
# of `://`, and what opens the name of an emoji, such as `:white_check_mark:`.
_ACTIVE = re.compile(r"[^A-Za-z0-9 _.,:/+=%#\\{}-]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=:/)/|:(?=[a-z0-9_+-]+:)")
_BACKTICKS = re.compile(r"`+")
_SHORTEST_FENCE = 3
_LONGEST_BACKTICKS = 64

_EMPTY = "(empty)"


def _escape(character: str) -> str:
    return f"\\u{{{ord(character):x}}}"


def _show(text: str, keep: FrozenSet[str]) -> str:
    if _PLAIN_LINE.fullmatch(text):
        return text
    shown: List[str] = []
    combining = 0
    for position, character in enumerate(text):
        category = unicodedata.category(character)
        combining = combining + 1 if category in _COMBINING_CATEGORIES else 0
        if character == " " or character in keep:
            shown.append(character)
        elif (
            category in _HIDDEN_CATEGORIES
            or character in _INVISIBLE
            or combining > _MAX_COMBINING
            or (combining and position == 0)
            or (character == "\\" and text.startswith("u{", position + 1))
        ):
            shown.append(_escape(character))
        else:
            shown.append(character)
    return "".join(shown)


def visible(text: str, limit: Optional[int] = None) -> str:
    """Return `text` as one line in which every character can be seen.

    Arguments:
        limit: number of characters to show at most, counted before escaping; the rest is counted, not shown.  Only
            for messages and names: a sealed value is never cut.
    """
    if limit is not None and len(text) > limit:
        return f"{_show(text[:limit], _ONE_LINE)}… ({len(text) - limit} more characters)"
    return _show(text, _ONE_LINE)


def is_visible(text: str) -> bool:
    """Whether every character of `text` can be seen, so that `visible()` would change nothing."""
    return _show(text, _ONE_LINE) == text


def _code_spans(text: str, separators: str) -> str:
    if not text:
        return _EMPTY
    pieces = re.split(f"([{re.escape(separators)}])", visible(text))
    return "".join(f"&#{ord(piece)};" if piece in separators else _code_span(piece) for piece in pieces if piece)


def _code_span(text: str) -> str:
    # A span that starts and ends with a space loses one of each (CommonMark 6.1), unless it holds nothing else.
    pad = " " if text.startswith(" ") and text.endswith(" ") and text.strip(" ") else ""
    return f"`{pad}{text}{pad}`"


def markdown_inline(text: str) -> str:
    """Return Markdown for a heading, paragraph or list item that shows `text` on one line and does nothing else.

    The text is in code spans; backticks stand between them as entities, so no fence ever depends on the text.
    An empty text reads `(empty)`, outside any span.
    """
    return _code_spans(text, "`")


def markdown_table_cell(text: str) -> str:
    """Return Markdown for a cell of a table; as `markdown_inline()`, and no `|` can end the cell."""
    return _code_spans(text, "`|")


def markdown_block(text: str, *, diff: bool = False) -> str:
    """Return a fenced code block that shows `text` with its lines and tabs; the caller says who wrote it.

    The fence is longer than any run of backticks inside.  Backticks beyond 64 in a row are shown as escapes, because a
    longer fence would be ignored.  The language is `text` or `diff`: GitHub draws `mermaid` and others.
    """
    body = _show(text.replace("\r\n", "\n"), _MANY_LINES)
    body = _BACKTICKS.sub(_bounded_backticks, body)
    longest = max((len(run) for run in _BACKTICKS.findall(body)), default=0)
    fence = "`" * max(_SHORTEST_FENCE, longest + 1)
    return f"{fence}{'diff' if diff else 'text'}\n{body}\n{fence}"


def markdown_json_block(value: Any) -> str:
    """Return a fenced code block with `value` as indented JSON that parses to exactly `value`.

    JSON's own escapes make everything visible: nothing but printable ASCII, so that look-alike letters show too, and
    no backtick that could end the block.

    Raises:
        TypeError, ValueError: `value` is not JSON.
    """
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False)
    # A backtick can be in strings only, where JSON allows the escape.
    text = text.replace("`", "\\u0060")
    return f"```json\n{text}\n```"


def _bounded_backticks(run: re.Match[str]) -> str:
    surplus = len(run.group()) - _LONGEST_BACKTICKS
    return run.group() if surplus <= 0 else "`" * _LONGEST_BACKTICKS + _escape("`") * surplus


def message(text: str) -> str:
    """Return `text` for one line of a message to a chat, a mail or a pager, which is text in all of them.

    Services make mentions, links and emphasis of plain text, each by rules of its own.  So characters that do that in
    any of them appear as escapes, and so does what makes an address a link.
    """
    return _ACTIVE.sub(lambda found: _escape(found.group()), visible(text))


def log_line(text: str) -> str:
    """Return `text` as one line of a job's log in which no workflow command can start.

    The runner acts on `::name …::` at the start of a line and on `##[name …]` anywhere in it; it takes a lone carriage
    return for the end of a line.  `::` and `#[` are broken wherever they stand, and a `##` at the end, so that the
    result stays safe beside other text.
    """
    shown = visible(text).replace("::", ":" + _escape(":")).replace("#[", "#" + _escape("["))
    return shown[:-1] + _escape("#") if shown.endswith("##") else shown


def terminal(text: str) -> str:
    """Return `text` for a terminal: lines and tabs stay, no escape sequence or control character does."""
    return _show(text, _MANY_LINES)
