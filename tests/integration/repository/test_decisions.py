"""Every decision says whether it holds, since when, and what superseded it; the list names them all."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from support.environment import REPOSITORY

FOLDER = REPOSITORY / "docs" / "decisions"
DECISIONS = sorted(FOLDER.glob("[0-9]*.md"))
SECTIONS = ["## Context", "## Decision", "## Consequences"]


def title(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0]


def status(path: Path) -> str:
    """The paragraph below the title."""
    return path.read_text(encoding="utf-8").split("\n\n")[1].replace("\n", " ")


def decided(path: Path) -> date:
    return date.fromisoformat(re.findall(r"\d{4}-\d\d-\d\d", status(path))[0])


def replacing(path: Path) -> list[str]:
    """The files of the decisions that a status names."""
    return re.findall(r"\]\(([^)]+)\)", status(path).partition("superseded")[2])


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_a_status_a_date_and_its_parts(path: Path) -> None:
    pattern = r"\*\*Status:\*\* (accepted|superseded), \d{4}-\d\d-\d\d(; superseded (in part )?by \[\d{4}\]\(.+\).*)?"
    assert re.fullmatch(pattern, status(path)), status(path)
    assert title(path).startswith(f"# {path.name[:4]} ")
    assert [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("## ")] == SECTIONS


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_what_supersedes_a_decision_is_a_later_one(path: Path) -> None:
    for name in replacing(path):
        later = FOLDER / name
        assert later in DECISIONS, name
        assert later.name > path.name and decided(later) >= decided(path), name
    assert (status(path).startswith("**Status:** superseded")) <= bool(replacing(path))


def test_numbers_and_dates_go_up() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    dates = [decided(path) for path in DECISIONS]
    assert dates == sorted(dates)


def test_the_list_names_every_decision_with_its_title() -> None:
    rows = re.findall(r"^\| \[(\d{4})\]\((.+?)\) \| (.+) \|$", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE)
    assert [name for _, name, _ in rows] == [path.name for path in DECISIONS]
    assert [f"# {number} {what}" for number, _, what in rows] == [title(path) for path in DECISIONS]
