"""A Python for programs of the runtime: it compiles no source that was compiled before.

What decides takes nothing compiled from beside its sources (`agent_runtime/__main__.py`), so each of thousands of
processes would compile all that it imports.  Here a source gives what the same bytes gave once, and an edited one is
compiled as ever.  Whatever its options (`-I`, `-S`), it is otherwise the Python that runs the tests.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

from support import compiled
from support.environment import REPOSITORY

# What settles in the place of a package of Python's own.
FIRST = Path(__file__).with_name("programs") / "first.py"
_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def settle(environment: Path) -> None:
    """Let the interpreter of a virtual environment, which may have been settled before, compile nothing twice."""
    home, kept = environment / "home", environment / "code"
    if not kept.exists():
        shutil.rmtree(home, ignore_errors=True)
        library = Path(sysconfig.get_path("stdlib"))
        first = home / "lib" / f"python{_VERSION.replace('.', '')}.zip" / "encodings"  # the first place on every path
        first.mkdir(parents=True)
        shutil.copy(FIRST, first / "__init__.py")
        (home / "lib" / library.name).symlink_to(library)
        (home / "bin").mkdir()
        for name in ("python", "python3", f"python{_VERSION}"):
            (home / "bin" / name).symlink_to(Path(sys.executable).resolve())
        (environment / "pyvenv.cfg").write_text(f"home = {home / 'bin'}\ninclude-system-site-packages = false\n")
        kept.mkdir()
    for folder in ("agent_runtime", "sdk/aimgentix"):
        for path in (REPOSITORY / "template" / folder).rglob("*.py"):
            source = path.read_bytes()
            place = kept / compiled.name(source)
            if compiled.code(source) and not place.exists():
                os.link(compiled.FOLDER / place.name, place)


@cache
def python() -> str:
    """The interpreter, with the packages of the environment that runs the tests."""
    made_of = (sys.version, sys.prefix, FIRST.read_bytes())
    folder = REPOSITORY / "build" / f"python-{hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]}"
    program, packages = folder / "bin" / "python", folder / "lib" / f"python{_VERSION}" / "site-packages"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        settle(folder)
        if not program.exists():
            packages.mkdir(parents=True)
            (packages / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
            program.parent.mkdir()
            program.symlink_to(Path(sys.executable).resolve())
    ask = "import encodings, sys; sys.exit(not encodings._kept)"
    works = subprocess.run([str(program), "-I", "-S", "-c", ask], capture_output=True, check=False).returncode == 0
    return str(program) if works else sys.executable
