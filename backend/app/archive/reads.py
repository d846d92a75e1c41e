"""Who reads and exports events, as events of the backend's own trail. No answer waits for a read to be recorded.

What somebody reads for the first time in a while is an event at once; what they read of it again is one more, with the
sum, when that while is over. So a page that is opened again and again is two events in a while, also one that shows
these events.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any
from uuid import uuid4

from app.archive.trail import EVENTS, by_of, event_about
from app.auth.keys import ApiKey
from app.events.model import Status, timestamp_of
from app.store.base import Row, StoreUnavailable
from app.store.queries import Filter
from app.store.runs import RunFilter
from app.store.store import Store

RUNS = "runs"
MOST_OBJECTS = 1000
"""How many different things that one person reads in a while are recorded by name."""
_OTHERS = "others"
_MOST_WAITING = 10_000
_BATCH = 500
_STORE_SECONDS = 1.0

log = logging.getLogger(__name__)


@dataclass
class _Sum:
    """Reads of one thing: how often, of how many events or runs, and of which time."""

    requests: int = 0
    items: int = 0
    since: float = inf
    until: float = -inf

    def add(self, items: int, since: int | None, until: int | None) -> None:
        self.requests += 1
        self.items += items
        self.since = min(self.since, -inf if since is None else since)
        self.until = max(self.until, inf if until is None else until)

    def facts(self, wanted: dict[str, Any]) -> dict[str, Any]:
        times = {"since": self.since, "until": self.until}
        bounds = {name: timestamp_of(int(at)) for name, at in times.items() if abs(at) != inf}
        return {"requests": self.requests, "items": self.items, "filter": wanted | bounds}


@dataclass
class _Reader:
    """What somebody has read in a while that ends at `ends`.

    Attributes:
        again: by what was recorded already, what came after that.
        others: how many reads of further things there were.
    """

    ends: float
    again: dict[tuple[str, tuple[tuple[str, Any], ...]], _Sum] = field(default_factory=dict)
    others: int = 0


class Exporting:
    """An export that has begun.

    Attributes:
        items: how many events were given out, if all that was sent arrived.
    """

    def __init__(self, note: Callable[[Row], None], resource: str, by: str, facts: dict[str, Any]) -> None:
        self._note = note
        self._resource = resource
        self._by = by
        self._facts = {"export": uuid4().hex} | facts
        self.items = 0

    def begun(self) -> Row:
        """Return the event that says that it begins."""
        return event_about("exporting", self._resource, self._by, status="pending", **self._facts)

    def end(self, ended: str) -> None:
        """Note how it ended: `complete`, `broken off` or `failed`."""
        status: Status = "success" if ended == "complete" else "error"
        facts = {**self._facts, "items": self.items, "ended": ended}
        self._note(event_about("exported", self._resource, self._by, status=status, **facts))


class Reads:
    """Records who reads and exports events.

    Args:
        seconds: how long a while is; 0: reads are not recorded, exports are.
    """

    def __init__(self, store: Store, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self._readers: dict[str, _Reader] = {}
        self._waiting: deque[Row] = deque()
        self._failed = False

    def note(self, key: ApiKey | None, wanted: Filter | RunFilter, items: int) -> None:
        """Note that somebody is given so many of the events or runs that a filter selects."""
        if not items or not self._seconds:
            return
        by, now = by_of(key), time.monotonic()
        reader = self._readers.get(by)
        if reader is None or reader.ends <= now:
            self._end(by)
            reader = self._readers[by] = _Reader(now + self._seconds)
        resource, facts = _described(wanted)
        what = (resource, tuple(facts.items()))
        again = reader.again.get(what)
        if again is not None:
            again.add(items, wanted.since, wanted.until)
        elif len(reader.again) < MOST_OBJECTS and len(self._waiting) < _MOST_WAITING:
            reader.again[what] = _Sum()
            first = _Sum()
            first.add(items, wanted.since, wanted.until)
            self._waiting.append(event_about("read", resource, by, **first.facts(facts)))
        else:
            reader.others += 1

    async def begin(self, key: ApiKey | None, wanted: Filter, **facts: Any) -> Exporting:
        """Record that an export begins, before anything of it is given out.

        Args:
            facts: what else is to be recorded of it.

        Raises:
            StoreUnavailable: that can't be recorded.
        """
        resource, chosen = _described(wanted)
        chosen |= {
            name: timestamp_of(at) for name, at in (("since", wanted.since), ("until", wanted.until)) if at is not None
        }
        export = Exporting(self._waiting.append, resource, by_of(key), {**facts, "filter": chosen})
        await self._store.append([export.begun()])
        return export

    async def run(self) -> None:
        """Store what is noted, until cancelled; then the sums, too."""
        try:
            while True:
                await asyncio.sleep(_STORE_SECONDS)
                now = time.monotonic()
                for by in [by for by, reader in self._readers.items() if reader.ends <= now]:
                    self._end(by)
                await self._flush()
        finally:
            for by in list(self._readers):
                self._end(by)
            await self._flush()

    def _end(self, by: str) -> None:
        reader = self._readers.pop(by, None)
        if reader is None:
            return
        for (resource, facts), again in reader.again.items():
            if again.requests:
                self._waiting.append(event_about("read", resource, by, **again.facts(dict(facts))))
        if reader.others:
            self._waiting.append(event_about("read", _OTHERS, by, requests=reader.others))

    async def _flush(self) -> None:
        while self._waiting:
            rows = [self._waiting[number] for number in range(min(_BATCH, len(self._waiting)))]
            try:
                await self._store.append(rows)  # the same again is safe: each has an id
            except Exception as error:
                if not self._failed:
                    reason = error.reason if isinstance(error, StoreUnavailable) else type(error).__name__
                    log.error("who reads can't be recorded; it is tried again", extra={"reason": reason})
                self._failed = True
                return
            self._failed = False
            for _ in rows:
                self._waiting.popleft()


def _described(wanted: Filter | RunFilter) -> tuple[str, dict[str, Any]]:
    """Return the resource that a filter is about, and all that it says but the times."""
    facts = {
        name: value for name, value in vars(wanted).items() if value is not None and name not in ("since", "until")
    }
    if isinstance(wanted, RunFilter):
        return RUNS, facts
    if wanted.trace_id is not None:
        return f"trace/{wanted.trace_id}", facts
    return EVENTS if wanted.agent_instance_id is None else f"agent/{wanted.agent_instance_id}", facts
