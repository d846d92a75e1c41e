"""Refuse a release that repositories can't take without being asked, or that says nothing about itself.

Compares the commit that is checked out with the last release: no question may be gone, none may have another type,
default or condition or fewer choices, the changelog has an entry, and the runtime names itself so. A new question has a
default, which leaves every file as it was: whatever another answer changes is with the default as the last release
rendered it.

    python tools/release_check.py vX.Y.Z [--since TAG]
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import copier
import yaml
from plumbum import local

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "template")]  # so that it runs as a file too

from agent_runtime.local.update import files  # noqa: E402  the path above comes first
from agent_runtime.local.update.owners import ANSWERS_FILE  # noqa: E402
from agent_runtime.model.config import CONFIG_PATH  # noqa: E402
from tools import rendered  # noqa: E402

Answers = Mapping[str, str]


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


def changed_renderings(repository: Path, last: str) -> Iterator[str]:
    """Which file the default of a new question changes in a repository that the last release rendered."""
    old, new = questions(repository, last), questions(repository, "HEAD")
    added = [name for name in new if name not in old and "default" in new[name]]
    if not added:
        return
    with tempfile.TemporaryDirectory(prefix="release-check-") as folder:
        before, after = (
            _Version(repository, last, Path(folder, "old")),
            _Version(repository, "HEAD", Path(folder, "new")),
        )
        for name in added:
            others = list(_other_answers(name, new[name]))
            if not others:
                yield f"{name}: nothing shows what its default changes: give another answer in tools/rendered.py"
            for given in others:
                as_default = {key: value for key, value in given.items() if key != name}
                as_before = {key: value for key, value in given.items() if key in old}
                sides = before.render(as_before), after.render(as_default), after.render(given)
                yield from (f"{name}: its default changes {path}: {line}" for path, line in _differing(name, *sides))


def _other_answers(name: str, question: Mapping[str, Any]) -> Iterator[Answers]:
    """Sets of answers in which one question is not answered by its default."""
    shown = [{"use_case": case, **given} for case, given in rendered.COMBINATIONS.items() if name in given]
    if shown:
        yield from shown
        return
    case, given = next(iter(rendered.COMBINATIONS.items()))
    for choice in _choices(question):
        if choice != question["default"]:
            yield {"use_case": case, **given, "advanced": "yes", name: choice}


class _Version:
    """The template at a commit, in a folder without git."""

    def __init__(self, repository: Path, commit: str, folder: Path) -> None:
        command = ["git", "archive", commit, "--", *rendered.PARTS]
        archived = subprocess.run(command, cwd=repository, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archived)) as unpacked:
            unpacked.extractall(folder / "template", filter="tar")
        self._folder, self._number = folder, 0

    def render(self, given: Answers) -> dict[str, Counter[bytes]]:
        """The lines of each file."""
        self._number += 1
        target = self._folder / str(self._number)
        source, settings = str(self._folder / "template"), copier.Settings()
        with local.env(PATH=""):  # else Copier starts git for every file
            copier.run_copy(source, target, dict(given), settings=settings, defaults=True, quiet=True)
        return {name: Counter(file.data.splitlines()) for name, file in files.below(target).items()}


def _differing(name: str, *sides: Mapping[str, Counter[bytes]]) -> Iterator[tuple[str, str]]:
    """Each file, and its first line, that a default has and neither the last release nor another answer; or hasn't.

    Arguments:
        sides: rendered by the last release, with the default, and with another answer.
    """
    for path in sorted({*sides[1], *sides[2]}):
        before, default, other = (side.get(path, Counter()) for side in sides)
        for line in {**default, **other}:
            recorded = path in (ANSWERS_FILE, CONFIG_PATH.as_posix()) and line.startswith(f"{name}:".encode())
            same = default[line] in (before[line], other[line])
            if not same and not recorded:
                yield path, line.decode("utf-8", "replace").strip()
                break


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
        found += changed_renderings(options.repository, last)
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"{options.version}: {len(found)} problems" + (f" since {last}" if last else ", and no release before it"))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
