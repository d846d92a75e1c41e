"""Update the repositories of a fleet, each by its own `update`: whole or not at all, and judged by its own runtime.

That runtime is started only where it is byte for byte the template's; nothing else of a repository is run.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent_runtime import codes
from agent_runtime.local.linter.actions import MANIFEST, fingerprint
from agent_runtime.local.update import problems
from agent_runtime.local.update.files import File
from agent_runtime.local.update.git import GitFailed, git, line
from agent_runtime.local.update.owners import ANSWERS_FILE
from agent_runtime.local.update.repository import Repository
from agent_runtime.local.update.template import Template
from tools import teams
from tools.fleets import narrowing
from tools.fleets.repositories import Entry, Invalid, Templates, checkout
from tools.fleets.state import State

# What ends well.
GOOD = ("nothing", "checked", "updated")
_BUSY_SECONDS = 600


@dataclass(frozen=True)
class Result:
    """What became of one repository.

    Arguments:
        result: `nothing`, `checked` (a dry run), `updated`, `refused` or `error`.
        message: what a person should know about it.
    """

    name: str
    result: str
    version: str = ""
    to: str = ""
    message: str = ""

    def line(self, width: int) -> str:
        """The one line for a person."""
        versions = f"{self.version} -> {self.to}" if self.to not in ("", self.version) else self.version
        return f"{self.name:<{width}}  {self.result:<7}  " + ", ".join(filter(None, (versions, self.message)))


@dataclass(frozen=True)
class Options:
    """What is wanted.

    Arguments:
        apply: whether anything is written.
        branch: name of the new branch in each repository; empty for the branch that is checked out, or the default
            branch of an address.
        to: a version; by default the newest one.
        accepted: names of differences that are wanted; a repository that has not got one goes without it.
        bounds: of answers, to be narrowed at the recorded version; none for an upgrade.
    """

    apply: bool
    branch: str
    to: str | None
    accepted: Sequence[str]
    bounds: Mapping[str, str]


def update(entry: Entry, options: Options, templates: Templates, state: State) -> Result:
    """Update one repository, unless that is done."""
    kept = state.done(entry.name)
    if kept:
        return Result(**kept)
    until = time.monotonic() + _BUSY_SECONDS
    try:
        result = None
        while result is None or (result.message.startswith(problems.BUSY) and time.monotonic() < until):
            if result:  # what an interrupted command started may still be running, and ends first
                time.sleep(2)
            result = _branched(entry, options, state) or _checked_out(entry, options, templates, state)
    except Invalid as error:
        result = Result(entry.name, "error", message=str(error))
    except codes.AgentError as error:
        result = Result(entry.name, "error", message=error.line())
    if result.result in GOOD:  # whatever failed is tried again
        state.end(entry.name, asdict(result))
    return result


def _branched(entry: Entry, options: Options, state: State) -> Result | None:
    """The result of a repository that the interrupted command had given its branch.

    Raises:
        Invalid: the branch was there before.
    """
    if not options.apply or not options.branch or not _has_branch(entry, options.branch):
        return None
    if not state.is_begun(entry.name):
        raise Invalid(f"it has a branch {options.branch}: merge it, delete it, or choose another name")
    return Result(entry.name, "updated", message=f"branch {options.branch}, by the interrupted command")


def _checked_out(entry: Entry, options: Options, templates: Templates, state: State) -> Result:
    with checkout(entry) as root:
        return _update(entry, root, options, templates, state)


def _update(entry: Entry, root: Path, options: Options, templates: Templates, state: State) -> Result:
    repository = Repository(root)
    ours = repository.committed()
    recorded = teams.Installed(ours[ANSWERS_FILE].data if ANSWERS_FILE in ours else None)
    source = templates.of(recorded, root)
    if options.bounds:
        changed = narrowing.narrowed(options.bounds, recorded.known)
        words = [word for name, value in changed.items() for word in ("--set", f"{name}={value}")]
    else:
        version = options.to or state.version(source.source, source.newest())
        words = ["--to", version] if options.to or not source.contains(version, recorded.commit) else []
    if not words:
        return Result(entry.name, "nothing", recorded.commit)
    _require_genuine(repository, ours, source, recorded.commit)
    if options.accepted:
        found = {each["accept"] for each in _run(root, [*words, "--check"])["weaker"]}
        words += [word for name in options.accepted if name in found for word in ("--accept", name)]
    if not options.apply:
        words.append("--check")
    elif options.branch:
        words += ["--branch", options.branch]
    state.begin(entry.name)
    report = _run(root, words)
    if report["result"] == "updated" and entry.path is None:
        target = options.branch or line(root, "symbolic-ref", "--short", "HEAD")
        git(root, "push", "--quiet", "origin", f"{report['commit']}:refs/heads/{target}")
    return _result(entry.name, report, options)


def _run(root: Path, words: Sequence[str]) -> dict[str, Any]:
    """The report of the repository's own update."""
    command = [sys.executable, "-B", "-I", "agent_runtime/__main__.py", "update", "--json", *words]
    done = subprocess.run(
        command, cwd=root, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = [each for each in done.stderr.splitlines() if each.strip()]
        raise Invalid(said[-1] if said else f"its update ended with {done.returncode}") from None
    return report


def _result(name: str, report: Mapping[str, Any], options: Options) -> Result:
    error, changes = report.get("error"), report["changes"]
    weaker = dict.fromkeys(each["accept"] for each in report["weaker"] if not each["accepted"])
    if error:
        options_of = " ".join(f"--accept {shlex.quote(each)}" for each in weaker)
        words = f"{error['code']}: {error['message']}" + (f" ({options_of})" if weaker else "")
    else:
        kinds = [each["kind"] for each in changes]
        words = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
        if report["result"] == "updated":
            words += f", branch {options.branch}" if options.branch else ""
    return Result(name, report["result"], report["from"], report["to"], words)


def _has_branch(entry: Entry, branch: str) -> bool:
    if entry.path is None:
        return bool(line(Path.cwd(), "ls-remote", "--heads", "--", entry.name, f"refs/heads/{branch}"))
    if not entry.path.is_dir():
        return False  # which checkout() says
    try:
        return bool(line(entry.path, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}"))
    except GitFailed:
        return False


def _require_genuine(repository: Repository, ours: Mapping[str, File], source: Template, version: str) -> None:
    """Refuse a repository whose runtime is not the template's, before it is started.

    Raises:
        Invalid: a file differs, or is not the template's.
        BadInput: something is not committed.
    """
    repository.require_clean()
    try:
        manifest = json.loads(source.ask("show", f"{source.resolve(version)}:template/{MANIFEST}"))
        known = {MANIFEST: None, **manifest["files"]}
    except (GitFailed, ValueError, KeyError, TypeError):
        raise Invalid(f"{version} has no list of its files, so nobody knows whether its runtime was edited") from None
    for name, file in ours.items():
        is_code = name.startswith(("agent_runtime/", "sdk/")) and name != MANIFEST
        if is_code and (file.mode != "100644" or known.get(name) != fingerprint(file.data)):
            raise Invalid(f"{name} is not as the template has it: its update is not started; see drift")
