"""Git against real repositories: over the file system, and over HTTP through git's own server."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_runtime.toolkit import git
from agent_runtime.toolkit.errors import (
    GIT_CONFLICT,
    GIT_FAILED,
    GIT_NAME,
    GIT_OVERTAKEN,
    NOT_DONE,
    OutcomeUnknown,
    ToolError,
)
from aimgentix.redact import Redactor
from support import gitserver
from support.environment import REPOSITORY
from support.gitserver import Origin

PASSWORD = "pass-word-for-tests"


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    """A repository with the versions "first" and "second" of app.json."""
    made = gitserver.create(tmp_path)
    made.commit({"app.json": "1\n2!\n3\n"}, "Second")
    return made


# Reading


def test_versions_are_listed_newest_first_and_only_those_that_changed_the_path(origin: Origin) -> None:
    second = origin.head()
    origin.commit({"other.json": "x\n"}, "Something else")
    with git.clone(origin.address, "main") as clone:
        commits = clone.changes("app.json", 5)
    assert [commit.subject for commit in commits] == ["Second", "First"]
    assert (commits[0].sha, commits[0].parents) == (second, (commits[1].sha,))
    assert abs(commits[0].time - time.time()) < 600
    assert commits[0].author == "Somebody"


def test_a_merge_counts_as_one_change_and_can_be_undone(origin: Origin) -> None:
    gitserver.git(origin.work, "checkout", "--quiet", "-b", "feature")
    (origin.work / "app.json").write_text("1\n2!\n3\n4\n5\n", encoding="utf-8")
    gitserver.git(origin.work, "commit", "--quiet", "--all", "-m", "On a branch")
    gitserver.git(origin.work, "checkout", "--quiet", "main")
    gitserver.git(origin.work, "merge", "--quiet", "--no-ff", "-m", "Merge it", "feature")
    origin.push()
    with git.clone(origin.address, "main") as clone:
        newest, before = clone.changes("app.json", 2)
        assert (newest.subject, before.subject) == ("Merge it", "Second")
        clone.push(clone.revert(newest), "main")
    assert origin.show("app.json") == "1\n2!\n3"


def test_files_are_read_at_a_commit(origin: Origin) -> None:
    origin.commit({"folder/x": "y\n"})
    (origin.work / "link").symlink_to("app.json")
    gitserver.git(origin.work, "add", "link")
    gitserver.git(origin.work, "commit", "--quiet", "-m", "A link")
    origin.push()
    with git.clone(origin.address, "main") as clone:
        first = clone.changes("app.json", 2)[1].sha
        assert clone.read(first, "app.json") == b"1\n2\n3\n"
        assert clone.read(clone.head, "app.json") == b"1\n2!\n3\n"
        assert clone.read(clone.head, "gone.json") is None
        for no_file in ("link", "folder"):
            with pytest.raises(ToolError, match="not a plain file"):
                clone.read(clone.head, no_file)


def test_a_difference_is_summed_up(origin: Origin) -> None:
    first = gitserver.git(origin.bare, "rev-parse", "main^")
    origin.commit({"app.json": "1\n", "flags.yml": "dark: true\n", "\tödd name": "x\n"})
    with git.clone(origin.address, "main") as clone:
        one = clone.compare(first, clone.head, "app.json")
        assert (one.files, one.lines) == ((("app.json", 0, 2),), ("-2", "-3"))
        assert one.summary() == "1 file, +0 -2"
        assert clone.same(first, first, "app.json")
        assert not clone.same(first, clone.head, "app.json")


def test_what_a_commit_changes_is_shown_whole_bounded_and_without_secrets(origin: Origin) -> None:
    origin.commit({"app.json": "-- 1\npassword: s3cret-s3cret\n", "\tödd name": "x\n", "long": "y\n" * 100})
    with git.clone(origin.address, "main") as clone:
        newest = clone.changes("app.json", 1)[0]
        lines = clone.patch(clone.revert(newest))
        assert "--- 1" in lines, "a removed line that looks like a file's head"
        assert "-password: [REDACTED]" in lines and "s3cret" not in "".join(lines)
        assert len(lines) == git.MAX_PATCH_LINES + 1
        assert re.fullmatch(r"\(\d+ more lines\)", lines[-1])
        assert Redactor().text("\n".join(lines)) == "\n".join(lines), "so that a plan may hold it"


# Changing


def test_undoing_adds_a_commit_and_keeps_what_came_later(origin: Origin) -> None:
    second = origin.head()
    origin.commit({"other.json": "x\n"}, "Something else")
    with git.clone(origin.address, "main") as clone:
        newest = clone.changes("app.json", 1)[0]
        made = clone.revert(newest)
        assert origin.head() == clone.head, "nothing is changed before the push"
        clone.push(made, "main")
    assert origin.head() == made
    assert (origin.show("app.json"), origin.show("other.json")) == ("1\n2\n3", "x")
    assert newest.sha == second
    assert gitserver.git(origin.bare, "log", "-1", "--format=%an <%ae>", "main") == "Agent <agent@example.invalid>"


def test_a_conflict_names_the_file_and_changes_nothing(origin: Origin) -> None:
    origin.commit({"app.json": "1\n2?\n3\n"}, "Third")
    head = origin.head()
    with git.clone(origin.address, "main") as clone:
        second = clone.changes("app.json", 2)[1]
        with pytest.raises(ToolError, match=r"is in conflict in 'app\.json'") as caught:
            clone.revert(second)
    assert caught.value.code == GIT_CONFLICT
    assert origin.head() == head


def test_a_file_is_written_and_nothing_else_changes(origin: Origin) -> None:
    (origin.work / "run.sh").write_text("#!/bin/sh\n", encoding="utf-8")
    (origin.work / "run.sh").chmod(0o755)
    origin.commit({})
    before = gitserver.git(origin.bare, "ls-tree", "-r", "main").splitlines()
    with git.clone(origin.address, "main") as clone:
        clone.push(clone.write("run.sh", b"#!/bin/sh\r\ntrue\n", "Change the script\n\nBecause."), "main")
        with pytest.raises(ToolError, match="is not on the branch"):
            clone.write("gone.sh", b"", "Add one")
    after = gitserver.git(origin.bare, "ls-tree", "-r", "main").splitlines()
    changed = set(after) - set(before)
    assert len(changed) == 1
    assert changed.pop().startswith("100755 blob ")
    assert gitserver.git(origin.bare, "cat-file", "-s", "main:run.sh") == "16", "line endings stay as they were given"


def test_what_somebody_pushed_meanwhile_is_never_overwritten(origin: Origin) -> None:
    with git.clone(origin.address, "main") as clone:
        made = clone.revert(clone.changes("app.json", 1)[0])
        theirs = origin.commit({"app.json": "fixed\n"}, "Somebody else")
        with pytest.raises(ToolError, match="somebody pushed meanwhile") as caught:
            clone.push(made, "main")
    assert caught.value.code == GIT_OVERTAKEN
    assert "token" not in caught.value.line(), "access is not what is wrong"
    assert not isinstance(caught.value, OutcomeUnknown)
    assert origin.head() == theirs


def test_what_somebody_pushed_in_the_last_moment_is_never_overwritten_either(origin: Origin) -> None:
    """Git compares before it pushes; the server compares again when it takes the commit."""
    hook = origin.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    with git.clone(origin.address, "main") as clone:
        made = clone.revert(clone.changes("app.json", 1)[0])
        theirs = gitserver.git(origin.bare, "commit-tree", "main^{tree}", "-p", "main", "-m", "Somebody else")
        hook.write_text(
            f"#!/bin/sh\nunset GIT_QUARANTINE_PATH\nprintf %s {theirs} >refs/heads/main\n", encoding="utf-8"
        )
        hook.chmod(0o755)
        with pytest.raises(ToolError) as caught:
            clone.push(made, "main")
    assert caught.value.code == GIT_OVERTAKEN
    assert origin.head() == theirs


def test_a_branch_that_can_not_be_made_is_another_problem(origin: Origin) -> None:
    gitserver.git(origin.bare, "update-ref", "refs/heads/rollback", "main")
    with git.clone(origin.address, "main") as clone, pytest.raises(ToolError) as caught:
        clone.push(clone.head, "rollback/x")
    assert caught.value.code == GIT_FAILED


CRLF = b'{\r\n  "workers": %d\r\n}\r\n'


@pytest.mark.parametrize(
    ("attributes", "form"),
    [
        ("", CRLF),
        ("* text=auto", CRLF),
        ("* text=auto eol=lf", CRLF),
        ("*.json text", CRLF),
        ("*.json text eol=crlf", CRLF),
        ("*.json eol=crlf", CRLF.replace(b"\r", b"")),
        ("*.json crlf", CRLF),
        ("*.json ident", b'{"v": "$Id: 123 $", "workers": %d}\n'),
        ("*.json working-tree-encoding=UTF-16LE", "{\u00fc}".encode("utf-16") + b"%d\x00"),
        ("*.json filter=lfs diff=lfs merge=lfs -text", b"version https://git-lfs.github.com/spec/v1\nsize %d\n"),
        ("*.json filter=evil -merge -diff", CRLF),
        ("[attr]mine text ident filter=evil\n*.json mine", CRLF),
    ],
)
def test_a_change_is_undone_byte_by_byte_whatever_the_attributes_say(
    origin: Origin, attributes: str, form: bytes
) -> None:
    work = origin.work

    def commit(number: int) -> None:
        """As it is in history: made without the attributes, which somebody added later."""
        (work / "app.json").write_bytes(form % number)
        raw = subprocess.run(
            ["git", "-C", str(work), "hash-object", "-w", "--no-filters", "app.json"], capture_output=True, check=True
        )
        gitserver.git(work, "update-index", "--cacheinfo", f"100644,{raw.stdout.decode().strip()},app.json")
        gitserver.git(work, "commit", "--quiet", "-m", f"Version {number}")

    for folder in (".", "deep/er"):
        (work / folder).mkdir(parents=True, exist_ok=True)
        (work / folder / ".gitattributes").write_text(attributes + "\n", encoding="utf-8")
    gitserver.git(work, "add", ".gitattributes", "deep")
    gitserver.git(work, "commit", "--quiet", "-m", "Attributes")
    for number in (4, 40):
        commit(number)
    origin.push()
    with git.clone(origin.address, "main") as clone:
        newest, before = clone.changes("app.json", 2)
        made = clone.revert(newest)
        assert clone.read(made, "app.json") == form % 4
        assert clone.same(made, before.sha, "app.json")
        assert clone.touched(made) == ["app.json"]


def test_every_file_that_a_commit_would_change_is_named(origin: Origin) -> None:
    origin.commit({"app.json": "x\n", "other/ödd name": "x\n", "flags.yml": None}, "Change, add and remove")
    with git.clone(origin.address, "main") as clone:
        made = clone.revert(clone.changes("app.json", 1)[0])
        assert clone.touched(made) == ["app.json", "flags.yml", "other/ödd name"]
        assert clone.touched(clone.head) == []


@pytest.mark.parametrize(
    ("name", "path", "inside"),
    [("a", "a", True), ("a/b", "a", True), ("a/b/c", "a/b", True), ("ab", "a", False), ("b/a", "a", False)],
)
def test_a_file_is_inside_a_path(name: str, path: str, inside: bool) -> None:
    assert git.is_inside(name, path) is inside


# Rollbacks are known again


def rolled_back(origin: Origin) -> str:
    """Roll app.json back on a branch of its own, and return the commit."""
    with git.clone(origin.address, "main") as clone:
        newest, before = clone.changes("app.json", 2)
        made = clone.revert(newest, restores=before.sha)
        clone.push(made, "rollback")
    return made


def merge(origin: Origin, *parents: str, tree: str = "rollback", message: str) -> None:
    """Let main be a new commit with these parents and the content of another branch."""
    options = [word for parent in parents for word in ("-p", parent)]
    made = gitserver.git(origin.bare, "commit-tree", tree + "^{tree}", *options, "-m", message)
    gitserver.git(origin.bare, "update-ref", "refs/heads/main", made)


def is_rollback(origin: Origin) -> bool:
    """Whether the newest change of app.json is a rollback."""
    with git.clone(origin.address, "main") as clone:
        return clone.restores(clone.changes("app.json", 1)[0], "app.json")


@pytest.mark.parametrize("way", ["pushed", "merged", "squashed", "title only", "rebased"])
def test_a_rollback_is_known_again_however_it_was_merged(origin: Origin, way: str) -> None:
    assert not is_rollback(origin)
    made = rolled_back(origin)
    message = gitserver.git(origin.bare, "log", "-1", "--format=%B", made)
    assert message.splitlines()[0] == 'Revert "Second"', "as git itself names it"
    assert git.RESTORES in message
    if way == "pushed":
        gitserver.git(origin.bare, "update-ref", "refs/heads/main", made)
    elif way == "merged":
        merge(origin, "main", "rollback", message="Merge pull request #7")
    elif way == "squashed":
        merge(origin, "main", message=f"Roll back (#7)\n\n* {message}\n\nCo-authored-by: Agent <agent@example.invalid>")
    elif way == "title only":
        merge(origin, "main", message="Roll back app.json (#7)")
    else:
        gitserver.git(origin.work, "pull", "--quiet", "--ff-only", origin.address, "main")
        origin.commit({"other.json": "x\n"}, "Something else")
        merge(origin, "main", message=message)
    assert origin.show("app.json") == "1\n2\n3"
    assert is_rollback(origin)


def test_what_somebody_reverted_by_hand_is_a_rollback_too(origin: Origin) -> None:
    gitserver.git(origin.work, "revert", "--no-edit", "HEAD")
    origin.push()
    assert is_rollback(origin)


@pytest.mark.parametrize(
    ("versions", "rollback"),
    [
        ("A", False),
        ("AB", False),
        ("ABC", False),
        ("ABA", True),  # B was undone
        ("ABCA", True),
        ("ABCB", True),
        ("ABAB", False),  # brought again: if it does harm, A may come back
        ("ABABA", True),
        ("ABAC", False),
        ("ABABC", True),  # B, which would come back, was undone once
        ("AB-B", True),  # taken away, and put back
        ("A-", False),
    ],
)
@pytest.mark.parametrize("path", ["service.json", "folder"])
def test_a_version_that_was_undone_is_known_by_its_content(
    origin: Origin, versions: str, rollback: bool, path: str
) -> None:
    for number, content in enumerate(versions):
        files: dict[str, str | None] = {f"{path}/x" if path == "folder" else path: None if content == "-" else content}
        origin.commit({**files, "other.json": f"{number}\n"}, "Change")
    with git.clone(origin.address, "main") as clone:
        assert clone.restores(clone.changes(path, 1)[0], path) is rollback


def test_what_brings_a_rolled_back_change_again_is_not_a_rollback(origin: Origin) -> None:
    made = rolled_back(origin)
    gitserver.git(origin.bare, "update-ref", "refs/heads/main", made)
    gitserver.git(origin.work, "pull", "--quiet", "--ff-only", origin.address, "main")
    gitserver.git(origin.work, "revert", "--no-edit", made)
    origin.push()
    assert origin.show("app.json") == "1\n2!\n3"
    assert not is_rollback(origin)


def test_a_message_alone_makes_no_rollback(origin: Origin) -> None:
    first = gitserver.git(origin.bare, "rev-parse", "main^")
    origin.commit({"app.json": "bad\n"}, f"Third\n\n{git.RESTORES}{first}")
    assert not is_rollback(origin)


def test_what_a_branch_holds_after_a_merge_is_looked_at_anew(origin: Origin) -> None:
    first = gitserver.git(origin.bare, "rev-parse", "main^")
    with pytest.raises(ToolError, match="does not hold the version of") as caught:
        git.restored_by(origin.address, "main", "app.json", first)
    assert caught.value.code == NOT_DONE
    assert origin.head() in caught.value.message
    third = origin.commit({"app.json": "1\n2\n3\n"}, "The content of the first")
    origin.commit({"other.json": "x\n"}, "Something else")
    assert git.restored_by(origin.address, "main", "app.json", first) == third


# Over HTTP


def test_over_http_a_token_reads_and_writes(origin: Origin) -> None:
    with gitserver.serve(origin, PASSWORD) as server, git.clone(server.url, "main", token=PASSWORD) as clone:
        made = clone.revert(clone.changes("app.json", 1)[0])
        clone.push(made, "main")
    assert origin.head() == made


@pytest.mark.parametrize("token", [None, "wrong-token-value"])
def test_without_the_right_token_it_fails_at_once_and_asks_nobody(origin: Origin, token: str | None) -> None:
    began = time.monotonic()
    with (
        gitserver.serve(origin, PASSWORD) as server,
        pytest.raises(ToolError) as caught,
        git.clone(server.url, "main", token=token),
    ):
        pass
    assert caught.value.code == GIT_FAILED
    assert "wrong-token-value" not in caught.value.line()
    assert time.monotonic() - began < 100, "it asked for a password"


def test_the_own_token_is_for_the_own_repository_only(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", PASSWORD)
    with gitserver.serve(origin, PASSWORD) as server:
        monkeypatch.setenv("GITHUB_SERVER_URL", server.url.rsplit("/", 1)[0])
        monkeypatch.setenv("GITHUB_REPOSITORY", "another")
        with pytest.raises(ToolError), git.clone(server.url, "main"):
            pass
        monkeypatch.setenv("GITHUB_REPOSITORY", "origin")
        with git.clone(server.url, "main") as clone:
            assert clone.head == origin.head()


def test_a_protected_branch_refuses_and_another_one_does_not(origin: Origin) -> None:
    origin.protect()
    head = origin.head()
    with gitserver.serve(origin, PASSWORD) as server, git.clone(server.url, "main", token=PASSWORD) as clone:
        made = clone.revert(clone.changes("app.json", 1)[0])
        with pytest.raises(ToolError, match=r"GH006|pre-receive hook declined"):
            clone.push(made, "main")
        clone.push(made, "rollback/x")
    assert (origin.head(), origin.head("rollback/x")) == (head, made)


def test_a_push_whose_answer_is_lost_is_looked_up(origin: Origin) -> None:
    def lose(method: str, path: str) -> int | None:
        return 0 if path.endswith("/git-receive-pack") and method == "POST" else None

    with gitserver.serve(origin, PASSWORD) as server, git.clone(server.url, "main", token=PASSWORD) as clone:
        server.after = lose
        made = clone.revert(clone.changes("app.json", 1)[0])
        clone.push(made, "main")
        assert origin.head() == made

        again = clone.write("app.json", b"another\n", "Another")  # on the old head: refused, and known to be
        with pytest.raises(ToolError) as caught:
            clone.push(again, "main")
        assert not isinstance(caught.value, OutcomeUnknown)

        server.after = lambda method, path: 0
        with pytest.raises(OutcomeUnknown, match="nobody knows"):
            clone.push(clone.revert(clone.changes("app.json", 1)[0]), "other")


def test_a_token_does_not_follow_a_redirect(origin: Origin) -> None:
    with gitserver.serve(origin, PASSWORD) as there, socket.create_server(("127.0.0.1", 0)) as listener:

        def redirect() -> None:
            connection = listener.accept()[0]
            asked = connection.recv(65536).decode().split(" ")[1]
            place = there.url.rsplit("/", 1)[0] + asked
            connection.sendall(f"HTTP/1.1 301 Moved\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
            connection.close()

        threading.Thread(target=redirect, daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/origin.git"
        with pytest.raises(ToolError), git.clone(address, "main", token=PASSWORD):
            pass
        assert there.requests == []


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/origin.git"


def test_a_server_that_says_nothing_is_given_up(silent: str) -> None:
    began = time.monotonic()
    with pytest.raises(ToolError, match=r"not done within 0\.5 s"), git.clone(silent, "main", timeout_seconds=0.5):
        pass
    assert time.monotonic() - began < 60


# Nothing of a machine, nothing of an attacker


def test_the_configuration_of_user_and_machine_is_not_read(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these would run a program, ask for a signature, or lead elsewhere."""
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $0 >> {ran}\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in ("post-checkout", "pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "pre-push"):
        (hooks / hook).symlink_to(program)
    templates = tmp_path / "templates"
    (templates / "hooks").mkdir(parents=True)
    for present in hooks.iterdir():
        (templates / "hooks" / present.name).symlink_to(program)
    evil = f"[core]\n\thooksPath = {hooks}\n\tpager = {program}\n\teditor = {program}\n[commit]\n\tgpgSign = true\n"
    evil += f"[gpg]\n\tprogram = {program}\n[init]\n\ttemplateDir = {templates}\n[user]\n\tname = Mallory\n"
    evil += f'[url "file:///nowhere/"]\n\tinsteadOf = {origin.address}\n[push]\n\tdefault = matching\n'
    (tmp_path / ".gitconfig").write_text(evil, encoding="utf-8")
    for name, value in {
        "HOME": tmp_path,
        "XDG_CONFIG_HOME": tmp_path,
        "GIT_CONFIG_GLOBAL": tmp_path / ".gitconfig",
        "GIT_TEMPLATE_DIR": templates,
        "GIT_DIR": tmp_path / "nowhere",
        "GIT_EDITOR": program,
        "GIT_ASKPASS": program,
        "GIT_SSH_COMMAND": program,
        "GIT_EXTERNAL_DIFF": program,
        "GIT_AUTHOR_NAME": "Mallory",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": program,
    }.items():
        monkeypatch.setenv(name, str(value))
    with git.clone(origin.address, "main") as clone:
        clone.push(clone.revert(clone.changes("app.json", 1)[0]), "main")
    assert not ran.exists(), ran.read_text(encoding="utf-8")
    monkeypatch.undo()
    assert gitserver.git(origin.bare, "log", "-1", "--format=%an", "main") == "Agent"


@pytest.mark.parametrize(
    "address",
    [
        "--upload-pack=touch x",
        "ext::sh -c touch% x",
        "ssh://host/x",
        "git@host:x",
        "/tmp/x",
        "file://host/x",
        "http://",
        "",
    ],
)
def test_an_address_that_is_none_never_reaches_git(address: str) -> None:
    with pytest.raises(ToolError) as caught, git.clone(address, "main"):
        pass
    assert caught.value.code == GIT_NAME


NO_BRANCHES = ["", "-x", "--all", "a..b", "a b", "x.lock", "a/", "/a", "a//b", "@{0}", "a:b", "@", "HEAD", ".a", "a/.b"]
NO_BRANCHES += ["a.", "a.lock/b", "a~1", "a^", "a?", "a*", "[a", "a\\b", "a\x7f", "a\tb", "a@{b"]
BRANCHES = ["feature#1", "release/1.x+hotfix", "trunk/Ünï", "+main", "a@b", "@a", "a{b", "x.locked", "a-", "(a)", "💥"]
BRANCHES += ["a%20b", "a,b", "user/me@example.com", "a=b", "a&b", "$a", "'a'", "_", "0"]


@pytest.mark.parametrize("branch", NO_BRANCHES)
def test_a_branch_that_is_none_never_reaches_git(origin: Origin, branch: str) -> None:
    with pytest.raises(ToolError) as caught, git.clone(origin.address, branch):
        pass
    assert caught.value.code == GIT_NAME


@pytest.mark.parametrize("branch", [*BRANCHES, *NO_BRANCHES])
def test_what_is_a_branch_is_git_s_own_rule(branch: str) -> None:
    asked = subprocess.run(["git", "check-ref-format", "--branch", branch], capture_output=True, check=False)
    assert (asked.returncode == 0) == (branch in BRANCHES) or branch in ("@", "HEAD"), "both mean another thing"


@pytest.mark.parametrize("branch", BRANCHES)
def test_every_name_that_git_takes_is_cloned_and_pushed_to(origin: Origin, branch: str) -> None:
    gitserver.git(origin.bare, "update-ref", f"refs/heads/{branch}", "main")
    with git.clone(origin.address, branch) as clone:
        made = clone.revert(clone.changes("app.json", 1)[0])
        clone.push(made, branch)
    assert origin.head(branch) == made


def test_a_name_reaches_git_as_it_is_in_any_locale(origin: Origin) -> None:
    gitserver.git(origin.bare, "update-ref", "refs/heads/trunk/Ünï", "main")
    code = "from agent_runtime.toolkit import git\nwith git.clone({!a}, 'trunk/\\xdcn\\xef') as c: print(c.head)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    environment |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment["PYTHONPATH"] = str(REPOSITORY / "template")
    done = subprocess.run(
        [sys.executable, "-c", code.format(origin.address)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == origin.head("trunk/Ünï"), done.stderr


@pytest.mark.parametrize(
    "path",
    ["", "-x", "--all", "../x", "a/../x", "/etc/passwd", "./x", "a//b", ":(top)x", "a\nb", ".git/config", "a\\b"],
)
def test_a_path_that_is_none_never_reaches_git(origin: Origin, path: str) -> None:
    with git.clone(origin.address, "main") as clone:
        for use in (lambda: clone.changes(path, 1), lambda: clone.read(clone.head, path)):
            with pytest.raises(ToolError) as caught:
                use()
            assert caught.value.code == GIT_NAME
        with pytest.raises(ToolError):
            clone.compare("--output=x", clone.head, "app.json")


def test_a_clone_is_gone_afterwards(origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    with git.clone(origin.address, "main"):
        assert list(place.iterdir())
    assert list(place.iterdir()) == []
