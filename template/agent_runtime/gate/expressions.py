"""What a condition looks at: the values that a path names in an action's parameters, or one number made of them.

    path       = name , { "." , name | "[]" } ;
    expression = path | "count(" path ")" | "sum(" path ")" | "age(" path ")" ;

`a.b` is the value b of the object a, and `a[]` each item of the list a.  `count(a)` is how many items a list has,
`sum(a[].b)` the exact sum of numbers, `age(a[].b)` how long before the sealing each of these times was.

Whatever is not exactly as the expression says has no value, so that no condition about it can be judged: something on
the way that is missing or of another kind, an empty list, a negative number in a sum (it would make room for another
one), a time after the sealing, a number that not every reader of JSON takes for the same.  Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from functools import lru_cache
from typing import Any, List, Mapping, Optional, Sequence, Tuple, Union

from agent_runtime.model.inputs import MAX_NUMBER

COUNT = "count"
SUM = "sum"
AGE = "age"

# A name, or None for each item of a list.
Steps = Tuple[Optional[str], ...]

_MAX_STEPS = 10
_EXPRESSION = re.compile(rf"(?:({COUNT}|{SUM}|{AGE})\((.*)\)|(.*))", re.DOTALL)
_NAME = r"[^.\[\]()]+"
_PATH = re.compile(rf"{_NAME}(?:\[\])?(?:\.{_NAME}(?:\[\])?)*")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z", re.ASCII)
_DURATION = re.compile(r"([1-9][0-9]{0,3})([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


@dataclass(frozen=True)
class Expression:
    """What a text of a policy means: a path, and `count`, `sum`, `age` or nothing of what stands there."""

    function: str
    steps: Steps

    @property
    def is_single(self) -> bool:
        """Whether it is one value, and not one for each item of a list."""
        return self.function in (COUNT, SUM) or None not in self.steps


@lru_cache(maxsize=512)
def parse(text: str) -> Expression:
    """Read an expression.

    Raises:
        ValueError: it is not one; the message says what to write.
    """
    found = _EXPRESSION.fullmatch(text)
    function, path = (found.group(1) or "", found.group(2) or found.group(3) or "") if found else ("", "")
    if not _PATH.fullmatch(path):
        raise ValueError("write a name, a.b, a[].b, count(a), sum(a[].b) or age(a.b)")
    steps: List[Optional[str]] = []
    for piece in path.split("."):
        steps += [piece[:-2], None] if piece.endswith("[]") else [piece]
    if len(steps) > _MAX_STEPS:
        raise ValueError(f"it has {len(steps)} parts: {_MAX_STEPS} are allowed")
    if function == COUNT and steps[-1] is None:
        raise ValueError(f"write count({path[:-2]}), which counts the items")
    if function == SUM and None not in steps:
        raise ValueError("sum() is of a list: write sum(a[]) or sum(a[].b)")
    return Expression(function, tuple(steps))


def values(text: str, parameters: Mapping[str, Any], moment: Optional[datetime]) -> Optional[List[Any]]:
    """Return what an expression is: one value, or for a path through lists one for each item; None where there is none.

    Arguments:
        text: the expression.
        moment: aware datetime, of the sealing; without it nothing has an age.
    """
    expression = parse(text)
    steps = (*expression.steps, None) if expression.function == COUNT else expression.steps
    found = at(steps, parameters)
    if found is None or not expression.function:
        return found
    if expression.function == COUNT:
        return [len(found)]
    if expression.function == SUM:
        return [sum(map(exact, found), Fraction(0))] if all(map(_can_be_summed, found)) else None
    ages = [_age(value, moment) for value in found]
    return None if None in ages else ages


def at(steps: Steps, parameters: Mapping[str, Any]) -> Optional[List[Any]]:
    """Return what stands at a path; None where something on the way is missing, empty or of another kind."""
    found: Sequence[Any] = [dict(parameters)]
    for step in steps:
        if step is None:
            if not all(isinstance(value, (list, tuple)) and value for value in found):
                return None
            found = [item for value in found for item in value]
        else:
            if not all(isinstance(value, dict) and step in value for value in found):
                return None
            found = [value[step] for value in found]
    return list(found)


def named(steps: Steps) -> str:
    """A path as an expression names it."""
    return "".join("[]" if step is None else f".{step}" for step in steps)[1:]


def exact(number: Union[int, float, Fraction]) -> Union[int, Fraction]:
    """A finite number as its digits say, so that 0.1 + 0.2 is 0.3."""
    return Fraction(str(number)) if isinstance(number, float) else number


def duration(text: str) -> timedelta:
    """Read `30m`, `24h` or `7d`; zero for any other text."""
    found = _DURATION.fullmatch(text)
    return int(found.group(1)) * _UNITS[found.group(2)] if found else timedelta()


def seconds(span: timedelta) -> Fraction:
    """A span as a number that can be compared with an age."""
    return Fraction(span // timedelta(microseconds=1), 10**6)


def age_of(seconds_before: Fraction) -> str:
    """An age for people, in the largest unit of which there is one, rounded down: `30d`."""
    for unit, span in reversed(list(_UNITS.items())):
        if seconds_before >= seconds(span):
            return f"{seconds_before // seconds(span)}{unit}"
    return f"{seconds_before // 1}s"


def _can_be_summed(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER


def _age(value: Any, moment: Optional[datetime]) -> Optional[Fraction]:
    """How many seconds before a moment a time is; None for what is not a time, or after the moment."""
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None or moment is None:
        return None
    try:
        then = datetime.strptime(found.group(1), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    age = seconds(moment - then) - Fraction("0" + (found.group(2) or ""))
    return age if age >= 0 else None
