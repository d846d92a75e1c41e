"""The repository that is updated: what is committed, what a merge becomes, and how it is handed back."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Optional, Sequence

from agent_runtime import codes
from agent_runtime.local.update import landing, problems
from agent_runtime.local.update.files import File
from agent_runtime.local.update.git import GitFailed, environment, git, line

_NONE = "0" * 40


class Repository:
    """An agent repository, which may be a folder of a larger one, at its last commit.

    Raises:
        BadInput: there is no git repository, or no commit.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            self.top = Path(line(root, "rev-parse", "--show-toplevel"))
            self.prefix = line(root, "rev-parse", "--show-prefix")
            self.folder = Path(line(root, "rev-parse", "--absolute-git-dir"))
            self.head = line(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        except GitFailed as error:
            if shutil.which("git") is None:
                raise
            raise codes.BadInput(problems.NO_GIT, error.message) from None
        self._journal = self.folder / "agent-update"
        self._committed: Dict[str, File] = {}

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the lock of this checkout, which ends with the process and those that it hands the lock to.

        Raises:
            BadInput: somebody else holds it.
        """
        if os.name == "nt":  # without this lock; the branch itself moves for one of two updates only
            yield -1
            return
        import fcntl  # noqa: PLC0415  it is not there on Windows

        lock = os.open(str(self.folder), os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise codes.BadInput(problems.BUSY, f"{self.root} is locked") from None
        else:
            yield lock
        finally:
            os.close(lock)

    def branch(self) -> str:
        """The branch that is checked out, by its full name; empty where none is."""
        try:
            return line(self.root, "symbolic-ref", "--quiet", "HEAD")
        except GitFailed:
            return ""

    def require_clean(self) -> None:
        """Refuse where something below the root is not committed.

        Raises:
            BadInput: naming the first file.
        """
        said = line(self.root, "status", "--porcelain", "--untracked-files=all", "--", ".").splitlines()
        if said:
            more = f", and {len(said) - 1} more" if len(said) > 1 else ""
            raise codes.BadInput(problems.DIRTY, said[0][2:].strip() + more)

    def committed(self) -> Dict[str, File]:
        """Every file of the last commit below the root, by its path there; read once."""
        if self._committed:
            return self._committed
        listed = git(self.top, "ls-tree", "-r", "-z", self._tree(self.head)).split(b"\0")[:-1]
        entries = [(entry.partition(b"\t")[2], *entry.split(b"\t")[0].split(b" ")) for entry in listed]
        entries = [entry for entry in entries if entry[2] == b"blob"]
        asked = b"".join(entry[3] + b"\n" for entry in entries)
        stream = io.BytesIO(git(self.top, "cat-file", "--batch", data=asked))
        for name, mode, _, _ in entries:
            size = int(stream.readline().split(b" ")[2])
            self._committed[os.fsdecode(name)] = File(mode.decode(), stream.read(size))
            stream.read(1)
        return self._committed

    def commit(
        self, files: Mapping[str, Optional[File]], message: str, work: Path, author: Mapping[str, str] = {}
    ) -> str:
        """Make a commit on top of the last one in which these files are so, and return its id; no branch moves.

        Arguments:
            author: git's variables for who commits; by default whoever git is set up for.
        """
        index = {"GIT_INDEX_FILE": str(work / "index")}
        git(self.top, "read-tree", self.head, more=index)
        kept = {name: file for name, file in files.items() if file is not None}
        blobs = dict(zip(kept, self._blobs(list(kept.values()), work)))
        entries = b""
        for name in files:
            mode = kept[name].mode if name in kept else "0"
            entries += (
                f"{mode} {blobs.get(name, _NONE)}\t{self.prefix}{name}".encode("utf-8", "surrogateescape") + b"\0"
            )
        git(self.top, "update-index", "-z", "--index-info", data=entries, more=index)
        tree = line(self.top, "write-tree", more=index)
        signed = line(self.top, "config", "--type=bool", "--default=false", "commit.gpgSign") == "true"
        sign = ["-S"] if signed else []
        command = ("commit-tree", *sign, "-p", self.head, "-F", "-", tree)
        return line(self.top, *command, data=message.encode("utf-8"), more=author)

    def export(self, commit: str, folder: Path, work: Path) -> None:
        """Write the files of a commit below the root into a folder."""
        index = {"GIT_INDEX_FILE": str(work / "exported")}
        git(self.top, "read-tree", self._tree(commit), more=index)
        git(self.top, "checkout-index", "--all", f"--prefix={folder}/", more=index)

    def require_room(self, files: Mapping[str, Optional[File]], ours: Mapping[str, File]) -> None:
        """Refuse where a new file would overwrite one that git ignores.

        Raises:
            BadInput: naming the file.
        """
        for name, file in files.items():
            if file is not None and name not in ours and os.path.lexists(str(self.root / name)):
                raise codes.BadInput(problems.IN_THE_WAY, name)

    def make_branch(self, name: str, commit: str) -> None:
        """Let a new branch begin at a commit.

        Raises:
            BadInput: there is one of this name, or the name is none.
        """
        try:
            git(self.top, "check-ref-format", "--branch", name)
            git(self.top, "update-ref", f"refs/heads/{name}", commit, _NONE)
        except GitFailed as error:
            raise codes.BadInput(problems.MOVED, f"{name}: {error.message}; choose another name") from None

    def land(self, ref: str, commit: str, sides: Mapping[str, Sequence[Optional[File]]], work: Path, lock: int) -> None:
        """Move the branch, and the checkout with it; with an empty ref the checkout alone.

        Arguments:
            sides: files that stay unmerged, so that git names them until somebody resolves them.

        Raises:
            BadInput: git refused, and everything is as it was.
        """
        unmerged = work / "unmerged"
        unmerged.write_bytes(b"".join(self._unmerged(name, versions, work) for name, versions in sides.items()))
        program = [sys.executable, "-I", "-S", str(Path(landing.__file__).resolve())]
        started = subprocess.Popen(  # noqa: S603  an argument list without a shell
            [*program, str(self.top), ref, self.head, commit, str(self._journal), str(unmerged)],
            cwd=str(self.top),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(),
            start_new_session=True,  # so that it ends what it began, whatever becomes of this process
            pass_fds=() if lock < 0 else (lock,),
        )
        _, said = started.communicate()
        if started.returncode:
            raise codes.BadInput(problems.MOVED, " ".join(said.decode("utf-8", "replace").split()))

    def finish_interrupted(self) -> str:
        """End what a landing began before it was interrupted; say what was done, or nothing.

        Raises:
            BadInput: it can't be ended without losing somebody's work.
        """
        try:
            ref, old, new = self._journal.read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError):
            if self._journal.exists():  # nothing had begun
                self._journal.unlink()
            return ""
        at = line(self.top, "rev-parse", ref) if ref else self.head
        if at not in (old, new):  # somebody went on from there
            self._journal.unlink()
            return ""
        wanted = new if ref and at == new else old
        try:
            landing.bring(str(self.top), old, new, wanted)
        except landing.Failed as error:
            raise codes.BadInput(problems.MOVED, f"an update was interrupted, and {error}: move it elsewhere") from None
        self._journal.unlink()
        return "finished" if wanted == new else "rolled back"

    def _unmerged(self, name: str, versions: Sequence[Optional[File]], work: Path) -> bytes:
        path = f"{self.prefix}{name}".encode("utf-8", "surrogateescape") + b"\0"
        stages = [(stage, file) for stage, file in enumerate(versions, 1) if file is not None]
        blobs = self._blobs([file for _, file in stages], work)
        entries = [f"{file.mode} {blob} {stage}\t".encode() for (stage, file), blob in zip(stages, blobs)]
        return b"".join(entry + path for entry in (b"0 " + _NONE.encode() + b"\t", *entries))

    def _blobs(self, files: Sequence[File], work: Path) -> List[str]:
        """Write contents into git's store, in one process, and return their ids."""
        folder = Path(tempfile.mkdtemp(dir=str(work)))
        for number, file in enumerate(files):
            (folder / str(number)).write_bytes(file.data)
        paths = "".join(f"{folder / str(number)}\n" for number in range(len(files)))
        return line(self.top, "hash-object", "-w", "--no-filters", "--stdin-paths", data=paths.encode()).split()

    def _tree(self, commit: str) -> str:
        return f"{commit}:{self.prefix}" if self.prefix else f"{commit}^{{tree}}"
