"""What is measured already, one line of JSON for each repository, so that a measurement can go on after any end."""

from __future__ import annotations

from pathlib import Path

from update.history import Failed
from update.trial import Trial


class Kept:
    """A file of results; its first line says what was measured.

    Arguments:
        about: seed and states of the template; a result of others is another one's.
        resume: whether what is there counts; otherwise it is written anew.

    Raises:
        Failed: what is there is of another measurement.
    """

    def __init__(self, path: Path, about: str, *, resume: bool) -> None:
        text = path.read_text(encoding="utf-8") if resume and path.exists() else ""
        first, *lines = text.split("\n")[:-1] or [about]  # what a kill cut is not whole
        if first != about:
            raise Failed(f"{path} has results of another seed or state; without --resume they are replaced")
        self.trials = {trial.number: trial for trial in map(Trial.of, lines)}
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in (about, *lines)), encoding="utf-8")

    def add(self, trial: Trial) -> None:
        """Keep one more."""
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(f"{trial.line()}\n")
