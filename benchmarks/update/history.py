"""The template with its versions as tags, and repositories that are born from them through both engines."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent

# The last commit before there was a command `update`, as if it had been released.
BEFORE = "221d31076dcb77726171a9c13656aeb8877f7231"
# The state that is measured, as a release.
NEXT = "v1000.0.0"

SIGNERS = "template/agent_runtime/allowed_signers"
ENGINES = ("copier", "cookiecutter")

# Nobody's settings and nobody's cache; a name for commits.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GIT_", "COPIER_"))},
    "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "A Team"), ("EMAIL", "team@example.com"))
    },
}


class Failed(Exception):
    """The benchmark can't go on; the text says why."""


@dataclass(frozen=True)
class Done:
    """A program that ended."""

    code: int
    out: str
    err: str


def attempt(folder: Path, *command: str) -> Done:
    """Run a program in `folder`, without questions, and say how it ended."""
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return Done(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


def run(folder: Path, *command: str) -> str:
    """Run a program that has to end well, and return what it printed.

    Raises:
        Failed: it did not.
    """
    done = attempt(folder, *command)
    if done.code:
        said = (done.err or done.out).strip().splitlines() or ["it said nothing"]
        raise Failed(f"{' '.join(command[:2])} in {folder}: {said[-1]}")
    return done.out


def git(folder: Path, *words: str) -> str:
    """Run git in `folder` and return what it printed."""
    return run(folder, "git", *words)


def commit_all(folder: Path, message: str) -> None:
    """Commit everything in `folder`, which becomes a repository where it is none."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)


def released() -> dict[str, str]:
    """Every released version with its commit, from releases.toml."""
    listed = tomllib.loads((ROOT / "releases.toml").read_text(encoding="utf-8")).get("release", [])
    return {entry["version"]: entry["commit"] for entry in listed}


class History:
    """A clone of this repository with a tag for each version.

    Arguments:
        folder: where it will be.
        starts: versions with their commits, from which repositories are born.
        end: the commit to which they are updated; by default this working tree, uncommitted work included.

    Raises:
        Failed: a commit is not here.
    """

    def __init__(self, folder: Path, starts: Mapping[str, str], end: str = "") -> None:
        for commit in filter(None, [*starts.values(), end]):
            if attempt(ROOT, "git", "cat-file", "-e", commit + "^{commit}").code:
                shallow = git(ROOT, "rev-parse", "--is-shallow-repository").strip() == "true"
                why = "this clone is shallow: git fetch --unshallow" if shallow else "name another one"
                raise Failed(f"there is no commit {commit} here; {why}")
        self.folder, self.versions = folder, tuple(starts)
        head = git(ROOT, "rev-parse", "HEAD").strip()
        git(ROOT, "clone", "--quiet", "--no-checkout", str(ROOT), str(folder))
        for tag in git(folder, "tag", "--list").split():
            git(folder, "tag", "--delete", tag)
        for version, commit in starts.items():
            git(folder, "checkout", "--quiet", "--detach", commit)
            self._release(version)
        git(folder, "checkout", "--quiet", "-B", "main", end or head)
        if not end:
            self._take_working_tree()
        self._release(NEXT)

    def _release(self, version: str) -> None:
        """Tag what is checked out; it names no signers, because nobody can sign here in their name."""
        (self.folder / SIGNERS).write_text("# The benchmark signs nothing\n", encoding="utf-8")
        run(self.folder, sys.executable, "tools/manifest.py")
        commit_all(self.folder, f"Release {version}")
        git(self.folder, "tag", version)

    def _take_working_tree(self) -> None:
        listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
        here = {name for name in listed if name and os.path.lexists(ROOT / name)}
        for name in filter(None, git(self.folder, "ls-files", "-z").split("\0")):
            if name not in here:
                (self.folder / name).unlink()
        for name in here:
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)

    def questions(self, version: str) -> dict[str, Any]:
        """The questions of a version, as its copier.yml has them."""
        questions: dict[str, Any] = yaml.safe_load(git(self.folder, "show", f"{version}:copier.yml"))
        return questions

    def born(self, version: str, engine: str, answers: Mapping[str, str], folder: Path) -> Path:
        """Make a repository from a version, with one commit."""
        if engine == "copier":
            given = [word for name, value in answers.items() for word in ("--data", f"{name}={value}")]
            origin = ["--vcs-ref", version, str(self.folder), str(folder)]
            run(folder.parent, "copier", "copy", "--quiet", "--defaults", *given, *origin)
        else:
            source = self.folder.with_name(f"{self.folder.name}-{version}")
            if not source.exists():
                git(self.folder, "clone", "--quiet", "--branch", version, str(self.folder), str(source))
            made = folder.with_name(folder.name + "-made")
            given = [f"{name}={value}" for name, value in answers.items()]
            run(folder.parent, "cookiecutter", "--no-input", "--output-dir", str(made), str(source), *given)
            next(made.iterdir()).rename(folder)
            path = folder / ".copier-answers.yml"
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(f"{source}\n", f"{self.folder}\n"), encoding="utf-8")
        commit_all(folder, "Start from the template")
        return folder
