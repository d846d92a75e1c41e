"""What an update of a fleet has done so far, in a file, so that the same command goes on after a kill."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from tools.fleets.repositories import Invalid


class State:
    """The progress of one update; every change of it is on disk before the next step.

    Arguments:
        file: None keeps nothing.
        wanted: what the command was given; it goes on only with the same.

    Raises:
        Invalid: the file is of another command, or can't be read.
    """

    def __init__(self, file: Path | None, wanted: dict[str, Any]) -> None:
        self._file, self._lock = file, threading.Lock()
        self._kept: dict[str, Any] = {"wanted": wanted, "versions": {}, "begun": [], "done": {}}
        if file is None or not file.exists():
            return
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            is_same = kept["wanted"] == wanted and self._kept.keys() == kept.keys()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Invalid(f"{file} can't be read ({error}); remove it to begin anew") from None
        if not is_same:
            raise Invalid(f"{file} is of an update with other options: go on with those, or remove it to begin anew")
        self._kept = kept

    def version(self, source: str, newest: str) -> str:
        """The version that every repository of a template gets: the newest one when the update began."""
        with self._lock:
            if source not in self._kept["versions"]:
                self._kept["versions"][source] = newest
                self._write()
            found: str = self._kept["versions"][source]
            return found

    def is_begun(self, name: str) -> bool:
        """Whether a repository's own update may have started before."""
        return name in self._kept["begun"]

    def begin(self, name: str) -> None:
        """Keep that a repository's own update is about to start."""
        with self._lock:
            if name not in self._kept["begun"]:
                self._kept["begun"].append(name)
                self._write()

    def done(self, name: str) -> dict[str, Any] | None:
        """The result that was kept for a repository."""
        found: dict[str, Any] | None = self._kept["done"].get(name)
        return found

    def end(self, name: str, result: dict[str, Any]) -> None:
        """Keep a result."""
        with self._lock:
            self._kept["done"][name] = result
            self._write()

    def remove(self) -> None:
        """Keep nothing any longer: the update is over."""
        if self._file:
            self._file.unlink(missing_ok=True)

    def _write(self) -> None:
        if self._file:
            fresh = self._file.with_name(self._file.name + ".new")
            with fresh.open("w", encoding="utf-8") as stream:
                json.dump(self._kept, stream, indent=2)
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(self._file)
