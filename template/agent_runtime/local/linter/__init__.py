"""The linter: do the workflows of this repository still keep the gate closed?

The gate's workflows are compared with those that the template renders for the recorded answers (`expected`, `compare`);
the others meet the few rules that protect the gate (`elsewhere`), the composite actions theirs (`actions`).  It needs
PyYAML and nothing else, no network and no GitHub:

    python -m agent_runtime.local.linter
    python -m agent_runtime.local.linter --explain CON05
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

from agent_runtime.local.linter import actions, elsewhere, expected
from agent_runtime.local.linter.compare import compare
from agent_runtime.local.linter.rules import explain
from agent_runtime.local.linter.values import Unreadable, Value, read
from agent_runtime.model import names
from agent_runtime.model.config import Config
from agent_runtime.text.escape import visible

__all__ = ["Violation", "explain", "lint"]

FOLDER = ".github/workflows"
_SHOWN = 500


@dataclass(frozen=True)
class Violation:
    """One broken rule: its code, the file, the line (from 1) and what is wrong there.

    Arguments:
        place: in a workflow of the gate, such as `jobs.act.environment`; empty elsewhere.
    """

    code: str
    path: str
    line: int
    message: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.code} {self.message}"


def lint(root: Path, config: Config) -> List[Violation]:
    """Everything that opens the gate of the repository at `root`, by file and line.  Never raises for any content."""
    found = {
        Violation(code, visible(path, _SHOWN), line, visible(message, _SHOWN), place)
        for place, code, path, line, message in _found(root, config)
    }
    return sorted(found, key=lambda each: (each.path, each.line, each.code, each.message))


_Found = Tuple[str, str, str, int, str]  # place, code, path, line, message


def _found(root: Path, config: Config) -> Iterator[_Found]:
    yield from _workflows(root, config)
    for violation in actions.problems(root):
        yield ("", *violation)


def _workflows(root: Path, config: Config) -> Iterator[_Found]:
    gate = expected.workflows(config)
    files: Dict[str, Value] = {}
    folder = root / FOLDER
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in [path for path in paths if path.suffix.lower() in (".yml", ".yaml")]:
        try:
            files[path.name] = read(path.read_bytes())
        except Unreadable as unreadable:
            yield "", "CON01", f"{FOLDER}/{path.name}", unreadable.line, unreadable.message
        except OSError as error:
            yield "", "CON01", f"{FOLDER}/{path.name}", 1, f"can't be read: {type(error).__name__}"
    for name in sorted(gate.keys() - {path.name for path in paths}):
        yield "", "CON02", f"{FOLDER}/{name}", 1, "it is missing"
    for name, value in files.items():
        if name in gate:
            yield from _of_gate(gate[name], value, f"{FOLDER}/{name}")
            continue
        for code, line, message in _beside(name, files, config):
            yield "", code, f"{FOLDER}/{name}", line, message


def _of_gate(data: Value, found: Value, path: str) -> Iterator[_Found]:
    for difference in compare(data, found):
        if difference.kind != "neutral":
            yield difference.path, difference.code, path, difference.line, difference.message


def _beside(name: str, files: Dict[str, Value], config: Config) -> Iterator[elsewhere.Violation]:
    ours = (names.WORKFLOW_FILE, names.APPROVAL_WORKFLOW_FILE, names.ATTEST_FILE)
    if name in ours:
        yield "CON32", 1, f"this is a workflow of another gate than {config.approval_gate}"
    elif Path(name).stem.lower() in [Path(one).stem for one in ours]:
        yield "CON35", 1, "its name is that of a workflow of the gate"
    yield from elsewhere.problems(name, elsewhere.Repository(files, config))
