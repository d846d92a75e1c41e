"""Files of one folder: which are there, and deleting exactly those that were approved.

The folder is opened once, and everything below it is reached from there, one folder at a time: no link is followed, no
other file system is entered, and a folder that somebody swaps for another one meanwhile stays the one that was opened.
POSIX only.
"""

from __future__ import annotations

import os
import re
import stat
import time
import unicodedata
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from agent_runtime.text.escape import is_visible, visible
from agent_runtime.toolkit.errors import FOLDER_UNUSABLE, ToolError

MAX_FILES = 100_000
MAX_DEPTH = 30
DELETED, GONE, LEFT = "deleted", "gone", "left"

_SHOWN = 80
_YEAR_10000 = 253_402_300_800
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# What a policy reads as something else than a name: an encoding, a home, a variable, another separator.
_NOT_PLAIN = re.compile(r"[\\%~$,;]")


@dataclass(frozen=True)
class File:
    """One regular file, as a plan names it: whoever finds it otherwise finds another one.

    Arguments:
        path: relative to the folder, with `/` between names.
        modified: in UTC, to the nanosecond.
        inode: as text, because JSON has no numbers of that size.
    """

    path: str
    bytes: int
    modified: str
    inode: str

    def parameters(self) -> Dict[str, Any]:
        """The file as an object of a plan."""
        return {"path": self.path, "bytes": self.bytes, "modified": self.modified, "inode": self.inode}


@dataclass(frozen=True)
class Listing:
    """What is in a folder.

    Arguments:
        files: those that a plan can name, in no order.
        used: bytes of all regular files.
        left_out: what a plan can't name, escaped, each with the reason.
    """

    files: Tuple[File, ...]
    used: int
    left_out: Tuple[str, ...]


@contextmanager
def opened(folder: str) -> Iterator[int]:
    """Open a folder for the time of a block; yield its descriptor.

    Raises:
        ToolError: it is a link, not there, not a folder, or closed to this user (TOOL21).
    """
    try:
        descriptor = os.open(folder, _FOLDER)
    except (OSError, ValueError) as problem:
        raise ToolError(FOLDER_UNUSABLE, f"{visible(folder, _SHOWN)} {_why(folder, problem)}") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def identity(folder: int) -> str:
    """Which folder this is, whatever its name: its inode number, which is the same on every machine that mounts it."""
    return str(os.fstat(folder).st_ino)


def listing(folder: int) -> Listing:
    """List a folder and all that is below it.

    Raises:
        ToolError: it has too many files, or can't be read (TOOL21).
    """
    files: List[File] = []
    left_out: List[str] = []
    used = 0
    try:
        for path, found in _walk(folder, "", os.fstat(folder).st_dev, left_out):
            used += found.st_size
            reason = _not_nameable(path) or _not_plain(found)
            if reason:
                left_out.append(f"{_shown(path)}: {reason}")
            else:
                files.append(File(path, found.st_size, _time(found.st_mtime_ns), str(found.st_ino)))
            if len(files) + len(left_out) > MAX_FILES:
                raise ToolError(FOLDER_UNUSABLE, f"the folder has more than {MAX_FILES} files")
    except OSError as problem:
        raise ToolError(FOLDER_UNUSABLE, f"the folder can't be read: {problem.strerror}") from None
    return Listing(tuple(files), used, tuple(left_out))


def delete(folder: int, approved: Mapping[str, Any]) -> Tuple[str, str]:
    """Delete one file of a plan if it is still the approved one; return `DELETED`, `GONE` or `LEFT`, and why.

    Between the last look and the deletion there is a moment in which somebody could put another file in its place.

    Arguments:
        approved: what `File.parameters()` gave.
    """
    *folders, name = str(approved["path"]).split("/")
    if not name or any(each in ("", ".", "..") for each in (*folders, name)):
        return LEFT, "it is not a path below the folder"
    descriptors = [folder]
    try:
        for each in folders:
            descriptors.append(os.open(each, _FOLDER, dir_fd=descriptors[-1]))
        found = os.stat(name, dir_fd=descriptors[-1], follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            return LEFT, "it is not a regular file any more"
        now = {"bytes": found.st_size, "modified": _time(found.st_mtime_ns), "inode": str(found.st_ino)}
        changed = [key for key, value in now.items() if approved.get(key) != value]
        if changed:
            return LEFT, f"it changed since the plan was made ({', '.join(changed)})"
        os.unlink(name, dir_fd=descriptors[-1])
    except FileNotFoundError:
        return GONE, ""  # somebody was faster
    except (OSError, ValueError) as problem:
        return LEFT, getattr(problem, "strerror", None) or "it can't be named"
    finally:
        for descriptor in descriptors[1:]:
            os.close(descriptor)
    return DELETED, ""


def _walk(folder: int, prefix: str, device: int, left_out: List[str]) -> Iterator[Tuple[str, os.stat_result]]:
    """Every regular file below a folder; what is neither that nor a folder goes to `left_out`."""
    for name in os.listdir(folder):
        path = prefix + name
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                yield path, found
            elif not stat.S_ISDIR(found.st_mode):
                left_out.append(f"{_shown(path)}: it is a link or a device")
            elif found.st_dev != device or path.count("/") >= MAX_DEPTH:
                left_out.append(f"{_shown(path)}: it is another file system, or too deep")
            else:
                inner = os.open(name, _FOLDER, dir_fd=folder)
                try:
                    yield from _walk(inner, path + "/", device, left_out)
                finally:
                    os.close(inner)
        except (FileNotFoundError, NotADirectoryError):
            continue  # gone, or swapped, since the folder was read
        except PermissionError:
            left_out.append(f"{_shown(path)}: it can't be read")


def _not_nameable(path: str) -> Optional[str]:
    """Why a plan can't name a path: a policy could not judge it, or a person not read it."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if not is_visible(path) or not unicodedata.is_normalized("NFC", path):
        return "its name has characters that can't be seen"
    if _NOT_PLAIN.search(path) or any(each != each.strip() for each in path.split("/")):
        return "its name has signs that mean something else in paths"
    return None


def _not_plain(found: os.stat_result) -> Optional[str]:
    """Why a file can't be in a plan: deleting one of its names frees nothing, or its time is not one that JSON has."""
    if found.st_nlink > 1:
        return "it has several names"
    return None if 0 <= found.st_mtime_ns < _YEAR_10000 * 10**9 else "its time can't be written"


def _why(folder: str, problem: Exception) -> str:
    if Path(folder).is_symlink():
        return "is a link: name the folder itself"
    if isinstance(problem, NotADirectoryError):
        return "is not a folder"
    return "is not there" if isinstance(problem, FileNotFoundError) else f"can't be opened: {problem}"


def _shown(path: str) -> str:
    return visible(path, _SHOWN)


def _time(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"
