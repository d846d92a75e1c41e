"""What is measured lives in virtual environments of its own, each filled from a lock with hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "bench" / "audit"
REQUIREMENTS = HERE / "requirements"
BACKEND = ROOT / "backend"
SDK = ROOT / "template" / "sdk"


class EnvironmentFailed(RuntimeError):
    """An environment can't be made; the message ends with what the installer said."""


def peers() -> Path:
    """Return the interpreter that has the peers' SDKs."""
    return prepare("peers", REQUIREMENTS / "peers.lock")


def phoenix() -> Path:
    """Return the interpreter that has Phoenix."""
    return prepare("phoenix", REQUIREMENTS / "phoenix.lock")


def backend(tree: Path = BACKEND) -> Path:
    """Return the interpreter that has what the backend in `tree` needs."""
    return prepare("backend", tree.resolve() / "requirements.txt")


def prepare(name: str, lock: Path) -> Path:
    """Make the environment `name` from `lock`, unless it was made from the same one; return its interpreter."""
    folder = BUILD / name
    python = folder / "bin" / "python"
    stamp = folder / "lock.sha256"
    if not lock.exists():
        raise EnvironmentFailed(f"{lock} is not there")
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == digest:
        return python
    print(f"installing {lock}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    uv("venv", "--python", sys.executable, str(folder))
    uv("pip", "sync", "--require-hashes", "--no-build", "--compile-bytecode", "--python", str(python), str(lock))
    stamp.write_text(digest)
    return python


def write_locks() -> None:
    """Write the peers' locks anew, with the newest versions."""
    for name in ("peers", "phoenix"):
        uv(
            "pip", "compile", "--upgrade", "--universal", "--python-version", "3.11",
            "--generate-hashes", "--no-emit-index-url",
            "--custom-compile-command", "python benchmarks/audit/run.py --lock",
            f"requirements/{name}.in", "--output-file", f"requirements/{name}.lock",
        )  # fmt: skip


def uv(*arguments: str) -> None:
    """Run uv; a caller's folder of wheels must not decide what a lock means."""
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise EnvironmentFailed("uv is needed: make .venv/dev.stamp installs it")
    environment = {name: value for name, value in os.environ.items() if name != "PIP_FIND_LINKS"}
    done = subprocess.run(
        [found, *arguments, "--quiet"], cwd=HERE, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EnvironmentFailed(f"uv {arguments[0]} failed:\n{done.stderr.strip()}")


def plain(folder: Path, *paths: Path) -> Mapping[str, str]:
    """Return environment variables with nothing that an SDK reads: a home of its own, and where to import from."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }
