"""A log as plain files (C2SP tlog-tiles): writing them, and checking somebody's copy without asking the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from app.log.checkpoint import Checkpoint
from app.log.faults import Fault
from app.log.keys import replace_file
from app.log.note import MAX_NOTE_BYTES, Note, parse_note
from app.log.policy import Policy
from app.log.tiles import (
    ENTRIES,
    MAX_ENTRY_BYTES,
    TILE_BYTES,
    WIDTH,
    Builder,
    Tile,
    pack_entries,
    tiles_of,
    unpack_entries,
)
from app.log.tree import leaf_hash
from app.log.verify import Signed, check_against, check_checkpoint, checkpoint_of

_CHECKPOINT = "checkpoint"


def write_mirror(folder: Path, note: Note, size: int, entries: Iterator[bytes]) -> None:
    """Write the files of the tree of `size` leaves; the checkpoint last, so that a copy under way is never wrong.

    Args:
        entries: all of them.

    Raises:
        OSError: they can't be written.
    """
    builder = Builder()
    bundle: list[bytes] = []
    for _, entry in zip(range(size), entries, strict=False):
        bundle.append(entry)
        _write(folder, builder.add(leaf_hash(entry)))
        if len(bundle) == WIDTH:
            _write(folder, [(Tile(ENTRIES, builder.size // WIDTH - 1), pack_entries(bundle))])
            bundle = []
    _write(folder, builder.partial())
    if bundle:
        _write(folder, [(Tile(ENTRIES, builder.size // WIDTH, len(bundle)), pack_entries(bundle))])
    replace_file(folder / _CHECKPOINT, str(note).encode())


def check_mirror(folder: Path, policy: Policy, now: int, seen: Path | None = None) -> Signed:
    """Return the checkpoint of a copy whose every file is of the tree that the log signed.

    Args:
        now: seconds since 1970.
        seen: a checkpoint that was kept, which the log has to continue.

    Raises:
        Fault: a file isn't; the message names it.
    """
    signed = check_checkpoint(parse_note(_read(folder / _CHECKPOINT, MAX_NOTE_BYTES)), policy, now)
    kept = None
    if seen is not None:
        kept, _ = checkpoint_of(parse_note(_read(seen, MAX_NOTE_BYTES)), policy.logs)
        check_against(kept, signed.checkpoint)
    _check_tiles(folder, signed.checkpoint, kept)
    return signed


def _check_tiles(folder: Path, checkpoint: Checkpoint, kept: Checkpoint | None) -> None:
    if kept is not None and kept.size > checkpoint.size:
        raise Fault("rolled-back", f"the log signed {kept.size} entries once, and here are {checkpoint.size}")
    builder = Builder()
    for bundle in tiles_of(checkpoint.size, ENTRIES):
        data = _read(folder / bundle.path, WIDTH * (MAX_ENTRY_BYTES + 2))
        try:
            entries = unpack_entries(data)
        except ValueError as error:
            raise Fault("damaged-tile", f"{bundle.path}: {error}") from None
        if len(entries) != bundle.width:
            raise Fault("damaged-tile", f"{bundle.path} has {len(entries)} entries, not {bundle.width}")
        for entry in entries:
            _compare(folder, builder.add(leaf_hash(entry)))
            if kept is not None and kept.size == builder.size and kept.root != builder.root():
                raise Fault("not-consistent", f"the first {kept.size} entries are not those that the log signed once")
    _compare(folder, builder.partial())
    if builder.root() != checkpoint.root:
        raise Fault("damaged-tile", f"all {checkpoint.size} entries together don't have the root that the log signed")


def _write(folder: Path, tiles: Iterable[tuple[Tile, bytes]]) -> None:
    for tile, data in tiles:
        path = folder / tile.path
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, data)


def _compare(folder: Path, tiles: Iterable[tuple[Tile, bytes]]) -> None:
    for tile, hashes in tiles:
        if _read(folder / tile.path, TILE_BYTES) != hashes:
            raise Fault("damaged-tile", f"{tile.path} and the entries don't belong together")


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise Fault("damaged-tile", f"{path} can't be read: {error.strerror}") from None
