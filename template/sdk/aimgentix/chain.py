"""The journal line: one event, its place in its stream, and the hash of the line before it.

    {"v":1,"stream":"S","seq":N,"prev":"<64 hex>" or null,"event":{…}}

Members are in this order, without whitespace. A line's hash is the SHA-256 of its exact bytes without the newline;
the next line's `prev` is that hash. The first line of a stream has `seq` 1 and `prev` null; when the stream continues
from another one it also says so, before `event`: `"after":{"stream":…,"seq":…,"hash":…,"reason":…}`.
`specs/journal.md` is the full text.
"""

from __future__ import annotations

import json
import re
from hashlib import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

STREAM_PATTERN = "[0-9A-Za-z][0-9A-Za-z._-]{0,127}"

_LAYOUT = (
    r'\{"v":1,"stream":"(' + STREAM_PATTERN + r')","seq":([1-9][0-9]{0,17}),"prev":(?:null|"([0-9a-f]{64})")'
    r',(?:"after":(\{[^{}]*\}),)?"event":(\{.*\})\}'
)
_match = re.compile(_LAYOUT.encode(), re.DOTALL).fullmatch


class MalformedLine(ValueError):
    """The bytes are not a journal line of a version that this SDK knows."""


class Line:
    """A journal line.

    Attributes:
        raw: the exact bytes, without the newline.
        stream, seq, prev: its place; `prev` is None on the first line of a stream.
    """

    __slots__ = ("_after", "_event", "prev", "raw", "seq", "stream")

    def __init__(
        self, raw: bytes, stream: str, seq: int, prev: Optional[str], after: Optional[bytes], event: bytes
    ) -> None:
        self.raw = raw
        self.stream = stream
        self.seq = seq
        self.prev = prev
        self._after = after
        self._event = event

    @property
    def after(self) -> Optional[Dict[str, Any]]:
        """Where the stream continues from, or None."""
        return None if self._after is None else _object(self._after)

    def check(self) -> None:
        """Check what else the line holds.

        Raises:
            MalformedLine: its event, or where it continues from, is not JSON.
        """
        _object(self._event)
        if self._after is not None:
            _object(self._after)

    @property
    def event(self) -> Dict[str, Any]:
        """The event as JSON values.

        Raises:
            MalformedLine: it is not JSON.
        """
        return _object(self._event)


def line_hash(raw: bytes) -> str:
    """Return the hash of a line, given without its newline."""
    return sha256(raw).hexdigest()


def parse_line(raw: bytes) -> Line:
    """Return the line that `raw` (without newline) holds. Its event is parsed only when asked for.

    Raises:
        MalformedLine: it does not have the layout of a line.
    """
    match = _match(raw)
    if match is None:
        raise MalformedLine("it does not have the layout of a journal line")
    stream, seq, prev, after, event = match.groups()
    if (prev is None) != (seq == b"1"):
        raise MalformedLine("only the first line of a stream has no previous line")
    return Line(raw, stream.decode(), int(seq), None if prev is None else prev.decode(), after, event)


def _object(text: bytes) -> Dict[str, Any]:
    try:
        value = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise MalformedLine(f"it is not JSON: {error}") from None
    if type(value) is not dict:
        raise MalformedLine("it is not a JSON object")
    return value
