"""The transparency log as it runs: what it acknowledged stays, and it never signs two histories."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from app.log.checkpoint import Checkpoint
from app.log.cosigning import parse_request
from app.log.note import LOG, WITNESS, Note, new_signer, parse_note, signatures_of
from app.store.sqlite import SqliteDatabase
from backend_client import Client, administer, chained, event, eventually, line
from backend_log import (
    ORIGIN,
    Parties,
    Submitter,
    checkpoint_of,
    cosigned,
    digest_of,
    entries_of,
    post_entries,
    proof_of,
    require_history,
    run,
)
from bench.servers import HOST, Backend

KILLS = int(os.environ.get("AIMGENTIX_TEST_LOG_KILLS", "3"))
"""How often the log is killed on each store."""


def test_from_a_bundle_to_an_auditor(
    start: Any,
    database_url: str,
    both: Parties,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(b"evidence")
    digest = digest_of("evidence")
    with both.witnessing():
        backend: Backend = start(database_url, **both.settings)
        client = Client(backend.port)
        first = post_entries(client, [digest])
        assert (first.status, first.json) == (201, {"entries": [{"index": 0, "status": "logged"}]})
        again = post_entries(client, [digest, digest_of("more")])
        assert [one["status"] for one in again.json["entries"]] == ["duplicate", "logged"]
        assert post_entries(client, [digest]).status == 200
        lines = chained([line("kept", seq, trace_id="kept") for seq in range(1, 301)])
        assert client.post_lines(lines).status == 201
        assert client.post(event()).status == 201
        eventually(lambda: both.witnessed() == checkpoint_of(client) and checkpoint_of(client).size >= 4)
        proof = tmp_path / "bundle.tlog-proof"
        answer = client.get(f"/v1/log/proof?digest={digest}&subject=acme/x/runs/1")
        proof.write_bytes(answer.body)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        seen = tmp_path / "checkpoint"
        seen.write_bytes(client.get("/log/checkpoint").body)

    # Nothing but the proof, the bundle and the policy is left.
    code, said = run(capsys, "verify", proof, "--policy", both.policy, "--bundle", bundle, "--seen", seen)
    assert (code, "verified" in said, "cosigned by w1" in said) == (0, True, True), said
    code, said = run(capsys, "verify", proof, "--policy", both.policy, "--bundle", proof, "--json")
    assert (code, json.loads(said)["code"]) == (1, "other-entry")

    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("AIMGENTIX_LOG_KEY", str(both.key))
    mirror = tmp_path / "mirror"
    assert run(capsys, "log-export", mirror)[0] == 0
    code, said = run(capsys, "verify-mirror", mirror, "--policy", both.policy, "--seen", seen)
    assert code == 0, said
    assert (mirror / "tile" / "entries").is_dir()

    code, said = run(capsys, "log-check")
    assert (code, "301 events are as they were" in said) == (0, True), said
    administer(database_url, "UPDATE events SET status = 'error' WHERE seq = 7")
    code, said = run(capsys, "log-check")
    assert (code, "row-altered: stream kept" in said) == (1, True), said
    administer(database_url, "UPDATE events SET status = 'success' WHERE seq = 7", "DELETE FROM events WHERE seq > 290")
    code, said = run(capsys, "log-check")
    assert (code, "row-missing: stream kept: of " in said) == (1, True), said


def test_a_tail_that_is_deleted_and_filled_again(
    start: Any, both: Parties, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite gives new events the positions of those that were deleted at the end."""
    backend: Backend = start(**both.settings)
    client = Client(backend.port)
    client.post_lines([event(trace_id="real") for _ in range(10)])
    eventually(lambda: checkpoint_of(client).size == 1)
    administer(backend.database_url, "DELETE FROM events WHERE position > 5")
    client.post_lines([event(trace_id="filled") for _ in range(5)])
    time.sleep(0.5)
    backend.stop()
    monkeypatch.setenv("DATABASE_URL", backend.database_url)
    code, said = run(capsys, "log-check", "--policy", both.policy)
    assert (code, "row-altered: events without a stream: the events at 1 to 10" in said) == (1, True), said


def test_retention_is_no_finding(
    start: Any, both: Parties, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    both.policy.write_text("quorum none\n")
    backend: Backend = start(**both.settings)
    client = Client(backend.port)
    database_url = backend.database_url
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("AIMGENTIX_LOG_KEY", str(both.key))

    def round_of(events: int, entries: int) -> None:
        if events:
            client.post_lines([event() for _ in range(events)])
        eventually(lambda: checkpoint_of(client).size == entries)

    round_of(10, 1)
    round_of(10, 2)
    administer(database_url, "UPDATE events SET received_at = 1 WHERE position <= 15")
    run(capsys, "purge", "--older-than-days", "1")
    round_of(0, 3)  # what records the purge is an event, too
    code, said = run(capsys, "log-check")
    assert (code, "15 older events were deleted" in said, "5 events can't be compared" in said) == (0, True, True), said
    administer(database_url, "UPDATE events SET received_at = 1")
    run(capsys, "purge", "--older-than-days", "1")
    round_of(0, 4)
    round_of(7, 5)
    code, said = run(capsys, "log-check")
    assert (code, "21 older events" in said, "; 8 events are as they were" in said) == (0, True, True), said


def test_kill_under_load(tmp_path: Path, database_url: str, both: Parties) -> None:
    """Two backends share PostgreSQL, and one after the other is killed; a witness runs all along."""
    count = 2 if database_url.startswith("postgres") else 1
    backends = []
    for number in range(count):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(both.key, folder)
        settings = {**both.settings, "AIMGENTIX_LOG_KEY": str(folder / "log.key")}
        url = database_url if count == 2 else f"sqlite:///{folder / 'audit.db'}"
        backends.append(Backend(folder, url, settings))
    with both.witnessing():
        submitters: list[Submitter] = []
        try:
            for backend in backends:
                backend.start()
                submitters += [Submitter(backend.port), Submitter(backend.port)]
            for submitter in submitters:
                submitter.start()
            for number in range(KILLS):
                settle(submitters)
                time.sleep(random.random() * 0.3)
                backends[number % count].kill()
                backends[number % count].start()
            settle(submitters)
            for submitter in submitters:
                submitter.finish()
                assert submitter.faults == []
            client = Client(backends[0].port)
            seen = [one for submitter in submitters for one in submitter.seen]
            eventually(lambda: both.witnessed() == checkpoint_of(client))
            witnessed = both.witnessed()
            assert witnessed is not None
            entries = require_history(client, [*seen, witnessed])
            acknowledged = {digest: at for one in submitters for digest, at in one.acknowledged.items()}
            assert len(acknowledged) >= 20 * KILLS
            for digest, at in acknowledged.items():
                assert json.loads(entries[at])["digest"] == digest, "an acknowledged entry is lost"
            assert len(set(entries)) == len(entries)
        finally:
            for backend in backends:
                backend.__exit__(None, None, None)


def settle(submitters: list[Submitter]) -> None:
    """Wait until each got one more batch acknowledged."""
    marks = [len(one.acknowledged) for one in submitters]
    eventually(lambda: all(len(one.acknowledged) > mark for one, mark in zip(submitters, marks, strict=True)), 120)


def test_a_restored_backup_is_not_signed(start: Any, tmp_path: Path, both: Parties) -> None:
    with both.witnessing():
        backend: Backend = start(**both.settings)
        client = Client(backend.port)
        post_entries(client, [digest_of("yesterday")])
        yesterday = tmp_path / "yesterday.db"
        SqliteDatabase(tmp_path / "audit.db", 5).copy_to(yesterday)
        guard = both.key.with_name("log.key.signed")
        guard_of_yesterday = guard.read_bytes()
        post_entries(client, [digest_of("today")])
        eventually(lambda: both.witnessed() == checkpoint_of(client))
        backend.stop()
        for old in filter(Path.is_file, tmp_path.glob("audit.db*")):
            old.unlink()
        yesterday.rename(tmp_path / "audit.db")

        backend.start()
        answer = post_entries(client, [digest_of("a fork")])
        assert (answer.status, answer.fields) == (503, ["rolled-back"])
        assert checkpoint_of(client).size == 1
        assert b"aimgentix_log_halted 1.0" in client.get("/metrics").body
        assert client.post(event()).status == 201  # events are stored all the same

        # The whole machine was restored: then only the witness remembers.
        backend.stop()
        guard.write_bytes(guard_of_yesterday)
        backend.start()
        answer = post_entries(client, [digest_of("a fork")])
        assert (answer.status, answer.fields) == (503, ["rolled-back"])
        assert len(entries_of(client, 1)) == 1
        backend.stop()

    # The same while the witness is away: it halts the log when it is back.
    guard.write_bytes(guard_of_yesterday)
    backend.start()
    assert post_entries(client, [digest_of("a fork")]).status == 201
    with both.witnessing():
        eventually(lambda: b"aimgentix_log_halted 1.0" in client.get("/metrics").body)
    assert post_entries(client, [digest_of("more")]).fields == ["not-consistent"]


def test_a_witness_neither_halts_a_log_nor_spoils_its_proofs(start: Any, both: Parties) -> None:
    """One shows a checkpoint that the log never signed, and answers with no signature of its own; one has a new key."""
    liar = new_signer("liar.example.org/1", WITNESS)
    renewed = new_signer(both.witness.name, WITNESS)
    impostor = new_signer(ORIGIN, LOG)
    forged = Checkpoint(ORIGIN, 999, bytes(32)).text
    shown = str(cosigned(Note(forged, (impostor.sign(forged),)), liar, both.witness)).encode()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.answer(shown)

        def do_POST(self) -> None:
            text = parse_request(self.rfile.read(int(self.headers["Content-Length"]))).note.text
            signed = [renewed.sign(text, 7), both.witness.sign(text, 7)]
            if self.path.startswith("/liar"):
                signed = [liar.sign("another text", 7)]
            self.answer("".join(one.line for one in signed).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://{HOST}:{server.server_address[1]}"
        lines = [
            f"witness liar {liar.verifier} {url}/liar",
            f"witness w1 {both.witness.verifier} {url}/w1",
            "quorum w1",
        ]
        both.policy.write_text("\n".join(lines))
        client = Client(start(**both.settings).port)
        assert post_entries(client, [digest_of("x")]).status == 201
        keys = [liar.verifier, both.witness.verifier, both.log.verifier]
        wanted = {both.log.verifier: 0, both.witness.verifier: 7}
        eventually(lambda: signatures_of(proof_of(client, 0).checkpoint, keys) == wanted)
        assert post_entries(client, [digest_of("y")]).status == 201
        server.shutdown()


def test_keys_change_and_old_proofs_stay_good(
    start: Any, both: Parties, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old_policy = tmp_path / "old-policy"
    old_policy.write_text(f"log {both.log.verifier}\nquorum none\n")
    both.policy.write_text("quorum none\n")
    backend: Backend = start(**both.settings)
    client = Client(backend.port)
    post_entries(client, [digest_of("before")])
    before, between, after = (tmp_path / name for name in ("before", "between", "after"))
    before.write_text(str(proof_of(client, 0)))

    code, said = run(capsys, "log-key", "rotate", both.key)
    assert (code, both.key.stat().st_mode & 0o777) == (0, 0o600)
    new_policy, both_policy = tmp_path / "new-policy", tmp_path / "both-policy"
    new_policy.write_text(f"log {said.splitlines()[0]}\nquorum none\n")
    both_policy.write_text(f"log {both.log.verifier}\nlog {said.splitlines()[0]}\nquorum none\n")
    backend.stop()
    backend.start()
    post_entries(client, [digest_of("between")])
    between.write_text(str(proof_of(client, 1)))

    assert run(capsys, "log-key", "retire", both.key, both.log.verifier.key_id.hex())[0] == 0
    backend.stop()
    backend.start()
    post_entries(client, [digest_of("after")])
    after.write_text(str(proof_of(client, 2)))
    assert len(parse_note(client.get("/log/checkpoint").body).signatures) == 1

    good = {
        before: {old_policy, both_policy},
        between: {old_policy, new_policy, both_policy},
        after: {new_policy, both_policy},
    }
    for proof, policies in good.items():
        for policy in (old_policy, new_policy, both_policy):
            code, said = run(capsys, "verify", proof, "--policy", policy, "--digest", digest_of(proof.name))
            assert (code == 0) == (policy in policies), said
            assert code == 0 or "other-log" in said


def test_what_is_asked_wrongly(
    start: Any, both: Parties, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    both.policy.write_text("quorum none\n")
    backend: Backend = start(**both.settings, AIMGENTIX_LOG_PUBLIC="true")
    client = Client(backend.port)
    digest = digest_of("x")
    post_entries(client, [digest])
    entry = {"digest": digest, "subject": "x"}
    wrong = [entry | {"digest": "x" * 64}, entry | {"subject": ""}, entry | {"more": 1}, entry | {"subject": "x" * 501}]
    wrong.append(entry | {"subject": "x\0"})
    many = [{"digest": digest_of(str(number)), "subject": "x"} for number in range(1001)]
    for body in ({}, [], [{"digest": digest}], many, *([one] for one in wrong)):
        answer = client.ask("POST", "/v1/log/entries", json.dumps(body).encode(), content_type="application/json")
        assert (answer.status, answer.json["type"]) == (400, "urn:aimgentix:problem:invalid-entry")
    answer = client.ask("POST", "/v1/log/entries", json.dumps([entry]).encode(), content_type="text/plain")
    assert answer.status == 415
    assert checkpoint_of(client).size == 1
    for path in ("?", "?index=0&digest=" + digest, "?digest=" + digest, "?index=-1", "?index=x", "?nothing=1"):
        assert client.get(f"/v1/log/proof{path}").status == 400
    for path in ("0/000", "0/000.p/2", "1/000.p/1", "entries/001.p/1", "nonsense"):
        assert client.get(f"/log/tile/{path}").status == 404, path
    for query in ("index=1", f"digest={digest}&subject=y"):
        assert client.get(f"/v1/log/proof?{query}").status == 404
    assert len(client.get("/log/tile/0/000.p/1").body) == 32
    described = client.get("/openapi.json").json["paths"]
    assert {"/v1/log/entries", "/v1/log/proof", "/log/checkpoint"} <= set(described)
    # The log is public here: with a key in the store, anybody may still mirror it, and do nothing else.
    monkeypatch.setenv("DATABASE_URL", backend.database_url)
    run(capsys, "keys", "create", "--name", "w", "--scope", "write")
    eventually(lambda: client.get("/v1/log/proof?index=0").status == 401)
    assert client.get("/log/checkpoint").status == client.get("/log/tile/0/000.p/1").status == 200


def test_who_may(
    start: Any, both: Parties, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    both.policy.write_text("quorum none\n")
    backend: Backend = start(**both.settings)
    monkeypatch.setenv("DATABASE_URL", backend.database_url)
    key = run(capsys, "keys", "create", "--name", "w", "--scope", "write")[1].splitlines()[0]
    writer, nobody = Client(backend.port, key), Client(backend.port)
    eventually(lambda: nobody.get("/log/checkpoint").status == 401)
    assert post_entries(nobody, [digest_of("x")]).status == 401
    assert post_entries(writer, [digest_of("x")]).status == 201
    for path in ("/log/checkpoint", "/log/tile/0/000.p/1", "/v1/log/proof?index=0"):
        assert writer.get(path).status == 403


def test_a_start_without_its_key_says_why(tmp_path: Path, both: Parties) -> None:
    both.key.chmod(0o640)
    with Backend(tmp_path, None, both.settings) as backend:
        backend.start(wait=False)
        assert backend.process
        assert backend.process.wait(60) != 0
        assert "can't open its log" in backend.output()
        assert f"chmod 600 {both.key}" in backend.output()
        assert "Traceback" not in backend.output()


def test_no_log_no_routes(client: Client) -> None:
    assert post_entries(client, [digest_of("x")]).status == 404
    assert client.get("/log/checkpoint").status == 404
