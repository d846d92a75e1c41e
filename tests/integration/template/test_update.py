"""`copier update`, without trust: the team's work stays, the template's is new, whichever engine came first."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml

from agent_runtime.local import answers
from agent_runtime.local.update import owners
from support import engines
from support.engines import Render

TEAM_FILES = {
    "agent_runner.py": "# The team wrote this file anew.\n",
    f".github/agent-policies/{engines.SLUG}.yml": "name: ours\nversion: 7\n",
    "tests/test_agent.py": "def test_ours() -> None:\n    assert True\n",
    "tests/policy.yml": "cases: []\n",
    "services.yml": "services: {}\n",
}
DELETED = ("tests/example_service.py", "docs/RUNBOOK.md")
PLAN = "agent_runtime/model/plan.py"
NEW = "agent_runtime/brand_new.py"
GONE = "docs/SETUP_GUIDE.md"


@pytest.fixture(scope="module")
def next_template(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template one release later: every kind of file has changed."""
    later = tmp_path_factory.mktemp("later") / "gated-agents"
    shutil.copytree(template, later, symlinks=True)

    def append(name: str, text: str) -> None:
        path = later / "template" / name
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")

    append(PLAN, "\n# Release 1.1.0\n")
    append("README.md.jinja", "\nRelease 1.1.0 of {{ cookiecutter.agent_name }}\n")
    append(".github/workflows/ci.yml", "# Release 1.1.0\n")
    seeds = ("agent_runner.py", "policy.yml", "policy_cases.yml", "test_agent.py", "RUNBOOK.md", "services.yml")
    for seed in (*seeds, "example_service.py"):
        append(f"use_cases/service-restart/{seed}", "# Release 1.1.0\n")
    (later / "template" / NEW).write_text('"""New in release 1.1.0."""\n', encoding="utf-8")
    (later / "template" / GONE).unlink()
    engines.release(later, "v1.1.0")
    return later


def _born(source: Path, destination: Path, later: Path) -> Path:
    """A repository of release 1.0.0 in which a team has worked; it will find the later template."""
    shutil.copytree(source, destination)
    _point_to(destination, later)
    engines.commit_all(destination, "Start from the template")
    for name, text in TEAM_FILES.items():
        (destination / name).write_text(text, encoding="utf-8")
    for name in DELETED:
        (destination / name).unlink()
    _insert(destination / "README.md", "You need Python", "Ask the team first.\n\nYou need Python")
    _insert(destination / "pyproject.toml", "line-length = 120", "line-length = 100")
    engines.commit_all(destination, "Do our work")
    return destination


@pytest.fixture
def project(next_template: Path, render: Render, tmp_path: Path) -> Path:
    """Born from Copier, not updated yet."""
    return _born(render(), tmp_path / "project", next_template)


@pytest.fixture(scope="module", params=["copier", "cookiecutter"])
def updated(
    request: pytest.FixtureRequest,
    next_template: Path,
    render: Render,
    bake_once: Render,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Born from either engine, and updated; tests don't change it."""
    source = render() if request.param == "copier" else bake_once()
    born = _born(source, tmp_path_factory.mktemp("updated") / "project", next_template)
    _update(born)
    return born


def _point_to(project: Path, template: Path) -> None:
    """Let the project find the later template where it knew the earlier one."""
    path = project / ".copier-answers.yml"
    known = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert known["_commit"] == "v1.0.0"
    path.write_text(path.read_text(encoding="utf-8").replace(known["_src_path"], str(template)), encoding="utf-8")


def _insert(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def _update(project: Path, **given: Any) -> None:
    engines.update(project, data=given)


def test_the_teams_work_stays(updated: Path) -> None:
    assert {name: (updated / name).read_text(encoding="utf-8") for name in TEAM_FILES} == TEAM_FILES
    assert not [name for name in DELETED if (updated / name).exists()]


def test_the_templates_part_is_new(updated: Path, next_template: Path) -> None:
    for name in (PLAN, NEW, ".github/workflows/ci.yml", "agent_runtime/manifest.json"):
        assert (updated / name).read_bytes() == (next_template / "template" / name).read_bytes()
    assert not (updated / GONE).exists()
    assert yaml.safe_load((updated / ".copier-answers.yml").read_text(encoding="utf-8"))["_commit"] == "v1.1.0"


def test_what_belongs_to_both_is_merged(updated: Path) -> None:
    readme = (updated / "README.md").read_text(encoding="utf-8")
    assert "Ask the team first." in readme
    assert f"Release 1.1.0 of {engines.NAME}" in readme
    assert "line-length = 100" in (updated / "pyproject.toml").read_text(encoding="utf-8")


def test_nothing_conflicts(updated: Path) -> None:
    assert engines.git(updated, "diff", "--name-only", "--diff-filter=U") == ""
    assert not list(updated.rglob("*.rej"))
    assert not [name for name, entry in engines.tree(updated).items() if b"\n<<<<<<< " in entry.data]
    changed = engines.git(updated, "status", "--porcelain", "-uall").splitlines()
    assert {line[3:] for line in changed} == {
        ".copier-answers.yml",
        ".github/workflows/ci.yml",
        "README.md",
        "agent_runtime/manifest.json",
        GONE,
        NEW,
        PLAN,
    }


def test_an_answer_can_be_changed(project: Path) -> None:
    _update(project, approvers="octocat,acme/sre", triggers="manual+schedule", schedule_cron="5 4 * * *")

    config = yaml.safe_load((project / ".github/agent-config.yml").read_text(encoding="utf-8"))
    workflow = (project / ".github/workflows/agent-investigate-act.yml").read_text(encoding="utf-8")
    assert config["approvers"] == ["octocat", "acme/sre"]
    assert "5 4 * * *" in workflow
    assert "alert-triggered" not in workflow


def test_answers_of_the_group_advanced_stay_and_can_be_changed(
    next_template: Path, render: Render, tmp_path: Path
) -> None:
    project = Path(shutil.copytree(render(**engines.ADVANCED), tmp_path / "project"))
    _point_to(project, next_template)
    engines.commit_all(project, "Start from the template")

    _update(project, act_runner="self-hosted, deployers", act_variables="")

    expected = {**engines.ADVANCED, "act_runner": "self-hosted, deployers", "act_variables": ""}
    known = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert {name: known[name] for name in expected} == expected
    config = yaml.safe_load((project / ".github/agent-config.yml").read_text(encoding="utf-8"))
    assert config["act_runner"] == ["self-hosted", "deployers"]
    assert config["investigate_secrets"] == ["METRICS_TOKEN", "LOGS_TOKEN"]
    assert engines.run_check(project).stderr == ""

    engines.commit_all(project, "Update")
    _update(project, advanced="no")
    known = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert known["advanced"] == "no"
    assert not set(known) & set(answers.ADVANCED)
    config = yaml.safe_load((project / ".github/agent-config.yml").read_text(encoding="utf-8"))
    assert (config["act_runner"], config["investigate_secrets"]) == (["ubuntu-latest"], [])


def test_modules_of_the_toolkit_come_and_go(project: Path) -> None:
    folder = project / "agent_runtime" / "toolkit"
    before = sorted(path.name for path in folder.glob("*.py"))

    _update(project, advanced="yes", toolkit="health, http, services, waiting, rollback")

    assert sorted(path.name for path in folder.glob("*.py")) == sorted([*before, "git.py", "rollback.py"])
    engines.commit_all(project, "Update")
    assert engines.run_check(project).stderr == ""

    _update(project, advanced="no")

    assert sorted(path.name for path in folder.glob("*.py")) == before
    assert engines.run_check(project).stderr == ""


def test_the_answer_that_became_two_keeps_the_issue_as_the_gate(template: Path, tmp_path: Path) -> None:
    """`private-other` stood for every plan without required reviewers."""
    source = tmp_path / "gated-agents"
    shutil.copytree(template, source, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    texts = (path for path in (source / "template").rglob("*") if path.is_file() and path.suffix != ".pyc")
    new = {path: path.read_text(encoding="utf-8") for path in texts}
    new[source / "copier.yml"] = (source / "copier.yml").read_text(encoding="utf-8")
    for path, text in new.items():
        path.write_text(text.replace("private-free", "private-other"), encoding="utf-8")
    engines.release(source, "v0.9.0")
    given = {"agent_name": engines.NAME, "repository_plan": "private-other"}
    project = engines.run_copier(source, tmp_path / "project", given)
    engines.commit_all(project, "Start from the template")
    for path, text in new.items():
        path.write_text(text, encoding="utf-8")
    engines.release(source, "v1.0.0")

    _update(project)

    config = yaml.safe_load((project / ".github/agent-config.yml").read_text(encoding="utf-8"))
    assert (config["repository_plan"], config["approval_gate"]) == ("private-free", "issue")
    assert engines.git(project, "diff", "--check") == ""
    assert engines.run_check(project).stderr == ""


def test_where_git_converts_line_endings_an_update_shows_what_changed_and_nothing_else(
    next_template: Path, render: Render, tmp_path: Path
) -> None:
    """As Git for Windows does by default."""
    origin = Path(shutil.copytree(render(), tmp_path / "origin"))
    _point_to(origin, next_template)
    engines.commit_all(origin, "Start from the template")
    engines.git(tmp_path, "clone", "--quiet", "--config", "core.autocrlf=true", str(origin), "clone")
    clone = tmp_path / "clone"

    _update(clone)

    assert [line for line in engines.git(clone, "ls-files", "--eol").splitlines() if "w/crlf" in line] == []
    assert set(engines.git(clone, "diff", "--name-only").split()) == {
        ".copier-answers.yml",
        ".github/workflows/ci.yml",
        "README.md",
        "agent_runtime/manifest.json",
        GONE,
        PLAN,
    }
    assert engines.run_check(clone).stderr == ""


def test_a_bad_answer_is_refused_and_nothing_is_touched(project: Path) -> None:
    for given, code in (
        ({"approvers": "no login"}, "ANS006"),
        ({"colour": "red"}, "ANS001"),
        ({"act_runner": "self-hosted"}, "ANS018"),
        ({"triggers": "manual", "schedule_cron": "5 4 * * *"}, "ANS018"),
    ):
        with pytest.raises(ValueError, match=code):
            _update(project, **given)

    assert engines.git(project, "status", "--porcelain") == ""


def test_a_second_update_changes_nothing(updated: Path, tmp_path: Path) -> None:
    again = tmp_path / "project"
    shutil.copytree(updated, again)
    engines.commit_all(again, "Update")

    _update(again)

    assert engines.git(again, "status", "--porcelain") == ""


def test_an_untouched_repository_becomes_the_fresh_one(next_template: Path, render: Render, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(render(), project)
    _point_to(project, next_template)
    engines.commit_all(project, "Start from the template")

    _update(project)

    fresh = engines.tree(engines.run_copier(next_template, tmp_path / "fresh", {"agent_name": engines.NAME}))
    found = engines.tree(project)
    assert sorted(found) == sorted(fresh)
    assert {name for name in fresh if found[name] != fresh[name]} == {*TEAM_FILES, *DELETED}
    assert engines.run_check(project).stderr == ""


def test_the_runtime_and_copier_know_the_same_files_of_the_team(repository: Path) -> None:
    settings = yaml.safe_load((repository / "copier.yml").read_text(encoding="utf-8"))
    kept = {name.strip("/") for name in settings["_skip_if_exists"]}
    excluded = {
        name.strip("/")
        for entry in settings["_exclude"]
        if "_copier_operation" in entry
        for name in entry.split()
        if name.startswith("/")
    }

    assert kept == {name.strip("/") for name in owners.SEEDS + owners.NEEDED}
    assert excluded == {name.strip("/") for name in owners.SEEDS}


def test_recopy_and_copying_onto_a_repository_leave_the_teams_files(
    project: Path, next_template: Path, tmp_path: Path
) -> None:
    prepare = project / ".github/actions/prepare-act/action.yml"
    prepare.write_text(prepare.read_text(encoding="utf-8") + "# ours\n", encoding="utf-8")
    engines.commit_all(project, "Prepare")
    adopted = Path(shutil.copytree(project, tmp_path / "adopted"))
    (adopted / ".copier-answers.yml").unlink()

    copier.run_recopy(project, defaults=True, overwrite=True, quiet=True, unsafe=False)
    engines.run_copier(next_template, adopted, {"agent_name": engines.NAME}, overwrite=True)

    for repository in (project, adopted):
        assert {name: (repository / name).read_text(encoding="utf-8") for name in TEAM_FILES} == TEAM_FILES
        assert (repository / prepare.relative_to(project)).read_text(encoding="utf-8").endswith("# ours\n")
        assert (repository / NEW).is_file()
