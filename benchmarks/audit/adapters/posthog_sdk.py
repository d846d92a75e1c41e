# mypy: disable-error-code="import-not-found"
"""PostHog: a queue in memory and a thread."""

from __future__ import annotations

from posthog import Posthog

from audit.adapters import Session
from audit.event import AGENT, attributes


def events(url: str, _folder: str) -> Session:
    """One event each."""
    client = Posthog("phc_local", host=url)
    return Session(
        lambda number: client.capture("api_call", distinct_id=AGENT, properties=attributes(number)), client.flush
    )
