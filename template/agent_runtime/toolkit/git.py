"""Git as a tool: a clone of one branch in a folder that vanishes, and what a change of a configuration needs of it.

Git runs without a shell, never asks anybody anything, reads no configuration of a user or a machine, runs no hooks and
speaks only https, http and file.  Names from outside are checked before it sees them.  A token reaches it through its
environment, for the one address it is meant for.  Nothing is ever forced: what somebody else pushed meanwhile makes a
push fail.

    with git.clone(address, "main", token=http.token("git")) as clone:
        (newest,) = clone.changes("services/shop.json", 1)
        if not clone.restores(newest, "services/shop.json"):
            clone.push(clone.revert(newest), "main")

Needs git 2.31 or newer.  One module, because every command goes through the same few bounds, and who uses one of them
has to know them all.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Set, Tuple

from agent_runtime.toolkit import http, waiting
from agent_runtime.toolkit.errors import (
    ACCESS_REFUSED,
    GIT_CONFLICT,
    GIT_FAILED,
    GIT_NAME,
    GIT_OVERTAKEN,
    NOT_DONE,
    OUTCOME_UNKNOWN,
    TOKEN_REFUSED,
    OutcomeUnknown,
    Refused,
    ToolError,
)
from aimgentix.redact import Redactor

TIMEOUT_SECONDS = 120.0
MAX_FILE_BYTES = 1024 * 1024
MAX_LINES = 20  # of a difference, in a report
MAX_PATCH_LINES = 60  # of what a commit changes, in a plan
MAX_PATCH_COLUMNS = 200
# The lines of a diff before a file's own; a line of a file never begins with a letter.
_PREAMBLE = ("diff --git ", "index ")
AUTHOR = ("Agent", "agent@example.invalid")
RESTORES = "Restores-version-of: "  # and a commit, in the message of a rollback: for whoever reads the history
MAX_VERSIONS = 200  # that are looked through for what was undone before

_ADDRESS = re.compile(r"(?:https?://[\x21-\x7e]+|file:///[\x20-\x7e]+)")
# Git's own rule for a branch, `git check-ref-format --branch`.
_BRANCH = re.compile(
    r"(?!-|@\Z|HEAD\Z|.*(?:\.\.|@\{|//|/\.|\.lock(?:/|\Z)|[./]\Z))[^\x00-\x20\x7f~^:?*\[\\./][^\x00-\x20\x7f~^:?*\[\\]{0,199}"
)
_PATH = re.compile(r"[^\x00-\x1f\x7f:\\-][^\x00-\x1f\x7f\\]{0,999}")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")

# Every file is what its bytes are, whatever .gitattributes say: this is above them, and leaves only merge and diff.
_ATTRIBUTES = "* !text !crlf !eol !ident !filter !working-tree-encoding\n"

# What git says of a branch that moved on: it sees that itself, or the server sees it in the last moment.
_OVERTAKEN = re.compile(r"! \[rejected\]|cannot lock ref .* but expected ")

# What of the environment git needs: programs, proxies, certificates, a place for temporary files.
_KEPT = re.compile(r"PATH|TMPDIR|TEMP|SYSTEMROOT|SSL_CERT_(?:FILE|DIR)|GIT_SSL_CAINFO|(?:https?|all|no)_proxy", re.I)
_SETTINGS = (
    "core.askPass=",
    "core.attributesFile=" + os.devnull,
    "core.autocrlf=false",
    "core.excludesFile=" + os.devnull,
    "core.fsmonitor=false",
    "core.hooksPath=" + os.devnull,
    "core.symlinks=false",  # a link in the repository must not lead a written file out of the clone
    "commit.gpgSign=false",
    "credential.helper=",
    "gc.auto=0",
    "http.followRedirects=false",  # the token is for this address, not for where it points
    "maintenance.auto=false",
    "submodule.recurse=false",
)


@dataclass(frozen=True)
class Commit:
    """One commit of the branch.

    Arguments:
        parents: none for the first commit, more than one for a merge.
        time: when it was made, in seconds since 1970, as whoever made it says.
        author, subject: as whoever made it says; untrusted text.
    """

    sha: str
    parents: Tuple[str, ...]
    time: int
    author: str
    subject: str

    @property
    def short(self) -> str:
        """The first twelve digits, for people."""
        return self.sha[:12]


@dataclass(frozen=True)
class Difference:
    """What differs between two commits in a path.

    Arguments:
        files: name, lines added, lines removed; both numbers are None for a file that is not text.
        lines: the first lines that were added (+) or removed (-).
    """

    files: Tuple[Tuple[str, Optional[int], Optional[int]], ...]
    lines: Tuple[str, ...]

    def summary(self) -> str:
        """One line: `2 files, +3 -1`."""
        added = sum(plus or 0 for _, plus, _ in self.files)
        removed = sum(minus or 0 for _, _, minus in self.files)
        return f"{len(self.files)} file{'' if len(self.files) == 1 else 's'}, +{added} -{removed}"


class Clone:
    """A clone of one branch; `head` is its newest commit.  Made by `clone()`."""

    def __init__(self, address: str, branch: str, runner: _Git) -> None:
        self.address = address
        self.branch = branch
        self._git = runner
        self.head = runner.text("rev-parse", "--verify", "refs/remotes/origin/" + branch)

    def changes(self, path: str, limit: int) -> List[Commit]:
        """Return the newest commits of the branch that changed `path`, newest first.

        Along the branch itself: a merge counts as one change.

        Raises:
            ToolError: the path is none (TOOL10), or git fails (TOOL08).
        """
        form = "--format=%H%x1f%P%x1f%ct%x1f%an%x1f%s"
        options = ["--first-parent", "--no-show-signature", "-z", "-n", str(limit), form]
        listed = self._git.text("log", *options, self.head, "--", _path(path))
        return [_commit(entry) for entry in listed.split("\0") if entry]

    def read(self, commit: str, path: str) -> Optional[bytes]:
        """Return the content of a file at a commit, or None where there is none.

        Raises:
            ToolError: it is not a file, or larger than 1 MiB (TOOL08).
        """
        entry = self._entry(commit, path)
        if entry is None:
            return None
        size = int(self._git.text("cat-file", "-s", entry[1]))
        if size > MAX_FILE_BYTES:
            raise ToolError(GIT_FAILED, f"{path!a} has more than {MAX_FILE_BYTES} bytes")
        return self._git.run("cat-file", "blob", entry[1])

    def compare(self, old: str, new: str, path: str) -> Difference:
        """Return what changed in `path` from commit `old` to commit `new`."""
        options = ["--no-renames", "--no-ext-diff", "--no-textconv", "--no-color"]
        commits = [_sha(old), _sha(new), "--", _path(path)]
        numbers = self._git.text("diff", "--numstat", "-z", *options, *commits)
        files = [tuple(entry.split("\t", 2)) for entry in numbers.split("\0") if entry]
        shown = self._git.text("diff", "--unified=0", *options, *commits).splitlines()
        lines = [line[:200] for line in shown if line[:1] in "+-" and line[:4] not in ("+++ ", "--- ")]
        return Difference(
            files=tuple((name, _count(plus), _count(minus)) for plus, minus, name in files),
            lines=tuple(lines[:MAX_LINES]),
        )

    def same(self, one: str, other: str, path: str) -> bool:
        """Whether `path` has the same content at two commits."""
        return not self.compare(one, other, path).files

    def touched(self, commit: str) -> List[str]:
        """Return the names of all files that `commit`, made on top of the branch, changes there."""
        options = ["--name-only", "-z", "--no-renames", "--no-ext-diff"]
        return [name for name in self._git.text("diff", *options, self.head, _sha(commit)).split("\0") if name]

    def patch(self, commit: str) -> List[str]:
        """Return what `commit`, made on top of the branch, changes there, as the lines of a diff for people.

        Of a long one the beginning, and a last line that says how much is left out; secrets are replaced.
        """
        options = ["--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--unified=1"]
        shown = self._git.text("diff", *options, self.head, _sha(commit)).splitlines()
        lines = Redactor().text("\n".join(line for line in shown if not line.startswith(_PREAMBLE))).split("\n")
        rest = len(lines) - MAX_PATCH_LINES
        cut = [line[:MAX_PATCH_COLUMNS] for line in lines[:MAX_PATCH_LINES]]
        return [*cut, f"({rest} more lines)"] if rest > 0 else cut

    def restores(self, commit: Commit, path: str) -> bool:
        """Whether undoing a commit of the branch would bring back a version of `path` that was undone before.

        So it is after a rollback, whoever made it and however it was merged: what counts is the content.  A version is
        undone when the next one has the content of an older one; what brings such a version again undoes nothing.
        """
        options = ["--first-parent", "--no-show-signature", "-n", str(MAX_VERSIONS), "--format=%H"]
        versions = self._git.text("log", *options, _sha(commit.sha), "--", _path(path)).split()[::-1]
        asked = "".join(f"{version}:{path}\n" for version in versions)
        found = self._git.text("cat-file", "--batch-check=%(objectname)", data=asked.encode()).splitlines()
        contents = ["" if line.endswith(" missing") else line for line in found]
        known: Set[str] = set()
        undone: Set[str] = set()
        undoes = False
        for before, content in zip(["", *contents], contents):
            undoes = content in known and not undoes
            if undoes:
                undone.add(before)
            known.add(content)
        return len(contents) > 1 and contents[-2] in undone

    def revert(self, commit: Commit, *, restores: Optional[str] = None) -> str:
        """Make a commit that undoes `commit` on top of the branch, as `git revert` does, and return its id.

        All of it is undone, whatever files it changed; `touched()` names them.  Nothing outside the clone changes;
        `push()` does that.

        Arguments:
            restores: the commit whose version comes back; the message names it.

        Raises:
            ToolError: later commits changed the same lines (TOOL09, with the files), or git fails (TOOL08).
        """
        mainline = ["--mainline", "1"] if len(commit.parents) > 1 else []
        self._git.run("checkout", "--quiet", "--force", "--detach", self.head)
        try:
            self._git.run("revert", "--no-edit", *mainline, _sha(commit.sha))
        except ToolError:
            unmerged = self._git.text("diff", "--name-only", "--diff-filter=U", "-z").split("\0")[:-1]
            if not unmerged:
                raise
            names = ", ".join(ascii(name) for name in unmerged[:5])
            raise ToolError(
                GIT_CONFLICT,
                f"undoing {commit.short} on top of {self.head[:12]} is in conflict in {names}",
            ) from None
        made = self._git.text("rev-parse", "--verify", "HEAD")
        if restores is None:
            return made
        message = f"{self._git.text('log', '-1', '--format=%B', made)}\n\n{RESTORES}{_sha(restores)}\n"
        return self._git.text("commit-tree", made + "^{tree}", "-p", self.head, "-F", "-", data=message.encode())

    def write(self, path: str, content: bytes, message: str) -> str:
        """Make a commit on top of the branch in which the file at `path` has this content, and return its id.

        Nothing outside the clone changes; `push()` does that.

        Raises:
            ToolError: there is no such file on the branch (TOOL08).
        """
        entry = self._entry(self.head, path)
        if entry is None:
            raise ToolError(GIT_FAILED, f"{path!a} is not on the branch {self.branch}")
        blob = self._git.text("hash-object", "-w", "--stdin", data=content)
        self._git.run("read-tree", self.head)
        self._git.run("update-index", "--cacheinfo", f"{entry[0]},{blob},{path}")
        tree = self._git.text("write-tree")
        return self._git.text("commit-tree", tree, "-p", self.head, "-F", "-", data=message.encode())

    def push(self, commit: str, branch: str) -> None:
        """Let `branch` on the server be `commit`, if that adds to what is there.  Never forces.

        Raises:
            OutcomeUnknown: the push or its answer was lost, and the server can't be asked what became of it.
            ToolError: the server did not take it; nothing was changed (TOOL08; TOOL14 where the branch has moved on).
        """
        target = f"{_sha(commit)}:refs/heads/{_branch(branch)}"
        try:
            self._git.run("push", "--quiet", "--no-verify", "origin", target)
            return
        except ToolError as problem:
            refused = problem
        if _OVERTAKEN.search(refused.message):
            why = (
                f"git push: {branch} has commits on the server that the clone does not have: somebody pushed meanwhile"
            )
            raise ToolError(GIT_OVERTAKEN, why)
        try:
            there = self.remote_head(branch)
        except ToolError:
            why = f"{refused.message}; nobody knows whether {branch} is at {commit[:12]} now"
            raise OutcomeUnknown(OUTCOME_UNKNOWN, why) from None
        if there == commit:
            return
        if isinstance(refused, _TimedOut):
            raise OutcomeUnknown(OUTCOME_UNKNOWN, f"{refused.message}; it may still take effect")
        raise refused

    def remote_head(self, branch: str) -> Optional[str]:
        """Return the commit that `branch` is at on the server now, or None where it has no such branch."""
        listed = self._git.text("ls-remote", "--heads", "origin", "refs/heads/" + _branch(branch))
        return listed.split("\t")[0] or None

    def _entry(self, commit: str, path: str) -> Optional[Tuple[str, str]]:
        """Mode and id of a plain file, or None where nothing has that name."""
        listed = self._git.text("ls-tree", "-z", _sha(commit), "--", _path(path))
        if not listed:
            return None
        mode, kind, sha = listed.split("\t")[0].split(" ")
        if kind != "blob" or not mode.startswith("100"):
            raise ToolError(GIT_FAILED, f"{path!a} is not a plain file at {commit[:12]}")
        return mode, sha


def is_inside(name: str, path: str) -> bool:
    """Whether a file is `path`, or is in the folder `path`."""
    return name == path or name.startswith(path + "/")


@contextmanager
def clone(
    address: str, branch: str, *, token: Optional[str] = None, timeout_seconds: float = TIMEOUT_SECONDS
) -> Iterator[Clone]:
    """Clone one branch for the time of a block; afterwards the clone is gone.

    Arguments:
        address: https://, http:// or file:///.
        branch: its plain name, such as `main`.
        token: presented to a server over https or http; where there is none, GITHUB_TOKEN serves for this very
            repository on GitHub, and no other.
        timeout_seconds: for each call of git.

    Raises:
        ToolError: the address or branch is none (TOOL10), or it can't be cloned (TOOL08).
    """
    import tempfile  # noqa: PLC0415  imported when used

    if not _ADDRESS.fullmatch(address):
        raise ToolError(GIT_NAME, f"{ascii(address)[:200]} is not an address of a repository")
    _branch(branch)
    with tempfile.TemporaryDirectory(prefix="agent-git-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        runner = _Git(
            Path(folder),
            _environment(home, address, token or _own_token("GITHUB_SERVER_URL", address)),
            timeout_seconds,
        )
        options = ["--quiet", "--no-checkout", "--no-tags", "--single-branch", "--branch", branch]
        runner.run("clone", *options, "--", address, str(Path(folder) / "clone"))
        runner.folder = Path(folder) / "clone"
        attributes = runner.folder / ".git" / "info" / "attributes"
        attributes.parent.mkdir(exist_ok=True)
        attributes.write_text(_ATTRIBUTES, encoding="ascii")
        yield Clone(address, branch, runner)


def open_pull_request(
    api: str, repository: str, *, branch: str, base: str, title: str, body: str, token: Optional[str]
) -> int:
    """Ask on GitHub to take `branch` into `base`, and return the number of the pull request.

    Source: https://docs.github.com/en/rest/pulls/pulls#create-a-pull-request

    Arguments:
        api: such as https://api.github.com.
        repository: owner/name.
        token: presented to GitHub; where there is none, GITHUB_TOKEN serves for the job's own repository, and no other.

    Raises:
        OutcomeUnknown: it may have been opened.
        ToolError: it was not.
    """
    asked = {"title": title[:200], "head": branch, "base": base, "body": body}
    own = None if token else _own_token("GITHUB_API_URL", f"{api.rstrip('/')}/{repository}")
    address = http.under(api, f"/repos/{repository}/pulls")
    try:
        answer = http.send_once("POST", address, value=asked, token=own or token)
    except Refused as problem:
        raise ToolError(problem.code, f"{problem.message}: {_reason(problem.answer)}") from None
    except ToolError as problem:
        if own and problem.code == ACCESS_REFUSED:
            why = ": act_permissions must grant pull-requests, and the repository's settings must allow GitHub Actions "
            why += "to create pull requests"
            raise ToolError(TOKEN_REFUSED, problem.message + why) from None
        raise
    return int(answer.fields(number=int)["number"])


def _reason(answer: http.Response) -> str:
    """Why GitHub refuses a request, in its own words."""
    try:
        said = answer.json()
        parts = [said["message"], *(error.get("message", "") for error in said.get("errors", []))]
    except (ToolError, LookupError, TypeError, AttributeError):
        parts = ["no reason was given"]
    return ascii("; ".join(str(part) for part in parts if part))[1:-1][:300]


def is_merged(api: str, repository: str, number: int, *, token: Optional[str]) -> bool:
    """Whether a pull request on GitHub was merged.

    Arguments:
        token: as for `open_pull_request()`.

    Raises:
        ToolError: GitHub does not say, or it was closed without a merge (TOOL13).
    """
    address = http.under(api, f"/repos/{repository}/pulls/{number}")
    token = token or _own_token("GITHUB_API_URL", f"{api.rstrip('/')}/{repository}") or token
    found = http.get(address, token=token).fields(merged=bool, state=str)
    if found["state"] == "closed" and not found["merged"]:
        raise ToolError(NOT_DONE, f"the pull request {number} was closed without a merge")
    return bool(found["merged"])


def wait_for_merge(api: str, repository: str, number: int, *, token: Optional[str], seconds: float) -> None:
    """Wait until somebody merged a pull request on GitHub, or closed it.

    Arguments:
        token: as for `open_pull_request()`.

    Raises:
        OutcomeUnknown: GitHub does not say at the end whether somebody did.
        ToolError: nobody did in time, or it was closed (TOOL13).
    """

    def ended() -> Optional[str]:
        try:
            return "merged" if is_merged(api, repository, number, token=token) else None
        except ToolError as problem:
            if problem.code == NOT_DONE:
                return problem.message
            raise

    found, why = waiting.until_or_why(ended, seconds=seconds, interval_seconds=5)
    if why:
        said = f"nobody knows whether the pull request {number} was merged within {seconds:g} s: {why}"
        raise OutcomeUnknown(OUTCOME_UNKNOWN, said)
    if found != "merged":
        late = (
            f"the pull request {number} was not merged within {seconds:g} s, so nothing is changed on its branch yet: "
        )
        raise ToolError(NOT_DONE, found or late + "merge it or close it, as docs/RUNBOOK.md says")


def restored_by(address: str, branch: str, path: str, version: str, *, token: Optional[str] = None) -> str:
    """Look at a branch anew, and return the newest commit that changed `path`, if `version` is what it restores.

    A pull request may be squashed, rebased or edited before it is merged: then the commit that was pushed is not on the
    branch, or what it holds is not.

    Arguments:
        version: the commit whose content `path` must have.

    Raises:
        ToolError: the branch holds something else (TOOL13), or can't be cloned (TOOL08).
    """
    with clone(address, branch, token=token) as now:
        newest = now.changes(path, 1)[0]
        if not now.same(now.head, version, path):
            held = f"{branch} does not hold the version of {version} in {path}, but that of {newest.sha}"
            raise ToolError(NOT_DONE, f"{held} by {newest.author!a}: look at what was merged")
    return newest.sha


class _TimedOut(ToolError):
    """Git did not end in time and was ended."""


class _Git:
    """Runs git in `folder`."""

    def __init__(self, folder: Path, environment: Mapping[str, str], timeout_seconds: float) -> None:
        self.folder = folder
        self._environment = environment
        self._timeout_seconds = timeout_seconds

    def text(self, *arguments: str, data: Optional[bytes] = None) -> str:
        """What git prints, without the last line ending; bytes that are not UTF-8 are escaped."""
        return self.run(*arguments, data=data).decode("utf-8", "backslashreplace").rstrip("\n")

    def run(self, *arguments: str, data: Optional[bytes] = None) -> bytes:
        """What git prints.

        Raises:
            ToolError: it is not there, fails, or does not end in time (TOOL08).
        """
        import subprocess  # noqa: PLC0415  imported when used

        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        command = ["git", "--no-pager", "--literal-pathspecs", *settings, *arguments]
        try:
            process = subprocess.Popen(  # noqa: S603  an argument list without a shell; names are checked
                [word.encode("utf-8", "surrogateescape") for word in command],
                cwd=str(self.folder),
                env=dict(self._environment),
                stdin=subprocess.PIPE if data is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as problem:
            raise ToolError(GIT_FAILED, f"git can't be started: {problem.strerror}") from None
        try:
            printed, complaint = process.communicate(data, timeout=self._timeout_seconds)
        except subprocess.TimeoutExpired:
            why = f"git {arguments[0]}: not done within {self._timeout_seconds:g} s"
            raise _TimedOut(GIT_FAILED, why) from None
        finally:
            if process.poll() is None:
                _end(process)
        if process.returncode != 0:
            raise ToolError(GIT_FAILED, f"git {arguments[0]}: {_complaint(complaint)}")
        return printed


def _end(process: Any) -> None:
    """End git and the helpers that it started."""
    import signal  # noqa: PLC0415  imported when used

    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _complaint(said: bytes) -> str:
    """The line in which git says what is wrong."""
    lines = [" ".join(line.split()) for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(?:remote: )?(?:fatal|error|ERROR| !)|! ", line)] or lines[-1:]
    return ascii("; ".join(errors[:2]) or "failed without a message")[1:-1][:300]


def _environment(home: Path, address: str, token: Optional[str]) -> Dict[str, str]:
    """The whole environment of git: nothing of the user's or the machine's configuration gets through."""
    environment = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    environment.update(
        HOME=str(home),
        XDG_CONFIG_HOME=str(home),
        LC_ALL="C",
        GIT_ALLOW_PROTOCOL="https:http:file",
        GIT_ASKPASS="",
        GIT_ATTR_NOSYSTEM="1",
        GIT_CONFIG_GLOBAL=os.devnull,
        GIT_CONFIG_NOSYSTEM="1",
        GIT_CONFIG_SYSTEM=os.devnull,
        GIT_EDITOR=":",
        GIT_NO_REPLACE_OBJECTS="1",
        GIT_SEQUENCE_EDITOR=":",
        GIT_TERMINAL_PROMPT="0",
        GIT_AUTHOR_NAME=AUTHOR[0],
        GIT_AUTHOR_EMAIL=AUTHOR[1],
        GIT_COMMITTER_NAME=AUTHOR[0],
        GIT_COMMITTER_EMAIL=AUTHOR[1],
        TZ="UTC",
    )
    if token and not address.startswith("file:"):
        from base64 import b64encode  # noqa: PLC0415  imported when used

        http.check_token(token)
        # Not on the command line, where every process of the machine could read it.
        user = getattr(token, "user", "") or "x-access-token"
        basic = b64encode(f"{user}:{token}".encode()).decode()
        environment.update(
            GIT_CONFIG_COUNT="1",
            GIT_CONFIG_KEY_0=f"http.{address}.extraHeader",
            GIT_CONFIG_VALUE_0="Authorization: Basic " + basic,
        )
    return environment


def _own_token(variable: str, wanted: str) -> Optional[http.Token]:
    """The job's own token, for the repository that it belongs to, below the address in a variable of GitHub's."""
    host, repository = os.environ.get(variable, "").rstrip("/"), os.environ.get("GITHUB_REPOSITORY", "")
    own = f"{host}/{repository}"
    return http.token_of("GITHUB_TOKEN") if host and repository and wanted in (own, own + ".git") else None


def _commit(entry: str) -> Commit:
    sha, parents, moment, author, subject = entry.split("\x1f", 4)
    return Commit(_sha(sha), tuple(parents.split()), int(moment), author, subject)


def _count(text: str) -> Optional[int]:
    return int(text) if text.isdecimal() else None


def _branch(name: str) -> str:
    if not _BRANCH.fullmatch(name):
        raise ToolError(GIT_NAME, f"{ascii(name)[:200]} is not a plain name of a branch")
    return name


def _path(path: str) -> str:
    parts = path.split("/")
    if not _PATH.fullmatch(path) or not {"", ".", "..", ".git"}.isdisjoint(part.lower() for part in parts):
        raise ToolError(GIT_NAME, f"{ascii(path)[:200]} is not a path inside a repository")
    return path


def _sha(text: str) -> str:
    if not _COMMIT.fullmatch(text):
        raise ToolError(GIT_NAME, f"{ascii(text)[:80]} is not a commit")
    return text
