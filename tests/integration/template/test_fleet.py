"""`tools/fleet.py`: how many repositories stand, and their updates, one killed and resumed."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from agent_runtime.codes import BadInput
from agent_runtime.local.linter import actions
from agent_runtime.local.update import template as template_of
from agent_runtime.local.update.repository import Repository
from support import engines, interpreter, settings_world, signatures, updates
from support.engines import Render
from support.environment import REPOSITORY
from support.samples import blocks, command_lines
from tools import teams
from tools.fleets import narrowing, status, update
from tools.fleets.repositories import Entry, Invalid, Templates
from tools.fleets.state import State

PAGE = REPOSITORY / "docs" / "how-to" / "fleet.md"
PLAN = "agent_runtime/model/plan.py"
UNREAD = "GitHub's settings are not read, --github reads them"
WORKFLOW = ".github/workflows/agent-investigate-act.yml"
LOOK = update.Options(apply=False, branch="", to=None, accepted=(), bounds={})


@pytest.fixture(scope="module")
def later(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template one release later."""
    folder = tmp_path_factory.mktemp("later") / "gated-agents"
    return updates.release_after(template, folder, lambda here: updates.append(here / PLAN, "\n# Release 1.1.0\n"))


@pytest.fixture
def behind(template: Path, later: Path, render: Render, tmp_path: Path) -> Path:
    """A repository of release 1.0.0 that finds the later one."""
    return updates.born(render(approvers="octocat, hubot, acme/sre"), tmp_path / "behind", template, later)


def command(*words: str) -> list[str]:
    return [interpreter.python(), "-B", str(REPOSITORY / "tools" / "fleet.py"), *words]


def fleet(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return engines.run(command(*words), cwd=folder, environment={**updates.NOBODY, **environment})


def listed(folder: Path, *names: str) -> Path:
    file = folder / "fleet.txt"
    file.write_text("# Ours\n\n" + "".join(f"{name}  # somebody's\n" for name in names), encoding="utf-8")
    return file


def branches(repository: Path) -> list[str]:
    return engines.git(repository, "for-each-ref", "--format=%(refname:short)", "refs/heads").split()


def typed(text: str) -> list[list[str]]:
    """The arguments of each command on the page."""
    lines = [shlex.split(line) for info, part in blocks(text) if info == "sh" for line in command_lines(part)]
    assert all(words[:2] == [".venv/bin/python", "tools/fleet.py"] for words in lines)
    return [words[2:] for words in lines]


def test_the_commands_of_the_page(behind: Path, later: Path, tmp_path: Path) -> None:
    """One repository is behind, one was edited and has a revoked release, one is not there."""
    edited = Path(shutil.copytree(behind, tmp_path / "edited", symlinks=True))
    trusted = ["--template", str(later), "--template", str(tmp_path / "revoking")]
    revoking = Path(shutil.copytree(later, tmp_path / "revoking", symlinks=True))
    signatures.list_releases(revoking, signatures.entry(revoking, "v1.0.0", "its gate can be bypassed"))
    updates.replace(edited / ".copier-answers.yml", str(later), str(revoking))
    updates.append(edited / "agent_runtime" / "cli.py", f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    workflow = edited / WORKFLOW
    workflow.write_text(workflow.read_text(encoding="utf-8").replace("environment: agent-approval\n", "# \n"), "utf-8")
    engines.commit_all(edited, "Ours")
    listed(tmp_path, "behind", "edited", "nowhere")
    text = PAGE.read_text(encoding="utf-8")
    (bounds,) = (content for info, content in blocks(text) if info == "yaml")
    (tmp_path / "defaults.yml").write_text(bounds, encoding="utf-8")
    look_at, _, look, _, narrow = typed(text)
    before = [updates.snapshot(project) for project in (behind, edited)]

    done = fleet(tmp_path, *look_at, *trusted)
    lines = [line.split(None, 2) for line in done.stdout.splitlines()]
    assert done.returncode == 3
    assert [line[:2] for line in lines] == [["behind", "behind"], ["edited", "open"], ["nowhere", "error"]]
    assert lines[0][2].startswith("v1.0.0 -> v1.1.0, ") and "open questions" in lines[0][2]
    assert "revoked: its gate can be bypassed" in lines[1][2]
    assert f"drift: {WORKFLOW} agent_runtime/cli.py, check: " in lines[1][2] and "CHK004" in lines[1][2]
    assert lines[2][2].startswith("UPD08: ")
    assert done.stderr == f"3 repositories: 0 ok, 1 behind, 1 open, 1 error; {UNREAD}\n"

    done = fleet(tmp_path, *look, *trusted)
    lines = [line.split(None, 2) for line in done.stdout.splitlines()]
    assert done.returncode == 3
    assert lines[0] == ["behind", "checked", "v1.0.0 -> v1.1.0, 3 replaced"]
    assert lines[1] == [
        "edited",
        "error",
        "agent_runtime/cli.py is not as the template has it: its update is not started; see drift",
    ]
    assert lines[2][1] == "error"
    assert [updates.snapshot(project) for project in (behind, edited)] == before

    listed(tmp_path, "behind")
    done = fleet(tmp_path, *narrow, *trusted, "--in-place", "--accept", "CON04@of-another-repository")
    assert (done.returncode, done.stdout) == (0, "behind  updated  v1.0.0, 3 replaced\n"), done.stderr
    answers = (behind / ".copier-answers.yml").read_text(encoding="utf-8")
    assert "\napproval_ttl_minutes: '30'\n" in answers and "\napprovers: octocat, hubot\n" in answers
    assert engines.git(behind, "status", "--porcelain") == ""
    assert engines.git(behind, "rev-list", "--count", "main").strip() == "2"
    again = fleet(tmp_path, *narrow, *trusted)
    assert (again.returncode, again.stdout) == (0, "behind  nothing  v1.0.0\n")
    assert not (tmp_path / "ran").exists(), "code that somebody edited was run"


def test_what_github_settings_leave_open_is_in_the_line(template: Path, render: Render, tmp_path: Path) -> None:
    """The doctor of the repository's release looks, from the template, and asks with GET only."""
    project = updates.committed(render(**settings_world.ANSWERS), tmp_path / "closed")
    spy = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    listed(tmp_path, "closed")
    words = [*typed(PAGE.read_text(encoding="utf-8"))[1], "--template", str(template)]

    done = fleet(tmp_path, *words, GH_TOKEN="", GITHUB_TOKEN="")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: SET001: ")

    with settings_world.fresh() as github:
        clone = settings_world.Clone(project, github)
        clone.setup()
        settings_world.close_by_hand(github)
        github.requests.clear()
        done = fleet(tmp_path, *words, **clone.environ())
        assert (done.returncode, done.stderr) == (0, "1 repositories: 1 ok, 0 behind, 0 open, 0 error\n"), done.stdout
        assert {method for method, _ in github.requests} == {"GET"}

        del github.environments["agent-approval"]
        github.administrator = False
        updates.append(project / "agent_runtime" / "local" / "doctor.py", spy)
        engines.commit_all(project, "Ours")
        done = fleet(tmp_path, *words, "--json", **clone.environ())
        (found,) = json.loads(done.stdout)
        assert (done.returncode, found["state"]) == (3, "open")
        unseen = ["secrets?", "token-permissions?", "pinned-actions?", "execution-protections?", "kill-switch?"]
        assert found["settings"] == ["gate-environment", *unseen]

        github.token = "another"
        assert "doctor: SET001, " in fleet(tmp_path, *words, **clone.environ()).stdout
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("entry", "repository"),
    [
        ("git@github.com:acme/key-rotation.git", "acme/key-rotation"),
        ("https://github.com/acme/key-rotation", "acme/key-rotation"),
        ("https://git.example.com/acme/key-rotation", ""),
        ("../key-rotation", ""),
    ],
)
def test_an_address_at_github_says_which_repository_is_meant(entry: str, repository: str) -> None:
    assert status.repository_of(entry) == repository


def test_a_revoked_release_alone_is_open() -> None:
    assert (
        status.Status("ours", version="v1.0.0", newest="v1.0.0", revoked="its gate can be bypassed").state
        == status.OPEN
    )
    assert (status.Status("ours").state, status.Status("ours", behind=True).state) == (
        status.OK,
        status.BEHIND,
    )


def test_an_update_that_is_killed_goes_on(behind: Path, later: Path, tmp_path: Path) -> None:
    """One repository is done, one is half-way, and the last one, which has an address, is not begun."""
    shutil.copytree(behind, tmp_path / "second", symlinks=True)
    engines.git(tmp_path, "clone", "--quiet", "--bare", str(behind), "third.git")
    address = (tmp_path / "third.git").as_uri()
    state = listed(tmp_path, "behind", "second", address).with_name("fleet.txt.state")
    words = [*typed(PAGE.read_text(encoding="utf-8"))[3], "--jobs", "1", "--template", str(later)]
    before = updates.snapshot(behind)

    started = subprocess.Popen(
        command(*words), cwd=tmp_path, env={**os.environ, **updates.NOBODY}, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and (
        not state.exists() or "second" not in json.loads(state.read_text())["begun"]
    ):
        time.sleep(0.05)
    refused = fleet(tmp_path, *words)
    started.send_signal(signal.SIGKILL)
    started.wait()
    kept = json.loads(state.read_text(encoding="utf-8"))

    assert (refused.returncode, refused.stderr) == (2, "error: another update of fleet.txt is running\n")
    assert "behind" in kept["done"] and set(kept["done"]) < set(kept["begun"])
    other = fleet(tmp_path, *words, "--accept", "CON01")
    assert other.returncode == 2 and "fleet.txt.state is of an update with other options" in other.stderr
    first = engines.git(behind, "rev-parse", "agent-update")

    done = fleet(tmp_path, *words)

    assert (done.returncode, done.stderr) == (0, "3 repositories: 3 without a problem, 0 with one\n")
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["updated"] * 3
    assert not state.exists()
    assert updates.snapshot(behind)["files"] == before["files"]
    assert engines.git(behind, "rev-parse", "agent-update") == first, "what was done is not done again"
    again = fleet(tmp_path, *words).stdout.splitlines()
    assert [line.partition("  ")[2].strip() for line in again] == [
        "error    it has a branch agent-update: merge it, delete it, or choose another name"
    ] * 3
    for repository in (behind, tmp_path / "second", tmp_path / "third.git"):
        assert branches(repository) == ["agent-update", "main"]
        assert engines.git(repository, "rev-list", "--count", "main..agent-update").strip() == "1"
        assert "Release 1.1.0" in engines.git(repository, "show", f"agent-update:{PLAN}")


def test_the_code_of_a_template_that_nobody_trusts_is_not_run(behind: Path, later: Path, tmp_path: Path) -> None:
    """A repository names the template that its check and runtime are taken from: its own, or one that it carries."""
    own = Path(shutil.copytree(later, tmp_path / "own", symlinks=True))
    spy = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    for name in ("local/check.py", "cli.py"):
        updates.append(own / "template" / "agent_runtime" / name, spy)
    engines.release(own, "v1.2.0")
    carried = "https://github.com/acme/gated-agents"
    for name, source in (("elsewhere", str(own)), ("inside", carried)):
        project = Path(shutil.copytree(behind, tmp_path / name, symlinks=True))
        updates.replace(project / ".copier-answers.yml", str(later), source)
        updates.replace(project / ".copier-answers.yml", "v1.0.0", "v1.2.0")
        shutil.copytree(own / "template" / "agent_runtime", project / "agent_runtime", dirs_exist_ok=True)
        engines.commit_all(project, "Ours")
    engines.git(tmp_path, "clone", "--quiet", "--bare", str(own), str(tmp_path / "inside" / carried))
    engines.commit_all(tmp_path / "inside", "A template")
    listed(tmp_path, "elsewhere", "inside")
    trusted = ["--template", str(later), "--template", carried]

    for words in (["status"], ["update", "--apply"]):
        done = fleet(tmp_path, *words, "--repos", "fleet.txt", *trusted)
        assert done.returncode == 3
        assert [line.split(None, 2)[1] for line in done.stdout.splitlines()] == ["error"] * 2
        assert done.stdout.count("which is not this template; --template takes it as one") == 2
    assert not (tmp_path / "ran").exists()


def test_the_answers_of_every_release_are_read() -> None:
    """This checkout's release asks more than an older one, or not all of it any more; a wrong answer stays wrong."""
    kept = (REPOSITORY / "rendered" / "blank" / ".copier-answers.yml").read_text(encoding="utf-8")
    text = f"_commit: v1.0.0\n_src_path: gh:acme/gated-agents\ncolour: red\n{kept}"
    assert "\nnotify: " in text
    older = re.sub(r"\nnotify: .*", "", text).encode()
    assert teams.Installed(older).commit == "v1.0.0"
    for broken, code in ((older + b"approvers: '-'\n", "ANS006"), (older.replace(b"_commit", b"_x"), "UPD02")):
        with pytest.raises(BadInput) as caught:
            teams.Installed(broken)
        assert caught.value.code == code


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/acme/gated-agents",
        "https://github.com/acme/gated-agents.git",
        "git+https://github.com/acme/gated-agents.git",
        "git@github.com:acme/gated-agents.git",
        "ssh://git@github.com/acme/gated-agents/",
        "gh:acme/gated-agents",
    ],
)
def test_one_template_has_many_addresses(address: str, tmp_path: Path) -> None:
    assert teams.canonical(address, tmp_path) == "https://github.com/acme/gated-agents"
    assert teams.canonical(f"{address}-2", tmp_path) != "https://github.com/acme/gated-agents"
    assert teams.canonical("x" * 5000, tmp_path) == "x" * 5000


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("investigate_oidc: true", "investigate_oidc: 'yes' opens something"),
        ('audit_host: ""', "audit_host: '' opens something"),
        ("approvals: 2", "approvals: no question has this name"),
        ("gate_runner: self-hosted", "gate_runner: no answer to it is narrower than another one"),
        ("approval_ttl_minutes: an hour", "ANS009: approval_ttl_minutes: "),
        ("approvers: [octocat, octocat]", "ANS006: approvers: "),
        ("- approvers", "has no answers"),
        ("approvers: [a", "defaults.yml:"),
        ("auto_approval: no", "defaults.yml:1: no without quotes"),
    ],
)
def test_defaults_that_could_open_something_are_refused(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "defaults.yml").write_text(line + "\n", encoding="utf-8")

    with pytest.raises(Invalid, match=re.escape(said)):
        narrowing.read(tmp_path / "defaults.yml")


def test_they_are_refused_before_anything_begins(tmp_path: Path) -> None:
    (tmp_path / "defaults.yml").write_text('auto_approval: "yes"\n', encoding="utf-8")
    listed(tmp_path, "nowhere")

    done = fleet(tmp_path, "update", "--repos", "fleet.txt", "--defaults", "defaults.yml", "--apply")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: defaults.yml: auto_approval: 'yes' opens something, and defaults may only narrow\n"


KNOWN = {
    "approvers": "Octocat, hubot",
    "approval_ttl_minutes": "60",
    "act_permissions": "issues, contents",
    "triggers": "manual+alert",
    "auto_approval": "yes",
    "advanced": "no",
}


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"approvers": "octocat, somebody"}, {"approvers": "Octocat"}),
        ({"approvers": "hubot,octocat,third"}, {}),
        ({"approvers": "HUBOT"}, {"approvers": "hubot"}),
        ({"approval_ttl_minutes": "30"}, {"approval_ttl_minutes": "30"}),
        ({"approval_ttl_minutes": "90"}, {}),
        ({"act_permissions": ""}, {"act_permissions": ""}),
        ({"act_permissions": "contents, issues, checks"}, {}),
        ({"triggers": "manual+schedule"}, {"triggers": "manual"}),
        ({"auto_approval": "no"}, {"auto_approval": "no"}),
        ({"act_timeout_minutes": "45"}, {}),
        ({"act_timeout_minutes": "20"}, {"act_timeout_minutes": "20", "advanced": "yes"}),
        ({"audit_host": "audit.example.com"}, {"audit_host": "audit.example.com", "advanced": "yes"}),
    ],
)
def test_bounds_only_ever_narrow(bounds: dict[str, str], expected: dict[str, str]) -> None:
    assert narrowing.narrowed(bounds, KNOWN) == expected
    assert narrowing.narrowed(bounds, {**KNOWN, **expected}) == {}


@pytest.mark.parametrize(
    ("bounds", "known"),
    [
        ({"approvers": "somebody"}, KNOWN),
        ({"audit_host": "audit.example.com"}, {**KNOWN, "advanced": "yes", "audit_host": "audit.example.org"}),
    ],
)
def test_a_repository_that_is_not_within_its_bounds_in_any_way_is_named(
    bounds: dict[str, str], known: dict[str, str]
) -> None:
    with pytest.raises(Invalid, match=f"{next(iter(bounds))}: .*: neither is narrower"):
        narrowing.narrowed(bounds, known)


def test_a_bound_on_what_a_release_does_not_ask_is_named() -> None:
    with pytest.raises(Invalid, match="act_timeout_minutes: its release does not ask this; update it first"):
        narrowing.narrowed({"act_timeout_minutes": "20"}, {**KNOWN, "advanced": "yes"})


def test_a_runtime_is_started_only_where_it_is_the_templates(tmp_path: Path) -> None:
    """Its own manifest says nothing about it; that of the template names each of its files."""
    ours, theirs, carried = tmp_path / "ours", tmp_path / "theirs", "agent_runtime/cli.py"
    listed = json.dumps({"files": {carried: actions.fingerprint(b"")}})
    for name, text in ((carried, ""), (actions.MANIFEST, listed)):
        for folder in (ours, theirs / "template"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    engines.commit_all(theirs, "Release")
    engines.git(theirs, "tag", "v1.0.0")

    def start() -> None:
        engines.commit_all(ours, "Ours")
        with template_of.opened(teams.Origin(str(theirs)), ours) as source:
            update._require_genuine(Repository(ours), Repository(ours).committed(), source, "v1.0.0")

    (ours / "agent_runner.py").write_text("# the team's\n", encoding="utf-8")
    start()
    (ours / actions.MANIFEST).write_text(listed.replace("cli.py", "more.py"), encoding="utf-8")
    for name in ("agent_runtime/more.py", "sdk/aimgentix/more.py"):
        (ours / name).parent.mkdir(parents=True, exist_ok=True)
        (ours / name).touch()
        with pytest.raises(Invalid, match=f"{name} is not as the template has it"):
            start()
        (ours / name).unlink()
    (ours / carried).write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(Invalid, match=f"{carried} is not as the template has it"):
        start()


def test_what_failed_is_tried_again_and_what_ended_well_is_not(tmp_path: Path) -> None:
    state = State(tmp_path / "state", {"to": None})
    with Templates([]) as templates:
        assert update.update(Entry("x", tmp_path / "nowhere"), LOOK, templates, state).result == "error"
        assert state.done("x") is None
        state.end("x", asdict(update.Result("x", "nothing", "v1.0.0")))
        assert update.update(Entry("x", tmp_path / "nowhere"), LOOK, templates, state).result == "nothing"


def test_every_repository_gets_the_version_that_was_the_newest_when_the_update_began(tmp_path: Path) -> None:
    file = tmp_path / "state"
    assert State(file, {}).version("gh:acme/gated-agents", "v1.1.0") == "v1.1.0"
    assert State(file, {}).version("gh:acme/gated-agents", "v1.2.0") == "v1.1.0", "the same command goes on"
    assert State(file, {}).version("gh:acme/other", "v1.2.0") == "v1.2.0"
    for text in ("", "[]", '{"wanted": {}}', '{"wanted": {}, "versions": {}, "begun": []}'):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(Invalid, match="remove it to begin anew"):
            State(file, {})


def test_whatever_somebody_has_to_look_at_leaves_a_repository_open() -> None:
    for found in ({"drift": ["cli.py"]}, {"problems": ["CHK004"]}, {"revoked": "its gate can be bypassed"}):
        assert status.Status("x", behind=True, **found).state == "open"
    assert status.Status("x", behind=True, questions=9).state == "behind"
    assert status.Status("x", drift=["cli.py"], error="UPD08").state == "error"


def test_a_list_that_is_wrong_is_named_in_one_line(tmp_path: Path) -> None:
    for text, said in (
        ("# nobody\n", "fleet.txt names no repository"),
        ("one\none\n", "fleet.txt: one is there twice"),
        (None, "fleet.txt can't be read"),
    ):
        (tmp_path / "fleet.txt").unlink(missing_ok=True)
        if text:
            (tmp_path / "fleet.txt").write_text(text, encoding="utf-8")
        done = fleet(tmp_path, "status", "--repos", "fleet.txt")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: {said}") and done.stderr.count("\n") == 1

    listed(tmp_path, "nowhere")
    done = fleet(tmp_path, "status", "--repos", "fleet.txt", "--json")
    (found,) = json.loads(done.stdout)
    assert (done.returncode, found["name"], found["state"]) == (3, "nowhere", "error")


def test_on_a_terminal_it_counts(tmp_path: Path) -> None:
    listed(tmp_path, "nowhere")
    shown, terminal = pty.openpty()
    words = ["status", "--repos", "fleet.txt"]

    subprocess.run(command(*words), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=terminal, check=False)

    os.close(terminal)
    said = os.read(shown, 10_000).decode()
    os.close(shown)
    assert said.startswith("\r\x1b[K1 of 1  nowhere\r\x1b[K")
    assert said.endswith("1 repositories: 0 ok, 0 behind, 0 open, 1 error; " + UNREAD + "\r\n")
