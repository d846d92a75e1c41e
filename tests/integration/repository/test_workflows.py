"""What GitHub reads of this repository itself holds to the rules that its template promises."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from support.environment import REPOSITORY, require_tool
from support.harness.node import ActionsService, node_tools

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


def test_zizmor_as_auditor_finds_nothing() -> None:
    command = [require_tool("zizmor"), "--offline", "--persona=auditor", "--quiet", "--no-progress", ".github"]

    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr
    assert "No findings to report" in result.stdout


def test_zizmor_would_find_something(tmp_path: Path) -> None:
    broken = tmp_path / "ci.yml"
    text = WORKFLOWS[0].read_text(encoding="utf-8")
    broken.write_text(text.replace("persist-credentials: false", "persist-credentials: true"), encoding="utf-8")

    command = [require_tool("zizmor"), "--offline", "--persona=auditor", "--quiet", "--no-progress", str(broken)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode != 0
    assert "artipacked" in result.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_github_and_actionlint_accept_it(path: Path) -> None:
    name, text = path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8")

    with ActionsService(node_tools()) as service:
        assert service.parse_workflow(name, text)["errors"] == []
        assert service.actionlint(name, text) == []
        assert service.actionlint(name, text.replace("runs-on: ubuntu-24.04", "runs-on: ubuntu-1.0")) != []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_job_is_bounded_and_asks_for_its_rights(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))

    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 60, name
        assert set(job["permissions"].values()) <= {"read"}, name
        assert not [step["run"] for step in job["steps"] if "${{" in step.get("run", "")], name


def test_ci_run_is_what_github_runs_and_ends_in_make_test() -> None:
    script = REPOSITORY / ".ci" / "run"
    steps = yaml.safe_load((WORKFLOWS[0]).read_text(encoding="utf-8"))["jobs"]["test"]["steps"]

    assert os.access(script, os.X_OK)
    assert steps[-1]["run"] == "bash .ci/run"
    assert script.read_text(encoding="utf-8").rstrip().splitlines()[-1] == "exec make test"


def run_ci(programs: dict[str, str], path: str, folder: Path) -> tuple[int, list[str]]:
    """Run `.ci/run` with these programs, as shell scripts, before `path`; return exit code and lines."""
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    done = subprocess.run(
        [require_tool("bash"), str(REPOSITORY / ".ci" / "run")],
        cwd=folder,
        env={**os.environ, "PATH": f"{folder}{os.pathsep}{path}", "CI": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


# What .ci/run looks for, beside what it can't do without itself.
SCRIPT = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
PACKAGES = [
    p
    for p in re.findall(r"^need (\S+)", SCRIPT, flags=re.MULTILINE)
    if p not in ("git", "make", "python3", "python3-venv")
]
MAKE = 'echo "make $* CI=$CI"; exit 7'


def test_ci_run_installs_nothing_where_nothing_is_missing(tmp_path: Path) -> None:
    """With everything there, the script reaches `make test` without a package manager, and passes on its exit code."""
    there = dict.fromkeys(("prometheus", "openssl", "faketime", "ls"), "exit 0")

    said = run_ci({"make": MAKE, "apt-get": "echo called; exit 1", **there}, os.environ["PATH"], tmp_path)

    assert said == (7, ["make test CI=true"])


def test_ci_run_installs_what_is_missing_and_starts_no_service(tmp_path: Path) -> None:
    # Nothing but these programs; those that would write outside only print their arguments.
    only = tmp_path / "only"
    only.mkdir()
    for name in ("bash", "dirname", "git"):
        (only / name).symlink_to(require_tool(name))
    stubs = {name: f'echo "{name} $*"' for name in ("apt-get", "chmod", "rm")}
    programs = {
        "make": MAKE,
        "python3": "exit 0",
        "id": "echo 1000",
        "sudo": '"$@"',
        "tee": 'echo "tee $*" >&2',
        **stubs,
    }
    missing_folder = tmp_path / "programs"
    missing_folder.mkdir()

    code, lines = run_ci(programs, str(only), missing_folder)

    policy = "/usr/sbin/policy-rc.d"
    around = ([f"tee {policy}", f"chmod +x {policy}"], [f"rm {policy}"]) if not Path(policy).exists() else ([], [])
    assert code == 7
    assert lines == [
        f"Installing: {' '.join(PACKAGES)}",
        "apt-get update -qq",
        *around[0],
        f"apt-get install -y -qq --no-install-recommends {' '.join(PACKAGES)}",
        *around[1],
        "make test CI=true",
    ]


def test_ci_run_stops_where_a_package_cannot_be_installed(tmp_path: Path) -> None:
    for name in ("bash", "dirname", "git"):
        (tmp_path / name).symlink_to(require_tool(name))
    programs = {"make": MAKE, "python3": "exit 0", "apt-get": "echo no network; exit 100", "id": "echo 0"}

    said = run_ci(programs, "", tmp_path)

    assert said == (100, [f"Installing: {' '.join(PACKAGES)}", "no network"])
