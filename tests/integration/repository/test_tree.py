"""What is committed holds for everybody: locks are whole, and nothing names one machine or one registry."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import agent_runtime
import aimgentix
from support.environment import REPOSITORY

LOCKS = sorted([*REPOSITORY.glob("requirements/*.lock"), *REPOSITORY.glob("template/**/*.lock")])
# What a lock is resolved from, where it doesn't lie beside it.
LISTED = {
    "template/requirements-dev.lock": "requirements/agent-dev.in",
    "template/requirements-notify.lock": "requirements/agent-notify.in",
    "template/requirements-uv.lock": "requirements/agent-uv.in",
    "template/.github/copier.lock": "requirements/agent-copier.in",
}
# Assembled, so that this file does not find itself.
HOSTS = [".".join(parts) for parts in (("pythonhosted", "org"), ("registry", "npmjs"), ("deb", "debian", "org"))]
FOLDERS = ["/" + "/".join(parts) for parts in (("root", ""), ("work", ""), ("opt", ""))]
# Where GitHub's own runners keep their tools, on every machine.
HOSTED = "hostedtoolcache"


def tracked() -> list[Path]:
    """Return every file that git tracks and that is in the working tree."""
    command = ["git", "ls-files", "-z"]
    names = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0")
    return [REPOSITORY / name for name in names if name and (REPOSITORY / name).is_file()]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_lock_holds_what_was_asked_for_with_hashes_and_without_addresses(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=\S)", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    locked = {}
    for block in filter(None, map(str.strip, blocks)):
        name, version = re.match(r"([A-Za-z0-9._-]+)==(\S+)", block).groups()  # type: ignore[union-attr]
        assert re.findall(r"--hash=sha256:[0-9a-f]{64}", block), f"{name}=={version} has no hash"
        locked[normal(name)] = version

    listed = LISTED.get(lock.relative_to(REPOSITORY).as_posix())
    wanted = (REPOSITORY / listed if listed else lock.with_suffix(".in")).read_text(encoding="utf-8").splitlines()
    names = [re.match(r"[A-Za-z0-9._-]+", line) for line in wanted if line and line[0] not in "#-"]
    assert {normal(name[0]) for name in names if name} <= set(locked)
    assert "://" not in text


def test_no_file_names_one_registry_or_one_machine() -> None:
    machine = re.compile("|".join(rf"(?<![\w.:/}}\])-]){re.escape(folder)}(?!{HOSTED})[a-z]" for folder in FOLDERS))
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        lines = enumerate(text.splitlines(), start=1)
        reported = [number for number, line in lines if any(host in line for host in HOSTS) or machine.search(line)]
        found += [f"{path.relative_to(REPOSITORY)}:{number}" for number in reported]

    assert found == []


def test_every_file_can_be_checked_out_anywhere() -> None:
    names = [path.relative_to(REPOSITORY).as_posix() for path in tracked()]

    assert [name for name in names if re.search(r'[<>:"|?*\\]|[ .](/|$)', name)] == []
    assert len({name.lower() for name in names}) == len(names)


def test_all_parts_have_one_version() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    backend = (REPOSITORY / "backend" / "app" / "__init__.py").read_text(encoding="utf-8")
    versions = {agent_runtime.__version__, aimgentix.__version__, *re.findall(r'^__version__ = "(.+)"$', backend, re.M)}
    assert versions == {project["version"]}
