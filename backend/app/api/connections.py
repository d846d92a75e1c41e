"""Bounds on what a client may keep a connection waiting for. uvicorn has none for these."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.settings import Settings

_STATE = "connection_settings"
"""Where the lifespan's state, which uvicorn hands to each connection, holds the settings."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection, which ends when its client leaves it hanging.

    The client has to send the head of a request in time, and to read on in an answer. When the server stops, it has to
    be done in time altogether.
    """

    _head: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    @property
    def _settings(self) -> Settings:
        settings: Settings = self.app_state[_STATE]
        return settings

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a head from its first byte on, however little at a time it comes."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting_for_head()
        elif self._head is None:
            self._await_head()

    def pause_writing(self) -> None:
        """Wait for the client to read on."""
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        """Stop waiting: the client has read on."""
        super().resume_writing()
        self._stop_waiting_for_reading()

    def shutdown(self) -> None:
        """Let the client have what it asked for, for a while; the server is stopping."""
        super().shutdown()
        self.loop.call_later(self._settings.stop_timeout_seconds, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting for anything."""
        super().connection_lost(exc)
        self._stop_waiting_for_head()
        self._stop_waiting_for_reading()

    def _await_head(self) -> None:
        self._head = self.loop.call_later(self._settings.body_timeout_seconds, self.transport.abort)

    def _await_reading(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._reading = self.loop.call_later(self._settings.body_timeout_seconds, self._check_reading, left)

    def _check_reading(self, left: int) -> None:
        if self.transport.get_write_buffer_size() < left:
            self._await_reading()
        else:
            self.transport.abort()

    def _stop_waiting_for_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _stop_waiting_for_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None


def bound_connections(scope: Scope, receive: Receive, settings: Settings) -> bool:
    """Have uvicorn use `BoundedProtocol`; return whether it does.

    Args:
        scope, receive: of the lifespan. `receive` is a method of an object that has uvicorn's configuration; an
            application that `uvicorn app.main:app` starts has no other way to that.
    """
    config = getattr(getattr(receive, "__self__", None), "config", None)
    if not isinstance(config, Config) or config.http_protocol_class is not HttpToolsProtocol:
        return False
    scope["state"][_STATE] = settings
    config.http_protocol_class = BoundedProtocol
    return True
