"""The commands that need no store: keys, a witness, and verifying. `app/cli.py` runs them."""

from __future__ import annotations

import argparse
import json
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from app.events.model import timestamp_of
from app.log.checkpoint import MAX_PROOF_BYTES, Proof, parse_proof
from app.log.entries import BUNDLE, Entry, is_digest, parse_entry
from app.log.faults import Fault
from app.log.keys import create_keys, read_keys, read_public_keys, retire_key, rotate_keys
from app.log.mirror import check_mirror
from app.log.note import LOG, MAX_NOTE_BYTES, WITNESS, parse_note
from app.log.policy import read_policy
from app.log.verify import Signed, check_against, check_checkpoint, check_inclusion, checkpoint_of

COMMANDS = ("log-key", "witness", "verify", "verify-mirror")


def add_parsers(commands: Any) -> None:
    """Add the commands to a parser of commands."""
    keys = commands.add_parser("log-key", help="make and rotate the keys of a log or a witness").add_subparsers(
        dest="action", required=True
    )
    create = keys.add_parser("create", help="make a key in a new file; FILE.pub gets its public half")
    create.add_argument("file", type=Path)
    create.add_argument("--name", required=True, help="of the log or the witness, like audit.example.com/log")
    create.add_argument("--witness", action="store_true", help="the key of a witness, not of a log")
    for action, purpose in (
        ("show", "show the public halves of all keys"),
        ("rotate", "add a new key; old and new sign together from the next start on"),
        ("retire", "remove an old key"),
    ):
        parser = keys.add_parser(action, help=purpose)
        parser.add_argument("file", type=Path)
        parser.add_argument("--witness", action="store_true", help="the file is a witness's")
        if action == "retire":
            parser.add_argument("key_id", help="eight hex digits, as `show` has them")
    witness = commands.add_parser("witness", help="cosign the checkpoints of logs that only grow")
    witness.add_argument("--key", type=Path, required=True, help="the witness's key file")
    witness.add_argument("--log", action="append", required=True, type=Path, metavar="FILE", help="a log's public keys")
    witness.add_argument("--state", type=Path, required=True, help="where it remembers what it cosigned")
    witness.add_argument("--host", default="127.0.0.1")
    witness.add_argument("--port", type=int, default=8001)
    verify = commands.add_parser("verify", help="check, offline, that something is in a log")
    verify.add_argument("proof", type=Path, help="the file with the proof")
    verify.add_argument("--policy", type=Path, required=True, help="whose signatures are needed")
    what = verify.add_mutually_exclusive_group(required=True)
    what.add_argument("--bundle", type=Path, help="the file that has to be in the log")
    what.add_argument("--digest", help="its SHA-256 in hex")
    verify.add_argument("--subject", help="what it has to belong to")
    verify.add_argument("--seen", type=Path, help="a checkpoint of the log that you kept")
    verify.add_argument("--max-age", type=int, metavar="SECONDS", help="refuse a checkpoint cosigned longer ago")
    verify.add_argument("--json", action="store_true")
    mirror = commands.add_parser("verify-mirror", help="check, offline, a copy of a log's files")
    mirror.add_argument("folder", type=Path)
    mirror.add_argument("--policy", type=Path, required=True, help="whose signatures are needed")
    mirror.add_argument("--seen", type=Path, help="a checkpoint of the log that you kept")


def run(options: argparse.Namespace) -> int:
    """Run one of the commands and return the exit code.

    Raises:
        Fault: it can't be done, or what is to be verified is not so.
    """
    if options.command == "log-key":
        _keys(options)
        return 0
    if options.command == "witness":
        from app.log.witness import serve

        logs = [key for path in options.log for key in read_public_keys(path, LOG)]
        serve(options.key, logs, options.state, options.host, options.port)
        return 0
    if options.command == "verify":
        return _verify(options)
    try:
        signed = check_mirror(options.folder, read_policy(options.policy), int(time.time()), options.seen)
    except Fault as fault:
        return _refuse(fault)
    checkpoint = signed.checkpoint
    print(f"verified: {options.folder} is the log {checkpoint.origin} with its {checkpoint.size} entries")
    _show_witnesses(signed)
    return 0


def _keys(options: argparse.Namespace) -> None:
    kind = WITNESS if options.witness else LOG
    match options.action:
        case "create":
            print(create_keys(options.file, options.name, kind).verifier)
            print(f"The public half, also in {options.file}.pub. Copy {options.file} to a safe place.", file=sys.stderr)
        case "rotate":
            print(rotate_keys(options.file, kind).verifier)
            print("Add this to every policy beside the old one, then restart what signs.", file=sys.stderr)
        case "retire":
            retire_key(options.file, kind, options.key_id)
            print(f"{options.key_id} is retired: it signs nothing from the next start on, and stays in every policy")
        case _:
            for key in read_keys(options.file, kind):
                print(key.verifier)


def _verify(options: argparse.Namespace) -> int:
    try:
        signed, proof, entry = _verified(options)
    except Fault as fault:
        if not options.json:
            return _refuse(fault)
        print(json.dumps({"verified": False} | fault.describe()))
        return 1
    checkpoint, logged_at = signed.checkpoint, timestamp_of(entry.logged_at)
    if options.json:
        said = {
            "verified": True,
            "log": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "index": proof.index,
            "digest": entry.digest,
            "subject": entry.subject,
            "logged_at": logged_at,
            "witnesses": _times(signed),
        }
        print(json.dumps(said))
        return 0
    print(f"verified: {entry.digest} of {entry.subject} is entry {proof.index} of the log {checkpoint.origin}")
    print(f"the log took it at {logged_at}, by its own clock")
    _show_witnesses(signed)
    return 0


def _verified(options: argparse.Namespace) -> tuple[Signed, Proof, Entry]:
    policy = read_policy(options.policy)
    digest = options.digest if options.bundle is None else _digest_of(options.bundle)
    if not is_digest(digest):
        raise Fault("unreadable", "--digest is not a SHA-256 in 64 lower-case hex digits")
    proof = parse_proof(_read(options.proof, MAX_PROOF_BYTES))
    signed = check_checkpoint(proof.checkpoint, policy, int(time.time()), max_age=options.max_age)
    if proof.extra is None:
        raise Fault("malformed", "the proof has no line extra, which holds the entry")
    check_inclusion(proof, signed.checkpoint, proof.extra)
    entry = parse_entry(proof.extra)
    if entry.kind != BUNDLE or entry.digest != digest:
        raise Fault("other-entry", f"the proof is for the {entry.kind} {entry.digest}, not for {digest}")
    if options.subject is not None and entry.subject != options.subject:
        raise Fault("other-entry", f"the proof is for {entry.subject}, not for {options.subject}")
    if options.seen is not None:
        seen, _ = checkpoint_of(parse_note(_read(options.seen, MAX_NOTE_BYTES)), policy.logs)
        check_against(seen, signed.checkpoint)
    return signed, proof, entry


def _refuse(fault: Fault) -> int:
    print(f"NOT VERIFIED: {fault}")
    print(f"{fault.kind.meaning}. Who lied, as far as this shows: {fault.kind.party}.")
    return 1


def _times(signed: Signed) -> dict[str, str]:
    return {name: timestamp_of(seconds * 1_000_000) for name, seconds in sorted(signed.witnesses.items())}


def _show_witnesses(signed: Signed) -> None:
    for name, moment in _times(signed).items():
        print(f"cosigned by {name} at {moment}")
    if signed.witnesses:
        print("Since then nobody could have changed it without the log's key and the keys of these witnesses.")
    else:
        print("No witness cosigned it: whoever holds the log's key could have written another history.")


def _digest_of(path: Path) -> str:
    digest = sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1024 * 1024):
                digest.update(chunk)
    except OSError as error:
        raise Fault("unreadable", f"{path} can't be read: {error.strerror}") from None
    return digest.hexdigest()


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise Fault("unreadable", f"{path} can't be read: {error.strerror}") from None
