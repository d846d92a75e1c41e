"""What a step reports to the runner: files of outputs, variables and paths, and commands in its log.

Emulated from the runner's own sources (actions/runner, `FileCommandManager.cs`, `ActionCommandManager.cs`,
`ActionCommand.cs`), which https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
describes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from support.harness.results import Annotation

# set-output and save-state are deprecated, and still work; set-env and add-path fail the step since 2020.
_DISABLED = frozenset({"set-env", "add-path"})
_ANNOTATIONS = frozenset({"error", "notice", "warning"})
_KNOWN = _DISABLED | _ANNOTATIONS
_KNOWN |= {"add-mask", "add-matcher", "debug", "echo", "endgroup", "group", "remove-matcher", "save-state"}
_KNOWN |= {"set-output", "stop-commands"}
_SHORTEST_MASKED_TOKEN = 7
# Undone in this order: the percent sign last.
_DATA_ESCAPES = (("%0D", "\r"), ("%0A", "\n"), ("%25", "%"))
_PROPERTY_ESCAPES = (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%"))
_OLD_ESCAPES = (("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%25", "%"))


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


class Masks:
    """The values that a job's runner hides, in whatever it shows or hands on; they only become more."""

    def __init__(self, values: list[str]) -> None:
        self._values: set[str] = set()
        for value in values:
            self.add(value)

    def add(self, value: str) -> None:
        """Hide a value from now on, and each of its lines."""
        self._values |= {part for part in (value, *(line.strip() for line in re.split(r"[\r\n]", value))) if part}

    def hide(self, text: str) -> str:
        """`text` with three asterisks for each stretch that masked values cover."""
        ranges = sorted(
            (match.start(), match.start() + len(value))
            for value in self._values
            for match in re.finditer(f"(?={re.escape(value)})", text)
        )
        shown, end = [], 0
        for first, last in ranges:
            if first >= end:
                shown += [text[end:first], "***"]
            end = max(end, last)
        return "".join(shown) + text[end:]


@dataclass
class LogReader:
    """Reads the log of one step line by line, as the runner does, and carries out the commands in it.

    Every step has a reader of its own: `stop-commands` ends with the step.

    Arguments:
        masks: the job's; a command may add to them.

    Attributes:
        commands: name and data of every command carried out, in order.
        outputs, state: what the deprecated commands set.
        annotations: what `notice`, `warning` and `error` reported.
        failures: commands that fail the step, in the runner's words.
    """

    masks: Masks = field(default_factory=lambda: Masks([]))
    commands: list[tuple[str, str]] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    state: dict[str, str] = field(default_factory=dict)
    annotations: list[Annotation] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _stopped_until: str = ""

    def read(self, line: str) -> str:
        """Take one line, and return what the log shows instead, with its line ending; empty where it shows none."""
        found = self._parse(line)
        shown = line if found is None else self._command(line, *found)
        return "" if shown is None else self.masks.hide(shown) + "\n"

    def _parse(self, line: str) -> tuple[str, dict[str, str], str] | None:
        """Name, properties and data of a command; None where the line is none that is registered."""
        text = line.lstrip()
        end = text.find("::", 2) if text.startswith("::") else -1
        if end >= 0:
            name, _, rest = text[2:end].partition(" ")
            if self._registered(name):
                return (
                    name.lower(),
                    _properties(rest, ",", _PROPERTY_ESCAPES),
                    _unescape(text[end + 2 :], _DATA_ESCAPES),
                )
        begin = line.find("##[")
        end = line.find("]", begin)
        if begin >= 0 and end >= 0:
            name, _, rest = line[begin + 3 : end].partition(" ")
            if self._registered(name):
                return name.lower(), _properties(rest, ";", _OLD_ESCAPES), _unescape(line[end + 1 :], _OLD_ESCAPES)
        return None

    def _registered(self, name: str) -> bool:
        return name.lower() in _KNOWN or (self._stopped_until != "" and name.lower() == self._stopped_until.lower())

    def _command(self, line: str, name: str, properties: dict[str, str], data: str) -> str | None:
        if self._stopped_until:
            if name == self._stopped_until.lower():
                self._stopped_until = ""
            return line
        self.commands.append((name, data))
        if name in _ANNOTATIONS:
            self.annotations.append(Annotation(name, data, properties))
            return f"##[{name}]{data}"
        if name in ("group", "endgroup"):
            return f"##[{name}]{data if name == 'group' else ''}"
        if name == "stop-commands":
            return self._stop(line, data)
        carry_out: Mapping[str, Callable[[dict[str, str], str], str | None]] = {
            "add-mask": self._mask,
            "echo": self._echo,
            "set-output": lambda given, value: self._set(self.outputs, "set-output", given, value),
            "save-state": lambda given, value: self._set(self.state, "save-state", given, value),
        }
        if name in _DISABLED:
            return self._fail(line, f"The `{name}` command is disabled. Please upgrade to using Environment Files.")
        if name in carry_out:
            problem = carry_out[name](properties, data)
            return self._fail(line, problem) if problem else None
        return None

    def _stop(self, line: str, token: str) -> str:
        if not token or token.lower() in _KNOWN | {"pause-logging"}:
            return self._fail(line, "The token of stop-commands must be random; a command's name is none")
        self._stopped_until = token
        if len(token) >= _SHORTEST_MASKED_TOKEN:
            self.masks.add(token)
        return line

    def _mask(self, properties: dict[str, str], data: str) -> str | None:
        if data.strip():
            self.masks.add(data)
        return None

    def _echo(self, properties: dict[str, str], data: str) -> str | None:
        known = data.strip().lower() in ("on", "off")
        return None if known else f"Invalid echo command value. Possible values can be: 'on', 'off': '{data}'."

    def _set(self, where: dict[str, str], command: str, properties: dict[str, str], data: str) -> str | None:
        if not properties.get("name"):
            return f"Required field 'name' is missing in ##[{command}] command."
        where[properties["name"]] = data
        return None

    def _fail(self, line: str, why: str) -> str:
        self.failures.append(why)
        return f"##[error]Unable to process command '{line}' successfully.\n##[error]{why}"


def _properties(text: str, separator: str, escapes: tuple[tuple[str, str], ...]) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.strip().split(separator))
    return {name: _unescape(value, escapes) for name, _, value in pairs if name and value}


def _unescape(text: str, escapes: tuple[tuple[str, str], ...]) -> str:
    for escaped, plain in escapes:
        text = text.replace(escaped, plain)
    return text
