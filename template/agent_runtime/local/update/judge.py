"""Does an update weaken the gate?  The runtime that is here judges first, then the one that the update brings.

The one that is here decides: a release that weakens the gate can weaken the check that it brings, too.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List
from urllib.parse import quote

from agent_runtime import codes
from agent_runtime.local import check, linter
from agent_runtime.local.linter import values
from agent_runtime.local.update import problems
from agent_runtime.model import config
from agent_runtime.text import strict_yaml

BEFORE, AFTER = "the runtime here", "the runtime of the update"

_PROBLEM = re.compile(r"(?:error: )?([A-Z]+[0-9]+): (?:([^ :]+)(?::([0-9]+))?: )?(.*)\Z")
# What a process of the update's code gets: where programs and packages are, and no credential.
_PASSED = ("PATH", "HOME", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LANG", "RUNNER_TEMP")
_SECONDS = 300


@dataclass(frozen=True)
class Weaker:
    """One difference that has to be accepted, and who found it.

    Arguments:
        place: where in the file, such as `jobs.act.environment`; empty for the whole file.
    """

    code: str
    path: str
    line: int
    message: str
    by: str
    place: str = ""

    @property
    def option(self) -> str:
        """What `--accept` names it by: one word, in which no shell and no list finds anything but a name.

        What the new check says has names of its own.  So a release can't choose which of them were accepted, and who
        accepts its change of a script has not accepted another edit of the same script.
        """
        where = ":".join(filter(None, (self.path or self.message, self.place)))
        return ("" if self.by == BEFORE else "new:") + f"{self.code}@{quote(where, '/:[]', errors='backslashreplace')}"


def judge(before: Path, after: Path, *, is_upgrade: bool) -> List[Weaker]:
    """Everything in the tree `after` that opens the gate, whoever wrote it, or is wrong there and not at `before`.

    Arguments:
        is_upgrade: whether the version changes; otherwise only answers do, which somebody asked for.
    """
    return [*by_installed(before, after, is_upgrade=is_upgrade), *_by_new(before, after)]


def by_installed(before: Path, after: Path, *, is_upgrade: bool) -> Iterator[Weaker]:
    """What the runtime that is here finds; no code of the tree `after` runs."""
    for each in linter.lint(after, config.load(before if is_upgrade else after)):
        place = each.place or _place(after, each.path, each.line)
        yield Weaker(each.code, each.path, each.line, each.message, BEFORE, place)
    if not is_upgrade:
        return
    path = config.CONFIG_PATH.as_posix()
    old, new = _settings(before), _settings(after)
    text = (after / path).read_text(encoding="utf-8").splitlines()
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            line = next((at for at, each in enumerate(text, 1) if each.startswith(f"{key}:")), 1)
            was, now = (repr(each[key]) if key in each else "missing" for each in (old, new))
            message = f"{key} is {now}, and was {was}"
            yield Weaker(problems.CONFIGURED, path, line, message, BEFORE, key)


def _place(root: Path, path: str, line: int) -> str:
    """The place of a line, which another line above it moves; empty where the file is not YAML."""
    try:
        return values.place(values.read((root / path).read_bytes()), line)
    except (OSError, ValueError, values.Unreadable):
        return ""


def _settings(root: Path) -> Dict[str, Any]:
    """The configuration's keys, also those that this runtime does not know."""
    try:
        value = strict_yaml.values(strict_yaml.load((root / config.CONFIG_PATH).read_bytes()))
    except (OSError, strict_yaml.StrictYamlError, ValueError):
        return {}
    return dict(value) if isinstance(value, dict) else {}


def _by_new(before: Path, after: Path) -> Iterator[Weaker]:
    known = {(each.code, each.path.partition(":")[0]) for each in check.check(before)}
    flags = ["-B", "-I", *(["-S"] if sys.flags.no_site else [])]  # packages from where this process has them
    try:
        done = subprocess.run(  # noqa: S603  an argument list without a shell
            [sys.executable, *flags, "agent_runtime/__main__.py", "check"],
            cwd=str(after),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={name: os.environ[name] for name in _PASSED if name in os.environ},
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield Weaker(problems.NO_CHECK, "agent_runtime", 1, f"it did not end within {_SECONDS} seconds", AFTER)
        return
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    found = [match for match in map(_PROBLEM.match, lines) if match]
    for match in found:
        code, path, line, message = match.groups("")
        if (code, path) not in known:
            at = int(line or 1)
            yield Weaker(code, path, at, message, AFTER, _place(after, path, at) if line else "")
    if done.returncode not in (codes.EXIT_OK, codes.EXIT_BAD_INPUT) or (done.returncode and not found):
        said = lines[-1] if lines else f"it ended with {done.returncode}"
        yield Weaker(problems.NO_CHECK, "agent_runtime", 1, said, AFTER)
