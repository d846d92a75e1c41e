"""What a bundle is, and whether a file holds one. Reads one file; knows neither the store nor HTTP.

A bundle's digest is the SHA-256 of its `bundle.json`, which has the digest of every other file: whoever packs it, and
however, it is the same bundle.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from app.log.entries import MAX_SUBJECT, is_digest

MANIFEST = "bundle.json"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_FILES = 2000

_CHUNK = 1024 * 1024
_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"
_NAME = re.compile(rf"{_PART}(?:/{_PART}){{0,5}}")
_REPOSITORY = re.compile(r"[A-Za-z0-9-]{1,100}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")
_RUN_ID = re.compile(r"[1-9][0-9]{0,17}")
_BROKEN = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, struct.error)
_END = b"PK\x05\x06"
_END_BYTES = 22
_ZIP64 = b"PK\x06\x07"
_ZIP64_BYTES = 20
_MAX_DIRECTORY_BYTES = MAX_FILES * 512


class InvalidBundle(Exception):
    """A file that holds no bundle, or not the one that it is said to be.

    Attributes:
        kind: what is wrong, stable; README.md lists them.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class _Run(msgspec.Struct, frozen=True):
    repository: str
    run_id: str
    run_attempt: int


class _Manifest(msgspec.Struct, frozen=True):
    files: dict[str, str]
    run: _Run
    outcome: str
    resource: str
    trace_id: str


class _Event(msgspec.Struct, frozen=True):
    agent_instance_id: str


class _Line(msgspec.Struct, frozen=True):
    event: _Event


@dataclass(frozen=True)
class Bundle:
    """What the archive needs to know of a bundle.

    Attributes:
        agent: the `agent_instance_id` under which the run was recorded, or the empty text.
    """

    digest: str
    repository: str
    run_id: int
    run_attempt: int
    agent: str
    outcome: str
    resource: str
    trace_id: str

    @property
    def subject(self) -> str:
        """What it belongs to, as the transparency log names it."""
        return f"{self.repository}/runs/{self.run_id}/attempts/{self.run_attempt}"


def read_bundle(file: BinaryIO, digest: str, limit: int) -> Bundle:
    """Return what the bundle in a file is, if it is the bundle with this digest and all of it is there.

    Args:
        limit: most bytes of all its files, unpacked.

    Raises:
        InvalidBundle: it isn't.
        OSError: the file can't be read.
    """
    _require_small_directory(file)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = _entries(archive)
            data = _manifest_bytes(archive, entries)
            found = hashlib.sha256(data).hexdigest()
            if found != digest:
                raise InvalidBundle("bundle-other-digest", f"{MANIFEST} has the SHA-256 {found}")
            manifest = _manifest(data)
            digests = _digests(archive, entries, limit - len(data))
            _require_complete(manifest.files, digests)
            agent = _agent(archive, entries)
    except _BROKEN as problem:
        raise InvalidBundle("bundle-not-zip", f"it can't be unpacked ({type(problem).__name__})") from None
    run = manifest.run
    return Bundle(
        digest, run.repository, int(run.run_id), run.run_attempt, agent, manifest.outcome, manifest.resource,
        manifest.trace_id,
    )  # fmt: skip


def _require_small_directory(file: BinaryIO) -> None:
    """Refuse a ZIP file whose table of contents would take much memory, before anything reads it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END_BYTES - _ZIP64_BYTES))
    tail = file.read()
    end = tail[-_END_BYTES:]
    if not end.startswith(_END) or end[-2:] != b"\0\0" or len(end) != _END_BYTES:
        raise InvalidBundle("bundle-not-zip", "its end is not that of a ZIP file without a comment")
    if tail[:-_END_BYTES].startswith(_ZIP64) or int.from_bytes(end[12:16], "little") > _MAX_DIRECTORY_BYTES:
        raise InvalidBundle("bundle-too-large", f"its table of contents is larger than {MAX_FILES} files need")


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        if entry.is_dir():
            continue
        name, mode = entry.filename, entry.external_attr >> 16
        if not _NAME.fullmatch(name) or entry.orig_filename != name:
            raise InvalidBundle("bundle-bad-name", f"{_shown(entry.orig_filename)} is not a plain relative name")
        if name in entries:
            raise InvalidBundle("bundle-bad-name", f"{name} is there twice")
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise InvalidBundle("bundle-bad-name", f"{name} is not a plain file")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InvalidBundle("bundle-not-zip", f"{name} is neither stored nor deflated")
        entries[name] = entry
    if len(entries) > MAX_FILES:
        raise InvalidBundle("bundle-too-large", f"it has {len(entries)} files, and {MAX_FILES} may be in it")
    for name in entries:
        if any(name.startswith(f"{other}/") for other in _parents(name) if other in entries):
            raise InvalidBundle("bundle-bad-name", f"a folder of {name} is a file, too")
    return entries


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _manifest_bytes(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> bytes:
    if MANIFEST not in entries:
        raise InvalidBundle("bundle-bad-manifest", f"there is no {MANIFEST} at its top")
    with archive.open(entries[MANIFEST]) as stream:
        data = stream.read(MAX_MANIFEST_BYTES + 1)
    if len(data) > MAX_MANIFEST_BYTES:
        raise InvalidBundle("bundle-too-large", f"{MANIFEST} has more than {MAX_MANIFEST_BYTES} bytes")
    return data


def _manifest(data: bytes) -> _Manifest:
    try:
        manifest = msgspec.json.decode(data, type=_Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidBundle("bundle-bad-manifest", f"{MANIFEST}: {str(problem)[:200]}") from None
    run = manifest.run
    texts = (manifest.outcome, manifest.resource, manifest.trace_id)
    if (
        not _REPOSITORY.fullmatch(run.repository)
        or not _RUN_ID.fullmatch(run.run_id)
        or not 0 < run.run_attempt < 2**31
        or any(not 0 < len(text) <= MAX_SUBJECT or not text.isprintable() for text in texts)
        or not all(map(is_digest, manifest.files.values()))
    ):
        raise InvalidBundle("bundle-bad-manifest", f"{MANIFEST} is not the manifest of a run on GitHub")
    return manifest


def _digests(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], limit: int) -> dict[str, str]:
    """Return the digest of every file but the manifest. What a file's entry says of its size is not believed."""
    found: dict[str, str] = {}
    for name, entry in entries.items():
        if name == MANIFEST:
            continue
        digest = hashlib.sha256()
        with archive.open(entry) as stream:
            while chunk := stream.read(_CHUNK):
                limit -= len(chunk)
                if limit < 0:
                    raise InvalidBundle("bundle-too-large", f"{name} makes it larger than a bundle may be, unpacked")
                digest.update(chunk)
        found[name] = digest.hexdigest()
    return found


def _require_complete(listed: dict[str, str], found: dict[str, str]) -> None:
    for name in sorted(listed.keys() | found.keys()):
        if name not in found:
            raise InvalidBundle("bundle-incomplete", f"{_shown(name)} is missing")
        if name not in listed:
            raise InvalidBundle("bundle-incomplete", f"{name} is not in {MANIFEST}")
        if listed[name] != found[name]:
            raise InvalidBundle("bundle-incomplete", f"{name} is not the file that {MANIFEST} lists")


def _agent(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> str:
    """Return under which agent's name the job `record` wrote its journal."""
    for name in sorted(entries):
        if name.startswith("record/journal/") and name.endswith(".jsonl"):
            with archive.open(entries[name]) as stream:
                line = stream.readline(_CHUNK)
            try:
                agent = msgspec.json.decode(line, type=_Line).event.agent_instance_id
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return ""
            return agent if agent.isprintable() and len(agent) <= MAX_SUBJECT else ""
    return ""


def _shown(value: Any) -> str:
    return ascii(str(value)[:100])
