"""The questions are in three places; these tests hold them equal."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.local import answers
from agent_runtime.model.config import Config
from support.engines import Render, copier_environment
from support.environment import REPOSITORY

COPIER = yaml.safe_load((REPOSITORY / "copier.yml").read_text(encoding="utf-8"))
COOKIECUTTER = json.loads((REPOSITORY / "cookiecutter.json").read_text(encoding="utf-8"))
ASKED = [name for name in COPIER if not name.startswith("_") and name != "cookiecutter"]


# How a prompt of Cookiecutter says that it asks where Copier does not.
UNUSED = re.compile(r"; unused without (?:a schedule|advanced)(?=\)\?$)| \(unused without advanced\)(?=\?$)")


def _values(choices: Any) -> Any:
    """Labels and values, or values alone; one value has a condition."""
    if not isinstance(choices, dict):
        return choices
    return {label: value["value"] if isinstance(value, dict) else value for label, value in choices.items()}


def _choices(question: dict[str, Any]) -> list[str]:
    choices = _values(question["choices"])
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
        assert _default(name) == other[0]
        if isinstance(question["choices"], dict):
            labels = {label: value for value, label in prompt.items() if value != "__prompt__"}
            assert labels == _values(question["choices"])


def test_help() -> None:
    for name in ASKED:
        prompt = COOKIECUTTER["__prompts__"][name]
        prompt = prompt["__prompt__"] if isinstance(prompt, dict) else prompt
        assert UNUSED.sub("", prompt) == " ".join(COPIER[name]["help"].split())
        assert bool(UNUSED.search(prompt)) == ("when" in COPIER[name])


# What Copier's prompt shows of a line, on a terminal of 80 columns, beside the mark before it; the rest is cut off.
COLUMNS = 80 - len("?? ")


def test_a_question_and_its_choices_are_whole_on_a_terminal_of_80_columns() -> None:
    lines = {name: [*COPIER[name]["help"].split("\n"), *map(str, COPIER[name].get("choices", ()))] for name in ASKED}
    assert {name: line for name, listed in lines.items() for line in listed if len(line) > COLUMNS} == {}


def test_every_question_has_a_default_but_the_name() -> None:
    assert [name for name in ASKED if "default" not in COPIER[name]] == ["agent_name"]
    assert [name for name in ASKED if COOKIECUTTER[name] == ""] == [
        "agent_name",
        "act_permissions",
        "investigate_container",
        "act_variables",
        "audit_host",
    ]


def test_questions_of_the_group_advanced() -> None:
    asked = [name for name in ASKED if COPIER[name].get("when") == "{{ advanced == 'yes' }}"]

    assert asked == list(answers.ADVANCED)
    assert ASKED.index("advanced") == len(ASKED) - len(asked) - 1


@pytest.mark.parametrize("use_case", answers.USE_CASES)
@pytest.mark.parametrize("question", [*answers.ADVANCED, "schedule_cron"])
def test_what_holds_without_being_asked_is_the_same_everywhere(question: str, use_case: str) -> None:
    given = {"use_case": use_case}
    other = COOKIECUTTER[question]

    assert _default(question, **given) == answers.unasked(question, given)
    if isinstance(other, str):
        assert jinja2.Template(other).render(cookiecutter=given) == answers.unasked(question, given)


def _default(question: str, **given: str) -> str:
    """What Copier takes for an answer that nobody gave."""
    environment: jinja2.Environment = copier_environment()
    return environment.from_string(COPIER[question]["default"]).render(given)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Checkout Restart", "checkout-restart"),
        ("Überwacher", "ueberwacher"),
        ("Straßen-Wächter", "strassen-waechter"),
        ("Żółw w Łodzi", "zolw-w-lodzi"),
        ("Pingüino d'œuvre", "pingueino-d-oeuvre"),
        ("İstanbul ılık", "istanbul-ilik"),
        ("Cafe\u0301", "cafe"),
        ("X", "agent-x"),
        ("7 Zwerge", "agent-7-zwerge"),
        ("Deploy 🚀 Bot", "deploy-bot"),
        ("a" * 49 + " b", "a" * 49),
        ("🚀", None),
        ("日本 Restart", None),
        ("Ωmega", None),
        ("- -", None),
    ],
)
def test_the_short_name_has_every_letter_of_the_name_or_is_asked_for(name: str, slug: str | None) -> None:
    default = COPIER["agent_slug"]["default"]
    unset = "-"  # refused as an answer: Cookiecutter knows no question without a default

    assert copier_environment().from_string(default).render(agent_name=name, UNSET=unset) == (slug or unset)
    assert jinja2.Template(COOKIECUTTER["agent_slug"]).render(cookiecutter={"agent_name": name}) == (slug or unset)
    assert (answers.check("agent_slug", slug or unset) is None) == (slug is not None)


def test_no_placeholder_looks_like_an_answer() -> None:
    placeholders = [COPIER[name]["placeholder"] for name in ASKED if "placeholder" in COPIER[name]]
    assert placeholders == ["for example Checkout Restart"]


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


def test_what_the_runtime_needs_is_recorded(render: Render) -> None:
    """Every answer that decides about a job is in the configuration, so that its workflows can be built from it."""
    words = yaml.safe_load((render() / ".github" / "agent-config.yml").read_text(encoding="utf-8"))

    decided = {name for name in ASKED if f"cookiecutter.{name}" in _workflows()} | set(answers.ADVANCED)
    assert decided <= set(words)
    assert {field.name for field in fields(Config)} == set(words) - {"schema_version"}


def _workflows() -> str:
    folder = REPOSITORY / "template" / ".github" / "workflows"
    return "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.jinja"))


def test_unknown_data_are_judged_by_the_list_of_all_questions() -> None:
    """The list in the validator is written out, because a removed question must stay in it."""
    listed = COPIER["agent_slug"]["validator"].split("questions = [")[1].split("]")[0]

    assert set(re.findall(r'"(\w+)"', listed)) >= set(ASKED)


def test_nothing_asks_for_trust() -> None:
    assert not {"_tasks", "_migrations", "_jinja_extensions", "_external_data"} & set(COPIER)


def _imports(path: Path) -> set[str]:
    """The modules of the toolkit that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "agent_runtime.toolkit":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("agent_runtime.toolkit."):
            found.add(str(node.module).rpartition(".")[2])
    return found


def test_the_rules_know_what_each_module_of_the_toolkit_imports() -> None:
    folder = REPOSITORY / "template" / "agent_runtime" / "toolkit"
    modules = {path.stem: path for path in folder.glob("*.py") if path.stem != "__init__"}

    assert set(answers.TOOLKIT_MODULES) == set(modules)
    for name, path in modules.items():
        assert set(answers.TOOLKIT_MODULES[name]) == _imports(path) - {"errors"}, name
    order = list(answers.TOOLKIT_MODULES)
    assert all(order.index(name) < order.index(used) for name in order for used in answers.TOOLKIT_MODULES[name])


@pytest.mark.parametrize("use_case", answers.USE_CASES)
def test_a_use_case_names_the_modules_that_its_files_import(use_case: str) -> None:
    named = set(answers.listed(answers.unasked("toolkit", {"use_case": use_case})))
    used = {
        module for path in (REPOSITORY / "template" / "use_cases" / use_case).glob("*.py") for module in _imports(path)
    }

    assert used <= answers.toolkit_modules(named)
    if use_case != "blank":
        assert named == _imports(REPOSITORY / "template" / "use_cases" / use_case / "agent_runner.py") - {"errors"}


@given(st.sets(st.sampled_from(sorted(answers.TOOLKIT_MODULES))))
def test_both_engines_leave_out_the_same_modules(named: set[str]) -> None:
    (pattern,) = [entry for entry in COPIER["_exclude"] if "toolkit" in entry]

    excluded = copier_environment().from_string(pattern).render(toolkit=", ".join(sorted(named)))

    left_out = {f"/agent_runtime/toolkit/{module}.py" for module in answers.TOOLKIT_MODULES}
    kept = {f"/agent_runtime/toolkit/{module}.py" for module in answers.toolkit_modules(named)}
    assert set(excluded.split()) == left_out - kept


def test_of_a_template_that_did_not_ask_yet_every_module_is_taken() -> None:
    """An update renders the older template with the newer list of what to leave out."""
    (pattern,) = [entry for entry in COPIER["_exclude"] if "toolkit" in entry]

    assert copier_environment().from_string(pattern).render().split() == []


def test_cookiecutter_renders_only_what_needs_an_answer(template: Path) -> None:
    """Copier renders `*.jinja`; Cookiecutter must copy every other file as it is."""
    from cookiecutter.generate import is_copy_only_path  # type: ignore[import-untyped]

    context = {"cookiecutter": COOKIECUTTER}
    found = (path for path in (template / "template").rglob("*") if path.is_file() and path.suffix != ".pyc")
    files = [path.relative_to(template / "template") for path in found]

    assert [str(file) for file in files if is_copy_only_path(str(file), context) == (file.suffix == ".jinja")] == []
