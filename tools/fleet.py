"""Look at many repositories that were made from the template, and update them.

    python tools/fleet.py status --repos FILE [--github]
    python tools/fleet.py update --repos FILE [--apply]

FILE has one repository a line: a folder, or a git address.  `update` shows what it would do, until --apply; then each
repository gets a branch, by its own `update`: whole or not at all.  The same command goes on after a kill.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / part) for part in ("", "template", "template/sdk")]

from agent_runtime import codes  # noqa: E402  the path above comes first
from agent_runtime.local.settings import access  # noqa: E402
from agent_runtime.text.escape import visible  # noqa: E402
from tools import teams  # noqa: E402
from tools.fleets import narrowing, repositories, status, update  # noqa: E402
from tools.fleets.repositories import Entry, Invalid, Templates  # noqa: E402
from tools.fleets.state import State  # noqa: E402

_Found = TypeVar("_Found", status.Status, update.Result)


class Progress:
    """One line on a terminal that counts; nothing elsewhere."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._shown = total, 0, sys.stderr.isatty()

    def step(self, name: str) -> None:
        """Count one repository more."""
        self._done += 1
        self._show(f"{self._done} of {self._total}  {visible(name)}")

    def clear(self) -> None:
        """Make room for a line of the result."""
        self._show("")

    def _show(self, text: str) -> None:
        if self._shown:
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()


def each(entries: Sequence[Entry], work: Callable[[Entry], _Found], jobs: int) -> Iterator[_Found]:
    """Do the work for every repository, several at once; results come in the order of the list."""
    progress = Progress(len(entries))

    def counted(entry: Entry) -> _Found:
        found = work(entry)
        progress.step(entry.name)
        return found

    pool = ThreadPoolExecutor(jobs)
    try:
        futures = [pool.submit(counted, entry) for entry in entries]
        for future in futures:
            found = future.result()
            progress.clear()
            yield found
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        progress.clear()


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Hold the lock of a list, so that two updates of one fleet don't meet.

    Raises:
        Invalid: another one holds it.
    """
    if os.name == "nt":  # without this lock; each repository has its own
        yield
        return
    import fcntl  # noqa: PLC0415  it is not there on Windows

    with file.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Invalid(f"another update of {file} is running") from None
        yield


def show(found: Iterator[_Found], width: int, *, as_json: bool) -> list[_Found]:
    """Print each result as it comes, or all of them as one JSON document."""
    results = []
    for one in found:
        results.append(one)
        if not as_json:
            print(visible(one.line(width)), flush=True)
    if as_json:
        print(json.dumps([_document(one) for one in results], indent=2))
    return results


def _document(one: status.Status | update.Result) -> dict[str, Any]:
    return {**asdict(one), "state": one.state} if isinstance(one, status.Status) else asdict(one)


def run_status(options: argparse.Namespace, entries: Sequence[Entry], width: int) -> int:
    """Show how every repository stands; its settings on GitHub only where --github asks for them."""
    if options.github:
        access.transport(os.environ)  # without a token nothing begins
    with Templates(options.template) as templates:
        found = each(entries, lambda entry: status.status(entry, templates, github=options.github), options.jobs)
        results = show(found, width, as_json=options.json)
    counts = [f"{sum(one.state == state for one in results)} {state}" for state in _STATES]
    unread = "" if options.github else "; GitHub's settings are not read, --github reads them"
    print(f"{len(results)} repositories: {', '.join(counts)}{unread}", file=sys.stderr)
    return codes.EXIT_OK if all(one.state == status.OK for one in results) else codes.EXIT_REFUSED


_STATES = (status.OK, status.BEHIND, status.OPEN, status.ERROR)


def run_update(options: argparse.Namespace, entries: Sequence[Entry], width: int) -> int:
    """Update every repository, or show what that would do."""
    bounds = narrowing.read(options.defaults) if options.defaults else {}
    branch = "" if options.in_place else options.branch or ("agent-defaults" if bounds else "agent-update")
    wanted = update.Options(options.apply, branch, options.to, options.accept, bounds)
    file = options.state or options.repos.with_name(options.repos.name + ".state")
    with alone(options.repos), Templates(options.template) as templates:
        state = State(file if options.apply else None, asdict(wanted))
        found = each(entries, lambda entry: update.update(entry, wanted, templates, state), options.jobs)
        results = show(found, width, as_json=options.json)
        state.remove()
    good = sum(one.result in update.GOOD for one in results)
    more = "" if options.apply else "; nothing was changed, --apply writes"
    print(
        f"{len(results)} repositories: {good} without a problem, {len(results) - good} with one{more}", file=sys.stderr
    )
    return codes.EXIT_OK if good == len(results) else codes.EXIT_REFUSED


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, words in (("status", run_status, "show how each stands"), ("update", run_update, "update each")):
        one = commands.add_parser(name, help=words, description=run.__doc__)
        one.set_defaults(run=run)
        one.add_argument("--repos", type=Path, required=True, metavar="FILE", help="the list of repositories")
        one.add_argument(
            "--template",
            action="append",
            default=[teams.address(), str(teams.ROOT)],
            metavar="ADDRESS",
            help="another template that is trusted like this checkout's",
        )
        one.add_argument(
            "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="how many at once (one a core)"
        )
        one.add_argument("--json", action="store_true", help="print one JSON document")
    about = "read each one's settings on GitHub too, as doctor does, with the token in GH_TOKEN"
    commands.choices["status"].add_argument("--github", action="store_true", help=about)
    one.add_argument("--apply", action="store_true", help="write; without it, show what would be done")
    where = one.add_mutually_exclusive_group()
    where.add_argument("--branch", metavar="NAME", help="of the branch in each (agent-update, or agent-defaults)")
    where.add_argument("--in-place", action="store_true", help="on the branch that is checked out, or the default one")
    what = one.add_mutually_exclusive_group()
    what.add_argument("--to", metavar="VERSION", help="a tag or commit of the template (its newest release)")
    what.add_argument(
        "--defaults", type=Path, metavar="FILE", help="narrow answers to these bounds instead, at each one's version"
    )
    one.add_argument("--accept", action="append", default=[], metavar="NAME", help="accept the difference of this name")
    one.add_argument("--state", type=Path, metavar="FILE", help="where progress is kept (beside the list)")
    options = parser.parse_args()
    options.jobs = max(options.jobs, 1)
    teams.own_programs_first()
    try:
        entries = repositories.read(options.repos)
        result: int = options.run(options, entries, max(len(entry.name) for entry in entries))
    except (Invalid, codes.AgentError) as error:
        words = error.line() if isinstance(error, codes.AgentError) else str(error)
        print(visible(f"error: {words}"), file=sys.stderr)
        return codes.EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted: the same command goes on", file=sys.stderr)
        return 130
    return result


if __name__ == "__main__":
    raise SystemExit(main())
