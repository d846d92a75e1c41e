"""What a step tells the runner: files of outputs, variables and paths, and commands in its log.

Emulated from the runner's own sources (actions/runner, `FileCommandManager.cs`, `ActionCommand.cs`), which
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands describes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_KNOWN = frozenset({"add-mask", "debug", "echo", "endgroup", "error", "group", "notice", "stop-commands", "warning"})
# Switched off since 2020 and 2022, or without effect here; a log must not hold them either.
_REMOVED = frozenset({"add-matcher", "add-path", "remove-matcher", "save-state", "set-env", "set-output"})
_OLD_STYLE = re.compile(r"##\[([^\s\]]+)(?: ([^\]]*))?\](.*)")
_NEW_STYLE = re.compile(r"\s*::([^\s:]+)(?: (.*?))?::(.*)")


class CommandFileError(Exception):
    """The runner refuses the file: the step fails."""


def parse_pairs(text: str) -> list[tuple[str, str]]:
    """Read a GITHUB_OUTPUT or GITHUB_ENV file: `NAME=VALUE`, or `NAME<<DELIMITER`, lines, `DELIMITER`.

    Raises:
        CommandFileError: what the runner says of the first wrong line.
    """
    pairs: list[tuple[str, str]] = []
    lines = text.split("\n")
    last = lines.pop()  # empty where the text ends with a newline
    entries = [(line, True) for line in lines] + ([(last, False)] if last else [])
    while entries:
        line, _ = entries.pop(0)
        if not line:
            continue
        equals, heredoc = line.find("="), line.find("<<")
        if equals >= 0 and (heredoc < 0 or equals < heredoc):
            name, _, value = line.partition("=")
            pairs.append((name, value))
        elif heredoc >= 0:
            name, _, delimiter = line.partition("<<")
            if not name or not delimiter:
                raise CommandFileError(
                    f"Invalid format '{line}'. Name must not be empty and delimiter must not be empty"
                )
            pairs.append((name, "\n".join(_until(delimiter, entries))))
        else:
            raise CommandFileError(f"Invalid format '{line}'")
    return pairs


def _until(delimiter: str, entries: list[tuple[str, bool]]) -> list[str]:
    value: list[str] = []
    while entries:
        line, has_newline = entries.pop(0)
        if line == delimiter:
            return value
        if not has_newline:
            raise CommandFileError("Invalid value. EOF marker missing new line.")
        value.append(line)
    raise CommandFileError(f"Invalid value. Matching delimiter not found '{delimiter}'")


@dataclass
class LogReader:
    """Reads a log line by line, as the runner does, and keeps the commands that it would carry out.

    Arguments:
        commands: name and data of every command found, in order.
        masks: values to hide from now on.
    """

    masks: list[str] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)
    _stopped_until: str = ""

    def read(self, line: str) -> None:
        """Take one line."""
        for match in (_NEW_STYLE.match(line), _OLD_STYLE.search(line)):
            if match:
                name, _, data = match.groups()
                if name in _KNOWN | _REMOVED or (self._stopped_until and name == self._stopped_until):
                    self._command(name, data)
                    return

    def _command(self, name: str, data: str) -> None:
        if self._stopped_until:
            if name == self._stopped_until:
                self._stopped_until = ""
            return
        self.commands.append((name, data))
        if name == "stop-commands":
            self._stopped_until = data
        elif name == "add-mask" and data.strip():
            self.masks.append(data)
