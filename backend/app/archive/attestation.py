"""What an attestation of a bundle is about: a bundle of Sigstore with an in-toto statement in it. Pure functions.

Whether it is genuine only `verify` can say, with the keys that an auditor trusts. What is looked at here is whether it
belongs to the bundle beside which it is kept.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from app.archive.bundle import InvalidBundle

MOST = 5
"""How many attestations are kept of one bundle: a forged one that came first must not keep the true one out."""
MAX_BYTES = 128 * 1024

_STATEMENT = "https://in-toto.io/Statement/v1"


class _Envelope(msgspec.Struct):
    payload: str
    signatures: list[dict[str, object]]


class _Sigstore(msgspec.Struct, rename="camel"):
    dsse_envelope: _Envelope


class _Subject(msgspec.Struct):
    digest: dict[str, str]


class _Statement(msgspec.Struct):
    type: str = msgspec.field(name="_type")
    subject: list[_Subject]


def read_attestations(data: bytes, digest: str) -> list[str]:
    """Return the attestations that a file holds, one in JSON or one a line, each on one line.

    Args:
        digest: of the bundle that each has to be of, and of no other.

    Raises:
        InvalidBundle: it is something else.
    """
    try:
        texts = [msgspec.json.decode(data, type=msgspec.Raw)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        texts = [msgspec.Raw(line) for line in data.split(b"\n") if line.strip()]
    if not 0 < len(texts) <= MOST:
        raise InvalidBundle("attestation-too-many", f"it holds {len(texts)}; 1 to {MOST} are taken")
    return [_read(bytes(text), digest) for text in texts]


def _read(data: bytes, digest: str) -> str:
    if len(data) > MAX_BYTES:
        raise InvalidBundle("attestation-too-large", f"it has more than {MAX_BYTES} bytes")
    try:
        envelope = msgspec.json.decode(data, type=_Sigstore).dsse_envelope
        statement = msgspec.json.decode(base64.b64decode(envelope.payload, validate=True), type=_Statement)
        line = msgspec.json.format(data, indent=-1).decode()
    except (msgspec.DecodeError, binascii.Error, UnicodeDecodeError, RecursionError, ValueError):
        raise InvalidBundle("attestation-invalid", "it is not a bundle of Sigstore with a statement in it") from None
    if statement.type != _STATEMENT or not envelope.signatures:
        raise InvalidBundle("attestation-invalid", "what it has is not a signed statement of in-toto")
    subjects = [subject.digest for subject in statement.subject]
    if subjects != [{"sha256": digest}]:
        raise InvalidBundle("attestation-other-bundle", "its subject is not this bundle, and it alone")
    return line
