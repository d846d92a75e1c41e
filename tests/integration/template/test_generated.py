"""A generated repository passes its own commands, on the oldest and on the newest Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent_runtime import codes
from support import engines
from support.engines import Render
from support.environment import newest_python, require_python, require_tool

LOCKS = ("requirements-dev.lock", "requirements-agent.lock")


def _make(project: Path, python: str, target: str) -> str:
    done = engines.run([require_tool("make"), target, f"PYTHON={python}"], cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    ("age", "use_cases"),
    [
        ("oldest", ("config-rollback", "service-restart", "security-response")),
        ("newest", ("scale-resources", "service-restart", "disk-cleanup", "blank")),
        ("newest", ("incident-response",)),
    ],
    ids=["oldest", "newest", "newest with a model"],
)
def test_its_commands_pass(age: str, use_cases: tuple[str, ...], render: Render, tmp_path: Path) -> None:
    """`make test` and `make simulate` are what the README starts with; CI runs `make check lint` besides.

    The first sets up what they need.  The others find it, and what mypy keeps, where the first had it.
    """
    python = require_python("3.8") if age == "oldest" else newest_python()[1]
    project, before = tmp_path / "project", tmp_path / "before"
    for use_case in use_cases:
        if project.exists():
            project.rename(before)
        shutil.copytree(render(use_case=use_case, triggers="manual+alert+schedule"), project)
        engines.commit_all(project, "Start from the template")
        for name in (".venv", ".mypy_cache"):
            if (before / name).exists():
                (before / name).rename(project / name)
        if before.exists():
            for lock in LOCKS:  # nothing that this one needs is missing there
                needed, there = (set((each / lock).read_bytes().splitlines()) for each in (project, before))
                assert needed <= there
            (project / ".venv" / "ready").touch()
            shutil.rmtree(before)

        assert re.search(r"\d+ passed", _make(project, python, "test"))
        _make(project, python, "simulate")
        assert "in order" in _make(project, python, "check")
        _make(project, python, "lint")

        assert engines.git(project, "status", "--porcelain") == "", "a command left something that git would see"


def test_a_lock_is_made_for_the_agents_python_and_brings_its_locker(render: Render, tmp_path: Path) -> None:
    """Nothing is on PATH but Python and what every machine has; what is locked need not be installed here."""
    project = Path(shutil.copytree(render(), tmp_path / "project"))
    config = project / ".github" / "agent-config.yml"
    text = re.sub("^agent_python:.*\n", "", config.read_text(encoding="utf-8"), flags=re.MULTILINE)
    config.write_text(text + 'agent_python: "3.12"\n', encoding="utf-8")
    listed = project / "requirements-agent.in"
    listed.write_text(listed.read_text(encoding="utf-8") + "iniconfig\n", encoding="utf-8")
    engines.commit_all(project, "Start from the template")
    oldest, path = require_python("3.8"), {"PATH": os.defpath}

    def lock() -> subprocess.CompletedProcess[str]:
        return engines.run([require_tool("make"), "lock", f"PYTHON={oldest}"], cwd=project, environment=path)

    assert (done := lock()).returncode == 0, done.stderr
    assert engines.git(project, "status", "--porcelain") == " M requirements-agent.lock\n"
    made = (project / "requirements-agent.lock").read_text(encoding="utf-8")
    assert made.splitlines()[1] == "#    make lock  # for Python 3.12 and newer"
    assert re.search("^iniconfig==", made, re.MULTILINE)
    runtime = (project / "requirements.lock").read_text(encoding="utf-8")
    names = [set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)) for text in (runtime, made)]
    assert names[0] < names[1], "the runtime's packages are in it"

    refused = engines.run([require_tool("make"), "test", f"PYTHON={oldest}"], cwd=project)
    assert refused.returncode != 0 and "Python 3.12 or newer is needed: make PYTHON=python3.12" in refused.stderr

    listed.write_text(listed.read_text(encoding="utf-8") + "pydantic<2\n", encoding="utf-8")
    refused = lock()
    assert refused.returncode != 0 and "pydantic>=2.10 and pydantic<2" in refused.stderr
    assert (project / "requirements-agent.lock").read_text(encoding="utf-8") == made


def test_a_lost_lock_is_named(render: Render, tmp_path: Path) -> None:
    project = Path(shutil.copytree(render(), tmp_path / "project"))
    (project / "requirements-agent.lock").unlink()

    done = engines.run([require_tool("make"), "test", f"PYTHON={sys.executable}"], cwd=project)

    assert done.returncode != 0 and not (project / ".venv").exists()
    assert "requirements-agent.lock is missing" in done.stderr and "make lock" in done.stderr


def test_the_readme_starts_with_both_commands(render: Render) -> None:
    readme = (render() / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^make \w+", readme, re.MULTILINE)

    assert commands[:2] == ["make test", "make simulate"]


TARGETS = ["help", "test", "simulate", "check", "drift", "update", "lint", "format", "lock"]


def test_make_lists_its_targets(render: Render) -> None:
    listed = engines.run([require_tool("make")], cwd=render()).stdout.splitlines()

    assert [line.split()[1] for line in listed] == TARGETS


def test_an_old_python_is_refused_in_one_line(render: Render, tmp_path: Path) -> None:
    project = Path(shutil.copytree(render(), tmp_path / "project"))
    old = tmp_path / "python-old"
    old.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 7); exec(sys.argv[2])" "$@"\n'
    )
    old.chmod(0o755)

    done = engines.run([require_tool("make"), "test", f"PYTHON={old}"], cwd=project)

    assert done.returncode != 0
    assert "Python 3.8 or newer is needed" in done.stderr
    assert not (project / ".venv").exists()


@pytest.mark.parametrize(
    ("gone", "target", "code"),
    [
        ("agent_runtime", "check", codes.RUNTIME_MISSING),
        ("agent_runtime", "test", codes.RUNTIME_MISSING),
        ("agent_runtime", "simulate", codes.RUNTIME_MISSING),
        ("sdk", "test", codes.SDK_MISSING),
        ("sdk", "simulate", codes.SDK_MISSING),
    ],
)
def test_a_missing_part_is_named_before_python_stumbles(
    gone: str, target: str, code: str, render: Render, tmp_path: Path
) -> None:
    """`check` can do without the SDK, and names each of its files."""
    project = Path(shutil.copytree(render(), tmp_path / "project"))
    shutil.rmtree(project / gone)

    done = engines.run([require_tool("make"), target, f"PYTHON={sys.executable}"], cwd=project)

    reported = codes.describe(code)
    assert done.returncode != 0
    assert done.stdout == "" and "Traceback" not in done.stderr
    line, way_out = done.stderr.splitlines()[:2]
    assert line == f"error: {reported.id}: {reported.title}. {reported.fix}"
    assert not (project / ".venv").exists()
    shutil.copytree(render() / gone, project / gone)
    engines.commit_all(project, "Start")
    shutil.rmtree(project / gone)
    engines.git(project, *way_out.partition(": git ")[2].split())
    assert (project / gone / ("aimgentix" if gone == "sdk" else ".") / "__init__.py").exists()
