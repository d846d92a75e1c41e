"""Artifacts of a run: immutable archives with an id, a name and a digest.

Emulated from the documentation of actions/upload-artifact v7 and actions/download-artifact v8 and the REST description
https://docs.github.com/en/rest/actions/artifacts.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from support.zips import pack


class ArtifactError(Exception):
    """What the action reports when it fails."""


@dataclass(frozen=True)
class Artifact:
    """One uploaded archive; `digest` is what the service noted when it arrived."""

    id: int
    name: str
    attempt: int
    archive: bytes
    digest: str
    retention_days: int
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def intact(self) -> bool:
        """Whether the archive still has its digest."""
        return hashlib.sha256(self.archive).hexdigest() == self.digest

    def files(self) -> dict[str, bytes]:
        """The files in it, by their path."""
        with zipfile.ZipFile(io.BytesIO(self.archive)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


class ArtifactStore:
    """The artifacts of one run, over all its attempts."""

    def __init__(self, first_id: int) -> None:
        self._ids = itertools.count(first_id)
        self._artifacts: list[Artifact] = []

    def upload(self, name: str, attempt: int, files: Iterable[tuple[str, bytes]], retention_days: int) -> Artifact:
        """Keep an archive of `files`.

        Raises:
            ArtifactError: this attempt has an artifact of that name already.
        """
        if any(each.name == name and each.attempt == attempt for each in self._artifacts):
            raise ArtifactError(f"(409) Conflict: an artifact with the name {name} already exists on the workflow run")
        return self.add(name, attempt, pack(dict(files)), retention_days)

    def add(self, name: str, attempt: int, archive: bytes, retention_days: int = 90) -> Artifact:
        """Keep an archive as it is."""
        digest = hashlib.sha256(archive).hexdigest()
        artifact = Artifact(next(self._ids), name, attempt, archive, digest, retention_days)
        self._artifacts.append(artifact)
        return artifact

    def delete(self, id: int) -> None:
        """Remove an artifact; its name is free again, its id is not."""
        self._artifacts = [each for each in self._artifacts if each.id != id]

    def every(self) -> list[Artifact]:
        """The artifacts of all attempts, in the order of their uploads."""
        return list(self._artifacts)

    def latest(self) -> list[Artifact]:
        """The artifacts that a download can see: of each name the newest."""
        return list({each.name: each for each in self._artifacts}.values())

    def named(self, name: str) -> Artifact:
        """The newest artifact of that name.

        Raises:
            KeyError: there is none.
        """
        return {each.name: each for each in self._artifacts}[name]

    def names(self) -> list[str]:
        """The names in the order of their uploads."""
        return [each.name for each in self._artifacts]

    def tamper(self, name: str, path: str, data: bytes, *, unnoticed: bool = False) -> None:
        """Replace a file inside the stored archive, as somebody would who got at the storage.

        Arguments:
            unnoticed: the service's digest is replaced, too.
        """
        artifact = self.named(name)
        archive = pack(artifact.files() | {path: data})
        digest = hashlib.sha256(archive).hexdigest() if unnoticed else artifact.digest
        self._artifacts[self._artifacts.index(artifact)] = replace(artifact, archive=archive, digest=digest)
