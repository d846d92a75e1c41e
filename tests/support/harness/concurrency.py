"""Concurrency groups of jobs: one runs, the others wait or are cancelled, as their `queue` says.

https://docs.github.com/en/actions/how-tos/write-workflows/choose-when-workflows-run/control-workflow-concurrency
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from support.harness.model import Unsupported

SINGLE, MAX = "single", "max"
LONGEST_QUEUE = 100  # with `queue: max`


@dataclass
class _Waiting:
    """A job that waits for its turn."""

    cancelled: bool = False


class ConcurrencyGroups:
    """The groups of one repository; runs in several threads may share it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy: set[str] = set()
        self._queues: dict[str, list[_Waiting]] = {}
        self._arrived: Counter[str] = Counter()

    @contextmanager
    def turn(self, group: str, settings: Mapping[str, Any]) -> Iterator[bool]:
        """Wait for the group's turn and hold it for the time of the block; False where the job was cancelled instead.

        Arguments:
            group: the evaluated name; GitHub compares it without case.
            settings: the job's `concurrency`.

        Raises:
            Unsupported: the job would cancel another one that runs.
        """
        if settings.get("cancel-in-progress"):
            raise Unsupported("cancel-in-progress: true of a job")
        name = group.lower()
        held = self._enter(name, settings.get("queue", SINGLE))
        try:
            yield held
        finally:
            if held:
                with self._changed:
                    self._busy.discard(name)
                    self._changed.notify_all()

    def arrived(self, group: str) -> int:
        """How many jobs have asked for the group's turn so far, whatever came of it."""
        with self._changed:
            return self._arrived[group.lower()]

    def _enter(self, name: str, queue: str) -> bool:
        with self._changed:
            self._arrived[name] += 1
            others = self._queues.setdefault(name, [])
            if queue == MAX and len(others) >= LONGEST_QUEUE:
                return False
            if queue == SINGLE:
                for other in others:
                    other.cancelled = True
                others.clear()
                self._changed.notify_all()
            own = _Waiting()
            others.append(own)
            self._changed.wait_for(lambda: own.cancelled or (name not in self._busy and others[0] is own))
            if own.cancelled:
                return False
            others.remove(own)
            self._busy.add(name)
            return True
