"""How the end of an update treats what somebody did meanwhile, and that it asks git a fixed number of times."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_runtime import codes
from agent_runtime.local.update import landing, problems
from agent_runtime.local.update.files import REGULAR, File
from agent_runtime.local.update.repository import Repository
from support import engines

COUNT = 30


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A repository at its first commit, whose branch `made` changes, adds and removes files."""
    top = tmp_path / "top"
    top.mkdir()
    for number in range(COUNT):
        (top / f"{number}.txt").write_text(f"{number}\n", encoding="utf-8")
    engines.commit_all(top, "Start")
    engines.git(top, "switch", "--quiet", "--create", "made")
    for number in range(COUNT):
        (top / f"{number}.txt").write_text(f"{number}, updated\n", encoding="utf-8")
    (top / "0.txt").unlink()
    (top / "new.txt").write_text("new\n", encoding="utf-8")
    engines.commit_all(top, "Update")
    engines.git(top, "switch", "--quiet", "main")
    return top


def interrupt(top: Path) -> tuple[str, str]:
    """Leave what an update leaves that a power cut ended before the branch moved."""
    old, new = engines.git(top, "rev-parse", "main", "made").split()
    (top / ".git/agent-update").write_text(f"refs/heads/main\n{old}\n{new}", encoding="utf-8")
    return old, new


def test_who_went_on_after_an_interrupted_update_keeps_the_work(top: Path) -> None:
    interrupt(top)
    (top / "1.txt").write_text("1, by us\n", encoding="utf-8")
    engines.commit_all(top, "Go on")
    before = engines.tree(top)

    assert Repository(top).finish_interrupted() == ""

    assert engines.tree(top) == before
    assert not (top / ".git/agent-update").exists()
    assert engines.git(top, "status", "--porcelain") == ""


def test_an_edit_made_meanwhile_stays_and_ends_the_finishing_of_an_update(top: Path) -> None:
    _, new = interrupt(top)
    (top / "1.txt").write_text("1, by us\n", encoding="utf-8")
    (top / "2.txt").write_text("2, updated\n", encoding="utf-8")

    assert Repository(top).finish_interrupted() == "rolled back"
    assert (top / "2.txt").read_text(encoding="utf-8") == "2\n"
    assert engines.git(top, "status", "--porcelain") == " M 1.txt\n"

    interrupt(top)
    engines.git(top, "update-ref", "refs/heads/main", new)
    with pytest.raises(codes.BadInput, match=r"1\.txt was edited meanwhile") as refused:
        Repository(top).finish_interrupted()
    assert refused.value.code == problems.MOVED
    assert (top / "1.txt").read_text(encoding="utf-8") == "1, by us\n"
    (top / "1.txt").unlink()
    assert Repository(top).finish_interrupted() == "finished"
    assert engines.git(top, "status", "--porcelain") == ""
    assert (top / "new.txt").is_file() and not (top / "0.txt").exists()


@pytest.fixture
def count(top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often git was started since the last time."""
    trace = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE", str(trace))

    def counted() -> int:
        lines = trace.read_text(encoding="utf-8").count("trace: built-in: git ") if trace.exists() else 0
        trace.unlink(missing_ok=True)
        return lines

    return counted


def test_git_is_not_started_for_each_file(
    top: Path, count: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"):  # as hooks have them
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    repository = Repository(top)
    files = {f"{number}.txt": File(REGULAR, b"x%d\n" % number) for number in range(1, COUNT)}
    ours = repository.committed()
    assert (len(ours), ours["7.txt"]) == (COUNT, File(REGULAR, b"7\n"))
    count()
    commit = repository.commit({**files, "0.txt": None}, "Update\n", tmp_path)
    assert count() < COUNT
    assert (repository.committed(), count()) == (ours, 0)
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"):
        monkeypatch.delenv(name)
    assert engines.git(top, "show", f"{commit}:7.txt") == "x7\n"
    count()
    old = engines.git(top, "rev-parse", "main").strip()
    journal = str(top / ".git/agent-update")

    assert landing.main([str(top), "refs/heads/main", old, commit, journal, os.devnull]) == 0
    landing.bring(str(top), old, commit, commit)

    assert count() < COUNT
    assert engines.git(top, "status", "--porcelain") == ""
    assert (top / "7.txt").read_text(encoding="utf-8") == "x7\n" and not (top / "0.txt").exists()
