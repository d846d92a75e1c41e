"""Cookiecutter's hooks: they refuse a broken rendering by name, and leave nothing half-written."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from support import engines, interpreter
from support.engines import Render

# Where a file of the template is.
Find = Callable[[str], Path]
Break = Callable[[Find], object]
WORDS = ("-m", "cookiecutter", "--no-input", "--default-config")
DOOR = "{{cookiecutter.agent_slug}}"


@pytest.fixture
def copy(template: Path, tmp_path: Path) -> Path:
    """A copy of the template to break."""
    return Path(shutil.copytree(template, tmp_path / "copy", symlinks=True))


def _cookiecutter(template: Path, folder: Path, *words: str, cwd: Path | None = None) -> tuple[int, str]:
    done = engines.run(
        [interpreter.python(), *WORDS, "-o", str(folder), *words, str(template), f"agent_name={engines.NAME}"], cwd=cwd
    )
    return done.returncode, done.stdout + done.stderr


def _in(template: Path) -> Find:
    return lambda name: template / "template" / name


def _append(name: str, text: str) -> Break:
    def change(find: Find) -> None:
        path = find(name)
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")

    return change


def _remove(name: str) -> Break:
    return lambda find: find(name).unlink()


def _replace(name: str, old: str, new: str) -> Break:
    def change(find: Find) -> None:
        path = find(name)
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    return change


WORKFLOW = ".github/workflows/agent-investigate-act.yml"
BROKEN = {
    "python": (_append("use_cases/service-restart/agent_runner.py", "def (:\n"), "CHK002: agent_runner.py: "),
    "yaml": (_append(".github/agent-config.yml.jinja", "approvers: [\n"), "INP007: .github/agent-config.yml: "),
    "yaml-of-both": (_append(".github/dependabot.yml", "a: [\n"), "CHK002: .github/dependabot.yml: "),
    "toml": (_append("pyproject.toml", "[tool\n"), "CHK002: pyproject.toml: "),
    "policy": (_append("use_cases/service-restart/policy.yml", "surprise: 1\n"), "POL002: .github/agent-policies/"),
    "unrendered": (
        _append("README.md.jinja", "{% raw %}{{ cookiecutter.agent_name }}{% endraw %}\n"),
        "CHK003: README.md",
    ),
    "runtime": (_append("agent_runtime/model/plan.py", "# changed\n"), "CHK004: agent_runtime/model/plan.py: "),
    "runtime-lost": (
        _remove("agent_runtime/local/simulate/server.py"),
        "CHK005: agent_runtime/local/simulate/server.py: ",
    ),
    "runtime-foreign": (lambda find: find("sdk/x.py").write_text(""), "CHK006: sdk/x.py: "),
    "gate": (_replace(f"{WORKFLOW}.jinja", "environment: agent-act", "environment: production"), f"CON04: {WORKFLOW}:"),
    "policy-lost": (_remove(".github/agent-policies/{{ cookiecutter.agent_slug }}.yml.jinja"), "POL001: "),
}


@pytest.mark.parametrize("spoil, line", BROKEN.values(), ids=list(BROKEN))
def test_a_broken_rendering_is_named_and_removed(spoil: Break, line: str, copy: Path, tmp_path: Path) -> None:
    spoil(_in(copy))

    code, said = _cookiecutter(copy, tmp_path / "out")

    assert code != 0
    assert [found for found in said.splitlines() if found.startswith(line)], said
    assert not list((tmp_path / "out").iterdir())


# What is rendered to another place.
PLACES = {
    "use_cases/service-restart/agent_runner.py": "agent_runner.py",
    "use_cases/service-restart/policy.yml": f".github/agent-policies/{engines.SLUG}.yml",
    ".github/agent-policies/{{ cookiecutter.agent_slug }}.yml.jinja": f".github/agent-policies/{engines.SLUG}.yml",
}


@pytest.mark.parametrize("spoil, line", BROKEN.values(), ids=list(BROKEN))
def test_make_check_names_it_in_a_repository(spoil: Break, line: str, render: Render, tmp_path: Path) -> None:
    project = Path(shutil.copytree(render(), tmp_path / "project"))
    spoil(lambda name: project / PLACES.get(name, name.removesuffix(".jinja")))

    done = engines.run_check(project)

    assert done.returncode == 2
    assert [found for found in done.stderr.splitlines() if found.startswith(line)], done.stderr


@pytest.mark.parametrize("spoil, line", [BROKEN["unrendered"]])
def test_make_check_names_it_after_copier(spoil: Break, line: str, copy: Path, tmp_path: Path) -> None:
    spoil(_in(copy))
    shutil.rmtree(copy / ".git")
    project = engines.run_copier(copy, tmp_path / "project", {"agent_name": engines.NAME})

    done = engines.run_check(project)

    assert done.returncode == 2
    assert [found for found in done.stderr.splitlines() if found.startswith(line)], done.stderr


@pytest.mark.parametrize("name", ["codes", "local/answers", "gate/policy", "local/check"])
def test_a_broken_runtime_is_named_where_even_the_check_needs_it(name: str, copy: Path, tmp_path: Path) -> None:
    _append(f"agent_runtime/{name}.py", "def (:\n")(_in(copy))

    code, said = _cookiecutter(copy, tmp_path / "out")

    assert code != 0
    assert f"{Path(name).name}.py" in said
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("engine", ["copier", "cookiecutter"])
def test_an_answer_that_no_question_has_stops_rendering(engine: str, copy: Path, tmp_path: Path) -> None:
    _append("README.md.jinja", "{{ cookiecutter.colour }}\n")(_in(copy))

    if engine == "copier":
        shutil.rmtree(copy / ".git")
        with pytest.raises(Exception, match="colour"):
            engines.run_copier(copy, tmp_path / "out" / "project", {"agent_name": engines.NAME})
    else:
        code, said = _cookiecutter(copy, tmp_path / "out")
        assert code != 0
        assert "README.md.jinja" in said
    assert not list((tmp_path / "out").glob("*"))


def test_the_door_may_be_a_text_file(copy: Path, tmp_path: Path, render: Render) -> None:
    """So git checks out a symbolic link where the system has none."""
    (copy / DOOR).unlink()
    (copy / DOOR).write_text("template", encoding="utf-8")

    code, said = _cookiecutter(copy, tmp_path / "out")

    assert code == 0, said
    assert engines.tree(tmp_path / "out" / engines.SLUG) == engines.tree(render())


def test_litter_of_a_working_copy_stays_behind(copy: Path, tmp_path: Path, render: Render) -> None:
    engines.litter(copy)

    code, said = _cookiecutter(copy, tmp_path / "out")

    assert code == 0, said
    assert engines.tree(tmp_path / "out" / engines.SLUG) == engines.tree(render())


def test_from_an_archive_it_is_said_that_no_update_will_come(template: Path, tmp_path: Path) -> None:
    archive = tmp_path / "gated-agents.zip"
    engines.git(template, "archive", "--format=zip", "--prefix=gated-agents-main/", f"--output={archive}", "HEAD")

    code, said = _cookiecutter(archive, tmp_path / "out", cwd=tmp_path)

    assert code == 0, said
    assert "note: CHK011: .copier-answers.yml: it has no _commit. Write the template's git address as _src_path" in said


def test_from_a_folder_without_history_copier_says_it_too(copy: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "copier", "copy", "--defaults", "--data", f"agent_name={engines.NAME}"]
    hint = "copier update can't bring a new release: make check says what to record"

    assert hint not in engines.run([*command, str(copy), str(tmp_path / "with")]).stderr
    shutil.rmtree(copy / ".git")
    assert hint in engines.run([*command, str(copy), str(tmp_path / "without")]).stderr


def test_a_relative_address_is_remembered_as_an_absolute_one(template: Path, tmp_path: Path) -> None:
    """The answers file is read from another folder later."""
    done = engines.run(
        [interpreter.python(), *WORDS, "-o", str(tmp_path), template.name, "agent_name=X y"],
        cwd=template.parent,
        environment={"PWD": str(template.parent)},
    )

    assert done.returncode == 0, done.stderr
    remembered = yaml.safe_load((tmp_path / "x-y" / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert remembered["_src_path"] == str(template)


def test_a_folder_that_exists_is_left_alone(template: Path, tmp_path: Path) -> None:
    (tmp_path / engines.SLUG).mkdir()
    (tmp_path / engines.SLUG / "mine").write_text("mine", encoding="utf-8")

    code, _ = _cookiecutter(template, tmp_path)

    assert code != 0
    assert [path.name for path in (tmp_path / engines.SLUG).iterdir()] == ["mine"]


def test_overwriting_touches_nothing_of_the_teams(template: Path, tmp_path: Path) -> None:
    code, said = _cookiecutter(template, tmp_path)
    assert code == 0, said
    own = ["pages/index.html.jinja", ".venv/bin/python", "pages/__pycache__/x.pyc"]
    for name in own:
        (tmp_path / engines.SLUG / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / engines.SLUG / name).write_text("ours", encoding="utf-8")

    code, said = _cookiecutter(template, tmp_path, "--overwrite-if-exists")

    assert code == 0, said
    assert [name for name in own if not (tmp_path / engines.SLUG / name).exists()] == []
    assert (tmp_path / engines.SLUG / "README.md").is_file()
    assert not (tmp_path / engines.SLUG / "README.md.jinja").exists()


def test_what_comes_next_is_said(template: Path, tmp_path: Path) -> None:
    code, said = _cookiecutter(template, tmp_path, cwd=tmp_path)

    assert code == 0
    for command in ("git init && git add .", "make test", "make simulate", "docs/SETUP_GUIDE.md"):
        assert command in said
