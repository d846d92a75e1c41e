"""What Copier made is kept: the same files and answers give the same repository, which hundreds of tests want again.

Copier renders it the first time; later, in other processes and runs too, what it made is written anew.  The name under
which it is kept says all that Copier reads.  Little is imported: programs start with this.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import stat
import sys
import zlib
from pathlib import Path

_FOLDER = Path(__file__).resolve().parents[2] / "build" / "renderings"
_ANSWERS = ".copier-answers.yml"
_ORIGIN = (b"_commit:", b"_src_path:")
_PLACE = b"_src_path: <source>\n"
# More than one run of all tests makes; the oldest go first.
_MOST = 400

# By path: a file's content or a link's target, and the mode.
Files = dict[str, tuple[bytes, int]]


def name(*read: object) -> str:
    """The name for what this Copier makes of what it reads."""
    packages = Path(sys.prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
    versions = sorted(path.name for path in packages.glob("*.dist-info"))
    return hashlib.sha256(repr((sys.version, versions, read)).encode()).hexdigest()


def files(root: Path) -> Files:
    """Everything below a folder but its .git."""
    found: Files = {}
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).as_posix()
        if not inside.startswith(".git/"):
            mode = path.lstat().st_mode
            link = stat.S_ISLNK(mode)
            data = os.fsencode(path.readlink()) if link else path.read_bytes() if stat.S_ISREG(mode) else b""
            found[inside] = (data, mode)
    return found


def without_origin(found: Files) -> Files:
    """The same files; the answers don't say where they came from."""
    answers, mode = found.get(_ANSWERS, (b"", 0))
    lines = [line for line in answers.splitlines(keepends=True) if not line.startswith(_ORIGIN)]
    return {**found, _ANSWERS: (b"".join(lines), mode)}


def write(kept: str, source: str, target: Path) -> bool:
    """Write what is kept under a name, as made from this source; return whether there is anything."""
    try:
        made: Files = marshal.loads(zlib.decompress((_FOLDER / kept).read_bytes()))
    except FileNotFoundError:
        return False
    target.mkdir(parents=True, exist_ok=True)
    for inside, (data, mode) in made.items():
        path = target / inside
        if stat.S_ISDIR(mode):
            path.mkdir(exist_ok=True)
        elif stat.S_ISLNK(mode):
            path.symlink_to(os.fsdecode(data))
        else:
            path.write_bytes(data.replace(_PLACE, _line(source)) if inside == _ANSWERS else data)
            path.chmod(stat.S_IMODE(mode))
    return True


def keep(kept: str, source: str, target: Path) -> None:
    """Keep what was made from this source."""
    made = files(target)
    answers, mode = made[_ANSWERS]
    if _line(source) not in answers:  # its name is one that YAML quotes
        return
    made[_ANSWERS] = (answers.replace(_line(source), _PLACE), mode)
    _FOLDER.mkdir(parents=True, exist_ok=True)
    temporary = _FOLDER / f"{kept}-{os.getpid()}"
    temporary.write_bytes(zlib.compress(marshal.dumps(made), 1))
    temporary.replace(_FOLDER / kept)
    there = list(_FOLDER.iterdir())
    if len(there) > _MOST:
        for each in sorted(there, key=lambda path: path.stat().st_mtime)[:-_MOST]:
            each.unlink(missing_ok=True)


def _line(source: str) -> bytes:
    return f"_src_path: {source}\n".encode()
