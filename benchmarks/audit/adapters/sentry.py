# mypy: disable-error-code="import-not-found"
"""Sentry: structured logs, and messages. Integrations with other libraries are off, which makes it faster."""

from __future__ import annotations

import sentry_sdk

from audit.adapters import Session
from audit.event import attributes


def _start(url: str) -> None:
    dsn = url.replace("://", "://key@") + "/1"
    sentry_sdk.init(dsn, enable_logs=True, auto_enabling_integrations=False)


def logs(url: str, _folder: str) -> Session:
    """One structured log for each event."""
    _start(url)
    return Session(
        lambda number: sentry_sdk.logger.info("api_call", attributes=attributes(number)), lambda: sentry_sdk.flush(30)
    )


def messages(url: str, _folder: str) -> Session:
    """One message for each event."""
    _start(url)
    return Session(
        lambda number: sentry_sdk.capture_message("api_call", contexts={"audit": attributes(number)}),
        lambda: sentry_sdk.flush(30),
    )
