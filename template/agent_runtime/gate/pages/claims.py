"""What the agent's words say that its plan does not: numbers and names of a reason, and how old its evidence is.

Mechanical: nothing is understood, and nothing decided by it; what is found is shown to the reviewer.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left
from datetime import datetime
from typing import Any, Iterator, List, Optional, Sequence

from agent_runtime.gate import checks
from agent_runtime.model.documents import Plan, plain
from agent_runtime.model.plan import canonical

# A number that is not part of a name, a version, a time or an address; a comma may separate thousands.
_NUMBER = re.compile(r"(?<![\w.:/@#-])(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)( ?%)?(?![\w:/]|[.,-]\w)")
# When and how long, which readers were warned of in vain: a day with its month, a number with a unit of time.
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)\b"
)
_WHEN = re.compile(
    rf"\b\d{{1,2}}(?:st|nd|rd|th)? {_MONTH}(?: \d{{4}}\b)?|\b{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?\b(?:,? \d{{4}}\b)?"
    r"|(?<![\w.])\d+(?:\.\d+)? ?(?:ms|s|h|(?:sec|second|min|minute|hour|day|week)s?)\b"
)
_WORD = re.compile(r"[\w./:@-]+")
_SEPARATORS = re.compile(r"[-_./:@]+")
_SHORTEST_PART = 3
_SHORTEST_HASH = 7
# So many different numbers of a reason are looked at, so many of its names, and so many of both are shown.
_LOOKED_AT = 100
_SHOWN = 10
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)")


def unfounded(reason: str, sealed: Plan, asked: Sequence[str]) -> List[str]:
    """Return the numbers and names of a reason that the plan does not have.

    A number counts as there if a number of the plan rounds to it, as it stands or as a percentage; dates and durations
    are passed over.  A name is one that looks like the resource's or an action's, and is another one.

    Arguments:
        asked: what the policy's conditions ask, with their values.
    """
    known = [*(plain(step.parameters) for step in sealed.steps), plain(sealed.preconditions), plain(sealed.variables)]
    whole = " ".join([canonical(known).decode(), *asked]).casefold()
    numbers = sorted(number for each in (*known, *asked) for number in _numbers(each))
    said = itertools.islice(
        {each.group(): each for each in _NUMBER.finditer(_WHEN.sub(" ", reason))}.values(), _LOOKED_AT
    )
    found = [each.group() for each in said if not _is_known(each, numbers, whole)]
    own = [sealed.resource.casefold(), *(step.action for step in sealed.steps)]
    names = (word.strip("-_./:@") for word in _WORD.findall(reason))
    alike = [name for name in dict.fromkeys(names) if any(_is_like(name.casefold(), each) for each in own)]
    found += [name for name in alike[:_LOOKED_AT] if name.casefold() not in own and name.casefold() not in whole]
    return found[:_SHOWN]


def _is_known(said: re.Match[str], numbers: Sequence[float], whole: str) -> bool:
    text = said.group(1).replace(",", "")
    if len(text) >= _SHORTEST_HASH and text in whole:
        return True
    tolerance = 0.5000001 * 10 ** -len(text.partition(".")[2])
    for scale in (1, 100) if said.group(2) else (1,):
        place = bisect_left(numbers, (float(text) - tolerance) / scale)
        if place < len(numbers) and numbers[place] <= (float(text) + tolerance) / scale:
            return True
    return False


def _numbers(value: Any) -> Iterator[float]:
    """Every number in a JSON value, those in its texts and the lengths of its lists included."""
    if isinstance(value, str):
        yield from (float(said.group(1).replace(",", "")) for said in _NUMBER.finditer(value))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value
    elif isinstance(value, dict):
        yield from (number for each in value.values() for number in _numbers(each))
    elif isinstance(value, list):
        yield len(value)
        yield from (number for each in value for number in _numbers(each))


def _is_like(name: str, own: str) -> bool:
    """Whether a name is made like another one, and begins or ends as it does."""
    parts, others = _SEPARATORS.split(name), _SEPARATORS.split(own)
    shared = {parts[0], parts[-1]}.intersection((others[0], others[-1]))
    made_alike = len(others) == 1 or set(_SEPARATORS.findall(name)) & set(_SEPARATORS.findall(own))
    return bool(made_alike) and any(len(part) >= _SHORTEST_PART for part in shared)


def age(value: Any, moment: datetime) -> Optional[str]:
    """How long before a moment, or after it, a time in the evidence is; None for what is not a time."""
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    try:
        day, clock, zone = found.groups()
        then = datetime.fromisoformat(f"{day}T{clock}{zone}".replace("Z", "+00:00"))
    except ValueError:
        return None
    past = moment >= then
    span = checks.duration(moment - then if past else then - moment)
    return f"{span} {'before' if past else 'after'}"
