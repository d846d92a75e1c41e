"""Whether the lines of a journal follow one another: each holds the hash of the line before it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from app.store.base import Row

Place = tuple[str, int]
"""A stream and a sequence number."""

_PREV = slice(-66, -2)
"""Where the body of a line with a line before it has the hash of that one: its last member is `prev`."""


class Link(NamedTuple):
    """What ties a stored line to its neighbours.

    Attributes:
        prev: the hash that it has for the line before; means nothing on the first line.
        line_hash: its own; None: it came before hashes were stored.
    """

    stream: str
    seq: int
    prev: str
    line_hash: str | None


def broken_links(new: Iterable[Row], links_at: Callable[[Sequence[Place]], list[Link]]) -> list[Place]:
    """Return the places of lines that, now that `new` is stored, don't follow the line before them.

    A line before that has not come says nothing. Nearly all lines come in runs, each after the one that it follows; the
    store is asked for the neighbours of each run, and once more about what does not fit.

    Args:
        links_at: returns the links of all lines that are stored at some places.
    """
    suspects: set[tuple[Place, str]] = set()
    starts: list[tuple[Place, str]] = []
    ends: dict[Place, str | None] = {}
    following: dict[str, tuple[int, str | None]] = {}  # of each stream, what would continue with its run
    for row in new:
        stream, seq = row.stream, row.seq
        if stream is None or seq is None:
            continue
        wanted_seq, wanted_prev = following.get(stream, (0, None))
        if seq != wanted_seq:
            if wanted_seq:
                ends[stream, wanted_seq] = wanted_prev
            if seq > 1:
                starts.append(((stream, seq), row.body[_PREV]))
        elif row.body[_PREV] != wanted_prev:
            suspects.add(((stream, seq), row.body[_PREV]))
        following[stream] = (seq + 1, row.line_hash)
    if not following:
        return []
    ends.update({(stream, seq): line_hash for stream, (seq, line_hash) in following.items()})
    stored = _by_place(links_at([_before(place) for place, _ in starts] + list(ends)))
    for place, prev in starts:
        if any(prev != link.line_hash for link in stored[_before(place)]):
            suspects.add((place, prev))
    for place, line_hash in ends.items():
        suspects.update((place, link.prev) for link in stored[place] if link.prev != line_hash)
    if not suspects:
        return []
    stored = _by_place(links_at([_before(place) for place, _ in suspects]))
    return sorted({place for place, prev in suspects if _is_broken(prev, stored[_before(place)])})


def _is_broken(prev: str, before: Sequence[Link]) -> bool:
    hashes = {link.line_hash for link in before}
    return bool(hashes) and None not in hashes and prev not in hashes


def _before(place: Place) -> Place:
    return place[0], place[1] - 1


def _by_place(links: Iterable[Link]) -> defaultdict[Place, list[Link]]:
    found: defaultdict[Place, list[Link]] = defaultdict(list)
    for link in links:
        found[link.stream, link.seq].append(link)
    return found
