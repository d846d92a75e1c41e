"""Make what the Makefile's targets need: the virtual environment `.venv`, and Node.js with its packages.

Runs on the machine's own interpreter with the standard library only.  Everything it installs is named, with its
hashes, in `requirements/*.lock` and in `package-lock.json` files; a second run with nothing to do does not get here,
because make compares the stamps that this program writes with those files.

    python3 tools/bootstrap.py environment     .venv from requirements/dev.lock
    python3 tools/bootstrap.py docs            what the documentation site needs, from requirements/docs.lock
    python3 tools/bootstrap.py node            Node.js >= 20 (from PATH, else into .venv) and `npm ci`
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 20
# Folders with a package.json whose packages the tests need.
NODE_PROJECTS = (
    ROOT / "tests" / "support" / "harness" / "node",
    ROOT / "tests" / "support" / "openapi" / "node",
    ROOT / "tests" / "support" / "browser" / "node",
    ROOT / "tools" / "pictures",
)


class SetupError(Exception):
    """What is missing, in one line that says what to do about it."""


class Progress:
    """One line that counts, on a terminal; elsewhere a line now and then."""

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = total
        self._done = 0
        self._terminal = sys.stdout.isatty()

    def step(self, name: str) -> None:
        """Count one package more, and say which."""
        self._done = min(self._done + 1, self._total)
        if self._terminal:
            sys.stdout.write(f"\r\033[K{self._label}: {self._done} of {self._total}  {name}")
        elif self._done % 20 == 0:
            sys.stdout.write(f"{self._label}: {self._done} of {self._total}\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Say what is happening now, instead of the counter where that is possible."""
        sys.stdout.write(f"\r\033[K{text}" if self._terminal else f"{text}\n")
        sys.stdout.flush()

    def close(self) -> None:
        """End the line."""
        if self._terminal:
            sys.stdout.write("\n")


def make_environment() -> None:
    """Create `.venv` with the running interpreter, unless a usable one is there, and fill it from the lock."""
    if sys.version_info[:2] < OLDEST_PYTHON:
        version = ".".join(map(str, sys.version_info[:3]))
        raise SetupError(f"this is Python {version}, and 3.11 or newer is needed: make PYTHON=python3.11 ...")
    if not _is_usable(BIN / "python"):
        print(f"Creating .venv with Python {sys.version_info[0]}.{sys.version_info[1]}", flush=True)
        shutil.rmtree(VENV, ignore_errors=True)
        created = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False)
        if created.returncode != 0:
            shutil.rmtree(VENV, ignore_errors=True)
            raise SetupError(
                "python -m venv failed (on Debian and Ubuntu: apt-get install python3-venv):\n"
                + (created.stdout + created.stderr).strip()
            )
    pip_install(ROOT / "requirements" / "dev.lock")
    (VENV / "dev.stamp").touch()


def make_docs() -> None:
    """Add what builds the documentation site to `.venv`."""
    pip_install(ROOT / "requirements" / "docs.lock")
    (VENV / "docs.stamp").touch()


def make_node() -> None:
    """Find Node.js on PATH or install it into `.venv`, then install the packages of every Node project."""
    if not _has_node():
        print(f"No Node.js >= {OLDEST_NODE} with npm on PATH: installing one into .venv", flush=True)
        pip_install(ROOT / "requirements" / "node.lock")
        if not _has_node():
            raise SetupError("the Node.js that was installed into .venv does not start")
    for project in NODE_PROJECTS:
        print(f"Installing the Node packages of {project.relative_to(ROOT)}", flush=True)
        npm = shutil.which("npm", path=_path())
        result = subprocess.run(
            [str(npm), "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=project,
            env={**os.environ, "PATH": _path()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise SetupError(f"npm ci failed in {project.relative_to(ROOT)}:\n{result.stdout.strip()}")
    (VENV / "node.stamp").touch()


def pip_install(lock: Path) -> None:
    """Install what `lock` lists into `.venv`: these versions, these hashes, wheels only, with a counter."""
    name = lock.relative_to(ROOT).as_posix()
    total = len(re.findall(r"^[a-z0-9][^ ]*==", lock.read_text(encoding="utf-8"), flags=re.MULTILINE | re.IGNORECASE))
    command = [str(BIN / "python"), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    # A lock is complete.  Where pip looks at dependencies, too, it takes `pydantic[email]` for a package without a pin.
    command += ["--require-hashes", "--no-deps", "--only-binary=:all:", "--progress-bar=off", "-r", str(lock)]
    progress = Progress(name, total)
    said = []
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    with process:
        for line in process.stdout or ():
            said.append(line)
            found = re.match(r"(?:Collecting|Requirement already satisfied:) ([^\s;]+)", line)
            if found:
                progress.step(found.group(1))
            elif line.startswith("Installing collected packages"):
                progress.note(f"{name}: installing")
    progress.close()
    if process.returncode != 0:
        raise SetupError(f"pip could not install {name}:\n{''.join(said[-20:]).strip()}")


def _path() -> str:
    """PATH with .venv's programs first."""
    return os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])


def _is_usable(python: Path) -> bool:
    """Whether this interpreter of a virtual environment starts, has pip and is new enough."""
    if not python.exists():
        return False
    script = f"import pip, sys; sys.exit(sys.version_info[:2] < {OLDEST_PYTHON!r})"
    return subprocess.run([str(python), "-c", script], capture_output=True, check=False).returncode == 0


def _has_node() -> bool:
    """Whether a Node.js that is new enough and its npm are to be found."""
    node, npm = shutil.which("node", path=_path()), shutil.which("npm", path=_path())
    if not node or not npm:
        return False
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)\.", answer.stdout)
    return answer.returncode == 0 and found is not None and int(found.group(1)) >= OLDEST_NODE


_SET_UPS = {"environment": make_environment, "docs": make_docs, "node": make_node}


def main() -> int:
    """Run one of the set-ups and return the exit code."""
    parser = argparse.ArgumentParser(description="Make what the Makefile's targets need.")
    parser.add_argument("what", choices=list(_SET_UPS))
    what = parser.parse_args().what
    try:
        _SET_UPS[what]()
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
