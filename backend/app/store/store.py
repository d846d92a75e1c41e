"""The store as the rest of the backend sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from app.settings import Settings
from app.store.base import AppendResult, Database, ReadConnection, Row, StoreUnavailable, WriteConnection
from app.store.location import parse_location
from app.store.opening import open_database
from app.store.readers import Readers
from app.store.schema import prepare
from app.store.writer import Observer, Writer

T = TypeVar("T")

_LEAST_FREE_BYTES = 16 * 1024 * 1024


class Deadlines:
    """Fails futures that are not done in time. All have the same time: one timer, for the oldest, is enough.

    Args:
        seconds: how long each may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: deque[tuple[float, asyncio.Future[AppendResult]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, future: asyncio.Future[AppendResult]) -> None:
        """Have a future raise StoreUnavailable when its time is over."""
        while self._waiting and self._waiting[0][1].done():
            self._waiting.popleft()
        loop = future.get_loop()
        self._waiting.append((loop.time() + self._seconds, future))
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= loop.time()):
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(StoreUnavailable("storing takes too long; the events may still get stored", 5))
        self._timer = loop.call_at(self._waiting[0][0], self._look, loop) if self._waiting else None


class Store:
    """Writes events, durably, and answers questions about them.

    Args:
        settings: where, and how much at once.
        observer: hears what the writer does.
    """

    def __init__(self, settings: Settings, observer: Observer) -> None:
        self.location = parse_location(settings.database_url)
        self._database: Database = open_database(self.location, settings.query_timeout_seconds)
        self._timeout = settings.store_timeout_seconds
        self._migrate = settings.migrate_on_start
        self._writer = Writer(
            self._database.connect_writer,
            observer,
            max_events=settings.max_queued_events,
            max_bytes=settings.max_queued_bytes,
        )
        self._deadlines = Deadlines(settings.store_timeout_seconds)
        self._readers = Readers(self._database.connect_reader, settings.readers, "reader")
        # Apart, so that slow queries never keep a caller from being recognised.
        self._key_reader = Readers(self._database.connect_reader, 1, "keys")

    def start(self) -> bool:
        """Prepare the schema and start the writer; return whether the schema was changed.

        Raises:
            StoreUnavailable, WrongSchema: the store is unavailable.
        """
        changed = prepare(self._database, migrate=self._migrate)
        self._writer.start()
        return changed

    def stop(self) -> None:
        """Store all that was taken, then let go of the database."""
        self._writer.stop()
        self._readers.stop()
        self._key_reader.stop()

    async def append(self, rows: Sequence[Row]) -> AppendResult:
        """Store the batch `rows`, whole or not at all, and return what became of it once that is durable.

        Raises:
            StoreUnavailable: it was not stored, or nobody knows; sending it again is safe.
        """
        stored = self._writer.append(rows)
        self._deadlines.watch(stored)
        return await stored

    async def read(self, function: Callable[[ReadConnection], T]) -> T:
        """Return what `function` reads.

        Raises:
            QueryTimeout: it looked at too many events.
            StoreUnavailable: the database did not answer.
        """
        return await self._readers.run(function)

    async def read_keys(self, function: Callable[[ReadConnection], T]) -> T:
        """Do as `read`, for what must not wait behind queries."""
        return await self._key_reader.run(function)

    async def purge(self, before: int, limit: int) -> int:
        """Delete the oldest events received before the time `before` (µs), at most `limit`; return how many.

        Raises:
            StoreUnavailable: the database did not answer.
        """

        def purge(connection: WriteConnection) -> int:
            connection.begin()
            deleted = connection.purge(before, limit)
            connection.commit()
            return deleted

        return int(await self._writer.call(purge))

    async def write(self, function: Callable[[WriteConnection], T]) -> T:
        """Return what `function` returns, called with the connection that stores. It ends its transactions itself.

        Raises:
            StoreUnavailable: it takes too long, or the database did not answer; it may still be done.
        """
        try:
            async with asyncio.timeout(self._timeout):
                result: T = await self._writer.call(function)
                return result
        except TimeoutError:
            raise StoreUnavailable("storing takes too long; it may still be done", 5) from None

    async def check(self) -> None:
        """Do nothing if events can be stored now.

        Raises:
            StoreUnavailable: they can't; the reason says why.
        """
        free = self._database.free_bytes()
        if free is not None and free < _LEAST_FREE_BYTES:
            raise StoreUnavailable("the disk is full", 30)
        try:
            async with asyncio.timeout(self._timeout):
                await self._writer.call(_probe)
        except TimeoutError:
            raise StoreUnavailable("the store does not answer", 5) from None
        failure = self._writer.failure
        if failure is not None:
            raise StoreUnavailable(failure.reason, failure.retry_after)

    def encode_id(self, event_id: bytes) -> object:
        """Return an event id as a query parameter."""
        return self._database.encode_id(event_id)

    @property
    def waiting_events(self) -> int:
        """How many events are waiting for their commit."""
        return self._writer.waiting_events


def _probe(connection: WriteConnection) -> None:
    connection.begin()
    connection.rollback()
