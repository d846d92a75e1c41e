"""What a job without a team's code takes before it decides: its set-up, and the start of `seal` and of Verify.

    python benchmarks/gate_job.py [--rounds N]

The set-up is the command of the composite action `setup-gate`, from a cold cache, with this interpreter.  A start is
the whole process of a command as the workflow runs it, in a generated repository, up to GitHub's first answer: a
refusal, so that the command reads its configuration, asks, writes trail and page, and ends.  It is held against a
process that only imports what such a command needs from elsewhere: all of requirements.in, of which it uses a part
before it asks, and the standard library's modules that it imported.  Both find the packages as setup-gate leaves them,
not compiled, and leave them so (`-B`): a job starts one command, or two.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import copier
import yaml
from measure import ROOT, Comparison, Limit, compare, limit, run, snapshot, table

TARGET = 1.3
SETUP_SECONDS = 4.0
ACTION = ROOT / "template" / ".github" / "actions" / "setup-gate" / "action.yml"
REFUSED = 3
# What the workflow says to both commands; GitHub is not asked whether any of it is true.
RUN = {
    "GITHUB_REPOSITORY": "your-org/bench",
    "GITHUB_RUN_ID": "1",
    "GITHUB_RUN_ATTEMPT": "1",
    "GITHUB_SHA": "0" * 40,
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_ACTOR": "alice",
    "GITHUB_TRIGGERING_ACTOR": "alice",
    "GITHUB_WORKFLOW": "Agent Runtime - Investigate & Act",
    "GITHUB_EVENT_NAME": "workflow_dispatch",
    "GITHUB_TOKEN": "bench",
    "TARGET_RESOURCE": "example",
    "TRIGGER_SOURCE": "manual",
    "APPROVED_DIGEST": "0" * 64,
    "REPORT_ID": "1",
    "REPORT_DIGEST": "0" * 64,
}
PACKAGES = ("pydantic", "rfc8785", "urllib3", "yaml")
COMMANDS = {"seal": "seal", "Verify": "authorize"}


def set_up(folder: Path, project: Path, _round: int) -> None:
    """Install the runtime's packages as the action does; `python` is the interpreter that runs this."""
    action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    steps, lock = action["runs"]["steps"], action["inputs"]["lock"]["default"]
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    python = programs / "python"
    if not python.exists():
        python.write_text(f'#!/bin/sh\nexec "{Path(sys.executable).resolve()}" "$@"\n', encoding="utf-8")
        python.chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "RUNNER_TEMP": str(folder), "PATH": path, "LOCK": lock}
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", steps[-1]["run"]]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"setup-gate failed:\n{done.stdout}{done.stderr}")


@contextmanager
def refusing_github() -> Iterator[str]:
    """A GitHub that refuses whatever it is asked; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class Job:
    """A gate job in a generated repository, with its packages set up."""

    def __init__(self, folder: Path, project: Path, github: str) -> None:
        self._project = project
        self._path = ["import sys", f"sys.path.append({str(folder / 'agent-gate')!r})"]
        self._python = str(Path(sys.executable).resolve())
        self._environment = {**RUN, "GITHUB_API_URL": github, "RUNNER_TEMP": str(folder), "PATH": os.defpath}
        self._environment |= {"GITHUB_STEP_SUMMARY": os.devnull, "GITHUB_OUTPUT": os.devnull, "LANG": "C.UTF-8"}

    def start(self, command: str, _round: int, *options: str) -> str:
        """Run one command of the workflow and return what Python says on its standard error."""
        shutil.rmtree(self._project / "agent-run", ignore_errors=True)
        words = [self._python, "-I", "-S", "-B", *options, "agent_runtime/__main__.py", command]
        done = subprocess.run(
            words, cwd=self._project, env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode != REFUSED or "HTTP 401" not in done.stderr:
            raise SystemExit(f"{command} did not end as it should:\n{done.stdout}{done.stderr}")
        return done.stderr

    def foreign(self, command: str) -> list[str]:
        """The modules that a command imports from elsewhere than the repository, and those that it will need."""
        said = self.start(command, 0, "-X", "importtime")
        names = re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", said, re.MULTILINE)
        elsewhere = [name for name in names if name.partition(".")[0] not in ("agent_runtime", "aimgentix")]
        # Some of these were looked for and not found.
        lines = [*self._path, f"for name in {['os', *elsewhere, *PACKAGES]!r}:", "    try: __import__(name)"]
        lines += ["    except ImportError: pass", "    else: print(name)"]
        asked = [self._python, "-I", "-S", "-B", "-c", "\n".join(lines)]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()

    def import_only(self, modules: list[str], _round: int) -> None:
        """Import these modules and nothing else."""
        lines = [*self._path, *(f"import {name}" for name in modules)]
        run([self._python, "-I", "-S", "-B", "-c", "\n".join(lines)], self._project)


def measure(rounds: int) -> list[Comparison | Limit]:
    """Measure set-up and starts."""
    with tempfile.TemporaryDirectory(prefix="bench-gate-") as scratch:
        folder = Path(scratch)
        project = folder / "agent"
        template = str(snapshot(folder / "template"))
        copier.run_copy(template, project, data={"agent_name": "Bench"}, defaults=True, quiet=True, unsafe=False)
        found: list[Comparison | Limit] = [
            limit(
                "set-up of a job without team code",
                partial(set_up, folder, project),
                target=SETUP_SECONDS,
                rounds=min(rounds, 5),
            )
        ]
        with refusing_github() as github:
            job = Job(folder, project, github)
            for name, command in COMMANDS.items():
                found.append(
                    compare(
                        f"start of {name}, against importing the libraries it needs",
                        partial(job.start, command),
                        partial(job.import_only, job.foreign(command)),
                        target=TARGET,
                        rounds=rounds,
                    )
                )
        return found


def main() -> int:
    """Measure, print the table, and return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="Measure set-up and start of a job without a team's code.")
    parser.add_argument("--rounds", type=int, default=15, help="how often each runs (default: 15; the set-up 5)")
    found = measure(parser.parse_args().rounds)
    print(table(found))
    return 0 if all(each.holds for each in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
