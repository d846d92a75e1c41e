"""What the locks of Python packages hold, and whether the agent's holds what was asked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Iterator, Tuple

AGENT_LOCK = "requirements-agent.lock"
LOCKS = ("requirements.lock", AGENT_LOCK)
# What the agent's lock is resolved from, together: the template's list, and the team's.
LISTS = ("requirements.in", "requirements-agent.in")

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([0-9][0-9.]*)", re.MULTILINE)
_WANTED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?[^;#]*")
_LEAST = re.compile(r">= *([0-9][0-9.]*)")


def pins(path: Path) -> Dict[str, Tuple[int, ...]]:
    """The packages of a lock by their normal names, each with the newest version that it has for any Python."""
    found: Dict[str, Tuple[int, ...]] = {}
    for name, version in _PIN.findall(_text(path)):
        found[_normal(name)] = max(found.get(_normal(name), ()), _version(version))
    return found


def unmet(root: Path) -> Iterator[str]:
    """Say in words what the lists ask for and the agent's lock does not hold.

    What depends on the Python or the machine is left to the resolver.
    """
    locked = pins(root / AGENT_LOCK)
    for listed in LISTS:
        for line in _text(root / listed).splitlines():
            wanted = _WANTED.fullmatch(line.partition(" #")[0].strip())
            if not wanted:
                continue
            name = _normal(wanted.group(1))
            least = _LEAST.search(wanted.group(0))
            if name not in locked:
                yield f"{listed} asks for {name}, which is not in it"
            elif least and locked[name] < _version(least.group(1)):
                yield f"{listed} asks for {name} {least.group(1)} or newer"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _version(text: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
