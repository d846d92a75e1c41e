"""`python -m app archive …`: list, export, check, hold and delete bundles. Whatever is done is recorded, by whom."""

from __future__ import annotations

import argparse
import getpass
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.archive.bundle import InvalidBundle, read_bundle
from app.archive.retention import DAY_US, forget
from app.archive.storage import Storage
from app.archive.trail import TRACE, event_of
from app.events.model import microseconds, timestamp_of
from app.log.entries import BUNDLE, Entry, is_digest, parse_entry
from app.log.faults import Fault
from app.store.base import Database, WriteConnection
from app.store.bundles import Kept, Wanted, attestations_of, find_bundle, hold_bundle, select_bundles

_PAGE = 500
PROOF_SUFFIX = ".tlog-proof"
ATTESTATION_SUFFIX = ".sigstore.json"


class Refused(Exception):
    """A command that can't be carried out; the message says why."""


def add_parsers(commands: Any) -> None:
    """Add the commands to a parser of commands."""
    actions = commands.add_parser("archive", help="list, export, check, hold and delete bundles").add_subparsers(
        dest="action", required=True
    )
    listing = actions.add_parser("list", help="show the bundles that are kept")
    export = actions.add_parser(
        "export", help="write bundles, proofs and attestations below a folder, as `verify` takes them"
    )
    export.add_argument("folder", type=Path)
    purge = actions.add_parser("purge", help="delete bundles now, but for those that are held")
    purge.add_argument("--older-than-days", type=int, required=True, metavar="N")
    for parser in (listing, export, purge):
        parser.add_argument("--repository", metavar="OWNER/NAME")
        parser.add_argument("--agent", metavar="ID")
    for parser in (listing, export):
        parser.add_argument("--since", type=microseconds, metavar="TIME", help="RFC 3339; when the archive got it")
        parser.add_argument("--until", type=microseconds, metavar="TIME")
    actions.add_parser("check", help="compare files, database and transparency log with one another")
    hold = actions.add_parser("hold", help="keep a bundle from being deleted")
    hold.add_argument("--because", required=True, help="why")
    release = actions.add_parser("release", help="let a bundle be deleted again")
    for parser in (hold, release):
        parser.add_argument("digest")


def run(database: Database, storage: Storage, limit: int, options: argparse.Namespace) -> None:
    """Run one of the commands.

    Args:
        limit: most bytes of a bundle, unpacked.

    Raises:
        Refused: it can't be done, or `check` found something.
        StoreUnavailable: the store or the archive does not answer.
    """
    connection = database.connect_writer()
    try:
        match options.action:
            case "list":
                for kept in _all(connection, _wanted(options)):
                    _show(kept)
            case "export":
                _export(connection, storage, limit, options)
            case "purge":
                _purge(connection, storage, options)
            case "check":
                _check(connection, storage, limit)
            case _:
                _hold(connection, storage, options.digest, getattr(options, "because", None))
    finally:
        connection.rollback()
        connection.close()


def _wanted(options: argparse.Namespace) -> Wanted:
    return Wanted(options.repository, options.agent, options.since, options.until)


def _all(connection: WriteConnection, wanted: Wanted) -> Iterator[Kept]:
    after = None
    while page := select_bundles(connection, wanted, after, _PAGE):
        yield from page
        after = (page[-1].received_at, page[-1].bundle.digest)


def _show(kept: Kept) -> None:
    one = kept.bundle
    held = "" if kept.held_because is None else f"  held: {ascii(kept.held_because)[1:-1]}"
    locked = "" if kept.locked_until is None else f"  locked until {_minute(kept.locked_until)}"
    print(f"{one.digest}  {timestamp_of(kept.received_at)[:19]}Z  {one.outcome:<14} {one.subject}{locked}{held}")


def _minute(instant: int) -> str:
    return f"{timestamp_of(instant)[:16]}Z"


def _export(connection: WriteConnection, storage: Storage, limit: int, options: argparse.Namespace) -> None:
    count = 0
    for kept in _all(connection, _wanted(options)):
        one = kept.bundle
        target = options.folder / one.repository / f"{one.run_id}-{one.run_attempt}-{one.digest[:12]}"
        try:
            source = storage.open(one.digest)
            if source is None:
                raise Refused(f"{one.digest} is missing in the {storage}")
            with source:
                read_bundle(source, one.digest, limit)
                _record(connection, "exported", kept, to=str(options.folder))
                target.mkdir(parents=True, exist_ok=True)
                with zipfile.ZipFile(source) as archive:
                    archive.extractall(target)  # read_bundle() has refused every name that leads elsewhere
            proof = _proof(connection, kept)
            if proof is not None:
                target.with_name(target.name + PROOF_SUFFIX).write_text(proof, encoding="utf-8")
            attestations = attestations_of(connection, one.digest)
            if attestations:
                beside = target.with_name(target.name + ATTESTATION_SUFFIX)
                beside.write_text("".join(f"{each}\n" for each in attestations), encoding="utf-8")
        except InvalidBundle as problem:
            raise Refused(f"{one.digest}: {problem.kind}: {problem.detail}") from None
        except OSError as problem:
            raise Refused(f"{problem.filename or target}: {problem.strerror}") from None
        count += 1
    print(f"{count} bundles exported to {options.folder}")


def _proof(connection: WriteConnection, kept: Kept) -> str | None:
    from app.store.log import find_entry, prove  # only where there is a log

    index = find_entry(connection, Entry(BUNDLE, kept.bundle.subject, kept.bundle.digest, 0).identity)
    proof = None if index is None else prove(connection, index)
    return None if proof is None else str(proof)


def _purge(connection: WriteConnection, storage: Storage, options: argparse.Namespace) -> None:
    if options.older_than_days < 1:
        raise Refused("--older-than-days is 1 or more")
    deleted = held = 0
    locked: list[str] = []
    until = time.time_ns() // 1000 - options.older_than_days * DAY_US
    for kept in _all(connection, Wanted(options.repository, options.agent, until=until)):
        digest = kept.bundle.digest
        reason = None if kept.held_because is not None else storage.locked(digest)
        if reason is not None:
            locked.append(f"{digest} is not deleted: {reason}")
        elif forget(connection, kept, who()):
            storage.remove(digest)
            deleted += 1
        else:
            held += 1
    for line in locked:
        print(line)
    print(f"{deleted} bundles deleted, {held} are held{f', {len(locked)} are locked' if locked else ''}")


def _hold(connection: WriteConnection, storage: Storage, digest: str, because: str | None) -> None:
    if because is not None and not 0 < len(because) <= 500:
        raise Refused("--because has 1 to 500 characters")
    kept = find_bundle(connection, digest) if is_digest(digest) else None
    if kept is None:
        raise Refused(f"the archive has no bundle {digest[:80]!a}")
    step = "released" if because is None else "held"
    storage.hold(digest, held=because is not None)
    if not hold_bundle(connection, digest, because, event_of(step, digest, who(), because=because)):
        raise Refused(f"{digest} was deleted meanwhile, and is not {step}")
    print(f"{digest} is {step}")


def _check(connection: WriteConnection, storage: Storage, limit: int) -> None:
    storage.check()
    found: list[str] = []
    whole: set[str] = set()
    runs: Counter[str] = Counter()
    for kept in _all(connection, Wanted()):
        one = kept.bundle
        runs[one.subject] += 1
        try:
            file = storage.open(one.digest)
            if file is None:
                found.append(f"{one.digest}: its file is missing")
                continue
            with file:
                if read_bundle(file, one.digest, limit) != one:
                    found.append(f"{one.digest}: the database says something else than the bundle")
            whole.add(one.digest)
        except InvalidBundle as problem:
            found.append(f"{one.digest}: {problem.kind}: {problem.detail}")
        except OSError as problem:
            found.append(f"{one.digest}: its file can't be read: {problem.strerror}")
    there = set(storage.digests())
    known = {digest for digest in there if find_bundle(connection, digest)}
    found += [f"{digest}: a file that the database doesn't know" for digest in sorted(there - known)]
    found += [f"{subject}: {count} bundles of one run" for subject, count in sorted(runs.items()) if count > 1]
    purged = _purged(connection)
    logged, faults = _logged(connection)
    found += faults
    found += [f"{digest}: in the log, and gone" for digest in sorted(logged - whole - purged - known)]
    if logged:
        found += [f"{digest}: not in the log" for digest in sorted(whole - logged)]
    print(f"{len(whole)} bundles are whole, {len(logged)} are in the log, {len(logged & purged)} of them were deleted")
    for line in found:
        print(line)
    if found:
        raise Refused(f"{len(found)} findings")


def _logged(connection: WriteConnection) -> tuple[set[str], list[str]]:
    from app.store.log import all_entries  # only where there is a log

    digests: set[str] = set()
    faults: list[str] = []
    for number, data in enumerate(all_entries(connection)):
        try:
            entry = parse_entry(data)
        except Fault as fault:
            faults.append(f"entry {number} of the log: {fault}")
            continue
        if entry.kind == BUNDLE:
            digests.add(entry.digest)
    return digests, faults


def _purged(connection: WriteConnection) -> set[str]:
    """Return the digests of which the archive's own trail says that they were deleted."""
    rows = connection.fetch("SELECT resource FROM events WHERE trace_id = ? AND action_type = 'file_write'", (TRACE,))
    return {str(resource).removeprefix("bundle/") for (resource,) in rows}


def _record(connection: WriteConnection, step: str, kept: Kept, **facts: Any) -> None:
    connection.begin()
    connection.insert([event_of(step, kept.bundle.digest, who(), subject=kept.bundle.subject, **facts)])
    connection.commit()


def who() -> str:
    """Return the login of who runs this."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
