"""Where this repository lies, and programs and interpreters that must exist."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# What a generated repository promises to run on, oldest first.
SUPPORTED_PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


def missing(reason: str) -> NoReturn:
    """Skip the test on a developer's machine; fail it where `CI=true`, because CI skips nothing."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI skips nothing")
    pytest.skip(reason)


def require_tool(name: str) -> str:
    """Return the path of the program `name`; without it skip locally, and fail where `CI=true`."""
    return _find_program(name) or missing(f"{name} is not installed")


def _find_program(name: str) -> str | None:
    """Look where the running Python's own programs lie, then on PATH."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def as_root(*command: str) -> bool:
    """Run a command as root, which this user is or may become without a password; return whether it worked."""
    words = command if os.geteuid() == 0 else ("sudo", "-n", *command)
    return subprocess.run(words, capture_output=True, check=False).returncode == 0 if shutil.which(words[0]) else False


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A file system of this size in a new folder, for a while; it takes root to make one."""
    place.mkdir()
    if not as_root("mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "tmpfs", str(place)):
        missing("a small file system can't be mounted by this user")
    try:
        yield place
    finally:
        assert as_root("umount", "--lazy", str(place))


def require_python(version: str) -> str:
    """Return the path of a working Python `version` ("3.8"); without it skip locally, and fail where `CI=true`."""
    return find_python(version) or missing(f"Python {version} is not installed")


def newest_python() -> tuple[str, str]:
    """Return version and path of the newest supported Python on this machine."""
    for version in reversed(SUPPORTED_PYTHONS):
        path = find_python(version)
        if path:
            return version, path
    return missing("no supported Python is installed")


@cache
def find_python(version: str) -> str | None:
    """Return the path of a working Python `version` ("3.8"), from PATH or from pyenv's versions, or None."""
    candidates = [shutil.which(f"python{version}"), *_pyenv_pythons(version)]
    return next((path for path in candidates if path and _is_python(path, version)), None)


@cache
def _pyenv_pythons(version: str) -> tuple[str, ...]:
    """The interpreters of `version` that pyenv holds, newest patch release first."""
    if not shutil.which("pyenv"):
        return ()
    root = Path(subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True).stdout.strip())
    installed: list[tuple[int, str]] = []
    for folder in (root / "versions").glob(f"{version}.*"):
        patch = folder.name[len(version) + 1 :]
        if patch.isdigit():
            installed.append((int(patch), str(folder / "bin" / "python")))
    return tuple(path for _, path in sorted(installed, reverse=True))


def _is_python(path: str, version: str) -> bool:
    """Whether `path` starts and says that it is `version` (a pyenv shim may exist and refuse to start)."""
    script = "import sys; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([path, "-c", script], capture_output=True, text=True, check=False)
    return answer.returncode == 0 and answer.stdout.strip() == version
