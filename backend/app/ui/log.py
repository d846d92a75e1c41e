"""What the page of the transparency log shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.log.entries import Entry, parse_entry
from app.log.faults import Fault
from app.log.note import signatures_of
from app.store.base import ReadConnection
from app.store.log import latest, read_entries, read_seal
from app.store.sequencer import Sequencer

NEWEST = 20


@dataclass(frozen=True)
class WitnessView:
    """A witness of the policy.

    Attributes:
        signed: whether the newest checkpoint has its signature.
    """

    name: str
    url: str
    signed: bool


def log_view(connection: ReadConnection, sequencer: Sequencer) -> dict[str, Any]:
    """Return the newest checkpoint, who signed it, and the newest entries."""
    published = latest(connection)
    witnessed = latest(connection, witnessed=True)
    policy = sequencer.policy
    witnesses = [] if policy is None else policy.witnesses
    note = None if published is None else published.note
    signed = signatures_of(note, [witness.key for witness in witnesses]) if note else {}
    size = 0 if published is None else published.checkpoint.size
    entries: list[tuple[int, Entry | None]] = []
    for index, data in reversed(read_entries(connection, max(0, size - NEWEST), NEWEST)):
        try:
            entries.append((index, parse_entry(data)))
        except Fault:
            entries.append((index, None))
    return {
        "origin": sequencer.guard.origin,
        "halted": sequencer.halted,
        "note": "" if note is None else str(note),
        "size": size,
        "root": "" if published is None else published.checkpoint.root.hex(),
        "witnessed": published is not None and published.witnessed,
        "witnessed_size": None if witnessed is None else witnessed.checkpoint.size,
        "witnesses": [WitnessView(one.name, one.url, one.key in signed) for one in witnesses],
        "entries": entries,
        "seal": read_seal(connection),
    }
