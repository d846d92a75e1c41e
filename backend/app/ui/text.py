"""Showing text that somebody else wrote. The templates escape it; this is about what would still mislead."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

from app.store.runs import MAX_COUNTED

MAX_SHOWN = 300
"""Characters of one text on a page, unless said otherwise."""

_KEPT = "\n\t"
_UNSEEN = ("Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp")


def shown(text: object, length: int = MAX_SHOWN) -> str:
    """Return a text as it can be shown.

    What can't be seen, or changes the order of what can, is written as its number; what is too long is cut, and the
    text says so.
    """
    whole = str(text)
    part = whole[:length]
    visible = "".join(_visible(character) for character in part)
    cut = len(whole) - len(part)
    return f"{visible}… (cut: {cut:,} more characters)" if cut else visible


def _visible(character: str) -> str:
    if (character.isascii() and character.isprintable()) or character in _KEPT:
        return character
    if unicodedata.category(character) in _UNSEEN:
        return f"⟨U+{ord(character):04X}⟩"
    return character


def moment(instant: int | None) -> str:
    """Return an instant (µs since 1970) for people, in UTC."""
    if instant is None:
        return "never"
    return f"{_time(instant):%Y-%m-%d %H:%M:%S} UTC"


def machine_moment(instant: int) -> str:
    """Return an instant for the attribute `datetime`."""
    return f"{_time(instant):%Y-%m-%dT%H:%M:%SZ}"


def clock(instant: int) -> str:
    """Return the time of day of an instant, to the millisecond."""
    return f"{_time(instant):%H:%M:%S.%f}"[:-3]


def _time(instant: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)


def counted(number: int) -> str:
    """Return a number of runs, which are counted up to a bound."""
    return f"{number:,} or more" if number >= MAX_COUNTED else f"{number:,}"


def plain(name: str) -> str:
    """Return a word of the runtime's, such as `action_failed`, for people."""
    return name.replace("_", " ").replace("-", " ")
