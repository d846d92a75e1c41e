"""What `rendered/` shows a reviewer is what a team gets now, and a change of the template shows there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent_runtime.local import answers
from support import engines
from support.environment import REPOSITORY

TOOL = Path("tools", "rendered.py")
RENDERED = REPOSITORY / "rendered"


def run(repository: Path, mode: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repository / TOOL), mode]
    return subprocess.run(
        command, cwd=repository, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def remembered(use_case: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((RENDERED / use_case / ".copier-answers.yml").read_text(encoding="utf-8"))
    return found


def listed(use_case: str) -> dict[str, str]:
    """The owner of each file of the whole repository."""
    lines = (RENDERED / use_case / "FILES.txt").read_text(encoding="utf-8").splitlines()
    return {name: owner for owner, name in (line.split(maxsplit=1) for line in lines)}


def test_it_is_fresh_on_every_machine(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yml"
    settings.write_text("defaults:\n  license: Proprietary\n  approvers: me\n", encoding="utf-8")
    done = run(REPOSITORY, "--check", COPIER_SETTINGS_PATH=str(settings), TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_a_change_of_the_template_shows_and_nothing_else_does(tmp_path: Path) -> None:
    repository = engines.clone_template(tmp_path / "gated-agents")
    shutil.copy2(REPOSITORY / TOOL, repository / TOOL)
    shutil.copytree(RENDERED, repository / "rendered")
    engines.commit_all(repository, "Rendered")
    with (repository / "template" / "README.md.jinja").open("a", encoding="utf-8") as page:
        page.write("{% if cookiecutter.auto_approval == 'yes' %}Some actions need no asking.\n{% endif %}")
    (repository / "template" / "docs" / "RUNBOOK.md.jinja").unlink()
    (repository / "template" / "docs" / "NEW.md").write_text("For every team.\n", encoding="utf-8")
    (repository / "rendered" / "blank" / "agent_runner.py").write_text("# edited by hand\n", encoding="utf-8")
    (repository / "rendered" / "blank" / "left.md").write_text("Of an old template.\n", encoding="utf-8")

    stale = run(repository, "--check")

    lists = {f"rendered/{use_case}/FILES.txt" for use_case in answers.USE_CASES}
    runbooks = {f"rendered/{use_case}/docs/RUNBOOK.md" for use_case in answers.USE_CASES}
    by_hand = {"rendered/blank/agent_runner.py", "rendered/blank/left.md"}
    assert stale.returncode == 1
    assert {line.split()[0] for line in stale.stderr.splitlines()} == {
        "rendered/scale-resources/README.md",
        *lists,
        *runbooks,
        *by_hand,
    }

    assert run(repository, "--write").returncode == 0

    engines.git(repository, "add", "--all")
    changed = engines.git(repository, "diff", "--cached", "--unified=0", "rendered").splitlines()
    plus = [line for line in changed if line.startswith("+") and not line.startswith("+++")]
    assert sorted(plus) == ["+Some actions need no asking.", *["+both      docs/NEW.md"] * len(answers.USE_CASES)]
    gone = set(engines.git(repository, "diff", "--cached", "--diff-filter=D", "--name-only", "rendered").split())
    assert gone == runbooks


@pytest.mark.parametrize("use_case", answers.USE_CASES)
def test_what_is_not_here_is_in_the_template_as_it_is(use_case: str) -> None:
    folder = RENDERED / use_case
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"FILES.txt"}
    files = listed(use_case)

    assert here < files.keys()
    elsewhere = [name for name in files if name not in here and not name.endswith(".lock")]
    assert [name for name in elsewhere if not (REPOSITORY / "template" / name).is_file()] == []
    assert {name: files[name] for name in ("agent_runner.py", "README.md", "agent_runtime/cli.py")} == {
        "agent_runner.py": "team",
        "README.md": "both",
        "agent_runtime/cli.py": "template",
    }


def test_together_they_show_every_choice_and_at_least_two_answers_to_each_question() -> None:
    given = {use_case: remembered(use_case) for use_case in answers.USE_CASES}
    shown = {
        question: {
            found[question] if answers.asked(question, found) else answers.unasked(question, found)
            for found in given.values()
        }
        for question in answers.QUESTIONS
    }

    assert [question for question, each in shown.items() if len(each) < 2] == []
    for question, choices in (
        ("use_case", answers.USE_CASES),
        ("triggers", answers.TRIGGERS),
        ("repository_plan", answers.PLANS),
        ("license", answers.LICENSES),
    ):
        assert shown[question] == {*choices}
