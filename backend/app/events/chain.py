"""Whether the lines of a journal follow one another: each holds the hash of the line before it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from app.store.base import Row

Place = tuple[str, int]
"""A stream and a sequence number."""

_PREV = slice(-66, -2)
"""Where the body of a line with a line before it has the hash of that one: its last member is `prev`."""


class Link(NamedTuple):
    """What ties a line to its neighbours.

    Attributes:
        prev: the hash that it has for the line before; means nothing on the first line.
        line_hash: its own; None: it came before hashes were stored.
    """

    stream: str
    seq: int
    prev: str
    line_hash: str | None


def links_of(rows: Iterable[Row]) -> list[Link]:
    """Return the links of those rows that came as lines of a journal."""
    return [Link(row.stream, row.seq, row.body[_PREV], row.line_hash) for row in rows if row.stream and row.seq]


def places_beside(links: Sequence[Link]) -> list[Place]:
    """Return the places just before and just after these lines that none of them has."""
    own = {(link.stream, link.seq) for link in links}
    beside = {place for stream, seq in own for place in ((stream, seq - 1), (stream, seq + 1))}
    return sorted(place for place in beside - own if place[1] > 0)


def broken_links(new: Sequence[Link], stored: Sequence[Link]) -> list[Place]:
    """Return the places of lines whose `prev` is not the hash of the line before. What has not come says nothing.

    Args:
        new: lines that are being stored.
        stored: the lines that are stored at the places beside them.
    """
    hashes: defaultdict[Place, set[str | None]] = defaultdict(set)
    for link in (*new, *stored):
        hashes[link.stream, link.seq].add(link.line_hash)
    own = {(link.stream, link.seq) for link in new}
    broken = []
    for link in (*new, *stored):
        before = (link.stream, link.seq - 1)
        known = hashes.get(before)
        # Of two lines that are stored already nothing has changed.
        if known and None not in known and link.prev not in known and ((link.stream, link.seq) in own or before in own):
            broken.append((link.stream, link.seq))
    return broken
