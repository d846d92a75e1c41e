"""`tools/adopt.py`: the template comes into a repository of a team, and nothing of the team is lost."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent_runtime.codes import BadInput, GateRefused
from agent_runtime.local.update import files
from support import engines, guide_layout, interpreter, signatures, updates
from support.engines import Render
from support.environment import REPOSITORY, require_tool
from support.samples import blocks, command_lines
from tools import adopt as adoption
from tools import teams
from tools.adoption import arrival

PAGE = REPOSITORY / "docs" / "how-to" / "adopt.md"
ANSWERS = ".copier-answers.yml"


def command(*words: str) -> list[str]:
    return [interpreter.python(), "-B", str(REPOSITORY / "tools" / "adopt.py"), *words]


def adopt(project: Path, template: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return engines.run(command(str(project), "--template", str(template), *words), environment=updates.NOBODY)


def report(project: Path, template: Path, *words: str) -> dict[str, Any]:
    done = adopt(project, template, "--json", *words)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def shell(project: Path, line: str) -> str:
    """Type a line into a shell; make finds the programs of this environment instead of setting them up."""
    if line.startswith("make") and not (project / ".venv").exists():
        (project / ".venv").mkdir()
        (project / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
        (project / ".venv" / "ready").touch()
    done = engines.run([require_tool("sh"), "-ec", line], cwd=project, environment={**updates.PATH, **updates.NOBODY})
    assert done.returncode == 0, line + "\n" + done.stdout + done.stderr
    return done.stdout


def test_the_layout_of_the_guide_ends_green_in_its_own_checks(template: Path, tmp_path: Path) -> None:
    """Everything is typed as the page has it, and the list that `adopt` prints is worked through."""
    project = guide_layout.build(tmp_path / "checkout")
    before = updates.snapshot(project)
    lines = [
        line for info, text in blocks(PAGE.read_text(encoding="utf-8")) if info == "sh" for line in command_lines(text)
    ]
    look, bring, _, switch, *rest, again = lines

    def typed(line: str) -> subprocess.CompletedProcess[str]:
        words = [{"TEMPLATE": str(template), "../checkout": str(project)}.get(each, each) for each in shlex.split(line)]
        assert words[:2] == [".venv/bin/python", "tools/adopt.py"]
        return engines.run(command(*words[2:]), environment=updates.NOBODY)

    shown = typed(look)
    assert shown.returncode == 0 and updates.snapshot(project) == before
    made = typed(bring)
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[1:-1] == shown.stdout.splitlines()[1:-1]
    assert updates.snapshot(project)["files"] == before["files"]
    assert updates.snapshot(project)["index"] == before["index"]
    assert "branch adopt-template is at" in made.stdout
    assert engines.git(project, "diff", "--diff-filter=a", "--name-only", "main", "adopt-template") == ""

    shell(project, switch)
    todo = made.stdout.splitlines()[2:-1]
    for line in (each.strip() for each in todo if each.startswith("       ")):
        if line != "make lock":  # what the agent imports is locked already
            shell(project, line)
    written = {line.split(". ", 1)[1].split(": ")[0] for line in todo if not line.startswith("       ")}
    for name, text in guide_layout.WRITTEN.items():
        assert name in written, made.stdout
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text, encoding="utf-8")
    assert rest == ["git add --all", "make check lint test", 'git commit --message "Adopt the template"']
    shell(project, rest[0])
    assert "in order" in shell(project, "make check")
    assert "1 passed" in shell(project, "make test")
    shell(project, rest[2])
    assert engines.git(project, "status", "--porcelain") == ""
    assert engines.git(project, "show", "HEAD:README.md").startswith(guide_layout.FILES["README.md"])
    assert engines.git(project, "show", "HEAD:.gitignore").startswith("*.log\n")

    done = typed(again)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        ["nothing to adopt: this is v1.0.0; python agent_runner.py update brings a newer one"],
    )


def test_what_an_agent_has_of_its_own_decides_what_is_left(render: Render, tmp_path: Path) -> None:
    """An agent of the runtime, its tests and an owner's list: nothing is asked for that is there."""
    project = tmp_path / "night-watch"
    for name, text in {
        "agent_runner.py": guide_layout.ADOPTED_AGENT,
        "tests/test_agent.py": guide_layout.ADOPTED_TEST,
        ".github/CODEOWNERS": "* @acme/sre\n",
        ".github/workflows/ci.yml": "on: push\njobs: {}\n",
        "README.md": "# Ours\n",
        "sdk/own/client.py": "",
    }.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text, encoding="utf-8")
    ours, rendered = files.below(project), files.below(render())
    page = b"# Night Watch\n<!-- template:begin, an update changes it -->\nRun it.\n<!-- template:end -->\nMore.\n"
    rendered["README.md"] = files.File("100644", page)
    added = arrival.merge(ours, rendered)
    for name, file in added.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(file.data)

    todo = {each.path: each.commands for each in arrival.todos(ours, rendered, added, project)}

    assert todo == {
        f".github/agent-policies/{engines.SLUG}.yml": (),
        ".github/CODEOWNERS": (
            "(echo; cat .github/CODEOWNERS.template) >> .github/CODEOWNERS",
            "git rm --quiet .github/CODEOWNERS.template",
        ),
        "README.md": (
            "sed -n '/<!-- template:begin/,/<!-- template:end/p' README.md.template >> README.md",
            "git rm --quiet README.md.template",
        ),
        ".github/workflows/ci.yml": ("git mv --force .github/workflows/ci.yml.template .github/workflows/ci.yml",),
        "sdk/own/client.py": ("git rm --quiet sdk/own/client.py",),
    }
    engines.commit_all(project, "Adopted")
    for line in todo["README.md"]:
        shell(project, line)
    assert (project / "README.md").read_text(encoding="utf-8").splitlines() == [
        "# Ours",
        "<!-- template:begin, an update changes it -->",
        "Run it.",
        "<!-- template:end -->",
    ]


def test_the_answers_that_a_repository_gives_by_itself(tmp_path: Path) -> None:
    project = tmp_path / "night-watch"
    project.mkdir()
    engines.commit_all(project, "Ours")
    mine = {"agent_name": "Night Watch", "use_case": "blank"}
    assert arrival.answers_for(project, {}) == {**mine, "license": "Proprietary"}

    engines.git(project, "remote", "add", "origin", "git@github.com:acme/night-watch.git")
    licensed = {"LICENSE.txt": files.File("100644", b"MIT License\n")}
    assert arrival.answers_for(project, licensed) == {
        **mine,
        "license": "MIT",
        "github_repository": "acme/night-watch",
    }


@pytest.mark.parametrize(
    ("spoil", "words", "said"),
    [
        (lambda project: (project / "new.py").write_text("", encoding="utf-8"), [], "error: UPD05: new.py. "),
        (lambda project: engines.git(project, "branch", "taken"), ["--branch", "taken"], "error: UPD14: taken: "),
        (lambda project: None, ["--data", "approver=me"], "error: ANS001: approver: no question has this name. "),
        (lambda project: None, ["--set", "approvers=-"], "error: ANS006: approvers: "),
        (lambda project: None, ["--to", "v9.0.0"], "error: UPD04: "),
        (lambda project: None, ["--template", "/nowhere/at/all"], "error: UPD03: "),
    ],
)
def test_what_is_in_the_way_is_named_in_one_line(
    spoil: Any, words: list[str], said: str, template: Path, tmp_path: Path
) -> None:
    project = guide_layout.build(tmp_path / "checkout")
    spoil(project)
    before = updates.snapshot(project)

    done = adopt(project, template, *words)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1, done.stderr
    assert updates.snapshot(project) == before


def test_a_file_in_the_place_of_a_folder_is_refused() -> None:
    def empty(name: str) -> dict[str, files.File]:
        return {name: files.File("100644", b"")}

    for ours, theirs, said in (
        ("specs", "specs/codes.md", "specs is a file here, and the template has specs/codes.md"),
        ("Makefile/all.mk", "Makefile", "Makefile is a folder here, and the template has Makefile"),
    ):
        with pytest.raises(BadInput, match=said):
            arrival.merge(empty(ours), empty(theirs))


def test_a_folder_that_is_not_a_repository_is_refused(template: Path, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        done = adopt(folder, template)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: UPD08: ") and done.stderr.count("\n") == 1


def test_a_kill_leaves_no_half_branch(template: Path, tmp_path: Path) -> None:
    project = guide_layout.build(tmp_path / "checkout")
    before = updates.snapshot(project)
    for seconds in (0.6, 1.8):
        started = subprocess.Popen(
            command(str(project), "--template", str(template)),
            env={**os.environ, **updates.NOBODY},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(seconds)
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        if "adopt-template" not in engines.git(project, "branch"):
            assert updates.snapshot(project) == before
            continue
        assert "agent_runtime/manifest.json" in engines.git(project, "ls-tree", "-r", "--name-only", "adopt-template")
        engines.git(project, "branch", "--quiet", "-D", "adopt-template")


@pytest.fixture(scope="module")
def later(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template with three releases; the second one's tag is lost, and the third changes what is rendered alone."""
    folder = tmp_path_factory.mktemp("later")
    plan, workflow = "agent_runtime/model/plan.py", ".github/workflows/agent-investigate-act.yml.jinja"
    second = updates.release_after(template, folder / "second", lambda here: updates.append(here / plan, "\n# 1.1\n"))
    third = updates.release_after(
        second, folder / "gated-agents", lambda here: updates.append(here / workflow, "# 1.2\n"), "v1.2.0"
    )
    signatures.list_releases(third, signatures.entry(third, "v1.1.0"))
    engines.git(third, "tag", "--delete", "v1.1.0")
    return third


def test_a_repository_that_lost_its_release_gets_it_back(
    template: Path, later: Path, render: Render, tmp_path: Path
) -> None:
    """It has the release whose tag is lost; the one after it has the same files, and renders another workflow."""
    project = updates.born(render(), tmp_path / "project", template, later)
    answers = (project / ANSWERS).read_text(encoding="utf-8")
    updates.replace(project / ANSWERS, "_commit: v1.0.0\n", "")
    for name in ("agent_runtime/model/plan.py", "agent_runtime/manifest.json"):
        (project / name).write_text(engines.git(later, "show", f"HEAD~2:template/{name}"), encoding="utf-8")
    updates.append(project / "docs" / "REVIEWER.md", "Ours\n")
    engines.commit_all(project, "As it is")

    found = report(project, later)

    commit = engines.git(later, "rev-parse", "HEAD~2").strip()[:7]
    assert found["version"] == f"v1.0.0-1-g{commit}"
    assert [each["path"] for each in found["todo"]] == ["docs/REVIEWER.md"]
    assert engines.git(project, "diff", "--name-only", "main", "adopt-template") == ANSWERS + "\n"
    recorded = engines.git(project, "show", f"adopt-template:{ANSWERS}")
    assert recorded == answers.replace("v1.0.0", found["version"])


def test_answers_that_are_lost_are_read_from_the_configuration(
    template: Path, later: Path, render: Render, tmp_path: Path
) -> None:
    project = updates.born(render(), tmp_path / "project", template, later)
    answers = (project / ANSWERS).read_text(encoding="utf-8")
    (project / ANSWERS).unlink()
    engines.commit_all(project, "As it is")
    refused = adopt(project, later)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: ANS002: {ANSWERS} is lost, and only --data use_case=… can say ")

    found = report(project, later, "--data", "use_case=service-restart")

    assert (found["version"], found["todo"]) == ("v1.0.0", [])
    recorded = engines.git(project, "show", f"adopt-template:{ANSWERS}")
    assert set(answers.splitlines()) - set(recorded.splitlines()) == {"advanced: 'no'"}


def test_a_revoked_release_is_not_adopted(template: Path, tmp_path: Path) -> None:
    bad = updates.release_after(template, tmp_path / "bad", lambda here: None, "v1.1.0")
    signatures.list_releases(bad, signatures.entry(bad, "v1.1.0", "its gate can be bypassed"))
    project = guide_layout.build(tmp_path / "checkout")

    done = adopt(project, bad)

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: UPD19: v1.1.0: its gate can be bypassed. ")


def test_neither_an_unsigned_release_nor_a_branch_is_adopted(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this checkout names somebody; what a repository has already is recorded, whoever signed it."""
    signed = updates.release_after(template, tmp_path / "signed", lambda here: None, "v1.1.0")
    keys = {name: signatures.key(tmp_path, name) for name in ("ann", "eve")}
    signatures.sign(signed, "v1.1.0", keys["ann"], "v1.1.0^{commit}")
    signatures.sign(signed, "v1.2.0", keys["eve"], "v1.1.0^{commit}")
    (tmp_path / "checkout" / "template" / "agent_runtime").mkdir(parents=True)
    signatures.allow(tmp_path / "checkout" / "template", keys["ann"])
    monkeypatch.setattr(teams, "ROOT", tmp_path / "checkout")
    monkeypatch.setenv("PATH", updates.PATH["PATH"])
    project = guide_layout.build(tmp_path / "project")
    refused = {
        "": "v1.2.0: ",
        "v1.0.0": "v1.0.0: ",
        "main": "main is not a version",
        engines.git(signed, "rev-parse", "main").strip(): f"{engines.git(signed, 'rev-parse', 'main').strip()} is not",
    }
    for version, said in refused.items():
        options = argparse.Namespace(
            data=[], repository=project, template=str(signed), to=version, branch="adopt-template", check=True
        )
        with pytest.raises(GateRefused, match=re.escape(said)) as unsigned:
            adoption.adopt(options)
        assert unsigned.value.code == "UPD18"
    assert adoption.adopt(argparse.Namespace(**{**vars(options), "to": "v1.1.0"})).version == "v1.1.0"
