"""Logs and witnesses for tests."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from app.cli import main
from app.log.checkpoint import Checkpoint, Proof, parse_checkpoint, parse_proof
from app.log.cosigning import fetch_witnessed
from app.log.keys import create_keys
from app.log.note import LOG, WITNESS, Note, SignerKey, parse_note
from app.log.tiles import tiles_of, unpack_entries
from app.log.tree import leaf_hash, root_of
from backend_client import JSON, Answer, Client, eventually
from bench.servers import BACKEND, HOST, reserve_port, tied

ORIGIN = "audit.example.com/log"


@dataclass(frozen=True)
class Parties:
    """A log and a witness, each with a key, and the policy that names both.

    Attributes:
        settings: environment variables with which a backend keeps the log.
    """

    folder: Path
    log: SignerKey
    witness: SignerKey
    port: int

    @property
    def key(self) -> Path:
        return self.folder / "log.key"

    @property
    def policy(self) -> Path:
        return self.folder / "policy"

    @property
    def settings(self) -> dict[str, str]:
        return {
            "AIMGENTIX_LOG_KEY": str(self.key),
            "AIMGENTIX_LOG_POLICY": str(self.policy),
            "AIMGENTIX_LOG_SEAL_SECONDS": "0.2",
        }

    @contextmanager
    def witnessing(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run the witness."""
        command = [*tied("KILL"), sys.executable, "-m", "app", "witness", "--key", str(self.folder / "witness.key")]
        command += [
            "--log",
            f"{self.key}.pub",
            "--state",
            str(self.folder / "witness.db"),
            "--port",
            str(self.port),
        ]
        with (self.folder / "witness.log").open("ab") as output:
            process = subprocess.Popen(command, cwd=BACKEND, stdout=output, stderr=output)
        try:
            eventually(self._answers)
            yield process
        finally:
            process.terminate()
            process.wait(60)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            fetch_witnessed(f"http://{HOST}:{self.port}", ORIGIN)
            return True
        return False

    def witnessed(self) -> Checkpoint | None:
        """What the witness cosigned last."""
        note = fetch_witnessed(f"http://{HOST}:{self.port}", ORIGIN)
        return None if note is None else parse_checkpoint(note.text)


@contextmanager
def parties(folder: Path) -> Iterator[Parties]:
    """Make a log's and a witness's keys, and keep a port for the witness."""
    folder.mkdir()
    with reserve_port() as keeper:
        port = keeper.getsockname()[1]
        log = create_keys(folder / "log.key", ORIGIN, LOG)
        witness = create_keys(folder / "witness.key", "witness.example.com/1", WITNESS)
        (folder / "policy").write_text(
            f"log {log.verifier}\nwitness w1 {witness.verifier} http://{HOST}:{port}\nquorum w1\n", encoding="utf-8"
        )
        yield Parties(folder, log, witness, port)


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def post_entries(client: Client, digests: list[str], subject: str = "acme/x/runs/1") -> Answer:
    body = json.dumps([{"digest": digest, "subject": subject} for digest in digests]).encode()
    return client.ask("POST", "/v1/log/entries", body, content_type=JSON)


def proof_of(client: Client, index: int) -> Proof:
    answer = client.get(f"/v1/log/proof?index={index}")
    assert answer.status == 200, answer
    return parse_proof(answer.body)


def checkpoint_of(client: Client) -> Checkpoint:
    answer = client.get("/log/checkpoint")
    assert answer.status == 200, answer
    return parse_checkpoint(parse_note(answer.body).text)


def entries_of(client: Client, size: int) -> list[bytes]:
    """Fetch all entries as a mirror does."""
    found: list[bytes] = []
    for tile in tiles_of(size, -1):
        answer = client.get(f"/log/{tile.path}")
        assert answer.status == 200, answer
        found += unpack_entries(answer.body)
    return found


def require_history(client: Client, seen: list[Checkpoint]) -> list[bytes]:
    """Check that every checkpoint that was seen is one of the tree that is there now; return its entries."""
    last = checkpoint_of(client)
    entries = entries_of(client, last.size)
    leaves = [leaf_hash(entry) for entry in entries]
    for one in {(one.size, one.root): one for one in [*seen, last]}.values():
        assert one.size <= last.size, "a checkpoint that was shown is of a larger tree than the log has"
        assert root_of(leaves[: one.size]) == one.root, "the log signed two histories"
    return entries


class Submitter(threading.Thread):
    """Logs digests without end, each batch again and again until it is acknowledged.

    Attributes:
        acknowledged: where the log said that each digest is.
        seen: checkpoints that the log showed meanwhile.
    """

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[str, int] = {}
        self.seen: list[Checkpoint] = []
        self.faults: list[str] = []
        self._client = Client(port)
        self._halt = threading.Event()

    def run(self) -> None:
        while not self._halt.is_set():
            digests = [digest_of(uuid4().hex) for _ in range(20)]
            while not self._halt.is_set():
                with contextlib.suppress(OSError, http.client.HTTPException):
                    answer = post_entries(self._client, digests)
                    if answer.status in (200, 201):
                        places = [one["index"] for one in answer.json["entries"]]
                        self.acknowledged |= dict(zip(digests, places, strict=True))
                        self.seen.append(checkpoint_of(self._client))
                        break
                    if answer.status != 503 or "log-halted" in str(answer.json):
                        self.faults.append(answer.body.decode())
                time.sleep(0.02)

    def finish(self) -> None:
        self._halt.set()
        self.join(60)
        assert not self.is_alive()


def cosigned(note: Note, *witnesses: SignerKey) -> Note:
    return Note(note.text, (*note.signatures, *(each.sign(note.text, 1) for each in witnesses)))


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Run a command in this process, as an operator or an auditor does."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out + captured.err
