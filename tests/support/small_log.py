"""A transparency log in a few lines, as RFC 6962 and C2SP define it: what it makes, our verifiers have to take."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LOG, WITNESS = 1, 4
NAME = "log.example.com/1"


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True)
class Signer:
    """A key, and the name under which it signs."""

    name: str
    kind: int
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def material(self) -> bytes:
        return bytes([self.kind]) + self.key.public_key().public_bytes_raw()

    @property
    def id(self) -> bytes:
        return hashlib.sha256(f"{self.name}\n".encode() + self.material).digest()[:4]

    @property
    def public(self) -> str:
        return f"{self.name}+{self.id.hex()}+{encode(self.material)}"

    def sign(self, text: str, seconds: int) -> str:
        """The line under a checkpoint."""
        if self.kind == LOG:
            return f"\u2014 {self.name} {encode(self.id + self.key.sign(text.encode()))}\n"
        signed = self.key.sign(f"cosignature/v1\ntime {seconds}\n{text}".encode())
        return f"\u2014 {self.name} {encode(self.id + seconds.to_bytes(8, 'big') + signed)}\n"


def entry(digest: str, subject: str, logged_at: int) -> bytes:
    """An entry as the backend writes it; `logged_at` in seconds."""
    members = {"v": 1, "kind": "bundle", "subject": subject, "digest": digest, "logged_at": logged_at * 1_000_000}
    return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def root(entries: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\0" + entries[0]).digest()
    half = 1 << (len(entries) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root(entries[:half]) + root(entries[half:])).digest()


def path(index: int, entries: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962, 2.1.1."""
    if len(entries) == 1:
        return []
    half = 1 << (len(entries) - 1).bit_length() - 1
    if index < half:
        return [*path(index, entries[:half]), root(entries[half:])]
    return [*path(index - half, entries[half:]), root(entries[:half])]


def prove(index: int, entries: Sequence[bytes], seconds: int, *signers: Signer, origin: str = NAME) -> bytes:
    """A proof by a checkpoint that these have signed."""
    text = f"{origin}\n{len(entries)}\n{encode(root(entries))}\n"
    lines = ["c2sp.org/tlog-proof@v1", f"extra {encode(entries[index])}", f"index {index}"]
    lines += map(encode, path(index, entries))
    return ("\n".join(lines) + f"\n\n{text}\n" + "".join(one.sign(text, seconds) for one in signers)).encode()


@dataclass(frozen=True)
class Parties:
    """A log and two witnesses, of which one is enough."""

    log: Signer = field(default_factory=lambda: Signer(NAME, LOG))
    first: Signer = field(default_factory=lambda: Signer("first.example.com", WITNESS))
    second: Signer = field(default_factory=lambda: Signer("second.example.com", WITNESS))

    def policy(self, needed: str = "any") -> bytes:
        lines = [
            f"log {self.log.public}",
            f"witness one {self.first.public}",
            f"witness two {self.second.public}",
            f"group both {needed} one two",
            "quorum both",
        ]
        return "\n".join(lines).encode()


def log_bundle(bundle: Path, parties: Parties, seconds: int) -> None:
    """Put the proof of a bundle beside it, as `record` does."""
    data = (bundle / "bundle.json").read_bytes()
    run = json.loads(data)["run"]
    subject = f"{run['repository']}/runs/{run['run_id']}/attempts/{run['run_attempt']}"
    entries = [b"before", entry(hashlib.sha256(data).hexdigest(), subject, seconds), b"after"]
    proof = prove(1, entries, seconds, parties.log, parties.first)
    bundle.with_name(f"{bundle.name}.tlog-proof").write_bytes(proof)
