"""Propose an update on GitHub: the three jobs of agent-update.yml that are not the making of it.

`find` says which release there is; `pull_request` and `issue` take what the job between made.  That job ran code of
the release, so its patch and its report are data here: the patch is compared with the release, and judged again.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Sequence, TextIO
from urllib.parse import quote

from agent_runtime import codes
from agent_runtime.github import archive, outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.github.transport import (
    DEFAULT_API_URL,
    HTTP_UNPROCESSABLE,
    NotAnswered,
    Transport,
    field,
    mapping,
)
from agent_runtime.local.linter.actions import MANIFEST
from agent_runtime.local.settings import access
from agent_runtime.local.update import judge, patch, problems, proposal_pages, releases, template
from agent_runtime.local.update.git import git
from agent_runtime.local.update.owners import ANSWERS_FILE
from agent_runtime.local.update.repository import Repository
from agent_runtime.model import names
from agent_runtime.text.escape import visible
from agent_runtime.text.strict_json import strict_json

# Of the artifact that holds an update.
PATCH, REPORT = "update.patch", "report.json"


class Opened(NamedTuple):
    """The repository, the template, and a folder for a while."""

    repository: Repository
    source: template.Template
    recorded: template.Recorded
    work: Path


@contextmanager
def opened(root: Path) -> Iterator[Opened]:
    """Open both for a block."""
    repository = Repository(root)
    ours = repository.committed()
    recorded = template.Recorded(ours[ANSWERS_FILE].data if ANSWERS_FILE in ours else None)
    with template.opened(recorded, root) as source, tempfile.TemporaryDirectory() as folder:
        yield Opened(repository, source, recorded, Path(folder))


def _examined(here: Opened, version: str) -> proposal_pages.Release:
    """The release, after its examination.

    Raises:
        GateRefused: it is revoked, or not signed.
        BadInput: the template has no such version.
    """
    source, current = here.source, here.recorded.commit
    if not template.is_version(version):
        raise codes.BadInput(problems.NO_VERSION, f"{visible(version, 80)} is not the version of a release")
    signers = here.repository.committed().get(releases.SIGNERS)
    remarks = list(releases.examine(source, current, version, signers, here.work))
    noted = releases.notes(source, current, version)
    return proposal_pages.Release(current, version, source.resolve(version), noted, remarks)


def find(root: Path, wanted: str, environ: Mapping[str, str], out: TextIO) -> int:
    """Say which release is to be proposed, as the output `version`; none where that is nothing."""
    with opened(root) as here:
        version, current = wanted or here.source.newest(), here.recorded.commit
        if not wanted and (not template.is_version(version) or here.source.contains(version, current)):
            return _found(environ, out, "", f"nothing: this is {current}; the template has no newer release")
        try:
            release = _examined(here, version)
        except codes.GateRefused as refused:
            if wanted or refused.code != problems.REVOKED:
                raise
            return _found(environ, out, "", f"nothing: {refused.message}; it is revoked")
    branch = proposal_pages.branch_of(version)
    if GitHubApi.from_environment(environ).reference_exists(_name(environ), f"refs/heads/{branch}"):
        return _found(
            environ, out, "", f"nothing: {version} is proposed already; without its branch {branch} it is again"
        )
    return _found(environ, out, version, release.title)


def _found(environ: Mapping[str, str], out: TextIO, version: str, words: str) -> int:
    outputs.write_outputs(environ, {"version": version})
    print(visible(words), file=out)
    return codes.EXIT_OK


class Proposal(NamedTuple):
    """What can be pushed, and what people read of it."""

    commit: str
    title: str
    body: str


def checked(here: Opened, version: str, accepted: Sequence[str], files: Mapping[str, bytes], actor: str) -> Proposal:
    """Compare a patch with the release, and judge what it makes.

    Arguments:
        files: of the artifact.
        actor: who started the run, and accepted what is weaker.

    Raises:
        GateRefused: it is not an update to this release, or weaker than somebody accepted.
    """
    release, repository = _examined(here, version), here.repository
    commit = patch.apply(repository, files.get(PATCH, b""), release.title + "\n", here.work)
    touched = patch.examine(repository, commit, here.source, version)
    tree = here.work / "tree"
    repository.export(commit, tree, here.work)
    weaker = list(judge.by_installed(repository.root, tree, is_upgrade=True))
    refused = sorted({each.option for each in weaker} - set(accepted))
    if refused:
        raise codes.GateRefused(problems.WEAKER, f"nobody accepted {', '.join(refused)} when this run was started")
    digest = hashlib.sha256((tree / MANIFEST).read_bytes()).hexdigest()
    body = proposal_pages.pull_request(release, weaker, touched, _report(files), digest=digest, actor=actor)
    return Proposal(commit, release.title, body)


def pull_request(root: Path, version: str, accepted: Sequence[str], environ: Mapping[str, str], out: TextIO) -> int:
    """Push what was made, once it is checked, and open a pull request.

    Raises:
        GateRefused: see `checked()`; nothing is pushed.
    """
    files, name, token = _artifact(environ), _name(environ), environ.get("UPDATE_TOKEN", "")
    branch, base = proposal_pages.branch_of(version), GitHubApi.from_environment(environ).default_branch(name)
    with opened(root) as here:
        proposal = checked(here, version, accepted, files, environ.get("GITHUB_TRIGGERING_ACTOR") or "somebody")
        _push(here.repository, proposal.commit, branch, environ, token)
    http = Transport(environ.get("GITHUB_API_URL") or DEFAULT_API_URL, token)
    path = f"/repos/{name}/pulls"
    older = _older(http.pages(path, None, filters={"state": "open"}), version)
    body = proposal.body + (f"\nReplaces {', '.join(f'#{number}' for number in older)}.\n" if older else "")
    body += _closes(environ)
    asked = {"title": proposal.title, "body": body, "head": branch, "base": base}
    try:
        number = http.send("POST", path, asked)["number"]
    except NotAnswered as problem:
        if problem.status != HTTP_UNPROCESSABLE or "already exists" not in problem.said:
            raise
        print(f"left: the pull request of {branch} is there already", file=out)
        return codes.EXIT_OK
    for each in older:
        http.send("PATCH", f"{path}/{each}", {"state": "closed"})
    outputs.write_summary(environ, f"# Pull request #{number}\n\n{body}")
    print(f"opened: pull request #{number} of {branch}", *(f"closed: #{each}" for each in older), sep="\n", file=out)
    return codes.EXIT_OK


def _older(pulls: Sequence[Mapping[str, Any]], version: str) -> List[int]:
    """The open pull requests by which an App proposed older releases; those that a person opened stay."""
    found = []
    for each in pulls:
        head, user = mapping(each.get("head"), "pulls"), mapping(each.get("user"), "pulls")
        folder, _, proposed = str(head.get("ref")).partition("/")
        is_ours = proposal_pages.branch_of(proposed) == f"{folder}/{proposed}" and template.is_version(proposed)
        if is_ours and user.get("type") == "Bot" and template.numbers(proposed) < template.numbers(version):
            found.append(field(each, "number", int, "pulls"))
    return found


def _closes(environ: Mapping[str, str]) -> str:
    """What lets GitHub close the issue about updates with the merge; until then the release is not here."""
    try:
        known = _issues(environ, "open").known
    except NotAnswered:
        return ""  # a repository may have no issues; the branch is pushed, and needs its pull request
    return "".join(f"\nCloses #{field(each, 'number', int, 'issues')}.\n" for each in known)


def issue(root: Path, version: str, environ: Mapping[str, str], out: TextIO) -> int:
    """Report the release in the one issue that is open about updates, or in a new one."""
    report = _report(_artifact(environ))
    with opened(root) as here:
        release = _examined(here, version)
    body = proposal_pages.issue(release, report, has_app=bool(environ.get(names.UPDATE_APP)))
    http, path, known = _issues(environ, "all")
    same = next((each for each in known if each.get("title") == release.title), None)
    unclosed = next((each for each in known if each.get("state") == "open"), None)
    if same and same.get("state") != "open":
        done = f"left: somebody closed issue #{same['number']} about this release"
    elif unclosed:
        http.send("PATCH", f"{path}/{unclosed['number']}", {"title": release.title, "body": body})
        done = f"updated: issue #{unclosed['number']}"
    else:
        made = GitHubApi.from_environment(environ).open_issue(_name(environ), release.title, body, names.UPDATE_LABEL)
        done = f"opened: issue #{made['number']}"
    outputs.write_summary(environ, f"# {release.title}\n\n{done}\n\n{body}")
    print(done, file=out)
    return codes.EXIT_OK


class _Issues(NamedTuple):
    """The issues about updates that this workflow opened, and where they are."""

    http: Transport
    path: str
    known: Sequence[Mapping[str, Any]]


def _issues(environ: Mapping[str, str], state: str) -> _Issues:
    http = Transport(environ.get("GITHUB_API_URL") or DEFAULT_API_URL, environ.get("GITHUB_TOKEN"))
    path = f"/repos/{_name(environ)}/issues"
    filters = {"labels": names.UPDATE_LABEL, "creator": names.JOBS_AUTHOR, "state": state}
    return _Issues(http, path, http.pages(path, None, filters=filters))


def _artifact(environ: Mapping[str, str]) -> Dict[str, bytes]:
    api = GitHubApi.from_environment(environ)
    return archive.fetch(api, _name(environ), environ.get("UPDATE_ID", ""), environ.get("UPDATE_DIGEST", ""))


def _report(files: Mapping[str, bytes]) -> Mapping[str, Any]:
    try:
        found = strict_json(files.get(REPORT, b""))
    except ValueError as error:
        raise codes.GateRefused(problems.NOT_AN_UPDATE, f"{REPORT}: {error}") from None
    return found if isinstance(found, dict) else {}


def _push(repository: Repository, commit: str, branch: str, environ: Mapping[str, str], token: str) -> None:
    """Push a commit as a new branch; one that somebody else made there stays."""
    server = environ.get("GITHUB_SERVER_URL") or "https://github.com"
    basic = base64.b64encode(":".join(("x-access-token", token)).encode()).decode()
    # As variables, so that no list of processes shows it.
    header = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.{server}/.extraheader",
        "GIT_CONFIG_VALUE_0": " ".join(("AUTHORIZATION:", "basic", basic)),
    }
    address = f"{server}/{quote(_name(environ))}.git"
    git(repository.top, "push", "--quiet", address, f"{commit}:refs/heads/{branch}", more=header)


def _name(environ: Mapping[str, str]) -> str:
    return access.repository(environ.get("GITHUB_REPOSITORY", ""))
