"""`update`: the newest release as one commit, or the repository as it was and one line that says why."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_runtime.local.update import judge, landing, releases
from support import engines, interpreter, signatures, updates
from support.engines import Render
from support.environment import REPOSITORY, small_disk
from support.updates import CHECKOUT, GONE, NEW, PLAN, WORKFLOW

# The last state of the template that knew neither updates nor messages.
BEFORE = "221d31076dcb77726171a9c13656aeb8877f7231"
# With it, every released one.
LISTED = releases.parse((REPOSITORY / releases.LIST).read_text(encoding="utf-8"))
RELEASED = [BEFORE, *(each["commit"] for each in LISTED)]
OFFLINE = "https://127.0.0.1:9/gone.git"
# What the difference of a release is called that takes the environment away.
APPROVE = f"CON04@{WORKFLOW}:jobs.approve.environment"


def _update(project: Path, *words: str) -> tuple[int, dict[str, object], str]:
    done = updates.command(project, "update", "--json", *words)
    return done.returncode, json.loads(done.stdout), done.stderr


def _passes_alone(project: Path, tmp_path: Path) -> bool:
    """Whether plain `copier update` ends well, and the check that the release brings finds nothing."""
    plain = shutil.copytree(project, tmp_path / "plain", symlinks=True)
    engines.update(plain)
    return engines.run_check(plain).returncode == 0


def _kinds(report: dict[str, object]) -> dict[str, str]:
    changes = report["changes"]
    assert isinstance(changes, list)
    return {change["path"]: change["kind"] for change in changes}


@pytest.mark.parametrize("engine", ["copier", "cookiecutter"])
def test_the_newest_release_comes_as_one_commit(
    engine: str, template: Path, later: Path, render: Render, bake_once: Render, tmp_path: Path
) -> None:
    source = render() if engine == "copier" else bake_once()
    project = updates.born(source, tmp_path / "project", template, later)
    (project / "agent_runner.py").write_bytes((project / "agent_runner.py").read_bytes() + b"# Ours\n")
    (project / "services.yml").unlink()
    updates.replace(project / "README.md", "You need Python", "Ask the team first.\n\nYou need Python")
    engines.commit_all(project, "Do our work")
    before = engines.git(project, "rev-parse", "HEAD").strip()

    done = updates.command(project, "update")

    assert done.returncode == 0, done.stderr
    assert engines.git(project, "rev-parse", "HEAD^").strip() == before
    assert engines.git(project, "log", "-1", "--format=%s").strip() == "Update from the template: v1.0.0 to v1.1.0"
    assert engines.git(project, "status", "--porcelain") == ""
    assert (project / NEW).is_file()
    assert not (project / GONE).exists()
    assert not (project / "services.yml").exists()
    assert (project / "agent_runner.py").read_text(encoding="utf-8").endswith("# Ours\n")
    readme = (project / "README.md").read_text(encoding="utf-8")
    assert "Ask the team first." in readme
    assert f"Release 1.1.0 of {engines.NAME}" in readme
    assert updates.command(project, "drift").stdout == "drift: none from v1.1.0\n"
    assert updates.command(project, "update").stdout == "nothing: this is v1.1.0; the template has nothing newer\n"


def test_an_update_equals_a_fresh_repository(project: Path, later: Path, tmp_path: Path) -> None:
    assert _update(project)[0] == 0

    fresh = engines.tree(engines.run_copier(later, tmp_path / "fresh", {"agent_name": engines.NAME}))
    found = {name: entry for name, entry in engines.tree(project).items() if "__pycache__" not in name}
    assert sorted(found) == sorted(fresh)
    assert {name for name in fresh if found[name] != fresh[name]} == {"agent_runner.py"}
    assert (project / ".copier-answers.yml").read_text(encoding="utf-8").splitlines()[1] == "_commit: v1.1.0"


def test_check_shows_what_would_change_and_changes_nothing(project: Path) -> None:
    before = updates.snapshot(project)

    done = updates.command(project, "update", "--check")

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "v1.0.0 -> v1.1.0"
    assert f"  added    {NEW} (template)" in lines
    assert f"  removed  {GONE} (template)" in lines
    assert "  replaced README.md (both)" in lines
    assert "  kept     agent_runner.py (team)" in lines
    noted = lines.index("upgrade notes:")
    assert lines[noted + 1 : noted + 5] == ["  ## v1.1.0", "", "  - One module more. Nothing for you to do.", lines[-1]]
    assert lines[-1] == "checked: nothing was changed"
    assert updates.snapshot(project) == before


def test_a_branch_of_its_own_leaves_the_checkout_alone(project: Path) -> None:
    before = engines.tree(project)
    engines.git(project, "checkout", "--quiet", "--detach")

    code, report, _ = _update(project, "--branch", "template/v1.1.0")

    assert (code, report["result"]) == (0, "updated")
    assert engines.tree(project) == before
    assert engines.git(project, "status", "--porcelain") == ""
    assert engines.git(project, "rev-parse", "template/v1.1.0").strip() == report["commit"]
    assert NEW in engines.git(project, "diff", "--name-only", "HEAD", "template/v1.1.0")


def test_apply_changes_the_working_tree_alone(project: Path) -> None:
    head = engines.git(project, "rev-parse", "HEAD")

    code, report, _ = _update(project, "--apply")

    assert (code, report["result"]) == (0, "applied")
    assert engines.git(project, "rev-parse", "HEAD") == head
    assert f"A  {NEW}" in engines.git(project, "status", "--porcelain").splitlines()


def test_a_conflict_is_named_and_nothing_changes(template: Path, render: Render, tmp_path: Path) -> None:
    def edit(folder: Path) -> None:
        updates.replace(folder / "pyproject.toml", "line-length = 120", "line-length = 110")
        (folder / "docs/REVIEWER.md").unlink()

    later = updates.release_after(template, tmp_path / "later" / "gated-agents", edit)
    project = updates.born(render(), tmp_path / "project", template, later)
    updates.replace(project / "pyproject.toml", "line-length = 120", "line-length = 100")
    updates.append(project / "docs/REVIEWER.md", "\nAsk us.\n")
    engines.commit_all(project, "Do our work")
    before = updates.snapshot(project)

    code, report, said = _update(project)
    assert code == 3
    assert report["result"] == "refused"
    assert said.startswith("error: UPD11: docs/REVIEWER.md, pyproject.toml. Nothing was changed.")
    assert updates.snapshot(project) == before
    assert _update(project, "--check")[0] == 3
    assert _update(project, "--branch", "x")[0] == 3

    code, report, _ = _update(project, "--apply")
    assert (code, report["result"]) == (3, "conflict")
    status = engines.git(project, "status", "--porcelain").splitlines()
    assert "UU pyproject.toml" in status
    assert "UD docs/REVIEWER.md" in status
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    assert "<<<<<<< here\nline-length = 100" in text
    assert "line-length = 110\n>>>>>>> template now" in text


def test_newer_pins_ticks_and_line_endings_are_no_conflict(project: Path) -> None:
    path = project / WORKFLOW
    text = path.read_text(encoding="utf-8")
    assert CHECKOUT in text
    path.write_text(text.replace(CHECKOUT, f"actions/checkout@{'c' * 40} # v7.0.10"), encoding="utf-8")
    report = project / ".github/workflows/agent-report.yml"
    text = report.read_text(encoding="utf-8")
    report.write_text(text.replace(CHECKOUT, f"actions/checkout@{'a' * 40} # v6.9.9"), encoding="utf-8")
    checklist = project / "PRODUCTION_CHECKLIST.md"
    ticked = checklist.read_text(encoding="utf-8").replace("- [ ]", "- [x]")
    checklist.write_text(ticked, encoding="utf-8")
    (project / PLAN).write_bytes((project / PLAN).read_bytes().replace(b"\n", b"\r\n"))
    engines.git(project, "-c", "core.autocrlf=false", "commit", "-qam", "Do our work")

    code, found, said = _update(project)

    assert code == 0, said
    assert f"actions/checkout@{'c' * 40} # v7.0.10" in path.read_text(encoding="utf-8")
    assert f"actions/checkout@{'b' * 40} # v7.0.2" in report.read_text(encoding="utf-8")
    after = checklist.read_text(encoding="utf-8")
    assert after.count("- [x]") == ticked.count("- [x]") - 1
    assert "- [ ] **yours** A person reads what the workflow" in after
    notes = {change["path"]: change["note"] for change in found["changes"]}  # type: ignore[attr-defined]
    assert notes["PRODUCTION_CHECKLIST.md"].startswith(
        "ticked here, and reworded in the release: - [ ] **yours** Somebody reads what"
    )
    assert b"\r" not in (project / PLAN).read_bytes()


def test_code_owners_of_the_team_stay_where_the_approvers_change(project: Path) -> None:
    path = project / ".github/CODEOWNERS"
    ours = path.read_text(encoding="utf-8").replace(
        "/sdk/ @your-org", "/sdk/ @your-org @acme/sre\n\n# Ours\n/docs/ @writers\n"
    )
    path.write_text("# Ours\n" + ours + "\n# Ours\n/src/ @acme/dev", encoding="utf-8")
    engines.commit_all(project, "Name our owners")
    before = updates.snapshot(project)

    code, report, _ = _update(project, "--set", "approvers=octocat")
    assert (code, _kinds(report)[".github/CODEOWNERS"]) == (3, "conflict")  # who owns /sdk/ changed on both sides
    assert updates.snapshot(project) == before

    updates.replace(path, "/sdk/ @your-org @acme/sre", "/sdk/ @your-org")
    engines.commit_all(project, "Leave the SDK's")
    expected = path.read_text(encoding="utf-8").replace("@your-org", "@octocat") + "\n"
    code, report, _ = _update(project, "--set", "approvers=octocat")
    assert (code, _kinds(report)[".github/CODEOWNERS"]) == (0, "merged")
    assert path.read_text(encoding="utf-8") == expected


def test_an_edit_of_the_team_that_opens_the_gate_is_refused(project: Path) -> None:
    path = project / WORKFLOW
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if "actions: read" in line)
    lines[at] = lines[at].replace("actions: read", "actions: write")
    path.write_text("".join(lines), encoding="utf-8")
    engines.commit_all(project, "Open the gate")

    done = updates.command(project, "update")

    assert done.returncode == 3
    assert f"  weaker: CON06 {WORKFLOW}:{at + 1}: " in done.stdout
    assert "error: UPD12: nobody accepted" in done.stderr


def test_a_release_that_weakens_the_gate_and_its_linter_is_refused(
    template: Path, render: Render, tmp_path: Path
) -> None:
    def edit(folder: Path) -> None:
        updates.replace(folder / f"{WORKFLOW}.jinja", "    environment: agent-approval\n", "")
        expected = folder / "agent_runtime/local/linter/__init__.py"
        updates.replace(expected, "    for difference in compare(data, found):", "    for difference in []:")

    later = updates.release_after(template, tmp_path / "later" / "gated-agents", edit)
    project = updates.born(render(), tmp_path / "project", template, later)
    before = updates.snapshot(project)
    assert _passes_alone(project, tmp_path)

    done = updates.command(project, "update")

    assert done.returncode == 3
    assert f"  weaker: CON04 {WORKFLOW}:" in done.stdout
    assert "jobs.approve.environment is missing: agent-approval (the runtime here)" in done.stdout
    assert f"to accept them, add:\n    --accept {APPROVE}\n" in done.stdout
    assert "error: UPD12: nobody accepted 1 of the differences." in done.stderr
    assert updates.snapshot(project) == before

    code, report, said = _update(project, "--accept", "CON04")
    assert (code, report["error"]["code"]) == (3, "UPD22")  # type: ignore[index]
    assert said.startswith(f"error: UPD22: no difference has the name 'CON04'; type --accept {APPROVE}.")
    elsewhere = APPROVE.replace("approve", "act")
    said = _update(project, "--accept", f"{APPROVE} {elsewhere}")[2]
    assert said.startswith(f"error: UPD22: no difference has the name '{elsewhere}'. Nothing was changed.")
    assert updates.snapshot(project) == before

    code, report, _ = _update(project, "--accept", APPROVE)
    assert (code, report["result"]) == (0, "updated")
    assert [each["code"] for each in report["weaker"] if each["accepted"]] == ["CON04"]  # type: ignore[attr-defined]


def test_a_release_whose_default_opens_something_is_refused(template: Path, render: Render, tmp_path: Path) -> None:
    def edit(folder: Path) -> None:
        (folder / "docs/\x1b[2J.md").write_text("A page that clears the screen\n", encoding="utf-8")
        updates.append(folder / ".github/agent-config.yml.jinja", "break_glass: true\n")
        updates.replace(
            folder / "agent_runtime/model/config.py",
            '    audit_host: str = ""\n',
            '    audit_host: str = ""\n    break_glass: bool = False\n',
        )

    later = updates.release_after(template, tmp_path / "later" / "gated-agents", edit)
    project = updates.born(render(), tmp_path / "project", template, later)
    before = updates.snapshot(project)
    assert _passes_alone(project, tmp_path)

    done = updates.command(project, "update")

    number = len((project / ".github/agent-config.yml").read_text(encoding="utf-8").splitlines()) + 1
    assert done.returncode == 3
    assert f"weaker: UPD13 .github/agent-config.yml:{number}: break_glass is True, and was missing" in done.stdout
    assert "  added    docs/\\u{1b}[2J.md (both)\n" in done.stdout and "\x1b" not in done.stdout + done.stderr
    assert updates.snapshot(project) == before
    assert _update(project, "--accept", "UPD13@.github/agent-config.yml:break_glass")[0] == 0


def test_a_release_that_fails_its_own_check_is_refused(template: Path, render: Render, tmp_path: Path) -> None:
    def edit(folder: Path) -> None:
        updates.append(folder / "agent_runtime/local/check.py", "\nraise RuntimeError('broken release')\n")
        updates.append(folder / "pyproject.toml", "\n[broken\n")

    later = updates.release_after(template, tmp_path / "later" / "gated-agents", edit)
    project = updates.born(render(), tmp_path / "project", template, later)

    code, report, _ = _update(project)

    assert code == 3
    assert [(each["code"], each["message"]) for each in report["weaker"]] == [  # type: ignore[attr-defined]
        ("UPD17", "RuntimeError: broken release")
    ]


@pytest.mark.threat("T33")
def test_the_check_of_the_release_counts_and_gets_no_credential(
    render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = Path(shutil.copytree(render(), tmp_path / "after", symlinks=True))
    updates.append(
        after / "agent_runtime/local/check.py",
        "\nimport os\n_check = check\n"
        "def check(root):\n"
        "    seen = [name for name, value in os.environ.items() if value == 's3cret']\n"
        "    return [*_check(root), CheckProblem('CHK001', 'pyproject.toml', f'new demand {seen}', 'Meet it')]\n",
    )
    for name in ("GITHUB_TOKEN", "ACTIONS_RUNTIME_TOKEN", "AGENT_UPDATE_KEY"):
        monkeypatch.setenv(name, "s3cret")

    found = judge.judge(render(), after, is_upgrade=True)

    assert [(each.code, each.path, each.by) for each in found if each.path == "pyproject.toml"] == [
        ("CHK001", "pyproject.toml", judge.AFTER)
    ]
    assert [each.message for each in found if each.path == "pyproject.toml"] == ["new demand []. Meet it"]


def test_who_accepts_a_change_of_the_release_accepts_no_edit_of_the_team(render: Render, tmp_path: Path) -> None:
    """Not one with the same code elsewhere, and not one in the same script: the new check has names of its own."""
    after = Path(shutil.copytree(render(), tmp_path / "after", symlinks=True))
    script, approval = "python agent_runner.py execute\n", "environment: agent-approval\n"
    for path in (WORKFLOW, "agent_runtime/local/linter/expected.yml"):
        updates.replace(after / path, script, f"{script}          echo done\n")
        updates.replace(after / path, approval, "environment: of-release\n")
    of_release = [each.option for each in judge.judge(render(), after, is_upgrade=True) if each.code[:3] == "CON"]
    updates.replace(after / WORKFLOW, script, f"echo ours; {script}")
    updates.replace(after / WORKFLOW, "    environment: agent-act\n", "    environment: ours\n")
    both = [each.option for each in judge.judge(render(), after, is_upgrade=True) if each.code[:3] == "CON"]

    act, run = f"CON04@{WORKFLOW}:jobs.act.environment", f"CON33@{WORKFLOW}:jobs.act.steps[7].run"
    assert sorted(of_release) == [APPROVE, run]
    assert sorted(set(both) - set(of_release)) == [act, f"new:{act}", f"new:{run}"]


@pytest.mark.threat("T12")
def test_a_persons_settings_let_no_release_run_programs(template: Path, render: Render, tmp_path: Path) -> None:
    def edit(folder: Path) -> None:
        updates.append(folder.parent / "copier.yml", f"\n_tasks:\n  - touch {tmp_path / 'ran'}\n")

    later = updates.release_after(template, tmp_path / "later" / "gated-agents", edit)
    project = updates.born(render(), tmp_path / "project", template, later)
    settings = tmp_path / "settings.yml"
    settings.write_text("trust: [/]\n", encoding="utf-8")

    done = updates.command(project, "update", environment={"COPIER_SETTINGS_PATH": str(settings)})

    assert done.stderr.splitlines()[-1].startswith("error: UPD10: Copier: "), done.stderr
    assert not (tmp_path / "ran").exists()


def test_an_answer_changes_at_the_recorded_version(project: Path) -> None:
    code, report, said = _update(
        project,
        "--set",
        "approvers=octocat,acme/sre",
        "--set",
        "schedule_cron=5 4 * * *",
        "--set",
        "triggers=manual+schedule",
    )

    assert code == 0, said
    assert (report["from"], report["to"]) == ("v1.0.0", "v1.0.0")
    assert not (project / NEW).exists()
    assert "5 4 * * *" in (project / WORKFLOW).read_text(encoding="utf-8")
    assert "acme/sre" in (project / ".github/CODEOWNERS").read_text(encoding="utf-8")
    assert engines.git(project, "log", "-1", "--format=%s").startswith("Change the template's answers: approvers")
    assert updates.command(project, "drift").returncode == 0

    assert _update(project, "--set", "advanced=yes", "--set", "act_runner=self-hosted, deployers")[0] == 0
    assert _update(project, "--set", "advanced=no")[0] == 0
    assert updates.command(project, "drift").returncode == 0
    code, report, _ = _update(project, "--set", "approvers=octocat,acme/sre")
    assert (code, report["result"]) == (0, "nothing")


def test_back_to_the_release_before(tmp_path: Path) -> None:
    """With its workflows, its settings and its locks; not to one that is revoked, and not without a word."""
    template = tmp_path / "gated-agents"
    template.mkdir()
    updates.release_of(BEFORE, template, "v0.8.0")
    engines.commit_all(template, "A release that turned out to be bad")
    engines.git(template, "tag", "v0.9.0")
    engines.git(template, "rm", "-rq", "--", ".")
    engines.clone_template(template)
    signatures.list_releases(template, signatures.entry(template, "v0.9.0", "its gate can be bypassed"))
    # An answer stays as it is recorded, and its default is another one now.
    answers = {"agent_name": engines.NAME, "advanced": "yes", "description": "Restarts what fails"}
    project = engines.run_copier(template, tmp_path / "project", {**answers, "notify": "yes"}, vcs_ref="v1.0.0")
    updates.append(project / "agent_runner.py", "# Ours\n")
    updates.append(project / "README.md", "\n## Contact\n")
    engines.commit_all(project, "Do our work")
    before = updates.snapshot(project)

    code, report, said = _update(project, "--back")
    assert (code, report["to"], said[-1:]) == (3, "v0.8.0", "\n")
    codes = {each["code"] for each in report["weaker"]}  # type: ignore[attr-defined]
    assert {"CON02", "UPD13"} <= codes  # a workflow without its jobs that send messages, and the setting for them
    assert updates.snapshot(project) == before

    accepted = " ".join(each["accept"] for each in report["weaker"])  # type: ignore[attr-defined]
    code, report, said = _update(project, "--back", "--accept", accepted)
    assert code == 0, said
    fresh = engines.tree(engines.run_copier(template, tmp_path / "fresh", answers, vcs_ref="v0.8.0"))
    found = engines.tree(project)
    assert found.keys() - fresh.keys() == {"tests/policy.yml"}  # younger than that release, and the team's
    assert fresh.keys() <= found.keys()
    differing = {name for name in fresh if found[name] != fresh[name]}
    assert {"agent_runner.py", "README.md"} <= differing
    prepare = {f".github/actions/prepare-{job}/action.yml" for job in ("investigate", "act")}
    assert differing <= {"agent_runner.py", "README.md", "services.yml", "docs/RUNBOOK.md", *prepare}  # the team's
    assert (project / "README.md").read_text(encoding="utf-8").endswith("\n## Contact\n")
    assert "_commit: v0.8.0" in (project / ".copier-answers.yml").read_text(encoding="utf-8")
    assert engines.run_check(project).stderr == ""


@pytest.mark.parametrize("commit", RELEASED)
def test_every_released_state_can_be_updated_to_this_one(commit: str, tmp_path: Path) -> None:
    """Without a conflict, and with nothing that its check says afterwards but what somebody has to accept."""
    template = tmp_path / "gated-agents"
    template.mkdir()
    updates.release_of(commit, template, "v0.0.1")
    engines.git(template, "rm", "-rq", "--", ".")
    engines.clone_template(template)
    project = engines.run_copier(template, tmp_path / "project", {"agent_name": engines.NAME}, vcs_ref="v0.0.1")
    signers = Path(releases.SIGNERS)  # without it no signature counts, and no release is taken
    shutil.copy2(template / "template" / signers, project / signers)
    engines.commit_all(project, "Start from the template")

    done = updates.borrowed(project, "update", "--json", "--check")

    report = json.loads(done.stdout)
    assert (report["from"], report["to"]) == ("v0.0.1", "v1.0.0"), done.stderr
    assert [name for name, kind in _kinds(report).items() if kind == "conflict"] == []
    assert "replaced" in _kinds(report).values()
    assert {each["by"] for each in report["weaker"]} <= {judge.BEFORE}
    assert report["result"] == ("refused" if report["weaker"] else "checked")


Spoil = Callable[[Path], object]


def _without_commit(project: Path) -> None:
    answers = project / ".copier-answers.yml"
    updates.replace(answers, "_commit: v1.0.0\n", "")
    engines.commit_all(project, "Born from a ZIP")


def _from(source: object, project: Path) -> None:
    answers = project / ".copier-answers.yml"
    lines = answers.read_text(encoding="utf-8").splitlines()
    lines[2] = f"_src_path: {source}"
    answers.write_text("\n".join(lines) + "\n", encoding="utf-8")
    engines.commit_all(project, "Move the template")


def _without_versions(project: Path) -> None:
    template = project.parent / "untagged"
    template.mkdir()
    engines.commit_all(template, "Nobody released it")
    _from(template, project)


def _unpacked(project: Path) -> None:
    (project.parent / "unpacked").mkdir()
    _from(project.parent / "unpacked", project)


def _ignored(project: Path) -> None:
    (project / ".git/info/exclude").write_text("brand_new.py\n", encoding="utf-8")
    (project / NEW).write_text("# ours\n", encoding="utf-8")


BAD: dict[str, tuple[Spoil, tuple[str, ...], str]] = {
    "a dirty tree": (lambda project: (project / "notes.txt").write_text("", encoding="utf-8"), (), "UPD05: notes.txt"),
    "a detached head": (lambda project: engines.git(project, "checkout", "--quiet", "--detach"), (), "UPD06"),
    "no git": (lambda project: shutil.rmtree(project / ".git"), (), "UPD08"),
    "a ZIP": (_without_commit, (), "UPD02: .copier-answers.yml has no _commit"),
    "offline": (lambda project: _from(OFFLINE, project), (), f"UPD03: {OFFLINE}: git: "),
    "a template that is a ZIP": (_unpacked, (), "UPD03: "),
    "a template without versions": (_without_versions, (), "UPD04: "),
    "an unknown version": (lambda _: None, ("--to", "v9.9.9"), "UPD04"),
    "nothing to go back to": (lambda _: None, ("--back",), "UPD04"),
    "an option as a version": (lambda _: None, ("--to=--output=x",), "UPD04"),
    "another use case": (lambda _: None, ("--set", "use_case=blank"), "UPD09: use_case is service-restart"),
    "another slug": (lambda _: None, ("--set", "agent_slug=other"), "UPD09: agent_slug is "),
    "a bad answer": (lambda _: None, ("--set", "approvers=no login"), "ANS006"),
    "an unknown question": (lambda _: None, ("--set", "colour=red"), "ANS001"),
    "a question that is not asked": (lambda _: None, ("--set", "act_runner=mine"), "ANS018"),
    "a bad answer of a later version": (lambda _: None, ("--to=v1.1.0", "--set", "approvers=no login"), "UPD10"),
    "a branch that is there": (lambda _: None, ("--branch", "main"), "UPD14: main: "),
    "a branch that is none": (lambda _: None, ("--branch", "a..b"), "UPD14: a..b: "),
    "an ignored file": (_ignored, (), f"UPD15: {NEW}"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_changes_nothing(name: str, project: Path) -> None:
    spoil, words, code = BAD[name]
    spoil(project)
    before = updates.snapshot(project) if (project / ".git").exists() else engines.tree(project)

    exit_code, report, said = _update(project, *words)

    assert exit_code == 2, said
    assert said.startswith(f"error: {code}")
    assert said.count("\n") == 1
    assert (updates.snapshot(project) if (project / ".git").exists() else engines.tree(project)) == before
    assert report["error"]["code"] == code.split(":")[0]  # type: ignore[index]


def test_shallow_clones_worktrees_converted_line_endings_and_hooks(project: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    engines.git(
        tmp_path, "clone", "--quiet", "--depth=1", "--config=core.autocrlf=true", f"file://{project}", str(clone)
    )
    for hook in ("pre-commit", "commit-msg", "post-checkout", "reference-transaction", "post-index-change"):
        path = clone / ".git/hooks" / hook
        path.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        path.chmod(0o755)
    assert _update(clone)[0] == 0
    assert engines.git(clone, "-c", "core.hooksPath=/dev/null", "status", "--porcelain") == ""
    assert updates.command(clone, "drift").returncode == 0

    worktree = tmp_path / "worktree"
    engines.git(project, "worktree", "add", "--quiet", "-b", "other", str(worktree))
    assert _update(worktree)[0] == 0
    assert engines.git(worktree, "status", "--porcelain") == ""
    assert engines.git(project, "status", "--porcelain") == ""


def test_a_folder_of_a_larger_repository(template: Path, later: Path, render: Render, tmp_path: Path) -> None:
    top = tmp_path / "top"
    project = top / "agents" / "one"
    project.parent.mkdir(parents=True)
    shutil.copytree(render(), project)
    updates.replace(project / ".copier-answers.yml", str(template), str(later))
    (top / "README.md").write_text("Ours\n", encoding="utf-8")
    engines.commit_all(top, "Start")
    (top / "README.md").write_text("Ours, in work\n", encoding="utf-8")

    code, _, said = _update(project)

    assert code == 0, said
    assert engines.git(top, "status", "--porcelain") == " M README.md\n"
    changed = engines.git(top, "diff", "--name-only", "HEAD^", "HEAD").split()
    assert f"agents/one/{NEW}" in changed
    assert all(name.startswith("agents/one/") for name in changed)


def test_of_two_updates_at_once_one_waits_for_nobody(project: Path) -> None:
    lock = os.open(project / ".git", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    before = updates.snapshot(project)

    code, _, said = _update(project)
    assert (code, said[:12]) == (2, "error: UPD07")
    assert updates.snapshot(project) == before

    os.close(lock)
    assert _update(project)[0] == 0


def _is_free(project: Path) -> bool:
    """Whether no process of an update holds the lock."""
    lock = os.open(project / ".git", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(lock)


def _start(project: Path, temporary: Path) -> subprocess.Popen[str]:
    """An update that will be killed, with all that it started and did not set apart."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.Popen(
        [interpreter.python(), "-B", "agent_runner.py", "update"],
        cwd=project,
        env={**environment, **updates.PATH, **updates.NOBODY, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


@pytest.mark.long
def test_kills_leave_the_repository_as_it_was_or_updated(project: Path, tmp_path: Path) -> None:
    """Half of them at any moment; the others from when the result is about to be handed back."""
    before = updates.snapshot(project)
    whole = shutil.copytree(project, tmp_path / "whole", symlinks=True)
    started = time.monotonic()
    assert _update(whole)[0] == 0
    lasts = time.monotonic() - started
    after = engines.tree(whole)
    outcomes = []
    for number in range(int(os.environ.get("UPDATE_KILLS", "5"))):
        victim = shutil.copytree(project, tmp_path / f"victim-{number}", symlinks=True)
        process = _start(victim, tmp_path)
        assert process.stdout
        if number % 2:
            assert process.stdout.readline() == "v1.0.0 -> v1.1.0\n"
            time.sleep(random.uniform(0, 0.3))
        else:
            time.sleep(random.uniform(0, lasts))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        deadline = time.monotonic() + 60
        while not _is_free(victim):
            assert time.monotonic() < deadline
            time.sleep(0.02)

        assert engines.git(victim, "status", "--porcelain") == ""
        found = updates.snapshot(victim)
        is_whole = found["refs"] != before["refs"]
        outcomes.append(is_whole)
        assert (found["files"] == after) if is_whole else (found == before)
        assert "agent-update" not in found["git"]  # type: ignore[operator]
    print("killed", len(outcomes), "times, updated", sum(outcomes))


@pytest.fixture(scope="module")
def updated_beside(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with an update on its branch `made`, which is not checked out; tests don't change it."""
    root = Path(shutil.copytree(first, tmp_path_factory.mktemp("beside") / "project", symlinks=True))
    code, report, _ = _update(root, "--branch", "made")
    assert (code, report["commit"]) == (0, _made(root))
    return root


@pytest.fixture
def beside(updated_beside: Path, tmp_path: Path) -> Path:
    """The same, for one test."""
    return _copy(updated_beside, tmp_path / "project")


def _copy(source: Path, destination: Path) -> Path:
    shutil.copytree(source, destination, symlinks=True)
    engines.git(destination, "update-index", "-q", "--refresh")  # as the command does before it hands over
    return destination


def _made(project: Path) -> str:
    return engines.git(project, "rev-parse", "made").strip()


@pytest.mark.parametrize("done", [0, 3, 100])
@pytest.mark.parametrize("moved", [False, True])
def test_a_landing_that_a_power_cut_ended_is_ended_by_the_next_update(done: int, moved: bool, beside: Path) -> None:
    project = beside
    old, new = engines.git(project, "rev-parse", "HEAD").strip(), _made(project)
    whole = engines.tree(project)
    (project / ".git/agent-update").write_text(f"refs/heads/main\n{old}\n{new}", encoding="utf-8")
    if moved:
        engines.git(project, "update-ref", "refs/heads/main", new)
    for name in engines.git(project, "diff", "--name-only", "--diff-filter=d", old, new).split()[:done]:
        (project / name).write_text(engines.git(project, "show", f"{new}:{name}"), encoding="utf-8")

    done_now = updates.command(project, "update", *([] if moved else ["--check"]))

    assert done_now.returncode == 0, done_now.stderr
    verb = "finished" if moved else "rolled back"
    assert done_now.stderr.startswith(f"{verb} the update that was interrupted\n")
    assert engines.git(project, "rev-parse", "HEAD").strip() == (new if moved else old)
    assert engines.git(project, "status", "--porcelain") == ""
    if not moved:
        assert engines.tree(project) == whole


def test_what_git_refuses_to_check_out_takes_the_branch_back(beside: Path) -> None:
    project = beside
    (project / NEW).write_text("# ours, made meanwhile\n", encoding="utf-8")
    before = updates.snapshot(project)
    old = engines.git(project, "rev-parse", "HEAD").strip()

    landed = landing.main(
        [str(project), "refs/heads/main", old, _made(project), str(project / ".git/agent-update"), os.devnull]
    )

    assert landed == 1
    assert updates.snapshot(project) == before


def test_on_a_full_disk_the_repository_is_updated_or_as_it_was(updated_beside: Path, tmp_path: Path) -> None:
    """The command where nothing more can be written; its last step with less and more room than it needs."""
    with small_disk(tmp_path / "disk", "24m") as disk:
        there = _copy(updated_beside, disk / "project")
        before, old = updates.snapshot(there), engines.git(there, "rev-parse", "HEAD").strip()
        ballast = disk / "ballast"

        def landed(room: int) -> int:
            ballast.unlink(missing_ok=True)
            ballast.write_bytes(bytes(shutil.disk_usage(disk).free - room))
            words = [
                str(there),
                "refs/heads/main",
                old,
                _made(there),
                str(there / ".git/agent-update"),
                os.devnull,
            ]
            done = engines.run([sys.executable, "-I", landing.__file__, *words], environment=updates.NOBODY)
            assert "needed: No space left on device" in done.stderr or not done.returncode
            return done.returncode

        assert landed(0) == 1
        code, _, said = _update(there)
        assert (code, said.count("\n")) == (2, 1)
        assert "No space left on device" in said or "Out of diskspace" in said  # git has words for each way
        room = 0
        while landed(room):
            assert updates.snapshot(there) == before
            room += 200_000
        assert room > 1_000_000
        assert engines.git(there, "rev-parse", "main", "made").split() == [_made(updated_beside)] * 2
        assert engines.git(there, "status", "--porcelain") == ""
