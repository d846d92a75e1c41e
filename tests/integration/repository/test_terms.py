"""One word for one thing: what `make lint` says about words that this project doesn't use."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.environment import REPOSITORY
from tools import terms

# Assembled, so that this file does not find itself.
PLANTED = {
    "plain.md": "The run is\nto" + "ld about it.\n",
    "names.py": "def is_to" + "ld_twice(): ...\n",
    "broken.py": "# It is\n# fine, and `x` is n" + "o number.\n",
    "spread.md": "One\ntwo can" + "not\nbe used.\n",
}
PLACES = {"plain.md": 2, "names.py": 1, "broken.py": 2, "spread.md": 2}


def words(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "tools" / "terms.py"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def committed(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("name", PLANTED)
def test_a_word_is_found_with_its_place_and_the_standard_one(tmp_path: Path, name: str) -> None:
    done = words(committed(tmp_path, {name: PLANTED[name]}))
    assert done.returncode == 1
    found, count = done.stdout.splitlines()
    assert re.fullmatch(rf"{name}:{PLACES[name]}: .+: say \S.+", found)
    assert count.startswith("1 ")


def test_what_only_looks_like_one_is_left_alone(tmp_path: Path) -> None:
    text = "A blank line. There is no file, and it is no longer here. The folder holds untold files.\n"
    done = words(committed(tmp_path, {"page.md": text, "a.lock": PLANTED["plain.md"]}))
    assert (done.returncode, done.stdout[:2]) == (0, "0 "), done.stdout


def test_this_repository_uses_none() -> None:
    done = words(REPOSITORY)
    assert done.returncode == 0, done.stdout


def test_each_exception_is_needed() -> None:
    for name, right, reason in terms.ALLOWED:
        assert re.search(right, (REPOSITORY / name).read_text(encoding="utf-8")), (name, reason)
