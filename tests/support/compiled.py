"""What Python makes of sources, put beside them: each job and each command would compile the whole runtime by itself.

Python believes it as long as the source has the same size and time.  The sources get an old time, so that an edit is
always seen.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
from functools import cache
from pathlib import Path

_LONG_AGO = 1_000_000_000


def beside(*folders: Path) -> None:
    """Put it beside every source below these folders."""
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        source = path.read_bytes()
        made = _compiled(source)
        if made:
            place = Path(importlib.util.cache_from_source(str(path)))
            place.parent.mkdir(exist_ok=True)
            os.utime(path, (_LONG_AGO, _LONG_AGO))
            numbers = (0, _LONG_AGO, len(source))
            place.write_bytes(
                importlib.util.MAGIC_NUMBER + b"".join(number.to_bytes(4, "little") for number in numbers) + made
            )


@cache
def _compiled(source: bytes) -> bytes:
    try:
        return marshal.dumps(compile(source, "<source>", "exec", dont_inherit=True))
    except (SyntaxError, ValueError):
        return b""
