"""What `copier update` alone was measured to do wrong, by its number, and what `update` makes of the same repository.

| number | what was measured | plain Copier today | `update` |
| --- | --- | --- | --- |
| 1 | a release that weakens the gate passes its own check | does so, test_update_command | refused by name, there |
| 2 | edits of the rendered gate workflow that no check sees | the check sees them: test_drift | the same |
| 3 | an interrupted update loses edits and looks done | does so, below | as it was, or updated: test_update_command |
| 4 | recopy resets agent and policy | leaves them: test_update | |
| 5 | new files left out, markers committed, an answer upgrades | does so, below | does not: test_update_command |
| 6 | renewed pins and the Makefile in conflict: no YAML, no `make` | does so, below | merged, or refused: below |
| 6 | own requirements against new locks | leaves them: test_update | the same |
| 6 | where a lock or the Makefile is in conflict no check runs | the check names them: below | |
| 7 | an edited file is deleted, an ignored one overwritten | does so, below | refused by name: below |
| 8 | past the last tag no answer can be changed | does so, below | changed, below |
| 8 | `use_case` changes the answer alone | does so, below | refused: test_update_command |
| 8 | a second tag is what is recorded | does so, below | the version is: below |
| 8 | offline it ends in a traceback | does so, below | one line: test_update_command |
| 9 | nobody learns of a release | | a workflow of its own |
| 10 | converted line endings change every file | changes what changed: test_update | test_update_command |
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from support import engines, updates
from support.engines import Render
from support.updates import CHECKOUT, GONE, NEW, PAGE, WORKFLOW

ANSWERS = ".copier-answers.yml"


def _copier(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `copier update` as the documentation used to say."""
    command = [sys.executable, "-m", "copier", "update", "--defaults", *words]
    return engines.run(command, cwd=project, environment={**updates.PATH, **updates.NOBODY})


def _recorded(project: Path) -> str:
    return str(yaml.safe_load((project / ANSWERS).read_text(encoding="utf-8"))["_commit"])


@pytest.fixture(scope="module")
def project(template: Path, later: Path, render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which a team has edited what the release edits, removes or brings; tests don't change it."""
    place = tmp_path_factory.mktemp("measured")
    tagged = Path(shutil.copytree(later, place / "gated-agents", symlinks=True))
    engines.git(tagged, "tag", "--annotate", "--message", "The newest", "latest", "v1.1.0")
    project = updates.born(render(), place / "project", template, tagged)
    updates.append(project / "README.md", "\nOurs\n")
    updates.replace(project / "Makefile", "# Thin names over well-kept tools.", "# Thin names of ours.")
    updates.append(project / GONE, "\nOurs\n")
    workflow = project / WORKFLOW
    text = workflow.read_text(encoding="utf-8")
    workflow.write_text(text.replace(CHECKOUT, f"actions/checkout@{'c' * 40} # v7.0.10"), encoding="utf-8")
    engines.commit_all(project, "Do our work")
    (project / ".git/info/exclude").write_text(f"{PAGE}\n", encoding="utf-8")
    (project / PAGE).write_text("Ours\n", encoding="utf-8")
    return project


@dataclass(frozen=True)
class Plain:
    """What plain Copier made of it, and what `git commit --all` then committed."""

    root: Path
    done: subprocess.CompletedProcess[str]

    def committed(self, name: str) -> str:
        return engines.git(self.root, "show", f"HEAD:{name}")


@pytest.fixture(scope="module")
def plain(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Plain:
    root = Path(shutil.copytree(project, tmp_path_factory.mktemp("plain") / "project", symlinks=True))
    done = _copier(root, "--data", "approvers=octocat")
    engines.git(root, "commit", "--quiet", "--all", "--message", "Change the approvers")
    return Plain(root, done)


def _is_yaml(text: str) -> bool:
    try:
        yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    return True


DOES: dict[str, Callable[[Plain], bool]] = {
    "5 it ends with 0 in conflict, and markers are committed": lambda plain: (
        plain.done.returncode == 0 and "<<<<<<< " in plain.committed("README.md")
    ),
    "5 new files are left out": lambda plain: f"?? {NEW}" in engines.git(plain.root, "status", "--porcelain", "-uall"),
    "5 changing an answer upgrades": lambda plain: (plain.root / NEW).exists(),
    "6 the gate's workflow is not YAML": lambda plain: not _is_yaml(plain.committed(WORKFLOW)),
    "6 make does not even start": lambda plain: (
        "missing separator" in engines.run(["make", "check"], cwd=plain.root).stderr
    ),
    "7 an edited file is deleted": lambda plain: not (plain.root / GONE).exists(),
    "7 an ignored file is overwritten": lambda plain: (plain.root / PAGE).read_text(encoding="utf-8") == "# News\n",
    "8 a second tag is recorded": lambda plain: _recorded(plain.root) == "latest",
}


@pytest.mark.parametrize("what", DOES)
def test_plain_copier_still_does_it(what: str, plain: Plain) -> None:
    assert DOES[what](plain)


def test_the_command_names_it_and_changes_nothing(project: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(project, tmp_path / "project", symlinks=True))
    before = updates.snapshot(root)

    done = updates.command(root, "update", "--json")
    assert (done.returncode, done.stderr[:26]) == (2, f"error: UPD15: {PAGE}. "[:26])
    assert updates.snapshot(root) == before

    (root / PAGE).unlink()
    before = updates.snapshot(root)
    done = updates.command(root, "update", "--json")
    report = json.loads(done.stdout)
    kinds = {change["path"]: change["kind"] for change in report["changes"]}
    assert (done.returncode, report["to"]) == (3, "v1.1.0")
    assert {name for name, kind in kinds.items() if kind == "conflict"} == {GONE, "Makefile"}
    assert (kinds[WORKFLOW], kinds["README.md"], kinds[NEW]) == ("merged", "merged", "added")
    assert updates.snapshot(root) == before


def test_3_killed_plain_copier_has_lost_an_edit_and_looks_done(
    template: Path, later: Path, render: Render, tmp_path: Path
) -> None:
    root = updates.born(render(), tmp_path / "project", template, later)
    updates.replace(root / "README.md", "You need Python", "Ask the team first.\n\nYou need Python")
    engines.commit_all(root, "Do our work")
    command = [sys.executable, "-m", "copier", "update", "--defaults", "--quiet"]

    process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    new = {"README.md": "\nRelease 1.1.0 of ", ANSWERS: "\n_commit: v1.1.0\n"}
    while not all(text in (root / name).read_text(encoding="utf-8") for name, text in new.items()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()

    assert _recorded(root) == "v1.1.0"
    assert "Ask the team first." not in (root / "README.md").read_text(encoding="utf-8")


def test_6_the_check_names_a_lock_ci_and_the_makefile_in_conflict(render: Render, tmp_path: Path) -> None:
    """With what is installed: from such a lock nothing can be; agent-drift.yml checks without any of the three."""
    project = Path(shutil.copytree(render(), tmp_path / "project", symlinks=True))
    torn = ["requirements-agent.lock", ".github/workflows/ci.yml"]
    for name in torn:
        updates.append(project / name, "<<<<<<< before updating\n")
    done = engines.run(["make", "check", f"PYTHON={sys.executable}"], cwd=project)
    assert (done.returncode, [name for name in torn if f"CHK007: {name}:" not in done.stderr]) == (2, [])
    assert not (project / ".venv").exists()

    updates.append(project / "Makefile", "<<<<<<< before updating\n")
    assert "missing separator" in engines.run(["make", "check"], cwd=project).stderr
    done = updates.command(project, "check")
    assert [name for name in [*torn, "Makefile"] if f"CHK007: {name}:" not in done.stderr] == []


def test_8_past_the_last_tag_an_answer_can_be_changed(template: Path, tmp_path: Path) -> None:
    past = Path(shutil.copytree(template, tmp_path / "gated-agents", symlinks=True))
    engines.commit_all(past, "Work on the next release")
    root = engines.run_copier(past, tmp_path / "project", {"agent_name": engines.NAME}, vcs_ref="HEAD")
    engines.commit_all(root, "Start from the template")
    assert _recorded(root).startswith("v1.0.0-1-g")

    done = _copier(root, "--data", "approvers=octocat")
    assert (done.returncode, "downgrading" in done.stderr) == (1, True)
    done = updates.command(root, "update", "--set", "approvers=octocat")
    assert done.returncode == 0, done.stderr
    assert "@octocat" in (root / ".github/CODEOWNERS").read_text(encoding="utf-8")


def test_8_plain_copier_changes_the_answer_use_case_alone(project: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(project, tmp_path / "project", symlinks=True))

    assert _copier(root, "--vcs-ref=:current:", "--data", "use_case=blank").returncode == 0

    assert "use_case: blank" in (root / ANSWERS).read_text(encoding="utf-8")
    assert "ServiceRestartAgent" in (root / "agent_runner.py").read_text(encoding="utf-8")


def test_8_offline_plain_copier_ends_in_a_traceback(project: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(project, tmp_path / "project", symlinks=True))
    answers = root / ANSWERS
    lines = answers.read_text(encoding="utf-8").splitlines()
    lines[2] = "_src_path: https://127.0.0.1:9/gone.git"
    answers.write_text("\n".join(lines) + "\n", encoding="utf-8")
    engines.git(root, "commit", "--quiet", "--all", "--message", "Move the template")

    assert "Traceback (most recent call last)" in _copier(root).stderr
