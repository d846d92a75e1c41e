"""A newcomer's path: the tutorial, typed as it stands, from nothing to a changed agent whose tests are green."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import engines, settings_world
from support.environment import REPOSITORY, require_tool
from support.samples import blocks, command_lines

TUTORIAL = REPOSITORY / "docs" / "tutorial.md"
AUDITOR = REPOSITORY / "template" / "docs" / "AUDITOR.md"
MAINTAINER = REPOSITORY / "docs" / "maintainer.md"
OWN_AGENT = REPOSITORY / "docs" / "how-to" / "your-own-agent.md"
LOCAL = ("1", "2", "3", "4")
# Part 5 needs an account on GitHub and a second person; until its first run, a GitHub on the loopback interface serves.
ON_GITHUB = "5"
REFUSED = 3
MINUTES = 15


def parts() -> dict[str, str]:
    """The tutorial's numbered parts."""
    sections = re.split(r"^## (\d)\. .+$", TUTORIAL.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(sections[1::2], sections[2::2], strict=True))


class Newcomer:
    """Somebody with a shell, who types one line after the other and changes folders as they go."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder = folder
        self._template = template
        programs = folder / "programs"
        programs.mkdir()
        for name in ("copier", "git", "make"):
            (programs / name).symlink_to(require_tool(name))
        (programs / "python3").symlink_to(sys.executable)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "MAKE"))},
            **{f"GIT_{role}_{key}": f"newcomer{at}" for role in ("AUTHOR", "COMMITTER") for key, at in WHO},
            "GIT_CONFIG_GLOBAL": os.devnull,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        }

    def types(self, line: str, expected: int = 0) -> str:
        """Type a line; return what it says."""
        spaced = line.replace("$(gh auth token)", "'$(gh auth token)'")
        words = [str(self._template) if word == "TEMPLATE" else word for word in shlex.split(spaced)]
        if words[0] == "cd":
            self.folder /= words[1]
            return ""
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.environment[name] = {"$(gh auth token)": settings_world.TOKEN}[value]
            return ""
        if words[:3] == ["gh", "repo", "create"]:
            assert self.types("git status --porcelain") == "", "what is not committed is not pushed"
            return ""
        given = dict([words.pop(0).split("=", 1)]) if re.match(r"[A-Z]+=", words[0]) else {}
        done = subprocess.run(
            words,
            cwd=self.folder,
            env={**self.environment, **given},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expected, f"$ {line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def edits(self, name: str, change: re.Pattern[str], lines: str) -> None:
        """Put lines behind the one place in a file that a pattern finds."""
        path = self.folder / name
        changed, places = change.subn(lambda found: found.group(0) + lines, path.read_text(encoding="utf-8"))
        assert places == 1, name
        path.write_text(changed, encoding="utf-8")


WHO = (("NAME", ""), ("EMAIL", "@example.com"))
INVESTIGATE = re.compile(r'def investigate\(.*\n +""".+?"""\n')
END = re.compile(r"\Z")


@pytest.mark.long
def test_the_tutorial_can_be_typed_as_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> None:
    template = engines.clone_template(tmp_path / "gated-agents")
    newcomer = Newcomer(tmp_path, template)
    started = time.monotonic()
    said: dict[str, list[str]] = {part: [] for part in LOCAL}

    for part in LOCAL:
        python = iter([content for info, content in blocks(parts()[part]) if info == "python"])
        for info, content in blocks(parts()[part]):
            if info == "python":
                edit = next(python)
                if edit.startswith("def test_"):
                    newcomer.edits("tests/test_agent.py", END, f"\n\n{edit}")
                else:
                    newcomer.edits("agent_runner.py", INVESTIGATE, edit)
            elif info == "sh":
                lines = command_lines(content)
                said[part] += [newcomer.types(line, expected(part, line)) for line in lines]

    took = time.monotonic() - started
    record_property("seconds", round(took, 1))
    with capsys.disabled():
        print(f"\na newcomer's path, from the template to a changed agent with green tests: {took:.1f} s")
    passed = [int(re.search(r"(\d+) passed", text)[1]) for text in [said["2"][0], said["4"][0]]]  # type: ignore[index]
    assert passed[1] == passed[0] + 1, "the new test ran"
    assert "outcome: acted" in said["2"][1]
    assert [re.search(r"GATE\d\d", text)[0] for text in said["3"]] == ["GATE02", "GATE04", "GATE07"]  # type: ignore[index]
    assert "outcome: nothing to do" in said["4"][-1]
    assert took < MINUTES * 60
    go_to_github(newcomer)
    audit(newcomer, Path(re.search(r"bundle: +(\S+)", said["2"][1])[1]))  # type: ignore[index]


def test_a_team_types_its_own_agent_as_the_page_shows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> None:
    newcomer = Newcomer(tmp_path, engines.clone_template(tmp_path / "gated-agents"))
    sections = re.split(r"^## \d\. ", OWN_AGENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    started = time.monotonic()
    said: dict[str, str] = {}

    for section in sections:
        named = re.match(r".*: `(.+)`\n", section)  # the file that this section shows whole
        for info, content in blocks(section):
            if info == "sh":
                lines = command_lines(content)
                said |= {line: newcomer.types(line, REFUSED if "--tamper" in line else 0) for line in lines}
            else:
                assert named, content
                (newcomer.folder / named[1]).write_text(content, encoding="utf-8")

    took = time.monotonic() - started
    record_property("seconds", round(took, 1))
    with capsys.disabled():
        print(f"\na team's own agent, from the template to an approved run: {took:.1f} s")
    made = said["make lint check test simulate"]
    assert re.search(r"\b3 passed", made) and "in order" in made and "outcome: acted" in made, made
    rejected, tampered = (next(text for line, text in said.items() if option in line) for option in ANSWERS)
    assert "outcome: rejected" in rejected and "GATE02" in tampered
    assert took < MINUTES * 60


ANSWERS = ("--reject", "--tamper")


def go_to_github(newcomer: Newcomer) -> None:
    """Do what part 5 says until the gate is closed."""
    lines = [line for info, content in blocks(parts()[ON_GITHUB]) if info == "sh" for line in command_lines(content)]
    last = next(at for at, line in enumerate(lines) if line.endswith("doctor"))
    with settings_world.fresh() as github:
        github.people["octocat"] = "write"
        newcomer.environment["GITHUB_API_URL"] = github.url
        said = [newcomer.types(line, REFUSED if line.endswith("doctor") else 0) for line in lines[: last + 1]]
        assert "nothing was changed" in said[-3] and "the gate is closed" in said[-2]
        opened = re.findall(r"^(\S+) +open ", said[-1], flags=re.MULTILINE)
        assert opened == ["token-permissions", "pinned-actions", "default-branch"], said[-1]
        settings_world.close_by_hand(github)
        assert "0 of" in newcomer.types(lines[last])


def audit(newcomer: Newcomer, bundle: Path) -> None:
    """Do with the bundle of the first run what the auditor's page says, in a repository that is the auditor's own."""
    newcomer.folder = newcomer.folder.parent
    digest = hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
    said: list[str] = []
    for info, content in blocks(AUDITOR.read_text(encoding="utf-8")):
        if info == "python":
            said.append(newcomer.types(shlex.join([".venv/bin/python", "-c", content])))
        elif info == "sh":
            said += [newcomer.types(line.replace("DIGEST", digest)) for line in command_lines(content)]
            if "copier copy" in content:
                shutil.copytree(bundle, newcomer.folder / "audit-bundle")
    verified, plan, summed, whole, events = said[3:]
    assert newcomer.folder.name == "audit"
    assert "every digest and hash chain holds" in verified
    assert re.search(r"^plan: +(\w+)$", verified, flags=re.MULTILINE)[1] == plan.strip()  # type: ignore[index]
    assert summed.startswith(digest)
    assert ": whole" in whole
    assert '"step": "authorized"' in events


def expected(part: str, line: str) -> int:
    """The exit code that the tutorial promises; where it asks a person and nobody is there, it says so instead."""
    if part == "3":
        return REFUSED
    asks = "simulate" in line and "make" not in line and "--approve" not in line
    return 2 if asks else 0


def test_the_dry_run_of_a_release_can_be_typed_as_it_stands(tmp_path: Path) -> None:
    template = engines.clone_template(tmp_path / "gated-agents")
    (template / "template" / "docs" / "SETUP_GUIDE.md").write_text("# A better guide\n", encoding="utf-8")
    engines.release(template, "not-a-version")
    newcomer = Newcomer(tmp_path, template)
    before_the_tag = MAINTAINER.read_text(encoding="utf-8").partition("\n## Tag\n")[0]
    _release, generate, update = [content for info, content in blocks(before_the_tag) if info == "sh"]

    for line in command_lines(generate):
        newcomer.types(line.replace("vX.Y.Z", "v1.0.0"))
    for name, ours in (("agent_runner.py", "\n# Ours.\n"), ("README.md", "\nOurs.\n")):
        newcomer.edits(name, END, ours)
    *_, changed, _whole = [newcomer.types(line) for line in command_lines(update)]

    assert "+# A better guide" in changed and "Ours" not in changed
    assert newcomer.types("git log -1 --format=%s") == "Make it ours\n"
    assert (newcomer.folder / "README.md").read_text(encoding="utf-8").endswith("\nOurs.\n")


def test_the_readme_starts_a_repository_as_the_tutorial_does() -> None:
    (first,) = (line for line in command_lines(dict(blocks(parts()["1"]))["sh"]) if line.startswith("copier"))

    assert first in (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()
    assert shutil.which("git")
