"""The command `update`: render twice, merge, judge, and hand the result back at once or not at all."""

from __future__ import annotations

import json
import shlex
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, TextIO

from agent_runtime import codes
from agent_runtime.local import answers
from agent_runtime.local.update import drift, patch, problems, releases, template
from agent_runtime.local.update.judge import Weaker, judge
from agent_runtime.local.update.merge import Merged, merge
from agent_runtime.local.update.owners import ANSWERS_FILE, BOTH, Owners
from agent_runtime.local.update.repository import Repository
from agent_runtime.text.escape import visible

# Answers that chose the team's first files; another one would not change those.
_FIXED = ("agent_slug", "use_case")


@dataclass(frozen=True)
class Options:
    """What is wanted.

    Arguments:
        version: a tag or commit of the template; by default the newest release, and with `changed` the recorded one.
        changed: answers, by their question.
        check: show what would change, and change nothing.
        branch: name of a new branch for the commit, instead of the one that is checked out.
        apply: whether the result goes into the working tree, uncommitted.
        patch: a file for what would change, instead of changing anything.
        accepted: names of differences that are wanted, as `Weaker.option` has them.
        back: whether the release before the recorded one is wanted, instead of `version`.
    """

    version: Optional[str]
    changed: Mapping[str, str]
    check: bool
    branch: Optional[str]
    apply: bool
    accepted: Sequence[str]
    patch: Optional[Path] = None
    back: bool = False


def run(root: Path, options: Options, *, as_json: bool, out: TextIO, err: TextIO) -> int:
    """Update the repository at `root` and return the exit code; what happened is printed."""
    report: Dict[str, Any] = {"result": "error", "from": "", "to": "", "changes": [], "weaker": [], "commit": ""}
    report.update(notes=[], upgrade_notes="", drift=[])
    try:
        repository = Repository(root)
        with repository.locked() as lock:
            return _Update(repository, lock, options, report, None if as_json else out, err).run()
    except codes.AgentError as error:
        report["error"] = {"code": error.code, "message": error.message}
        if isinstance(error, codes.GateRefused):
            report["result"] = "refused"
        raise
    finally:
        if as_json:
            print(json.dumps(report, indent=2), file=out)


@dataclass(frozen=True)
class _Update:
    """One update; `report` grows while it goes on."""

    _repository: Repository
    _lock: int
    _options: Options
    _report: Dict[str, Any]
    _out: Optional[TextIO]
    _err: TextIO

    def run(self) -> int:
        repository, options = self._repository, self._options
        ended = repository.finish_interrupted()
        if ended:
            self._progress(f"{ended} the update that was interrupted")
        ref = repository.branch()
        if not ref and not (options.branch or options.check or options.apply or options.patch):
            raise codes.BadInput(problems.DETACHED, "HEAD is detached")
        repository.require_clean()
        ours = repository.committed()
        recorded = template.Recorded(ours[ANSWERS_FILE].data if ANSWERS_FILE in ours else None)
        self._require_answers(recorded)
        self._progress(f"fetching {recorded.source}")
        with template.opened(recorded, repository.root) as source, tempfile.TemporaryDirectory() as folder:
            chosen = releases.previous(source, recorded.commit) if options.back else options.version
            version = chosen or (recorded.commit if options.changed else source.newest())
            self._report.update({"from": recorded.commit, "to": source.name(version)})
            for note in releases.examine(source, recorded.commit, version, ours.get(releases.SIGNERS), Path(folder)):
                self._report["notes"].append(note)
                self._progress(note)
            self._report["upgrade_notes"] = releases.notes(source, recorded.commit, version)
            newer = source.contains(version, recorded.commit) if not chosen else version == recorded.commit
            if newer and not options.changed:
                return self._end("nothing", f"this is {recorded.commit}; the template has nothing newer")
            self._progress(f"rendering {recorded.commit} and {source.name(version)}")
            with ThreadPoolExecutor(2) as pool:
                then = pool.submit(source.render, recorded.commit, recorded)
                now = pool.submit(source.render, version, recorded, options.changed)
                base, theirs = then.result(), now.result()
            self._report["drift"] = [asdict(each) for each in drift.compare(repository.root, base)]
            before, after = Owners(base), Owners(theirs)
            merged = merge(base, ours, theirs, lambda name: min(before.of(name), after.of(name), key=_strongest))
            if not merged.files:
                return self._end("nothing", "the answers are unchanged")
            repository.require_room(merged.files, ours)
            work = Path(folder)
            author = patch.BOT if options.patch else {}
            commit = repository.commit(merged.files, _message(self._report, options.changed), work, author)
            repository.export(commit, work / "tree", work)
            self._progress("judging the result")
            is_upgrade = source.resolve(version) != source.resolve(recorded.commit)
            weaker = judge(repository.root, work / "tree", is_upgrade=is_upgrade)
            return self._hand_back(ref, commit, merged, weaker, work)

    def _require_answers(self, recorded: template.Recorded) -> None:
        """Refuse answers that can't be changed, and at the recorded version those that are invalid."""
        changed = self._options.changed
        for name in _FIXED:
            if name in changed and changed[name] != str(recorded.known.get(name)):
                message = f"{name} is {recorded.known.get(name)}; it chose the first files of this repository"
                raise codes.BadInput(problems.FIXED, message)
        if self._options.version or self._options.back:
            return  # whose questions may be others: Copier asks them
        known = {**recorded.known, **changed}
        for name in [name for name in known if name in answers.RULES and name not in changed]:
            if not answers.asked(name, known):
                del known[name]
        for problem in answers.validate(known):
            if problem.code != answers.MISSING or problem.question in changed:
                raise codes.BadInput(problem.code, f"{problem.question}: {problem.message}")

    def _hand_back(self, ref: str, commit: str, merged: Merged, weaker: List[Weaker], work: Path) -> int:
        repository, options = self._repository, self._options
        self._report["changes"] = [asdict(change) for change in merged.changes]
        self._report["weaker"] = [
            {**asdict(each), "accept": each.option, "accepted": each.option in options.accepted} for each in weaker
        ]
        self._say(f"{self._report['from']} -> {self._report['to']}")
        for change in merged.changes:
            self._say(
                f"  {change.kind:<8} {change.path} ({change.owner})" + (f": {change.note}" if change.note else "")
            )
        if options.check:
            self._say_notes()
        # A file in conflict is named as one; once it is resolved, make check says what is left.
        torn = {change.path for change in merged.conflicts}
        refused = [each for each in weaker if each.option not in options.accepted and each.path not in torn]
        for each in weaker:
            state = "accepted" if each.option in options.accepted else "weaker"
            self._say(f"  {state}: {each.code} {each.path}:{each.line}: {each.message} ({each.by})")
        if refused:
            self._say("  to accept them, add:")
            self._say("    " + " \\\n    ".join(accepting(refused)))
        if not torn:  # in a file with markers no place is found
            _require_known(options.accepted, weaker)
        if refused:
            raise codes.GateRefused(problems.WEAKER, f"nobody accepted {len(refused)} of the differences")
        if torn and not options.apply:
            raise codes.GateRefused(problems.CONFLICT, ", ".join(sorted(torn)))
        if options.check:
            return self._end("checked", "nothing was changed")
        if options.patch:
            patch.write(repository, commit, options.patch)
            return self._end("patch", f"written to {options.patch}; nothing else was changed")
        self._report["commit"] = commit
        if options.branch:
            repository.make_branch(options.branch, commit)
            return self._end("updated", f"branch {options.branch} is at {commit[:12]}")
        repository.land("" if options.apply else ref, commit, merged.sides, work, self._lock)
        if not options.apply:
            return self._end("updated", f"{ref.partition('refs/heads/')[2]} is at {commit[:12]}")
        if torn:
            self._end("conflict", "in the working tree, to be resolved: " + ", ".join(sorted(torn)))
            return codes.EXIT_REFUSED
        return self._end("applied", "in the working tree, not committed")

    def _say_notes(self) -> None:
        lines = self._report["upgrade_notes"].splitlines()
        for line in (["upgrade notes:"] if lines else []) + [f"  {each}".rstrip() for each in lines]:
            self._say(line)

    def _end(self, result: str, words: str) -> int:
        self._report["result"] = result
        self._say(f"{result}: {words}")
        return codes.EXIT_OK

    def _say(self, text: str) -> None:
        if self._out:
            print(visible(text), file=self._out, flush=True)

    def _progress(self, text: str) -> None:
        if self._out:
            print(visible(text), file=self._err, flush=True)


def accepting(weaker: Sequence[Weaker]) -> List[str]:
    """The options that accept these differences, as a person types them."""
    return [f"--accept {shlex.quote(name)}" for name in dict.fromkeys(each.option for each in weaker)]


def _require_known(accepted: Sequence[str], weaker: Sequence[Weaker]) -> None:
    """Refuse what names no difference: a code alone would take differences that nobody has read.

    Raises:
        GateRefused: naming it, and what to type instead.
    """
    for name in accepted:
        if name not in {each.option for each in weaker}:
            meant = accepting([each for each in weaker if name in (each.code, each.option.partition("new:")[2])])
            words = f"; type {' '.join(meant)}" if meant else ""
            raise codes.GateRefused(problems.NAMELESS, f"no difference has the name {name!r}{words}")


def _strongest(owner: str) -> int:
    """A file is the team's, or the template's, if either version says so."""
    return {"team": 0, "template": 1, BOTH: 2}[owner]


def _message(report: Mapping[str, Any], changed: Mapping[str, str]) -> str:
    named = ", ".join(sorted(changed))
    if report["from"] == report["to"]:
        return f"Change the template's answers: {named}\n"
    return f"Update from the template: {report['from']} to {report['to']}\n" + (
        f"\nChanged answers: {named}\n" if changed else ""
    )
