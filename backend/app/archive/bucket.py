"""The archive in a bucket of an S3-compatible store, where object lock can keep bundles from everybody."""

from __future__ import annotations

import base64
import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from app.archive.bundle import InvalidBundle, read_bundle
from app.archive.storage import Incoming, reported
from app.events.model import timestamp_of
from app.settings import BUCKET, InvalidSettings, Lock
from app.store.base import StoreUnavailable

try:
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    raise InvalidSettings(
        f"AIMGENTIX_ARCHIVE is a bucket ({BUCKET}…): install what speaks to it, pip install -r requirements-s3.txt"
    ) from None

_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)/?")
_CHUNK = 1024 * 1024
_SUFFIX = ".zip"
_MISSING = ("NoSuchKey", "404", "NotFound")
_NO_BUCKET = "NoSuchBucket"
_NO_LOCK = "ObjectLockConfigurationNotFoundError"
_NO_LOCK_HERE = "missing object lock"  # what an upload is answered, with a code that has other meanings, too
# A refusal or a wrong answer is final; a store that does not answer is asked once more.
_CLIENT = {
    "connect_timeout": 5,
    "read_timeout": 30,
    "retries": {"mode": "standard", "total_max_attempts": 2},
    # Stores other than AWS may not know what botocore adds of its own accord.
    "request_checksum_calculation": "when_required",
}


def open_bucket(address: str, lock: Lock | None, limit: int) -> Bucket:
    """Return the bucket that `s3://bucket/prefix` names. Nothing is asked of it yet.

    Endpoint, region and credentials come from where the AWS command line takes them, too.

    Raises:
        InvalidSettings: it names none, or there is no way to ask it.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise InvalidSettings(f"AIMGENTIX_ARCHIVE: {address[:200]!a} is not s3://bucket or s3://bucket/prefix")
    try:
        client = botocore.session.get_session().create_client("s3", config=Config(**_CLIENT))
    except (BotoCoreError, ValueError) as error:
        raise InvalidSettings(f"AIMGENTIX_ARCHIVE: {_line(error)}") from None
    return Bucket(client, found[1], f"{found[2]}/".lstrip("/"), lock, limit)


@dataclass(frozen=True)
class _State:
    """What the store says of an object."""

    mode: str
    until: datetime | None
    is_held: bool


class Bucket:
    """A bucket, or a part of one, with bundles. It is a `Storage`.

    Args:
        client: botocore's, for S3.
        prefix: of all keys, empty or with a `/` at its end.
        lock: how long nobody may delete what comes; None: without object lock.
        limit: most bytes of an object that is read; whoever may write to the bucket can put any there.
    """

    def __init__(self, client: Any, name: str, prefix: str, lock: Lock | None, limit: int) -> None:
        self._client = client
        self._name = name
        self._prefix = prefix
        self._lock = lock
        self._limit = limit
        self._spool = Path(tempfile.gettempdir())

    def __str__(self) -> str:
        locked = "" if self._lock is None else f", each locked for {self._lock.days} days ({self._lock.mode})"
        return f"bucket {self._shown}{locked}"

    @property
    def _shown(self) -> str:
        return f"{BUCKET}{self._name}/{self._prefix}".rstrip("/")

    def check(self) -> None:
        """Do nothing if the bucket is there and, where bundles are to be locked, can do that."""
        with self._reported():
            self._client.list_objects_v2(Bucket=self._name, Prefix=self._prefix, MaxKeys=1)
            if self._lock is not None:
                self._client.get_object_lock_configuration(Bucket=self._name)

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """Give a new file to write a bundle to. It has no name, so that nothing of it is left, even after a kill."""
        with reported(self._spool):
            file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  its errors are reported, not those of the body
        with file:
            yield Incoming(file, self._spool)

    def keep(self, incoming: Incoming, digest: str) -> int | None:
        """Keep a file as the bundle with this digest, durably; return until when nobody can delete it (µs), if so.

        The bundle that is there already stays as it is, and locked as it is: each version would be kept, and paid. But
        whoever may write to the bucket can have put anything there.
        """
        state = self._state(digest)
        if state is None or not self._is_whole(digest):
            with self._reported():
                state = self._put(incoming.file, digest)
        return None if state.until is None else round(state.until.timestamp()) * 1_000_000

    def _is_whole(self, digest: str) -> bool:
        try:
            file = self.open(digest)
            if file is None:
                return False
            with file:
                read_bundle(file, digest, self._limit)
        except InvalidBundle:
            return False
        return True

    def _put(self, file: BinaryIO, digest: str) -> _State:
        checksum = hashlib.sha256()
        file.seek(0)
        while chunk := file.read(_CHUNK):
            checksum.update(chunk)
        file.seek(0)
        lock: dict[str, Any] = {}
        until = None
        if self._lock is not None:
            until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=self._lock.days)
            lock = {"ObjectLockMode": self._lock.mode.upper(), "ObjectLockRetainUntilDate": until}
        self._client.put_object(
            Bucket=self._name,
            Key=self._key(digest),
            Body=file,
            ContentType="application/zip",
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=base64.b64encode(checksum.digest()).decode(),
            **lock,
        )
        return _State("", until, False)

    def open(self, digest: str) -> BinaryIO | None:
        """Open a copy of a bundle, a file without a name; None: it isn't there."""
        found = self._ask(self._client.get_object, digest)
        if found is None:
            return None
        body = found["Body"]
        if found["ContentLength"] > self._limit:
            body.close()
            raise InvalidBundle("bundle-too-large", f"it has more than {self._limit} bytes in {self._shown}")
        copy: BinaryIO
        with reported(self._spool):
            copy = tempfile.TemporaryFile()  # noqa: SIM115  who reads it closes it
            try:
                with body:
                    while chunk := self._read(body):
                        copy.write(chunk)
                copy.seek(0)
            except BaseException:
                copy.close()
                raise
        return copy

    def _read(self, body: Any) -> bytes:
        with self._reported():
            return bytes(body.read(_CHUNK))

    def hold(self, digest: str, *, held: bool) -> None:
        """Put a legal hold on a bundle, or take it away, where bundles are locked."""
        if self._lock is None:
            return
        with self._reported():
            self._client.put_object_legal_hold(
                Bucket=self._name, Key=self._key(digest), LegalHold={"Status": "ON" if held else "OFF"}
            )

    def locked(self, digest: str) -> str | None:
        """Return why a bundle can't be deleted now, or None."""
        state = self._state(digest)
        if state is None:
            return None
        if state.is_held:
            return f"it has a legal hold in {self._shown}"
        if state.until is not None and state.until > datetime.now(UTC):
            until = timestamp_of(round(state.until.timestamp() * 1_000_000))[:16]
            return f"it is locked until {until}Z in {self._shown} ({state.mode.lower()})"
        return None

    def remove(self, digest: str) -> None:
        """Delete a bundle, every version of it, if it is there."""
        key = self._key(digest)
        with self._reported():
            found = self._client.list_object_versions(Bucket=self._name, Prefix=key)
            for version in (*found.get("Versions", ()), *found.get("DeleteMarkers", ())):
                if version["Key"] == key:  # somebody may have put one there whose name goes on
                    self._client.delete_object(Bucket=self._name, Key=key, VersionId=version["VersionId"])

    def digests(self) -> Iterator[str]:
        """Give the digests of all bundles that are here."""
        with self._reported():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=self._prefix)
            for page in pages:
                for found in page.get("Contents", ()):
                    folder, _, name = found["Key"].removeprefix(self._prefix).partition("/")
                    if name == f"{name[:64]}{_SUFFIX}" and folder == name[:2]:
                        yield name[:64]

    def _key(self, digest: str) -> str:
        return f"{self._prefix}{digest[:2]}/{digest}{_SUFFIX}"

    def _state(self, digest: str) -> _State | None:
        found = self._ask(self._client.head_object, digest)
        if found is None:
            return None
        held = found.get("ObjectLockLegalHoldStatus") == "ON"
        return _State(found.get("ObjectLockMode", ""), found.get("ObjectLockRetainUntilDate"), held)

    def _ask(self, ask: Callable[..., Any], digest: str) -> Any:
        """Return what the store answers about a bundle; None: it isn't there."""
        try:
            with self._reported():
                return ask(Bucket=self._name, Key=self._key(digest))
        except _Missing:
            return None

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Turn the store's errors into StoreUnavailable; that an object is missing is a `_Missing`."""
        try:
            yield
        except ClientError as error:
            said = error.response.get("Error", {})
            code = str(said.get("Code", ""))
            if code in _MISSING:
                raise _Missing(f"{self._shown} does not have it", 300) from None
            if code == _NO_BUCKET:
                raise StoreUnavailable(f"the archive's bucket {self._name} does not exist", 300) from None
            if code == _NO_LOCK or _NO_LOCK_HERE in str(said.get("Message", "")).lower():
                raise StoreUnavailable(
                    f"the archive's bucket {self._name} has no object lock: turn it on there, or unset"
                    " AIMGENTIX_ARCHIVE_LOCK",
                    300,
                ) from None
            raise StoreUnavailable(f"the archive {self._shown} refuses {error.operation_name}: {code}", 30) from None
        except BotoCoreError as error:
            raise StoreUnavailable(f"the archive {self._shown} does not work: {_line(error)}", 30) from None


class _Missing(StoreUnavailable):
    """There is no such object."""


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
