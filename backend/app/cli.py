"""Commands for operators: `python -m app …`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from app.archive import commands as archive_commands
from app.archive.commands import Refused, who
from app.archive.storage import storage_of
from app.archive.trail import EVENTS, event_about
from app.auth.keys import SCOPES, ApiKey, new_key
from app.events.model import timestamp_of
from app.log import commands as log_commands
from app.log.faults import Fault
from app.settings import InvalidSettings, Settings, load_settings
from app.store.base import Database, StoreUnavailable
from app.store.keys import INSERT_KEY, REVOKE_KEY, key_parameters, list_keys
from app.store.location import InvalidLocation, Location, SqliteFile, parse_location
from app.store.opening import open_database
from app.store.retention import BATCH, DAY_US
from app.store.schema import WrongSchema, prepare


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 done, 1 not done, 2 wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name of a key may hold what this terminal can't show
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        if options.command in log_commands.COMMANDS:
            return log_commands.run(options)
        settings = load_settings()
        location = parse_location(settings.database_url)
        database = open_database(location)
        changed = prepare(database, migrate=settings.migrate_on_start or options.command == "migrate")
        match options.command:
            case "migrate":
                print(f"{location}: {'brought up to date' if changed else 'is up to date'}")
            case "keys":
                _keys(database, options)
            case "purge":
                _purge(database, options.older_than_days)
            case "archive":
                _archive(database, settings, options)
            case "log-check":
                _check_log(database, settings, options.policy)
            case "log-export":
                _export_log(database, options.folder)
            case _:
                _backup(location, options.file)
    except (InvalidSettings, InvalidLocation, StoreUnavailable, WrongSchema, Refused, Fault) as error:
        print(f"aimgentix: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app", description="Look after the AIMgentix backend.")
    commands = parser.add_subparsers(dest="command", required=True)
    keys = commands.add_parser("keys", help="make, list and revoke API keys").add_subparsers(
        dest="action", required=True
    )
    create = keys.add_parser("create", help="make a key and show it, once")
    create.add_argument("--name", required=True, help="what it is for")
    create.add_argument("--scope", action="append", required=True, choices=SCOPES, help="may be given several times")
    create.add_argument("--expires-in-days", type=_positive, metavar="N")
    keys.add_parser("list", help="show all keys, without their secrets")
    revoke = keys.add_parser("revoke", help="make a key useless")
    revoke.add_argument("key_id")
    create.add_argument("--repository", metavar="OWNER/NAME", help="it writes for this repository only")
    create.add_argument("--agent", metavar="ID", help="it writes for this agent only")
    commands.add_parser("migrate", help="bring the store's schema up to date")
    purge = commands.add_parser("purge", help="delete old events now")
    purge.add_argument("--older-than-days", type=_positive, required=True, metavar="N")
    backup = commands.add_parser("backup", help="copy a SQLite store that is in use")
    backup.add_argument("file", type=Path)
    check = commands.add_parser("log-check", help="compare the store with what the transparency log signed")
    check.add_argument("--policy", type=Path, help="with the log's public keys, where its key file is not at hand")
    export = commands.add_parser("log-export", help="write the transparency log as plain files, to be mirrored")
    export.add_argument("folder", type=Path)
    archive_commands.add_parsers(commands)
    log_commands.add_parsers(commands)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _keys(database: Database, options: argparse.Namespace) -> None:
    now = time.time_ns() // 1000
    if options.action == "create":
        if not options.name.isprintable() or not 0 < len(options.name) <= 100:
            raise Refused("the name of a key has 1 to 100 printable characters")
        expires_at = None if options.expires_in_days is None else now + options.expires_in_days * DAY_US
        scopes = tuple(dict.fromkeys(options.scope))
        key, kept = new_key(options.name, scopes, now, expires_at, agent=options.agent, repository=options.repository)
        database.execute(INSERT_KEY, key_parameters(kept))
        print(key)
        print("This is shown once; only its hash is stored. From now on callers need a key.", file=sys.stderr)
    elif options.action == "revoke":
        if not database.execute(REVOKE_KEY, (now, options.key_id)):
            raise Refused(f"there is no key {options.key_id} that could be revoked")
        print(f"{options.key_id} is revoked; running backends notice within seconds")
    else:
        connection = database.connect_reader()
        try:
            for kept in list_keys(connection):
                print(f"{kept.key_id}  {','.join(kept.scopes):18} {_state(kept, now):32} {kept.name}")
        finally:
            connection.close()


def _state(key: ApiKey, now: int) -> str:
    if key.revoked_at is not None:
        return f"revoked {_minute(key.revoked_at)}"
    if key.expires_at is not None:
        return f"{'expired' if now >= key.expires_at else 'expires'} {_minute(key.expires_at)}"
    return f"since {_minute(key.created_at)}"


def _minute(instant: int) -> str:
    return f"{timestamp_of(instant)[:16]}Z"


def _purge(database: Database, days: int) -> None:
    before = time.time_ns() // 1000 - days * DAY_US
    connection = database.connect_writer()
    total = 0
    try:
        while True:
            connection.begin()
            deleted = connection.purge(before, BATCH)
            connection.commit()
            total += deleted
            if deleted < BATCH:
                break
        if total:
            connection.begin()
            connection.insert(
                [event_about("purged", EVENTS, who(), events=total, received_before=timestamp_of(before))]
            )
            connection.commit()
    finally:
        connection.rollback()
        connection.close()
    print(f"{total} events deleted")


def _archive(database: Database, settings: Settings, options: argparse.Namespace) -> None:
    storage = storage_of(settings, parse_location(settings.database_url))
    if storage is None:
        raise Refused("set AIMGENTIX_ARCHIVE to the folder or the bucket in which the backends keep bundles")
    archive_commands.run(database, storage, settings.max_bundle_bytes, options)


def _check_log(database: Database, settings: Settings, policy: Path | None) -> None:
    from app.log.guard import open_guard
    from app.log.policy import read_policy
    from app.store.audit import audit

    guard = None if settings.log_key is None else open_guard(settings.log_key)
    if policy is None and guard is None:
        raise Refused("set AIMGENTIX_LOG_KEY, or give --policy, so that it is known whose log this is")
    logs = read_policy(policy).logs if policy else [key.verifier for key in guard.keys] if guard else []
    connection = database.connect_reader()
    try:
        report = audit(connection, logs, None if guard is None else guard.last())
    finally:
        connection.close()
    print(
        f"{report.entries} entries in the log; {report.events} events are as they were when the log took their digest"
    )
    if report.deleted:
        print(f"{report.deleted} older events were deleted since: by retention, a purge, or by hand")
    if report.unchecked:
        print(f"{report.unchecked} events can't be compared: the log has one digest for them and for deleted ones")
    for fault in report.faults:
        print(f"{fault} (at fault: {fault.kind.party})")
    if report.faults:
        raise Refused(f"{len(report.faults)} findings: the store is not what was signed")


def _export_log(database: Database, folder: Path) -> None:
    from app.log.mirror import write_mirror
    from app.store.log import all_entries, latest

    connection = database.connect_reader()
    try:
        published = latest(connection)
        if published is None:
            raise Refused("the log has no checkpoint yet")
        folder.mkdir(parents=True, exist_ok=True)
        write_mirror(folder, published.note, published.checkpoint.size, all_entries(connection))
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror}") from None
    finally:
        connection.close()
    print(f"{published.checkpoint.size} entries written to {folder}")


def _backup(location: Location, target: Path) -> None:
    if not isinstance(location, SqliteFile):
        raise Refused("this copies SQLite stores; use pg_dump for PostgreSQL")
    from app.store.sqlite import SqliteDatabase

    try:
        SqliteDatabase(location.path, 0).copy_to(target)
    except OSError as error:
        raise Refused(f"{target}: {error.strerror}") from None
    print(f"{location} copied to {target}")
