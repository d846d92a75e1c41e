"""The questions stand in three places; these tests hold them equal."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent_runtime.local import answers
from conftest import REPOSITORY

COPIER = yaml.safe_load((REPOSITORY / "copier.yml").read_text(encoding="utf-8"))
COOKIECUTTER = json.loads((REPOSITORY / "cookiecutter.json").read_text(encoding="utf-8"))
ASKED = [name for name in COPIER if not name.startswith("_") and name != "cookiecutter"]


def _choices(question: dict[str, Any]) -> list[str]:
    choices = question["choices"]
    return list(choices.values()) if isinstance(choices, dict) else choices


def test_names_and_order() -> None:
    assert list(answers.QUESTIONS) == ASKED
    assert [name for name in COOKIECUTTER if not name.startswith("_")] == ASKED


def test_choices_and_their_words() -> None:
    for name in ASKED:
        question, other = COPIER[name], COOKIECUTTER[name]
        prompt = COOKIECUTTER["__prompts__"][name]
        if "choices" not in question:
            assert isinstance(other, str)
            continue
        assert _choices(question) == other
        assert question["default"] == other[0]
        if isinstance(question["choices"], dict):
            labels = {label: value for value, label in prompt.items() if value != "__prompt__"}
            assert labels == question["choices"]


def test_help() -> None:
    for name in ASKED:
        prompt = COOKIECUTTER["__prompts__"][name]
        prompt = prompt["__prompt__"] if isinstance(prompt, dict) else prompt
        assert prompt.replace("; unused without a schedule", "") == COPIER[name]["help"]


def test_every_question_has_a_default_but_the_name() -> None:
    assert [name for name in ASKED if "default" not in COPIER[name]] == ["agent_name"]
    assert [name for name in ASKED if COOKIECUTTER[name] == ""] == ["agent_name", "act_permissions"]


def test_every_question_refuses_something() -> None:
    assert [name for name in ASKED if not {"choices", "validator"} & set(COPIER[name])] == []


@pytest.mark.parametrize("question, choices", [("use_case", answers.USE_CASES), ("license", answers.LICENSES)])
def test_rules_know_the_choices(question: str, choices: tuple[str, ...]) -> None:
    assert _choices(COPIER[question]) == list(choices)


def test_use_cases_are_the_folders() -> None:
    folders = sorted(path.name for path in (REPOSITORY / "template" / "use_cases").glob("[!.]*/"))

    assert sorted(answers.USE_CASES) == folders


def test_the_namespace_has_every_answer() -> None:
    pairs = re.findall(r'"(\w+)": (\w+)', COPIER["cookiecutter"]["default"])

    assert [name for name, _ in pairs] == ASKED
    assert all(name == value for name, value in pairs)


def test_unknown_data_are_judged_by_the_list_of_all_questions() -> None:
    """The list in the validator is written out, because a removed question must stay in it."""
    listed = COPIER["agent_slug"]["validator"].split("questions = [")[1].split("]")[0]

    assert set(re.findall(r'"(\w+)"', listed)) >= set(ASKED)


def test_nothing_asks_for_trust() -> None:
    assert not {"_tasks", "_migrations", "_jinja_extensions", "_external_data"} & set(COPIER)


def test_both_engines_leave_out_the_same_litter() -> None:
    hook = (REPOSITORY / "hooks" / "post_gen_project.py").read_text(encoding="utf-8")
    litter = re.search(r"JUNK = \((.*?)\)", hook)

    assert litter
    assert set(re.findall(r'"(.+?)"', litter[1])) == {entry for entry in COPIER["_exclude"] if entry[0] not in "/{"}


def test_cookiecutter_renders_only_what_needs_an_answer(template: Path) -> None:
    """Copier renders `*.jinja`; Cookiecutter must copy every other file as it is."""
    from cookiecutter.generate import is_copy_only_path  # type: ignore[import-untyped]

    context = {"cookiecutter": COOKIECUTTER}
    files = [path.relative_to(template / "template") for path in (template / "template").rglob("*") if path.is_file()]

    assert [str(file) for file in files if is_copy_only_path(str(file), context) == (file.suffix == ".jinja")] == []
