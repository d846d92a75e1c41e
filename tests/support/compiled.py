"""What Python makes of sources, kept: each job and each command would compile the whole runtime by itself.

Copies of a source get it beside them (`beside`), where Python believes it as long as the source has the same size and
time; they get an old time, so that an edit is always seen.  What decides reads nothing compiled of its repository, so
that the interpreter of an emulated machine (`interpreter` here), and that of the tests' own programs
(support/interpreter.py), look elsewhere: there the same text is not compiled twice.
"""

from __future__ import annotations

import _imp
import encodings
import fcntl
import hashlib
import importlib.util
import marshal
import os
import py_compile
import sys
from functools import cache
from pathlib import Path

from support.environment import REPOSITORY

FOLDER = REPOSITORY / "build" / "compiled" / importlib.util.MAGIC_NUMBER[:2].hex()
# Where an emulated machine has it.
ON_MACHINES = "/var/cache/python"

_LONG_AGO = 1_000_000_000
# Added to the first module that an interpreter reads from a file, whatever its options.
_LOOKS_UP = f"""

def _look_up():
    import _imp, _io, marshal, sys
    import _frozen_importlib_external as importing

    compiled_here = importing.SourceLoader.source_to_code

    def source_to_code(self, data, path, **options):
        try:
            if sys.flags.optimize:
                raise OSError
            with _io.FileIO("{ON_MACHINES}/" + _imp.source_hash(1, data).hex()) as file:
                code = marshal.loads(file.read())
        except (OSError, TypeError, ValueError, EOFError):
            return compiled_here(self, data, path, **options)
        _imp._fix_co_filename(code, path)
        return code

    # A traceback leaves it out like the rest of the import.
    _imp._fix_co_filename(source_to_code.__code__, compiled_here.__code__.co_filename)
    importing.SourceLoader.source_to_code = source_to_code


_look_up()
"""


def name(source: bytes) -> str:
    """What the code of a source is called in `FOLDER`: by the hash that Python itself uses for compiled files."""
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
    """Put it beside every source below these folders."""
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


def keep(*folders: Path) -> None:
    """Keep it for every source below these folders."""
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        code(path.read_bytes())


@cache
def interpreter() -> Path:
    """A folder to lay over the one of the interpreter of these tests, which then looks for what is kept."""
    source = Path(encodings.__file__)
    text = source.read_text(encoding="utf-8") + _LOOKS_UP
    layer = FOLDER.parent / f"interpreter-{hashlib.sha256(repr((sys.version, text)).encode()).hexdigest()[:16]}"
    module = layer / source.relative_to(sys.base_prefix)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not module.exists():
            module.parent.mkdir(parents=True)
            module.write_text(text, encoding="utf-8")
            py_compile.compile(str(module), doraise=True)
    return layer
