"""Trials of the codes of `update` and `drift`, in real repositories with a real Copier."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

from agent_runtime.local.check import ANSWERS_FILE
from agent_runtime.local.update import problems
from support import engines, settings_world, updates
from support.github import FullGitHub
from support.rendering import WORKFLOW
from support.trials.lab import Attempt, Lab, trial
from support.zips import pack

README = "README.md"


def update(root: Path, *words: str) -> Attempt:
    """An attempt of an update; the template has nothing newer, unless the repository is `behind`."""
    return lambda: updates.command(root, "update", *words)


def template_of(lab: Lab) -> Path:
    """What the repository was rendered from."""
    return lab.rendered.parent / "template"


def behind(lab: Lab, release: Callable[[Path], None]) -> Path:
    """A repository whose template has one release more, in which its folder is edited."""
    template = template_of(lab)
    later = updates.release_after(template, lab.place() / "template", release)
    return updates.born(lab.rendered, lab.place(), template, later)


def well(attempt: Attempt) -> Attempt:
    """The same; no other code stops it either."""

    def again() -> CompletedProcess[str]:
        done = attempt()
        assert isinstance(done, CompletedProcess)
        assert done.returncode == 0, done.stderr
        return done

    return again


def commit_edit(root: Path, name: str, old: str, new: str) -> None:
    """Replace a text in a file, and commit that."""
    updates.replace(root / name, old, new)
    engines.commit_all(root, "Edit")


def programs(lab: Lab, *names: str) -> dict[str, str]:
    """A PATH on which these programs are, Copier's own too, and no other ones."""
    real = os.pathsep.join([str(updates.PROGRAMS[-1]), os.environ["PATH"]])
    folder = lab.place()
    folder.mkdir()
    for name in names:
        program = shutil.which(name, path=real)
        assert program, name
        (folder / name).symlink_to(program)
    return {"PATH": str(folder)}


@trial(problems.NO_COPIER)
def copier_is_not_installed(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    without, path = programs(lab, "git"), programs(lab, "git", "copier")
    yield lambda: updates.command(root, "drift", environment=without)
    yield well(lambda: updates.command(root, "drift", environment=path))


@trial(problems.NO_GIT_PROGRAM)
def git_is_not_installed(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    without, path = programs(lab), programs(lab, "git")
    yield lambda: updates.command(root, "update", environment=without)
    yield well(lambda: updates.command(root, "update", environment=path))


@trial(problems.NO_ORIGIN)
def nothing_says_which_release_this_is(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    commit_edit(root, ANSWERS_FILE, "_commit: v1.0.0\n", "")
    yield update(root)
    updates.append(root / ANSWERS_FILE, "_commit: v1.0.0\n")
    engines.commit_all(root, "Say it")
    yield well(update(root))


@trial(problems.UNREACHABLE)
def the_template_moved(lab: Lab) -> Iterator[Attempt]:
    root, template = lab.project(), template_of(lab)
    commit_edit(root, ANSWERS_FILE, str(template), f"{template}-which-moved")
    yield update(root)
    commit_edit(root, ANSWERS_FILE, f"{template}-which-moved", str(template))
    yield well(update(root))


@trial(problems.NO_VERSION)
def the_template_lacks_the_version(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    commit_edit(root, ANSWERS_FILE, "_commit: v1.0.0", "_commit: v9.9.9")
    yield update(root)
    commit_edit(root, ANSWERS_FILE, "_commit: v9.9.9", "_commit: v1.0.0")
    yield well(update(root))
    yield well(update(root, "--to", "v1.0.0"))


@trial(problems.DIRTY)
def somebody_is_at_work(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    (root / "notes.txt").write_text("Ours\n", encoding="utf-8")
    yield update(root)
    engines.git(root, "stash", "--quiet", "-u")
    yield well(update(root))
    engines.git(root, "stash", "pop", "--quiet")
    engines.commit_all(root, "Add notes")
    yield well(update(root))


@trial(problems.DETACHED)
def no_branch_is_checked_out(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    engines.git(root, "checkout", "--quiet", "--detach")
    yield update(root)
    yield well(update(root, "--branch", "other"))
    engines.git(root, "checkout", "--quiet", "main")
    yield well(update(root))


@trial(problems.BUSY)
def another_update_is_running(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    lock = os.open(root / ".git", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield update(root)
    os.close(lock)
    yield well(update(root))


@trial(problems.NO_GIT)
def nothing_was_committed(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    shutil.rmtree(root / ".git")
    yield update(root)
    engines.commit_all(root, "Start")
    yield well(update(root))


@trial(problems.FIXED)
def another_use_case_is_wanted(lab: Lab) -> Iterator[Attempt]:
    wanted = ("--set", "use_case=service-restart")
    root = lab.project()
    yield update(root, *wanted)
    given = {**settings_world.ANSWERS, "use_case": "service-restart"}
    new = engines.run_copier(template_of(lab), lab.place(), given)
    shutil.copy(root / "agent_runner.py", new)
    engines.commit_all(new, "Start")
    yield well(update(new, *wanted))


@trial(problems.RENDERING)
def copier_refuses_an_answer(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    yield update(root, "--to", "v1.0.0", "--set", "approvers=no login")
    yield well(update(root, "--to", "v1.0.0", "--set", "approvers=" + settings_world.ANSWERS["approvers"]))


@trial(problems.CONFLICT)
def both_sides_changed_the_same_line(lab: Lab) -> Iterator[Attempt]:
    def release(folder: Path) -> None:
        updates.replace(folder / "pyproject.toml", "line-length = 120", "line-length = 110")

    root = behind(lab, release)
    commit_edit(root, "pyproject.toml", "line-length = 120", "line-length = 100")
    yield update(root)
    yield update(root, "--apply")
    assert "<<<<<<< here" in (root / "pyproject.toml").read_text(encoding="utf-8")
    engines.git(root, "checkout", "--quiet", "--ours", "pyproject.toml")
    engines.commit_all(root, "Update from the template")
    yield well(update(root))


@trial(problems.NOT_AN_UPDATE)
def the_machine_that_made_the_update_lies(lab: Lab) -> Iterator[Attempt]:
    def release(folder: Path) -> None:
        (folder / "docs/NEW.md").write_text("New\n", encoding="utf-8")

    root = behind(lab, release)
    archive = pack({"update.patch": b"rm -rf /\n", "report.json": b"{}"})
    github = lab.stack.enter_context(FullGitHub("acme/widgets"))
    github.keep_archive(1, "1", "agent-update", archive)
    environment = {
        "GITHUB_API_URL": github.url,
        "GITHUB_REPOSITORY": "acme/widgets",
        "GITHUB_RUN_ID": "1",
        "GITHUB_TOKEN": "t",
        "UPDATE_ID": "1",
        "UPDATE_DIGEST": hashlib.sha256(archive).hexdigest(),
    }
    yield lambda: updates.command(root, "propose", "pull-request", "--to=v1.1.0", environment=environment)
    yield well(update(root, "--check"))


# Both runtimes say so: the release below leaves its linter as it was.
OPENED = f"CON04@{WORKFLOW}:jobs.approve.environment new:CON04@{WORKFLOW}:jobs.approve"


@trial(problems.WEAKER)
def a_release_opens_the_gate(lab: Lab) -> Iterator[Attempt]:
    def release(folder: Path) -> None:
        updates.replace(folder / f"{WORKFLOW}.jinja", "    environment: agent-approval\n", "")

    root = behind(lab, release)
    yield update(root)
    yield well(update(root, "--accept", OPENED))


@trial(problems.NAMELESS)
def somebody_accepts_a_code_alone(lab: Lab) -> Iterator[Attempt]:
    def release(folder: Path) -> None:
        updates.replace(folder / f"{WORKFLOW}.jinja", "    environment: agent-approval\n", "")

    root = behind(lab, release)
    yield update(root, "--accept", "CON04")
    yield well(update(root, "--accept", OPENED))


@trial(problems.CONFIGURED)
def a_release_brings_a_setting(lab: Lab) -> Iterator[Attempt]:
    def release(folder: Path) -> None:
        updates.append(folder / ".github/agent-config.yml.jinja", "break_glass: true\n")
        config = folder / "agent_runtime/model/config.py"
        updates.replace(
            config, '    audit_host: str = ""\n', '    audit_host: str = ""\n    break_glass: bool = False\n'
        )

    root = behind(lab, release)
    yield update(root)
    well(update(root, "--accept", "UPD13@.github/agent-config.yml:break_glass"))()
    yield well(update(root))


@trial(problems.MOVED)
def a_file_was_edited_after_a_power_cut(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    old = engines.git(root, "rev-parse", "HEAD").strip()
    updates.append(root / README, "Of the release\n")
    engines.commit_all(root, "Update from the template")
    new = engines.git(root, "rev-parse", "HEAD").strip()
    (root / ".git/agent-update").write_text(f"refs/heads/main\n{old}\n{new}", encoding="utf-8")
    updates.append(root / README, "Ours\n")
    yield update(root)
    (root / README).rename(lab.place())
    yield well(update(root))
    assert (root / README).read_text(encoding="utf-8").endswith("Of the release\n")


@trial(problems.IN_THE_WAY)
def an_ignored_file_is_in_the_way(lab: Lab) -> Iterator[Attempt]:
    name = "docs/NEW.md"

    def release(folder: Path) -> None:
        (folder / name).write_text("New\n", encoding="utf-8")

    root = behind(lab, release)
    (root / ".git/info/exclude").write_text(f"{name}\n", encoding="utf-8")
    (root / name).write_text("Ours\n", encoding="utf-8")
    yield update(root)
    (root / name).rename(lab.place())
    yield well(update(root))


@trial(problems.NO_CHECK)
def a_release_needs_a_package_more(lab: Lab) -> Iterator[Attempt]:
    def release(folder: Path) -> None:
        updates.append(folder / "agent_runtime/local/check.py", "\nimport newly_needed  # noqa\n")

    root, venv = behind(lab, release), lab.place()
    made = engines.run([sys.executable, "-m", "venv", "--without-pip", str(venv)])
    assert made.returncode == 0, made.stderr
    packages = next(venv.glob("lib/python*/site-packages"))
    (packages / "present.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")

    def attempt() -> CompletedProcess[str]:
        command = [str(venv / "bin" / "python"), "-B", "agent_runner.py", "update"]
        return engines.run(command, cwd=root, environment={**updates.PATH, **updates.NOBODY})

    yield attempt
    (packages / "newly_needed.py").write_text("", encoding="utf-8")
    yield well(attempt)
