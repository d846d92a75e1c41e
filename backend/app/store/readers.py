"""The threads that answer queries, each with a connection of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from app.store.base import ReadConnection, StoreUnavailable

T = TypeVar("T")


class Readers:
    """Answers queries on `count` threads.

    Args:
        connect: opens a connection; called on the thread that is to use it, when first needed and after a failure.
    """

    def __init__(self, connect: Callable[[], ReadConnection], count: int, name: str) -> None:
        self._connect = connect
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._local = threading.local()
        self._all: set[ReadConnection] = set()

    async def run(self, function: Callable[[ReadConnection], T]) -> T:
        """Return what `function` makes of a connection.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, function)

    def stop(self) -> None:
        """Wait for the queries under way, then close all connections."""
        self._pool.shutdown(cancel_futures=True)
        for connection in self._all:
            connection.close()

    def _run(self, function: Callable[[ReadConnection], T]) -> T:
        connection: ReadConnection | None = getattr(self._local, "connection", None)
        fresh = connection is None
        if connection is None:
            connection = self._open()
        try:
            return function(connection)
        except StoreUnavailable:
            self._forget(connection)
            if fresh:
                raise
        # The connection may have died long ago, with a restart of the server; a new one shows it.
        connection = self._open()
        try:
            return function(connection)
        except StoreUnavailable:
            self._forget(connection)
            raise

    def _open(self) -> ReadConnection:
        connection = self._connect()
        self._local.connection = connection
        self._all.add(connection)
        return connection

    def _forget(self, connection: ReadConnection) -> None:
        self._local.connection = None
        self._all.discard(connection)
        connection.close()
