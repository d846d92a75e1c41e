"""The archive on a disk: a file for each bundle, by its digest. A reader finds all of a file, or none."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from app.settings import Settings
from app.store.base import StoreUnavailable
from app.store.location import Location, SqliteFile

_INCOMING = "incoming"
_STALE_SECONDS = 24 * 60 * 60
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Folder:
    """A folder with bundles. Several backends may share it, where it is one file system to all of them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return f"folder {self.path}"

    def tidy(self) -> None:
        """Remove what uploads that a kill cut off left here a day ago or earlier, as far as that can be done."""
        with suppress(OSError):
            for left in (self.path / _INCOMING).iterdir():
                with suppress(OSError):
                    if left.stat().st_mtime < time.time() - _STALE_SECONDS:
                        left.unlink()

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """Give a new file to write a bundle to. Unless it is kept, nothing of it is left.

        Raises:
            StoreUnavailable: the disk is full, or the folder can't be written.
        """
        path = self.path / _INCOMING / secrets.token_hex(16)
        with _reported(self.path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)
        try:
            yield Incoming(path, file)
        finally:
            file.close()
            with suppress(FileNotFoundError):
                path.unlink()

    def keep(self, incoming: Incoming, digest: str) -> None:
        """Keep a file as the bundle with this digest, durably.

        Raises:
            StoreUnavailable: that can't be done; nothing is there that wasn't before.
        """
        target = self.file_of(digest)
        with _reported(self.path):
            target.parent.mkdir(exist_ok=True, mode=0o700)
            os.fsync(incoming.file.fileno())
            incoming.path.replace(target)
            for folder in (target.parent, self.path):
                _sync(folder)

    def file_of(self, digest: str) -> Path:
        """Return where the bundle with this digest is, if it is there."""
        return self.path / digest[:2] / f"{digest}.zip"

    def remove(self, digest: str) -> None:
        """Delete a bundle, if it is there.

        Raises:
            StoreUnavailable: it can't be deleted.
        """
        target = self.file_of(digest)
        with _reported(self.path):
            target.unlink(missing_ok=True)
            if target.parent.is_dir():
                _sync(target.parent)


def folder_of(settings: Settings, location: Location) -> Folder | None:
    """Return where bundles are kept, or None: several backends on PostgreSQL may have no disk in common."""
    if settings.archive is not None:
        return Folder(settings.archive.absolute())
    if isinstance(location, SqliteFile):
        return Folder(location.path.with_name(f"{location.path.name}.bundles"))
    return None


class Incoming:
    """A bundle that is being written."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            StoreUnavailable: the disk is full, or fails.
        """
        with _reported(self.path.parent.parent):
            rest = memoryview(data)
            while rest:
                rest = rest[self.file.write(rest) :]


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        if problem.errno in _FULL:
            raise StoreUnavailable("the archive's disk is full", 30) from None
        raise StoreUnavailable(f"the archive {folder} does not work: {problem.strerror}", 30) from None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
