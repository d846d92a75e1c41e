"""The archive on a disk: a file for each bundle, by its digest."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from app.archive.storage import Incoming, reported, sync
from app.store.base import StoreUnavailable

_INCOMING = "incoming"
_STALE_SECONDS = 24 * 60 * 60


class Folder:
    """A folder with bundles. Several backends may share it, where it is one file system to all of them.

    As a `Storage` it locks nothing: whoever may write to the folder may delete.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return f"folder {self.path}"

    def check(self) -> None:
        """Do nothing if bundles can be kept now. What uploads that a kill cut off left a day ago is removed."""
        with reported(self.path):
            incoming = self._incoming()
            if not os.access(incoming, os.W_OK | os.X_OK):
                raise StoreUnavailable(f"the archive {self.path} can't be written", 30)
            for left in incoming.iterdir():
                with suppress(OSError):
                    if left.stat().st_mtime < time.time() - _STALE_SECONDS:
                        left.unlink()

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """Give a new file to write a bundle to. Unless it is kept, nothing of it is left."""
        with reported(self.path):
            path = self._incoming() / secrets.token_hex(16)
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b", buffering=0)
        try:
            yield Incoming(file, self.path, path)
        finally:
            file.close()
            with suppress(FileNotFoundError):
                path.unlink()

    def keep(self, incoming: Incoming, digest: str) -> None:
        """Keep a file as the bundle with this digest, durably."""
        target = self._file_of(digest)
        assert incoming.path is not None  # noqa: S101  it is one of this folder's
        with reported(self.path):
            target.parent.mkdir(exist_ok=True, mode=0o700)
            os.fsync(incoming.file.fileno())
            incoming.path.replace(target)
            for folder in (target.parent, self.path):
                sync(folder)

    def open(self, digest: str) -> BinaryIO | None:
        """Open a bundle; None: it isn't there."""
        with reported(self.path):
            try:
                return self._file_of(digest).open("rb")
            except FileNotFoundError:
                return None

    def hold(self, digest: str, *, held: bool) -> None:
        """Do nothing: the database says what is held."""

    def locked(self, digest: str) -> None:
        """Return None."""

    def remove(self, digest: str) -> None:
        """Delete a bundle, if it is there."""
        target = self._file_of(digest)
        with reported(self.path):
            target.unlink(missing_ok=True)
            if target.parent.is_dir():
                sync(target.parent)

    def digests(self) -> Iterator[str]:
        """Give the digests of all bundles that are here."""
        return (path.stem for path in self.path.glob("??/*.zip"))

    def _incoming(self) -> Path:
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = self.path / _INCOMING
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    def _file_of(self, digest: str) -> Path:
        return self.path / digest[:2] / f"{digest}.zip"
