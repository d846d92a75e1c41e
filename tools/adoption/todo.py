"""What is left to do after an adoption."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Todo:
    """One thing that only the team can decide or write.

    Arguments:
        path: the file that it is about.
        what: what to do, in one line.
        commands: lines for a shell in the root of the repository that do it, where a machine can.
    """

    path: str
    what: str
    commands: tuple[str, ...] = ()
