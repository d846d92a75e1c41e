"""The repositories of a fleet, and the templates that they come from."""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent_runtime import codes
from agent_runtime.local.update import problems, template
from agent_runtime.local.update.git import GitFailed, git
from agent_runtime.local.update.template import Recorded, Template
from tools import teams

_ADDRESS = re.compile(r"[a-z+]+://|[\w.-]+@[\w.-]+:")


class Invalid(Exception):
    """Something that a person gave is invalid; the text is the one line for them."""


@dataclass(frozen=True)
class Entry:
    """One repository of the list.

    Arguments:
        name: the line of the list.
        path: its folder here; None for a git address.
    """

    name: str
    path: Path | None


def read(file: Path) -> list[Entry]:
    """The repositories of a list: paths, which may be relative to it, or git addresses, one a line.

    Raises:
        Invalid: it can't be read, names none, or one twice.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{file} can't be read: {error}") from None
    names = [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice or not names:
        raise Invalid(f"{file}: {twice} is there twice" if twice else f"{file} names no repository")
    folder = file.resolve().parent
    return [Entry(name, None if _ADDRESS.match(name) else folder / Path(name).expanduser()) for name in names]


@contextmanager
def checkout(entry: Entry) -> Iterator[Path]:
    """A folder with the repository: its own, or that of a clone for a while.

    Raises:
        BadInput: there is none.
    """
    if entry.path is not None:
        if not entry.path.is_dir():
            raise codes.BadInput(problems.NO_GIT, f"{entry.path} is not a folder")
        yield entry.path
        return
    with tempfile.TemporaryDirectory(prefix="agent-fleet-") as folder:
        try:
            git(Path(folder), "clone", "--quiet", "--depth=1", "--", entry.name, str(Path(folder) / "repository"))
        except GitFailed as error:
            raise codes.BadInput(problems.NO_GIT, error.message) from None
        yield Path(folder) / "repository"


class Templates:
    """One clone of each template, however many repositories came from it.

    Arguments:
        trusted: addresses of templates. Their code is run, and a repository says itself which one it came from.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = {teams.canonical(address, Path.cwd()) for address in trusted}
        self._stack, self._lock = ExitStack(), threading.Lock()
        self._opened: dict[str, Template | codes.AgentError] = {}
        self._runtimes: dict[tuple[str, str], Path] = {}

    def __enter__(self) -> Templates:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def of(self, recorded: Recorded, root: Path) -> Template:
        """The template of a repository.

        Raises:
            Invalid: it is none of those that are trusted.
            AgentError: it can't be fetched.
        """
        key = teams.canonical(recorded.source, root)
        if key not in self._trusted:
            raise Invalid(f"it came from {recorded.source}, which is not this template; --template takes it as one")
        with self._lock:
            if key not in self._opened:
                try:
                    self._opened[key] = self._stack.enter_context(template.opened(recorded, root))
                except codes.AgentError as error:
                    self._opened[key] = error
        found = self._opened[key]
        if isinstance(found, codes.AgentError):
            raise found
        return found

    def runtime(self, source: Template, commit: str) -> Path:
        """A folder with `agent_runtime` and `sdk` as the template has them at a commit."""
        with self._lock:
            key = source.source, commit
            if key not in self._runtimes:
                folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="agent-fleet-")))
                parts = ("template/agent_runtime", "template/sdk")
                source.ask(f"--work-tree={folder}", "restore", f"--source={commit}", "--", *parts)
                self._runtimes[key] = folder / "template"
            return self._runtimes[key]
