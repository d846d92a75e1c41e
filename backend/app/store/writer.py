"""The one thread that writes, and how it groups what waits into transactions."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from app.store.base import AppendResult, Contention, Row, StoreUnavailable, WriteConnection
from app.store.groups import Committed, commit_group

log = logging.getLogger(__name__)

GROUP_EVENTS = 4000
"""No further batch joins a group that has so many events."""

_RETRIES = 5
_PAUSE_AFTER_FAILURE = 0.5
_FAILURE_SECONDS = 10.0


class Observer(Protocol):
    """Who wants to know what the writer does. Called on the writer's thread."""

    def committed(self, group: Committed, seconds: float) -> None:
        """A group became durable after `seconds`."""

    def failed(self, reason: str) -> None:
        """A group could not be stored."""


@dataclass(frozen=True)
class _Append:
    """A batch, and who waits for it."""

    rows: Sequence[Row]
    size: int
    future: asyncio.Future[AppendResult]
    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True)
class _Call:
    """Something else that needs the connection, and who waits for it."""

    function: Callable[[WriteConnection], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


_Job = _Append | _Call | None


class Writer:
    """Stores batches in the order in which they come, many in one transaction.

    While one group is being committed the next one gathers, so that the cost of a commit is shared by all who wait,
    and nobody waits for a timer. A batch is acknowledged after the commit that holds it, or refused.

    Args:
        connect: opens the connection; called on the writer's thread, again after a failure.
        max_events, max_bytes: how much may wait.
    """

    def __init__(
        self, connect: Callable[[], WriteConnection], observer: Observer, *, max_events: int, max_bytes: int
    ) -> None:
        self._connect = connect
        self._observer = observer
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._pending: list[_Job] = []
        self._jobs: SimpleQueue[list[_Job]] = SimpleQueue()
        self._connection: WriteConnection | None = None
        self._failure: StoreUnavailable | None = None
        self._failed_at = 0.0
        # Each counter has one thread that changes it; what waits is the difference.
        self._events_in = self._events_out = self._bytes_in = self._bytes_out = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Store all that waits, close the connection and end the thread."""
        self._stopping = True
        self._pending.append(None)
        self._hand_over()
        self._thread.join()

    @property
    def waiting_events(self) -> int:
        """How many events are waiting for their commit."""
        return self._events_in - self._events_out

    @property
    def failure(self) -> StoreUnavailable | None:
        """Why the last group could not be stored; None when it was, or when that is too long ago to say anything."""
        return self._failure if time.monotonic() - self._failed_at < _FAILURE_SECONDS else None

    def append(self, rows: Sequence[Row]) -> asyncio.Future[AppendResult]:
        """Return a future for what becomes of the batch `rows`. To be called on the event loop's thread.

        The future raises StoreUnavailable when the batch was not stored, or nobody knows.

        Raises:
            StoreUnavailable: too much is waiting already, or the writer has stopped; nothing was taken.
        """
        self._require_running()
        size = sum(len(row.body) for row in rows)
        waiting = self._bytes_in - self._bytes_out
        if waiting and (self.waiting_events + len(rows) > self._max_events or waiting + size > self._max_bytes):
            raise StoreUnavailable("too many events are waiting to be stored")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[AppendResult] = loop.create_future()
        self._events_in += len(rows)
        self._bytes_in += size
        self._submit(_Append(rows, size, future, loop), loop)
        return future

    def call(self, function: Callable[[WriteConnection], Any]) -> asyncio.Future[Any]:
        """Return a future for what `function` returns, called on the writer's thread with its connection.

        Raises:
            StoreUnavailable: the writer has stopped.
        """
        self._require_running()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._submit(_Call(function, future, loop), loop)
        return future

    def _submit(self, job: _Job, loop: asyncio.AbstractEventLoop) -> None:
        # What arrives in one turn of the event loop goes over in one piece: it wakes the writer once, for one commit.
        self._pending.append(job)
        if len(self._pending) == 1:
            loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        jobs, self._pending = self._pending, []
        self._jobs.put(jobs)

    def _require_running(self) -> None:
        if self._stopping or not self._thread.is_alive():
            raise StoreUnavailable("the backend is shutting down", 5)

    def _run(self) -> None:
        waiting: deque[_Job] = deque()
        while True:
            self._take(waiting)
            group: list[_Append] = []
            events = 0
            while waiting and isinstance(job := waiting[0], _Append) and events < GROUP_EVENTS:
                group.append(job)
                events += len(job.rows)
                waiting.popleft()
            if group:
                self._store(group)
                continue
            other = waiting.popleft()
            if isinstance(other, _Call):
                self._answer(other)
            elif other is None:
                self._disconnect()
                return

    def _take(self, waiting: deque[_Job]) -> None:
        """Move all that was handed over to `waiting`; if that is nothing at all, wait for something."""
        if not waiting:
            waiting.extend(self._jobs.get())
        with suppress(Empty):
            while True:
                waiting.extend(self._jobs.get_nowait())

    def _store(self, group: Sequence[_Append]) -> None:
        if self._failure is not None and time.monotonic() - self._failed_at < _PAUSE_AFTER_FAILURE:
            self._refuse(group, self._failure)  # at once, rather than make each group wait for a time-out
            return
        started = time.perf_counter()
        try:
            committed = self._commit([job.rows for job in group])
        except StoreUnavailable as unavailable:
            if self._failure is None:
                log.error("events can't be stored", extra={"reason": unavailable.reason})
            self._failure = unavailable
            self._failed_at = time.monotonic()
            self._observer.failed(unavailable.reason)
            self._refuse(group, unavailable)
            return
        except Exception as error:
            self._disconnect()
            if len(group) > 1:  # one batch that the database refuses must not take the others with it
                for job in group:
                    self._store([job])
                return
            log.error("a batch can't be stored", extra={"error": type(error).__name__})
            self._observer.failed(type(error).__name__)
            self._reply(group, [error])
            return
        if self._failure is not None:
            log.info("events are stored again")
            self._failure = None
        self._observer.committed(committed, time.perf_counter() - started)
        self._reply(group, committed.outcomes)

    def _refuse(self, group: Sequence[_Append], why: StoreUnavailable) -> None:
        # An exception for each: one that is raised again and again collects tracebacks.
        self._reply(group, [StoreUnavailable(why.reason, why.retry_after) for _ in group])

    def _commit(self, batches: Sequence[Sequence[Row]]) -> Committed:
        for _ in range(_RETRIES):
            fresh = self._connection is None
            try:
                return commit_group(self._connected(), batches)
            except Contention:
                self._rollback()
            except StoreUnavailable:
                self._disconnect()
                if fresh:
                    raise
                # The connection may have died long ago, with a restart of the server. Storing again is safe: an event
                # that did get stored is recognised by its id.
        raise StoreUnavailable("other processes keep storing the same events")

    def _answer(self, job: _Call) -> None:
        result: Any
        try:
            result = job.function(self._connected())
        except Exception as error:
            self._disconnect()
            result = error
        job.loop.call_soon_threadsafe(_settle, [(job.future, result)])

    def _reply(self, group: Sequence[_Append], results: Sequence[AppendResult | Exception]) -> None:
        for job in group:
            self._events_out += len(job.rows)
            self._bytes_out += job.size
        loops = {job.loop for job in group}
        for loop in loops:
            answers = [(job.future, result) for job, result in zip(group, results, strict=True) if job.loop is loop]
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, answers)

    def _connected(self) -> WriteConnection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _rollback(self) -> None:
        if self._connection is not None:
            self._connection.rollback()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.rollback()
            self._connection.close()
            self._connection = None


def _settle(answers: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    """Give every future its result. Runs on the event loop; who gave up waiting is left alone."""
    for future, result in answers:
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
