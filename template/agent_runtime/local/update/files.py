"""Files as git keeps them: a mode and bytes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Dict, NamedTuple, Optional

REGULAR, EXECUTABLE, LINK = "100644", "100755", "120000"


class File(NamedTuple):
    """One file."""

    mode: str
    data: bytes


def read(path: Path) -> Optional[File]:
    """The file at a path, or None where there is none; a link is its target's name."""
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            return File(LINK, os.fsencode(os.readlink(str(path))))
        if not stat.S_ISREG(mode):
            return None
        executable = bool(mode & stat.S_IXUSR) and os.name != "nt"
        return File(EXECUTABLE if executable else REGULAR, path.read_bytes())
    except OSError:
        return None


def below(root: Path) -> Dict[str, File]:
    """Every file below a folder, by its path there."""
    found = {path.relative_to(root).as_posix(): read(path) for path in sorted(root.rglob("*"))}
    return {name: file for name, file in found.items() if file is not None}
