"""A witness (C2SP tlog-witness): cosigns what continues the tree that it cosigned last, and nothing else."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from app.log.checkpoint import Checkpoint, parse_checkpoint
from app.log.cosigning import MAX_REQUEST_BYTES, SIZE_TYPE, Request, origin_hash, parse_request
from app.log.faults import Fault
from app.log.keys import read_keys
from app.log.note import WITNESS, Note, SignerKey, VerifierKey, parse_note
from app.log.tree import EMPTY_ROOT, InvalidProof, check_consistency
from app.log.verify import checkpoint_of

_TEXT = "text/plain; charset=utf-8"
_BODY_SECONDS = 10
_MOST_EVIDENCE = 1000
"""Of each code: anybody may send wrong proofs, and they take no room from what convicts a log."""
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS witnessed (origin TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, note TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS evidence (code TEXT NOT NULL, had TEXT NOT NULL, got TEXT NOT NULL, UNIQUE (had, got));
"""


class OtherSize(Exception):
    """The request starts from another size than the witness has.

    Attributes:
        size: the one that it has.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Witness:
    """What a witness knows and does, without HTTP.

    Args:
        keys: all of them sign.
        logs: the keys of the logs that it cosigns.
        state: the file in which it keeps the last checkpoint of each, and what convicts a log.
    """

    def __init__(self, keys: Sequence[SignerKey], logs: Sequence[VerifierKey], state: Path) -> None:
        self._keys = keys
        self._logs = logs
        self._lock = threading.Lock()
        try:
            os.close(os.open(state, os.O_CREAT | os.O_RDWR, 0o600))
            self._connection = sqlite3.connect(state, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_SCHEMA)
        except OSError as error:
            raise Fault("unreadable", f"{state}: {error.strerror}") from None
        except sqlite3.Error as error:
            raise Fault("unreadable", f"{state} is not a witness's state: {error}") from None

    def cosign(self, body: bytes, now: int) -> str:
        """Return the signature lines for the checkpoint in a request. It is remembered durably before.

        Args:
            now: seconds since 1970.

        Raises:
            Fault: it isn't cosigned; the code says why.
            OtherSize: the proof has to start from another size.
        """
        request = parse_request(body)
        origin = parse_checkpoint(request.note.text).origin
        logs = [log for log in self._logs if log.name == origin]
        checkpoint, _ = checkpoint_of(request.note, logs)
        if request.old > checkpoint.size:
            raise Fault("malformed", f"the proof starts from {request.old}, beyond the tree of {checkpoint.size}")
        with self._transaction():
            kept = self._kept(origin)
            try:
                self._require(request, checkpoint, kept)
            except Fault as fault:
                self._keep_evidence(fault.code, kept, self._signed(request.note))
                refusal = fault
            else:
                return self._cosign(request.note, checkpoint, now)
        raise refusal

    def _require(self, request: Request, checkpoint: Checkpoint, kept: Note | None) -> None:
        """Do nothing if the tree of `checkpoint` continues the one that was cosigned last."""
        had = None if kept is None else parse_checkpoint(kept.text)
        size, root = (0, EMPTY_ROOT) if had is None else (had.size, had.root)
        if request.old != size:
            raise OtherSize(size)
        if checkpoint.size == size and checkpoint.root != root:
            raise Fault("two-roots", f"of size {size} the log signed two roots")
        try:
            check_consistency(size, root, checkpoint.size, checkpoint.root, request.proof)
        except InvalidProof as error:
            raise Fault("wrong-proof", str(error)) from None

    def _cosign(self, note: Note, checkpoint: Checkpoint, now: int) -> str:
        signatures = [key.sign(note.text, now) for key in self._keys]
        of_log = self._signed(note).signatures
        self._connection.execute(
            "INSERT INTO witnessed (origin, hash, note) VALUES (?, ?, ?)"
            " ON CONFLICT (origin) DO UPDATE SET note = excluded.note",
            (checkpoint.origin, origin_hash(checkpoint.origin), str(Note(note.text, (*of_log, *signatures)))),
        )
        return "".join(signature.line for signature in signatures)

    def _signed(self, note: Note) -> Note:
        """Return a note with the signatures of logs that it has; whoever sent it may have added any others."""
        trusted = {(log.name, log.key_id) for log in self._logs}
        signatures = dict.fromkeys(one for one in note.signatures if (one.name, one.key_id) in trusted)
        return Note(note.text, tuple(signatures))

    def knows(self, body: bytes) -> bool:
        """Return whether a request is about a log that it cosigns."""
        origin = parse_checkpoint(parse_request(body).note.text).origin
        return any(log.name == origin for log in self._logs)

    def last(self, digest: str) -> str | None:
        """Return the checkpoint that it cosigned last of the log that `digest` stands for, or None."""
        with self._lock:
            row = self._connection.execute("SELECT note FROM witnessed WHERE hash = ?", (digest,)).fetchone()
        return None if row is None else str(row[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _kept(self, origin: str) -> Note | None:
        row = self._connection.execute("SELECT note FROM witnessed WHERE origin = ?", (origin,)).fetchone()
        return None if row is None else parse_note(row[0].encode())

    def _keep_evidence(self, code: str, kept: Note | None, note: Note) -> None:
        """Keep two checkpoints that the log signed: two roots convict it, a wrong proof is to be cleared up."""
        (held,) = self._connection.execute("SELECT count(*) FROM evidence WHERE code = ?", (code,)).fetchone()
        if held < _MOST_EVIDENCE:
            self._connection.execute(
                "INSERT INTO evidence (code, had, got) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (code, str(kept), str(note)),
            )


_STATUS = {"malformed": 400, "other-log": 403, "log-signature": 403, "wrong-proof": 422, "two-roots": 422}


def application(witness: Witness) -> Starlette:
    """Return the witness as a web application. Callers need no key: what they send is signed by a log, or refused."""

    async def add_checkpoint(request: HttpRequest) -> Response:
        body = await _body(request)
        if body is None:
            return Response("malformed: the body is too large, or did not arrive\n", 400, media_type=_TEXT)
        try:
            if not witness.knows(body):
                return Response("other-log: this witness doesn't cosign this log\n", 404, media_type=_TEXT)
            lines = await asyncio.to_thread(witness.cosign, body, int(time.time()))
        except Fault as fault:
            return Response(f"{fault}\n", _STATUS[fault.code], media_type=_TEXT)
        except OtherSize as other:
            return Response(f"{other.size}\n", 409, {"Content-Type": SIZE_TYPE})
        return Response(lines, media_type=_TEXT)

    async def get_checkpoint(request: HttpRequest) -> Response:
        note = await asyncio.to_thread(witness.last, request.path_params["digest"])
        if note is None:
            return Response("nothing was cosigned of this log\n", 404, media_type=_TEXT)
        return Response(note, media_type=_TEXT)

    return Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/{digest}/checkpoint", get_checkpoint),
        ]
    )


async def _body(request: HttpRequest) -> bytes | None:
    data = b""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                data += chunk
                if len(data) > MAX_REQUEST_BYTES:
                    return None
    except (TimeoutError, ClientDisconnect):
        return None
    return data


def serve(key: Path, logs: Sequence[VerifierKey], state: Path, host: str, port: int) -> None:
    """Run a witness until it is stopped.

    Raises:
        Fault: its key or its state can't be read.
    """
    keys = read_keys(key, WITNESS)
    witness = Witness(keys, logs, state)
    names = ", ".join(sorted({log.name for log in logs}))
    print(f"witness {keys[0].name} cosigns {names} at http://{host}:{port}", flush=True)
    try:
        uvicorn.run(application(witness), host=host, port=port, log_level="warning", limit_concurrency=100)
    finally:
        witness.close()
