"""Programs at a terminal of 80 columns and 24 lines: what is on it when they wait for a person, as HTML.

The terminal knows what the demo, Copier and Cookiecutter send, and nothing else.
"""

from __future__ import annotations

import html
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

COLUMNS, ROWS = 80, 24
TIMEOUT_SECONDS = 240
# A program that printed nothing for so long has printed all of its question.
_QUIET_SECONDS = 1.5
_SENT = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b\][^\x07]*\x07|\x1b[()=>78].?|[\s\S]")
_PALETTE = ("#24292f", "#cf222e", "#116329", "#9a6700", "#0550ae", "#8250df", "#1b7c83", "#57606a")
_LEVELS = (0, 95, 135, 175, 215, 255)


class PlayFailed(Exception):
    """The program did not do what was expected; the message says what it showed."""


Cell = tuple[str, str]  # a character, and its style in CSS
_BLANK: Cell = (" ", "")

PAGE = """\
<!doctype html>
<meta charset="utf-8">
<style>
body {{ margin: 0; padding: 12px; background: #ffffff; }}
pre {{ margin: 0 0 12px; padding: 10px 12px; border: 1px solid #d0d7de; border-radius: 6px; color: #24292f;
  font: 19px/1.25 "DejaVu Sans Mono", monospace; width: 80ch; }}
</style>
{screens}
<script>document.title = "height=" + document.documentElement.scrollHeight + " first=0";</script>
"""


class Terminal:
    """What a terminal shows of what a program sent."""

    def __init__(self) -> None:
        self.rows = [[_BLANK] * COLUMNS for _ in range(ROWS)]
        self.row = self.column = 0
        self._style: dict[str, str] = {}
        self._wraps = True

    def take(self, text: str, reply: Callable[[str], object]) -> None:
        """Take what the program sent; where it asks for the cursor, say where it is."""
        for found in _SENT.finditer(text):
            if found[2]:
                self._command(found[2], found[1], reply)
            elif len(found[0]) == 1:
                self._character(found[0])

    def as_html(self) -> str:
        """Every line, with its colours."""
        lines = (
            "".join(
                f'<span style="{style}">{html.escape(sign)}</span>' if style else html.escape(sign)
                for sign, style in row
            )
            for row in self.rows
        )
        return "<pre>" + "\n".join(lines) + "</pre>"

    def _character(self, sign: str) -> None:
        if sign == "\n":
            self._down()
        elif sign == "\r":
            self.column = 0
        elif sign == "\b":
            self.column = max(0, self.column - 1)
        elif sign.isprintable():
            width = 2 if unicodedata.east_asian_width(sign) in "WF" else 1
            if self.column + width > COLUMNS:
                if self._wraps:
                    self.column = 0
                    self._down()
                else:
                    self.column = COLUMNS - width
            style = ";".join(f"{key}:{value}" for key, value in self._style.items())
            self.rows[self.row][self.column : self.column + width] = [(sign, style), ("", "")][:width]
            self.column += width

    def _down(self) -> None:
        if self.row + 1 < ROWS:
            self.row += 1
        else:
            self.rows = [*self.rows[1:], [_BLANK] * COLUMNS]

    def _command(self, name: str, given: str, reply: Callable[[str], object]) -> None:
        if given.startswith("?"):
            self._wraps = (name == "h") if given == "?7" else self._wraps
            return
        numbers = [int(number or 0) for number in given.split(";")]
        first = max(1, numbers[0])
        if name == "m":
            self._paint(numbers)
        elif name == "n":
            reply(f"\x1b[{self.row + 1};{self.column + 1}R")
        elif name in "AB":
            self.row = min(ROWS - 1, max(0, self.row + (first if name == "B" else -first)))
        elif name in "CD":
            self.column = min(COLUMNS - 1, max(0, self.column + (first if name == "C" else -first)))
        elif name in "JK":
            self.rows[self.row][self.column :] = [_BLANK] * (COLUMNS - self.column)
            for row in range(self.row + 1, ROWS) if name == "J" else ():
                self.rows[row] = [_BLANK] * COLUMNS
        else:
            raise ValueError(f"the terminal does not know {name}")

    def _paint(self, numbers: Sequence[int]) -> None:
        left = list(numbers)
        while left:
            number = left.pop(0)
            if number in (38, 48):
                self._style["color" if number == 38 else "background"] = _of_256(left[1])
                del left[:2]
            elif number == 0:
                self._style = {}
            elif number == 1:
                self._style["font-weight"] = "bold"
            elif number == 2:
                self._style["opacity"] = "0.6"
            elif number == 7:
                self._style.update(background="#24292f", color="#ffffff")
            elif number == 39:
                self._style.pop("color", None)
            elif 30 <= number < 38:
                self._style["color"] = _PALETTE[number - 30]


def _of_256(number: int) -> str:
    if number < 16:
        return _PALETTE[number % 8]
    if number >= 232:
        return "#" + f"{8 + 10 * (number - 232):02x}" * 3
    parts = (number - 16) // 36, (number - 16) // 6 % 6, (number - 16) % 6
    return "#" + "".join(f"{_LEVELS[part]:02x}" for part in parts)


def played(
    command: Sequence[str], folder: Path, environ: Mapping[str, str], answers: Mapping[str, str | None]
) -> list[str]:
    """Run a program at the terminal, and return what it shows at each question that it waits at, and at its end.

    Arguments:
        answers: by a part of the question, what to type; None ends the program there.

    Raises:
        PlayFailed: it ended with an error, or waits at something else.
    """
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (ROWS, COLUMNS))
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**environ, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    screens: list[str] = []
    terminal, recent, end = Terminal(), "", time.monotonic() + TIMEOUT_SECONDS
    try:
        while time.monotonic() < end:
            if select.select([ours], [], [], _QUIET_SECONDS)[0]:
                try:
                    sent = os.read(ours, 65536).decode("utf-8", "replace")
                except OSError:  # the other side is closed
                    if process.wait() != 0:
                        raise PlayFailed(f"{command[0]} failed: {recent[-400:]}") from None
                    return [*screens, terminal.as_html()]
                terminal.take(sent, lambda text: os.write(ours, text.encode()))
                recent += sent
                continue
            asked = max(answers, key=recent.rfind)
            if asked not in recent:
                continue
            screens.append(terminal.as_html())
            typed, recent = answers[asked], ""
            if typed is None:
                return screens
            os.write(ours, typed.encode())
        raise PlayFailed(f"{command[0]} waits for something else: {recent[-400:]}")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        os.close(ours)


def page(screens: Sequence[str]) -> str:
    """An HTML page of screens, one below the other."""
    return PAGE.format(screens="\n".join(screens))
