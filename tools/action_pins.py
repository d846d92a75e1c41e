"""Hold every use of a GitHub action in this repository, and in its template, to one list: `tools/action-pins.json`.

python tools/action_pins.py            name every use that differs from the list, exit 1 if there is one
python tools/action_pins.py --write    write the list's commits and versions into the files
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "tools" / "action-pins.json"
# Files that GitHub reads, here and in a generated repository; tests and documents may show wrong ones on purpose.
_READ_BY_GITHUB = re.compile(r"(^|/)\.github/.*\.ya?ml(\.jinja)?$|(^|/)action\.ya?ml(\.jinja)?$")
_USES = re.compile(r"^(?P<before>\s*(?:-\s+)?uses:\s*)(?P<action>[^@\s]+)@(?P<ref>\S+)(?:\s+#\s*(?P<comment>.*?))?\s*$")


@dataclass(frozen=True)
class Use:
    """One `uses:` line: where it stands, and what it asks for."""

    path: Path
    line: int
    action: str
    ref: str
    comment: str


def load_pins() -> dict[str, dict[str, str]]:
    """Return the list: action -> {"version": "v1.2.3", "sha": 40 hex digits}."""
    pins: dict[str, dict[str, str]] = json.loads(PINS.read_text(encoding="utf-8"))
    return pins


def workflow_files(root: Path) -> list[Path]:
    """Return the files under `root` that GitHub reads actions from; git says what belongs to the tree.

    Not those of `rendered/`: tools/rendered.py writes them, from files that are looked at.
    """
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    names = (
        name
        for name in listed
        if name and not name.startswith(("tests/", "rendered/")) and _READ_BY_GITHUB.search(name)
    )
    return sorted(path for path in (root / name for name in names) if path.is_file())


def find_uses(path: Path) -> Iterator[Use]:
    """Yield every action of another repository that the file at `path` uses."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        found = _USES.match(line)
        if found and not found["action"].startswith("./"):
            yield Use(path, number, found["action"], found["ref"], found["comment"] or "")


def problem(use: Use, pins: dict[str, dict[str, str]]) -> str | None:
    """Return what is wrong with one use, or None."""
    pin = pins.get(use.action)
    if pin is None:
        return f"{use.action} is not in tools/action-pins.json"
    if (use.ref, use.comment) != (pin["sha"], pin["version"]):
        return f"{use.action}@{use.ref} # {use.comment} should be @{pin['sha']} # {pin['version']}"
    return None


def write(path: Path, pins: dict[str, dict[str, str]]) -> bool:
    """Write the list's commits into the file at `path`; return whether it changed."""

    def pinned(line: str) -> str:
        found = _USES.match(line)
        pin = pins.get(found["action"]) if found else None
        return f"{found['before']}{found['action']}@{pin['sha']} # {pin['version']}" if found and pin else line

    text = path.read_text(encoding="utf-8")
    changed = "".join(pinned(line) + "\n" for line in text.splitlines())
    if changed != text:
        path.write_text(changed, encoding="utf-8")
    return changed != text


def main() -> int:
    """Check or write the pins and return the exit code."""
    parser = argparse.ArgumentParser(description="Hold every use of a GitHub action to tools/action-pins.json.")
    parser.add_argument("--write", action="store_true", help="write the list's commits into the files")
    arguments = parser.parse_args()
    pins = load_pins()
    files = workflow_files(ROOT)
    if arguments.write:
        for path in files:
            if write(path, pins):
                print(f"pinned {path.relative_to(ROOT)}")
    wrong = [(use, problem(use, pins)) for path in files for use in find_uses(path)]
    for use, what in wrong:
        if what:
            print(f"{use.path.relative_to(ROOT)}:{use.line}: {what}")
    return 1 if any(what for _, what in wrong) else 0


if __name__ == "__main__":
    raise SystemExit(main())
