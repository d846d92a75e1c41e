"""Refuse a release that repositories can't take without being asked, or that says nothing about itself.

Compares the commit that is checked out with the last release: no question may be gone, none may have another type,
default or condition or fewer choices, a new one has a default, the changelog has an entry, and the runtime names itself
so.

    python tools/release_check.py vX.Y.Z [--since TAG]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent


def questions(repository: Path, commit: str) -> dict[str, Any]:
    """What the template asks at a commit."""
    command = ["git", "show", f"{commit}:copier.yml"]
    text = yaml.safe_load(subprocess.run(command, cwd=repository, check=True, capture_output=True).stdout)
    asked = {name: each for name, each in text.items() if not name.startswith("_")}
    return {name: each for name, each in asked.items() if each.get("when") is not False}


def changed_questions(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Which question an answer that somebody gave, or nobody gave, no longer fits."""
    for name, before in old.items():
        after = new.get(name)
        if after is None:
            yield f"{name}: the question is gone"
            continue
        for key in ("type", "default", "when"):
            if before.get(key) != after.get(key):
                yield f"{name}: its {key} is another one"
        gone = [value for value in _choices(before) if value not in _choices(after)]
        if gone and after.get("choices"):
            yield f"{name}: it does not take {', '.join(map(str, gone))} any more"
    for name in new:
        if name not in old and "default" not in new[name]:
            yield f"{name}: it has no default"


def changelog(text: str, version: str) -> Iterator[str]:
    """Whether there is something below the version's heading."""
    number = re.escape(version.removeprefix("v"))
    found = re.search(rf"^## \[?{number}\]?(?: [^\n]*)?\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if not found or not found.group(1).strip():
        yield f"CHANGELOG.md has no entry for {version}"


def named(text: str, version: str) -> Iterator[str]:
    """Whether the runtime, and with it every plan, names this release."""
    if f'__version__ = "{version.removeprefix("v")}"' not in text:
        yield f"template/agent_runtime/__init__.py has another __version__ than {version}, and plans name that"


def _choices(question: Mapping[str, Any]) -> list[Any]:
    choices = question.get("choices") or []
    return list(choices.values() if isinstance(choices, dict) else choices)


def _last(repository: Path, version: str) -> str:
    """The newest version tag before this commit; empty before the first release."""
    command = ["git", "tag", "--list", "v[0-9]*", "--merged", "HEAD", "--sort=-version:refname"]
    tags = subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout.split()
    return next((tag for tag in tags if tag != version), "")


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("version", help="the release that is about to be tagged, such as v0.2.0")
    parser.add_argument("--since", help="the last release; by default the newest tag that is a version")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help=argparse.SUPPRESS)
    options = parser.parse_args()
    found = list(changelog((options.repository / "CHANGELOG.md").read_text(encoding="utf-8"), options.version))
    found += named(
        (options.repository / "template/agent_runtime/__init__.py").read_text(encoding="utf-8"), options.version
    )
    last = options.since or _last(options.repository, options.version)
    if last:
        found += changed_questions(questions(options.repository, last), questions(options.repository, "HEAD"))
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"{options.version}: {len(found)} problems" + (f" since {last}" if last else ", and no release before it"))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
