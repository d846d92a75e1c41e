"""The tree as tiles (C2SP tlog-tiles): 256 hashes of one level each, and bundles of 256 entries. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from app.log.tree import HASH_BYTES, Subtree, root_of

WIDTH = 256
TILE_BYTES = WIDTH * HASH_BYTES
LEVELS = 8
"""How many levels of the tree one level of tiles covers."""

ENTRIES = -1
"""The level that stands for bundles of entries."""

MAX_ENTRY_BYTES = 65_535

_PATH = re.compile(
    r"(?P<level>entries|0|[1-9]|[1-5][0-9]|6[0-3])/(?P<number>(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)
_MOST_GROUPS = 6


@dataclass(frozen=True)
class Tile:
    """One tile.

    Attributes:
        level: of tiles, the leaves' is 0; or ENTRIES.
        number: its place in that level.
        width: how many hashes or entries it holds, 256 when it is full.
    """

    level: int
    number: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where it is served, below the log's prefix."""
        digits = f"{self.number:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        name = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        level = "entries" if self.level == ENTRIES else str(self.level)
        return f"tile/{level}/{name}" + ("" if self.width == WIDTH else f".p/{self.width}")


def parse_path(path: str) -> Tile | None:
    """Return the tile that the part of a path after `tile/` names, or None when it names none."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    groups = match["number"].split("/")
    if len(groups) > _MOST_GROUPS or (len(groups) > 1 and groups[0] == "x000"):
        return None
    width = int(match["width"] or WIDTH)
    if match["width"] and width >= WIDTH:
        return None
    level = ENTRIES if match["level"] == "entries" else int(match["level"])
    return Tile(level, int("".join(groups).replace("x", "")), width)


def tiles_of(size: int, level: int) -> Iterator[Tile]:
    """Give the tiles of this level, or the bundles of entries, that a tree of `size` leaves has."""
    held = size if level == ENTRIES else size >> (LEVELS * level)
    for number in range(held // WIDTH):
        yield Tile(level, number)
    if held % WIDTH:
        yield Tile(level, held // WIDTH, held % WIDTH)


def levels_of(size: int) -> int:
    """Return how many levels of tiles a tree of `size` leaves has."""
    return max(1, -(-size.bit_length() // LEVELS)) if size else 0


class Builder:
    """Makes the tiles of a tree from its leaves, one after the other, and keeps only what is not full yet."""

    def __init__(self) -> None:
        self.size = 0
        self._tails: list[list[bytes]] = [[]]

    def add(self, leaf: bytes) -> Iterator[tuple[Tile, bytes]]:
        """Add a leaf, by its hash; give the tiles that it fills."""
        self.size += 1
        self._tails[0].append(leaf)
        level = 0
        while len(full := self._tails[level]) == WIDTH:
            yield Tile(level, (self.size >> (LEVELS * (level + 1))) - 1), b"".join(full)
            self._tails[level] = []
            level += 1
            if level == len(self._tails):
                self._tails.append([])
            self._tails[level].append(root_of(full))

    def partial(self) -> Iterator[tuple[Tile, bytes]]:
        """Give the tiles that are not full."""
        for level, tail in enumerate(self._tails):
            if tail:
                yield Tile(level, self.size >> (LEVELS * (level + 1)), len(tail)), b"".join(tail)

    def root(self) -> bytes:
        """Return the root of the tree so far."""
        right: list[bytes] = []
        for tail in self._tails:
            if tail or right:
                right = [root_of([*tail, *right])]
        return root_of(right)


def split_hashes(data: bytes) -> list[bytes]:
    """Return the hashes of a tile."""
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def subtree_from(load: Callable[[int, int], bytes]) -> Subtree:
    """Return the complete subtrees of a tree whose tiles `load` returns by level and number, each asked for once."""
    tile = cache(lambda level, number: split_hashes(load(level, number)))

    @cache
    def subtree(level: int, index: int) -> bytes:
        high, low = divmod(level, LEVELS)
        first = index << low
        hashes = tile(high, first // WIDTH)
        start = first % WIDTH
        wanted = hashes[start : start + (1 << low)]
        if len(wanted) != 1 << low:
            raise MissingTile(high, first // WIDTH)
        return root_of(wanted)

    return subtree


class MissingTile(LookupError):
    """A tile that the tree needs is not there, or is shorter than it has to be."""

    def __init__(self, level: int, number: int) -> None:
        super().__init__(f"{Tile(level, number).path} is missing or too short")


def pack_entries(entries: Sequence[bytes]) -> bytes:
    """Return the bundle of these entries."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def unpack_entries(data: bytes) -> list[bytes]:
    """Return the entries of a bundle.

    Raises:
        ValueError: it is cut off.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        entry = data[at + 2 : at + 2 + length]
        if at + 2 > len(data) or len(entry) != length:
            raise ValueError(f"the bundle is cut off after {len(entries)} entries")
        entries.append(entry)
        at += 2 + length
    return entries
