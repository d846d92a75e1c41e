"""Reads what another job uploaded: the archive with this id and this digest, strictly and within bounds."""

from __future__ import annotations

import hashlib
import hmac
import io
import re
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Dict, Mapping, Set

from agent_runtime import codes
from agent_runtime.github.api import GitHubApi
from agent_runtime.model.documents import is_hex64
from agent_runtime.text.escape import visible

# Larger than anything that a job of this runtime uploads: documents are bounded, journals short.
MAX_ARCHIVE_BYTES = 32 * 1024 * 1024
MAX_UNPACKED_BYTES = 64 * 1024 * 1024
_MAX_FILES = 200
_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"
_NAME = re.compile(rf"{_PART}(?:/{_PART}){{0,4}}")
_ID = re.compile(r"[1-9][0-9]{0,18}")
_BROKEN = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError)


def fetch(api: GitHubApi, repository: str, artifact_id: str, digest: str) -> Dict[str, bytes]:
    """Return the files of an artifact by name.

    Arguments:
        artifact_id, digest: of the archive, from the outputs of the job that uploaded it; SHA-256 in hexadecimal.

    Raises:
        GateRefused: it is not there or not that archive (GATE01), or GitHub did not answer (GATE12).
    """
    if not _ID.fullmatch(artifact_id) or not is_hex64(digest):
        raise codes.GateRefused(
            codes.GATE_ARTIFACT,
            f"the job that uploads it gave the id '{visible(artifact_id, 40)}' and the SHA-256 '{visible(digest, 80)}'",
        )
    data = api.download_artifact(repository, int(artifact_id), MAX_ARCHIVE_BYTES)
    found = hashlib.sha256(data).hexdigest()
    if not hmac.compare_digest(found, digest):
        raise codes.GateRefused(
            codes.GATE_ARTIFACT,
            f"artifact {artifact_id} ({len(data)} bytes) has SHA-256 {found}, its job uploaded {digest}",
        )
    return unpack(data)


def unpack(data: bytes) -> Dict[str, bytes]:
    """Return the files of an archive by their names.

    Raises:
        GateRefused: it is not a zip file of plain files, or too many or too large ones are in it (GATE01).
    """
    files: Dict[str, bytes] = {}
    folders: Set[str] = set()
    left = MAX_UNPACKED_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > _MAX_FILES:
                raise _refused(f"it has {len(entries)} files")
            for entry in entries:
                if not _NAME.fullmatch(entry.filename) or entry.filename in files:
                    raise _refused(f"it has a file '{visible(entry.filename, 80)}', twice or by no plain name")
                folders.update(str(parent) for parent in PurePosixPath(entry.filename).parents)
                with archive.open(entry) as stream:
                    files[entry.filename] = stream.read(left + 1)
                left -= len(files[entry.filename])
                if left < 0:
                    raise _refused(f"its files have more than {MAX_UNPACKED_BYTES} bytes")
    except _BROKEN as problem:
        raise _refused(f"it can't be unpacked ({type(problem).__name__})") from None
    if folders & set(files):
        raise _refused("a name in it is a file and a folder")
    return files


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the files of an archive below `folder`."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _refused(problem: str) -> codes.GateRefused:
    return codes.GateRefused(codes.GATE_ARTIFACT, f"an artifact is invalid: {problem}")
