"""Command line: `python -m aimgentix journal status|drain|verify|show|prune`."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time

from . import settings, verify
from ._version import VERSION
from .delivery import Deliverer, drain
from .events import AuditEvent
from .notes import rejected_path, unsent
from .redact import Redactor, environment_secrets
from .segments import segment_paths, strange_files
from .status import SegmentStatus, directory_status, prune
from .transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional

OK = 0
BAD_INPUT = 2
UNDELIVERED = 3
REJECTED = 4
VERIFY_CODES = {kind: 10 + number for number, kind in enumerate(verify.KINDS)}

_DESCRIPTION = """\
Look after the audit journal: what it holds, whether it is whole, and whether the backend has it.
It needs no running agent, and works on journals of processes that were killed."""

_STATUS = "Count what is captured, delivered, waiting and rejected."
_DRAIN = """\
Deliver everything that processes which are gone have left, and wait for the backend if need be.
The key is read from AIMGENTIX_API_KEY. Lines that the backend refuses are kept in rejected/.

exit codes: 0 everything is delivered; 2 bad input; 3 something is not delivered yet; 4 something is in rejected/"""
_VERIFY = """\
Check offline that no line was changed, removed, added or moved.
A chain shows every change except at its end; give --head to check the end too.

exit codes: 0 complete; 2 bad input; {codes}"""
_SHOW = "Print the events in the order of time, each once."
_PRUNE = """\
Remove old segments of processes that are gone, when the backend has all of their events.
A segment that a kept one continues from is kept too, so that what stays can be verified."""


class InputError(Exception):
    """What the person typed can't be done."""


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the command line; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        named, options.dir = options.dir, options.dir or settings.journal_directory(os.environ)
        # Where nothing was captured yet, the default folder is not there and nothing is wrong, and a job's last step
        # has nothing to deliver.  Who asks what a folder holds wants to know that there is none.
        if named and options.run is not _drain and not os.path.isdir(named):
            raise InputError(f"there is no folder {_printable(named)}: name the journal's folder with --dir")
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except (InputError, settings.SettingError) as error:
        return _fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        return _fail(f"{error.filename or options.dir}: {error.strerror}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m aimgentix", description="The AIMgentix SDK.")
    parser.add_argument("--version", action="version", version=f"aimgentix {VERSION}")
    groups = parser.add_subparsers(metavar="journal", required=True)
    journal = groups.add_parser("journal", help="look after the audit journal", description=_DESCRIPTION)
    commands = journal.add_subparsers(metavar="COMMAND", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--dir", metavar="DIR",
        help="the journal's folder (AIMGENTIX_JOURNAL_DIR; default ~/.local/state/aimgentix/journal)",
    )  # fmt: skip

    def add(name: str, help: str, description: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=help, description=description, parents=[shared],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip

    status = add("status", "count what is captured, delivered, waiting and rejected", _STATUS)
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(run=_status)

    deliver = add("drain", "deliver what killed processes have left", _DRAIN)
    deliver.add_argument("--api-url", metavar="URL", help="the backend (AIMGENTIX_API_URL)")
    deliver.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=30.0, help="how long to try (default %(default)g)"
    )
    deliver.add_argument("--rejected", action="store_true", help="send once more what was refused earlier, too")
    deliver.set_defaults(run=_drain)

    codes = ", ".join(f"{code} {kind}" for kind, code in VERIFY_CODES.items())
    check = add("verify", "check the chain offline", _VERIFY.format(codes=codes))
    check.add_argument(
        "--head", metavar="[STREAM=]HASH", action="append", default=[],
        help="the head of a stream as kept elsewhere; without STREAM= one segment must end with it; repeatable",
    )  # fmt: skip
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=_verify)

    show = add("show", "print the events", _SHOW)
    show.add_argument("--trace", metavar="ID", help="only events of this trace")
    show.add_argument("--json", action="store_true", help="print one JSON object for each event")
    show.set_defaults(run=_show)

    old = add("prune", "remove old segments that are delivered", _PRUNE)
    old.add_argument(
        "--older-than", metavar="DAYS", type=float, required=True, help="at least so many days since the last event"
    )
    old.add_argument("--archived", action="store_true", help="also what is not delivered: you have it elsewhere")
    old.set_defaults(run=_prune)
    return parser


def _status(options: argparse.Namespace) -> int:
    segments = directory_status(options.dir)
    _name_strange_files(options.dir)
    totals = {
        name: sum(getattr(segment, name) for segment in segments)
        for name in ("captured", "delivered", "waiting", "rejected")
    }
    if options.json:
        print(json.dumps({"dir": options.dir, **totals, "segments": [segment.to_dict() for segment in segments]}))
        return OK
    print(f"{options.dir}: " + ", ".join(f"{name} {count}" for name, count in totals.items()))
    for segment in segments:
        use = ", in use" if segment.in_use else ""
        print(
            f"  {_printable(segment.stream)}: captured {segment.captured}, delivered {segment.delivered}, "
            f"waiting {segment.waiting}, rejected {segment.rejected}{use}"
        )
    return OK


def _drain(options: argparse.Namespace) -> int:
    api_url = settings.text(options.api_url, "AIMGENTIX_API_URL")
    if not api_url:
        raise InputError("no backend: give --api-url or set AIMGENTIX_API_URL")
    if not 0 < options.timeout < float("inf"):
        raise InputError("--timeout must be a number of seconds above 0")
    deadline = time.monotonic() + options.timeout
    dealt = [0, 0]

    def count(_: str, delivered: int, rejected: int) -> None:
        dealt[0] += delivered
        dealt[1] += rejected

    transport = Transport(api_url, settings.text(None, "AIMGENTIX_API_KEY"), min(10.0, options.timeout))
    deliverer = Deliverer(transport, on_progress=count)
    reason = drain(deliverer, options.dir, deadline, options.rejected)
    deliverer.close()
    segments = segment_paths(options.dir)
    waiting = sum(map(unsent, segments))
    rejected = sum(SegmentStatus(path).rejected for path in segments if os.path.exists(rejected_path(path)))
    print(f"{options.dir}: delivered {dealt[0]}, rejected {dealt[1]}, waiting {waiting}")
    if rejected:
        why = deliverer.rejection.detail if deliverer.rejection else "drain --rejected sends them once more"
        print(f"aimgentix: the backend refuses events ({why}): {rejected} are in rejected/", file=sys.stderr)
    strange = _name_strange_files(options.dir)
    if reason or waiting:
        secrets = Redactor(environment_secrets(os.environ))
        why = f"can't deliver to {secrets.text(api_url)} ({reason})" if reason else "processes that still run have more"
        print(f"aimgentix: {why}", file=sys.stderr)
        return UNDELIVERED
    return UNDELIVERED if strange else REJECTED if rejected else OK


def _name_strange_files(directory: str) -> int:
    strange = strange_files(directory)
    for path in strange:
        print(f"aimgentix: passed over: {_printable(path)} is not a file", file=sys.stderr)
    return len(strange)


def _prune(options: argparse.Namespace) -> int:
    if not 0 <= options.older_than < float("inf"):
        raise InputError("--older-than must be a number of days")
    removed, kept = prune(options.dir, time.time() - 86400 * options.older_than, options.archived)
    print(f"{options.dir}: {removed} segments removed, {kept} kept")
    return OK


def _verify(options: argparse.Namespace) -> int:
    heads: Dict[str, str] = {}
    anywhere = []
    for text in options.head:
        stream, _, head = text.rpartition("=")
        if not re.fullmatch("[0-9a-f]{64}", head):
            raise InputError(f"--head must end with 64 hex digits, not {_printable(head[:80])}")
        if stream:
            heads[stream] = head
        else:
            anywhere.append(head)
    report = verify.verify_directory(options.dir, heads)
    if not report.segments and not report.problems:
        raise InputError(f"{options.dir} holds no journal")
    for head in anywhere:
        report.expect_head(head)
    problems = report.problems
    anchored = sum(segment.anchored for segment in report.segments)
    lines = sum(segment.lines for segment in report.segments)
    if options.json:
        print(json.dumps(report.to_dict()))
    else:
        for segment in report.segments:
            for problem in segment.problems:
                print(f"{_printable(segment.stream)}: {problem.kind}: {_printable(problem.message)}")
        for problem in report.between:
            print(f"{problem.kind}: {_printable(problem.message)}")
        state = "whole" if not problems else f"{len(problems)} problems"
        outside = sum(segment.outside for segment in report.segments)
        if outside:
            state += f"; not covered: {outside} events while no disk could be written, which no chain holds"
        print(
            f"{options.dir}: {lines} lines in {len(report.segments)} segments, {anchored} anchored by a head: {state}"
        )
    return min((VERIFY_CODES[problem.kind] for problem in problems), default=OK)


def _show(options: argparse.Namespace) -> int:
    for event in verify.read_events(options.dir):
        if options.trace in (None, event.trace_id):
            print(json.dumps(event.to_dict()) if options.json else _one_line(event))
    return OK


def _one_line(event: AuditEvent) -> str:
    latency = "" if event.latency_ms is None else f" {event.latency_ms:g} ms"
    details = " " + json.dumps(event.metadata, ensure_ascii=False) if event.metadata else ""
    return _printable(
        f"{event.timestamp} {event.trace_id} {event.agent_instance_id} {event.actor.value} {event.action_type.value} "
        f"{event.resource} {event.status.value}{latency}{details}"
    )


def _printable(text: str) -> str:
    """Return `text` with everything that a terminal might obey written as an escape."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _fail(message: str) -> int:
    print(f"aimgentix: {message}", file=sys.stderr)
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
