"""What Python makes of sources, put beside them: each job and each command would compile the whole runtime by itself.

Python compares it with the source before it believes it, so that an edited file still does what it says.
"""

from __future__ import annotations

import importlib.util
import marshal
from functools import cache
from pathlib import Path

# PEP 552: the source's hash is in the file, and is compared.
_CHECKED_HASH = (0b11).to_bytes(4, "little")


def beside(*folders: Path) -> None:
    """Put it beside every source below these folders."""
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        made = _compiled(path.read_bytes())
        if made:
            place = Path(importlib.util.cache_from_source(str(path)))
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(made)


@cache
def _compiled(source: bytes) -> bytes:
    try:
        code = compile(source, "<source>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return b""
    head = importlib.util.MAGIC_NUMBER + _CHECKED_HASH + importlib.util.source_hash(source)
    return head + marshal.dumps(code)
