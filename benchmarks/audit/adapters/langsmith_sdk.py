# mypy: disable-error-code="import-not-found"
"""LangSmith: a priority queue in memory and threads that grow in number."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from langsmith import Client

from audit.adapters import Session
from audit.event import attributes


def runs(url: str, _folder: str) -> Session:
    """One finished run for each event; with `trace_id` and `dotted_order`, which is what lets it be batched."""
    client = Client(api_url=url, api_key="lsv2_local")

    def capture(number: int) -> None:
        now = datetime.now(UTC)
        run = uuid.uuid4()
        client.create_run(
            "api_call",
            attributes(number),
            "tool",
            id=run,
            trace_id=run,
            dotted_order=f"{now:%Y%m%dT%H%M%S%fZ}{run}",
            start_time=now,
            end_time=now,
        )

    return Session(capture, client.flush)
