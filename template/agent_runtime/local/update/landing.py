"""Bring a finished update into the repository: a program of its own, which outlives the command that started it.

    python -I -S landing.py TOP REF OLD NEW JOURNAL UNMERGED

The branch moves first, at once or not at all; then the checkout follows.  A journal in git's folder says so for as long
as that takes.  With an empty REF the checkout alone changes, and files may be unmerged in it: UNMERGED is a file with
their entries of the index.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import List, Sequence, Tuple


class Failed(Exception):
    """git refused; the text is what it said."""


def git(top: str, *words: str, data: bytes = b"") -> bytes:
    """Run git in `top`, without hooks, and return what it printed."""
    command = ["git", "-c", f"core.hooksPath={os.devnull}", *words]
    done = subprocess.run(command, cwd=top, capture_output=True, input=data, check=False)  # noqa: S603
    if done.returncode:
        raise Failed(done.stderr.decode("utf-8", "replace").strip())
    return done.stdout


def land(top: str, ref: str, old: str, new: str, *, journal: str, unmerged: str) -> None:
    """Move the branch and the checkout from one commit to another one.

    Raises:
        Failed: git refused, or the disk is full; the branch and the checkout are as they were.
    """
    require_room(top, old, new, journal + "-room")
    with open(journal, "w", encoding="utf-8") as stream:  # noqa: PTH123  as little as possible is loaded here
        stream.write("\n".join((ref, old, new)))
    moved = False
    try:
        if ref:
            git(top, "update-ref", "-m", "update from the template", ref, new, old)
            moved = True
        git(top, "read-tree", "-m", "-u", old, new)
        with open(unmerged, "rb") as stream:  # noqa: PTH123
            git(top, "update-index", "-z", "--index-info", data=stream.read())
    except Failed:
        if moved:
            git(top, "update-ref", "-m", "update from the template taken back", ref, old, new)
        bring(top, old, new, old)
        os.unlink(journal)  # noqa: PTH108
        raise
    os.unlink(journal)  # noqa: PTH108


def require_room(top: str, old: str, new: str, place: str) -> None:
    """Refuse where the disk can't hold both versions of what differs between two commits, and the index twice.

    Raises:
        Failed: saying how much is needed.
    """
    blobs = b"".join(blob + b"\n" for _, *sides in _changed(top, old, new) for blob in sides)
    sizes = git(top, "cat-file", "--batch-check=%(objectsize)", data=blobs).split(b"\n")
    blocks = sum(int(size) // 4096 + 1 for size in sizes if size.isdigit())
    needed = blocks * 4096 + 2 * len(git(top, "ls-files", "--stage")) + 2**20
    try:
        with open(place, "wb") as stream:  # noqa: PTH123
            stream.write(os.urandom(needed))
    except OSError as error:
        raise Failed(f"{needed / 2**20:.1f} MiB are needed: {error.strerror}") from None
    finally:
        os.unlink(place)  # noqa: PTH108


def bring(top: str, old: str, new: str, wanted: str) -> None:
    """Bring each file that differs between two commits, and the index, to one of them.

    A file that is as in neither of them is somebody's work: it stays, where the old commit is wanted.

    Raises:
        Failed: there is one, and the new commit is wanted.
    """
    changed = _changed(top, old, new)
    there = [name for name, _, _ in changed if os.path.isfile(os.path.join(top, name))]  # noqa: PTH113, PTH118
    hashed = git(top, "hash-object", "--", *there).split() if there else []
    here = dict(zip(there, hashed))
    sides: List[str] = []
    for name, before, after in changed:
        if here.get(name, before) not in (before, after):
            if wanted == new:
                raise Failed(f"{name} was edited meanwhile")
        elif (after if wanted == new else before).strip(b"0"):  # else it is not in that commit
            sides.append(name)
        elif name in here:
            os.unlink(os.path.join(top, name))  # noqa: PTH108, PTH118
    git(top, "read-tree", wanted)
    if sides:
        git(top, "checkout-index", "--force", "--", *sides)
    git(top, "update-index", "-q", "--refresh")


def _changed(top: str, old: str, new: str) -> List[Tuple[str, bytes, bytes]]:
    """The files that differ between two commits, each with its two blobs."""
    words = git(top, "diff-tree", "-r", "-z", "--no-renames", old, new).split(b"\0")[:-1]
    blobs = [about.split(b" ")[2:4] for about in words[::2]]
    return [(os.fsdecode(name), before, after) for name, (before, after) in zip(words[1::2], blobs)]


def main(arguments: Sequence[str]) -> int:
    """Land; return 0, or 1 after saying why not."""
    for number in (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])):
        signal.signal(number, signal.SIG_IGN)
    try:
        top, ref, old, new, journal, unmerged = arguments
        land(top, ref, old, new, journal=journal, unmerged=unmerged)
    except (Failed, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
