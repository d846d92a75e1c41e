"""Files that hold keys: the newest key first, one a line, readable for their owner only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from app.log.faults import Fault
from app.log.note import LOG, SignerKey, VerifierKey, new_signer, parse_signer, parse_verifier

_MOST_BYTES = 64 * 1024


def create_keys(path: Path, name: str, kind: int) -> SignerKey:
    """Make a key in a new file.

    Raises:
        Fault: it can't be made; a file that is there stays as it is.
    """
    key = new_signer(name, kind)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise Fault("bad-key", f"{path}: {error.strerror}") from None
    _write(descriptor, [key])
    _sync_folder(path)
    _publish(path, key)
    return key


def read_keys(path: Path, kind: int) -> list[SignerKey]:
    """Return the keys of a file; all of them sign.

    Raises:
        Fault: there are none, or others than the file's owner may read them.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MOST_BYTES)
    except OSError as error:
        raise Fault("bad-key", f"{path}: {error.strerror}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise Fault("bad-key", f"{path} can be read by others than its owner: chmod 600 {path}")
    try:
        keys = [parse_signer(line) for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    except Fault as fault:
        raise Fault("bad-key", f"{path}: {fault.detail}") from None
    if not keys or {key.kind for key in keys} != {kind} or len({key.name for key in keys}) != 1:
        raise Fault("bad-key", f"{path} has to hold keys of one name and one kind, and holds others or none")
    return keys


def read_public_keys(path: Path, kind: int) -> list[VerifierKey]:
    """Return the public keys of a file, one a line.

    Raises:
        Fault: there are none.
    """
    try:
        with path.open("rb") as file:
            lines = file.read(_MOST_BYTES).decode("utf-8", "replace").splitlines()
        keys = [parse_verifier(line) for line in lines if line.strip()]
    except OSError as error:
        raise Fault("bad-key", f"{path}: {error.strerror}") from None
    except Fault as fault:
        raise Fault("bad-key", f"{path}: {fault.detail}") from None
    if not keys or {key.kind for key in keys} != {kind}:
        raise Fault("bad-key", f"{path} has to hold public keys of a {'log' if kind == LOG else 'witness'}")
    return keys


def rotate_keys(path: Path, kind: int) -> SignerKey:
    """Add a new key to a file. From the next start on new and old keys sign together.

    Raises:
        Fault: there is no key that could be followed.
    """
    keys = read_keys(path, kind)
    new = new_signer(keys[0].name, kind)
    _replace(path, [new, *keys])
    _publish(path, new)
    return new


def retire_key(path: Path, kind: int, key_id: str) -> None:
    """Remove a key from a file. What it signed stays as good as it was.

    Raises:
        Fault: it isn't there, or is the last one.
    """
    keys = read_keys(path, kind)
    left = [key for key in keys if key.verifier.key_id.hex() != key_id]
    if len(left) == len(keys):
        raise Fault("bad-key", f"{path} holds no key {key_id}")
    if not left:
        raise Fault("bad-key", f"{key_id} is the only key of {path}: rotate first")
    _replace(path, left)


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` into the place of a file, whole or not at all, and durably.

    Raises:
        OSError: that can't be done; the file is as it was.
    """
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)  # of a process that was killed, or of somebody who wants to read along
    with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    _sync_folder(path)


def _replace(path: Path, keys: list[SignerKey]) -> None:
    try:
        replace_file(path, _encode(keys))
    except OSError as error:
        raise Fault("bad-key", f"{path}: {error.strerror}") from None


def _publish(path: Path, key: SignerKey) -> None:
    """Add the public half to the file beside the key's, which has those of retired keys too."""
    try:
        with path.with_name(f"{path.name}.pub").open("a", encoding="utf-8") as file:
            file.write(f"{key.verifier}\n")
    except OSError as error:
        raise Fault("bad-key", f"{path}.pub: {error.strerror}") from None


def _write(descriptor: int, keys: list[SignerKey]) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(_encode(keys))
        file.flush()
        os.fsync(file.fileno())


def _encode(keys: list[SignerKey]) -> bytes:
    return "".join(f"{key.encode()}\n" for key in keys).encode()


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
