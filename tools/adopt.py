"""Bring the template into a repository that was not made from it, or no longer knows its release; on a branch.

No file of the team is overwritten: where the template needs another one, it comes beside it, with `.template` at the
end of its name.  The branch appears whole or not at all, and the checkout stays as it is.  What only the team can
decide is listed.

    python tools/adopt.py REPOSITORY [--data NAME=VALUE ...]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import yaml

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / part) for part in ("", "template", "template/sdk")]

from agent_runtime import codes  # noqa: E402  the path above comes first
from agent_runtime.local import answers  # noqa: E402
from agent_runtime.local.linter.actions import MANIFEST  # noqa: E402
from agent_runtime.local.update import drift, problems, releases, template  # noqa: E402
from agent_runtime.local.update.files import File  # noqa: E402
from agent_runtime.local.update.git import GitFailed, line  # noqa: E402
from agent_runtime.local.update.owners import ANSWERS_FILE  # noqa: E402
from agent_runtime.local.update.repository import Repository  # noqa: E402
from agent_runtime.text.escape import visible  # noqa: E402
from tools import teams  # noqa: E402
from tools.adoption import arrival, nearest  # noqa: E402
from tools.adoption.todo import Todo  # noqa: E402

BRANCH = "adopt-template"


@dataclass(frozen=True)
class Adopted:
    """What was done.

    Arguments:
        version: the release that comes, or that the repository has.
        added: files that are new, or new beside those of the team; none where there is nothing to adopt.
        branch, commit: empty where nothing was changed.
    """

    version: str
    notes: Sequence[str] = ()
    added: Sequence[str] = ()
    branch: str = ""
    commit: str = ""
    todo: Sequence[Todo] = ()


def adopt(options: argparse.Namespace) -> Adopted:
    """Make the branch.

    Raises:
        AgentError: the repository is as it was.
    """
    given = dict(options.data)
    for name, value in given.items():
        problem = answers.check(name, value, given)
        if problem:
            raise codes.BadInput(problem.code, f"{name}: {problem.message}")
    if not options.repository.is_dir():
        raise codes.BadInput(problems.NO_GIT, f"{options.repository} is not a folder")
    repository = Repository(options.repository.resolve())
    with repository.locked(), tempfile.TemporaryDirectory(prefix="agent-adopt-") as folder:
        repository.require_clean()
        with template.opened(teams.Origin(options.template), repository.root) as source:
            adoption = _Adoption(repository, source, options, Path(folder))
            return adoption.rejoin(given) if MANIFEST in adoption.ours else adoption.arrive(given)


class _Adoption:
    """One repository, and the template."""

    def __init__(
        self, repository: Repository, source: template.Template, options: argparse.Namespace, work: Path
    ) -> None:
        self._repository, self._source, self._options, self._work = repository, source, options, work
        self.ours = repository.committed()

    def arrive(self, given: Mapping[str, str]) -> Adopted:
        """Bring the template into a repository that was written by hand."""
        self._require_free()
        version = self._options.to or self._source.newest()
        notes = self._examine(version)
        chosen = {**arrival.answers_for(self._repository.root, self.ours), **given}
        rendered = self._source.render(version, teams.Origin(self._options.template), chosen)
        added = arrival.merge(self.ours, rendered)
        self._repository.require_room(added, self.ours)
        adopted = self._commit("Adopt the template", Adopted(self._source.name(version), notes, sorted(added)), added)
        return self._finish(adopted, arrival.todos(self.ours, rendered, added, self._work / "tree"))

    def rejoin(self, given: Mapping[str, str]) -> Adopted:
        """Record the release of a repository that came from the template, where it does not."""
        recorded = self._recorded()
        if recorded:
            return Adopted(recorded)
        self._require_free()
        known = {**nearest.known_answers(self._repository.root, given), **given}
        origin = teams.Origin(self._options.template, yaml.safe_dump(known, allow_unicode=True).encode())
        if self._options.to:
            version, rendered = self._options.to, self._source.render(self._options.to, origin)
        else:
            version, rendered = nearest.find(self._source, self._repository.root, self.ours, origin)
        name, notes = self._source.name(version), self._examine(version, installed=True)
        files = {ANSWERS_FILE: rendered[ANSWERS_FILE]}
        adopted = self._commit("Record the template's release", Adopted(name, notes, list(files)), files)
        todo = (
            Todo(each.path, f"{each.status} since {name}: see python agent_runner.py drift --explain {each.path}")
            for each in drift.compare(self._work / "tree", rendered)
            if each.status != drift.RENEWED
        )
        return self._finish(adopted, todo)

    def _require_free(self) -> None:
        """Refuse a branch that is there, before anything takes long."""
        try:
            line(self._repository.root, "rev-parse", "--verify", "--quiet", f"refs/heads/{self._options.branch}")
        except GitFailed:
            return
        if not self._options.check:
            message = f"{self._options.branch}: this branch is there; delete it or choose another name"
            raise codes.BadInput(problems.MOVED, message)

    def _recorded(self) -> str:
        """The release that the repository records and the template has; empty where one of the two is not so."""
        try:
            recorded = teams.Installed(self.ours[ANSWERS_FILE].data if ANSWERS_FILE in self.ours else None)
            self._source.resolve(recorded.commit)
        except codes.BadInput as error:
            if error.code in (problems.NO_ORIGIN, problems.NO_VERSION):
                return ""
            raise
        return recorded.commit

    def _examine(self, version: str, *, installed: bool = False) -> list[str]:
        """Refuse a release that is revoked, unless it is installed, or not signed by those whom this checkout names."""
        signers = File("100644", (teams.ROOT / "template" / releases.SIGNERS).read_bytes())
        current = version if installed else ""
        return list(releases.examine(self._source, current, version, signers, self._work))

    def _commit(self, subject: str, adopted: Adopted, files: Mapping[str, File]) -> Adopted:
        """Make the commit, which no branch has yet, and export its files for whoever judges them."""
        commit = self._repository.commit(files, f"{subject}: {adopted.version}\n", self._work)
        self._repository.export(commit, self._work / "tree", self._work)
        return replace(adopted, commit=commit)

    def _finish(self, adopted: Adopted, todo: Iterable[Todo]) -> Adopted:
        adopted = replace(adopted, todo=list(todo))
        if self._options.check:
            return replace(adopted, commit="")
        self._repository.make_branch(self._options.branch, adopted.commit)
        return replace(adopted, branch=self._options.branch)


def _print(adopted: Adopted, repository: Path) -> None:
    for note in adopted.notes:
        print(visible(f"note: {note}"), file=sys.stderr)
    if not adopted.added:
        print(f"nothing to adopt: this is {adopted.version}; python agent_runner.py update brings a newer one")
        return
    where = f"branch {adopted.branch} is at {adopted.commit[:12]}" if adopted.branch else "nothing was changed"
    print(visible(f"{repository}: {adopted.version}, {len(adopted.added)} files; {where}"))
    print(f"left to do on that branch: {len(adopted.todo)}")
    for number, each in enumerate(adopted.todo, 1):
        print(visible(f"{number:3}. {each.path}: {each.what}"))
        for command in each.commands:
            print(visible(f"       {command}"))
    print("then: make check lint test")


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("repository", type=Path, help="a git repository of a team, or the agent's folder in one")
    parser.add_argument(
        "--template", help="the template's git address, as the team reaches it (this checkout's origin)"
    )
    parser.add_argument("--to", metavar="VERSION", help="a tag or commit of the template (its newest release)")
    parser.add_argument(
        "--data",
        "--set",  # as in `update`, whose remedies say so
        type=teams.answer,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="answer a question",
    )
    parser.add_argument("--branch", default=BRANCH, metavar="NAME", help=f"name of the new branch ({BRANCH})")
    parser.add_argument("--check", action="store_true", help="show what would be done, and make no branch")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    options.template = options.template or teams.address()
    teams.own_programs_first()
    try:
        adopted = adopt(options)
    except codes.AgentError as error:
        print(visible(f"error: {error.line()}"), file=sys.stderr)
        return error.exit_code
    if options.json:
        print(json.dumps(asdict(adopted), indent=2))
    else:
        _print(adopted, options.repository)
    return codes.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
