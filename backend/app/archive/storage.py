"""Where the archive keeps the files of bundles: a folder, or a bucket of an S3-compatible store."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from app.settings import BUCKET, Settings
from app.store.base import StoreUnavailable
from app.store.location import Location, SqliteFile

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Incoming:
    """A bundle that is being written.

    Args:
        file: unbuffered, to read from, too.
        folder: what it is on the disk of.
        path: of the file, if it has a name.
    """

    def __init__(self, file: BinaryIO, folder: Path, path: Path | None = None) -> None:
        self.file = file
        self.path = path
        self._folder = folder

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            StoreUnavailable: the disk is full, or fails.
        """
        with reported(self._folder):
            rest = memoryview(data)
            while rest:
                rest = rest[self.file.write(rest) :]


class Storage(Protocol):
    """Keeps files of bundles by their digests. A reader finds all of a file, or none.

    Every method raises StoreUnavailable, with one line for people, when it can't be done.
    """

    def check(self) -> None:
        """Do nothing if bundles can be kept now."""

    def incoming(self) -> AbstractContextManager[Incoming]:
        """Give a new file to write a bundle to. Unless it is kept, nothing of it is left."""

    def keep(self, incoming: Incoming, digest: str) -> int | None:
        """Keep a file as the bundle with this digest, durably; return until when nobody can delete it (µs), if so."""

    def open(self, digest: str) -> BinaryIO | None:
        """Open a bundle, or a copy of it, to read and seek in; None: it isn't there.

        Raises:
            InvalidBundle: it has more bytes than a bundle.
        """

    def hold(self, digest: str, *, held: bool) -> None:
        """Let nobody delete a bundle here, whatever the database says, or let them again, where that is possible."""

    def locked(self, digest: str) -> str | None:
        """Return why a bundle can't be deleted now, or None."""

    def remove(self, digest: str) -> None:
        """Delete a bundle, if it is there."""

    def digests(self) -> Iterator[str]:
        """Give the digests of all bundles that are here."""


def storage_of(settings: Settings, location: Location) -> Storage | None:
    """Return where bundles are kept, or None: several backends on PostgreSQL may have no disk in common.

    Raises:
        InvalidSettings: the bucket's address is invalid, or its package is not installed.
    """
    # Only one of them: what speaks to a bucket takes its time to load, and memory.
    if settings.archive is not None and settings.archive.startswith(BUCKET):
        from app.archive.bucket import open_bucket

        return open_bucket(settings.archive, settings.archive_lock, settings.max_bundle_bytes)
    from app.archive.folder import Folder

    if settings.archive is not None:
        return Folder(Path(settings.archive).absolute())
    if isinstance(location, SqliteFile):
        return Folder(location.path.with_name(f"{location.path.name}.bundles"))
    return None


@contextmanager
def reported(folder: Path) -> Iterator[None]:
    """Turn a disk's errors into StoreUnavailable."""
    try:
        yield
    except OSError as problem:
        if problem.errno in _FULL:
            raise StoreUnavailable(f"the disk of the archive {folder} is full", 30) from None
        reason = problem.strerror or type(problem).__name__
        raise StoreUnavailable(f"the archive {folder} does not work: {reason}", 30) from None


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
