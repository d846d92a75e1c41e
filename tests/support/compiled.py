"""What Python makes of sources, once: each job and each command would compile the whole runtime by itself.

It is kept by what is in a source, so an edited one is compiled anew.
"""

from __future__ import annotations

import _imp
import importlib.util
import marshal
import os
import sys
from functools import cache
from pathlib import Path

from support.environment import REPOSITORY

FOLDER = REPOSITORY / "build" / f"code-{sys.implementation.cache_tag}"
_LONG_AGO = 1_000_000_000


def name(source: bytes) -> str:
    """What the code of a source is called in a folder of such files."""
    return _imp.source_hash(1, source).hex()


@cache
def code(source: bytes) -> bytes:
    """What Python makes of a source, which is in `FOLDER` then; empty where it is none."""
    path = FOLDER / name(source)
    if not path.exists():
        try:
            made = marshal.dumps(compile(source, "<source>", "exec", dont_inherit=True))
        except (SyntaxError, ValueError):
            return b""
        FOLDER.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(made)
        temporary.replace(path)
    return path.read_bytes()


def beside(*folders: Path) -> None:
    """Put it beside every source below these folders.

    Python believes it as long as the source has the same size and time.  The sources get an old time, so that an edit
    is always seen.
    """
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        source = path.read_bytes()
        made = code(source)
        if made:
            place = Path(importlib.util.cache_from_source(str(path)))
            place.parent.mkdir(exist_ok=True)
            os.utime(path, (_LONG_AGO, _LONG_AGO))
            numbers = (0, _LONG_AGO, len(source))
            place.write_bytes(
                importlib.util.MAGIC_NUMBER + b"".join(number.to_bytes(4, "little") for number in numbers) + made
            )
