"""Waiting for the world with a deadline."""

from __future__ import annotations

import time
from typing import Callable, List, Optional, Tuple, TypeVar

from agent_runtime.toolkit.errors import OutcomeUnknown, ToolError

Value = TypeVar("Value")


class Clock:
    """Time as the toolkit sees it; tests give another one."""

    def now(self) -> float:
        """Seconds that only ever increase."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970, to compare with times that services report."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        time.sleep(seconds)


SYSTEM = Clock()


def until(
    check: Callable[[], Optional[Value]], *, seconds: float, interval_seconds: float = 1.0, clock: Clock = SYSTEM
) -> Optional[Value]:
    """Call `check` until it returns something true, and return that; None when the deadline passes first.

    A `ToolError` of `check` counts as "not yet": a service that starts does not answer.  `OutcomeUnknown` is raised:
    what may have taken effect is not tried again.  `check` is called at least once, and a last time at the deadline.

    Arguments:
        seconds: from now to the deadline.
        interval_seconds: between two calls.
    """
    return until_or_why(check, seconds=seconds, interval_seconds=interval_seconds, clock=clock)[0]


def until_or_why(
    check: Callable[[], Optional[Value]], *, seconds: float, interval_seconds: float = 1.0, clock: Clock = SYSTEM
) -> Tuple[Optional[Value], str]:
    """As `until()`; with None comes why not: what the `ToolError` of the last call says, or an empty text."""
    deadline = clock.now() + seconds
    while True:
        value, why = None, ""
        try:
            value = check()
        except OutcomeUnknown:
            raise
        except ToolError as problem:
            why = problem.message
        if value:
            return value, ""
        left = deadline - clock.now()
        if left <= 0:
            return None, why
        clock.sleep(min(interval_seconds, left))


def until_answer(
    check: Callable[[], Optional[Value]],
    *,
    wanted: Value,
    seconds: float,
    interval_seconds: float = 1.0,
    clock: Clock = SYSTEM,
) -> Optional[Value]:
    """Call `check` until it returns `wanted`, and return what it returned last; None where it raised a `ToolError`.

    Unlike `until()`, it distinguishes "no" from "unknown": what could not be checked is None, and never the opposite of
    what was wanted.

    Arguments:
        wanted: what ends the waiting.
        seconds: from now to the deadline.
        interval_seconds: between two calls.
    """
    last: List[Optional[Value]] = [None]

    def answered() -> bool:
        last[0] = None
        last[0] = check()
        return last[0] == wanted

    until(answered, seconds=seconds, interval_seconds=interval_seconds, clock=clock)
    return last[0]
