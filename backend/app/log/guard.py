"""What this machine's signer has signed last. It is kept beside the key and not in the store, which may be restored."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.log.checkpoint import Checkpoint, parse_checkpoint
from app.log.faults import Fault
from app.log.keys import read_keys, replace_file
from app.log.note import LOG, MAX_NOTE_BYTES, Note, SignerKey, parse_note
from app.log.tiles import MissingTile
from app.log.tree import Subtree, range_hash


class Guard:
    """Signs checkpoints, each only if it continues the last.

    Args:
        path: where the last one is kept.
        keys: all of them sign.
    """

    def __init__(self, path: Path, keys: Sequence[SignerKey]) -> None:
        self.path = path
        self.keys = keys
        self.origin = keys[0].name

    def sign(self, size: int, subtree: Subtree) -> Note:
        """Return the signed checkpoint of the tree of `size` leaves. It is remembered durably before this returns.

        Signing the same tree again gives the same checkpoint: a crash between here and the store does no harm.

        Raises:
            Fault: the tree doesn't continue the one that was signed last.
            OSError: the file can't be written.
        """
        with self._locked():
            last = self.last()
            if last is not None:
                require_continued(last, size, subtree)
            checkpoint = Checkpoint(self.origin, size, range_hash(0, size, subtree))
            note = Note(checkpoint.text, tuple(key.sign(checkpoint.text) for key in self.keys))
            if last is None or last.size < size:
                replace_file(self.path, str(note).encode())
            return note

    def require(self, size: int, subtree: Subtree) -> None:
        """Do nothing if the tree of `size` leaves continues the last one that was signed here.

        Raises:
            Fault: it doesn't.
        """
        last = self.last()
        if last is not None:
            require_continued(last, size, subtree)

    def last(self) -> Checkpoint | None:
        """Return what was signed last on this machine, or None.

        Raises:
            Fault: the file is not what this signer wrote.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_NOTE_BYTES + 1)
        except FileNotFoundError:
            return None
        checkpoint = parse_checkpoint(parse_note(data).text)
        if checkpoint.origin != self.origin:
            raise Fault("other-log", f"{self.path} is of the log {checkpoint.origin}, not of {self.origin}")
        return checkpoint

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes that sign with the same file waiting."""
        lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def open_guard(key: Path) -> Guard:
    """Return the signer whose keys are in the file `key`.

    Raises:
        Fault: they can't be read.
    """
    return Guard(key.with_name(f"{key.name}.signed"), read_keys(key, LOG))


def require_continued(last: Checkpoint, size: int, subtree: Subtree) -> None:
    """Do nothing if the tree of `size` leaves begins with the one of a checkpoint.

    Raises:
        Fault: it doesn't.
    """
    if size < last.size:
        raise Fault(
            "rolled-back",
            f"{last.size} entries were signed and the store has {size}: it was restored from a backup, or cut off",
        )
    try:
        root = range_hash(0, last.size, subtree)
    except MissingTile as missing:
        raise Fault("damaged-tree", str(missing)) from None
    if root != last.root:
        raise Fault("not-consistent", f"the first {last.size} entries of the store are not those that were signed")
