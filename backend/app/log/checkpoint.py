"""Checkpoints (C2SP tlog-checkpoint) and proofs of inclusion as files (C2SP tlog-proof)."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.log.faults import Fault
from app.log.note import MAX_NOTE_BYTES, Note, decode_base64, decode_hashes, parse_note
from app.log.tiles import MAX_ENTRY_BYTES
from app.log.tree import HASH_BYTES

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_HEAD = "c2sp.org/tlog-proof@v1"
_MOST_HASHES = 63
MAX_PROOF_BYTES = MAX_NOTE_BYTES + 2 * MAX_ENTRY_BYTES


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log's tree.

    Attributes:
        origin: which log.
        extensions: further lines, which say nothing here.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text that is signed."""
        lines = [self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions]
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class Proof:
    """A proof of inclusion; nothing of it is verified.

    Attributes:
        extra: here the entry itself, so that its hash can be computed.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Note
    extra: bytes | None = None

    def __str__(self) -> str:
        lines = [_HEAD]
        if self.extra is not None:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines += [f"index {self.index}", *(base64.b64encode(one).decode() for one in self.hashes)]
        return "".join(f"{line}\n" for line in lines) + f"\n{self.checkpoint}"


def parse_number(text: str) -> int:
    """Return the number that is written in the one way in which it may be.

    Raises:
        Fault: it is not a number.
    """
    if not _NUMBER.fullmatch(text) or int(text) >= 2**63:
        raise Fault("malformed", "a number is expected, and something else was found")
    return int(text)


def parse_checkpoint(text: str) -> Checkpoint:
    """Return what the text of a note says of a tree.

    Raises:
        Fault: it is not a checkpoint.
    """
    lines = text.split("\n")[:-1]
    if len(lines) < 3 or not all(lines):
        raise Fault("malformed", "a checkpoint has three lines or more, and none is empty")
    root = decode_base64(lines[2])
    if len(root) != HASH_BYTES:
        raise Fault("malformed", "the root of a checkpoint has not 32 bytes")
    return Checkpoint(lines[0], parse_number(lines[1]), root, tuple(lines[3:]))


def parse_proof(data: bytes) -> Proof:
    """Return the proof that a file holds.

    Raises:
        Fault: it holds none.
    """
    if len(data) > MAX_PROOF_BYTES:
        raise Fault("malformed", f"the proof is larger than {MAX_PROOF_BYTES} bytes")
    head, separator, note = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        lines = []
    if not separator or not lines or lines.pop(0) != _HEAD:
        raise Fault("malformed", f"a proof starts with {_HEAD} and ends with a checkpoint after an empty line")
    extra = decode_base64(lines.pop(0).removeprefix("extra ")) if lines and lines[0].startswith("extra ") else None
    if not lines or not lines[0].startswith("index "):
        raise Fault("malformed", "the proof has no index")
    index = parse_number(lines.pop(0).removeprefix("index "))
    return Proof(index, tuple(parse_hashes(lines)), parse_note(note), extra)


def parse_hashes(lines: Sequence[str]) -> list[bytes]:
    """Return the hashes of a proof, one a line.

    Raises:
        Fault: they aren't hashes, or too many.
    """
    if len(lines) > _MOST_HASHES:
        raise Fault("malformed", f"a proof has at most {_MOST_HASHES} hashes")
    return decode_hashes(lines)
