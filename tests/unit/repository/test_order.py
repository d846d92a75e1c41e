"""Each of several workers begins with long tests, and none is lost on the way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from support.order import begin_with


def shares(tests: list[str], workers: int) -> list[list[str]]:
    """The pieces that pytest-xdist hands out at first (`WorkStealingScheduling.check_schedule`)."""
    left, found = list(tests), []
    for worker in range(workers):
        size = len(left) // (workers - worker)
        found.append(left[:size])
        del left[:size]
    return found


def test_each_worker_begins_with_its_part_of_the_long_ones() -> None:
    ordered = begin_with(["a", "b", "c"], list("123456789"), 2)

    assert shares(ordered, 2) == [["a", "c", "1", "2", "3", "4"], ["b", "5", "6", "7", "8", "9"]]


@given(st.integers(0, 20), st.integers(0, 200), st.integers(1, 16))
def test_whatever_there_is_the_long_ones_are_spread_and_the_others_keep_their_order(
    long: int, short: int, workers: int
) -> None:
    first, rest = [f"long{number}" for number in range(long)], [f"short{number}" for number in range(short)]

    ordered = begin_with(first, rest, workers)

    assert sorted(ordered) == sorted(first + rest)
    assert [each for each in ordered if each in rest] == rest
    if short >= workers * long:
        for share in shares(ordered, workers):
            mine = [each for each in share if each in first]
            assert share[: len(mine)] == mine and long // workers <= len(mine) <= long // workers + 1
