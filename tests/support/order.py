"""The order of tests for several workers: each begins with long ones, so that nobody waits for one at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def begin_with(first: Sequence[T], rest: Sequence[T], workers: int) -> list[T]:
    """Let each worker's share, as `--dist worksteal` cuts the tests into equal pieces, begin with some of the first."""
    left, later = list(rest), [list(first[worker::workers]) for worker in range(workers)]
    ordered: list[T] = []
    total = len(first) + len(rest)
    for worker, own in enumerate(later):
        size = (total - len(ordered)) // (workers - worker)
        others = max(0, size - len(own))
        ordered += own + left[:others]
        del left[:others]
    return ordered + left
