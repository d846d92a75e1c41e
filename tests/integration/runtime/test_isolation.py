"""A repository that is full of modules by the names of Python's and of packages: what decides imports none of them."""

from __future__ import annotations

import py_compile
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from support.environment import newest_python, require_python
from support.gate_world import TEMPLATE, GateWorld, make_root

TOUCHED = "imported-by-what-decides"
# What the standard library, the locked packages and their optional parts look for.
MODULES = (
    *(
        "pkgutil",
        "collections",
        "json",
        "types",
        "typing",
        "zipfile",
        "runpy",
        "importlib",
        "encodings",
        "codecs",
        "re",
    ),
    *("requests", "urllib3", "rfc8785", "pydantic", "pydantic_core", "yaml", "certifi", "idna", "charset_normalizer"),
    *("simplejson", "chardet", "brotli", "brotlicffi", "socks", "zstandard", "h2", "orjson", "email_validator", "rich"),
    *("sitecustomize", "usercustomize", "aimgentix", "agent_runner", "site", "antigravity", "annotated_types"),
)


def trap(path: Path, marker: Path) -> None:
    """A module that leaves a mark when it is imported."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"open({str(marker)!r}, 'a').write({path.name!r} + chr(10))\n")


def fill(folder: Path, marker: Path) -> None:
    """Traps by every name, as modules, as packages, and compiled."""
    for number, name in enumerate(MODULES):
        path = folder / f"{name}.py" if number % 2 else folder / name / "__init__.py"
        if not path.exists() and not path.parent.is_symlink():
            trap(path, marker)
            cached = path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
            py_compile.compile(str(path), cfile=str(cached), doraise=True)
    (folder / "evil.pth").write_text(f"import os; open({str(marker)!r}, 'a').write('pth')\n")


@pytest.fixture
def trapped(world: GateWorld, tmp_path: Path) -> GateWorld:
    """A repository with its own copy of runtime and SDK, in which traps lie wherever a team could put them."""
    marker = tmp_path / TOUCHED
    root = world.root
    for name in ("agent_runtime", "sdk"):
        (root / name).unlink()
        shutil.copytree(TEMPLATE / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    fill(root, marker)
    fill(world.folder("start"), marker)
    # A hostile cache of a module that is imported: the same source time and size, other code.
    runtime = root / "agent_runtime"
    for path in [runtime / "cli.py", runtime / "__init__.py", root / "sdk" / "aimgentix" / "__init__.py"]:
        source = tmp_path / "hostile.py"
        trap(source, marker)
        cached = path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
        py_compile.compile(str(source), cfile=str(cached), doraise=True)
        header = (0).to_bytes(4, "little") + int(path.stat().st_mtime).to_bytes(4, "little")
        data = cached.read_bytes()
        size = path.stat().st_size.to_bytes(4, "little")
        cached.write_bytes(data[:4] + header + size + data[16:])
    trap(runtime / "json.py", marker)
    trap(runtime / "requests.py", marker)
    return world


def hostile_variables(folder: Path) -> dict[str, str]:
    """Variables by which whoever sets them makes an ordinary Python run something first."""
    return {
        "PYTHONPATH": str(folder),
        "PYTHONSTARTUP": str(folder / "sitecustomize.py"),
        "PYTHONUSERBASE": str(folder),
        "PYTHONHOME": "",
        "PYTHONPYCACHEPREFIX": "",
        "PYTHONINSPECT": "",
        "PYTHONBREAKPOINT": "sitecustomize.x",
        "PYTHONWARNINGS": "error::sitecustomize.X",
    }


def touched(tmp_path: Path) -> list[str]:
    marker = tmp_path / TOUCHED
    return marker.read_text().splitlines() if marker.exists() else []


@pytest.mark.threat("T1", "T10")
@pytest.mark.parametrize("command", ["start", "seal", "record", "check"])
def test_nothing_of_a_hostile_root_is_imported(trapped: GateWorld, tmp_path: Path, command: str) -> None:
    variables = hostile_variables(trapped.root)
    done = trapped.command("start", [command], NEEDS="{}", INVESTIGATE_RESULT="success", **variables)
    assert touched(tmp_path) == [], done.stderr
    assert "Traceback" not in done.stderr
    if command == "start":
        assert (done.returncode, done.stdout) == (0, "this run may start\n"), done.stderr


@pytest.mark.threat("T1", "T10")
def test_without_sites_packages_come_from_where_the_gate_installed_them_and_nowhere_else(
    trapped: GateWorld, tmp_path: Path
) -> None:
    temporary = tmp_path / "runner-temp"
    (temporary / "agent-gate").mkdir(parents=True)
    variables = {**hostile_variables(trapped.root), "RUNNER_TEMP": str(temporary)}
    python = (sys.executable, "-I", "-S")
    done = trapped.command("start", ["seal"], python=python, INVESTIGATE_RESULT="success", **variables)
    assert touched(tmp_path) == []
    assert done.returncode == 2 and "RUN004" in done.stderr, done.stderr
    for package in installed():
        (temporary / "agent-gate" / package.name).symlink_to(package)
    done = trapped.command("start", ["start"], python=python, **variables)
    assert (done.returncode, done.stdout, touched(tmp_path)) == (0, "this run may start\n", []), done.stderr


def test_packages_in_an_environment_inside_the_repository_are_loaded_whole(world: GateWorld) -> None:
    """Where people work, `.venv` is in the repository; its packages have extension modules, which are not text."""
    packages = world.root / ".venv" / "agent-gate"
    packages.mkdir(parents=True)
    for package in installed():
        (packages / package.name).symlink_to(package)
    left = world.hand_over(b"{}")
    done = world.command(
        "seal",
        ["seal"],
        python=(sys.executable, "-I", "-S"),
        RUNNER_TEMP=str(packages.parent),
        INVESTIGATION_ID=left.artifact_id,
        INVESTIGATION_DIGEST=left.digest,
        INVESTIGATE_RESULT=left.result,
    )
    assert "Traceback" not in done.stderr and "error: RPT" in done.stderr, done.stderr


def installed() -> list[Path]:
    """The packages of this environment."""
    return [path for folder in site.getsitepackages() for path in Path(folder).iterdir() if path.suffix != ".pth"]


@pytest.mark.threat("T1", "T10")
def test_the_folder_in_which_a_job_works_is_not_where_it_imports_from(trapped: GateWorld, tmp_path: Path) -> None:
    """The runner starts the command in the repository's root."""
    for name in ("pkgutil.py", "collections.py", "sitecustomize.py"):
        trap(trapped.folder("start") / name, tmp_path / TOUCHED)
    assert trapped.command("start", ["start"]).returncode == 0
    assert touched(tmp_path) == []


@pytest.mark.threat("T10")
def test_without_isolation_it_does_not_start(trapped: GateWorld) -> None:
    done = trapped.command("start", ["start"], python=(sys.executable,))
    assert done.returncode == 1
    assert done.stderr == "error: RUN006: not isolated. Start it as: python -I agent_runtime/__main__.py\n"


@pytest.mark.parametrize(
    ("missing", "code"), [("agent_runtime/__init__.py", "RUN002"), ("sdk/aimgentix/__init__.py", "RUN003")]
)
def test_a_part_that_is_gone_is_named(trapped: GateWorld, missing: str, code: str) -> None:
    (trapped.root / missing).unlink()
    done = trapped.command("start", ["start"])
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {code}: ") and missing in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.threat("T10")
def test_nothing_is_written_into_the_repository(trapped: GateWorld) -> None:
    before = {path: path.stat().st_mtime_ns for path in trapped.root.rglob("*")}
    trapped.command("start", ["start"])
    trapped.command("start", ["seal"], INVESTIGATE_RESULT="success")
    assert {path: path.stat().st_mtime_ns for path in trapped.root.rglob("*")} == before


@pytest.mark.threat("T10")
@pytest.mark.parametrize("oldest", [True, False], ids=["3.8", "newest"])
def test_every_supported_python_is_isolated(tmp_path: Path, oldest: bool) -> None:
    """Without any package installed: the entry itself, its help, and the packages of the repository."""
    python = require_python("3.8") if oldest else newest_python()[1]
    root = make_root(tmp_path / "repository")
    marker = tmp_path / TOUCHED
    fill(root, marker)
    for options in (["-I"], ["-I", "-S"]):
        done = subprocess.run(
            [python, *options, str(root / "agent_runtime" / "__main__.py"), "seal", "--help"],
            cwd=root,
            env={"PATH": "/usr/bin:/bin", "RUNNER_TEMP": str(tmp_path), **hostile_variables(root)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "INVESTIGATION_DIGEST" in done.stdout
        assert touched(tmp_path) == []


@pytest.mark.threat("T10")
def test_the_gate_loads_no_team_code_and_nothing_that_runs_it(world: GateWorld, tmp_path: Path) -> None:
    trap(world.root / "agent_runner.py", tmp_path / TOUCHED)
    script = (
        "import runpy, sys\n"
        f"sys.argv = [{str(world.root / 'agent_runtime' / '__main__.py')!r}, 'seal']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\nexcept SystemExit:\n    pass\n"
        "import agent_runtime\n"
        "found = [name for name in sys.modules if name.startswith(('agent_runner', 'agent_runtime.run', "
        "'agent_runtime.toolkit', 'agent_runtime.local'))]\n"
        "print(found, [path for path in sys.path if path.startswith(sys.argv[0].rpartition('/agent_runtime')[0])])\n"
    )
    done = world.command("seal", [], python=(sys.executable, "-I", "-c", script), INVESTIGATE_RESULT="failure")
    assert done.stdout.splitlines()[-1] == "[] []", done.stderr
    assert touched(tmp_path) == []
