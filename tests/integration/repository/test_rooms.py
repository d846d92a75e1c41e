"""The arrows between the rooms of the runtime are held: an import in the wrong direction is found by its contract."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.environment import REPOSITORY, require_tool
from tools import decides

BOUNDARY = "what decides never imports what runs a team's code BROKEN"
CIRCLE = "There is no circle BROKEN"


def lint(template: Path) -> str:
    """What import-linter says of the contracts of this repository and the packages below `template`, in one line."""
    command = [require_tool("lint-imports"), "--no-logo", "--no-cache", str(REPOSITORY / "pyproject.toml")]
    path = os.pathsep.join(map(str, (template, template / "sdk")))
    done = subprocess.run(
        command, cwd=template, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return " ".join(done.stdout.split())


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """The packages of the template, in which a test may change something."""
    for name in ("agent_runtime", "sdk/aimgentix"):
        shutil.copytree(REPOSITORY / "template" / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_every_contract_is_kept(template: Path) -> None:
    assert " 0 broken." in lint(template)


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("agent_runtime/gate/checks.py", "from agent_runtime.run import team", BOUNDARY),
        ("agent_runtime/gate/checks.py", "from agent_runtime.toolkit import http", BOUNDARY),
        ("agent_runtime/gate/checks.py", "from agent_runtime.local import check", BOUNDARY),
        ("agent_runtime/gate/checks.py", "import agent_runner", "don't import a team's file BROKEN"),
        ("agent_runtime/model/plan.py", "from agent_runtime.gate import checks", BOUNDARY),
        ("agent_runtime/local/check.py", "def f():\n    from agent_runtime.commands import seal", BOUNDARY),
        (
            "agent_runtime/toolkit/waiting.py",
            "from agent_runtime.github import api",
            "know nothing of runs, gates and GitHub BROKEN",
        ),
        ("agent_runtime/run/team.py", "from agent_runtime.gate import policy", "to report what it finds BROKEN"),
        ("sdk/aimgentix/events.py", "import agent_runtime", "never the other way round BROKEN"),
        ("agent_runtime/job/trail.py", "from aimgentix import AuditClient", "by the command that delivers BROKEN"),
        ("agent_runtime/gate/record.py", "from aimgentix import delivery", "by the command that delivers BROKEN"),
        ("agent_runtime/job/trail.py", "from aimgentix.recorder import Recorder", "threads and children BROKEN"),
        ("agent_runtime/gate/seal.py", "from agent_runtime.agent import Notes", "what a team subclasses BROKEN"),
        ("agent_runtime/text/escape.py", "from agent_runtime.text import strict_yaml", CIRCLE),
        ("agent_runtime/attic.py", "", "attic"),
    ],
)
def test_an_import_in_the_wrong_direction_is_found(file: str, line: str, broken: str, template: Path) -> None:
    with (template / file).open("a", encoding="utf-8") as stream:
        stream.write(f"\n{line}\n")
    said = lint(template)
    assert broken in said and " 0 broken." not in said, said


@pytest.mark.parametrize(("gate", "other"), [("environment", "issue"), ("issue", "environment")])
def test_what_decides_is_counted_with_one_gate_and_no_room_of_the_team(gate: str, other: str) -> None:
    found = decides.reached(gate)

    assert f"agent_runtime.gate.{gate}" in found and f"agent_runtime.gate.{other}" not in found
    assert {"agent_runtime.gate.seal", "agent_runtime.gate.record", "agent_runtime.model.plan"} <= set(found)
    assert {"aimgentix", "agent_runtime.gate"} <= set(found), "a module loads the packages that it is in"
    assert {module.split(".")[1] for module in found if "." in module} & {"run", "toolkit", "local"} == set()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys, {', '.join(found)}; print(*sys.modules)".replace("agent_runtime.__main__, ", ""),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, decides.PATHS))},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name for name in done.stdout.split() if name.startswith(("agent_runtime", "aimgentix"))}
    assert loaded <= set(found), "what is loaded is counted"
    assert found["agent_runtime.gate.seal"] == len(
        (REPOSITORY / "template/agent_runtime/gate/seal.py").open().readlines()
    )


def test_a_module_above_400_lines_says_why_it_is_one() -> None:
    """The rule of CONTRIBUTING; a number and no taste, so that nobody has to argue about it."""
    silent = []
    for path in (REPOSITORY / "template").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > 400 and "one module" not in str(ast.get_docstring(ast.parse(text))).lower():
            silent.append(path.relative_to(REPOSITORY).as_posix())
    assert silent == []
