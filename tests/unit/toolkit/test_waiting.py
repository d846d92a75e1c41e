"""Deadlines, on a clock that only moves when somebody sleeps."""

from __future__ import annotations

from typing import Any

import pytest

from agent_runtime.toolkit import waiting
from agent_runtime.toolkit.errors import NO_ANSWER, OUTCOME_UNKNOWN, OutcomeUnknown, ToolError


class StillClock(waiting.Clock):
    """A clock that moves by sleeping only."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds


def test_it_returns_the_first_true_value() -> None:
    clock = StillClock()
    answers = iter([None, 0, "", "there", "never asked"])
    assert waiting.until(lambda: next(answers), seconds=10, interval_seconds=1, clock=clock) == "there"
    assert clock.time == 103


def test_it_gives_up_at_the_deadline_and_asks_once_more_there() -> None:
    clock = StillClock()
    asked: list[float] = []
    assert waiting.until(lambda: asked.append(clock.time), seconds=2.5, interval_seconds=1, clock=clock) is None
    assert asked == [100, 101, 102, 102.5]


def test_without_time_it_asks_once() -> None:
    asked: list[int] = []
    assert waiting.until(lambda: asked.append(1), seconds=0, clock=StillClock()) is None
    assert asked == [1]


def test_no_answer_is_not_yet() -> None:
    answers = iter([ToolError(NO_ANSWER, "starting"), "there"])

    def ask() -> object:
        answer = next(answers)
        if isinstance(answer, ToolError):
            raise answer
        return answer

    assert waiting.until(ask, seconds=5, clock=StillClock()) == "there"


def test_what_may_have_taken_effect_is_not_tried_again() -> None:
    sent: list[int] = []

    def send() -> None:
        sent.append(1)
        raise OutcomeUnknown(OUTCOME_UNKNOWN, "POST http://x: no answer; it may have taken effect")

    with pytest.raises(OutcomeUnknown):
        waiting.until(send, seconds=5, clock=StillClock())
    with pytest.raises(OutcomeUnknown):
        waiting.until_answer(send, wanted=None, seconds=5, clock=StillClock())
    assert sent == [1, 1]


def test_why_not_is_what_the_last_call_says() -> None:
    def call(*answers: object) -> tuple[object, str]:
        given = iter(answers)

        def ask() -> object:
            answer = next(given)
            if isinstance(answer, ToolError):
                raise answer
            return answer

        return waiting.until_or_why(ask, seconds=1, clock=StillClock())

    problem = ToolError(NO_ANSWER, "HTTP 500")
    assert call(None, problem) == (None, "HTTP 500")
    assert call(problem, None) == (None, "")
    assert call(problem, "there") == ("there", "")


@pytest.mark.parametrize(("last", "reported"), [(True, True), (False, False), (None, None), ("gone", None)])
def test_an_answer_that_is_not_wanted_is_distinguished_from_none(last: Any, reported: Any) -> None:
    clock = StillClock()
    answers = iter([False, True])

    def check() -> Any:
        answer = next(answers, last)
        if answer == "gone":
            raise ToolError(NO_ANSWER, "not yet")
        return answer

    assert waiting.until_answer(check, wanted="yes", seconds=5, clock=clock) is reported
    assert clock.time == 105


def test_the_wanted_answer_ends_the_waiting_even_where_it_is_no() -> None:
    clock = StillClock()
    answers = iter([True, None, False, True])
    assert waiting.until_answer(lambda: next(answers), wanted=False, seconds=60, clock=clock) is False
    assert clock.time == 102
