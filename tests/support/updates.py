"""Repositories that are compared with their template, and updated from it, by their own command."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from support import compiled, engines, interpreter
from support.environment import REPOSITORY

# What the release changes that `next_release` makes: it edits, adds and removes a file of each owner, and renews pins.
PLAN = "agent_runtime/model/plan.py"
NEW = "agent_runtime/brand_new.py"
PAGE = "docs/NEWS.md"
GONE = "docs/TROUBLESHOOTING.md"
WORKFLOW = ".github/workflows/agent-investigate-act.yml"
CHANGELOG = "# Changelog\n\n## v1.1.0\n\n- One module more. Nothing for you to do.\n\n## v1.0.0\n\n- The first one.\n"
CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"

# Where a quick copier is, and this environment's Python.
PROGRAMS = (Path(__file__).with_name("programs"), Path(sys.executable).parent)
PATH = {"PATH": os.pathsep.join([*map(str, PROGRAMS), os.environ["PATH"]])}
# As nobody in particular, and without the machine's settings.
NOBODY = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "A Team"), ("EMAIL", "team@example.com"))
    },
}


def command(
    project: Path, *words: str, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Run `python agent_runner.py` in a repository, with Copier on PATH."""
    return engines.run(
        [interpreter.python(), "-B", "agent_runner.py", *words],
        cwd=project,
        environment={**PATH, **NOBODY, **environment},
    )


_BORROWED = """\
import sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/sdk"]
from agent_runtime.cli import main_without_agent
sys.exit(main_without_agent(sys.argv[2], sys.argv[3:]))
"""


def borrowed(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the runtime of this working tree in a repository whose own may not have it yet."""
    template = str(REPOSITORY / "template")
    command = [sys.executable, "-B", "-I", "-c", _BORROWED, template, str(project), *words]
    return engines.run(command, cwd=project, environment={**PATH, **NOBODY})


def committed(source: Path, destination: Path) -> Path:
    """A copy of a rendering as a git repository with one commit."""
    shutil.copytree(source, destination, symlinks=True)
    compiled.beside(destination / "agent_runtime", destination / "sdk")
    engines.commit_all(destination, "Start from the template")
    return destination


def release_after(template: Path, destination: Path, edit: Callable[[Path], None], tag: str = "v1.1.0") -> Path:
    """A copy of the template with one release more, in which its folder `template` is edited."""
    shutil.copytree(template, destination, symlinks=True)
    edit(destination / "template")
    engines.release(destination, tag)
    return destination


def release_of(commit: str, template: Path, tag: str) -> None:
    """Release in a template's repository what this one's template was at a commit."""
    if (template / ".git").exists():
        engines.git(template, "rm", "-rq", "--", ".")
    wanted = ("*.jinja", "copier.yml", "template", "tools/manifest.py")
    archive = ["git", "-C", str(REPOSITORY), "archive", commit, "--", *wanted]
    archived = subprocess.run(archive, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as unpacked:
        unpacked.extractall(template, filter="fully_trusted")
    engines.release(template, tag)


def next_release(template: Path) -> None:
    """Every kind of file changes."""
    append(template / PLAN, "\n# Release 1.1.0\n")
    append(template / "README.md.jinja", "\nRelease 1.1.0 of {{ cookiecutter.agent_name }}\n")
    append(template / "use_cases/service-restart/agent_runner.py", "# Release 1.1.0\n")
    replace(template / "Makefile", "# Thin names over well-kept tools.", "# Thin names over good tools.")
    replace(
        template / "PRODUCTION_CHECKLIST.md",
        "- [ ] **yours** Somebody reads what the workflow",
        "- [ ] **yours** A person reads what the workflow",
    )
    (template / NEW).write_text('"""New in release 1.1.0."""\n', encoding="utf-8")
    (template.parent / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    (template / PAGE).write_text("# News\n", encoding="utf-8")
    (template / GONE).unlink()
    for path in [*template.glob(".github/workflows/*"), *template.glob(".github/actions/*/action.yml")]:
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(CHECKOUT, f"actions/checkout@{'b' * 40} # v7.0.2"), encoding="utf-8")


def replace(path: Path, old: str, new: str) -> None:
    """Replace a text that is in a file once."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path} has it {text.count(old)} times: {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def append(path: Path, text: str) -> None:
    """Add lines at the end of a file."""
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def born(source: Path, destination: Path, template: Path, later: Path) -> Path:
    """A repository that was rendered from `template`, and finds `later` in its place."""
    shutil.copytree(source, destination, symlinks=True)
    replace(destination / ".copier-answers.yml", str(template), str(later))
    compiled.beside(destination / "agent_runtime", destination / "sdk")
    engines.commit_all(destination, "Start from the template")
    return destination


def snapshot(project: Path) -> dict[str, object]:
    """All that an update which does not happen must leave as it is: files, index, branches and what git has to say."""
    refs = engines.git(project, "for-each-ref") + engines.git(project, "rev-parse", "HEAD")
    index = engines.git(project, "ls-files", "--stage")
    inside = sorted(path.name for path in (project / ".git").iterdir()) if (project / ".git").is_dir() else []
    return {"files": engines.tree(project), "refs": refs, "index": index, "git": inside}
