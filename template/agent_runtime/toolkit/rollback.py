"""A rollback of a configuration on the server: one commit undone by a push, or by a pull request that somebody merges.

where = rollback.Place("https://github.com/acme/configuration.git", "main", "services/shop.json")
restored = rollback.undo(where, commit, previous=version, files=names, why="It did harm.", changes=changes)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Collection, List, Mapping, Optional

from agent_runtime.toolkit import git, http
from agent_runtime.toolkit.errors import NOT_DONE, ToolError


@dataclass(frozen=True)
class Place:
    """Where a configuration is.

    Arguments:
        repository, branch, path: of the file or folder.
        pull_request: `api` and `repository` (owner/name) of GitHub, where the branch is protected.
    """

    repository: str
    branch: str
    path: str
    pull_request: Optional[Mapping[str, str]] = None


def undo(
    where: Place,
    commit: str,
    *,
    previous: str,
    files: Collection[str],
    why: str,
    changes: List[str],
    merge_seconds: float = 600.0,
) -> str:
    """Undo the newest change of a configuration on the server, and return the commit that did.

    `http.token("git")` is presented to the server.

    Arguments:
        commit: the change; nothing is done when it is not the newest one any more.
        previous: the commit whose version must come back.
        files: names of all files that may change, and must.
        why: for whoever reads the pull request.
        changes: gets a line for each thing that was changed, also when a later one fails.
        merge_seconds: for somebody to merge the pull request.

    Raises:
        OutcomeUnknown: nobody knows whether a push or a merge took effect.
        ToolError: it was not undone (TOOL13 where that would not be what is asked for); `changes` has what was changed.
    """
    token = http.token("git")
    with git.clone(where.repository, where.branch, token=token) as clone:
        newest = clone.changes(where.path, 1)
        if not newest or newest[0].sha != commit:
            raise _not_done("the configuration changed after the approval")
        made = clone.revert(newest[0], restores=previous)
        if not clone.same(made, previous, where.path):
            raise _not_done("undoing the commit does not give the previous version")
        differ = sorted(set(clone.touched(made)).symmetric_difference(files))
        if differ:
            raise _not_done(f"the files to be changed are not the approved ones: {differ[:5]}")
        if where.pull_request is None:
            clone.push(made, where.branch)
            changes.append(f"restored the version of {previous} by the commit {made}")
            return made
        branch = f"rollback/{newest[0].short}-{made[:12]}"  # one of its own for each run
        clone.push(made, branch)
        changes.append(f"pushed the commit {made} to the branch {branch}")

    api, repository = where.pull_request["api"], where.pull_request["repository"]
    number = git.open_pull_request(
        api,
        repository,
        branch=branch,
        base=where.branch,
        title=f"Roll back {where.path} to {previous[:12]}",
        body=f"Undoes {commit}: {why}\n\n{git.RESTORES}{previous}",
        token=token,
    )
    changes.append(f"opened the pull request {number} in {repository}")
    git.wait_for_merge(api, repository, number, token=token, seconds=merge_seconds)
    changes.append(f"the pull request {number} was merged")
    return git.restored_by(where.repository, where.branch, where.path, previous, token=token)


def _not_done(why: str) -> ToolError:
    return ToolError(NOT_DONE, "nothing was done: " + why)
