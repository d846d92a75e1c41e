"""Which events of a trace are missing, as far as their journals' sequence numbers show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.store.queries import StreamSummary


@dataclass(frozen=True)
class StreamGaps:
    """What is known of one stream.

    The end of a stream can't be known from its sequence numbers: events after `last` may be missing too.

    Attributes:
        stream: its name.
        expired_through: up to here retention deleted events; what is missing there is gone by design. 0: nothing.
        last: highest sequence number that is stored.
        received: how many sequence numbers beyond `expired_through` are stored.
        missing: ranges of sequence numbers, both ends included, that never arrived; may be cut short.
        missing_count: how many sequence numbers never arrived in all.
        forked: sequence numbers that several events claim; may be cut short.
        broken: sequence numbers whose lines don't hold the hash of the line before; may be cut short.
    """

    stream: str
    expired_through: int
    last: int
    received: int
    missing: tuple[tuple[int, int], ...]
    missing_count: int
    forked: tuple[int, ...]
    broken: tuple[int, ...]


def stream_gaps(
    summary: StreamSummary, holes: Sequence[tuple[int, int]], forked: Sequence[int], broken: Sequence[int]
) -> StreamGaps:
    """Return what is missing of a stream, whose sequence numbers start at 1.

    Args:
        holes: ranges beyond `expired_through` that lie between stored sequence numbers, in order.
        forked: sequence numbers that several events claim.
        broken: sequence numbers whose lines don't hold the hash of the line before.
    """
    start = summary.expired_through + 1
    missing = list(holes)
    if summary.first is not None and summary.first > start:
        missing.insert(0, (start, summary.first - 1))
    missing_count = max(0, summary.last - summary.expired_through) - summary.received
    return StreamGaps(
        summary.stream,
        summary.expired_through,
        summary.last,
        summary.received,
        tuple(missing),
        missing_count,
        tuple(forked),
        tuple(broken),
    )
