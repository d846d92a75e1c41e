"""What the log has entries about. Pure functions."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from app.log.faults import Fault

BUNDLE = "bundle"
STREAM = "stream"

MAX_SUBJECT = 500
_MOST_MICROSECONDS = 253_402_300_800 * 1_000_000
"""The beginning of the year 10000."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """One entry.

    Attributes:
        kind: BUNDLE or STREAM.
        subject: what it belongs to: a run, a stream; None for events that came without a stream.
        digest: the SHA-256 of the bundle, or over the events of the stream, in hex.
        logged_at: when it came, by the backend's clock; µs since 1970.
        details: of a stream: which events the digest is over.
    """

    kind: str
    subject: str | None
    digest: str
    logged_at: int
    details: dict[str, Any] | None = None

    def encode(self) -> bytes:
        """Return the entry as it is in the log: JSON, the members sorted, no spaces."""
        members = {
            "v": 1,
            "kind": self.kind,
            "subject": self.subject,
            "digest": self.digest,
            "logged_at": self.logged_at,
        }
        return msgspec.json.encode(members | (self.details or {}), order="sorted")

    @property
    def identity(self) -> bytes:
        """What makes it another entry than others, whenever it came."""
        same = [self.kind, self.subject, self.digest, self.details]
        return hashlib.sha256(msgspec.json.encode(same, order="sorted")).digest()


def is_digest(text: str) -> bool:
    """Return whether this is a SHA-256 in hex."""
    return _DIGEST.fullmatch(text) is not None


def parse_entry(data: bytes) -> Entry:
    """Return the entry that `data` is.

    Raises:
        Fault: it is none.
    """
    try:
        members = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        members = None
    if not isinstance(members, dict) or members.pop("v", None) != 1:
        raise Fault("malformed", "the entry is not one of this log's")
    kind, subject = members.pop("kind", None), members.pop("subject", None)
    digest, logged_at = members.pop("digest", None), members.pop("logged_at", None)
    if (
        kind not in (BUNDLE, STREAM)
        or not isinstance(subject, str | None)
        or not (isinstance(digest, str) and is_digest(digest))
        or type(logged_at) is not int
        or not 0 <= logged_at < _MOST_MICROSECONDS
    ):
        raise Fault("malformed", "the entry is not one of this log's")
    entry = Entry(kind, subject, digest, logged_at, members or None)
    if entry.encode() != data:
        raise Fault("malformed", "the entry is not written as this log writes it")
    return entry
