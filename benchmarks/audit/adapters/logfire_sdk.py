# mypy: disable-error-code="import-not-found"
"""Logfire: OpenTelemetry with redaction, and a disk for what can't be delivered while the process lives."""

from __future__ import annotations

import logfire

from audit.adapters import Session
from audit.event import attributes


def logs(url: str, folder: str) -> Session:
    """One log for each event."""
    logfire.configure(
        token="pylf_v1_local_0123456789",  # noqa: S106  no secret
        console=False,
        data_dir=folder,
        inspect_arguments=False,
        advanced=logfire.AdvancedOptions(base_url=url),
    )
    return Session(lambda number: logfire.info("api_call", **attributes(number)), logfire.force_flush)
