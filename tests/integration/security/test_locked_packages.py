"""Attacks on what gets installed: setup-gate and setup-agent take the locked packages, or none."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import marshal
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from agent_runtime.local import check
from support.environment import REPOSITORY
from support.rendering import SETUP_ACTION, SETUP_GATE


def wheel(folder: Path, name: str, body: str) -> str:
    """Write a wheel of the version 1.0, and return its SHA-256."""
    info = f"{name}-1.0.dist-info"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", body)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Action:
    """A composite action that installs: where it is, its lock, and the folder that its packages arrive in."""

    path: Path
    lock: str
    installed: str

    @property
    def scripts(self) -> list[str]:
        """What its steps run, in their order; the last installs."""
        steps = yaml.safe_load(self.path.read_text(encoding="utf-8"))["runs"]["steps"]
        return [step["run"] for step in steps if "run" in step]

    def install(self, folder: Path, lock: str) -> subprocess.CompletedProcess[str]:
        """Run its last step with this lock, against the packages in `folder` only."""
        (folder / self.lock).write_text(lock, encoding="utf-8")
        (folder / "bin").mkdir(exist_ok=True)
        python = folder / "bin" / "python"
        python.unlink(missing_ok=True)
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        python.chmod(0o755)
        settings = {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(folder),
            "RUNNER_TEMP": str(folder / "temp"),
            "LOCK": self.lock,
        }
        settings |= {"PIP_TARGET": str(folder / "installed")} if self.installed == "installed" else {}
        settings |= {"PIP_CONFIG_FILE": os.devnull, "HOME": str(folder), "PATH": f"{folder / 'bin'}:{os.defpath}"}
        command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", self.scripts[-1]]
        return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False)


ACTIONS = {
    "agent": Action(SETUP_ACTION, "requirements-agent.lock", "installed"),
    "gate": Action(SETUP_GATE, "requirements.lock", "temp/agent-gate"),
    "messages": Action(SETUP_GATE, "requirements-notify.lock", "temp/agent-gate"),
}


@pytest.fixture(params=list(ACTIONS.values()), ids=list(ACTIONS))
def action(request: pytest.FixtureRequest) -> Action:
    return request.param


@pytest.mark.threat("T31")
def test_t31_a_folder_of_the_repository_is_not_pip(action: Action, tmp_path: Path) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    (tmp_path / "pip" / "__main__.py").write_text("print('not pip')\n")
    honest = wheel(tmp_path, "honest", "x = 1\n")
    done = action.install(tmp_path, f"honest==1.0 --hash=sha256:{honest}\n")
    assert done.returncode == 0 and "not pip" not in done.stdout, done.stderr
    assert (tmp_path / action.installed / "honest.py").exists()


@pytest.mark.threat("T31")
def test_t31_what_was_there_before_is_not_a_package_of_the_gate(tmp_path: Path) -> None:
    """pip would leave a folder as it is that stands where it wants to put a package."""
    gate = ACTIONS["gate"]
    (tmp_path / gate.installed / "yaml").mkdir(parents=True)
    (tmp_path / gate.installed / "honest.py").write_text("import evil\n")
    honest = wheel(tmp_path, "honest", "x = 1\n")
    done = gate.install(tmp_path, f"honest==1.0 --hash=sha256:{honest}\n")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / gate.installed / "honest.py").read_text() == "x = 1\n"
    assert not (tmp_path / gate.installed / "yaml").exists()


@pytest.mark.threat("T31")
def test_t31_the_gate_takes_nothing_of_the_agents_lock(tmp_path: Path) -> None:
    honest, foreign = wheel(tmp_path, "honest", "x = 1\n"), wheel(tmp_path, "foreign", "x = 1\n")
    (tmp_path / "requirements-agent.lock").write_text(f"foreign==1.0 --hash=sha256:{foreign}\n")
    gate = ACTIONS["gate"]
    done = gate.install(tmp_path, f"honest==1.0 --hash=sha256:{honest}\n")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / gate.installed).glob("*.py")] == ["honest.py"]


@pytest.mark.parametrize(
    ("gone", "code"),
    [("agent_runner.py", "RUN001"), ("agent_runtime/__init__.py", "RUN002"), ("sdk/aimgentix/__init__.py", "RUN003")],
)
def test_a_repository_that_is_not_whole_is_refused_by_code(
    action: Action, gone: str, code: str, tmp_path: Path
) -> None:
    """The gate does without the team's file: `record` must record whatever became of the team's code."""
    for name in ("agent_runner.py", "agent_runtime/__init__.py", "sdk/aimgentix/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    summary = tmp_path / "summary.md"

    def check() -> subprocess.CompletedProcess[str]:
        command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", action.scripts[-2]]
        settings = {"PATH": os.defpath, "GITHUB_STEP_SUMMARY": str(summary)}
        return subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=False)

    assert check().returncode == 0 and not summary.exists()
    (tmp_path / gone).unlink()
    done = check()
    if action is not ACTIONS["agent"] and code == "RUN001":
        assert done.returncode == 0
    else:
        assert done.returncode == 2 and done.stderr.startswith(f"error: {code}: ")
        assert f"{code}: " in summary.read_text()


@pytest.mark.threat("T31")
def test_t31_no_file_of_the_repository_shadows_a_package(tmp_path: Path) -> None:
    """What agent_runner.py imports after agent_runtime comes from the lock; the team's own modules are found too."""
    shutil.copytree(REPOSITORY / "template" / "agent_runtime", tmp_path / "agent_runtime")
    shutil.copytree(REPOSITORY / "template" / "sdk", tmp_path / "sdk")
    for name in ("rfc8785", "yaml", "urllib3", "aimgentix", "team_module"):
        (tmp_path / f"{name}.py").write_text("hidden = True\n")
    (tmp_path / "agent_runner.py").write_text(
        "import agent_runtime, rfc8785, urllib3, yaml, aimgentix, team_module\n"
        "print([hasattr(m, 'hidden') for m in (rfc8785, urllib3, yaml, aimgentix, team_module)])\n"
    )
    for words in (["agent_runner.py"], ["-m", "agent_runner"]):
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.stdout == "[False, False, False, False, True]\n", done.stderr


@pytest.mark.threat("T31")
@pytest.mark.parametrize("checked", [False, True])
def test_t31_no_compiled_code_stands_in_for_a_reviewed_file(action: Action, tmp_path: Path, checked: bool) -> None:
    """Python takes compiled code that names the hash of its source, and never asks whether it comes from there."""
    shutil.copytree(REPOSITORY / "template" / "agent_runtime", tmp_path / "agent_runtime")
    (tmp_path / "agent_runner.py").touch()
    (tmp_path / "sdk" / "aimgentix").mkdir(parents=True)
    (tmp_path / "sdk" / "aimgentix" / "__init__.py").touch()
    source = tmp_path / "agent_runtime" / "gate" / "protected_paths.py"
    compiled = Path(importlib.util.cache_from_source(str(source)))
    compiled.parent.mkdir(exist_ok=True)
    code = marshal.dumps(compile("problem = lambda parameters: None", str(source), "exec"))
    digest = importlib.util.source_hash(source.read_bytes())
    compiled.write_bytes(importlib.util.MAGIC_NUMBER + bytes([3 if checked else 1, 0, 0, 0]) + digest + code)
    asked = "from agent_runtime.gate import protected_paths; print(protected_paths.problem({'path': '.github/x'}))"

    def answer() -> str:
        words = [sys.executable, "-B", "-c", asked]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert answer() == "None\n"
    found = {problem.path: problem.line() for problem in check.check(tmp_path) if problem.code == "CHK009"}
    name = compiled.relative_to(tmp_path).as_posix()
    assert found == {name: f"CHK009: {name}: it is run instead of protected_paths.py. Remove it"}
    for script in action.scripts[:-1]:
        subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, check=True)
    assert "is protected" in answer()


@pytest.mark.threat("T31")
@pytest.mark.parametrize("kind", ["unchecked", "by time", "extension", "without source"])
def test_t31_what_decides_runs_the_text_of_the_repository(kind: str, tmp_path: Path) -> None:
    """Started isolated, it takes nothing compiled that is in the folders of the runtime, and leaves nothing there."""
    shutil.copytree(
        REPOSITORY / "template", tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "use_cases")
    )
    source = tmp_path / "agent_runtime" / "commands" / "check.py"
    code = marshal.dumps(compile("raise SystemExit('compiled')", str(source), "exec"))
    if kind == "extension":
        place = source.with_suffix(importlib.machinery.EXTENSION_SUFFIXES[0])
        place.write_bytes(b"not even a library")
    else:
        place = Path(importlib.util.cache_from_source(str(source)))
        head = bytes([1, 0, 0, 0]) + importlib.util.source_hash(source.read_bytes())
        if kind == "by time":
            written = source.stat()
            head = bytes(4) + int(written.st_mtime).to_bytes(4, "little") + written.st_size.to_bytes(4, "little")
        if kind == "without source":
            place = source.with_suffix(".pyc")
            source.unlink()
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(importlib.util.MAGIC_NUMBER + head + code)
    there = sorted(tmp_path.rglob("*"))
    command = [sys.executable, "-I", str(tmp_path / "agent_runtime" / "__main__.py"), "check", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "compiled" not in done.stderr + done.stdout
    if kind == "without source":
        assert done.returncode != 0 and "INP006: argument COMMAND: invalid choice: 'check'" in done.stderr
    else:
        assert done.returncode == 0 and "usage:" in done.stdout, done.stderr
    assert sorted(tmp_path.rglob("*")) == there


@pytest.mark.threat("T31")
def test_t31_only_the_package_with_the_locked_hash_is_installed(action: Action, tmp_path: Path) -> None:
    honest = wheel(tmp_path, "honest", "x = 1\n")
    lock = f"honest==1.0 --hash=sha256:{honest}\n"
    installed = tmp_path / action.installed / "honest.py"
    assert (done := action.install(tmp_path, lock)).returncode == 0, done.stderr
    assert installed.read_text() == "x = 1\n"

    wheel(tmp_path, "honest", "import evil\n")
    swapped = action.install(tmp_path, lock)
    assert swapped.returncode != 0 and "DO NOT MATCH THE HASHES" in swapped.stderr

    unlocked = action.install(tmp_path, "honest==1.0\n")
    assert unlocked.returncode != 0 and "--require-hashes" in unlocked.stderr
    assert not installed.exists() or installed.read_text() == "x = 1\n", "what was there is untouched"
