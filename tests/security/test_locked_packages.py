"""Attacks on what gets installed: the command of setup-agent takes the locked packages, or none."""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from agent_runtime.local import check
from conftest import REPOSITORY
from workflow.rendering import SETUP_ACTION


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


def install(folder: Path, lock: str) -> subprocess.CompletedProcess[str]:
    """Run the install command of the composite action with this lock, against the packages in `folder` only."""
    steps = yaml.safe_load(SETUP_ACTION.read_text(encoding="utf-8"))["runs"]["steps"]
    python, *arguments = shlex.split(steps[-1]["run"])
    assert python == "python"
    (folder / "requirements.lock").write_text(lock, encoding="utf-8")
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_TARGET": str(folder / "installed")}
    settings |= {"PIP_CONFIG_FILE": os.devnull, "HOME": str(folder), "PATH": os.defpath}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=settings, capture_output=True, text=True, check=False
    )


@pytest.mark.threat("T31")
def test_t31_a_folder_of_the_repository_is_not_pip(tmp_path: Path) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    (tmp_path / "pip" / "__main__.py").write_text("print('not pip')\n")
    honest = wheel(tmp_path, "honest", "x = 1\n")
    done = install(tmp_path, f"honest==1.0 --hash=sha256:{honest}\n")
    assert done.returncode == 0 and "not pip" not in done.stdout
    assert (tmp_path / "installed" / "honest.py").exists()


@pytest.mark.threat("T31")
def test_t31_no_file_of_the_repository_hides_a_package(tmp_path: Path) -> None:
    """What agent_runner.py imports after agent_runtime comes from the lock; the team's own modules are found too."""
    shutil.copytree(REPOSITORY / "template" / "agent_runtime", tmp_path / "agent_runtime")
    shutil.copytree(REPOSITORY / "template" / "sdk", tmp_path / "sdk")
    for name in ("rfc8785", "yaml", "requests", "aimgentix", "team_module"):
        (tmp_path / f"{name}.py").write_text("hidden = True\n")
    (tmp_path / "agent_runner.py").write_text(
        "import agent_runtime, rfc8785, requests, yaml, aimgentix, team_module\n"
        "print([hasattr(m, 'hidden') for m in (rfc8785, requests, yaml, aimgentix, team_module)])\n"
    )
    for words in (["agent_runner.py"], ["-m", "agent_runner"]):
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.stdout == "[False, False, False, False, True]\n", done.stderr


@pytest.mark.threat("T31")
@pytest.mark.parametrize("checked", [False, True])
def test_t31_no_compiled_code_stands_in_for_a_reviewed_file(tmp_path: Path, checked: bool) -> None:
    """Python takes compiled code that names the hash of its source, and never asks whether it comes from there."""
    shutil.copytree(REPOSITORY / "template" / "agent_runtime", tmp_path / "agent_runtime")
    (tmp_path / "agent_runner.py").touch()
    (tmp_path / "sdk" / "aimgentix").mkdir(parents=True)
    (tmp_path / "sdk" / "aimgentix" / "__init__.py").touch()
    source = tmp_path / "agent_runtime" / "protected_paths.py"
    compiled = Path(importlib.util.cache_from_source(str(source)))
    compiled.parent.mkdir(exist_ok=True)
    code = marshal.dumps(compile("problem = lambda parameters: None", str(source), "exec"))
    digest = importlib.util.source_hash(source.read_bytes())
    compiled.write_bytes(importlib.util.MAGIC_NUMBER + bytes([3 if checked else 1, 0, 0, 0]) + digest + code)
    asked = "from agent_runtime import protected_paths; print(protected_paths.problem({'path': '.github/x'}))"

    def answer() -> str:
        words = [sys.executable, "-B", "-c", asked]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert answer() == "None\n"
    found = {problem.path: problem.line() for problem in check.check(tmp_path) if problem.code == "CHK009"}
    name = compiled.relative_to(tmp_path).as_posix()
    assert found == {name: f"CHK009: {name}: it is run in the place of protected_paths.py. Remove it"}
    steps = yaml.safe_load(SETUP_ACTION.read_text(encoding="utf-8"))["runs"]["steps"]
    for script in (step["run"] for step in steps[:-1] if "run" in step):
        subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, check=True)
    assert "is protected" in answer()


@pytest.mark.threat("T31")
def test_t31_only_the_package_with_the_locked_hash_is_installed(tmp_path: Path) -> None:
    honest = wheel(tmp_path, "honest", "x = 1\n")
    lock = f"honest==1.0 --hash=sha256:{honest}\n"
    assert (done := install(tmp_path, lock)).returncode == 0, done.stderr
    assert (tmp_path / "installed" / "honest.py").read_text() == "x = 1\n"

    wheel(tmp_path, "honest", "import evil\n")
    swapped = install(tmp_path, lock)
    assert swapped.returncode != 0 and "DO NOT MATCH THE HASHES" in swapped.stderr

    unlocked = install(tmp_path, "honest==1.0\n")
    assert unlocked.returncode != 0 and "--require-hashes" in unlocked.stderr
    assert (tmp_path / "installed" / "honest.py").read_text() == "x = 1\n", "what was there is untouched"
