"""The composite actions of the gate's jobs: two are the template's, two the team's own."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

from agent_runtime.local.linter.values import Unreadable, Value, action, is_pinned, read

FOLDER = ".github/actions"
MANIFEST = "agent_runtime/manifest.json"
OF_TEMPLATE = tuple(f"{FOLDER}/{name}/action.yml" for name in ("setup-gate", "setup-agent"))
_OF_TEAM = tuple(f"{FOLDER}/{name}" for name in ("prepare-investigate", "prepare-act"))

_PIN = re.compile(rb"(uses: *[\w./-]+@)[0-9a-f]{40}( *#[^\r\n]*)?(?=\n|\Z)")

Violation = Tuple[str, str, int, str]  # code, path, line, message


def fingerprint(data: bytes) -> str:
    """sha256 of a file of the template, without what may differ: line endings, and the pins that Dependabot renews."""
    return hashlib.sha256(_PIN.sub(rb"\1", data.replace(b"\r\n", b"\n"))).hexdigest()


def problems(root: Path) -> Iterator[Violation]:
    """What is wrong with the actions of the repository at `root`."""
    try:
        known: Dict[str, str] = dict(json.loads((root / MANIFEST).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        known = {}
    for name in OF_TEMPLATE:
        path = root / name
        if not path.is_file():
            yield "CON02", name, 1, "it is missing"
        elif fingerprint(path.read_bytes()) != known.get(name):
            yield "CON24", name, 1, f"it is not as {MANIFEST} has it"
    queue, seen = list(_OF_TEAM), set()
    while queue:
        folder = queue.pop(0)
        if folder in seen:
            continue
        seen.add(folder)
        name = next((name for name in ("action.yml", "action.yaml") if (root / folder / name).is_file()), "")
        if not name:
            yield "CON02", f"{folder}/action.yml", 1, "it is missing"
            continue
        try:
            value = read((root / folder / name).read_bytes())
        except Unreadable as unreadable:
            yield "CON01", f"{folder}/{name}", unreadable.line, unreadable.message
            continue
        steps = list(value.get("runs", "steps").items or ())
        queue += _local(steps)
        for code, line, message in _of_team(value, steps):
            yield code, f"{folder}/{name}", line, message


def _local(steps: List[Value]) -> List[str]:
    used = [step.get("uses").text or "" for step in steps]
    return [text[2:].rstrip("/") for text in used if text.startswith(("./", "$/")) and is_pinned(text)]


def _of_team(value: Value, steps: List[Value]) -> Iterator[Tuple[str, int, str]]:
    if value.get("runs", "using").text != "composite":
        yield "CON01", value.get("runs").line or 1, "it is not a composite action"
    for step in steps:
        uses = step.get("uses")
        if uses.text is not None and not is_pinned(uses.text):
            yield "CON10", uses.line, f"{uses.text} is not pinned to a commit"
        for script in scripts(step):
            yield "CON11", script.line, "an expression is inside a script"


def scripts(step: Value) -> List[Value]:
    """What of a step is a script with an expression in it."""
    found = [step.get("run"), step.get("with", "script")]
    if action(step).startswith("docker:"):
        found += [step.get("with", "args"), step.get("with", "entrypoint")]
    return [script for script in found if "${{" in (script.text or "")]
