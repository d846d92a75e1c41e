"""The protocol between a log and its witnesses (C2SP tlog-witness): requests as text, and the log's side of HTTP."""

from __future__ import annotations

import base64
import hashlib
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import NamedTuple

from app.log.checkpoint import parse_hashes, parse_number
from app.log.faults import Fault
from app.log.note import MAX_NOTE_BYTES, Note, Signature, parse_note, parse_signature

MAX_REQUEST_BYTES = MAX_NOTE_BYTES + 4096
SIZE_TYPE = "text/x.tlog.size"
_SECONDS = 10


class Request(NamedTuple):
    """A checkpoint to be cosigned.

    Attributes:
        old: the size of the tree that the proof starts from.
    """

    old: int
    proof: tuple[bytes, ...]
    note: Note

    def __str__(self) -> str:
        lines = [f"old {self.old}", *(base64.b64encode(one).decode() for one in self.proof)]
        return "".join(f"{line}\n" for line in lines) + f"\n{self.note}"


class Answer(NamedTuple):
    """What a witness answered.

    Attributes:
        signatures: of it, when it cosigned.
        size: the tree's that it has, when that is another one.
    """

    status: int
    signatures: tuple[Signature, ...]
    size: int | None
    text: str


def parse_request(data: bytes) -> Request:
    """Return the request that a body holds.

    Raises:
        Fault: it holds none.
    """
    head, separator, note = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        lines = [""]
    if not separator or not lines[0].startswith("old "):
        raise Fault("malformed", "a request starts with `old SIZE` and ends with a checkpoint after an empty line")
    return Request(parse_number(lines[0].removeprefix("old ")), tuple(parse_hashes(lines[1:])), parse_note(note))


def ask_cosignature(url: str, request: Request) -> Answer:
    """Send a checkpoint to the witness at `url`.

    Raises:
        OSError: it does not answer.
        Fault: its answer is none.
    """
    status, body, kind = _send(f"{url.rstrip('/')}/add-checkpoint", str(request).encode())
    text = body.decode("utf-8", "replace")
    if status == 200:
        return Answer(status, tuple(map(parse_signature, text.removesuffix("\n").split("\n"))), None, text)
    size = parse_number(text.strip()) if status == 409 and kind == SIZE_TYPE else None
    return Answer(status, (), size, text)


def fetch_witnessed(url: str, origin: str) -> Note | None:
    """Return the last checkpoint of the log that the witness at `url` cosigned, or None when there is none.

    Raises:
        OSError: it does not answer.
        Fault: its answer is none.
    """
    status, body, _ = _send(f"{url.rstrip('/')}/{origin_hash(origin)}/checkpoint", None)
    if status == 404:
        return None
    if status != 200:
        raise OSError(f"it answered {status}")
    return parse_note(body)


def origin_hash(origin: str) -> str:
    """Return what stands for a log in a witness's addresses."""
    return hashlib.sha256(origin.encode()).hexdigest()


def new_signatures(note: Note, signatures: Sequence[Signature]) -> Note:
    """Return the note with further signatures, each once."""
    lines = {(one.name, one.key_id): one for one in (*note.signatures, *signatures)}
    return Note(note.text, tuple(lines.values()))


def _send(url: str, body: bytes | None) -> tuple[int, bytes, str]:
    if not url.startswith(("http://", "https://")):
        raise OSError("the witness's address is neither http:// nor https://")
    request = urllib.request.Request(url, body, {"Content-Type": "text/plain; charset=utf-8"})  # noqa: S310  as above
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            return answer.status, answer.read(MAX_REQUEST_BYTES), answer.headers.get_content_type()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(MAX_REQUEST_BYTES), error.headers.get_content_type()
