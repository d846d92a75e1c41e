"""The transparency log in the store. All SQL here runs on SQLite and on PostgreSQL.

What is added is committed first, then the checkpoint of it is signed and committed; only then is it acknowledged and
shown. So a crash leaves at most entries that no checkpoint has yet: the next one has them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from app.log.checkpoint import Checkpoint, Proof, parse_checkpoint
from app.log.entries import STREAM, Entry
from app.log.faults import Fault
from app.log.guard import Guard, require_continued
from app.log.note import Note, parse_note
from app.log.tiles import ENTRIES, WIDTH, MissingTile, Tile, pack_entries, split_hashes, subtree_from
from app.log.tree import HASH_BYTES, Subtree, leaf_hash, prove_inclusion, root_of
from app.log.verify import check_inclusion
from app.store.base import Fetching, ReadConnection, Row, WriteConnection

T = TypeVar("T")

SEAL_EVENTS = 2000
"""How many events are looked at in one transaction."""

_FEW = 500
_EVENT = ", ".join(("position", *Row._fields))
_EVENTS = f"SELECT {_EVENT} FROM events WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"  # noqa: S608


@dataclass(frozen=True)
class Logged:
    """Where an entry is.

    Attributes:
        new: whether it was added now, or was there.
    """

    index: int
    new: bool


@dataclass(frozen=True)
class Published:
    """A checkpoint that is stored.

    Attributes:
        witnessed: whether the witnesses that the policy wants have signed it.
    """

    note: Note
    checkpoint: Checkpoint
    witnessed: bool


@dataclass(frozen=True)
class Seal:
    """How far the events are in the log.

    Attributes:
        epoch: how often all events were deleted, so that positions started anew.
        through: the highest position.
    """

    epoch: int
    through: int


class StoredTree:
    """The tree, as far as it is needed; tiles are read once.

    Raises:
        Fault: a tile is missing, or shorter than it has to be.
    """

    def __init__(self, connection: Fetching) -> None:
        self._connection = connection
        self._tiles: dict[tuple[int, int], bytes] = {}
        self.changed: dict[tuple[int, int], bytes] = {}
        self.size = size_of(connection)
        self._subtree: Subtree | None = None

    @property
    def subtree(self) -> Subtree:
        """Its complete subtrees."""
        if self._subtree is None:
            self._subtree = subtree_from(self._load)
        return self._subtree

    def append(self, leaves: Sequence[bytes]) -> None:
        """Add leaves, by their hashes; `changed` has the tiles that are different now."""
        start = self.size
        self.size += len(leaves)
        self._subtree = None
        level = 0
        while leaves:
            leaves = self._extend(level, start, leaves)
            start //= WIDTH
            level += 1

    def _extend(self, level: int, start: int, hashes: Sequence[bytes]) -> list[bytes]:
        """Add hashes to a level of tiles; return the roots of those tiles that became full."""
        full: list[bytes] = []
        at = 0
        number, offset = divmod(start, WIDTH)
        while at < len(hashes):
            held = split_hashes(self._load(level, number)) if offset else []
            if len(held) != offset:
                raise Fault("damaged-tree", f"{Tile(level, number).path} has {len(held)} hashes, not {offset}")
            more = hashes[at : at + WIDTH - offset]
            held += more
            at += len(more)
            self._tiles[level, number] = self.changed[level, number] = b"".join(held)
            if len(held) == WIDTH:
                full.append(root_of(held))
            number, offset = number + 1, 0
        return full

    def _load(self, level: int, number: int) -> bytes:
        found = self._tiles.get((level, number))
        if found is None:
            found = self._tiles[level, number] = load_tile(self._connection, level, number)
        return found


def size_of(connection: Fetching) -> int:
    """Return how many entries there are, signed or not."""
    return int(connection.fetch("SELECT coalesce(max(position) + 1, 0) FROM log_entries", ())[0][0])


def load_tile(connection: Fetching, level: int, number: int) -> bytes:
    """Return the hashes of a tile, as many as there are; none when there is no such tile."""
    rows = connection.fetch("SELECT hashes FROM log_tiles WHERE level = ? AND number = ?", (level, number))
    return bytes(rows[0][0]) if rows else b""


def add_entries(connection: WriteConnection, guard: Guard, entries: Sequence[Entry]) -> list[Logged]:
    """Add entries and return where they are once that is durable and signed. One that is there is not added again.

    Raises:
        Fault: what is stored doesn't continue what was signed.
    """
    connection.begin()
    connection.lock_log()
    places = _append(connection, guard, entries)
    connection.commit()
    publish(connection, guard)
    return places


def seal_events(connection: WriteConnection, guard: Guard, through: int, now: int) -> int:
    """Add the heads of the streams that got events since the last time; return how many events these were.

    Args:
        through: what `last_position` said.
        now: µs since 1970.

    Raises:
        Fault: what is stored doesn't continue what was signed.
    """
    connection.begin()
    connection.lock_log()
    seal = read_seal(connection)
    rows = connection.fetch(_EVENTS, (seal.through, through, SEAL_EVENTS))
    if not rows:
        connection.rollback()
        return 0
    last = int(rows[-1][0])
    _append(connection, guard, heads(rows, seal, last, now))
    connection.execute("UPDATE log_seals SET through = ?", (last,))
    connection.commit()
    publish(connection, guard)
    return len(rows)


def publish(connection: WriteConnection, guard: Guard) -> None:
    """Sign and store the checkpoint of what is stored, unless that was done.

    Raises:
        Fault: what is stored doesn't continue what was signed.
    """
    connection.begin()
    connection.lock_log()
    tree = StoredTree(connection)
    last = _require_continued(connection, guard, tree)
    if last is None or last.checkpoint.size < tree.size:
        note = guard.sign(tree.size, tree.subtree)
        connection.execute("DELETE FROM log_checkpoints WHERE witnessed = 0", ())
        connection.execute(
            "INSERT INTO log_checkpoints (size, note, witnessed) VALUES (?, ?, 0)", (tree.size, str(note))
        )
    connection.commit()


def store_cosigned(connection: WriteConnection, note: Note, is_met: Callable[[Note], bool]) -> None:
    """Store a checkpoint with the signatures of witnesses, beside those that it has.

    Args:
        is_met: whether its signatures are all that the policy wants.
    """
    size = parse_checkpoint(note.text).size
    connection.begin()
    connection.lock_log()
    rows = connection.fetch("SELECT note FROM log_checkpoints WHERE size = ?", (size,))
    lines = {(one.name, one.key_id): one for one in parse_note(rows[0][0].encode()).signatures} if rows else {}
    lines |= {(one.name, one.key_id): one for one in note.signatures}
    merged = Note(note.text, tuple(lines.values()))
    witnessed = int(is_met(merged))
    connection.execute(
        "INSERT INTO log_checkpoints (size, note, witnessed) VALUES (?, ?, ?)"
        " ON CONFLICT (size) DO UPDATE SET note = excluded.note, witnessed = excluded.witnessed",
        (size, str(merged), witnessed),
    )
    if witnessed:
        connection.execute("DELETE FROM log_checkpoints WHERE size < ?", (size,))
    connection.commit()


def latest(connection: Fetching, *, witnessed: bool = False) -> Published | None:
    """Return the newest checkpoint, of those that were witnessed if so wanted, or None."""
    rows = connection.fetch(
        "SELECT note, witnessed FROM log_checkpoints WHERE witnessed >= ? ORDER BY size DESC LIMIT 1",
        (int(witnessed),),
    )
    if not rows:
        return None
    note = parse_note(rows[0][0].encode())
    return Published(note, parse_checkpoint(note.text), bool(rows[0][1]))


def find_entry(connection: Fetching, digest: bytes) -> int | None:
    """Return the index of the entry with this identity, or None."""
    rows = connection.fetch("SELECT position FROM log_entries WHERE identity = ?", (digest,))
    return int(rows[0][0]) if rows else None


def prove(connection: Fetching, index: int) -> Proof | None:
    """Return the proof for an entry: by a checkpoint that was witnessed, where one has it. None: there is none yet.

    Raises:
        Fault: the stored tree is damaged.
    """
    published = latest(connection, witnessed=True)
    if published is None or published.checkpoint.size <= index:
        published = latest(connection)
    if published is None or not 0 <= index < published.checkpoint.size:
        return None
    rows = connection.fetch("SELECT entry FROM log_entries WHERE position = ?", (index,))
    if not rows:
        raise Fault("damaged-entry", f"entry {index} is missing")
    tree = StoredTree(connection)
    try:
        hashes = prove_inclusion(index, published.checkpoint.size, tree.subtree)
    except MissingTile as missing:
        raise Fault("damaged-tree", str(missing)) from None
    proof = Proof(index, tuple(hashes), published.note, bytes(rows[0][0]))
    try:
        check_inclusion(proof, published.checkpoint, bytes(rows[0][0]))
    except Fault:  # nothing is given out that nobody would take
        raise Fault("damaged-entry", f"entry {index} and the stored hashes don't belong together") from None
    return proof


def read_tile(connection: ReadConnection, tile: Tile) -> bytes | None:
    """Return a tile or a bundle of entries of the tree that was signed last, or None when it isn't part of it.

    Raises:
        Fault: it is damaged.
    """
    published = latest(connection)
    size = 0 if published is None else published.checkpoint.size
    held = size if tile.level == ENTRIES else size >> (8 * tile.level)
    if tile.number * WIDTH + tile.width > held:
        return None
    if tile.level == ENTRIES:
        entries = [entry for _, entry in read_entries(connection, tile.number * WIDTH, tile.width)]
        if len(entries) != tile.width:
            raise Fault("damaged-entry", f"{tile.path} has {len(entries)} entries")
        return pack_entries(entries)
    hashes = load_tile(connection, tile.level, tile.number)[: tile.width * HASH_BYTES]
    if len(hashes) != tile.width * HASH_BYTES:
        raise Fault("damaged-tree", f"{tile.path} is cut off")
    return hashes


def read_entries(connection: Fetching, start: int, count: int) -> list[tuple[int, bytes]]:
    """Return the entries from `start` on, at most `count`, each with its index."""
    rows = connection.fetch(
        "SELECT position, entry FROM log_entries WHERE position >= ? ORDER BY position LIMIT ?", (start, count)
    )
    return [(int(position), bytes(entry)) for position, entry in rows]


def all_entries(connection: Fetching) -> Iterator[bytes]:
    """Give all entries, in order."""
    index = 0
    while rows := read_entries(connection, index, SEAL_EVENTS):
        yield from (data for _, data in rows)
        index = rows[-1][0] + 1


def read_seal(connection: Fetching) -> Seal:
    """Return how far the events are in the log."""
    return Seal(*connection.fetch("SELECT epoch, through FROM log_seals", ())[0])


def read_events(connection: Fetching, after: int, through: int) -> Iterator[tuple[Any, ...]]:
    """Give the events between two positions, the second one included, as `heads` takes them."""
    while rows := connection.fetch(_EVENTS, (after, through, SEAL_EVENTS)):
        yield from rows
        after = rows[-1][0]


def heads(rows: Sequence[tuple[Any, ...]], after: Seal, through: int, now: int) -> list[Entry]:
    """Return the heads of the streams that these events came by; a digest is over every column of the events.

    Args:
        now: µs since 1970.
    """
    found: list[Entry] = []
    stream_at = 1 + Row._fields.index("stream")
    seq_at, hash_at = (1 + Row._fields.index(name) for name in ("seq", "line_hash"))
    ordered = sorted(rows, key=lambda row: (row[stream_at] is not None, row[stream_at] or ""))
    for stream, members in groupby(ordered, key=lambda row: row[stream_at]):
        digest = hashlib.sha256()
        head: tuple[int | None, str | None] = (None, None)
        count = 0
        for row in members:
            event_id = row[1].hex if isinstance(row[1], UUID) else row[1].hex()
            digest.update(msgspec.json.encode([event_id, *row[2:]]) + b"\n")
            if row[seq_at] is not None and row[seq_at] >= (head[0] or 0):
                head = (row[seq_at], row[hash_at])
            count += 1
        details: dict[str, Any] = {"epoch": after.epoch, "after": after.through, "through": through, "events": count}
        details |= {"seq": head[0], "line_hash": head[1]}
        found.append(Entry(STREAM, stream, digest.hexdigest(), now, details))
    return found


def _append(connection: WriteConnection, guard: Guard, entries: Sequence[Entry]) -> list[Logged]:
    tree = StoredTree(connection)
    _require_continued(connection, guard, tree)
    known = _known(connection, [entry.identity for entry in entries])
    new: dict[bytes, bytes] = {}
    places: list[Logged] = []
    for entry in entries:
        identity = entry.identity
        added = identity not in known
        if added:
            known[identity] = tree.size + len(new)
            new[identity] = entry.encode()
        places.append(Logged(known[identity], added))
    rows = [(known[identity], identity, data) for identity, data in new.items()]
    for some in _parts(rows):
        values = ", ".join(["(?, ?, ?)"] * len(some))
        sql = f"INSERT INTO log_entries (position, identity, entry) VALUES {values}"  # noqa: S608  only marks
        connection.execute(sql, [part for row in some for part in row])
    tree.append([leaf_hash(data) for data in new.values()])
    for some_tiles in _parts(list(tree.changed.items())):
        values = ", ".join(["(?, ?, ?)"] * len(some_tiles))
        sql = (
            f"INSERT INTO log_tiles (level, number, hashes) VALUES {values}"  # noqa: S608  only marks
            " ON CONFLICT (level, number) DO UPDATE SET hashes = excluded.hashes"
        )
        connection.execute(sql, [part for place, hashes in some_tiles for part in (*place, hashes)])
    return places


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _FEW):
        yield items[start : start + _FEW]


def _known(connection: Fetching, identities: Sequence[bytes]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for some in _parts(identities):
        marks = ", ".join("?" * len(some))
        sql = f"SELECT identity, position FROM log_entries WHERE identity IN ({marks})"  # noqa: S608  only marks
        found |= {bytes(identity): int(position) for identity, position in connection.fetch(sql, some)}
    return found


def _require_continued(connection: Fetching, guard: Guard, tree: StoredTree) -> Published | None:
    """Return the last checkpoint that is stored, if what is stored continues it, and what was signed here."""
    try:
        guard.require(tree.size, tree.subtree)
        last = latest(connection)
        if last is not None:
            require_continued(last.checkpoint, tree.size, tree.subtree)
    except MissingTile as missing:
        raise Fault("damaged-tree", str(missing)) from None
    return last
