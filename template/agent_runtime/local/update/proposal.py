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
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Sequence, TextIO
from urllib.parse import quote

from agent_runtime import codes
from agent_runtime.github import archive, outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.github.transport import DEFAULT_API_URL, HTTP_UNPROCESSABLE, NotAnswered, Transport
from agent_runtime.local.linter.actions import MANIFEST
from agent_runtime.local.settings import access
from agent_runtime.local.update import judge, patch, problems, proposal_pages, releases, template
from agent_runtime.local.update.git import GitFailed, git
from agent_runtime.local.update.owners import ANSWERS_FILE
from agent_runtime.local.update.repository import Repository
from agent_runtime.model import names
from agent_runtime.text.escape import visible
from agent_runtime.text.strict_json import strict_json

# Of the artifact that holds an update.
PATCH, REPORT = "update.patch", "report.json"


class _Opened(NamedTuple):
    """The repository, the template, and a folder for a while."""

    repository: Repository
    source: template.Template
    recorded: template.Recorded
    work: Path


@contextmanager
def _opened(root: Path) -> Iterator[_Opened]:
    repository = Repository(root)
    ours = repository.committed()
    recorded = template.Recorded(ours[ANSWERS_FILE].data if ANSWERS_FILE in ours else None)
    with template.opened(recorded, root) as source, tempfile.TemporaryDirectory() as folder:
        yield _Opened(repository, source, recorded, Path(folder))


def _examined(opened: _Opened, version: str) -> proposal_pages.Release:
    """The release, after its examination.

    Raises:
        GateRefused: it is revoked, or not signed.
        BadInput: the template has no such version.
    """
    source, current = opened.source, opened.recorded.commit
    if not template.is_version(version):
        raise codes.BadInput(problems.NO_VERSION, f"{visible(version, 80)} is not the version of a release")
    signers = opened.repository.committed().get(releases.SIGNERS)
    remarks = list(releases.examine(source, current, version, signers, opened.work))
    commit = source.resolve(version)
    try:
        changelog = source.ask("show", f"{commit}:CHANGELOG.md")
    except GitFailed:
        changelog = ""  # this template has none
    noted = proposal_pages.notes(changelog, current, version)
    return proposal_pages.Release(current, version, commit, noted, remarks)


def find(root: Path, wanted: str, environ: Mapping[str, str], out: TextIO) -> int:
    """Say which release is to be proposed, as the output `version`; none where that is nothing."""
    with _opened(root) as opened:
        version, current = wanted or opened.source.newest(), opened.recorded.commit
        if not wanted and (not template.is_version(version) or opened.source.contains(version, current)):
            return _found(environ, out, "", f"nothing: this is {current}; the template has no newer release")
        try:
            release = _examined(opened, version)
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


def pull_request(root: Path, version: str, accepted: Sequence[str], environ: Mapping[str, str], out: TextIO) -> int:
    """Compare the patch with the release, judge what it makes, push it and open a pull request.

    Raises:
        GateRefused: it is not an update to this release, or weaker than somebody accepted; nothing is pushed.
    """
    files = _artifact(environ)
    with _opened(root) as opened:
        release, repository = _examined(opened, version), opened.repository
        commit = patch.apply(repository, files.get(PATCH, b""), release.title + "\n", opened.work)
        touched = patch.examine(repository, commit, opened.source, version)
        tree = opened.work / "tree"
        repository.export(commit, tree, opened.work)
        weaker = list(judge.by_installed(root, tree, is_upgrade=True))
        refused = sorted({each.code for each in weaker} - set(accepted))
        if refused:
            raise codes.GateRefused(problems.WEAKER, f"nobody accepted {', '.join(refused)} when this run was started")
        body = proposal_pages.pull_request(
            release,
            weaker,
            touched,
            _report(files),
            digest=hashlib.sha256((tree / MANIFEST).read_bytes()).hexdigest(),
            actor=environ.get("GITHUB_TRIGGERING_ACTOR") or "somebody",
        )
        token = environ.get("UPDATE_TOKEN", "")
        branch = proposal_pages.branch_of(version)
        _push(repository, commit, branch, environ, token)
    http = Transport(environ.get("GITHUB_API_URL") or DEFAULT_API_URL, token)
    path = f"/repos/{_name(environ)}"
    base = GitHubApi.from_environment(environ).default_branch(_name(environ))
    asked = {"title": release.title, "body": body, "head": branch, "base": base}
    try:
        number = http.send("POST", path + "/pulls", asked)["number"]
    except NotAnswered as problem:
        if problem.status != HTTP_UNPROCESSABLE or "already exists" not in problem.said:
            raise
        print(f"left: the pull request of {branch} is there already", file=out)
        return codes.EXIT_OK
    outputs.write_summary(environ, f"# Pull request #{number}\n\n{body}")
    print(f"opened: pull request #{number} of {branch}", file=out)
    return codes.EXIT_OK


def issue(root: Path, version: str, environ: Mapping[str, str], out: TextIO) -> int:
    """Tell people of the release in the one issue that is open about updates, or in a new one."""
    report = _report(_artifact(environ))
    with _opened(root) as opened:
        release = _examined(opened, version)
    body = proposal_pages.issue(release, report, has_app=bool(environ.get(names.UPDATE_APP)))
    api = GitHubApi.from_environment(environ)
    http = Transport(environ.get("GITHUB_API_URL") or DEFAULT_API_URL, environ.get("GITHUB_TOKEN"))
    path = f"/repos/{_name(environ)}/issues"
    filters = {"labels": names.UPDATE_LABEL, "creator": names.JOBS_AUTHOR, "state": "all"}
    known = http.pages(path, None, filters=filters)
    now = {"title": release.title, "body": body}
    same = next((each for each in known if each.get("title") == release.title), None)
    opened_one = next((each for each in known if each.get("state") == "open"), None)
    if same and same.get("state") != "open":
        done = f"left: somebody closed issue #{same['number']} about this release"
    elif opened_one:
        http.send("PATCH", f"{path}/{opened_one['number']}", now)
        done = f"updated: issue #{opened_one['number']}"
    else:
        done = "opened: issue #{}".format(api.open_issue(_name(environ), *now.values(), names.UPDATE_LABEL)["number"])
    outputs.write_summary(environ, f"# {release.title}\n\n{done}\n\n{body}")
    print(done, file=out)
    return codes.EXIT_OK


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
    basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    # As variables, so that no list of processes shows it.
    header = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.{server}/.extraheader",
        "GIT_CONFIG_VALUE_0": f"AUTHORIZATION: basic {basic}",
    }
    address = f"{server}/{quote(_name(environ))}.git"
    git(repository.top, "push", "--quiet", address, f"{commit}:refs/heads/{branch}", more=header)


def _name(environ: Mapping[str, str]) -> str:
    return access.repository(environ.get("GITHUB_REPOSITORY", ""))
