"""AIMgentix: a write-through journal, delivered by a thread."""

from __future__ import annotations

from aimgentix import ActionType, ActorType, AuditClient, AuditEvent, EventStatus
from audit.adapters import Session
from audit.event import AGENT, TRACE, extra, resource


def delivering(url: str, folder: str) -> Session:
    """Journal in `folder`, deliver to `url`."""
    return _session(AuditClient(api_url=url, journal_dir=folder))


def journal_only(_url: str, folder: str) -> Session:
    """Journal in `folder`; there is no backend."""
    return _session(AuditClient(journal_dir=folder))


def _session(client: AuditClient) -> Session:
    def capture(number: int) -> None:
        client.capture(
            AuditEvent(
                AGENT,
                TRACE,
                ActorType.AGENT,
                ActionType.API_CALL,
                resource(number),
                EventStatus.SUCCESS,
                12.5,
                extra(number),
            )
        )

    return Session(capture, lambda: client.flush(30))
