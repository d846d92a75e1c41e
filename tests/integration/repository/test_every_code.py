"""Every code is met, and whoever follows its remedy does not meet it again.

What each said is written to the table `build/codes.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent_runtime import codes
from aimgentix.redact import Redactor
from support import compiled, engines, settings_world
from support.environment import REPOSITORY
from support.trials import issue, messages, releases, repository, run, toolkit, update
from support.trials.lab import TRIALS, Lab, Trial, said
from tools import codes as page

__all__ = ["issue", "messages", "releases", "repository", "run", "toolkit", "update"]

TABLE = "| code | what it says | what was done about it |\n| --- | --- | --- |\n"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered repository; trials copy it."""
    root = settings_world.render(tmp_path_factory.mktemp("rendered"))
    compiled.beside(root / "agent_runtime", root / "sdk")
    engines.commit_all(root, "Start")
    engines.git(root, "repack", "-adq")
    return root


@pytest.fixture
def lab(tmp_path: Path, rendered: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """An empty place."""
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    with ExitStack() as stack:
        yield Lab(tmp_path, rendered, stack)


def test_there_is_a_trial_for_every_code_and_none_for_another() -> None:
    page.render()  # registers the codes of every module
    assert sorted(TRIALS) == sorted(codes.registered())


@pytest.mark.parametrize("code", TRIALS)
def test_a_code_is_met_and_its_remedy_helps(code: str, lab: Lab) -> None:
    found = TRIALS[code]
    before = meets(found, lab)
    shown = before.replace("`", "").replace("|", "/")
    row = f"| {code} | `{shown}` | {found.by_hand + ', by hand' if found.by_hand else 'what it says: it helped'} |\n"
    folder = REPOSITORY / "build" / "codes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / code).write_text(row, encoding="utf-8")
    rows = [path.read_text(encoding="utf-8") for path in sorted(folder.iterdir()) if path.name in TRIALS]
    (folder.parent / "codes.md").write_text(TABLE + "".join(rows), encoding="utf-8")


def meets(found: Trial, lab: Lab) -> str:
    """Play a trial, and return the line that has the code."""
    attempts = found.play(lab)
    first = said(next(attempts))
    line = next((line for line in first.splitlines() if found.code in line), "")
    assert line, first
    assert Redactor().text(line) == line, "a message keeps its names"
    after = [said(attempt) for attempt in attempts]
    assert bool(found.by_hand) == (not after), "a remedy is tried, or left to a person by name"
    assert not [text for text in after if found.code in text], after
    return line
