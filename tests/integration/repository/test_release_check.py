"""`tools/release_check.py`: what a release must not do to repositories that exist."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import agent_runtime
from agent_runtime.local.update.releases import LIST, parse
from support import engines, signatures, updates
from support.environment import REPOSITORY
from tools import release_check

RUNTIME = "template/agent_runtime/__init__.py"
QUESTION = """\
colour:
  type: str
  help: Which colour?
  choices: ["red", "blue"]
  default: "red"

# COMPUTED VALUES
"""
ENTRY = "# Changelog\n\n## Unreleased\n\n## 1.1.0 - 2026-12-24\n\nA colour.\n\n## 1.0.0 - 2026-12-01\n\nThe first.\n"


WORKFLOW = "template/.github/workflows/agent-investigate-act.yml.jinja"


def _ask(template: Path, default: str) -> None:
    updates.replace(template / "copier.yml", "# COMPUTED VALUES\n", QUESTION.replace('default: "red"', default))
    updates.replace(template / "copier.yml", '"notify", "toolkit"] -%}', '"notify", "toolkit", "colour"] -%}')


def _edit(name: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda template: updates.replace(template / name, old, new)


def _answer(colour: str) -> Callable[[Path], object]:
    """The new question, one answer to which leaves the workflow as it was."""

    def ask(template: Path) -> None:
        _ask(template, 'default: "red"')
        closed = "{% if colour == '" + colour + "' %}permissions: {}{% else %}permissions: write-all{% endif %}"
        closed = "{% endraw %}" + closed + "{% raw %}"
        updates.replace(template / WORKFLOW, "\npermissions: {} #", f"\n{closed} #")

    return ask


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda _: None, ""),
    "a question whose default changes nothing": (_answer("red"), ""),
    "a question whose default opens something": (
        _answer("blue"),
        "colour: its default changes .github/workflows/agent-investigate-act.yml: permissions: write-all",
    ),
    "a choice that is gone": (
        _edit("copier.yml", '    No, people look at GitHub: "no"\n', ""),
        "notify: it does not take no any more",
    ),
    "a question without a default": (lambda template: _ask(template, "placeholder: red"), "colour: it has no default"),
    "a question that is gone": (
        _edit("copier.yml", "\napprovers:\n", "\nreviewers:\n"),
        "approvers: the question is gone",
    ),
    "another default": (
        _edit("copier.yml", "  default: Investigates, proposes", "  default: Looks, proposes"),
        "description: its default is another one",
    ),
    "another version": (
        _edit(RUNTIME, '__version__ = "1.1.0"', '__version__ = "1.0.0"'),
        "agent_runtime/__init__.py has another __version__ than v1.1.0",
    ),
    "no entry": (
        lambda template: (template / "CHANGELOG.md").write_text(ENTRY.replace("\nA colour.\n", ""), encoding="utf-8"),
        "CHANGELOG.md has no entry for v1.1.0",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_release_that_changes_what_nobody_asked_for_is_refused(name: str, tmp_path: Path) -> None:
    template = engines.clone_template(tmp_path / "template")
    edit, expected = CASES[name]
    (template / "CHANGELOG.md").write_text(ENTRY, encoding="utf-8")
    updates.replace(template / RUNTIME, f'__version__ = "{agent_runtime.__version__}"', '__version__ = "1.1.0"')
    edit(template)
    engines.commit_all(template, "Prepare the release")
    for tag in ("v1.1.0", "version-9"):  # its own, if it is checked once more, and one that is not a version
        engines.git(template, "tag", tag)

    command = [sys.executable, "tools/release_check.py", "v1.1.0", "--repository", str(template)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert done.returncode == (1 if expected else 0), done.stderr
    assert expected in done.stderr
    assert done.stdout.endswith("since v1.0.0\n")


def test_the_list_of_releases_is_read_as_toml_reads_it(tmp_path: Path) -> None:
    template = engines.clone_template(tmp_path / "template")
    for text in (
        (REPOSITORY / LIST).read_text(encoding="utf-8"),
        signatures.entry(template, "v1.0.0")
        + "# b\n"
        + signatures.entry(template, "v1.0.0", "its gate can be bypassed"),
    ):
        assert parse(text) == tomllib.loads(text).get("release", [])


ASKED = {"type": "str", "help": "Which?", "default": "red", "choices": {"Red": "red", "Blue": "blue"}}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"help": "Which one?"}, []),
        ({"type": "int"}, ["colour: its type is another one"]),
        ({"default": "blue"}, ["colour: its default is another one"]),
        ({"when": "{{ advanced == 'yes' }}"}, ["colour: its when is another one"]),
        ({"choices": ["red", "blue", "green"]}, []),
        ({"choices": ["red", "green"]}, ["colour: it does not take blue any more"]),
        ({"choices": None}, []),  # a person may type any of them
    ],
)
def test_an_answer_that_somebody_gave_still_fits_its_question(changed: dict[str, object], said: list[str]) -> None:
    assert list(release_check.changed_questions({"colour": ASKED}, {"colour": {**ASKED, **changed}})) == said


@pytest.mark.parametrize(
    ("text", "has_entry"),
    [
        ("## 1.1.0\n\n- a\n", True),
        ("## [1.1.0] - 2026-12-24\n\n- a\n\n## 1.0.0\n", True),
        ("## 1.1.0\n\n## 1.0.0\n\n- a\n", False),
        ("## 1.1.0-rc.1\n\n- a\n", False),
        ("## 1.110\n\n- a\n", False),
        ("### 1.1.0\n\n- a\n", False),
    ],
)
def test_an_entry_is_what_stands_below_the_versions_heading(text: str, has_entry: bool) -> None:
    assert list(release_check.changelog(text, "v1.1.0")) == (
        [] if has_entry else ["CHANGELOG.md has no entry for v1.1.0"]
    )
