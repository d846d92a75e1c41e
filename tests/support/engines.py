"""Both doors to the template, and what a test wants to know about the tree behind them."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import copier
from copier._jinja_ext import SandboxedEnvironment
from copier._main import Worker

from agent_runtime.local import answers
from support import interpreter, kept, quick
from support.environment import REPOSITORY

NAME = "Checkout 'Restart' & Co 🚀"
SLUG = "checkout-restart-co"
ACT_PERMISSIONS = ("", "issues, pull-requests", "contents,deployments")

ADVANCED = {
    "advanced": "yes",
    "repository_plan": "private-team",
    "investigate_secrets": "METRICS_TOKEN, LOGS_TOKEN",
    "investigate_variables": "METRICS_URL",
    "investigate_oidc": "yes",
    "investigate_container": "ghcr.io/acme/agent@sha256:" + "0123456789abcdef" * 4,
    "act_secrets": "AGENT_ACT_TOKEN,DEPLOY_KEY",
    "act_variables": "CLUSTER",
    "investigate_runner": "self-hosted, readers",
    "act_runner": "self-hosted, actors",
    "gate_runner": "ubuntu-24.04",
    "ephemeral_runners": "no",
    "agent_python": "3.12",
    "act_timeout_minutes": "45",
    "audit_host": "audit.example.com",
    "notify": "yes",
    "toolkit": "git, health, http, services, waiting",
}

# The lines that say where a repository came from, which the engines know differently.
ORIGIN = ("_commit:", "_src_path:")

# Renders a repository for answers.
Render = Callable[..., Path]


def combinations() -> dict[str, dict[str, str]]:
    """Answers for every use case with every trigger, by a readable id; the other choices take turns."""
    turns = zip(
        itertools.cycle(answers.PLANS + answers.PLANS[::-1]),
        itertools.cycle(ACT_PERMISSIONS + ACT_PERMISSIONS[::-1]),
        itertools.cycle(answers.LICENSES[::-1] + answers.LICENSES),
        itertools.cycle(answers.YES_NO[::-1] + answers.YES_NO),
        strict=False,
    )
    found = {}
    for use_case, triggers in itertools.product(answers.USE_CASES, answers.TRIGGERS):
        plan, permissions, license, auto = next(turns)
        found[f"{use_case}-{triggers}-{plan}-{license}-auto:{auto}"] = {
            "agent_name": NAME,
            "use_case": use_case,
            "triggers": triggers,
            "repository_plan": plan,
            "act_permissions": permissions,
            "auto_approval": auto,
            "license": license,
        }
    found["advanced"] = {**next(iter(found.values())), **ADVANCED}
    return found


def run(
    command: list[str], cwd: Path | None = None, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it says, without what would lead a generated repository to this one's code."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    return subprocess.run(command, cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, check=False)


def git(folder: Path, *words: str) -> str:
    """Run git in `folder`, as nobody in particular and without the machine's settings."""
    nobody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    identity = ["-c", "user.name=A Team", "-c", "user.email=team@example.com", "-c", "init.defaultBranch=main"]
    done = run(["git", "-C", str(folder), *identity, *words], environment=nobody)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commit_all(folder: Path, message: str) -> None:
    """Commit everything in `folder` but what Python compiled; the folder becomes a repository where it is none."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet")
    git(folder, "add", "--all", "--force", "--", ".", ":(exclude,glob)**/__pycache__/**")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)


# What rendering needs of this repository.
PARTS = (
    "copier.yml",
    "rules.jinja",
    "cookiecutter.json",
    "hooks",
    "template",
    "tools/manifest.py",
    "{{cookiecutter.agent_slug}}",
)


def clone_template(destination: Path) -> Path:
    """Copy the template of this working tree, uncommitted work included, into a repository with a fresh manifest."""
    listed = git(REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *PARTS)
    for name in listed.split("\0")[:-1]:
        source, target = REPOSITORY / name, destination / name
        if source.is_symlink() or source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    release(destination, "v1.0.0")
    git(
        destination, "repack", "-adq"
    )  # Cookiecutter and tests copy it: one pack is copied faster than hundreds of files
    return destination


def release(template: Path, tag: str) -> None:
    """Write the manifest, commit, and tag."""
    subprocess.run([sys.executable, "tools/manifest.py"], cwd=template, check=True)
    commit_all(template, f"Release {tag}")
    git(template, "tag", tag)


@cache
def copier_environment() -> SandboxedEnvironment:
    """The Jinja of Copier, as it reads this working tree."""
    worker = Worker(src_path=str(REPOSITORY), dst_path=REPOSITORY / "nowhere")
    worker.template.__dict__["local_abspath"] = REPOSITORY  # the working tree, not a clone of it
    return worker.jinja_env


def run_copier(template: Path, destination: Path, given: dict[str, Any], **options: Any) -> Path:
    """Render with Copier, without trust; what releases gave once is kept."""
    is_new = not destination.exists()
    is_repository = (template / ".git").is_dir() and not options
    releases = git(template, "tag", "--list", "--format=%(refname) %(tree)") if is_new and is_repository else ""
    name = kept.name(releases, sorted(given.items())) if releases else ""
    if name and kept.write(name, str(template), destination):
        return destination
    with quick.rendering(is_new=is_new):
        copier.run_copy(str(template), destination, data=given, defaults=True, quiet=True, unsafe=False, **options)
    if name:
        kept.keep(name, str(template), destination)
    return destination


def update(project: Path, **options: Any) -> None:
    """Update with Copier alone, without trust."""
    with quick.rendering(is_new=False):
        copier.run_update(project, defaults=True, overwrite=True, quiet=True, unsafe=False, **options)


def litter(template: Path) -> None:
    """Leave in a copy of the template what tools leave in a working tree: something for each pattern of .gitignore."""
    rules = [
        (REPOSITORY / name).read_text(encoding="utf-8").splitlines() for name in (".gitignore", "template/.gitignore")
    ]
    patterns = {rule for rule in itertools.chain(*rules) if rule and not rule.startswith(("#", "/"))}
    assert {"*.egg-info/", "*.py[co]", "agent-run*/"} <= patterns
    for pattern in [*patterns, ".DS_Store"]:
        name = pattern.replace("*", "x").replace("[co]", "c")
        path = template / "template" / "sdk" / (name + "PKG-INFO" if name.endswith("/") else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{{ vars }} {% surprise %}", encoding="utf-8")


@dataclass(frozen=True)
class Entry:
    """One file of a tree: its bytes and whether it can be executed."""

    data: bytes
    executable: bool


def tree(root: Path) -> dict[str, Entry]:
    """Every file below `root` by its path; the lines that only name the origin are left out."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_dir() or name.startswith(".git/"):
            continue
        data = path.read_bytes()
        if name == ".copier-answers.yml":
            lines = data.decode().splitlines(keepends=True)
            data = "".join(line for line in lines if not line.startswith(ORIGIN)).encode()
        found[name] = Entry(data, bool(path.stat().st_mode & stat.S_IXUSR))
    return found


def run_check(project: Path) -> subprocess.CompletedProcess[str]:
    """Run the generated repository's own check, as `make check` does."""
    return run([interpreter.python(), "-B", "-m", "agent_runtime.local.check"], cwd=project)
