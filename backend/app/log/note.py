"""Signed notes (C2SP signed-note) and the keys that sign them: Ed25519 for a log, cosignature/v1 for a witness."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.log.faults import Fault

LOG = 0x01
"""The type of an Ed25519 signature over the note's text."""
WITNESS = 0x04
"""The type of a timestamped Ed25519 cosignature over a checkpoint."""

MAX_NOTE_BYTES = 64 * 1024
_MOST_SIGNATURES = 64
_ID_BYTES = 4
_KEY_BYTES = 32
_SIGNATURE_BYTES = {LOG: 64, WITNESS: 72}
_MOST_SECONDS = 2**63 - 1
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class Signature(NamedTuple):
    """One signature line: who signed, and what.

    Attributes:
        key_id: four bytes.
        value: what follows them.
    """

    name: str
    key_id: bytes
    value: bytes

    @property
    def line(self) -> str:
        """The line, with its end."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"


@dataclass(frozen=True)
class Note:
    """A text, its last newline included, and the signatures under it; nothing of it is verified."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(signature.line for signature in self.signatures)}"


@dataclass(frozen=True)
class VerifierKey:
    """Whose signatures are believed.

    Attributes:
        kind: LOG or WITNESS.
        public: 32 bytes.
    """

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """What signatures of this key carry."""
        material = f"{self.name}\n".encode() + bytes([self.kind]) + self.public
        return hashlib.sha256(material).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    def signed(self, signature: Signature) -> bool:
        """Return whether this signature says that it is of this key."""
        return signature.name == self.name and signature.key_id == self.key_id

    def time_of(self, text: str, signature: Signature) -> int:
        """Return when a witness signed, as it says, in seconds since 1970; 0 for a log.

        Raises:
            Fault: it did not sign this.
        """
        value = signature.value
        code = "log-signature" if self.kind == LOG else "witness-signature"
        seconds = 0
        if len(value) != _SIGNATURE_BYTES[self.kind]:
            raise Fault(code, f"the signature of {self.name} has {len(value)} bytes, not {_SIGNATURE_BYTES[self.kind]}")
        if self.kind == WITNESS:
            seconds, value = int.from_bytes(value[:8], "big"), value[8:]
            if seconds > _MOST_SECONDS:
                raise Fault(code, f"the time of the signature of {self.name} is not a time")
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(value, _message(self.kind, text, seconds))
        except InvalidSignature:
            raise Fault(code, f"the signature of {self.name} ({self.key_id.hex()}) is not one over this text") from None
        return seconds


@dataclass(frozen=True)
class SignerKey:
    """A key that signs.

    Attributes:
        private: 32 bytes, the seed.
    """

    name: str
    kind: int
    private: bytes = field(repr=False)

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        return VerifierKey(self.name, self.kind, self._key().public_key().public_bytes_raw())

    def sign(self, text: str, seconds: int = 0) -> Signature:
        """Return the signature over `text`; the same text always gets the same one.

        Args:
            seconds: the time that a witness signs too.
        """
        value = self._key().sign(_message(self.kind, text, seconds))
        if self.kind == WITNESS:
            value = seconds.to_bytes(8, "big") + value
        return Signature(self.name, self.verifier.key_id, value)

    def encode(self) -> str:
        """Return it as it is kept in a file: the form of Go's sumdb/note."""
        key = base64.b64encode(bytes([self.kind]) + self.private).decode()
        return f"PRIVATE+KEY+{self.name}+{self.verifier.key_id.hex()}+{key}"

    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.private)


def new_signer(name: str, kind: int) -> SignerKey:
    """Make a key.

    Raises:
        Fault: the name can't be one of a key.
    """
    if not is_name(name):
        raise Fault("bad-key", f"{name!r} can't be a name: it has spaces, a plus, or nothing at all")
    return SignerKey(name, kind, Ed25519PrivateKey.generate().private_bytes_raw())


def is_name(name: str) -> bool:
    """Return whether a key may have this name."""
    return bool(name) and "+" not in name and not any(sign.isspace() for sign in name) and name.isprintable()


def parse_verifier(text: str) -> VerifierKey:
    """Return the key that `name+id+base64` stands for.

    Raises:
        Fault: it stands for none.
    """
    name, _, rest = text.strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    kind, public = _material(encoded, f"{text.strip()!r} is not a verifier key, which looks like name+id+base64")
    key = VerifierKey(name, kind, public)
    if not is_name(name) or key.key_id.hex() != key_id:
        raise Fault("bad-key", f"name, id and key of {name!r} don't belong together")
    return key


def parse_signer(text: str) -> SignerKey:
    """Return the key that a line of a key file holds. What the line says is not repeated in an error.

    Raises:
        Fault: it holds none.
    """
    words = text.strip().split("+", 4)
    _, _, name, key_id, encoded = words if len(words) == 5 else [""] * 5
    kind, private = _material(
        encoded, "a line of the key file is not a key, which looks like PRIVATE+KEY+name+id+base64"
    )
    key = SignerKey(name, kind, private)
    if words[:2] != ["PRIVATE", "KEY"] or not is_name(name) or key.verifier.key_id.hex() != key_id:
        raise Fault("bad-key", "name, id and key of a line of the key file don't belong together")
    return key


def parse_note(data: bytes) -> Note:
    """Return the note that `data` is.

    Raises:
        Fault: it is none.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise Fault("malformed", f"the note is larger than {MAX_NOTE_BYTES} bytes")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise Fault("malformed", "the note is not UTF-8") from None
    if _CONTROL.search(whole):
        raise Fault("malformed", "the note has control characters")
    head, separator, tail = whole.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise Fault("malformed", "the note has no signatures, or its end is missing")
    lines = tail[:-1].split("\n")
    if len(lines) > _MOST_SIGNATURES:
        raise Fault("malformed", f"the note has more than {_MOST_SIGNATURES} signatures")
    return Note(f"{head}\n", tuple(map(parse_signature, lines)))


def parse_signature(line: str) -> Signature:
    """Return the signature that a line, without its end, holds.

    Raises:
        Fault: it holds none.
    """
    words = line.split(" ")
    if len(words) != 3 or words[0] != "—" or not is_name(words[1]):
        raise Fault("malformed", "a signature line is not: dash, name, base64")
    value = decode_base64(words[2])
    if len(value) <= _ID_BYTES:
        raise Fault("malformed", f"the signature of {words[1]} is cut off")
    return Signature(words[1], value[:_ID_BYTES], value[_ID_BYTES:])


def signatures_of(note: Note, keys: Iterable[VerifierKey]) -> dict[VerifierKey, int]:
    """Return which of the keys signed the note, and when. Signatures of other keys are ignored.

    Raises:
        Fault: a signature says that it is of one of the keys and isn't; then the whole note is worth nothing.
    """
    known = {(key.name, key.key_id): key for key in keys}
    found: dict[VerifierKey, int] = {}
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is not None:
            found[key] = max(found.get(key, 0), key.time_of(note.text, signature))
    return found


def decode_base64(text: str) -> bytes:
    """Return what standard base64 stands for; of several ways to write the same bytes one is right.

    Raises:
        Fault: it isn't base64.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Fault("malformed", "base64 is expected, and something else was found") from None
    if base64.b64encode(data).decode() != text:
        raise Fault("malformed", "base64 is expected, and something else was found")
    return data


def decode_hashes(lines: Sequence[str]) -> list[bytes]:
    """Return the hashes that lines hold, one each.

    Raises:
        Fault: one of them holds none.
    """
    hashes = [decode_base64(line) for line in lines]
    if any(len(one) != _KEY_BYTES for one in hashes):
        raise Fault("malformed", "a hash of a proof has not 32 bytes")
    return hashes


def _message(kind: int, text: str, seconds: int) -> bytes:
    head = f"cosignature/v1\ntime {seconds}\n" if kind == WITNESS else ""
    return f"{head}{text}".encode()


def _material(encoded: str, complaint: str) -> tuple[int, bytes]:
    try:
        material = decode_base64(encoded)
    except Fault:
        material = b""
    if len(material) != 1 + _KEY_BYTES or material[0] not in (LOG, WITNESS):
        raise Fault("bad-key", complaint)
    return material[0], material[1:]
