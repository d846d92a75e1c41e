"""`make check` in a repository that lives: what it finds, what it lets pass, and that its advice helps."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_runtime.local import check
from conftest import REPOSITORY, require_python
from template import engines
from template.conftest import Render

ANSWERS = ".copier-answers.yml"
CONFIG = ".github/agent-config.yml"
POLICY = f".github/agent-policies/{engines.SLUG}.yml"


@pytest.fixture
def project(render: Render, tmp_path: Path) -> Path:
    return Path(shutil.copytree(render(), tmp_path / "project"))


def _lines(project: Path) -> list[str]:
    return [problem.line() for problem in check.check(project)]


def _write(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def apply(project: Path) -> None:
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        changed = change(text)
        assert changed != text
        path.write_text(changed, encoding="utf-8")

    return apply


def _replaced(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


FOUND = {
    "answers-lost": (lambda project: (project / ANSWERS).unlink(), f"CHK001: {ANSWERS}: it can't be read"),
    "answers-yaml": (_write(ANSWERS, lambda _: "a: ["), f"CHK001: {ANSWERS}: it can't be read (ParserError)"),
    "answers-none": (_write(ANSWERS, lambda _: "- a"), f"CHK001: {ANSWERS}: it holds no answers"),
    "answer-unknown": (_write(ANSWERS, lambda text: text + "colour: red\n"), f"ANS001: {ANSWERS}: colour: no question"),
    "answer-bad": (_write(ANSWERS, _replaced("license: MIT", "license: GPL")), f"ANS007: {ANSWERS}: license: choose"),
    "answer-missing": (_write(ANSWERS, _replaced("use_case:", "_x:")), f"ANS002: {ANSWERS}: use_case: the answer is"),
    "config-key": (_write(CONFIG, lambda text: text + "x: 1\n"), f"INP007: {CONFIG}: unknown key"),
    "config-without-asking": (
        _write(CONFIG, lambda text: text.replace("gate: environment", "gate: issue").replace("l: false", "l: true")),
        f"INP007: {CONFIG}: auto_approval needs an environment of its own",
    ),
    "config-differs": (
        _write(CONFIG, _replaced("minutes: 60", "minutes: 61")),
        f"CHK008: {CONFIG}: approval_ttl_minutes",
    ),
    "policy-lost": (lambda project: (project / POLICY).unlink(), f"POL001: {POLICY}: it is missing"),
    "policy-alias": (_write(POLICY, lambda _: "a: &x 1\n"), f"POL002: {POLICY} line 1: "),
    "conflict": (_write("README.md", lambda text: text + "<<<<<<< before updating\n"), "CHK007: README.md:"),
    "rejected": (_write("README.md.rej", lambda _: "x"), "CHK007: README.md.rej: a rejected change is left"),
    "not-text": (lambda project: (project / "x.py").write_bytes(b"\xff"), "CHK002: x.py: it can't be read as text"),
    "unrendered-name": (_write(".github/{{ x }}.md", lambda _: "x"), "CHK003: .github/{{ x }}.md: its name was not"),
    **{
        f"hides-{name}": (_write(name, lambda _: "x = 1\n"), f"CHK009: {name.split('/')[0]}: it hides the module ")
        for name in (
            "rfc8785.py",
            "yaml/__init__.py",
            "pydantic_core.so",
            "pathlib.py",
            "aimgentix.py",
            "pip/__init__.py",
        )
    },
    "suffix": (_write("README.md.jinja", lambda _: "x"), "CHK003: README.md.jinja: its name was not rendered"),
    "workflow": (
        _write(".github/workflows/agent-investigate-act.yml", _replaced("environment: agent-act", "x: 1")),
        "CON04: .github/workflows/agent-investigate-act.yml:",
    ),
    "setup-action": (
        _write(".github/actions/setup-gate/action.yml", _replaced("--no-compile", "--compile")),
        "CON24: .github/actions/setup-gate/action.yml:1: it is not as agent_runtime/manifest.json has it",
    ),
    "manifest-lost": (lambda project: (project / check.MANIFEST).unlink(), f"CHK005: {check.MANIFEST}: it is missing"),
    "manifest-json": (_write(check.MANIFEST, lambda _: "{"), f"CHK004: {check.MANIFEST}: it can't be read"),
}


@pytest.mark.parametrize("spoil, line", FOUND.values(), ids=list(FOUND))
def test_found(spoil: Callable[[Path], None], line: str, project: Path) -> None:
    spoil(project)

    problems = check.check(project)
    lines = [problem.line() for problem in problems]

    assert [found for found in lines if found.startswith(line)], lines
    assert not [found for found in lines if "\n" in found]
    assert all(
        len(problem.mend) > 10 and found.endswith(problem.mend) for problem, found in zip(problems, lines, strict=True)
    )


PASSED = {
    "dependabot": _write(
        ".github/workflows/ci.yml", lambda text: re.sub(r"@[0-9a-f]{40} # v[\d.]+", f"@{'a' * 40} # v99.0.0", text)
    ),
    "windows": lambda project: (project / "agent_runtime/model/plan.py").write_bytes(
        (project / "agent_runtime/model/plan.py").read_bytes().replace(b"\n", b"\r\n")
    ),
    "own-workflow": _write(
        ".github/workflows/nightly.yml",
        lambda _: (
            "on: push\npermissions: {}\njobs:\n  a:\n    runs-on: ubuntu-latest\n    timeout-minutes: 1\n"
            "    permissions: {}\n    steps:\n      - run: make test\n"
        ),
    ),
    "own-steps": _write(
        ".github/actions/prepare-act/action.yml",
        _replaced(
            "  steps:\n",
            f"  steps:\n    - uses: hashicorp/vault-action@{'b' * 40} # v3.4.0\n      with:\n        method: jwt\n",
        ),
    ),
    "own-action": _write(".github/actions/ours/action.yml", lambda _: "runs:\n  using: composite\n  steps: []\n"),
    "own-folder": _write("infrastructure/stack.yml", lambda _: "{% if x %}\nBucket: !Ref <<<<<<<\n"),
    "own-tests": _write("tests/test_more.py", lambda _: "def test_more() -> None: ...\n"),
    "tags": _write("stack.yml", lambda _: "Bucket: !Ref Name\n"),
    "caches": _write("agent_runtime/__pycache__/plan.cpython-38.pyc", lambda _: "x"),
    "seed-gone": lambda project: (project / "docs/RUNBOOK.md").unlink(),
    "seed-changed": _write("agent_runner.py", lambda _: 'TEXT = "{{ name }}"\n'),
    "readme-changed": _write("README.md", lambda _: "# Ours\n"),
}


@pytest.mark.parametrize("change", PASSED.values(), ids=list(PASSED))
def test_passed(change: Callable[[Path], None], project: Path) -> None:
    change(project)

    assert _lines(project) == []


def test_the_advice_restores_a_file(project: Path) -> None:
    name = "agent_runtime/model/plan.py"
    whole = (project / name).read_bytes()
    (project / name).write_bytes(b"# edited\n")
    _write("agent_runner.py", lambda text: text + "# ours\n")(project)
    engines.commit_all(project, "Edit")

    (line,) = _lines(project)
    command = shlex.split(line.partition("Restore it with: ")[2])
    done = engines.run([sys.executable, "-m", *command], cwd=project)

    assert done.returncode == 0, done.stderr
    assert (project / name).read_bytes() == whole
    assert engines.git(project, "diff", "--name-only").split() == [name]
    assert _lines(project) == []


def test_command_line(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert check.main([str(project)]) == 0
    monkeypatch.chdir(project)
    assert check.main([]) == 0
    (project / ANSWERS).unlink()
    assert check.main([]) == 2
    assert check.main(["--help"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "usage: python -m agent_runtime.local.check [FOLDER]"


def test_the_agents_command_line_knows_it(project: Path) -> None:
    (project / ANSWERS).unlink()

    done = engines.run([sys.executable, "agent_runner.py", "check"], cwd=project)

    assert done.returncode == 2
    assert done.stderr.startswith("CHK001: ")


def test_rules_of_answers_need_no_package_on_the_oldest_python(project: Path) -> None:
    script = "import sys; from agent_runtime.local import answers; print(answers.check('agent_slug', 'A').line())"

    done = engines.run(
        [require_python("3.8"), "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); {script}"], project
    )

    assert done.stdout.startswith("ANS004: agent_slug: "), done.stderr


def test_manifest_is_fresh() -> None:
    """After a change below template/: make manifest."""
    done = engines.run([sys.executable, str(REPOSITORY / "tools" / "manifest.py"), "--check"])

    assert done.returncode == 0, done.stderr


def test_manifest_lists_the_templates_own_files_and_nothing_else(template: Path) -> None:
    manifest = json.loads((template / "template" / check.MANIFEST).read_text(encoding="utf-8"))
    files = set(manifest["files"])

    assert check.MANIFEST not in files
    assert {
        "agent_runtime/gate/checks.py",
        "sdk/aimgentix/client.py",
        ".github/workflows/ci.yml",
        "docs/SETUP_GUIDE.md",
    } <= files
    assert not {"README.md", "pyproject.toml", "Makefile", "requirements.lock", "agent_runner.py"} & files
    assert not [name for name in files if name.startswith("use_cases/")]
    assert {"agent_runner.py", "README.md", CONFIG} <= set(manifest["rendered"])
    assert manifest["folders"] == [
        ".github/actions/setup-agent",
        ".github/actions/setup-gate",
        "agent_runtime",
        "sdk",
        "specs",
    ]


def test_a_stale_manifest_is_told(template: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(template, tmp_path / "copy", symlinks=True))
    command = [sys.executable, "tools/manifest.py"]
    assert engines.run([*command, "--check"], copy).returncode == 0

    with (copy / "template/agent_runtime/model/plan.py").open("a") as file:
        file.write("# changed\n")

    assert "stale: run make manifest" in engines.run([*command, "--check"], copy).stderr
    assert engines.run(command, copy).returncode == 0
    assert engines.run([*command, "--check"], copy).returncode == 0
